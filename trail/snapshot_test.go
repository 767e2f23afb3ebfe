package trail_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/valueledger/wallet/internal/test/testenv"
	"github.com/valueledger/wallet/trail"
)

// endsAtBegin is a context that ends when a transaction begins.
type endsAtBegin struct{}

func (endsAtBegin) TraceQueryStart(ctx context.Context, _ *pgx.Conn, query pgx.TraceQueryStartData) context.Context {
	if strings.HasPrefix(query.SQL, "begin") {
		ended, end := context.WithCancel(ctx)
		end()
		return ended
	}
	return ctx
}

func (endsAtBegin) TraceQueryEnd(context.Context, *pgx.Conn, pgx.TraceQueryEndData) {}

// TestASnapshotThatCannotBeginGivesAllConnectionsBack: a leaked connection would keep the pool
// from closing, and so a worker from stopping.
func TestASnapshotThatCannotBeginGivesAllConnectionsBack(t *testing.T) {
	config, err := pgxpool.ParseConfig(testenv.DatabaseURL(t))
	require.NoError(t, err)
	config.ConnConfig.Tracer, config.MaxConns = endsAtBegin{}, 3
	pool, err := pgxpool.NewWithConfig(t.Context(), config)
	require.NoError(t, err)
	err = trail.New(pool).InSnapshot(t.Context(), 3, func([]pgx.Tx) error { return nil })
	require.ErrorIs(t, err, context.Canceled)
	require.Eventually(t, func() bool { return pool.Stat().AcquiredConns() == 0 }, time.Minute, time.Millisecond, "a broken one is closed in the background")
	pool.Close()
}

// slowReader looks, each time that a verification begins to read a journal, how old the oldest of
// its transactions is.
type slowReader struct {
	t      *testing.T
	other  *pgxpool.Pool
	reads  []time.Time // when it began to read a journal, by Postgres's clock
	oldest []time.Time // when the oldest of its transactions began, then
}

func (s *slowReader) TraceQueryStart(ctx context.Context, _ *pgx.Conn, query pgx.TraceQueryStartData) context.Context {
	if strings.Contains(query.SQL, "FROM wallet_commands") && !strings.Contains(query.SQL, "FROM wallet_transactions") {
		var now, oldest time.Time
		require.NoError(s.t, s.other.QueryRow(s.t.Context(), `SELECT clock_timestamp(), min(xact_start)
			FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'verification'`).Scan(&now, &oldest))
		s.reads, s.oldest = append(s.reads, now), append(s.oldest, oldest)
	}
	return ctx
}

func (*slowReader) TraceQueryEnd(context.Context, *pgx.Conn, pgx.TraceQueryEndData) {}

// TestVerifyHoldsNoSnapshotLongerThanARange: while it does, Postgres removes no old versions of
// rows, and a busy wallet becomes slow.
func TestVerifyHoldsNoSnapshotLongerThanARange(t *testing.T) {
	url := testenv.DatabaseURL(t)
	db := testenv.Pool(t, url)
	fill(t, db, 600)
	config, err := pgxpool.ParseConfig(url)
	require.NoError(t, err)
	s := &slowReader{t: t, other: db}
	config.ConnConfig.Tracer, config.MaxConns = s, 4
	config.ConnConfig.RuntimeParams["application_name"] = "verification"
	pool, err := pgxpool.NewWithConfig(t.Context(), config)
	require.NoError(t, err)
	defer pool.Close()
	report, err := trail.New(pool).Verify(t.Context(), trail.VerifyOptions{})
	require.NoError(t, err)
	require.Equal(t, trail.Report{Wallets: 600, Entries: 600 * 8, Events: 600 * 4, Findings: []trail.Finding{}}, report)
	require.Len(t, s.reads, 3)
	for i, oldest := range s.oldest[1:] {
		require.True(t, oldest.After(s.reads[i]), "at %s a transaction was open that began at %s, when range %d was not read yet", s.reads[i+1], oldest, i+1)
	}
}
