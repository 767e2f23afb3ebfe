package workflows

import "go.temporal.io/sdk/workflow"

type spanKey struct{}

// SpanContextKey is the context key under which the worker's tracing, if any, keeps the span of
// a workflow or an update.
var SpanContextKey any = spanKey{}

// inTraceOf puts the steps of a batch into the trace of the batch's first update, instead of
// the trace that once started the workflow. Traces travel in headers, which a replay ignores.
func inTraceOf(ctx workflow.Context, batch []queued) workflow.Context {
	for _, q := range batch {
		if q.update != nil && q.update.span != nil {
			return workflow.WithValue(ctx, SpanContextKey, q.update.span)
		}
	}
	return ctx
}
