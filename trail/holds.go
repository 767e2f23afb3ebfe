package trail

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/valueledger/wallet"
	"github.com/valueledger/wallet/internal/service/rows"
)

// storedHold is a row of wallet_holds, and what is wrong with the row itself.
type storedHold struct {
	wallet.Hold
	problem string
	grant   *rows.Grant // if the row is one of wallet_grants
}

// The row of a hold or a grant has the position of its last entry, so rows in this order are read
// beside the journal: a row is compared at its entry and not kept. grant_number tells which it is.
const sqlVerifyHolds = `SELECT ` + rows.HoldColumns + `, NULL::bigint AS grant_number, NULL AS command_id, NULL::smallint AS priority,
		NULL AS unused, NULL AS held, NULL AS used, NULL AS expired, NULL::integer AS expiries, NULL::timestamptz AS added_at
	FROM wallet_holds
	WHERE ` + inRange + `
	UNION ALL
	SELECT user_id, currency, NULL, state, amount::text, NULL, NULL, expires_at, NULL, updated_at, position, NULL, grant_number, command_id, priority,
		unused::text, held::text, used::text, expired::text, expiries, added_at
	FROM wallet_grants
	WHERE ` + inRange + `
	ORDER BY user_id, currency, position, grant_number`

// chainHolds is what a chain keeps of a wallet's holds, besides those that are open.
type chainHolds struct {
	// closed are the states of those that are not open any more: all that the rules need of
	// them to refuse a command.
	closed map[string]wallet.HoldState
	stored map[string]bool // open ones whose rows were as the journal has it so far
	due    time.Time       // no open one expires before this; zero if none expires
	next   *storedHold     // the row on which the stream stands
	lost   *wallet.Hold    // the first one that has no row
}

// row is the row on which a stream stands, if it is of this wallet.
func (c *chain) row(holds *stream) *storedHold {
	if c.holds.next == nil && holds.of(c.key) {
		var number int64
		if rows.Read(holds.found, rows.Column{Name: "grant_number", Of: &number, Optional: true}); number != 0 {
			g, problem := rows.ReadGrant(holds.found)
			c.holds.next = &storedHold{wallet.Hold{Position: g.Position}, problem, &g}
		} else {
			h, problem := rows.ReadHold(holds.found)
			c.holds.next = &storedHold{h.Hold, problem, nil}
		}
	}
	return c.holds.next
}

func (c *chain) takeRow(holds *stream) {
	c.holds.next = nil
	holds.take()
}

// checkHold takes over the hold that the entry that was checked last has changed, and compares
// the rows that say that they end with this entry.
func (c *chain) checkHold(holds *stream) {
	want, changed := c.want.Changed()
	if changed {
		c.keepHold(want)
	}
	c.keepGrants()
	found := false
	for have := c.row(holds); have != nil && have.Position <= c.want.Position; have = c.row(holds) {
		if have.grant != nil {
			c.checkGrant(*have.grant, have.problem)
			c.takeRow(holds)
			continue
		}
		switch ofEntry := changed && have.Position == want.Position && have.ID == want.ID; {
		case have.problem != "":
			c.wrongHold(have.Hold, "%s", have.problem)
		case ofEntry && found:
			c.wrongHold(have.Hold, "it has two rows")
		case !ofEntry || !sameHold(have.Hold, want):
			c.wrongRow(have.Hold)
		}
		found = found || c.finding == nil
		c.takeRow(holds)
	}
	switch {
	case !changed:
	case !want.IsOpen() && !found:
		c.lose(want)
	case want.IsOpen() && found:
		c.holds.stored[want.ID] = true
	}
}

// keepHold keeps an open hold, and of a closed one that it is closed.
func (c *chain) keepHold(h wallet.Hold) {
	if c.holds.stored[h.ID] {
		c.wrong("wallet_holds", h.Position, "hold %q is not what the journal makes of it: the row is of an entry before this one", h.ID)
	}
	if c.holds.closed == nil {
		c.holds.closed, c.holds.stored = map[string]wallet.HoldState{}, map[string]bool{}
	}
	delete(c.holds.stored, h.ID)
	if !h.IsOpen() {
		delete(c.want.Holds, h.ID)
		c.holds.closed[h.ID] = h.State
		return
	}
	c.want.Keep(h)
	if !h.ExpiresAt.IsZero() && (c.holds.due.IsZero() || h.ExpiresAt.Before(c.holds.due)) {
		c.holds.due = h.ExpiresAt
	}
}

// lose remembers a hold without a row. It is a finding only if no row turns out to be wrong:
// that one may be the hold's.
func (c *chain) lose(h wallet.Hold) {
	if c.holds.lost == nil {
		c.holds.lost = &h
	}
}

func (c *chain) wrongHold(h wallet.Hold, format string, args ...any) {
	c.wrong("wallet_holds", h.Position, "hold %q: "+format, append([]any{h.ID}, args...)...)
}

func (c *chain) wrongRow(h wallet.Hold) {
	c.wrong("wallet_holds", h.Position, "hold %q is not what the journal makes of it at position %d: the row has %+v", h.ID, h.Position, h)
}

// restOfHolds takes the rows that no entry of the wallet goes with.
func (c *chain) restOfHolds(holds *stream) {
	for have := c.row(holds); have != nil; have = c.row(holds) {
		switch {
		case have.grant != nil:
			c.checkGrant(*have.grant, have.problem)
		case have.problem != "":
			c.wrongHold(have.Hold, "%s", have.problem)
		default:
			c.wrongRow(have.Hold)
		}
		c.takeRow(holds)
	}
}

// endHolds looks at the end of the journal for holds without a row, and compares the sum of
// the open ones with the balance's hold.
func (c *chain) endHolds() {
	left := c.want.Hold.Sub(c.want.Hold)
	for _, id := range slices.Sorted(maps.Keys(c.want.Holds)) {
		h := c.want.Holds[id]
		left = left.Add(h.Left())
		if !c.holds.stored[id] {
			c.lose(h)
		}
	}
	if left.Cmp(c.want.Hold) != 0 {
		c.wrong("wallet_holds", c.want.Position, "open holds come to %s, the journal's hold is %s", left, c.want.Hold)
	}
	if lost := c.holds.lost; lost != nil && c.finding == nil && !c.scope.withoutMissing {
		c.wrong("wallet_holds", lost.Position, "hold %q has no row: run \"wallet repair\"", lost.ID)
		c.finding.MissingHold = true
	}
}

func sameHold(a, b wallet.Hold) bool {
	return a.State == b.State && a.Amount.Same(b.Amount) && a.Captured.Same(b.Captured) && a.Released.Same(b.Released) &&
		a.ExpiresAt.Equal(b.ExpiresAt) && a.PlacedAt.Equal(b.PlacedAt) && a.UpdatedAt.Equal(b.UpdatedAt) && a.Position == b.Position && a.Grants.String() == b.Grants.String()
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

// holdsAfter is a page of a user's holds, by currency and id. A hold is due by the later of
// Postgres's clock, as of the first page, and the time of its wallet's last entry, as in the fold.
const (
	holdsAfter = `SELECT ` + rows.HoldColumns + `,
			coalesce(expires_at <= greatest($3::timestamptz, (
				SELECT a.updated_at
				FROM wallet_assets AS a
				WHERE a.user_id = h.user_id AND a.currency = h.currency)), false) AS past
		FROM %s AS h
		WHERE user_id = $1 AND ($2 = '' OR currency = $2) AND (currency, hold_id) > ($4, $5)
		ORDER BY currency, hold_id
		LIMIT $6`
)

var (
	// One statement for those that are open, which are few and have an index of their own; a
	// condition such as ($3 = '' OR state = $3) cannot use it. OFFSET 0 keeps the order from
	// making the key, with all closed holds in it, look as good.
	sqlOpenHoldsOf = fmt.Sprintf(holdsAfter, `(SELECT * FROM wallet_holds WHERE user_id = $1 AND state = 'open' OFFSET 0)`)
	sqlHoldsOf     = fmt.Sprintf(holdsAfter, `wallet_holds`)
)

const sqlClock = `SELECT clock_timestamp()`

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
	sql := sqlHoldsOf
	if f.State == wallet.HoldOpen {
		sql = sqlOpenHoldsOf
	}
	var now time.Time
	if err := r.db.QueryRow(ctx, sqlClock).Scan(&now); err != nil {
		return nil, err
	}
	after, limit := f, pageSize(f.Limit)
	var page []Hold
	for len(page) < limit {
		stored, err := r.holdsAfter(ctx, sql, after, now)
		if err != nil {
			return nil, err
		}
		for _, h := range stored {
			after.AfterCurrency, after.AfterID = h.Currency, h.ID
			if (f.State == "" || h.State == f.State) && len(page) < limit {
				page = append(page, h)
			}
		}
		if len(stored) < MaxPage {
			break
		}
	}
	return page, nil
}

// holdsAfter reads a page of whatever state.
func (r Reader) holdsAfter(ctx context.Context, sql string, f HoldFilter, now time.Time) (page []Hold, err error) {
	found, err := r.db.Query(ctx, sql, f.UserID, f.Currency, now, f.AfterCurrency, f.AfterID, MaxPage)
	if err != nil {
		return nil, err
	}
	defer found.Close()
	for found.Next() {
		h, past, err := rows.ReadHoldAnd(found, "past")
		if err != nil {
			return nil, err
		}
		if past && h.IsOpen() {
			h.State, h.Released = wallet.HoldExpired, h.Released.Add(h.Left())
		}
		page = append(page, Hold{h.AssetRef, h.Hold, h.Left()})
	}
	return page, found.Err()
}
