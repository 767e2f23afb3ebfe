package postgres

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

// Standby is a server whose data may be older than the primary's.
type Standby struct {
	Server string
	// WAL is the place in the primary's log up to which the server has replayed it.
	WAL int64
	// Replayed is when the last transaction that the server has replayed was committed; nil if
	// none since it started. Lag is how long before the query that was.
	Replayed *time.Time
	Lag      time.Duration
}

func (s *Standby) String() string {
	if s.Replayed == nil {
		return fmt.Sprintf("read from the standby %s, which has replayed nothing since it started: it may lack what the primary has", s.Server)
	}
	return fmt.Sprintf("read from the standby %s, whose last replayed transaction was committed %s ago (%s): it may lack what the primary has committed since then", s.Server, s.Lag.Round(100*time.Millisecond), s.Replayed.UTC().Format(time.RFC3339))
}

const (
	// The clocks of the two servers may differ.
	sqlStandby = `SELECT pg_is_in_recovery(), coalesce((pg_last_wal_replay_lsn() - '0/0')::bigint, 0), pg_last_xact_replay_timestamp(),
		greatest(0, coalesce(extract(epoch FROM clock_timestamp() - pg_last_xact_replay_timestamp()), 0))::float8`

	// What is answered is flushed, and a standby is sent only what is flushed.
	sqlFlushed = `SELECT (pg_current_wal_flush_lsn() - '0/0')::bigint`
)

// StandbyOf returns the standby that a connection leads to, or nil.
func StandbyOf(ctx context.Context, conn *pgx.Conn) (*Standby, error) {
	s := &Standby{Server: Server(conn.PgConn())}
	var inRecovery bool
	var seconds float64
	if err := conn.QueryRow(ctx, sqlStandby).Scan(&inRecovery, &s.WAL, &s.Replayed, &seconds); err != nil || !inRecovery {
		return nil, err
	}
	s.Lag = time.Duration(seconds * float64(time.Second))
	return s, nil
}
