package telemetry

import (
	"strings"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/sdk/metric"

	"github.com/valueledger/wallet/internal/service/counts"
	"github.com/valueledger/wallet/workflows"
)

var (
	secondsBuckets  = []float64{0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30}
	commandsBuckets = []float64{1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000}
)

const unitCommands = "{command}"

// ofWorkflows describes the workflows' metrics. They use the SDK's handler, which supports
// neither descriptions nor histograms other than timers.
var ofWorkflows = map[string]metric.Stream{
	workflows.MetricReceived:    {Description: "Commands received by signal, update or lane."},
	workflows.MetricAnswered:    {Description: "Commands answered, including repeats of a known id."},
	workflows.MetricCommands:    {Description: "Commands applied or refused, each once; reason is set for refusals."},
	counts.MetricRunLines:       {Description: "Lines of runs that are done, by what became of them."},
	counts.MetricCrossed:        {Description: "Thresholds that commands crossed, by direction: below or above."},
	workflows.MetricLostEntries: {Description: "Times a wallet found that Postgres had lost journal entries it had already answered."},
	workflows.MetricQueue: {Description: "Commands in a wallet's queue when its next batch is taken from it.",
		Unit: unitCommands, Aggregation: metric.AggregationExplicitBucketHistogram{Boundaries: commandsBuckets, NoMinMax: true}},
}

// clutter lists labels of the SDK that are the same on every series of a worker.
var clutter = attribute.NewDenyKeysFilter("client_name", "worker_type", "namespace", "task_queue", "workflow_type", "activity_type")

// view sets each instrument's buckets, and the descriptions of the workflows' metrics.
func view(i metric.Instrument) (metric.Stream, bool) {
	stream := metric.Stream{Name: i.Name, Description: i.Description, Unit: i.Unit}
	if i.Kind == metric.InstrumentKindHistogram {
		stream.Aggregation = metric.AggregationExplicitBucketHistogram{Boundaries: secondsBuckets, NoMinMax: true}
		if i.Unit == unitCommands {
			stream.Aggregation = metric.AggregationExplicitBucketHistogram{Boundaries: commandsBuckets, NoMinMax: true}
		}
	}
	if ours, ok := ofWorkflows[i.Name]; ok {
		stream.Description = ours.Description
		if ours.Unit != "" {
			stream.Unit, stream.Aggregation = ours.Unit, ours.Aggregation
		}
	}
	if strings.HasPrefix(i.Name, "wallet_") {
		stream.AttributeFilter = clutter
	}
	return stream, true
}
