// Package resourceid allows any characters in workflow ids. Temporal's SDK (1.50) copies the
// workflow id of a call into the gRPC header temporal-resource-id, and gRPC refuses a header
// that is not printable ASCII: a wallet of user "Zoë" could be neither called nor worked on.
// The header is for proxies; servers do not need it.
package resourceid

import (
	"context"
	"net/url"
	"strings"

	"go.temporal.io/sdk/client"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
)

const header = "temporal-resource-id"

// EscapeHeader makes a client write the header in ASCII. Workers need it, and so do callers
// that do not use For.
func EscapeHeader(options *client.Options) {
	options.ConnectionOptions.DialOptions = append(options.ConnectionOptions.DialOptions, grpc.WithChainUnaryInterceptor(
		func(ctx context.Context, method string, request, reply any, connection *grpc.ClientConn, invoke grpc.UnaryInvoker, o ...grpc.CallOption) error {
			sent, _ := metadata.FromOutgoingContext(ctx)
			if values := sent.Get(header); len(values) == 1 && !printable(values[0]) {
				changed := sent.Copy()
				changed.Set(header, url.PathEscape(values[0]))
				ctx = metadata.NewOutgoingContext(ctx, changed)
			}
			return invoke(ctx, method, request, reply, connection, o...)
		}))
}

// For returns a context for calls to one workflow with any client: the SDK does not overwrite a
// header that is already set.
func For(ctx context.Context, workflowID string) context.Context {
	if printable(workflowID) {
		return ctx
	}
	return metadata.AppendToOutgoingContext(ctx, header, url.PathEscape("workflow:"+workflowID))
}

func printable(text string) bool {
	return !strings.ContainsFunc(text, func(r rune) bool { return r < ' ' || r > '~' })
}
