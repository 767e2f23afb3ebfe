package trail_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/valueledger/wallet"
	"github.com/valueledger/wallet/activities"
	"github.com/valueledger/wallet/internal/test/testenv"
	"github.com/valueledger/wallet/trail"
)

// allPages reads all events and commands of a scope in pages of random size, and returns the
// last version and position of each wallet.
func allPages(t *testing.T, read trail.Reader, userID, currency string) (versions, positions map[wallet.AssetRef]int64) {
	versions, positions = map[wallet.AssetRef]int64{}, map[wallet.AssetRef]int64{}
	events := trail.EventFilter{UserID: userID, Currency: currency}
	for last := (wallet.AssetRef{}); ; {
		events.Limit = 1 + rand.IntN(40)
		page, err := read.Events(t.Context(), events)
		require.NoError(t, err)
		for _, e := range page {
			ref := wallet.AssetRef{UserID: e.UserID, Currency: e.Currency}
			require.Equal(t, versions[ref]+1, e.Version, "no gap and none twice")
			require.True(t, ref == last || versions[ref] == 0, "wallet after wallet")
			versions[ref], last = e.Version, ref
			events.AfterUserID, events.AfterCurrency, events.AfterVersion = e.UserID, e.Currency, e.Version
		}
		if len(page) < events.Limit {
			break
		}
	}
	commands := trail.CommandFilter{UserID: userID, Currency: currency}
	for {
		commands.Limit = 1 + rand.IntN(40)
		page, err := read.Commands(t.Context(), commands)
		require.NoError(t, err)
		for _, e := range page {
			ref := wallet.AssetRef{UserID: e.UserID, Currency: e.Currency}
			require.Equal(t, positions[ref]+1, e.Position, "no gap and none twice")
			positions[ref] = e.Position
			commands.AfterUserID, commands.AfterCurrency, commands.AfterPosition = e.UserID, e.Currency, e.Position
		}
		if len(page) < commands.Limit {
			break
		}
	}
	return versions, positions
}

func TestPagesHaveNoGapAndNothingTwiceWhileWritesGoOn(t *testing.T) {
	db := testenv.Pool(t, testenv.DatabaseURL(t))
	read, steps := trail.New(db), activities.New(db)
	var refs []wallet.AssetRef
	for _, user := range []string{"a", "a:b", "b"} {
		for _, currency := range []string{"EUR", "USD"} {
			refs = append(refs, wallet.AssetRef{UserID: user, Currency: currency})
		}
	}
	for _, ref := range refs {
		_, err := steps.EnsureWalletAsset(t.Context(), ref)
		require.NoError(t, err)
	}
	var writers sync.WaitGroup
	for writer := range 3 {
		writers.Go(func() {
			for i := range 60 {
				ref := refs[rand.IntN(len(refs))]
				var batch []wallet.Received
				for j := range 1 + rand.IntN(6) {
					c := wallet.Command{ID: fmt.Sprint(writer, "-", i, "-", j), Type: wallet.TypeAdd, Amount: wallet.MustAmount("1")}
					if rand.IntN(3) == 0 {
						c.Type, c.Amount = wallet.TypeSubtract, wallet.MustAmount("1000")
					}
					batch = append(batch, wallet.Received{Command: c})
				}
				_, err := steps.ApplyCommands(context.Background(), wallet.ApplyCommandsInput{AssetRef: ref, Commands: batch})
				require.NoError(t, err)
				_, err = steps.RecordEvents(context.Background(), ref)
				require.NoError(t, err)
			}
		})
	}
	for range 10 {
		allPages(t, read, "", "")
		allPages(t, read, "a", "")
		allPages(t, read, "a:b", "USD")
	}
	writers.Wait()

	versions, positions := allPages(t, read, "", "")
	require.Len(t, versions, len(refs))
	for _, ref := range refs {
		asset, err := read.Asset(t.Context(), ref.UserID, ref.Currency)
		require.NoError(t, err)
		require.Equal(t, asset.Version, versions[ref])
		require.Equal(t, asset.Position, positions[ref])
	}
	versions, _ = allPages(t, read, "a", "")
	require.Len(t, versions, 2, "of user a alone")
}

func TestCommandsByStatusOfEveryScope(t *testing.T) {
	db := testenv.Pool(t, testenv.DatabaseURL(t))
	read := trail.New(db)
	fill(t, db, 3) // four applied and four refused commands each
	for _, row := range []struct {
		filter trail.CommandFilter
		want   int
	}{
		{trail.CommandFilter{Status: wallet.StatusUnapplied}, 12},
		{trail.CommandFilter{Status: wallet.StatusApplied}, 12},
		{trail.CommandFilter{}, 24},
		{trail.CommandFilter{UserID: "u0001", Status: wallet.StatusUnapplied}, 4},
		{trail.CommandFilter{UserID: "u0001", Currency: "USD", Status: wallet.StatusUnapplied, AfterPosition: 5}, 2},
		{trail.CommandFilter{Status: wallet.StatusUnapplied, AfterUserID: "u0001", AfterCurrency: "USD", AfterPosition: 7}, 4},
		{trail.CommandFilter{Status: wallet.StatusUnapplied, Limit: 5}, 5},
		{trail.CommandFilter{UserID: "u0001", Currency: "EUR"}, 0},
	} {
		page, err := read.Commands(t.Context(), row.filter)
		require.NoError(t, err)
		require.Len(t, page, row.want, "%+v", row.filter)
		for _, e := range page {
			require.Contains(t, []wallet.Status{"", e.Status}, row.filter.Status)
		}
	}
	_, err := read.Commands(t.Context(), trail.CommandFilter{Currency: "USD"})
	require.ErrorContains(t, err, "a page of one currency needs a user")
	_, err = read.Events(t.Context(), trail.EventFilter{Currency: "USD"})
	require.ErrorContains(t, err, "a page of one currency needs a user")
}
