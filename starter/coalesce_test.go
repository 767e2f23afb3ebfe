package starter

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/mock"
	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/mocks"

	"github.com/valueledger/wallet"
	"github.com/valueledger/wallet/internal/service/failure"
)

// sentBatches returns a client whose updates report their number of commands, and return
// together once there are as many as wanted.
func sentBatches(t *testing.T, want int) (c *Client, commands chan int) {
	commands = make(chan int, want)
	all := make(chan struct{})
	temporal := mocks.NewClient(t)
	temporal.On("UpdateWorkflow", mock.Anything, mock.Anything).Return(
		func(_ context.Context, options client.UpdateWorkflowOptions) (client.WorkflowUpdateHandle, error) {
			sent := options.Args[0].([]wallet.Command)
			if commands <- len(sent); len(commands) == want {
				close(all)
			}
			<-all
			return answered{len(sent)}, nil
		})
	c, err := New(temporal, Options{})
	require.NoError(t, err)
	return c, commands
}

// answered is an update that has been answered: that many commands, applied to a new wallet.
type answered struct{ commands int }

func (answered) WorkflowID() string { return "" }
func (answered) RunID() string      { return "" }
func (answered) UpdateID() string   { return "" }
func (a answered) Get(_ context.Context, result any) error {
	results := make([]wallet.Result, a.commands)
	for i := range results {
		results[i] = wallet.Result{Version: int64(i + 1)}
	}
	*result.(*wallet.Facts) = wallet.FactsOf(make([]wallet.Command, a.commands), results)
	return nil
}

func TestWhatOneUpdateCannotHoldIsSentInSeveralAtOnce(t *testing.T) {
	c, sent := sentBatches(t, 3)
	ref := wallet.AssetRef{UserID: "u1", Currency: "USD"}
	c.running.Add(wallet.WorkflowID(ref.UserID, ref.Currency), struct{}{})
	q := &queue{}
	for i := range 1_200 {
		command := wallet.Command{ID: fmt.Sprint(i), Type: wallet.TypeAdd, Amount: wallet.MustAmount("1.00")}
		q.waiting = append(q.waiting, &call{ctx: t.Context(), ref: ref, command: command, answer: make(chan answer, 1)})
	}
	c.queues[queueKey{AssetRef: ref}] = q
	calls := q.waiting
	c.sendQueue(queueKey{AssetRef: ref}, q) // would never return if one update waited for another
	require.ElementsMatch(t, []int{500, 500, 200}, []int{<-sent, <-sent, <-sent})
	require.Empty(t, c.queues)
	for i, waiting := range calls {
		a := <-waiting.answer
		require.NoError(t, a.err)
		require.EqualValues(t, i%500+1, a.result.Version, "each caller gets its own answer")
	}
}

// TestACommandThatTheWorkerDoesNotKnowFailsAlone has a worker of a version before this client.
func TestACommandThatTheWorkerDoesNotKnowFailsAlone(t *testing.T) {
	unknown := &wallet.InvalidError{Reason: wallet.ReasonMalformed, Field: "type", Value: "newer", Message: "type newer is unknown"}
	temporal := mocks.NewClient(t)
	temporal.On("UpdateWorkflow", mock.Anything, mock.Anything).Return(
		func(_ context.Context, options client.UpdateWorkflowOptions) (client.WorkflowUpdateHandle, error) {
			commands, isBatch := options.Args[0].([]wallet.Command)
			if !isBatch {
				commands = []wallet.Command{options.Args[0].(wallet.Command)}
			}
			for _, c := range commands {
				if c.Type == "newer" {
					return nil, failure.Encode(unknown)
				}
			}
			if !isBatch {
				return opened{}, nil
			}
			return answered{len(commands)}, nil
		})
	c, err := New(temporal, Options{})
	require.NoError(t, err)
	ref := wallet.AssetRef{UserID: "u1", Currency: "USD"}
	c.running.Add(wallet.WorkflowID(ref.UserID, ref.Currency), struct{}{})
	var calls []*call
	for i := range 10 {
		command := wallet.Command{ID: fmt.Sprint(i), Type: wallet.TypeAdd, Amount: wallet.MustAmount("1.00")}
		if i == 3 {
			command.Type = "newer"
		}
		calls = append(calls, &call{ctx: t.Context(), ref: ref, command: command, answer: make(chan answer, 1)})
	}
	c.sendBatch(ref, calls)
	for i, waiting := range calls {
		a := <-waiting.answer
		if i == 3 {
			require.ErrorAs(t, a.err, new(*wallet.InvalidError))
			continue
		}
		require.NoError(t, a.err)
		require.Positive(t, a.result.Version)
	}
}

func TestAQueueLeavesRoomForOtherProcesses(t *testing.T) {
	c, err := New(mocks.NewClient(t), Options{})
	require.NoError(t, err)
	q := &queue{}
	for range 6 * wallet.MaxBatch {
		q.waiting = append(q.waiting, &call{ctx: t.Context()})
	}
	require.Len(t, c.takeBatches(queueKey{}, q), maxBatchesAtOnce)
	require.Len(t, q.waiting, 2*wallet.MaxBatch, "they go next time")
}

func TestCommandsOfCallersThatGaveUpAreNotSent(t *testing.T) {
	c, err := New(mocks.NewClient(t), Options{})
	require.NoError(t, err)
	over, cancel := context.WithDeadline(t.Context(), time.Unix(0, 0))
	defer cancel()
	q := &queue{waiting: []*call{{ctx: over}, {ctx: t.Context()}, {ctx: over}}}
	loads := c.takeBatches(queueKey{}, q)
	require.Len(t, loads, 1)
	require.Len(t, loads[0], 1)
	require.Nil(t, c.takeBatches(queueKey{}, q), "nobody waits")
}
