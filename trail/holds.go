package trail

import (
	"context"
	"maps"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/valueledger/wallet"
	"github.com/valueledger/wallet/internal/service/rows"
)

// storedHold is a row of wallet_holds, and what is wrong with the row itself.
type storedHold struct {
	wallet.Hold
	problem string
}

const sqlVerifyHolds = `SELECT ` + rows.HoldColumns + `
	FROM wallet_holds
	WHERE ` + inRange + `
	ORDER BY user_id, currency, hold_id`

// readHolds reads a range's holds.
func readHolds(ctx context.Context, tx pgx.Tx, k keyRange) (map[key]map[string]storedHold, error) {
	found, err := tx.Query(ctx, sqlVerifyHolds, k.args()...)
	if err != nil {
		return nil, err
	}
	defer found.Close()
	holds := map[key]map[string]storedHold{}
	for found.Next() {
		h, problem := rows.ReadHold(found)
		at := key{h.UserID, h.Currency}
		if holds[at] == nil {
			holds[at] = map[string]storedHold{}
		}
		if _, twice := holds[at][h.ID]; twice {
			problem = "it has two rows"
		}
		holds[at][h.ID] = storedHold{h.Hold, problem}
	}
	return holds, found.Err()
}

// checkHolds compares the rows of a wallet's holds with what the journal says, and their sum
// with the balance's hold.
func (c *chain) checkHolds() {
	left := c.want.Hold.Sub(c.want.Hold)
	for _, h := range c.want.Holds {
		if h.IsOpen() {
			left = left.Add(h.Left())
		}
	}
	if left.Cmp(c.want.Hold) != 0 {
		c.wrong("wallet_holds", c.want.Position, "open holds add up to %s, but the journal's hold is %s", left, c.want.Hold)
		return
	}
	for _, id := range slices.Sorted(maps.Keys(c.want.Holds)) {
		want := c.want.Holds[id]
		have, stored := c.holds[id]
		switch {
		case !stored && c.scope.withoutMissing:
		case !stored:
			c.wrong("wallet_holds", want.Position, "hold %q has no row: run \"wallet repair\"", id)
			c.finding.MissingHold = true
		case have.problem != "":
			c.wrong("wallet_holds", want.Position, "hold %q: %s", id, have.problem)
		case !sameHold(have.Hold, want):
			c.wrong("wallet_holds", want.Position, "hold %q differs from the journal: the row has %+v, the journal gives %+v", id, have.Hold, want)
		}
		if c.finding != nil {
			return
		}
	}
	for _, id := range slices.Sorted(maps.Keys(c.holds)) {
		if _, known := c.want.Holds[id]; !known {
			c.wrong("wallet_holds", c.want.Position, "hold %q is not in the journal", id)
		}
	}
}

func sameHold(a, b wallet.Hold) bool {
	return a.State == b.State && a.Amount.Same(b.Amount) && a.Captured.Same(b.Captured) && a.Released.Same(b.Released) &&
		a.ExpiresAt.Equal(b.ExpiresAt) && a.PlacedAt.Equal(b.PlacedAt) && a.UpdatedAt.Equal(b.UpdatedAt) && a.Position == b.Position
}

// nextExpiry returns when the next open hold expires; zero if none does.
func nextExpiry(holds map[string]wallet.Hold) (next time.Time) {
	for _, h := range holds {
		if h.IsOpen() && !h.ExpiresAt.IsZero() && (next.IsZero() || h.ExpiresAt.Before(next)) {
			next = h.ExpiresAt
		}
	}
	return next
}

const (
	sqlHoldsOf = `SELECT ` + rows.HoldColumns + `
		FROM wallet_holds
		WHERE user_id = $1 AND ($2 = '' OR currency = $2) AND ($3 = '' OR state = $3) AND (currency, hold_id) > ($4, $5)
		ORDER BY currency, hold_id
		LIMIT $6`

	// sqlDueAmount is what is due at a given time, or now.
	sqlDueAmount = `SELECT coalesce(sum(amount - captured - released), 0)::text
		FROM wallet_holds
		WHERE user_id = $1 AND currency = $2 AND state = 'open' AND expires_at <= coalesce($3::timestamptz, clock_timestamp())`
)

// Hold is a hold of a wallet asset.
type Hold struct {
	wallet.AssetRef
	wallet.Hold
	Left wallet.Amount `json:"left"` // what is still reserved
}

// HoldFilter selects a page of a user's holds, after a given hold.
type HoldFilter struct {
	UserID, Currency string
	State            wallet.HoldState
	AfterCurrency    string
	AfterID          string
	Limit            int
}

// Holds reads a page of a user's holds, by currency and id. A hold past its expiry counts as
// expired, with or without an entry for it.
func (r Reader) Holds(ctx context.Context, f HoldFilter) ([]Hold, error) {
	state := f.State
	if state == wallet.HoldExpired { // some open ones have expired too: checked below, by the clock
		state = ""
	}
	var now time.Time
	if err := r.db.QueryRow(ctx, sqlClock).Scan(&now); err != nil {
		return nil, err
	}
	after, limit := f, pageSize(f.Limit)
	var page []Hold
	for len(page) < limit {
		found, err := r.db.Query(ctx, sqlHoldsOf, f.UserID, f.Currency, string(state), after.AfterCurrency, after.AfterID, MaxPage)
		if err != nil {
			return nil, err
		}
		stored, err := rows.CollectHolds(found)
		if err != nil {
			return nil, err
		}
		for _, h := range stored {
			after.AfterCurrency, after.AfterID = h.Currency, h.ID
			if h.IsDue(now) {
				h.State, h.Released = wallet.HoldExpired, h.Released.Add(h.Left())
			}
			if (f.State == "" || h.State == f.State) && len(page) < limit {
				page = append(page, Hold{h.AssetRef, h.Hold, h.Left()})
			}
		}
		if len(stored) < MaxPage {
			break
		}
	}
	return page, nil
}

// countDue counts holds that have expired but have no entry yet as available.
func (r Reader) countDue(ctx context.Context, a *wallet.Asset) error {
	if a.NextExpiry.IsZero() {
		return nil
	}
	return readDue(ctx, r.db, a, nil)
}

// readDue reads how much of the current balance is due, at a given time or now.
func readDue(ctx context.Context, db interface {
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
}, a *wallet.Asset, at *time.Time) error {
	var due wallet.Amount
	if err := db.QueryRow(ctx, sqlDueAmount, a.UserID, a.Currency, at).Scan(&due); err != nil {
		return err
	}
	if !due.IsZero() {
		a.Due, _ = due.AtScale(a.Scale)
	}
	return nil
}
