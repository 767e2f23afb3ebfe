package e2e

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
	"go.temporal.io/api/serviceerror"

	"github.com/valueledger/wallet"
	"github.com/valueledger/wallet/starter"
)

// TestTransactionsInALane sends 300 at once between 20 wallets, and some that are refused, and wants
// the journal's answers, and no workflow but the lane's.
func TestTransactionsInALane(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c := w.laneCaller(1)
	users := numbered(w.user, 20)
	for _, user := range users {
		_, err := c.Apply(t.Context(), user, "USD", add("funds", "100"))
		require.NoError(t, err)
	}
	answers := make([]wallet.TransactionResult, 300)
	of := func(i int) starter.Transfer {
		transfer := starter.Transfer{ID: fmt.Sprint(w.user, "-t-", i), FromUserID: users[i%20], ToUserID: users[(i*7+3)%20], Currency: "USD", Amount: wallet.MustAmount("1")}
		if i%5 == 4 {
			transfer.Amount = wallet.MustAmount("1000")
		}
		return transfer
	}
	var calls sync.WaitGroup
	for i := range answers {
		calls.Go(func() {
			r, err := c.Transfer(context.Background(), of(i))
			if i%5 == 4 {
				require.ErrorIs(t, err, wallet.ReasonInsufficientFunds)
			} else {
				require.NoError(t, err)
			}
			answers[i] = r
		})
	}
	calls.Wait()
	for _, user := range users {
		recorded := w.recordedOf(user)
		for _, r := range answers {
			for _, leg := range r.Results {
				if leg.UserID == user {
					require.Equal(t, recorded[leg.CommandID], leg.Result)
				}
			}
		}
		w.requireNoWorkflow(user)
	}
	for i, r := range answers {
		_, err := w.temporal.DescribeWorkflowExecution(t.Context(), wallet.TransactionWorkflowID(r.TransactionID), "")
		require.ErrorAs(t, err, new(*serviceerror.NotFound))
		again, err := w.wallets.Transfer(t.Context(), of(i))
		require.True(t, again.Replayed)
		_, inLane := c.Transfer(t.Context(), of(i))
		require.Equal(t, fmt.Sprint(err), fmt.Sprint(inLane))
		if i > 20 { // enough of them
			break
		}
	}
	other := of(0)
	other.Amount = wallet.MustAmount("2")
	_, err := c.Transfer(t.Context(), other)
	require.ErrorIs(t, err, wallet.ReasonIDConflict)
	_, want := w.wallets.Transfer(t.Context(), other)
	require.EqualError(t, err, want.Error())
	other.ID, other.Currency = w.user+"-unknown", "NOPE"
	_, err = c.Transfer(t.Context(), other)
	require.ErrorAs(t, err, new(*wallet.InvalidError))
	_, want = w.wallets.Transfer(t.Context(), other)
	require.EqualError(t, err, want.Error())
	w.requireVerified()
}

// TestATransactionByLaneAndByWorkflowCountsOnce sends each id four times at once, by both ways, once
// with other content in other wallets; commands go to the same wallets meanwhile, in other lanes.
func TestATransactionByLaneAndByWorkflowCountsOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	lanes := w.laneCaller(2)
	users := numbered(w.user, 8)
	for _, user := range users {
		w.give(user, "100")
	}
	var calls sync.WaitGroup
	var applied, conflicts atomic.Int64
	for i := range 4 * 30 {
		calls.Go(func() {
			c, n := lanes, i/4
			if i%2 == 1 {
				c = w.wallets
			}
			transfer := starter.Transfer{ID: fmt.Sprint(w.user, "-t-", n), FromUserID: users[n%8], ToUserID: users[(n+1)%8], Currency: "USD", Amount: wallet.MustAmount("1")}
			if i%4 == 3 {
				transfer.FromUserID, transfer.ToUserID = users[(n+3)%8], users[(n+6)%8]
			}
			r, err := c.Transfer(context.Background(), transfer)
			switch {
			case errors.Is(err, wallet.ReasonIDConflict):
				conflicts.Add(1)
			case err == nil && !r.Replayed:
				applied.Add(1)
			default:
				require.NoError(t, err)
			}
		})
		calls.Go(func() {
			_, err := lanes.Apply(context.Background(), users[i%8], "USD", add(fmt.Sprint("c-", i), "1"))
			require.NoError(t, err)
		})
	}
	calls.Wait()
	require.GreaterOrEqual(t, conflicts.Load(), int64(30), "one or three of each four")
	var total, transactions, deadlocks int
	require.NoError(t, w.owner.QueryRow(t.Context(), `SELECT sum(total_amount)::int FROM wallet_assets WHERE user_id LIKE $1 || '%'`, w.user).Scan(&total))
	require.Equal(t, 8*100+4*30, total)
	require.NoError(t, w.owner.QueryRow(t.Context(), `SELECT count(*) FROM wallet_transactions WHERE transaction_id LIKE $1 || '%'`, w.user).Scan(&transactions))
	require.Equal(t, 30, transactions)
	require.NoError(t, w.owner.QueryRow(t.Context(), `SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()`).Scan(&deadlocks))
	require.Zero(t, deadlocks)
	w.requireVerified()
}
