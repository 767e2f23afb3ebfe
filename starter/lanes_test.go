package starter

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/mock"
	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/mocks"

	"github.com/valueledger/wallet"
)

// inLane is an update whose answer is a lane's.
type inLane struct {
	answered
	bytes []byte
}

func (l inLane) Get(_ context.Context, result any) error {
	*result.(*[]byte) = l.bytes
	return nil
}

// laneClient knows that lane and wallets run; updates of the lane get what lane returns.
func laneClient(t *testing.T, lane func(ctx context.Context, items []wallet.LaneItem) ([]byte, error)) (c *Client, inLanes *atomic.Int64) {
	temporal, inLanes := mocks.NewClient(t), &atomic.Int64{}
	id := wallet.LaneWorkflowID(wallet.DefaultTaskQueue, 1)
	temporal.On("UpdateWorkflow", mock.Anything, mock.Anything).Return(
		func(ctx context.Context, options client.UpdateWorkflowOptions) (client.WorkflowUpdateHandle, error) {
			if options.WorkflowID != id {
				return opened{}, nil
			}
			inLanes.Add(1)
			b, err := lane(ctx, options.Args[0].([]wallet.LaneItem))
			return inLane{bytes: b}, err
		})
	c, err := New(temporal, Options{Lanes: 1})
	require.NoError(t, err)
	c.running.Add(id, struct{}{})
	return c, inLanes
}

func (c *Client) open(user string) error {
	c.running.Add(wallet.WorkflowID(user, "USD"), struct{}{})
	_, err := c.Create(context.Background(), Change{UserID: user, Currency: "USD", CommandID: "a"})
	return err
}

func TestALaneThatDoesNotAnswerHoldsNoCallUpForLong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, inLanes := laneClient(t, func(ctx context.Context, _ []wallet.LaneItem) ([]byte, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		})
		began := time.Now()
		require.NoError(t, c.open("u1"))
		require.Equal(t, laneTimeout, time.Since(began))
		require.NoError(t, c.open("u2"))
		require.Equal(t, laneTimeout, time.Since(began), "the lane is closed")
		require.Equal(t, int64(1), inLanes.Load())
		time.Sleep(laneClosed)
		require.NoError(t, c.open("u3"))
		require.Equal(t, int64(2), inLanes.Load(), "it is tried again")
	})
}

// TestWhatALaneReturnsGoesToItsWallet has a lane that answers every other item, and then one whose
// answer nobody can read.
func TestWhatALaneReturnsGoesToItsWallet(t *testing.T) {
	garbled := false
	c, inLanes := laneClient(t, func(_ context.Context, items []wallet.LaneItem) (b []byte, err error) {
		if garbled {
			return []byte("??"), nil
		}
		for _, item := range items {
			answer := wallet.LaneAnswer{}
			if item.UserID < "u5" {
				answer.Facts = wallet.FactsOf([]wallet.Command{item.Command}, []wallet.Result{{CommandID: "a", Type: wallet.TypeCreate, Status: wallet.StatusApplied, Version: 1, Position: 1}})
			}
			b = answer.AppendTo(b)
		}
		return b, nil
	})
	for i := range 10 {
		require.NoError(t, c.open(fmt.Sprint("u", i)))
	}
	require.Equal(t, int64(10), inLanes.Load())
	garbled = true
	require.NoError(t, c.open("u1"))
	_, err := c.Apply(t.Context(), "u6", "USD", wallet.Command{ID: "b", Type: wallet.TypeCreate, ReplyTo: &wallet.ReplyTo{WorkflowID: "w", Signal: "s"}})
	require.NoError(t, err)
	require.Equal(t, int64(11), inLanes.Load(), "what wants a reply goes to its wallet at once")
}

// TestTheLaneOfAWalletIsTheSameInEveryProgram, also in one of another version.
func TestTheLaneOfAWalletIsTheSameInEveryProgram(t *testing.T) {
	var lanes []int
	for _, user := range []string{"u1", "u2", "u3", "ü", ""} {
		lanes = append(lanes, wallet.AssetRef{UserID: user, Currency: "USD"}.Partition(4))
	}
	require.Equal(t, []int{3, 2, 1, 2, 1}, lanes)
	for _, n := range []int{-1, maxLanes + 1} {
		_, err := New(mocks.NewClient(t), Options{Lanes: n})
		require.ErrorContains(t, err, "set 0 to 64")
	}
}

// TestATransactionThatALaneDoesNotAnswerGetsItsWorkflow has lanes that return it, that do not know
// what it is, and that do not answer at all.
func TestATransactionThatALaneDoesNotAnswerGetsItsWorkflow(t *testing.T) {
	transaction := func(legs int) wallet.Transaction {
		tx := wallet.Transaction{ID: "t"}
		for range legs {
			tx.Commands = append(tx.Commands, wallet.Leg{AssetRef: wallet.AssetRef{UserID: "u", Currency: "USD"}, Command: wallet.Command{Type: wallet.TypeCreate}})
		}
		return tx
	}
	for _, row := range []struct {
		what   string
		legs   int
		answer wallet.LaneAnswer
		fails  error
		tries  int64
	}{
		{"returned", 2, wallet.LaneAnswer{}, nil, laneTries},
		{"unknown", 2, wallet.LaneAnswer{Invalid: &wallet.InvalidError{Reason: wallet.ReasonMalformed, Message: "input has no field transaction"}}, nil, 1},
		{"unreadable", 2, wallet.LaneAnswer{Facts: wallet.Facts{}}, nil, laneTries},
		{"refused", 2, wallet.LaneAnswer{}, &wallet.InvalidError{Message: "no"}, 1},
	} {
		t.Run(row.what, func(t *testing.T) {
			c, inLanes := laneClient(t, func(_ context.Context, items []wallet.LaneItem) ([]byte, error) {
				require.Equal(t, "t", items[0].Transaction.ID)
				return row.answer.AppendTo(nil), row.fails
			})
			require.Nil(t, c.transactionInLane(t.Context(), transaction(row.legs)))
			require.Equal(t, row.tries, inLanes.Load())
			require.Nil(t, c.transactionInLane(t.Context(), transaction(maxLegsInLane+1)))
			require.Equal(t, row.tries, inLanes.Load(), "it goes to its workflow at once")
		})
	}
}

// TestTheLanesOfATransaction begin with that of the same wallet in both directions, and reach that of
// each wallet of a transfer.
func TestTheLanesOfATransaction(t *testing.T) {
	for n := range 20 {
		one, other := fmt.Sprint("u", n), fmt.Sprint("v", n)
		there := Transfer{FromUserID: one, ToUserID: other, Currency: "USD"}.Transaction()
		back := Transfer{FromUserID: other, ToUserID: one, Currency: "USD"}.Transaction()
		last := 1 + wallet.AssetRef{UserID: other, Currency: "USD"}.Partition(4)
		require.Equal(t, [laneTries]int{1 + wallet.AssetRef{UserID: one, Currency: "USD"}.Partition(4), last, last}, lanesOf(there, 4))
		require.Equal(t, lanesOf(there, 4), lanesOf(back, 4))
	}
}

func TestAnUpdateOfALaneHasSoManyLegs(t *testing.T) {
	tx := &wallet.Transaction{Commands: make([]wallet.Leg, maxLegsInLane)}
	q := &queue{}
	for range 120 {
		q.waiting = append(q.waiting, &call{ctx: t.Context(), transaction: tx})
	}
	require.Len(t, q.takeBatch(), maxLaneLegs/maxLegsInLane)
	require.Len(t, q.takeBatch(), maxLaneLegs/maxLegsInLane)
	require.Len(t, q.takeBatch(), 20)
}
