package trail

import (
	"maps"
	"slices"
	"time"

	"github.com/valueledger/wallet"
	"github.com/valueledger/wallet/internal/service/rows"
)

// chainGrants is what a chain keeps of a wallet's grants, besides those that are open.
type chainGrants struct {
	stored map[int64]bool         // those whose rows were as the journal has it so far
	closed map[int64]wallet.Grant // which a reversal may open again
	named  []int64                // by the entry that is checked, and closed before it
	due    time.Time              // nothing expires before this; zero if nothing expires
}

// nameGrants has the rules know the closed grants that a reversal is about.
func (c *chain) nameGrants(o wallet.Original) {
	for _, n := range o.NamedGrants() {
		if g, closed := c.grants.closed[n]; closed {
			c.want.KeepGrant(g)
			delete(c.grants.closed, n) // it may be open from now on
			c.grants.named = append(c.grants.named, n)
		}
	}
}

func (c *chain) grant(number int64) (wallet.Grant, bool) {
	g, known := c.want.Grants[number]
	if !known {
		g, known = c.grants.closed[number]
	}
	return g, known
}

// closeGrants keeps those that are closed from the rules, which look at each grant they know.
func (c *chain) closeGrants(numbers []int64) {
	for _, n := range numbers {
		if g, known := c.want.Grants[n]; known && !g.IsOpen() {
			if c.grants.closed == nil {
				c.grants.closed = map[int64]wallet.Grant{}
			}
			c.grants.closed[n] = g
			delete(c.want.Grants, n)
		}
	}
}

// dueGrant is the grant that must expire before any other.
func (c *chain) dueGrant(now time.Time) (first wallet.Grant, found bool) {
	for _, g := range c.want.Grants {
		if g.IsDue(now) && (!found || g.ExpiresAt.Before(first.ExpiresAt) || g.ExpiresAt.Equal(first.ExpiresAt) && g.Number < first.Number) {
			first, found = g, true
		}
	}
	return first, found
}

// checkDueGrant checks that a grant that has expired has its entry before any other, but for a hold
// that expired before it.
func (c *chain) checkDueGrant(e *wallet.Entry, hold wallet.Hold) {
	if c.grants.due.IsZero() || e.RecordedAt.Before(c.grants.due) {
		return
	}
	g, due := c.dueGrant(e.RecordedAt)
	if due && (hold.ID == "" || g.ExpiresAt.Before(hold.ExpiresAt)) && (e.Type != wallet.TypeExpireGrant || wallet.ExpiredGrant(e.CommandID) != g.Number) {
		c.wrongEntry(e, "grant %d had expired at %s, and has no entry of that before this one", g.Number, rfc3339(g.ExpiresAt))
	}
	c.grants.due = nextGrantExpiry(c.want.Grants)
}

// keepGrants takes over the grants that the entry that was checked last has changed.
func (c *chain) keepGrants() {
	changed := c.grants.named
	for _, g := range c.want.ChangedGrants() {
		changed = append(changed, g.Number)
		if c.grants.stored[g.Number] {
			c.wrong("wallet_grants", g.Position, "grant %d is not what the journal makes of it: the row is of an entry before this one", g.Number)
		}
		delete(c.grants.stored, g.Number)
		c.want.KeepGrant(g)
		if !g.Left.IsZero() && !g.ExpiresAt.IsZero() && (c.grants.due.IsZero() || g.ExpiresAt.Before(c.grants.due)) {
			c.grants.due = g.ExpiresAt
		}
	}
	c.closeGrants(changed)
	c.grants.named = nil
}

// checkGrant compares a row with the grant that it says is so since the entry that was checked last.
func (c *chain) checkGrant(have rows.Grant, problem string) {
	want, known := c.grant(have.Number)
	switch {
	case problem != "":
		c.wrongGrant(have, "%s", problem)
	case !known || have.Position != c.want.Position || !sameGrant(have.Grant, want):
		c.wrongGrant(have, "it is not what the journal makes of it at position %d: the row has %+v", have.Position, have.Grant)
	case c.grants.stored[have.Number]:
		c.wrongGrant(have, "it has two rows")
	default:
		if c.grants.stored == nil {
			c.grants.stored = map[int64]bool{}
		}
		c.grants.stored[have.Number] = true
	}
}

func (c *chain) wrongGrant(g rows.Grant, format string, args ...any) {
	c.wrong("wallet_grants", g.Position, "grant %d: "+format, append([]any{g.Number}, args...)...)
}

// endGrants looks at the end of the journal for grants without a row, and compares what is left of
// them with the balance.
func (c *chain) endGrants() {
	granted, held, open := c.want.Total.Sub(c.want.Total), map[int64]wallet.Amount{}, int64(0)
	for _, h := range c.want.Holds {
		for _, part := range h.Grants {
			held[part.Grant] = held[part.Grant].Add(part.Amount)
		}
	}
	numbers := slices.AppendSeq(slices.Collect(maps.Keys(c.want.Grants)), maps.Keys(c.grants.closed))
	slices.Sort(numbers)
	for _, number := range numbers {
		g, _ := c.grant(number)
		if granted = granted.Add(g.Left); g.IsOpen() {
			open++
		}
		if g.Held.Cmp(held[number]) != 0 {
			c.wrong("wallet_grants", g.Position, "%s of grant %d are held, but open holds reserve %s", g.Held, number, held[number])
		}
		if !c.grants.stored[number] && c.finding == nil && !c.scope.withoutMissing {
			c.wrong("wallet_grants", g.Position, "grant %d has no row: run \"wallet repair\"", number)
			c.finding.MissingGrant = true
		}
	}
	switch have := c.have; {
	case have.OpenGrants != open:
		c.wrong("wallet_assets", c.want.Position, "open_grants is %d, but the journal leaves %d open", have.OpenGrants, open)
	case !have.Granted.Same(granted.Canonical()):
		c.wrong("wallet_assets", c.want.Position, "granted_amount is %s, but %s are left of the journal's grants", have.Granted, granted)
	case !have.NextGrantExpiry.Equal(nextGrantExpiry(c.want.Grants)):
		c.wrong("wallet_assets", c.want.Position, "next_grant_expiry is not that of the grant that expires next")
	}
}

func sameGrant(a, b wallet.Grant) bool {
	return a.ID == b.ID && a.State == b.State && a.Priority == b.Priority && a.Amount.Same(b.Amount) && a.Left.Same(b.Left) && a.Held.Same(b.Held) &&
		a.Used.Same(b.Used) && a.Expired.Same(b.Expired) && a.Expiries == b.Expiries && a.ExpiresAt.Equal(b.ExpiresAt) && a.AddedAt.Equal(b.AddedAt) &&
		a.UpdatedAt.Equal(b.UpdatedAt) && a.Position == b.Position
}

// nextGrantExpiry returns when something of a grant expires next; zero if nothing does.
func nextGrantExpiry(grants map[int64]wallet.Grant) (next time.Time) {
	for _, g := range grants {
		if !g.Left.IsZero() && !g.ExpiresAt.IsZero() && (next.IsZero() || g.ExpiresAt.Before(next)) {
			next = g.ExpiresAt
		}
	}
	return next
}
