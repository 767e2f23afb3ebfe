package trail_test

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/valueledger/wallet"
	"github.com/valueledger/wallet/activities"
	"github.com/valueledger/wallet/internal/test/testenv"
	"github.com/valueledger/wallet/trail"
)

var users atomic.Int64

// drawWallet writes a wallet of a new user with the steps: random commands, including refusals
// of every kind, in transactions of random size.
func drawWallet(t *rapid.T, db *pgxpool.Pool) wallet.AssetRef {
	ref := wallet.AssetRef{UserID: fmt.Sprint("user-", users.Add(1)), Currency: rapid.SampledFrom([]string{"USD", "JPY", "BHD"}).Draw(t, "currency")}
	steps, ctx, n := activities.New(db), context.Background(), 0
	if rapid.Bool().Draw(t, "created by the first command") {
		_, err := steps.EnsureWalletAsset(ctx, ref)
		require.NoError(t, err)
	} else {
		_, err := steps.ApplyCommands(ctx, wallet.ApplyCommandsInput{AssetRef: ref, Commands: []wallet.Received{{Command: wallet.Command{ID: "open", Type: wallet.TypeCreate}}}})
		require.NoError(t, err)
	}
	command := rapid.Custom(func(t *rapid.T) wallet.Received {
		n++
		c := wallet.Command{ID: fmt.Sprint("c", n), Type: rapid.SampledFrom([]wallet.CommandType{wallet.TypeAdd, wallet.TypeAdd, wallet.TypeSubtract, wallet.TypeSubtract, wallet.TypeCreate, wallet.TypeFreeze, wallet.TypeUnfreeze, wallet.TypeClose}).Draw(t, "type")}
		switch c.Type {
		case wallet.TypeFreeze:
			c.What = rapid.SampledFrom([]string{"debits", "credits", "all"}).Draw(t, "what")
		case wallet.TypeAdd, wallet.TypeSubtract:
			c.Amount = wallet.MustAmount(rapid.SampledFrom([]string{"1", "2.5", "7", "0.001", "40"}).Draw(t, "amount"))
		}
		if rapid.IntRange(0, 9).Draw(t, "malformed") == 0 {
			return wallet.Malformed([]byte(fmt.Sprint("x", n)), "json/plain", wallet.Command{}, errors.New("no good"))
		}
		return wallet.Received{Command: c}
	})
	for range rapid.IntRange(0, 6).Draw(t, "transactions") {
		_, err := steps.ApplyCommands(ctx, wallet.ApplyCommandsInput{AssetRef: ref, Commands: rapid.SliceOfN(command, 1, 9).Draw(t, "commands")})
		require.NoError(t, err)
	}
	return ref
}

// replay folds a journal from scratch and returns the state before the first entry and after
// each entry.
func replay(t require.TestingT, ref wallet.AssetRef, scale int32, journal []wallet.Entry) []wallet.Asset {
	zero, _ := wallet.Amount{}.AtScale(scale)
	states := []wallet.Asset{{UserID: ref.UserID, Currency: ref.Currency, Scale: scale, Total: zero, Hold: zero}}
	for _, e := range journal {
		received := wallet.Received{Command: e.Command()}
		if e.Reason == wallet.ReasonMalformed {
			received.Malformed = e.Message
		}
		before := states[len(states)-1]
		rules, _ := wallet.RulesOf(e.Format)
		_, result, err := rules.Apply(wallet.Account{Asset: before}, received, e.RecordedAt)
		require.NoError(t, err)
		entry := rules.NewEntry(before, received.Command, result, e.RecordedAt)
		require.Equal(t, e.Hash, entry.Hash, "the journal is what the rules make")
		states = append(states, before.After(entry))
	}
	return states
}

// stateAt returns the last state recorded at or before a time.
func stateAt(states []wallet.Asset, at time.Time) wallet.Asset {
	found := states[0]
	for _, state := range states[1:] {
		if !state.UpdatedAt.After(at) {
			found = state
		}
	}
	return found
}

// drawTime prefers times just before, at and just after an entry.
func drawTime(t *rapid.T, states []wallet.Asset, label string) time.Time {
	entry := rapid.SampledFrom(states[1:]).Draw(t, label+": entry")
	return entry.UpdatedAt.Add(rapid.SampledFrom([]time.Duration{
		0, -time.Microsecond, time.Microsecond, -time.Nanosecond, time.Nanosecond, 300 * time.Microsecond, -300 * time.Microsecond, -24 * time.Hour, 24 * time.Hour,
	}).Draw(t, label+": offset"))
}

func scaleOf(t require.TestingT, db *pgxpool.Pool, currency string) (scale int32) {
	require.NoError(t, db.QueryRow(context.Background(), `SELECT scale FROM currencies WHERE code = $1`, currency).Scan(&scale))
	return scale
}

func journalOf(t require.TestingT, db *pgxpool.Pool, ref wallet.AssetRef) []wallet.Entry {
	entries, err := trail.New(db).Commands(context.Background(), trail.CommandFilter{UserID: ref.UserID, Currency: ref.Currency})
	require.NoError(t, err)
	return entries
}

func TestReadsAtAPastTimeEqualAReplayUpToIt(t *testing.T) {
	db := testenv.Pool(t, testenv.DatabaseURL(t))
	read, ctx := trail.New(db), context.Background()
	rapid.Check(t, func(t *rapid.T) {
		ref := drawWallet(t, db)
		states := replay(t, ref, scaleOf(t, db, ref.Currency), journalOf(t, db, ref))
		newest := states[len(states)-1]

		for range 10 {
			at := drawTime(t, states, "at")
			want := stateAt(states, at)
			got, err := read.AssetAt(ctx, ref.UserID, ref.Currency, at)
			all, errAll := read.AssetsAt(ctx, ref.UserID, at)
			if !want.Exists() {
				require.ErrorIs(t, err, trail.ErrNoWallet)
				require.ErrorContains(t, err, "but since "+states[1].UpdatedAt.Format(time.RFC3339Nano))
				require.ErrorIs(t, errAll, trail.ErrNoWallet)
				continue
			}
			require.NoError(t, err)
			requireAsset(t, want, got)
			require.NoError(t, errAll)
			require.Equal(t, []wallet.Asset{got}, all)
		}
		for _, state := range states[1:] {
			at, err := read.AssetAtVersion(ctx, ref.UserID, ref.Currency, state.Version)
			require.NoError(t, err)
			if at.Position == state.Position { // otherwise it is a refusal after it
				requireAsset(t, state, at)
			}
		}
		for _, version := range []int64{-1, 0, newest.Version + 1} {
			_, err := read.AssetAtVersion(ctx, ref.UserID, ref.Currency, version)
			require.ErrorIs(t, err, trail.ErrNoVersion)
			require.ErrorContains(t, err, fmt.Sprintf("its versions are 1 to %d", newest.Version))
		}
		current, err := read.Asset(ctx, ref.UserID, ref.Currency)
		require.NoError(t, err)
		requireAsset(t, newest, current)
	})
}

// requireAsset compares every field, amounts by their text.
func requireAsset(t require.TestingT, want, got wallet.Asset) {
	require.Equal(t, fmt.Sprintf("%+v", want), fmt.Sprintf("%+v", got))
}

func TestReadsAtAPastTimeOfUsersWithManyCurrenciesOrNone(t *testing.T) {
	db := testenv.Pool(t, testenv.DatabaseURL(t))
	read, steps := trail.New(db), activities.New(db)
	var created []wallet.Asset
	for _, currency := range []string{"USD", "EUR", "JPY"} {
		out, err := steps.EnsureWalletAsset(t.Context(), wallet.AssetRef{UserID: "u1", Currency: currency})
		require.NoError(t, err)
		created = append(created, out.Asset)
	}
	currencies := func(at time.Time) (list []string) {
		assets, err := read.AssetsAt(t.Context(), "u1", at)
		require.NoError(t, err)
		for _, a := range assets {
			list = append(list, a.Currency)
		}
		return list
	}
	require.Equal(t, []string{"USD"}, currencies(created[0].UpdatedAt))
	require.Equal(t, []string{"EUR", "USD"}, currencies(created[2].UpdatedAt.Add(-time.Microsecond)))
	require.Equal(t, []string{"EUR", "JPY", "USD"}, currencies(created[2].UpdatedAt.Add(time.Hour)), "the future is the current state")

	first := created[0].UpdatedAt
	_, err := read.AssetsAt(t.Context(), "u1", first.Add(-time.Second))
	require.ErrorIs(t, err, trail.ErrNoWallet)
	require.EqualError(t, err, fmt.Sprintf(`user "u1" owned nothing at %s, but since %s: no such wallet`,
		first.Add(-time.Second).Format(time.RFC3339Nano), first.Format(time.RFC3339Nano)))
	for _, err := range []error{
		second(read.AssetsAt(t.Context(), "nobody", first)),
		second(read.AssetAt(t.Context(), "u1", "GBP", first)),
		second(read.AssetAtVersion(t.Context(), "u1", "GBP", 1)),
	} {
		require.ErrorIs(t, err, trail.ErrNoWallet)
		require.ErrorContains(t, err, "owns nothing")
	}
}

func second[T any](_ T, err error) error { return err }
