package bench

import (
	"context"
	"fmt"
	"os"
	"slices"
	"time"

	"go.temporal.io/api/enums/v1"
	historypb "go.temporal.io/api/history/v1"
	"go.temporal.io/sdk/client"
)

// cycle shows where a workflow's time went, from one workflow task to the next. It profiles
// waiting, which a CPU profile does not show.
type cycle struct {
	idle    []time.Duration // from the end of a task until there is a next
	waiting []time.Duration // until a worker has it
	working []time.Duration // until the worker's answer is stored
}

// cycleOf reads the last run of a workflow.
func cycleOf(ctx context.Context, c client.Client, workflowID string) (y cycle, err error) {
	events := c.GetWorkflowHistory(ctx, workflowID, "", false, enums.HISTORY_EVENT_FILTER_TYPE_ALL_EVENT)
	var scheduled, started, completed time.Time
	for events.HasNext() {
		var event *historypb.HistoryEvent
		if event, err = events.Next(); err != nil {
			return y, err
		}
		at := event.GetEventTime().AsTime()
		switch event.GetEventType() {
		case enums.EVENT_TYPE_WORKFLOW_TASK_SCHEDULED:
			if scheduled = at; !completed.IsZero() {
				y.idle = append(y.idle, at.Sub(completed))
			}
		case enums.EVENT_TYPE_WORKFLOW_TASK_STARTED:
			started = at
			y.waiting = append(y.waiting, at.Sub(scheduled))
		case enums.EVENT_TYPE_WORKFLOW_TASK_COMPLETED:
			completed = at
			y.working = append(y.working, at.Sub(started))
		}
	}
	return y, nil
}

// write writes each part's share of the time, and its median.
func (y cycle) write(path string) error {
	total := sum(y.idle) + sum(y.waiting) + sum(y.working)
	text := fmt.Sprintf("%d workflow tasks in %s\n", len(y.working), total)
	for _, part := range []struct {
		name  string
		times []time.Duration
	}{{"no task: answer on its way to the caller, next command on its way back", y.idle},
		{"task on its way to the worker", y.waiting},
		{"task at the worker, and its answer on the way to the history", y.working}} {
		text += fmt.Sprintf("%5.1f%%  median %-12s %s\n", 100*float64(sum(part.times))/float64(max(total, 1)), middle(part.times), part.name)
	}
	return os.WriteFile(path, []byte(text), 0o644)
}

func sum(times []time.Duration) (total time.Duration) {
	for _, t := range times {
		total += t
	}
	return total
}

func middle(times []time.Duration) time.Duration {
	if len(times) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(times))
	return sorted[len(sorted)/2]
}
