package trail_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/valueledger/wallet"
	"github.com/valueledger/wallet/activities"
	"github.com/valueledger/wallet/internal/test/testenv"
	"github.com/valueledger/wallet/trail"
)

// requireStatement checks a statement against its own lines: each begins where the previous one
// ended, and the totals add up.
func requireStatement(t require.TestingT, s trail.Statement) (lines []trail.Event) {
	total, added, subtracted := s.Opening.Total, wallet.Amount{}, wallet.Amount{}
	var counts [2]int64
	for line, err := range s.Lines(context.Background()) {
		require.NoError(t, err)
		require.Equal(t, s.Opening.Version+int64(len(lines))+1, line.Version)
		require.Equal(t, total.String(), line.TotalBefore.String())
		require.False(t, line.OccurredAt.Before(s.From))
		require.True(t, line.OccurredAt.Before(s.To))
		switch line.EventType {
		case "wallet_asset.added":
			counts[0], added = counts[0]+1, added.Add(line.Amount)
		case "wallet_asset.subtracted":
			counts[1], subtracted = counts[1]+1, subtracted.Add(line.Amount)
		}
		total = line.TotalAfter
		lines = append(lines, line)
	}
	require.Equal(t, s.Closing.Total.String(), total.String())
	require.Equal(t, s.Closing.Version, s.Opening.Version+int64(len(lines)))
	require.Equal(t, counts, [2]int64{s.Added.Count, s.Subtracted.Count})
	require.Zero(t, added.Cmp(s.Added.Sum))
	require.Zero(t, subtracted.Cmp(s.Subtracted.Sum))
	require.Zero(t, s.Closing.Total.Cmp(s.Opening.Total.Add(added).Sub(subtracted)))
	return lines
}

func TestStatementsEqualAReplayOfTheirSpan(t *testing.T) {
	db := testenv.Pool(t, testenv.DatabaseURL(t))
	read, ctx := trail.New(db), context.Background()
	rapid.Check(t, func(t *rapid.T) {
		ref := drawWallet(t, db)
		journal := journalOf(t, db, ref)
		states := replay(t, ref, scaleOf(t, db, ref.Currency), journal)
		from, to := drawTime(t, states, "from"), drawTime(t, states, "to")
		s, err := read.Statement(ctx, ref.UserID, ref.Currency, from, to)
		switch {
		case to.Before(from):
			require.ErrorContains(t, err, "it cannot end before it begins")
			return
		case !stateAt(states, to.Add(-time.Nanosecond)).Exists():
			require.ErrorIs(t, err, trail.ErrNoWallet)
			return
		}
		require.NoError(t, err)
		requireAsset(t, stateAt(states, from.Add(-time.Nanosecond)), s.Opening)
		requireAsset(t, stateAt(states, to.Add(-time.Nanosecond)), s.Closing)
		var want []trail.Event
		for _, e := range journal {
			if e.Status == wallet.StatusApplied && !e.RecordedAt.Before(from) && e.RecordedAt.Before(to) {
				want = append(want, trail.EventOf(e))
			}
		}
		require.Equal(t, want, requireStatement(t, s))

		whole, err := read.Statement(ctx, ref.UserID, ref.Currency, time.Time{}, time.Time{})
		require.NoError(t, err)
		require.Equal(t, states[1].UpdatedAt, whole.From)
		requireAsset(t, states[0], whole.Opening)
		requireAsset(t, states[len(states)-1], whole.Closing)
		requireStatement(t, whole)
	})
}

func TestStatementsAreExactWhileWritesGoOn(t *testing.T) {
	db := testenv.Pool(t, testenv.DatabaseURL(t))
	read, steps, ref := trail.New(db), activities.New(db), wallet.AssetRef{UserID: "u1", Currency: "USD"}
	out, err := steps.EnsureWalletAsset(t.Context(), ref)
	created := out.Asset
	require.NoError(t, err)
	apply := func(from, n int) {
		var batch []wallet.Received
		for i := range n {
			batch = append(batch, wallet.Received{Command: wallet.Command{ID: fmt.Sprint("c", from+i), Type: wallet.TypeAdd, Amount: wallet.MustAmount("0.01")}})
		}
		_, err := steps.ApplyCommands(context.Background(), wallet.ApplyCommandsInput{AssetRef: ref, Commands: batch})
		require.NoError(t, err)
	}
	for i := range 5 { // more than two pages
		apply(i*500, 500)
	}
	var writer sync.WaitGroup
	stop := make(chan struct{})
	writer.Go(func() {
		for i := 2500; ; i += 7 {
			select {
			case <-stop:
				return
			default:
				apply(i, 7)
			}
		}
	})
	for range 10 {
		s, err := read.Statement(t.Context(), "u1", "USD", created.UpdatedAt.Add(time.Microsecond), time.Time{})
		require.NoError(t, err)
		require.GreaterOrEqual(t, len(requireStatement(t, s)), 2500, "though no event is written yet")
	}
	close(stop)
	writer.Wait()
}
