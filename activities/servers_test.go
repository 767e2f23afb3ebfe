package activities_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/valueledger/wallet"
	"github.com/valueledger/wallet/activities"
	"github.com/valueledger/wallet/internal/dev/devstack"
	"github.com/valueledger/wallet/internal/service/postgres"
	"github.com/valueledger/wallet/internal/test/testenv"
)

// stepsOn returns steps on the test's own Postgres.
func stepsOn(t *testing.T, server *devstack.Postgres) steps {
	owner := server.URL(testenv.OwnDatabase)
	return steps{activities.New(testenv.Pool(t, testenv.AppURL(t, owner))), t, testenv.Pool(t, owner), wallet.AssetRef{UserID: "u1", Currency: "USD"}}
}

// try runs a step once.
func (s steps) try(ctx context.Context, commands ...wallet.Received) error {
	_, err := s.ApplyCommands(ctx, wallet.ApplyCommandsInput{AssetRef: s.ref, Commands: commands})
	return err
}

// TestAStepIsRefusedByAStandby then promotes the standby: the same step on the same pool must
// succeed.
func TestAStepIsRefusedByAStandby(t *testing.T) {
	primary := testenv.OwnPostgres(t)
	stepsOn(t, primary).apply(create("open"), add("a", "1"))
	standby := testenv.Standby(t, primary)
	s := stepsOn(t, standby)
	for _, command := range []wallet.Received{add("b", "1"), add("a", "1")} { // one new, one answered before
		err := s.try(t.Context(), command)
		var notWritable *postgres.NotWritableError
		require.ErrorAs(t, err, &notWritable)
		require.ErrorContains(t, err, fmt.Sprintf("the server 127.0.0.1:%d is a standby (in recovery) and does not accept writes: connect to the primary", standby.Port()))
	}
	testenv.Exec(t, standby.URL("postgres"), `SELECT pg_promote()`)
	require.Equal(t, wallet.StatusApplied, s.apply(add("b", "1"))[0].Status)
}

// TestAStepIsRefusedWhereTransactionsBeginReadOnly also checks that the pool drops sessions
// that began read-only.
func TestAStepIsRefusedWhereTransactionsBeginReadOnly(t *testing.T) {
	url := testenv.DatabaseURL(t)
	owner, database := testenv.Pool(t, url), ""
	require.NoError(t, owner.QueryRow(t.Context(), `SELECT current_database()`).Scan(&database))
	testenv.Exec(t, url, `ALTER DATABASE `+database+` SET default_transaction_read_only = on`)
	s := steps{activities.New(testenv.Pool(t, testenv.AppURL(t, url))), t, owner, wallet.AssetRef{UserID: "u1", Currency: "USD"}}
	require.ErrorContains(t, s.try(t.Context(), add("a", "1")), "begins transactions read-only: set default_transaction_read_only to off")
	testenv.Exec(t, url, `SET default_transaction_read_only = off`, `ALTER DATABASE `+database+` SET default_transaction_read_only = off`)
	require.Equal(t, wallet.StatusApplied, s.apply(add("a", "1"))[0].Status)
}

// TestAnAnsweredCommandSurvivesAnImmediateStop uses a role whose commits do not wait for the
// disk, writes the log as late as Postgres allows, and stops the server right after each
// answer.
func TestAnAnsweredCommandSurvivesAnImmediateStop(t *testing.T) {
	server := testenv.OwnPostgres(t, "wal_writer_delay=10s")
	testenv.Exec(t, server.URL("postgres"), `ALTER ROLE wallet_app SET synchronous_commit = off`)
	for round := range 5 {
		s := stepsOn(t, server)
		s.apply(add(fmt.Sprint("a-", round), "1"))
		require.NoError(t, server.StopImmediately())
		require.NoError(t, server.Start(t.Context()))
		s.db.Reset()
		require.Len(t, s.journal(), 1+round+1, "the opening entry, and all that was answered")
	}
}

// synchronous starts a Postgres whose commits wait for a standby.
func synchronous(t *testing.T) (primary, standby *devstack.Postgres) {
	primary = testenv.OwnPostgres(t)
	standby = testenv.Standby(t, primary)
	url := primary.URL("postgres")
	testenv.Exec(t, url, `ALTER SYSTEM SET synchronous_standby_names = '*'`, `SELECT pg_reload_conf()`)
	db := testenv.Pool(t, url)
	require.Eventually(t, func() (is bool) {
		require.NoError(t, db.QueryRow(t.Context(), `SELECT EXISTS (SELECT FROM pg_stat_replication WHERE sync_state = 'sync')`).Scan(&is))
		return is
	}, time.Minute, 20*time.Millisecond)
	return primary, standby
}

// TestARetryIsAnsweredWhenItsAnswerIsReplicated pauses the standby that commits wait for. The
// first try of a command is abandoned while it waits: its commit is then visible, but exists on
// one server only. A retry reads it there.
func TestARetryIsAnsweredWhenItsAnswerIsReplicated(t *testing.T) {
	primary, standby := synchronous(t)
	s := stepsOn(t, primary)
	s.apply(create("open"))
	waiting := func() (n int) {
		require.NoError(t, s.db.QueryRow(t.Context(), `SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep'`).Scan(&n))
		return n
	}
	standby.Process().Pause()

	first, giveUp := context.WithCancel(t.Context())
	failed := make(chan error, 1)
	go func() { failed <- s.try(first, add("a", "1")) }()
	require.Eventually(t, func() bool { return waiting() == 1 }, time.Minute, 10*time.Millisecond)
	giveUp()
	require.Error(t, <-failed)
	require.Eventually(t, func() bool { return len(s.journal()) == 2 }, time.Minute, 10*time.Millisecond, "its entry is there to be read")

	answered := make(chan wallet.Result, 1)
	go func() { answered <- s.apply(add("a", "1"))[0] }()
	require.Eventually(t, func() bool {
		require.Empty(t, answered, "the retry was answered before the standby has its entry")
		return waiting() == 1
	}, time.Minute, 10*time.Millisecond)
	standby.Process().Resume()
	require.True(t, (<-answered).Replayed)
}

// TestLockedWalletsLeaveConnectionsForOthers lets another session lock more wallets than the
// pool has connections, and keeps retrying a step for each, as Temporal does. A wallet that is
// not locked must still make progress.
func TestLockedWalletsLeaveConnectionsForOthers(t *testing.T) {
	url := testenv.DatabaseURL(t)
	const connections, locked, commands = 4, 12, 20
	pool := testenv.Pool(t, testenv.AppURL(t, url)+fmt.Sprint("&pool_max_conns=", connections))
	s := steps{activities.New(pool), t, testenv.Pool(t, url), wallet.AssetRef{UserID: "free", Currency: "USD"}}
	of := func(i int) steps {
		stuck := s
		stuck.ref.UserID = fmt.Sprint("locked-", i)
		return stuck
	}
	for i := range locked {
		of(i).apply(create("open"))
	}
	holder, err := s.db.Begin(t.Context())
	require.NoError(t, err)
	defer func() { _ = holder.Rollback(context.Background()) }()
	_, err = holder.Exec(t.Context(), `SELECT FROM wallet_assets FOR UPDATE`)
	require.NoError(t, err)

	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	var stuck sync.WaitGroup
	failures := make(chan error, 10_000)
	for i := range locked {
		stuck.Go(func() {
			for pause := 200 * time.Millisecond; ; pause = min(2*pause, 5*time.Second) { // as workflows.untilItWorks
				err := of(i).try(ctx, add("a", "1"))
				if err == nil || ctx.Err() != nil {
					return
				}
				failures <- err
				time.Sleep(pause)
			}
		})
	}
	require.ErrorContains(t, <-failures, "another Postgres session holds a lock that this step needs: look in pg_stat_activity")
	for i := range commands {
		for s.try(ctx, add(fmt.Sprint("a-", i), "1")) != nil {
			require.NoError(t, ctx.Err(), "an unrelated wallet got no further than command %d", i)
		}
	}
	require.NoError(t, holder.Rollback(t.Context()))
	stuck.Wait()
	require.NoError(t, ctx.Err())
	for i := range locked {
		require.Len(t, of(i).journal(), 2, "each command once, when it could be")
	}
}

// TestAWorkerThatIsGoneLeavesItsWallets stops a worker between the locks and the commit. Its
// connection stays open, so nothing tells Postgres.
func TestAWorkerThatIsGoneLeavesItsWallets(t *testing.T) {
	url := testenv.DatabaseURL(t)
	s := steps{activities.New(testenv.Pool(t, testenv.AppURL(t, url))), t, testenv.Pool(t, url), wallet.AssetRef{UserID: "u1", Currency: "USD"}}
	s.apply(create("open"))
	gone, end := context.WithCancel(t.Context())
	defer end()
	require.NoError(t, s.LockAndStop(gone, s.ref))
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	for err := errors.New("not tried yet"); err != nil; err = s.try(ctx, add("a", "1")) {
		require.NoError(t, ctx.Err(), "the wallet is locked for good")
	}
}
