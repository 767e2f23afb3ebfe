package activities

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/valueledger/wallet"
	"github.com/valueledger/wallet/internal/service/rows"
)

const (
	// The keys come sorted, and LATERAL locks their rows one after the other in that order:
	// every transaction locks in the same one, so none waits in a circle. An ORDER BY above
	// would sort only what is locked already. NO KEY: the rows' keys never change, and
	// others may refer to them meanwhile.
	sqlLockAssets = `SELECT asset.*
		FROM unnest($1::text[], $2::text[]) AS wanted (user_id, currency)
		CROSS JOIN LATERAL (
			SELECT ` + rows.AssetColumns + `
			FROM wallet_assets AS a
			WHERE a.user_id = wanted.user_id AND a.currency = wanted.currency
			FOR NO KEY UPDATE) AS asset`

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

	sqlUpdateAssets = `UPDATE wallet_assets AS a
		SET total_amount = after.total::numeric, hold_amount = after.hold::numeric,
			version = after.version, position = after.position, hash = after.hash, format = after.format, updated_at = after.updated_at,
			open_holds = after.open_holds,
			next_expiry = CASE WHEN after.holds_changed THEN (
				SELECT expires_at
				FROM wallet_holds AS h
				WHERE h.user_id = a.user_id AND h.currency = a.currency AND h.state = 'open' AND h.expires_at IS NOT NULL
				ORDER BY expires_at
				LIMIT 1) ELSE a.next_expiry END
		FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::bigint[], $6::bigint[], $7::bytea[], $8::bigint[], $9::timestamptz[], $10::bigint[], $11::boolean[])
			AS after (user_id, currency, total, hold, version, position, hash, format, updated_at, open_holds, holds_changed)
		WHERE a.user_id = after.user_id AND a.currency = after.currency
		RETURNING a.user_id, a.currency, a.next_expiry`

	// The few that people are shown: those that expire first.
	sqlNextHolds = `SELECT ` + rows.HoldColumns + `
		FROM unnest($1::text[], $2::text[]) AS wanted (u, c)
		CROSS JOIN LATERAL (
			SELECT *
			FROM wallet_holds
			WHERE user_id = wanted.u AND currency = wanted.c AND state = 'open'
			ORDER BY expires_at, hold_id
			LIMIT 5) AS h`

	sqlOpenHolds = `SELECT u, c, count(h.hold_id), min(h.expires_at)
		FROM unnest($1::text[], $2::text[]) AS wanted (u, c)
		LEFT JOIN wallet_holds AS h ON h.user_id = u AND h.currency = c AND h.state = 'open'
		GROUP BY u, c`

	sqlNamedHolds = `SELECT ` + rows.HoldColumns + `
		FROM unnest($1::text[], $2::text[], $3::text[]) AS wanted (u, c, id)
		CROSS JOIN LATERAL (
			SELECT *
			FROM wallet_holds
			WHERE user_id = wanted.u AND currency = wanted.c AND hold_id = wanted.id
			OFFSET 0) AS h`

	sqlDueHolds = `SELECT ` + rows.HoldColumns + `
		FROM unnest($1::text[], $2::text[]) AS wanted (u, c)
		CROSS JOIN LATERAL (
			SELECT *
			FROM wallet_holds
			WHERE user_id = wanted.u AND currency = wanted.c AND state = 'open' AND expires_at <= $3
			ORDER BY expires_at
			OFFSET 0) AS h`
)

var (
	// One step into the primary key for each id. The plain form, command_id = ANY ($3),
	// can be a scan of a wallet's whole journal over the index of positions. Here the
	// order makes every index but the primary key need a sort: see sqlSettings.
	sqlPrior = `SELECT ` + rows.EntryColumns + `
		FROM unnest($1::text[], $2::text[], $3::text[]) AS wanted (u, c, id)
		CROSS JOIN LATERAL (
			SELECT *
			FROM wallet_commands
			WHERE user_id = wanted.u AND currency = wanted.c AND command_id >= wanted.id COLLATE "C"
			ORDER BY command_id
			LIMIT 1) AS next
		WHERE command_id = wanted.id`

	// All of a hold, for one whose row was lost. There is no index for it.
	sqlEntriesOfHold = `SELECT ` + rows.EntryColumns + `
		FROM wallet_commands
		WHERE user_id = $1 AND currency = $2 AND (command_id = $3 OR hold_id = $3)
		ORDER BY position`

	sqlLastEntries = `SELECT ` + rows.EntryColumns + `
		FROM unnest($1::text[], $2::text[]) AS wanted (u, c)
		CROSS JOIN LATERAL (
			SELECT *
			FROM wallet_commands
			WHERE user_id = wanted.u AND currency = wanted.c
			ORDER BY position DESC
			LIMIT 1) AS last`

	sqlLastApplied = `SELECT ` + rows.EntryColumns + `
		FROM unnest($1::text[], $2::text[]) AS wanted (u, c)
		CROSS JOIN LATERAL (
			SELECT *
			FROM wallet_commands
			WHERE user_id = wanted.u AND currency = wanted.c AND version IS NOT NULL
			ORDER BY version DESC
			LIMIT 1) AS last`
)

// group is the commands of one wallet asset in a transaction. One without commands only
// makes sure that the asset exists.
type group struct {
	wallet.AssetRef
	commands []wallet.Received
}

// outcome is what became of a group.
type outcome struct {
	asset     wallet.Asset // after its commands
	results   []wallet.Result
	expired   int           // holds
	nextHolds []wallet.Hold // open ones, where some were placed or changed
	holds     bool          // some were
}

// needsRecording reports whether an outcome calls for RecordEvents: see ApplyCommandsOutput.
func (o outcome) needsRecording() bool {
	return o.expired > 0 || slices.ContainsFunc(o.results, func(r wallet.Result) bool { return r.Status == wallet.StatusApplied })
}

// applyGroups applies the commands of several groups in one transaction: all of it or
// nothing. Wallet assets that are missing are created. It returns an outcome for each group,
// in their order, or an *wallet.InvalidError if a currency is not registered.
func (a *Activities) applyGroups(ctx context.Context, groups []group) ([]outcome, error) {
	return inTransaction(ctx, a, func(t transaction) ([]outcome, error) {
		b, err := t.lock(ctx, groups, false)
		if err == nil && b.lacks(groups) {
			// Rows are made and locked in one order, so those that are locked already have
			// to be let go first.
			if err := t.rollback(ctx); err != nil {
				return nil, err
			}
			b, err = t.lock(ctx, groups, true)
		}
		if err != nil {
			return nil, err
		}
		if err := t.readHolds(ctx, b, groups); err != nil {
			return nil, err
		}
		outcomes, err := b.fold(groups)
		if err != nil {
			return nil, err
		}
		written, err := t.write(ctx, b)
		for i, g := range groups {
			if next, changed := written.expiries[g.AssetRef]; changed {
				outcomes[i].asset.NextExpiry = next
			}
			outcomes[i].nextHolds = written.nextHolds[g.AssetRef]
		}
		return outcomes, err
	})
}

// books are the wallet assets that a transaction has locked, and what it does to them.
type books struct {
	assets  map[wallet.AssetRef]wallet.Asset
	prior   map[wallet.AssetRef]map[string]wallet.Entry // under the ids of the commands
	holds   map[wallet.AssetRef]map[string]wallet.Hold  // that the commands name, or that are due
	now     time.Time                                   // Postgres's, read behind the locks
	entries []wallet.Entry                              // to append
	changed map[wallet.AssetRef]bool
	written map[wallet.AssetRef]map[string]wallet.Hold // holds to write
	// restored are the assets whose rows were lost, not their journals.
	restored map[wallet.AssetRef]bool
}

// lacks reports whether an asset is still to be created.
func (b books) lacks(groups []group) bool {
	return slices.ContainsFunc(groups, func(g group) bool { return !b.assets[g.AssetRef].Exists() })
}

// lock begins a transaction, locks the rows of the groups' assets and reads what the fold
// has to know. With create, rows that are missing are made first, and get back what their
// journals say if they were lost.
func (t transaction) lock(ctx context.Context, groups []group, create bool) (books, error) {
	keys := sortedKeys(groups)
	users, currencies := columns(keys)
	request := &pgx.Batch{}
	if create {
		request.Queue(sqlInsertWallets, slices.Compact(slices.Clone(users)))
		request.Queue(sqlInsertAssets, users, currencies)
	}
	request.Queue(sqlLockAssets, users, currencies)
	request.Queue(sqlPrior, wantedIDs(groups)...)
	request.Queue(sqlNow)
	named := namedHolds(groups)
	if len(named[0].([]string)) > 0 {
		request.Queue(sqlNamedHolds, named...)
	}
	if create {
		request.Queue(sqlLastEntries, users, currencies)
		request.Queue(sqlLastApplied, users, currencies)
		request.Queue(sqlOpenHolds, users, currencies)
	}
	results, err := t.begin(ctx, request)
	if err != nil {
		return books{}, err
	}
	b, err := readBooks(results, create, len(named[0].([]string)) > 0)
	for _, asset := range b.assets { // one time for all, not before the last entry of any
		if b.now.Before(asset.UpdatedAt) {
			b.now = asset.UpdatedAt
		}
	}
	if closeErr := results.Close(); err == nil {
		err = closeErr
	}
	if err == nil && create {
		for _, key := range keys {
			if _, registered := b.assets[key]; !registered {
				return books{}, wallet.UnknownCurrency(key.Currency)
			}
		}
	}
	return b, err
}

// readBooks reads the answers to lock's statements.
func readBooks(results pgx.BatchResults, create, named bool) (books, error) {
	b := books{
		assets: map[wallet.AssetRef]wallet.Asset{}, prior: map[wallet.AssetRef]map[string]wallet.Entry{}, changed: map[wallet.AssetRef]bool{},
		holds: map[wallet.AssetRef]map[string]wallet.Hold{}, written: map[wallet.AssetRef]map[string]wallet.Hold{},
		restored: map[wallet.AssetRef]bool{},
	}
	if create {
		for range 2 {
			if _, err := results.Exec(); err != nil {
				return b, err
			}
		}
	}
	found, err := results.Query()
	if err != nil {
		return b, err
	}
	assets, err := pgx.CollectRows(found, rows.ScanAsset)
	if err != nil {
		return b, err
	}
	for _, asset := range assets {
		b.assets[wallet.AssetRef{UserID: asset.UserID, Currency: asset.Currency}] = asset
	}
	prior, err := queryEntries(results)
	if err != nil {
		return b, err
	}
	for _, e := range prior {
		b.know(e)
	}
	if err := results.QueryRow().Scan(&b.now); err != nil {
		return b, err
	}
	if named {
		found, err := results.Query()
		if err != nil {
			return b, err
		}
		if err := b.takeHolds(found); err != nil {
			return b, err
		}
	}
	if create {
		return b, b.restore(results)
	}
	return b, nil
}

func (b books) takeHolds(found pgx.Rows) error {
	holds, err := rows.CollectHolds(found)
	for _, h := range holds {
		put(b.holds, h.AssetRef, h.Hold)
	}
	return err
}

func put(holds map[wallet.AssetRef]map[string]wallet.Hold, ref wallet.AssetRef, h wallet.Hold) {
	if holds[ref] == nil {
		holds[ref] = map[string]wallet.Hold{}
	}
	holds[ref][h.ID] = h
}

// readHolds reads what lock could not know that the fold has to: holds that are due, where
// there are some, and those whose rows were lost, from the journal.
func (t transaction) readHolds(ctx context.Context, b books, groups []group) error {
	var due []wallet.AssetRef
	for ref, asset := range b.assets {
		if !asset.NextExpiry.IsZero() && !b.now.Before(asset.NextExpiry) {
			due = append(due, ref)
		}
	}
	if len(due) > 0 {
		users, currencies := columns(due)
		found, err := t.conn.Query(ctx, sqlDueHolds, users, currencies, b.now)
		if err != nil {
			return err
		}
		if err := b.takeHolds(found); err != nil {
			return err
		}
	}
	for _, g := range groups {
		for _, received := range g.commands {
			if err := t.restoreHold(ctx, b, g.AssetRef, received.Command.HoldID); err != nil {
				return err
			}
		}
	}
	return nil
}

// restoreHold makes a hold again that the journal knows and whose row is gone.
func (t transaction) restoreHold(ctx context.Context, b books, ref wallet.AssetRef, id string) error {
	placed, known := b.prior[ref][id]
	if _, found := b.holds[ref][id]; found || !known || placed.Type != wallet.TypeHold || placed.Status != wallet.StatusApplied {
		return nil
	}
	found, err := t.conn.Query(ctx, sqlEntriesOfHold, ref.UserID, ref.Currency, id)
	if err != nil {
		return err
	}
	entries, err := rows.CollectEntries(found)
	if err != nil {
		return err
	}
	if h, ok := wallet.HoldOf(id, entries); ok {
		put(b.holds, ref, h)
		put(b.written, ref, h)
		b.changed[ref] = true
		if asset := b.assets[ref]; b.restored[ref] && h.IsOpen() { // whose open holds were counted without it
			asset.OpenHolds++
			b.assets[ref] = asset
		}
	}
	return nil
}

func (b books) know(e wallet.Entry) {
	ref := wallet.AssetRef{UserID: e.UserID, Currency: e.Currency}
	if b.prior[ref] == nil {
		b.prior[ref] = map[string]wallet.Entry{}
	}
	b.prior[ref][e.CommandID] = e
}

// restore gives a new row the balance and the head of the chain that the journal ends with,
// if there is a journal: the row was lost, the facts were not.
func (b books) restore(results pgx.BatchResults) error {
	last, err := queryEntries(results)
	if err != nil {
		return err
	}
	applied, err := queryEntries(results)
	if err != nil {
		return err
	}
	version := map[wallet.AssetRef]int64{}
	for _, e := range applied {
		version[wallet.AssetRef{UserID: e.UserID, Currency: e.Currency}] = e.Version
	}
	for _, e := range last {
		ref := wallet.AssetRef{UserID: e.UserID, Currency: e.Currency}
		if asset := b.assets[ref]; !asset.Exists() {
			asset = asset.After(e)
			asset.Version = version[ref]
			b.assets[ref], b.changed[ref], b.restored[ref] = asset, true, true
		}
	}
	found, err := results.Query()
	if err != nil {
		return err
	}
	var ref wallet.AssetRef
	var open int64
	var next *time.Time
	_, err = pgx.ForEachRow(found, []any{&ref.UserID, &ref.Currency, &open, &next}, func() error {
		if asset := b.assets[ref]; b.restored[ref] {
			asset.OpenHolds = open
			if next != nil {
				asset.NextExpiry = next.UTC()
			}
			b.assets[ref] = asset
		}
		return nil
	})
	return err
}

func queryEntries(results pgx.BatchResults) ([]wallet.Entry, error) {
	found, err := results.Query()
	if err != nil {
		return nil, err
	}
	return rows.CollectEntries(found)
}

// fold applies the commands of the groups in the order given. All entries of a transaction
// have one time.
func (b *books) fold(groups []group) ([]outcome, error) {
	outcomes := make([]outcome, len(groups))
	for i, g := range groups {
		f, err := wallet.Fold(wallet.Account{Asset: b.assets[g.AssetRef], Holds: b.holds[g.AssetRef]}, b.prior[g.AssetRef], g.commands, b.now)
		if err != nil {
			return nil, fmt.Errorf("the %s wallet of %q: %w", g.Currency, g.UserID, err)
		}
		outcomes[i] = outcome{asset: f.Account.Asset, results: f.Results, holds: len(f.Holds) > 0}
		for _, e := range f.Entries {
			if e.Type == wallet.TypeExpire {
				outcomes[i].expired++
			}
		}
		if len(f.Entries) == 0 {
			continue
		}
		b.assets[g.AssetRef], b.changed[g.AssetRef] = f.Account.Asset, true
		b.holds[g.AssetRef] = f.Account.Holds
		b.entries = append(b.entries, f.Entries...)
		for _, h := range f.Holds {
			put(b.written, g.AssetRef, h)
		}
		for _, e := range f.Entries {
			b.know(e)
		}
	}
	return outcomes, nil
}

// written is what there is to know of the holds of assets after a transaction.
type written struct {
	expiries  map[wallet.AssetRef]time.Time // when the next expires; zero for never
	nextHolds map[wallet.AssetRef][]wallet.Hold
}

// write appends the new entries to the journal, writes holds and balances and commits.
func (t transaction) write(ctx context.Context, b books) (w written, err error) {
	if len(b.changed) == 0 {
		last := &pgx.Batch{}
		last.Queue(sqlAwaitDurability)
		return w, t.commit(ctx, last)
	}
	last := &pgx.Batch{}
	if len(b.entries) > 0 {
		parameters, err := rows.EntryParameters(b.entries)
		if err != nil {
			return w, err
		}
		last.Queue(rows.InsertEntries, parameters...)
	}
	if holds := b.changedHolds(); len(holds) > 0 {
		last.Queue(rows.UpsertHolds, rows.HoldParameters(holds)...)
	}
	before := last.Len()
	last.Queue(sqlUpdateAssets, b.balances()...)
	if len(b.written) > 0 {
		users, currencies := columns(slices.SortedFunc(maps.Keys(b.written), compareRefs))
		last.Queue(sqlNextHolds, users, currencies)
	}
	last.Queue(sqlCommit)
	results := t.conn.SendBatch(ctx, last)
	for range before {
		if _, err := results.Exec(); err != nil {
			return w, errors.Join(err, results.Close())
		}
	}
	w.expiries, err = readExpiries(results)
	if err == nil && len(b.written) > 0 {
		w.nextHolds, err = readNextHolds(results)
	}
	if closeErr := results.Close(); err == nil {
		err = closeErr
	}
	return w, err
}

func readNextHolds(results pgx.BatchResults) (map[wallet.AssetRef][]wallet.Hold, error) {
	found, err := results.Query()
	if err != nil {
		return nil, err
	}
	holds, err := rows.CollectHolds(found)
	next := map[wallet.AssetRef][]wallet.Hold{}
	for _, h := range holds {
		next[h.AssetRef] = append(next[h.AssetRef], h.Hold)
	}
	return next, err
}

func readExpiries(results pgx.BatchResults) (map[wallet.AssetRef]time.Time, error) {
	found, err := results.Query()
	if err != nil {
		return nil, err
	}
	expiries := map[wallet.AssetRef]time.Time{}
	var ref wallet.AssetRef
	var next *time.Time
	_, err = pgx.ForEachRow(found, []any{&ref.UserID, &ref.Currency, &next}, func() error {
		expiries[ref] = time.Time{}
		if next != nil {
			expiries[ref] = next.UTC()
		}
		return nil
	})
	return expiries, err
}

// changedHolds are the holds to write, in one order for all transactions.
func (b books) changedHolds() (holds []rows.Hold) {
	for ref, byID := range b.written {
		for _, h := range byID {
			holds = append(holds, rows.Hold{AssetRef: ref, Hold: h})
		}
	}
	slices.SortFunc(holds, func(a, b rows.Hold) int {
		return cmp.Or(compareRefs(a.AssetRef, b.AssetRef), cmp.Compare(a.ID, b.ID))
	})
	return holds
}

// balances are the parameters of sqlUpdateAssets.
func (b books) balances() []any {
	var (
		users, currencies, totals, holds []string
		versions, positions, formats     []int64
		openHolds                        []int64
		holdsChanged                     []bool
		hashes                           [][]byte
		times                            []time.Time
	)
	for ref := range b.changed {
		a := b.assets[ref]
		users, currencies = append(users, a.UserID), append(currencies, a.Currency)
		totals, holds = append(totals, a.Total.String()), append(holds, a.Hold.String())
		versions, positions, formats = append(versions, a.Version), append(positions, a.Position), append(formats, a.Format)
		hashes, times = append(hashes, a.Hash[:]), append(times, a.UpdatedAt)
		openHolds, holdsChanged = append(openHolds, a.OpenHolds), append(holdsChanged, len(b.written[ref]) > 0 || b.restored[ref])
	}
	return []any{users, currencies, totals, holds, versions, positions, hashes, formats, times, openHolds, holdsChanged}
}

// sortedKeys are the assets of groups, each once, in the order in which all transactions
// create and lock them: by the bytes of the user's id, then of the currency.
func sortedKeys(groups []group) []wallet.AssetRef {
	keys := make([]wallet.AssetRef, len(groups))
	for i, g := range groups {
		keys[i] = g.AssetRef
	}
	slices.SortFunc(keys, compareRefs)
	return slices.Compact(keys)
}

func compareRefs(a, b wallet.AssetRef) int {
	return cmp.Or(cmp.Compare(a.UserID, b.UserID), cmp.Compare(a.Currency, b.Currency))
}

func columns(keys []wallet.AssetRef) (users, currencies []string) {
	for _, key := range keys {
		users, currencies = append(users, key.UserID), append(currencies, key.Currency)
	}
	return users, currencies
}

// wantedIDs are the parameters of sqlPrior: the ids of the commands, and of those that placed
// the holds that they name.
func wantedIDs(groups []group) []any {
	return named(groups, func(c wallet.Command) []string { return []string{c.ID, c.HoldID} })
}

// namedHolds are the parameters of sqlNamedHolds.
func namedHolds(groups []group) []any {
	return named(groups, func(c wallet.Command) []string { return []string{c.HoldID} })
}

// named are the names that commands have, each once in a wallet, behind its user and
// currency.
func named(groups []group, of func(wallet.Command) []string) []any {
	users, currencies, ids := []string{}, []string{}, []string{}
	for _, g := range groups {
		seen := map[string]bool{"": true}
		for _, received := range g.commands {
			for _, id := range of(received.Command) {
				if !seen[id] {
					seen[id] = true
					users, currencies, ids = append(users, g.UserID), append(currencies, g.Currency), append(ids, id)
				}
			}
		}
	}
	return []any{users, currencies, ids}
}
