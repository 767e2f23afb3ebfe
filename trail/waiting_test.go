package trail_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/valueledger/wallet"
	"github.com/valueledger/wallet/activities"
	"github.com/valueledger/wallet/internal/test/testenv"
	"github.com/valueledger/wallet/trail"
)

// applyWithoutEvents adds to u0001's wallet like the first of the two transactions.
func applyWithoutEvents(t *testing.T, db *pgxpool.Pool, ids ...string) {
	for _, id := range ids {
		_, err := activities.New(db).ApplyCommands(context.Background(), wallet.ApplyCommandsInput{AssetRef: victim, Commands: []wallet.Received{
			{Command: wallet.Command{ID: id, Type: wallet.TypeAdd, Amount: wallet.MustAmount("1")}},
		}})
		require.NoError(t, err)
	}
}

// recordEvent appends the event of one version.
func recordEvent(t *testing.T, db *pgxpool.Pool, version int64, actor string) {
	_, err := db.Exec(context.Background(), `WITH event AS (
			INSERT INTO wallet_asset_events (user_id, currency, version, event_type, command_id, amount,
				total_before, total_after, hold_before, hold_after, description, actor, metadata, occurred_at, position, hash)
			SELECT user_id, currency, version, 'wallet_asset.added', command_id, amount,
				total_before, total_after, hold_before, hold_after, description, nullif($2, ''), metadata, recorded_at, position, hash
			FROM wallet_commands
			WHERE user_id = 'u0001' AND version = $1
			RETURNING *)
		INSERT INTO wallet_feed (user_id, currency, first_version, last_version)
		SELECT user_id, currency, version, version FROM event`, version, actor)
	require.NoError(t, err)
}

// TestVerifyWaitsForEventsThatAreStillToCome runs while the service is between the entry and
// its event. fill has left u0001 with 4 versions.
func TestVerifyWaitsForEventsThatAreStillToCome(t *testing.T) {
	for name, row := range map[string]struct {
		meanwhile func(t *testing.T, db *pgxpool.Pool) // versions 5 and 6 have no event
		problem   string
	}{
		"they come": {func(t *testing.T, db *pgxpool.Pool) {
			_, err := activities.New(db).RecordEvents(context.Background(), victim)
			require.NoError(t, err)
		}, ""},
		"they come, and another entry": {func(t *testing.T, db *pgxpool.Pool) {
			applyWithoutEvents(t, db, "y")
			recordEvent(t, db, 6, "")
			recordEvent(t, db, 5, "")
		}, ""},
		"none comes":                   {func(*testing.T, *pgxpool.Pool) {}, `entry "x1" (version 5) has no event`},
		"only another's comes":         {func(t *testing.T, db *pgxpool.Pool) { recordEvent(t, db, 6, "") }, `entry "x1" (version 5) has no event`},
		"only the first comes":         {func(t *testing.T, db *pgxpool.Pool) { recordEvent(t, db, 5, "") }, `entry "x2" (version 6) has no event`},
		"another comes than the entry": {func(t *testing.T, db *pgxpool.Pool) { recordEvent(t, db, 5, "me") }, "event of version 5 does not repeat actor"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			db := testenv.Pool(t, testenv.DatabaseURL(t))
			fill(t, db, 3)
			applyWithoutEvents(t, db, "x1", "x2")
			late := make(chan struct{})
			time.AfterFunc(500*time.Millisecond, func() {
				defer close(late)
				row.meanwhile(t, db)
			})
			report := verify(t, db, trail.VerifyOptions{Patience: 3 * time.Second})
			<-late
			require.Equal(t, int64(3*8+2), report.Entries, "each is counted once")
			require.Equal(t, int64(3), report.Wallets)
			if row.problem == "" {
				require.Empty(t, report.Findings)
				return
			}
			require.Len(t, report.Findings, 1)
			require.Contains(t, report.Findings[0].Problem, row.problem)
		})
	}
}

func TestVerifyAccusesNobodyWhileTheServiceRuns(t *testing.T) {
	url := testenv.DatabaseURL(t)
	db := testenv.Pool(t, url)
	steps := activities.New(testenv.Pool(t, url))
	ctx, stop := context.WithCancel(t.Context())
	group := &errgroup.Group{}
	for wallets := range 4 {
		ref := wallet.AssetRef{UserID: fmt.Sprint("u", wallets), Currency: "USD"}
		_, err := steps.EnsureWalletAsset(t.Context(), ref)
		require.NoError(t, err)
		group.Go(func() error {
			for n := 0; ctx.Err() == nil; n++ {
				if _, err := steps.ApplyCommands(t.Context(), wallet.ApplyCommandsInput{AssetRef: ref, Commands: []wallet.Received{
					{Command: wallet.Command{ID: fmt.Sprint(n), Type: wallet.TypeAdd, Amount: wallet.MustAmount("1")}},
				}}); err != nil {
					return err
				}
				if _, err := steps.RecordEvents(t.Context(), ref); err != nil {
					return err
				}
			}
			return nil
		})
	}
	for range 20 {
		require.Empty(t, verify(t, db, trail.VerifyOptions{}).Findings)
	}
	stop()
	require.NoError(t, group.Wait())
}
