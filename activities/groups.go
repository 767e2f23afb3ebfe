package activities

import (
	"cmp"
	"context"
	"fmt"
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
			version = after.version, position = after.position, hash = after.hash, format = after.format, updated_at = after.updated_at
		FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::bigint[], $6::bigint[], $7::bytea[], $8::bigint[], $9::timestamptz[])
			AS after (user_id, currency, total, hold, version, position, hash, format, updated_at)
		WHERE a.user_id = after.user_id AND a.currency = after.currency`
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
	asset   wallet.Asset // after its commands
	results []wallet.Result
}

// needsRecording reports whether an outcome calls for RecordEvents: see ApplyCommandsOutput.
func (o outcome) needsRecording() bool {
	return slices.ContainsFunc(o.results, func(r wallet.Result) bool { return r.Status == wallet.StatusApplied })
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
		outcomes, err := b.fold(groups)
		if err != nil {
			return nil, err
		}
		return outcomes, t.write(ctx, b)
	})
}

// books are the wallet assets that a transaction has locked, and what it does to them.
type books struct {
	assets  map[wallet.AssetRef]wallet.Asset
	prior   map[wallet.AssetRef]map[string]wallet.Entry // under the ids of the commands
	now     time.Time                                   // Postgres's, read behind the locks
	entries []wallet.Entry                              // to append
	changed map[wallet.AssetRef]bool
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
	if create {
		request.Queue(sqlLastEntries, users, currencies)
		request.Queue(sqlLastApplied, users, currencies)
	}
	results, err := t.begin(ctx, request)
	if err != nil {
		return books{}, err
	}
	b, err := readBooks(results, create)
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
func readBooks(results pgx.BatchResults, create bool) (books, error) {
	b := books{assets: map[wallet.AssetRef]wallet.Asset{}, prior: map[wallet.AssetRef]map[string]wallet.Entry{}, changed: map[wallet.AssetRef]bool{}}
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
	if err := results.QueryRow().Scan(&b.now); err != nil || !create {
		return b, err
	}
	return b, b.restore(results)
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
			b.assets[ref], b.changed[ref] = asset, true
		}
	}
	return nil
}

func queryEntries(results pgx.BatchResults) ([]wallet.Entry, error) {
	found, err := results.Query()
	if err != nil {
		return nil, err
	}
	return rows.CollectEntries(found)
}

// fold applies the commands of the groups in the order given. All entries of a transaction
// have one time, not before the last entry of any of its assets.
func (b *books) fold(groups []group) ([]outcome, error) {
	for _, asset := range b.assets {
		if b.now.Before(asset.UpdatedAt) {
			b.now = asset.UpdatedAt
		}
	}
	outcomes := make([]outcome, len(groups))
	for i, g := range groups {
		f, err := wallet.Fold(wallet.Account{Asset: b.assets[g.AssetRef]}, b.prior[g.AssetRef], g.commands, b.now)
		if err != nil {
			return nil, fmt.Errorf("the %s wallet of %q: %w", g.Currency, g.UserID, err)
		}
		outcomes[i] = outcome{f.Account.Asset, f.Results}
		if len(f.Entries) == 0 {
			continue
		}
		b.assets[g.AssetRef], b.changed[g.AssetRef] = f.Account.Asset, true
		b.entries = append(b.entries, f.Entries...)
		for _, e := range f.Entries {
			b.know(e)
		}
	}
	return outcomes, nil
}

// write appends the new entries to the journal, moves the balances and commits.
func (t transaction) write(ctx context.Context, b books) error {
	last := &pgx.Batch{}
	if len(b.entries) > 0 {
		parameters, err := rows.EntryParameters(b.entries)
		if err != nil {
			return err
		}
		last.Queue(rows.InsertEntries, parameters...)
	}
	if len(b.changed) > 0 {
		last.Queue(sqlUpdateAssets, b.balances()...)
	} else {
		last.Queue(sqlAwaitDurability)
	}
	return t.commit(ctx, last)
}

// balances are the parameters of sqlUpdateAssets.
func (b books) balances() []any {
	var (
		users, currencies, totals, holds []string
		versions, positions, formats     []int64
		hashes                           [][]byte
		times                            []time.Time
	)
	for ref := range b.changed {
		a := b.assets[ref]
		users, currencies = append(users, a.UserID), append(currencies, a.Currency)
		totals, holds = append(totals, a.Total.String()), append(holds, a.Hold.String())
		versions, positions, formats = append(versions, a.Version), append(positions, a.Position), append(formats, a.Format)
		hashes, times = append(hashes, a.Hash[:]), append(times, a.UpdatedAt)
	}
	return []any{users, currencies, totals, holds, versions, positions, hashes, formats, times}
}

// sortedKeys are the assets of groups, each once, in the order in which all transactions
// create and lock them: by the bytes of the user's id, then of the currency.
func sortedKeys(groups []group) []wallet.AssetRef {
	keys := make([]wallet.AssetRef, len(groups))
	for i, g := range groups {
		keys[i] = g.AssetRef
	}
	slices.SortFunc(keys, func(a, b wallet.AssetRef) int {
		return cmp.Or(cmp.Compare(a.UserID, b.UserID), cmp.Compare(a.Currency, b.Currency))
	})
	return slices.Compact(keys)
}

func columns(keys []wallet.AssetRef) (users, currencies []string) {
	for _, key := range keys {
		users, currencies = append(users, key.UserID), append(currencies, key.Currency)
	}
	return users, currencies
}

// wantedIDs are the parameters of sqlPrior.
func wantedIDs(groups []group) []any {
	users, currencies, ids := []string{}, []string{}, []string{}
	for _, g := range groups {
		for _, received := range g.commands {
			users, currencies, ids = append(users, g.UserID), append(currencies, g.Currency), append(ids, received.Command.ID)
		}
	}
	return []any{users, currencies, ids}
}
