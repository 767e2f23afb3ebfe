package starter

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"
	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/api/serviceerror"
	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/client"
)

// busyServer refuses a given number of queries before it answers.
type busyServer struct {
	client.Client
	refusals []error
}

func (s *busyServer) CountWorkflow(context.Context, *workflowservice.CountWorkflowExecutionsRequest) (*workflowservice.CountWorkflowExecutionsResponse, error) {
	if len(s.refusals) == 0 {
		return &workflowservice.CountWorkflowExecutionsResponse{}, nil
	}
	refusal := s.refusals[0]
	s.refusals = s.refusals[1:]
	return nil, refusal
}

func TestABusyServerDoesNotEndAWorkersStart(t *testing.T) {
	server := &busyServer{refusals: []error{
		serviceerror.NewResourceExhausted(enumspb.RESOURCE_EXHAUSTED_CAUSE_RPS_LIMIT, "namespace rate limit exceeded"),
		serviceerror.NewUnavailable("starting"),
		serviceerror.NewInvalidArgument("unknown attribute"),
	}}
	require.NoError(t, awaitSearchAttributes(t.Context(), server, "default"))

	denied := &busyServer{refusals: []error{serviceerror.NewPermissionDenied("no", "")}}
	require.ErrorContains(t, awaitSearchAttributes(t.Context(), denied, "default"), "no")
}
