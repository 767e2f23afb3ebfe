package torture

import (
	"context"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/valueledger/wallet/migrations"
)

// sqlClock puts a clock of torture's own in the place of Postgres's, for the service's role:
// one of pg_catalog is found first, unless the path names it.
const sqlClock = `CREATE SCHEMA clock;
	CREATE TABLE clock.ahead (seconds float8 NOT NULL);
	INSERT INTO clock.ahead VALUES (0);
	CREATE FUNCTION clock.clock_timestamp() RETURNS timestamptz LANGUAGE sql VOLATILE AS
		$$ SELECT pg_catalog.clock_timestamp() + pg_catalog.make_interval(secs => (SELECT seconds FROM clock.ahead)) $$;
	GRANT USAGE ON SCHEMA clock TO ` + migrations.RoleApp + `;
	GRANT SELECT ON clock.ahead TO ` + migrations.RoleApp + `;
	ALTER ROLE ` + migrations.RoleApp + ` IN DATABASE ` + database + ` SET search_path = public, clock, pg_catalog`

const sqlSetClock = `UPDATE clock.ahead SET seconds = $1`

// clock is Postgres's as the service sees it.
type clock struct {
	owner *pgxpool.Pool

	mu       sync.Mutex
	ahead    time.Duration // at most, where an answer was lost
	furthest time.Time     // that it can have shown
}

func newClock(ctx context.Context, owner *pgxpool.Pool) (*clock, error) {
	_, err := owner.Exec(ctx, sqlClock, pgx.QueryExecModeSimpleProtocol)
	return &clock{owner: owner}, err
}

// set lets it go ahead, or back where ahead is negative. One fault at a time does so.
func (c *clock) set(ctx context.Context, ahead time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ahead = max(c.ahead, ahead)
	_, err := c.owner.Exec(ctx, sqlSetClock, ahead.Seconds())
	if shown := time.Now().Add(c.ahead); shown.After(c.furthest) {
		c.furthest = shown
	}
	if err == nil {
		c.ahead = ahead
	}
	return err
}

// healed sets it right for good and returns a time that it has shown at no moment before.
func (c *clock) healed(ctx context.Context, w *world) (time.Time, error) {
	err := w.eventually(ctx, startPatience, "the clock of Postgres", func(ctx context.Context) error { return c.set(ctx, 0) })
	return c.furthest, err
}
