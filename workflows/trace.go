package workflows

import "go.temporal.io/sdk/workflow"

type spanKey struct{}

// SpanContextKey is where the worker's tracing, if it has any, keeps the span of a
// workflow, or of an update, in its context.
var SpanContextKey any = spanKey{}

// inTraceOf lets the steps of a batch be seen in the trace of the first update in it, in
// place of that of who once started the workflow. Traces travel in headers, which a
// replay does not look at.
func inTraceOf(ctx workflow.Context, batch []queued) workflow.Context {
	for _, q := range batch {
		if q.update != nil && q.update.span != nil {
			return workflow.WithValue(ctx, SpanContextKey, q.update.span)
		}
	}
	return ctx
}
