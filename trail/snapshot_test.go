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
