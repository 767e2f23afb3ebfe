package nexushandler

import (
	"context"
	"errors"
	"fmt"

	nexuspb "go.temporal.io/api/nexus/v1"
	"go.temporal.io/api/operatorservice/v1"
	"go.temporal.io/api/serviceerror"
	"go.temporal.io/sdk/client"
	"google.golang.org/protobuf/proto"
)

// RegisterEndpoint creates the endpoint that leads from any namespace of the cluster to the
// wallet's task queue, or points an existing one there. It can be repeated.
func RegisterEndpoint(ctx context.Context, c client.Client, name, namespace, taskQueue string) error {
	operator := c.OperatorService()
	spec := &nexuspb.EndpointSpec{Name: name, Target: &nexuspb.EndpointTarget{Variant: &nexuspb.EndpointTarget_Worker_{
		Worker: &nexuspb.EndpointTarget_Worker{Namespace: namespace, TaskQueue: taskQueue},
	}}}
	_, err := operator.CreateNexusEndpoint(ctx, &operatorservice.CreateNexusEndpointRequest{Spec: spec})
	var exists *serviceerror.AlreadyExists
	if err == nil || !errors.As(err, &exists) {
		return naming(name, err)
	}
	list, err := operator.ListNexusEndpoints(ctx, &operatorservice.ListNexusEndpointsRequest{Name: name})
	if err != nil || len(list.GetEndpoints()) != 1 {
		return naming(name, errors.Join(exists, err))
	}
	existing := list.Endpoints[0]
	if proto.Equal(existing.GetSpec().GetTarget(), spec.Target) {
		return nil
	}
	spec.Description = existing.GetSpec().GetDescription()
	_, err = operator.UpdateNexusEndpoint(ctx, &operatorservice.UpdateNexusEndpointRequest{Id: existing.Id, Version: existing.Version, Spec: spec})
	return naming(name, err)
}

func naming(name string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("register Nexus endpoint %q: %w", name, err)
}
