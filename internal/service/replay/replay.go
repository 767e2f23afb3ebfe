// Package replay checks whether this build's workflows can continue histories that another
// build made.
package replay

import (
	"context"
	"os"
	"slices"

	enumspb "go.temporal.io/api/enums/v1"
	historypb "go.temporal.io/api/history/v1"
	"go.temporal.io/api/temporalproto"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/log"
	"go.temporal.io/sdk/worker"
	"go.temporal.io/sdk/workflow"

	"github.com/valueledger/wallet/codec"
	"github.com/valueledger/wallet/workflows"
)

// History reads a run's history so far from the server.
func History(ctx context.Context, c client.Client, run workflow.Execution) (*historypb.History, error) {
	history := &historypb.History{}
	events := c.GetWorkflowHistory(ctx, run.ID, run.RunID, false, enumspb.HISTORY_EVENT_FILTER_TYPE_ALL_EVENT)
	for events.HasNext() {
		event, err := events.Next()
		if err != nil {
			return nil, err
		}
		history.Events = append(history.Events, event)
	}
	return history, nil
}

// Save writes a history in the format of "temporal workflow show --output json".
func Save(path string, history *historypb.History) error {
	data, err := temporalproto.CustomJSONMarshalOptions{Indent: "  "}.Marshal(history)
	if err != nil {
		return err
	}
	return os.WriteFile(path, data, 0o644)
}

// Load reads what Save, or the Temporal CLI, wrote.
func Load(path string) (*historypb.History, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	return client.HistoryFromJSON(file, client.HistoryJSONOptions{})
}

// Begun reports whether a workflow of a history has done anything. One whose first workflow
// task is still to be completed has not, and there is nothing to replay: the SDK refuses such a
// history.
func Begun(history *historypb.History) bool {
	return slices.ContainsFunc(history.Events, func(event *historypb.HistoryEvent) bool {
		return event.EventType == enumspb.EVENT_TYPE_WORKFLOW_TASK_COMPLETED
	})
}

// Check runs this build's workflows over a history. The error says at which event they
// would do something else than what is there. Encrypted payloads are read with the keys
// of the environment, like a worker's.
func Check(logger log.Logger, history *historypb.History, run workflow.Execution) error {
	keys, err := codec.FromEnv()
	if err != nil {
		return err
	}
	replayer, err := worker.NewWorkflowReplayerWithOptions(worker.WorkflowReplayerOptions{DataConverter: keys.DataConverter(), FailureConverter: keys.FailureConverter()})
	if err != nil {
		return err
	}
	workflows.Register(replayer)
	return replayer.ReplayWorkflowHistoryWithOptions(logger, history, worker.ReplayWorkflowHistoryOptions{OriginalExecution: run})
}
