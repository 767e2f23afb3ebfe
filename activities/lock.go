package activities

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/valueledger/wallet"
	"github.com/valueledger/wallet/internal/service/rows"
)

const (
	// The keys come sorted, and LATERAL locks their rows one after the other in that order:
	// every transaction locks in the same one, so none waits in a circle. An ORDER BY above
	// would sort only what is locked already. NO KEY: the rows' keys never change, and
	// others may refer to them meanwhile.
	sqlLockAssets = sqlAssetsToLock + `FOR NO KEY UPDATE) AS asset`

	// sqlLockFreeAssets leaves out the rows that another session holds locked, instead of waiting
	// for them.
	sqlLockFreeAssets = sqlAssetsToLock + `FOR NO KEY UPDATE SKIP LOCKED) AS asset`

	sqlAssetsToLock = `SELECT asset.*
		FROM unnest($1::text[], $2::text[]) AS wanted (user_id, currency)
		CROSS JOIN LATERAL (
			SELECT ` + rows.AssetColumns + `
			FROM wallet_assets AS a
			WHERE a.user_id = wanted.user_id AND a.currency = wanted.currency
			`

	// A statement of its own, after the locks: its time is not before that of any
	// entry of a transaction that held one of them earlier.
	sqlNow = `SELECT clock_timestamp()`

	sqlInsertWallets = `INSERT INTO wallets (user_id)
		SELECT user_id
		FROM unnest($1::text[]) AS wanted (user_id)
		ON CONFLICT DO NOTHING`

	// A currency that is not registered gets no row. The subquery cannot become a join, which
	// could change the order.
	sqlInsertAssets = `INSERT INTO wallet_assets (user_id, currency, created_at, updated_at)
		SELECT user_id, currency, clock_timestamp(), clock_timestamp()
		FROM unnest($1::text[], $2::text[]) AS wanted (user_id, currency)
		WHERE (SELECT true FROM currencies WHERE code = wanted.currency)
		ON CONFLICT DO NOTHING`

	sqlNamedHolds = `SELECT ` + rows.HoldColumns + `
		FROM unnest($1::text[], $2::text[], $3::text[]) AS wanted (u, c, id)
		CROSS JOIN LATERAL (
			SELECT *
			FROM wallet_holds
			WHERE user_id = wanted.u AND currency = wanted.c AND hold_id = wanted.id
			OFFSET 0) AS h`

	// A row that was opened again by hand, though its expiry is in the journal, is passed over:
	// the id of its expiry is taken, so it would stop the wallet. Verify finds it.
	sqlDueHolds = `SELECT ` + rows.HoldColumns + `
		FROM unnest($1::text[], $2::text[], $3::timestamptz[]) AS wanted (u, c, at)
		CROSS JOIN LATERAL (
			SELECT *
			FROM wallet_holds
			WHERE user_id = wanted.u AND currency = wanted.c AND state = 'open' AND expires_at <= wanted.at
			ORDER BY expires_at, hold_id
			OFFSET 0) AS h
		WHERE NOT EXISTS (
			SELECT FROM (
				SELECT command_id
				FROM wallet_commands AS c
				WHERE c.user_id = h.user_id AND c.currency = h.currency AND c.command_id >= ('` + wallet.ExpirePrefix + `' || h.hold_id) COLLATE "C"
					AND c.command_id <= ('` + wallet.ExpirePrefix + `' || h.hold_id) COLLATE "C"
				ORDER BY c.command_id
				LIMIT 1) AS expiry)`
)

// lockedAsset is a wallet asset whose row a transaction has locked, and what it does to it.
type lockedAsset struct {
	wallet.Asset
	ref       wallet.AssetRef
	prior     map[string]*wallet.Entry   // the journal's entries of the commands' ids
	holds     map[string]wallet.Hold     // that the commands name, or that are due
	originals map[string]wallet.Original // that the commands reverse
	restored  bool                       // its row was lost, its journal was not
	// withoutCommands is true of an asset of a group without commands.
	withoutCommands bool
	namesDue        bool // a command names a hold that is due
	changedBefore   bool // since whoever sends the commands saw it last

	changed      bool // the row is to be written
	holdsToWrite map[string]wallet.Hold
	nextHolds    []wallet.Hold // once holds are written: those that are open
	grants       assetGrants
}

// account is what the fold decides on.
func (a *lockedAsset) account() wallet.Account {
	return wallet.Account{Asset: a.Asset, Holds: a.holds, Originals: a.originals, Grants: a.grants.known, GrantsAfter: a.grants.after}
}

// showsHolds reports whether the next holds are asked for: where they have changed, or may have
// without the sender, and in a step without commands, which begins a run of the wallet's workflow.
func (a *lockedAsset) showsHolds() bool {
	return a.holdsChanged() || (a.withoutCommands || a.changedBefore) && a.OpenHolds > 0
}

func (a *lockedAsset) holdsChanged() bool { return len(a.holdsToWrite) > 0 || a.restored }

// hasRow reports whether the lock found a row.
func (a *lockedAsset) hasRow() bool { return a.Currency != "" }

// now is the time of the entries to come: a chain's time never runs backwards.
func (a *lockedAsset) now(clock time.Time) time.Time {
	if clock.Before(a.UpdatedAt) {
		return a.UpdatedAt
	}
	return clock
}

// lockedAssets are the wallet assets of a transaction.
type lockedAssets struct {
	// legsLater leaves the look-up of legs' ids to claimIDs: a transaction whose id is new has none.
	legsLater bool
	created   bool           // rows were inserted, because some were missing
	all       []*lockedAsset // in the order in which they are created and locked
	now       time.Time      // Postgres's clock, read behind the locks
	entries   []wallet.Entry // to append, in the order of the groups
}

// newLockedAssets are those of groups, each once: in the order of the bytes of the user's id,
// then of the currency.
func newLockedAssets(groups []group) *lockedAssets {
	refs := make([]wallet.AssetRef, len(groups))
	for i, g := range groups {
		refs[i] = g.AssetRef
	}
	l := &lockedAssets{}
	for _, ref := range sorted(refs) {
		l.all = append(l.all, &lockedAsset{
			ref: ref, prior: map[string]*wallet.Entry{}, holds: map[string]wallet.Hold{}, originals: map[string]wallet.Original{}, holdsToWrite: map[string]wallet.Hold{},
		})
	}
	for _, g := range groups {
		if a := l.of(g.AssetRef); len(g.commands) == 0 {
			a.withoutCommands = true
		}
	}
	return l
}

// sorted are wallet assets in the one order of all transactions, each once.
func sorted(refs []wallet.AssetRef) []wallet.AssetRef {
	return slices.Compact(slices.SortedFunc(slices.Values(refs), compareRefs))
}

func compareRefs(a, b wallet.AssetRef) int {
	return cmp.Or(cmp.Compare(a.UserID, b.UserID), cmp.Compare(a.Currency, b.Currency))
}

// of is the asset that a row belongs to.
func (l *lockedAssets) of(ref wallet.AssetRef) *lockedAsset {
	i, found := slices.BinarySearchFunc(l.all, ref, func(a *lockedAsset, ref wallet.AssetRef) int { return compareRefs(a.ref, ref) })
	if !found {
		panic("activities: a statement gave a row of a wallet that nobody asked for")
	}
	return l.all[i]
}

func (l *lockedAssets) where(is func(*lockedAsset) bool) (some []*lockedAsset) {
	for _, a := range l.all {
		if is(a) {
			some = append(some, a)
		}
	}
	return some
}

// lacksSome reports whether an asset is still to be created.
func (l *lockedAssets) lacksSome() bool {
	return slices.ContainsFunc(l.all, func(a *lockedAsset) bool { return !a.Exists() })
}

// holdsToWrite are in one order for all transactions.
func (l *lockedAssets) holdsToWrite() (holds []rows.Hold) {
	for _, a := range l.all {
		for _, h := range a.holdsToWrite {
			holds = append(holds, rows.Hold{AssetRef: a.ref, Hold: h})
		}
	}
	slices.SortFunc(holds, func(a, b rows.Hold) int {
		return cmp.Or(compareRefs(a.AssetRef, b.AssetRef), cmp.Compare(a.ID, b.ID))
	})
	return holds
}

func columns(assets []*lockedAsset) (users, currencies []string) {
	users, currencies = []string{}, []string{}
	for _, a := range assets {
		users, currencies = append(users, a.ref.UserID), append(currencies, a.ref.Currency)
	}
	return users, currencies
}

// lock begins a transaction, locks the rows of the groups' assets and reads what the fold has
// to know of their commands.
func (t transaction) lock(ctx context.Context, groups []group, c *claim) (*lockedAssets, error) {
	l, batch := newLockedAssets(groups), &pgx.Batch{}
	l.queueLocks(batch, sqlLockAssets, groups)
	if err := t.queueClaim(batch, c); err != nil {
		return nil, err
	}
	return l, t.begin(ctx, batch)
}

// createAndLock is lock where rows are missing: they are made first, and get back what their
// journals say if they were lost.
func (t transaction) createAndLock(ctx context.Context, groups []group, c *claim) (*lockedAssets, error) {
	l, batch := newLockedAssets(groups), &pgx.Batch{}
	l.queueCreation(batch, l.all, sqlLockAssets, groups)
	if err := t.queueClaim(batch, c); err != nil {
		return nil, err
	}
	if err := t.begin(ctx, batch); err != nil {
		return nil, err
	}
	for _, a := range l.all {
		if !a.hasRow() {
			return nil, wallet.UnknownCurrency(a.ref.Currency)
		}
	}
	return l, nil
}

// queueCreation makes the rows that are missing, and then locks all of them.
func (l *lockedAssets) queueCreation(batch *pgx.Batch, missing []*lockedAsset, sqlLock string, groups []group) {
	users, currencies := columns(missing)
	note := func(inserted pgconn.CommandTag) error {
		l.created = l.created || inserted.RowsAffected() > 0
		return nil
	}
	batch.Queue(sqlInsertWallets, slices.Compact(slices.Clone(users))).Exec(note)
	batch.Queue(sqlInsertAssets, users, currencies).Exec(note)
	l.queueLocks(batch, sqlLock, groups)
	batch.Queue(sqlLostAssets, users, currencies).Query(l.restoreAssets)
}

func (l *lockedAssets) queueLocks(batch *pgx.Batch, sqlLock string, groups []group) {
	if len(l.all) == 1 {
		batch.Queue(sqlPlanOnce)
	}
	users, currencies := columns(l.all)
	batch.Queue(sqlLock, users, currencies).Query(l.readAssets)
	if ids := distinctIDs(groups, l.idToFind, originalID); len(ids.ids) > 0 {
		batch.Queue(rows.EntriesByID, ids.parameters()...).Query(l.readPrior)
	}
	batch.Queue(sqlNow).QueryRow(func(row pgx.Row) error { return row.Scan(&l.now) })
	if named := distinctIDs(groups, holdID); len(named.ids) > 0 {
		batch.Queue(sqlNamedHolds, named.parameters()...).Query(l.readHolds)
	}
	if originals := distinctIDs(groups, originalID); len(originals.ids) > 0 {
		batch.Queue(rows.LastReversals, originals.parameters()...).Query(func(found pgx.Rows) error { return l.readReversals(originals, found) })
	}
}

func commandID(c *wallet.Command) string { return c.ID }

// idToFind is the id that lock looks up in the journal; empty for none.
func (l *lockedAssets) idToFind(c *wallet.Command) string {
	if l.legsLater && c.LegRef != (wallet.LegRef{}) {
		return ""
	}
	return c.ID
}

func (l *lockedAssets) readAssets(found pgx.Rows) error {
	assets, err := rows.CollectAssets(found)
	for _, asset := range assets {
		l.of(wallet.AssetRef{UserID: asset.UserID, Currency: asset.Currency}).Asset = asset
	}
	return err
}

func (l *lockedAssets) readPrior(found pgx.Rows) error {
	entries, err := rows.CollectEntries(found)
	for i := range entries {
		e := &entries[i]
		l.of(wallet.AssetRef{UserID: e.UserID, Currency: e.Currency}).prior[e.CommandID] = e
	}
	return err
}

func (l *lockedAssets) readHolds(found pgx.Rows) error {
	holds, err := rows.CollectHolds(found)
	for _, h := range holds {
		l.of(h.AssetRef).holds[h.ID] = h.Hold
	}
	return err
}

// readMissing reads what the fold has to know and lock could not: holds that are due, and
// holds that are named and have no row.
func (t transaction) readMissing(ctx context.Context, l *lockedAssets, groups []group) error {
	batch := &pgx.Batch{}
	for _, a := range l.all {
		a.forgetDueHolds(l.now)
	}
	if due := l.withDueHolds(); len(due) > 0 {
		users, currencies := columns(due)
		times := make([]time.Time, len(due))
		for i, a := range due {
			times[i] = a.now(l.now)
		}
		batch.Queue(sqlDueHolds, users, currencies, times).Query(l.readHolds)
	}
	l.queueGrants(batch)
	named := distinctIDs(groups, holdID)
	missing := named.without(func(ref wallet.AssetRef, id string) bool { _, found := l.of(ref).holds[id]; return found })
	var placed []wallet.Entry
	if len(missing.ids) > 0 {
		batch.Queue(rows.EntriesByID, missing.parameters()...).Query(func(found pgx.Rows) error {
			entries, err := rows.CollectEntries(found)
			placed = append(placed, entries...)
			return err
		})
	}
	if batch.Len() > 0 {
		if err := t.send(ctx, batch); err != nil {
			return err
		}
		if err := t.restoreHolds(ctx, l, placed); err != nil {
			return err
		}
	}
	if err := t.restoreLostGrants(ctx, l.all); err != nil {
		return err
	}
	return t.readNamedGrants(ctx, l)
}

// forgetDueHolds leaves the holds that are due to sqlDueHolds, which knows whether they have
// expired already.
func (a *lockedAsset) forgetDueHolds(clock time.Time) {
	maps.DeleteFunc(a.holds, func(_ string, h wallet.Hold) bool {
		due := h.IsDue(a.now(clock))
		a.namesDue = a.namesDue || due
		return due
	})
}

// withDueHolds are the assets with holds that may be due. A group without commands is there to
// let holds expire, so it looks even where the row knows of none.
func (l *lockedAssets) withDueHolds() []*lockedAsset {
	return l.where(func(a *lockedAsset) bool {
		return a.withoutCommands || a.namesDue || !a.NextExpiry.IsZero() && !a.now(l.now).Before(a.NextExpiry)
	})
}

// ids are names within wallet assets.
type ids struct{ users, currencies, ids []string }

func (n ids) parameters() []any { return []any{n.users, n.currencies, n.ids} }

func (n *ids) add(ref wallet.AssetRef, id string) {
	n.users, n.currencies, n.ids = append(n.users, ref.UserID), append(n.currencies, ref.Currency), append(n.ids, id)
}

func (n ids) without(is func(wallet.AssetRef, string) bool) ids {
	rest := ids{[]string{}, []string{}, []string{}}
	for i, id := range n.ids {
		if ref := (wallet.AssetRef{UserID: n.users[i], Currency: n.currencies[i]}); !is(ref, id) {
			rest.add(ref, id)
		}
	}
	return rest
}

func holdID(c *wallet.Command) string     { return c.HoldID }
func originalID(c *wallet.Command) string { return c.OriginalID }

// distinctIDs are ids that commands have, each once in a wallet.
func distinctIDs(groups []group, of ...func(*wallet.Command) string) ids {
	distinct := ids{[]string{}, []string{}, []string{}}
	type key struct {
		wallet.AssetRef
		id string
	}
	var seen map[key]bool
	for _, g := range groups {
		for i := range g.commands {
			for _, idOf := range of {
				k := key{g.AssetRef, idOf(&g.commands[i].Command)}
				if k.id == "" || seen[k] {
					continue
				}
				if seen == nil {
					seen = make(map[key]bool, len(g.commands))
				}
				seen[k] = true
				distinct.add(k.AssetRef, k.id)
			}
		}
	}
	return distinct
}
