package service

import (
	"context"

	updatepb "go.temporal.io/api/update/v1"
	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/client"
	"google.golang.org/grpc"
)

// WorkerConnection sets up the connection of a worker's client. It disables gzip, which costs
// more than it saves when the worker is near its server.
func WorkerConnection(o *client.Options) {
	o.ConnectionOptions.GrpcCompression = &client.GrpcCompressionNone{}
	o.ConnectionOptions.DialOptions = append(o.ConnectionOptions.DialOptions, grpc.WithChainUnaryInterceptor(refuseBriefly))
}

// refuseBriefly removes the request from a worker's refusal of an update. The SDK repeats it
// there, the server does not need it, and Temporal 1.29.1 terminates a workflow whose worker
// sends a message over 2 MB: any caller could end a wallet's run, and lose the signals in it,
// with an update of 2 to 4 MB.
func refuseBriefly(ctx context.Context, method string, request, reply any, conn *grpc.ClientConn, invoke grpc.UnaryInvoker, options ...grpc.CallOption) error {
	if completed, ok := request.(*workflowservice.RespondWorkflowTaskCompletedRequest); ok {
		for _, message := range completed.Messages {
			rejection := &updatepb.Rejection{}
			if !message.GetBody().MessageIs(rejection) {
				continue
			}
			if err := message.Body.UnmarshalTo(rejection); err != nil {
				return err
			}
			rejection.RejectedRequest = nil
			if err := message.Body.MarshalFrom(rejection); err != nil {
				return err
			}
		}
	}
	return invoke(ctx, method, request, reply, conn, options...)
}
