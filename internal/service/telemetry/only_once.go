package telemetry

import (
	"go.temporal.io/sdk/interceptor"
	"go.temporal.io/sdk/workflow"
)

// onlyOnce stops the SDK's tracing from reporting every update in a history again at each
// replay. For signals and steps the SDK already does that.
type onlyOnce struct{ interceptor.Interceptor }

func (o onlyOnce) InterceptWorkflow(ctx workflow.Context, next interceptor.WorkflowInboundInterceptor) interceptor.WorkflowInboundInterceptor {
	traced := &updatesOnce{untraced: next}
	traced.Next = o.Interceptor.InterceptWorkflow(ctx, next)
	return traced
}

type updatesOnce struct {
	interceptor.WorkflowInboundInterceptorBase
	untraced interceptor.WorkflowInboundInterceptor
}

func (u *updatesOnce) ExecuteUpdate(ctx workflow.Context, in *interceptor.UpdateInput) (any, error) {
	if workflow.IsReplaying(ctx) {
		return u.untraced.ExecuteUpdate(ctx, in)
	}
	return u.Next.ExecuteUpdate(ctx, in)
}
