package runs

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"maps"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/valueledger/wallet"
	"github.com/valueledger/wallet/internal/service/postgres"
	"github.com/valueledger/wallet/internal/service/rows"
)

// idKey is what is kept of an id, which can be longer.
type idKey [16]byte

func keyOf(id string) idKey {
	sum := sha256.Sum256([]byte(id))
	return idKey(sum[:16])
}

// seenID is what is kept of a line's command, to answer a later line with the same id.
type seenID struct {
	request wallet.Hash
	refused *wallet.Refusal
}

// checkedWallet is the state of a wallet after the lines decided so far. Its account has only the
// open holds, because each fold copies it.
type checkedWallet struct {
	account   wallet.Account
	closed    map[string]wallet.Hold     // that lines have closed or name
	originals map[string]wallet.Original // that lines have reversed or will
	used      map[int64]wallet.Grant     // of which nothing is left, and that originals name
	seen      map[idKey]seenID
}

// accountFor is what a command is decided on, to be kept afterwards.
func (w *checkedWallet) accountFor(c wallet.Command) wallet.Account {
	a := w.account
	if h, known := w.closed[c.HoldID]; known {
		a.Keep(h)
	}
	if o, known := w.originals[c.OriginalID]; known {
		a.KeepOriginal(o)
		for _, n := range o.NamedGrants() {
			if g, known := w.used[n]; known {
				a.KeepGrant(g)
			}
		}
	}
	return a
}

// keep keeps an account after a command.
func (w *checkedWallet) keep(a wallet.Account) {
	for id, h := range a.Holds {
		if !h.IsOpen() {
			delete(a.Holds, id)
			w.closed[id] = h
		}
	}
	for n, g := range a.Grants {
		delete(w.used, n) // a reversal may have opened it again
		if !g.IsOpen() {
			delete(a.Grants, n)
			w.used[n] = g
		}
	}
	maps.Copy(w.originals, a.Originals)
	a.Originals = nil
	w.account = a
}

// decision decides the lines of a temporary file.
type decision struct {
	Check
	report   *CheckReport
	scales   map[string]int32                   // of the currencies
	reversed map[wallet.AssetRef]map[idKey]bool // ids that lines reverse
	wallets  map[wallet.AssetRef]*checkedWallet
	now      time.Time
}

const (
	sqlCheckSettings = `SELECT clock_timestamp(), ARRAY[` + postgres.PlanByIndex + `]`

	sqlCheckAssets = `SELECT a.*
		FROM unnest($1::text[], $2::text[]) AS wanted (u, c)
		CROSS JOIN LATERAL (
			SELECT ` + rows.AssetColumns + `
			FROM wallet_assets AS a
			WHERE a.user_id = u AND a.currency = c
			OFFSET 0) AS a`

	sqlCheckHolds = `SELECT ` + rows.HoldColumns + `
		FROM unnest($1::text[], $2::text[]) AS wanted (u, c)
		CROSS JOIN LATERAL (
			SELECT *
			FROM wallet_holds
			WHERE user_id = u AND currency = c AND state = 'open'
			ORDER BY expires_at, hold_id
			OFFSET 0) AS h`

	sqlCheckGrants = `SELECT ` + rows.GrantColumns + `
		FROM unnest($1::text[], $2::text[]) AS wanted (u, c)
		CROSS JOIN LATERAL (
			SELECT *
			FROM wallet_grants
			WHERE user_id = u AND currency = c AND state IN ('open', 'held')
			OFFSET 0) AS g`

	sqlCheckNamedGrants = `SELECT ` + rows.GrantColumns + `
		FROM unnest($1::text[], $2::text[], $3::bigint[]) AS wanted (u, c, n)
		CROSS JOIN LATERAL (
			SELECT *
			FROM wallet_grants
			WHERE user_id = u AND currency = c AND grant_number = n
			OFFSET 0) AS g`

	sqlCheckNamedHolds = `SELECT ` + rows.HoldColumns + `
		FROM unnest($1::text[], $2::text[], $3::text[]) AS wanted (u, c, id)
		CROSS JOIN LATERAL (
			SELECT *
			FROM wallet_holds
			WHERE user_id = u AND currency = c AND hold_id = id
			OFFSET 0) AS h`
)

// noteReversed notes which commands lines reverse: they may be lines before.
func (d *decision) noteReversed(lines []fileLine) error {
	for _, l := range lines {
		if l.Original == "" {
			continue
		}
		ids := d.reversed[l.assetRef()]
		if ids == nil {
			ids = map[idKey]bool{}
			d.reversed[l.assetRef()] = ids
		}
		ids[keyOf(l.Original)] = true
	}
	return nil
}

func (d *decision) decide(ctx context.Context, db *pgxpool.Pool, lines []fileLine) error {
	decoded := make([]wallet.RunLine, len(lines))
	for i, l := range lines {
		var err error
		if decoded[i], err = wallet.DecodeStagedLine(l.assetRef(), l.Command, d.ID, l.Number); err != nil {
			return err
		}
	}
	prior := map[wallet.AssetRef]map[string]*wallet.Entry{}
	if err := pgx.BeginTxFunc(ctx, db, pgx.TxOptions{AccessMode: pgx.ReadOnly}, func(tx pgx.Tx) error {
		if err := tx.QueryRow(ctx, sqlCheckSettings).Scan(&d.now, nil); err != nil {
			return err
		}
		return errors.Join(d.readWallets(ctx, tx, decoded), d.readEntries(ctx, tx, decoded, prior))
	}); err != nil {
		return err
	}
	for i, l := range decoded {
		if err := d.decideLine(lines[i].Number, l, prior[l.AssetRef]); err != nil {
			return err
		}
	}
	return nil
}

// readWallets reads the wallets that have not appeared in an earlier batch.
func (d *decision) readWallets(ctx context.Context, tx pgx.Tx, lines []wallet.RunLine) error {
	var users, currencies []string
	for _, l := range lines {
		if d.wallets[l.AssetRef] == nil {
			d.wallets[l.AssetRef] = &checkedWallet{
				account: wallet.Account{Asset: wallet.Asset{UserID: l.UserID, Currency: l.Currency, Scale: d.scales[l.Currency]}},
				closed:  map[string]wallet.Hold{}, originals: map[string]wallet.Original{}, used: map[int64]wallet.Grant{}, seen: map[idKey]seenID{},
			}
			users, currencies = append(users, l.UserID), append(currencies, l.Currency)
		}
	}
	if len(users) == 0 {
		return nil
	}
	err := postgres.QueryEach(ctx, tx, sqlCheckAssets, []any{users, currencies}, func(found pgx.Rows) error {
		assets, err := rows.CollectAssets(found)
		for _, a := range assets {
			d.wallets[wallet.AssetRef{UserID: a.UserID, Currency: a.Currency}].account.Asset = a
		}
		return err
	})
	if err != nil {
		return err
	}
	if err := d.readGrants(ctx, tx, sqlCheckGrants, users, currencies); err != nil {
		return err
	}
	return d.readHolds(ctx, tx, sqlCheckHolds, users, currencies)
}

func (d *decision) readGrants(ctx context.Context, tx pgx.Tx, sql string, parameters ...any) error {
	return postgres.QueryEach(ctx, tx, sql, parameters, func(found pgx.Rows) error {
		grants, err := rows.CollectGrants(found)
		for _, g := range grants {
			w := d.wallets[g.AssetRef]
			_, open := w.account.Grants[g.Number]
			if _, used := w.used[g.Number]; open || used {
				continue // as lines before left it
			}
			if g.IsOpen() {
				w.account.KeepGrant(g.Grant)
			} else {
				w.used[g.Number] = g.Grant
			}
		}
		return err
	})
}

func (d *decision) readHolds(ctx context.Context, tx pgx.Tx, sql string, parameters ...any) error {
	return postgres.QueryEach(ctx, tx, sql, parameters, func(found pgx.Rows) error {
		holds, err := rows.CollectHolds(found)
		for _, h := range holds {
			w := d.wallets[h.AssetRef]
			_, open := w.account.Holds[h.ID]
			if _, closed := w.closed[h.ID]; open || closed {
				continue // as lines before left it
			}
			w.account.Keep(h.Hold)
		}
		return err
	})
}

// readEntries reads the journal's entries under the lines' ids, and the holds that lines name.
func (d *decision) readEntries(ctx context.Context, tx pgx.Tx, lines []wallet.RunLine, prior map[wallet.AssetRef]map[string]*wallet.Entry) error {
	var users, currencies, ids, holdUsers, holdCurrencies, holds []string
	var reversals []wallet.RunLine
	for _, l := range lines {
		users, currencies, ids = append(users, l.UserID), append(currencies, l.Currency), append(ids, l.ID)
		if l.HoldID != "" {
			holdUsers, holdCurrencies, holds = append(holdUsers, l.UserID), append(holdCurrencies, l.Currency), append(holds, l.HoldID)
		}
		if l.OriginalID != "" {
			reversals = append(reversals, l)
			users, currencies, ids = append(users, l.UserID), append(currencies, l.Currency), append(ids, l.OriginalID)
		}
	}
	err := postgres.QueryEach(ctx, tx, rows.EntriesByID, []any{users, currencies, ids}, func(found pgx.Rows) error {
		entries, err := rows.CollectEntries(found)
		for i := range entries {
			ref := wallet.AssetRef{UserID: entries[i].UserID, Currency: entries[i].Currency}
			if prior[ref] == nil {
				prior[ref] = map[string]*wallet.Entry{}
			}
			prior[ref][entries[i].CommandID] = &entries[i]
		}
		return err
	})
	if err != nil {
		return err
	}
	if err := d.readOriginals(ctx, tx, reversals, prior); err != nil || len(holds) == 0 {
		return err
	}
	return d.readHolds(ctx, tx, sqlCheckNamedHolds, holdUsers, holdCurrencies, holds)
}

// readOriginals reads what is left of the commands that lines reverse.
func (d *decision) readOriginals(ctx context.Context, tx pgx.Tx, reversals []wallet.RunLine, prior map[wallet.AssetRef]map[string]*wallet.Entry) error {
	var users, currencies, ids []string
	for _, l := range reversals {
		w := d.wallets[l.AssetRef]
		if _, known := w.originals[l.OriginalID]; known {
			continue // as lines before left it
		}
		if e, recorded := prior[l.AssetRef][l.OriginalID]; recorded {
			w.originals[l.OriginalID] = wallet.OriginalOf(*e)
			users, currencies, ids = append(users, l.UserID), append(currencies, l.Currency), append(ids, l.OriginalID)
		}
	}
	if len(ids) == 0 {
		return nil
	}
	err := postgres.QueryEach(ctx, tx, rows.LastReversals, []any{users, currencies, ids}, func(found pgx.Rows) error {
		return rows.EachLastReversal(found, func(of wallet.AssetRef, id string, left wallet.Amount) error {
			w := d.wallets[of]
			w.originals[id] = w.originals[id].WithLeft(left)
			return nil
		})
	})
	if err != nil {
		return err
	}
	return d.readNamedGrants(ctx, tx, reversals)
}

// readNamedGrants reads the grants that the commands have used, or made, that lines reverse.
func (d *decision) readNamedGrants(ctx context.Context, tx pgx.Tx, reversals []wallet.RunLine) error {
	var users, currencies []string
	var numbers []int64
	for _, l := range reversals {
		for _, n := range d.wallets[l.AssetRef].originals[l.OriginalID].NamedGrants() {
			users, currencies, numbers = append(users, l.UserID), append(currencies, l.Currency), append(numbers, n)
		}
	}
	if len(numbers) == 0 {
		return nil
	}
	return d.readGrants(ctx, tx, sqlCheckNamedGrants, users, currencies, numbers)
}

func (d *decision) decideLine(number int64, l wallet.RunLine, prior map[string]*wallet.Entry) error {
	w := d.wallets[l.AssetRef]
	key := keyOf(l.ID)
	request := l.Command.RequestHash()
	refused := (*wallet.Refusal)(nil)
	seen, again := w.seen[key]
	switch {
	case again && seen.request == request:
		refused = seen.refused
		d.report.Replayed++
	case again:
		refused = &wallet.Refusal{Reason: wallet.ReasonIDConflict, Message: fmt.Sprintf("id %q was used by an earlier line with different content: give this line another id", l.ID)}
	default:
		f, err := wallet.Fold(w.accountFor(l.Command), prior, []wallet.Received{{Command: l.Command}}, d.now)
		if err != nil {
			return fmt.Errorf("line %d: the %s wallet of %q: %w", number, l.Currency, l.UserID, err)
		}
		r := f.Results[0]
		if r.Status != wallet.StatusApplied {
			refused = &wallet.Refusal{Reason: r.Reason, Message: r.Message}
		}
		if r.Replayed {
			d.report.Replayed++
		} else if r.Reason != wallet.ReasonIDConflict {
			w.seen[key] = seenID{request, refused}
		}
		w.keep(f.Account)
		for _, e := range f.Entries {
			if d.reversed[l.AssetRef][keyOf(e.CommandID)] {
				w.originals[e.CommandID] = wallet.OriginalOf(e)
			}
		}
	}
	if refused == nil {
		d.report.Applied++
		return nil
	}
	d.report.Refused++
	amount := ""
	if !l.Amount.IsZero() {
		amount = l.Amount.String()
	}
	return d.Failed(Failure{Line: number, Status: "refused", UserID: l.UserID, Currency: l.Currency, Type: string(l.Type), Amount: amount,
		CommandID: l.ID, Reason: refused.Reason, Message: refused.Message})
}
