package activities

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/valueledger/wallet"
	"github.com/valueledger/wallet/internal/service/rows"
)

// A wallet without grants has none of this: its row says so. A wallet with a thousand reads those that
// its commands use: firstGrants of them at first, and twice as many each time they do not suffice.

// firstGrants is how many open grants of a wallet are read at first.
const firstGrants = 16

const (
	sqlDueGrants = `SELECT ` + rows.GrantColumns + `
		FROM unnest($1::text[], $2::text[], $3::timestamptz[]) AS wanted (u, c, at)
		CROSS JOIN LATERAL (
			SELECT *
			FROM wallet_grants
			WHERE user_id = wanted.u AND currency = wanted.c AND state = 'open' AND expires_at IS NOT NULL AND expires_at <= wanted.at
			ORDER BY expires_at, grant_number
			OFFSET 0) AS g`

	// In the order in which they are used up.
	sqlOpenGrants = `SELECT ` + rows.GrantColumns + `
		FROM unnest($1::text[], $2::text[]) AS wanted (u, c)
		CROSS JOIN LATERAL (
			SELECT *
			FROM wallet_grants
			WHERE user_id = wanted.u AND currency = wanted.c AND state = 'open'
			ORDER BY priority, expires_at, grant_number
			LIMIT $3) AS g`

	sqlNamedGrants = `SELECT ` + rows.GrantColumns + `
		FROM unnest($1::text[], $2::text[], $3::bigint[]) AS wanted (u, c, n)
		CROSS JOIN LATERAL (
			SELECT *
			FROM wallet_grants
			WHERE user_id = wanted.u AND currency = wanted.c AND grant_number = wanted.n
			OFFSET 0) AS g`

	// The grants that the Web UI shows, earliest expiry first.
	sqlNextGrants = `SELECT ` + rows.GrantColumns + `
		FROM unnest($1::text[], $2::text[]) AS wanted (u, c)
		CROSS JOIN LATERAL (
			SELECT *
			FROM wallet_grants
			WHERE user_id = wanted.u AND currency = wanted.c AND state = 'open' AND expires_at IS NOT NULL
			ORDER BY expires_at, grant_number
			LIMIT 5) AS g`
)

// assetGrants is what a transaction knows of the grants of a wallet asset.
type assetGrants struct {
	known   map[int64]wallet.Grant
	after   *wallet.Grant // see wallet.Account
	limit   int           // how many open ones were asked for
	derived bool          // from the journal

	toWrite map[int64]wallet.Grant
	lost    []wallet.Grant // whose rows may be gone
	next    []wallet.Grant // once they are written: those of which something expires next
}

// mayUseGrants reports whether commands of an asset may need its grants. Without commands, those that
// expire must be all there.
func (a *lockedAsset) mayUseGrants(clock time.Time) bool {
	return a.OpenGrants > 0 && (!a.withoutCommands || a.mayHaveDueGrants(clock))
}

func (a *lockedAsset) mayHaveDueGrants(clock time.Time) bool {
	return !a.NextGrantExpiry.IsZero() && !a.now(clock).Before(a.NextGrantExpiry)
}

func (a *lockedAsset) grantsChanged() bool {
	return len(a.grants.toWrite) > 0 || len(a.grants.lost) > 0 || a.restored
}

// showsGrants is showsHolds for grants.
func (a *lockedAsset) showsGrants() bool {
	return a.grantsChanged() || (a.withoutCommands || a.changedBefore) && a.OpenGrants > 0
}

// queueGrants reads the grants that are due, and the open ones that are used up first.
func (l *lockedAssets) queueGrants(batch *pgx.Batch) {
	due := l.where(func(a *lockedAsset) bool {
		return a.OpenGrants > 0 && (a.withoutCommands || a.mayHaveDueGrants(l.now))
	})
	if len(due) > 0 {
		users, currencies := columns(due)
		times := make([]time.Time, len(due))
		for i, a := range due {
			times[i] = a.now(l.now)
		}
		batch.Queue(sqlDueGrants, users, currencies, times).Query(l.readGrants)
	}
	if using := l.where(func(a *lockedAsset) bool { return a.mayUseGrants(l.now) }); len(using) > 0 {
		l.queueOpenGrants(batch, using, firstGrants)
	}
}

func (l *lockedAssets) queueOpenGrants(batch *pgx.Batch, of []*lockedAsset, limit int) {
	users, currencies := columns(of)
	read := map[*lockedAsset][]wallet.Grant{}
	batch.Queue(sqlOpenGrants, users, currencies, limit).Query(func(found pgx.Rows) error {
		grants, err := rows.CollectGrants(found)
		if err != nil {
			return err
		}
		for _, g := range grants {
			a := l.of(g.AssetRef)
			a.keepGrant(g.Grant)
			read[a] = append(read[a], g.Grant)
		}
		for _, a := range of {
			a.grants.limit, a.grants.after = limit, nil
			if n := len(read[a]); n == limit {
				a.grants.after = &read[a][n-1]
			}
		}
		return nil
	})
}

// lacksGrants reports whether all open grants were read, and are not what the asset's row says of them:
// the next ones would be used up too early.
func (a *lockedAsset) lacksGrants() bool {
	if a.grants.limit == 0 || a.grants.after != nil {
		return false
	}
	granted, open := wallet.Amount{}, int64(0)
	for _, g := range a.grants.known {
		if !g.Left.IsZero() {
			granted, open = granted.Add(g.Left), open+1
		}
	}
	return granted.Cmp(a.Granted) != 0 || open > a.OpenGrants // which counts those that are held too
}

// restoreLostGrants makes the grants again of wallets whose row was lost, which did not say that they
// have some, and of those that lack some.
func (t transaction) restoreLostGrants(ctx context.Context, of []*lockedAsset) error {
	for _, a := range of {
		if !a.restored && !a.lacksGrants() {
			continue
		}
		if err := t.restoreGrants(ctx, a); err != nil {
			return err
		}
		if a.lacksGrants() {
			return a.grantsDiffer()
		}
	}
	return nil
}

func (a *lockedAsset) grantsDiffer() error {
	return &wallet.InconsistentError{UserID: a.ref.UserID, Currency: a.ref.Currency, Problem: "wallet_grants is not what wallet_assets or wallet_holds say, and the journal does not help"}
}

// keepGrant keeps a grant that was read, unless this transaction has changed it.
func (a *lockedAsset) keepGrant(g wallet.Grant) {
	if _, known := a.grants.known[g.Number]; !known {
		if a.grants.known == nil {
			a.grants.known = map[int64]wallet.Grant{}
		}
		a.grants.known[g.Number] = g
	}
}

func (l *lockedAssets) readGrants(found pgx.Rows) error {
	grants, err := rows.CollectGrants(found)
	for _, g := range grants {
		l.of(g.AssetRef).keepGrant(g.Grant)
	}
	return err
}

// namedGrants are the grants of the holds and originals that were read, which are not known yet.
func (a *lockedAsset) namedGrants() (numbers []int64) {
	var named map[int64]bool
	add := func(n int64) {
		if _, known := a.grants.known[n]; !known && !named[n] {
			if named == nil {
				named = map[int64]bool{}
			}
			named[n] = true
			numbers = append(numbers, n)
		}
	}
	for _, h := range a.holds {
		for _, part := range h.Grants {
			add(part.Grant)
		}
	}
	for _, o := range a.originals {
		for _, n := range o.NamedGrants() {
			add(n)
		}
	}
	return numbers
}

// readNamedGrants reads those that holds and originals are about. Rows that are gone come back from
// the journal.
func (t transaction) readNamedGrants(ctx context.Context, l *lockedAssets) error {
	var users, currencies []string
	var numbers []int64
	for _, a := range l.all {
		for _, n := range a.namedGrants() {
			users, currencies, numbers = append(users, a.ref.UserID), append(currencies, a.ref.Currency), append(numbers, n)
		}
	}
	if len(numbers) == 0 {
		return nil
	}
	batch := &pgx.Batch{}
	batch.Queue(sqlNamedGrants, users, currencies, numbers).Query(l.readGrants)
	if err := t.send(ctx, batch); err != nil {
		return err
	}
	for _, a := range l.all {
		if !a.grants.derived && len(a.namedGrants()) > 0 {
			if err := t.restoreGrants(ctx, a); err != nil {
				return err
			}
		}
	}
	return nil
}

// withGrants folds, and reads more grants as long as the fold needs them.
func withGrants[T any](ctx context.Context, t transaction, l *lockedAssets, fold func() (T, error)) (T, error) {
	for {
		folded, err := fold()
		var more *wallet.MoreGrantsError
		if !errors.As(err, &more) {
			return folded, err
		}
		if err := t.readMoreGrants(ctx, l, l.of(more.AssetRef)); err != nil {
			return folded, err
		}
	}
}

// readMoreGrants reads twice as many open grants of a wallet as before, and those that are named. If
// there are no more rows, some were lost: they come back from the journal.
func (t transaction) readMoreGrants(ctx context.Context, l *lockedAssets, a *lockedAsset) error {
	if a.grants.derived {
		return a.grantsDiffer()
	}
	if all := a.grants.limit > 0 && a.grants.after == nil; !all {
		batch := &pgx.Batch{}
		l.queueOpenGrants(batch, []*lockedAsset{a}, max(2*a.grants.limit, firstGrants))
		if err := t.send(ctx, batch); err != nil {
			return err
		}
		if err := t.restoreLostGrants(ctx, []*lockedAsset{a}); err != nil {
			return err
		}
		return t.readNamedGrants(ctx, l)
	}
	return t.restoreGrants(ctx, a)
}

// restoreGrants makes grants again whose rows are gone.
func (t transaction) restoreGrants(ctx context.Context, a *lockedAsset) error {
	grants, err := t.derivedGrants(ctx, a.ref)
	if err != nil {
		return err
	}
	a.grants.derived, a.grants.after = true, nil // all are known
	granted, open := wallet.Amount{}, int64(0)
	for _, g := range grants {
		if _, known := a.grants.known[g.Number]; !known {
			a.keepGrant(g)
			a.grants.lost = append(a.grants.lost, g)
		}
		if g.IsOpen() {
			granted, open = granted.Add(g.Left), open+1
		}
	}
	if a.restored { // whose grants were counted without them
		a.Granted, a.OpenGrants = granted, open
	}
	a.changed = true
	return nil
}

// derivedGrants are the grants of a wallet as its journal has them.
func (t transaction) derivedGrants(ctx context.Context, ref wallet.AssetRef) (map[int64]wallet.Grant, error) {
	found, err := t.conn.Query(ctx, rows.EntriesOfGrants, ref.UserID, ref.Currency)
	if err != nil {
		return nil, err
	}
	entries, err := rows.CollectEntries(found)
	if err != nil {
		return nil, err
	}
	grants, err := wallet.GrantsOf(entries)
	if err != nil {
		return nil, &wallet.InconsistentError{UserID: ref.UserID, Currency: ref.Currency, Problem: fmt.Sprintf("the journal's grants: %v", err)}
	}
	return grants, nil
}

// grantsToWrite are those that changed, and those that are inserted where they have no row, in one order
// for all transactions.
func (l *lockedAssets) grantsToWrite() (changed, lost []rows.Grant) {
	for _, a := range l.all {
		for _, g := range a.grants.toWrite {
			changed = append(changed, rows.Grant{AssetRef: a.ref, Grant: g})
		}
		for _, g := range a.grants.lost {
			if _, written := a.grants.toWrite[g.Number]; !written {
				lost = append(lost, rows.Grant{AssetRef: a.ref, Grant: g})
			}
		}
	}
	sortGrants(changed)
	sortGrants(lost)
	return changed, lost
}

func sortGrants(grants []rows.Grant) {
	slices.SortFunc(grants, func(a, b rows.Grant) int {
		return cmp.Or(compareRefs(a.AssetRef, b.AssetRef), cmp.Compare(a.Number, b.Number))
	})
}

// takeGrants takes over what commands did to grants.
func (a *lockedAsset) takeGrants(f wallet.Folded) {
	for _, g := range f.Grants {
		if a.grants.toWrite == nil {
			a.grants.toWrite = map[int64]wallet.Grant{}
		}
		a.grants.toWrite[g.Number] = g
	}
	a.grants.known = f.Account.Grants
}

// readNextGrants reads the grants that expire next, after the transaction.
func (l *lockedAssets) readNextGrants(found pgx.Rows) error {
	grants, err := rows.CollectGrants(found)
	if err != nil {
		return err
	}
	for _, g := range grants {
		a := l.of(g.AssetRef)
		if len(a.grants.next) == 0 {
			a.NextGrantExpiry = g.ExpiresAt
		}
		a.grants.next = append(a.grants.next, g.Grant)
	}
	return nil
}
