package activities_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/valueledger/wallet"
	"github.com/valueledger/wallet/activities"
	"github.com/valueledger/wallet/internal/test/testenv"
)

// of is the same steps for another user's wallet.
func (s steps) of(userID string) steps {
	s.ref.UserID = userID
	return s
}

// withHolds makes a user's wallet with holds of 1 that expire in an hour, and their events.
func (s steps) withHolds(userID string, holds int) steps {
	s = s.of(userID)
	s.apply(add("funds", "10000"))
	for first := 0; first < holds; first += 500 {
		var commands []wallet.Received
		for i := first; i < min(first+500, holds); i++ {
			commands = append(commands, hold(fmt.Sprint("hold-", i), "1", "1h"))
		}
		s.apply(commands...)
	}
	s.record()
	return s
}

// makeOverdue has the holds of all wallets expire so long ago.
func (s steps) makeOverdue(since time.Duration) {
	s.exec(`UPDATE wallet_holds SET expires_at = statement_timestamp() - $1::interval WHERE state = 'open'`, since)
	s.exec(`UPDATE wallet_assets SET next_expiry = statement_timestamp() - $1::interval WHERE open_holds > 0`, since)
}

func (s steps) exec(sql string, args ...any) {
	_, err := s.db.Exec(context.Background(), sql, args...)
	require.NoError(s.t, err, sql)
}

// sweep is one whose failure is expected to name problem; none if that is empty.
func (s steps) sweep(ctx context.Context, problem string) int {
	_, wallets, err := s.ExpireOverdue(ctx)
	if problem == "" {
		require.NoError(s.t, err)
	} else {
		require.ErrorContains(s.t, err, problem)
	}
	return wallets
}

func (s steps) openHolds() (n int) {
	require.NoError(s.t, s.db.QueryRow(context.Background(), `SELECT count(*) FROM wallet_holds WHERE user_id = $1 AND state = 'open'`, s.ref.UserID).Scan(&n))
	return n
}

// unrecorded is how many applied entries of the wallet have no event.
func (s steps) unrecorded() (n int) {
	require.NoError(s.t, s.db.QueryRow(context.Background(), `SELECT a.version - (SELECT count(*) FROM wallet_asset_events AS e WHERE e.user_id = a.user_id AND e.currency = a.currency)
		FROM wallet_assets AS a WHERE a.user_id = $1`, s.ref.UserID).Scan(&n))
	return n
}

// lock has another session keep the wallet locked until the end of the test.
func (s steps) lock() {
	tx, err := s.db.Begin(context.Background())
	require.NoError(s.t, err)
	s.t.Cleanup(func() { _ = tx.Rollback(context.Background()) })
	_, err = tx.Exec(context.Background(), `SELECT FROM wallet_assets WHERE user_id = $1 FOR UPDATE`, s.ref.UserID)
	require.NoError(s.t, err)
}

// bounded ends what would go on for ever.
func bounded(t *testing.T) context.Context {
	ctx, cancel := context.WithCancel(t.Context()) // a deadline would change how a step waits
	timer := time.AfterFunc(time.Minute, cancel)
	t.Cleanup(func() { timer.Stop(); cancel() })
	return ctx
}

// TestTheSweepOutlivesRowsThatContradictEachOther has one bad row, of the first wallet.
func TestTheSweepOutlivesRowsThatContradictEachOther(t *testing.T) {
	s := newSteps(t)
	bad, good := s.withHolds("u1", 1), s.withHolds("u2", 1)
	s.exec(`UPDATE wallet_holds SET amount = 2 WHERE user_id = 'u1'`)
	s.makeOverdue(time.Minute)
	require.Equal(t, 1, s.sweep(t.Context(), `the rows of the USD wallet of user "u1" contradict each other`))
	require.Equal(t, 1, bad.openHolds())
	require.Zero(t, good.openHolds())
}

func TestALockedWalletDoesNotStopTheSweepOfOthers(t *testing.T) {
	s := newSteps(t)
	locked, free := s.withHolds("u1", 1), s.withHolds("u2", 1)
	s.makeOverdue(time.Minute)
	locked.lock()
	require.Equal(t, 1, s.sweep(bounded(t), "another Postgres session holds a lock that this step needs"))
	require.Equal(t, 1, locked.openHolds())
	require.Zero(t, free.openHolds())
	require.Zero(t, s.sweep(bounded(t), ""), "one that failed just now is left alone for a while")
}

// TestOneSweepExpiresWhateverIsOverdue has more wallets than it looks up at once, and before
// them one whose holds fill a page and cannot expire.
func TestOneSweepExpiresWhateverIsOverdue(t *testing.T) {
	s := newSteps(t)
	locked := s.withHolds("a", 1000)
	s.makeOverdue(time.Hour)
	for i := range 1100 {
		s.of(fmt.Sprintf("u%04d", i)).apply(add("funds", "1"), hold("h", "1", "1h"))
	}
	s.exec(`UPDATE wallet_holds SET expires_at = clock_timestamp() - interval '1 minute' WHERE expires_at > clock_timestamp()`)
	s.exec(`UPDATE wallet_assets SET next_expiry = clock_timestamp() - interval '1 minute' WHERE next_expiry > clock_timestamp()`)
	locked.lock()
	require.Equal(t, 1100, s.sweep(bounded(t), `"a"`))
	require.Equal(t, 1000, locked.openHolds())
}

// TestTheSweepCountsWhatExpired has a hold whose row was opened again, although it expired: the
// sweep finds it, and nothing expires.
func TestTheSweepCountsWhatExpired(t *testing.T) {
	s := newSteps(t)
	s.withHolds("u1", 1)
	s.makeOverdue(time.Minute)
	s.exec(`UPDATE wallet_assets SET next_expiry = NULL`) // which the sweep does without
	require.Equal(t, 1, s.sweep(t.Context(), ""))
	s.exec(`UPDATE wallet_holds SET state = 'open', released = 0`)
	require.Zero(t, s.sweep(t.Context(), ""))
}

// TestTheSweepRecordsWhatExpired fails between the entry and its event: with an error that is
// seen, and by the end of the process.
func TestTheSweepRecordsWhatExpired(t *testing.T) {
	t.Run("an error", func(t *testing.T) {
		s := newSteps(t)
		s = s.withHolds("u1", 1)
		s.makeOverdue(time.Minute)
		s.exec(`REVOKE EXECUTE ON FUNCTION wallet_record_events FROM wallet_app`)
		require.Equal(t, 1, s.sweep(t.Context(), "permission denied for function wallet_record_events"))
		require.Equal(t, 1, s.unrecorded())
		s.exec(`GRANT EXECUTE ON FUNCTION wallet_record_events TO wallet_app`)
		s.exec(`UPDATE wallet_holds SET updated_at = updated_at - interval '1 minute'`)
		again := s
		again.Activities = activities.New(testenv.Pool(t, testenv.AppURL(t, s.db.Config().ConnString())))
		require.Zero(t, again.sweep(t.Context(), ""))
		require.Zero(t, s.unrecorded())
	})
	t.Run("a crash", func(t *testing.T) {
		s := newSteps(t)
		s = s.withHolds("u1", 1)
		s.sweep(t.Context(), "") // it has looked at all that was there
		s.makeOverdue(time.Minute)
		s.apply()
		require.Equal(t, 1, s.unrecorded())
		s.exec(`UPDATE wallet_holds SET updated_at = clock_timestamp() - interval '20 seconds'`)
		require.Zero(t, s.sweep(t.Context(), ""))
		require.Zero(t, s.unrecorded())
	})
}

// TestTheSweepReadsOnlyWhatIsOverdue has many open holds, and many that expired long ago.
func TestTheSweepReadsOnlyWhatIsOverdue(t *testing.T) {
	db, plans := explained(t, testenv.DatabaseURL(t))
	s := steps{activities.New(db), t, db, wallet.AssetRef{UserID: "u1", Currency: "USD"}}
	s.apply(add("funds", "1"))
	s.record()
	s.sweep(t.Context(), "")
	s.exec(manyHolds("u2", "open", 5000))
	s.exec(manyHolds("u3", "expired", 5000))
	for _, analyzed := range []bool{false, true} {
		if analyzed {
			_, err := db.Exec(t.Context(), `ANALYZE`, pgx.QueryExecModeSimpleProtocol)
			require.NoError(t, err)
		}
		*plans = nil
		require.Zero(t, s.sweep(t.Context(), ""))
		require.NotEmpty(t, *plans)
		requireFewRows(t, *plans, 10)
	}
}
