package trail

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/valueledger/wallet"
	"github.com/valueledger/wallet/internal/service/postgres"
)

// Ahead is a wallet asset whose last entry is ahead of Postgres's clock, which was ahead itself
// when an entry was recorded, and was put back. Time never runs backwards along a chain, so each
// later entry has that entry's time until the clock has reached it.
type Ahead struct {
	wallet.AssetRef
	UpdatedAt time.Time     // of the last entry
	By        time.Duration // how far it is ahead
}

const sqlAhead = `SELECT user_id, currency, updated_at, now
	FROM wallet_assets, (SELECT clock_timestamp() AS now) AS clock
	WHERE user_id = $1 AND ($2 = '' OR currency = $2) AND updated_at > now + $3::interval
	ORDER BY currency`

// Ahead lists a user's wallet assets, or the one, whose last entry is ahead of Postgres's clock.
// Reads at the present time do not count such entries, reads of the current balance do.
func (r Reader) Ahead(ctx context.Context, userID, currency string) ([]Ahead, error) {
	found, err := r.db.Query(ctx, sqlAhead, userID, currency, postgres.ClockTolerance)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(found, func(row pgx.CollectableRow) (a Ahead, err error) {
		var now time.Time
		err = row.Scan(&a.UserID, &a.Currency, &a.UpdatedAt, &now)
		a.UpdatedAt, a.By = a.UpdatedAt.UTC(), a.UpdatedAt.Sub(now).Round(time.Second)
		return a, err
	})
}

// Note is something about a wallet asset that people should know, though nothing is wrong with
// its rows.
type Note struct {
	UserID   string `json:"user_id"`
	Currency string `json:"currency"`
	// Position and Version are those of the first entry that it is about; Version is 0 if the
	// entry was refused.
	Position   int64     `json:"position"`
	Version    int64     `json:"version,omitempty"`
	RecordedAt time.Time `json:"recorded_at"`
	Note       string    `json:"note"`
}

// noteTime notes the first entry whose time is ahead of Postgres's clock.
func (c *chain) noteTime(e *wallet.Entry) {
	if c.note == nil && e.RecordedAt.After(c.clock.Add(postgres.ClockTolerance)) {
		c.note = &Note{UserID: c.key.userID, Currency: c.key.currency, Position: e.Position, Version: e.Version, RecordedAt: e.RecordedAt,
			Note: fmt.Sprintf("entry %q has a time that is %s ahead of Postgres's clock, and later entries cannot have an earlier one: see \"Postgres's clock was ahead\" in docs/guides/when-lost.md",
				e.CommandID, e.RecordedAt.Sub(c.clock).Round(time.Second))}
	}
}
