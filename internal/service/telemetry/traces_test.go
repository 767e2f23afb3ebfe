package telemetry_test

import (
	"context"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel/trace"
	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/interceptor"
	"go.temporal.io/sdk/worker"
	"go.temporal.io/sdk/workflow"
	"google.golang.org/protobuf/proto"

	"github.com/valueledger/wallet"
	"github.com/valueledger/wallet/internal/service/telemetry"
	"github.com/valueledger/wallet/workflows"
)

// traces is an OTLP collector.
type traces struct {
	mu    sync.Mutex
	spans []*tracepb.Span
}

func (c *traces) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var request collector.ExportTraceServiceRequest
	body, err := io.ReadAll(r.Body)
	if err == nil {
		err = proto.Unmarshal(body, &request)
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, resource := range request.ResourceSpans {
		for _, scope := range resource.ScopeSpans {
			c.spans = append(c.spans, scope.Spans...)
		}
	}
}

// startTraces sends traces to a collector until flush.
func startTraces(t *testing.T) (c *traces, flush func()) {
	c = &traces{}
	listens := httptest.NewServer(c)
	t.Cleanup(listens.Close)
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", listens.URL)
	t.Setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf")
	stop, err := telemetry.StartTraces(t.Context())
	require.NoError(t, err)
	return c, func() { require.NoError(t, stop(context.Background())) }
}

// find returns the spans with a name, or the SQL spans whose statement begins with it.
func (c *traces) find(name string) (found []*tracepb.Span) {
	for _, span := range c.spans {
		if span.Name == name || strings.HasPrefix(attributeOf(span, "db.query.text"), name) {
			found = append(found, span)
		}
	}
	return found
}

// path returns the names of a span and its parents, up to the caller's span, which the
// collector does not have.
func (c *traces) path(span *tracepb.Span) (names []string) {
	for {
		names = append(names, span.Name)
		parent := span.ParentSpanId
		span = nil
		for _, other := range c.spans {
			if string(other.SpanId) == string(parent) {
				span = other
			}
		}
		if span == nil {
			return append(names, hex.EncodeToString(parent))
		}
	}
}

func attributeOf(span *tracepb.Span, key string) string {
	for _, a := range span.Attributes {
		if a.Key == key {
			return a.Value.GetStringValue()
		}
	}
	return ""
}

// aCaller returns a caller's context with its own span.
func aCaller(id byte) (context.Context, string) {
	span := trace.NewSpanContext(trace.SpanContextConfig{TraceID: trace.TraceID{id}, SpanID: trace.SpanID{id}, TraceFlags: trace.FlagsSampled})
	return trace.ContextWithRemoteSpanContext(context.Background(), span), span.SpanID().String()
}

// threeCommands sends commands from three callers, the last to a worker that has to replay what
// the first did, and returns the events of the history that are not about workers.
func threeCommands(t *testing.T) (history []string, callers []string) {
	w := watch(t)
	for i := byte(1); i <= 3; i++ {
		if i == 3 {
			w.Stop()
			w.start()
		}
		ctx, caller := aCaller(i)
		_, err := w.wallets.Add(ctx, w.change(fmt.Sprint("in-", i), "5.00"))
		require.NoError(t, err)
		callers = append(callers, caller)
	}
	events := w.temporal.GetWorkflowHistory(t.Context(), wallet.WorkflowID(w.user, "USD"), "", false, enumspb.HISTORY_EVENT_FILTER_TYPE_ALL_EVENT)
	for events.HasNext() {
		event, err := events.Next()
		require.NoError(t, err)
		if name := event.EventType.String(); !strings.HasPrefix(name, "WorkflowTask") {
			history = append(history, name)
		}
	}
	w.Stop()
	return history, callers
}

func TestATraceJoinsCallerWorkflowStepAndSQL(t *testing.T) {
	untraced, _ := threeCommands(t)
	collected, flush := startTraces(t)
	traced, callers := threeCommands(t)
	flush()
	require.Equal(t, untraced, traced, "traces add nothing to a history")

	for i, caller := range callers {
		trace := &traces{spans: slices.DeleteFunc(slices.Clone(collected.spans), func(s *tracepb.Span) bool { return s.TraceId[0] != byte(i+1) })}
		require.Len(t, trace.find("HandleUpdate:apply"), 1, "a replay does not tell of it again")
		require.Len(t, trace.find("RunActivity:ApplyCommands"), 1)
		update := "UpdateWorkflow:apply"
		if i != 1 { // the first call of each client
			update = "UpdateWithStartWorkflow:apply"
		}
		applied := slices.DeleteFunc(trace.find("INSERT INTO wallet_commands"), func(s *tracepb.Span) bool {
			return slices.Contains(trace.path(s), "RunActivity:EnsureWalletAsset")
		})
		require.Len(t, applied, 1)
		require.Equal(t, []string{"INSERT", "batch start", "RunActivity:ApplyCommands", "StartActivity:ApplyCommands",
			"HandleUpdate:apply", update, caller}, trace.path(applied[0]))
		require.NotContains(t, applied[0].String(), "in-"+fmt.Sprint(i+1), "no parameters of a statement")
	}
}

func TestNoTracesUnlessSomewhereIsNamed(t *testing.T) {
	for name, row := range map[string]struct {
		variables map[string]string
		traced    bool
	}{
		"nothing set":           {nil, false},
		"an endpoint":           {map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1"}, true},
		"an endpoint of traces": {map[string]string{"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://127.0.0.1:1"}, true},
		"an exporter":           {map[string]string{"OTEL_TRACES_EXPORTER": "console"}, true},
		"none":                  {map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1", "OTEL_TRACES_EXPORTER": "none"}, false},
		"disabled":              {map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1", "OTEL_SDK_DISABLED": "true"}, false},
	} {
		t.Run(name, func(t *testing.T) {
			for key, value := range row.variables {
				t.Setenv(key, value)
			}
			stop, err := telemetry.StartTraces(t.Context())
			require.NoError(t, err)
			var options client.Options
			require.NoError(t, telemetry.TraceClient(&options))
			require.Equal(t, row.traced, len(options.Interceptors) > 0)
			require.NoError(t, stop(t.Context()))
		})
	}
}

// TestHistoriesWithoutTracesReplayWithThem replays histories recorded before there were traces.
func TestHistoriesWithoutTracesReplayWithThem(t *testing.T) {
	collected, flush := startTraces(t)
	var options client.Options
	require.NoError(t, telemetry.TraceClient(&options))
	files, err := filepath.Glob(filepath.Join("..", "..", "..", "workflows", "testdata", "*.json"))
	require.NoError(t, err)
	require.NotEmpty(t, files)
	for _, path := range files {
		file, err := os.Open(path)
		require.NoError(t, err)
		defer file.Close()
		history, err := client.HistoryFromJSON(file, client.HistoryJSONOptions{})
		require.NoError(t, err)
		started := history.Events[0].GetWorkflowExecutionStartedEventAttributes()
		replayer, err := worker.NewWorkflowReplayerWithOptions(worker.WorkflowReplayerOptions{
			Interceptors: []interceptor.WorkerInterceptor{options.Interceptors[0].(interceptor.WorkerInterceptor)},
		})
		require.NoError(t, err)
		workflows.Register(replayer)
		require.NoError(t, replayer.ReplayWorkflowHistoryWithOptions(nil, history, worker.ReplayWorkflowHistoryOptions{
			OriginalExecution: workflow.Execution{ID: started.WorkflowId, RunID: started.OriginalExecutionRunId},
		}), path)
	}
	flush()
	require.Empty(t, collected.find("HandleUpdate:apply"))
}
