package trail

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/valueledger/wallet"
	"github.com/valueledger/wallet/internal/service/postgres"
	"github.com/valueledger/wallet/internal/service/rows"
)

// ErrNoTransaction says that no transaction has this id.
var ErrNoTransaction = errors.New("no such transaction: check the id (what was invalid is not recorded)")

// Transaction is what became of a transaction.
type Transaction struct {
	wallet.TransactionResult
	MustBalance bool `json:"must_balance,omitempty"`
}

// Transaction reads what became of a transaction: the entries of its legs. It returns
// ErrNoTransaction if the id was never used.
func (r Reader) Transaction(ctx context.Context, id string) (t Transaction, err error) {
	if err := wallet.ValidateTransactionID(id); err != nil {
		return t, err
	}
	found, err := readTransactions(ctx, r.db, []string{id}, map[string]bool{id: true})
	if err != nil {
		return t, err
	}
	stored, known := found[id]
	if !known {
		return t, fmt.Errorf("transaction %q: %w", id, ErrNoTransaction)
	}
	if problem := stored.problem(); problem != "" {
		return t, fmt.Errorf("transaction %q: %s: run \"wallet verify\"", id, problem)
	}
	results := make([]wallet.LegResult, len(stored.legs))
	for i, leg := range stored.legs {
		results[i] = wallet.LegResult{AssetRef: leg.AssetRef, Result: leg.entry.Result()}
	}
	t = Transaction{wallet.NewTransactionResult(id, stored.hash, results), stored.mustBalance}
	return t, nil
}

// storedTransaction is a row of wallet_transactions, with the entries of its legs.
type storedTransaction struct {
	mustBalance bool
	hash        wallet.Hash
	legs        []storedLeg
}

type storedLeg struct {
	wallet.AssetRef
	entry   *wallet.Entry // nil if the journal lacks it
	problem string        // with its row
}

var (
	// A row that was damaged by hand must not keep verify from reading the others.
	sqlTransactionRows = `SELECT transaction_id,
			CASE WHEN ` + isList("users") + ` AND ` + isList("currencies") + ` AND cardinality(users) = cardinality(currencies) THEN users ELSE '{}' END,
			CASE WHEN ` + isList("currencies") + ` THEN currencies ELSE '{}' END,
			coalesce(must_balance, false),
			CASE WHEN length(request_hash) = 32 THEN request_hash ELSE decode(repeat('00', 32), 'hex') END
		FROM wallet_transactions
		WHERE transaction_id = ANY ($1::text[])`

	// A page of all transactions, in a statement of its own so that no snapshot is held for long.
	sqlFirstLegs = `SELECT transaction_id, coalesce(users[1], ''), coalesce(currencies[1], '')
		FROM wallet_transactions
		WHERE transaction_id > $1
		ORDER BY transaction_id
		LIMIT 1000`
)

// isList is whether a column is an array as the service writes them.
func isList(column string) string {
	return `coalesce(array_ndims(` + column + `) = 1 AND array_lower(` + column + `, 1) = 1 AND array_position(` + column + `, NULL) IS NULL, false)`
}

type querier interface {
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
}

// readTransactions reads transactions by their ids. Of those that whole names it reads the entries
// of the legs too.
func readTransactions(ctx context.Context, db querier, ids []string, whole map[string]bool) (map[string]*storedTransaction, error) {
	all := map[string]*storedTransaction{}
	found, err := db.Query(ctx, sqlTransactionRows, ids)
	if err != nil {
		return nil, err
	}
	var users, currencies, legIDs []string
	var id string
	var ofUsers, ofCurrencies []string
	var mustBalance bool
	var hash wallet.Hash
	_, err = pgx.ForEachRow(found, []any{&id, &ofUsers, &ofCurrencies, &mustBalance, &hash}, func() error {
		t := &storedTransaction{mustBalance: mustBalance, hash: hash}
		for i := range ofUsers {
			t.legs = append(t.legs, storedLeg{AssetRef: wallet.AssetRef{UserID: ofUsers[i], Currency: ofCurrencies[i]}})
			if !whole[id] {
				continue
			}
			users, currencies, legIDs = append(users, ofUsers[i]), append(currencies, ofCurrencies[i]), append(legIDs, wallet.LegID(id, int64(i+1)))
		}
		all[id] = t
		return nil
	})
	if err != nil || len(legIDs) == 0 {
		return all, err
	}
	return all, postgres.QueryEach(ctx, db, rows.EntriesByID, []any{users, currencies, legIDs}, func(entries pgx.Rows) error {
		for reader := rows.Entries(entries); entries.Next(); {
			e := &wallet.Entry{}
			problem := reader.Entry(rows.Values(entries), e)
			if t := all[e.TransactionID]; t != nil && 1 <= e.Leg && e.Leg <= int64(len(t.legs)) {
				if leg := &t.legs[e.Leg-1]; leg.AssetRef == (wallet.AssetRef{UserID: e.UserID, Currency: e.Currency}) {
					leg.entry, leg.problem = e, problem
				}
			}
		}
		return entries.Err()
	})
}

// problem is what is wrong with a transaction: legs that are missing, one that was applied where
// another was refused, or value that it has made or lost. It is empty if nothing is.
func (t *storedTransaction) problem() string {
	hashes := make([]wallet.LegHash, len(t.legs))
	causes, applied := 0, 0
	change := map[string]wallet.Amount{}
	for i, leg := range t.legs {
		switch {
		case leg.entry == nil:
			return fmt.Sprintf("leg %d of %d is not in the journal of the %s wallet of %q", i+1, len(t.legs), leg.Currency, leg.UserID)
		case leg.problem != "":
			return fmt.Sprintf("leg %d of %d: %s", i+1, len(t.legs), leg.problem)
		case leg.entry.Legs != int64(len(t.legs)):
			return fmt.Sprintf("leg %d says that there are %d, wallet_transactions that there are %d", i+1, leg.entry.Legs, len(t.legs))
		case leg.entry.Status == wallet.StatusApplied:
			applied++
		case leg.entry.Reason != wallet.ReasonTransactionRefused:
			causes++
		}
		hashes[i] = wallet.LegHash{AssetRef: leg.AssetRef, RequestHash: leg.entry.RequestHash}
		change[leg.Currency] = change[leg.Currency].Add(leg.entry.TotalAfter).Sub(leg.entry.TotalBefore)
	}
	switch {
	case len(t.legs) == 0:
		return "its row in wallet_transactions is damaged"
	case wallet.HashTransaction(t.mustBalance, hashes) != t.hash:
		return "its row in wallet_transactions does not match the content of its legs"
	case applied != 0 && applied != len(t.legs):
		return fmt.Sprintf("%d of its %d legs are applied, the others are not", applied, len(t.legs))
	case applied == 0 && causes != 1:
		return fmt.Sprintf("it is refused, and %d of its legs are recorded as the cause, not one", causes)
	}
	if t.mustBalance {
		for currency, sum := range change {
			if !sum.IsZero() {
				return fmt.Sprintf("it must balance, but changes the total in %s by %s", currency, sum)
			}
		}
	}
	return ""
}

// legEntry is an entry of a leg that a chain has.
type legEntry struct {
	key
	wallet.LegRef
	position int64
}

// legChecker compares the legs that journals have with their transactions: each leg with the row
// in wallet_transactions, and all of a transaction with each other where its first leg is found.
// A transaction and all its legs are committed together, and never change: whoever has seen one
// leg finds the others, in whatever snapshot.
type legChecker struct {
	mu   sync.Mutex
	conn *pgxpool.Conn
	// all is set where not all wallets are verified: the whole of a transaction is compared at each
	// of its legs.
	all bool
}

// legsAtOnce is how many legs are compared with one statement.
const legsAtOnce = 500

func (l *legChecker) check(ctx context.Context, legs []legEntry) (findings []Finding, err error) {
	ids := make([]string, 0, len(legs))
	seen, whole := map[string]bool{}, map[string]bool{}
	for _, leg := range legs {
		if !seen[leg.TransactionID] {
			ids, seen[leg.TransactionID] = append(ids, leg.TransactionID), true
		}
		whole[leg.TransactionID] = whole[leg.TransactionID] || l.all || leg.Leg == 1
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	found, err := readTransactions(ctx, l.conn, ids, whole)
	if err != nil {
		return nil, fmt.Errorf("read transactions: %w", err)
	}
	for _, leg := range legs {
		problem := ""
		switch t := found[leg.TransactionID]; {
		case t == nil:
			problem = "it has no row in wallet_transactions"
		case leg.Leg < 1 || leg.Leg > int64(len(t.legs)) || t.legs[leg.Leg-1].AssetRef != (wallet.AssetRef{UserID: leg.userID, Currency: leg.currency}):
			problem = fmt.Sprintf("leg %d of it is in this wallet, but not by its row in wallet_transactions", leg.Leg)
		case l.all || leg.Leg == 1:
			problem = t.problem()
		}
		if problem != "" {
			findings = append(findings, Finding{UserID: leg.userID, Currency: leg.currency, Table: "wallet_transactions", Position: leg.position,
				Problem: fmt.Sprintf("transaction %q: %s", leg.TransactionID, problem)})
		}
	}
	return findings, nil
}

// withoutLegs finds transactions whose first leg no journal has. Those that have it are compared
// where it is found.
func (l *legChecker) withoutLegs(ctx context.Context) (findings []Finding, err error) {
	for id := ""; ; {
		found, err := l.conn.Query(ctx, sqlFirstLegs, id)
		if err != nil {
			return nil, err
		}
		var ids, users, currencies, legIDs []string
		var at key
		_, err = pgx.ForEachRow(found, []any{&id, &at.userID, &at.currency}, func() error {
			ids, users, currencies, legIDs = append(ids, id), append(users, at.userID), append(currencies, at.currency), append(legIDs, wallet.LegID(id, 1))
			return nil
		})
		if err != nil {
			return nil, fmt.Errorf("read transactions: %w", err)
		}
		if len(ids) == 0 {
			return findings, nil
		}
		known := map[string]bool{}
		err = postgres.QueryEach(ctx, l.conn, rows.IDsOfEntries, []any{users, currencies, legIDs}, func(found pgx.Rows) error {
			var legID string
			_, err := pgx.ForEachRow(found, []any{&legID}, func() error { known[legID] = true; return nil })
			return err
		})
		if err != nil {
			return nil, fmt.Errorf("read first legs: %w", err)
		}
		for i, id := range ids {
			if !known[legIDs[i]] {
				findings = append(findings, Finding{UserID: users[i], Currency: currencies[i], Table: "wallet_transactions",
					Problem: fmt.Sprintf("transaction %q: its first leg is not in the journal of this wallet", id)})
			}
		}
	}
}

// chainLegs follows the legs that a refused transaction has in one wallet.
type chainLegs struct {
	transactionID string
	tried         wallet.Account // the wallet, had the legs before been applied
	misfit        bool           // one of those before could not be applied
}

// refusedLeg derives an entry of a refused leg: the cause of the refusal from the wallet as the
// legs before it would have left it, the others from nothing but that the transaction was
// refused. The whole of the transaction is left to a legChecker.
func (c *chain) refusedLeg(e *wallet.Entry, received wallet.Received, rules wallet.Rules) *wallet.Refusal {
	if c.legs.transactionID != e.TransactionID {
		c.legs = chainLegs{transactionID: e.TransactionID, tried: c.want.Clone()}
		if e.Position == 2 && e.Type == wallet.TypeCreate && e.Reason != wallet.ReasonAlreadyExists && e.RecordedAt.Equal(c.want.UpdatedAt) {
			// It was this transaction that had the wallet created, because it was refused.
			c.legs.tried.Version = 0
		}
	}
	if state, closed := c.holds.closed[e.HoldID]; closed {
		c.legs.tried.Keep(wallet.Hold{ID: e.HoldID, State: state})
	}
	if _, reversed := c.legs.tried.Originals[e.OriginalID]; !reversed {
		if o, known := c.want.Originals[e.OriginalID]; known {
			c.legs.tried.KeepOriginal(o)
			for _, n := range o.NamedGrants() {
				if g, known := c.grant(n); known && c.legs.tried.Grants[n].Number == 0 {
					c.legs.tried.KeepGrant(g)
				}
			}
		}
	}
	after, result, err := rules.Apply(c.legs.tried, received, e.RecordedAt)
	switch isCause := e.Reason != wallet.ReasonTransactionRefused; {
	case err != nil:
		c.wrongEntry(e, "%v", err)
	case isCause && c.legs.misfit:
		c.wrongEntry(e, "it is recorded as the cause of its transaction's refusal, but an earlier leg would already have been refused")
	case isCause && result.Reason != e.Reason:
		c.wrongEntry(e, "the transaction was refused because of it, for %s, but the rules say %s", e.Reason, cmp.Or(string(result.Reason), string(result.Status)))
	case result.Status == wallet.StatusUnapplied:
		c.legs.misfit = true
	default:
		c.legs.keep(after)
		for _, g := range after.ChangedGrants() { // that the leg gave back to after their time
			if !g.IsDue(e.RecordedAt) {
				continue
			}
			if after, _, err = rules.Apply(c.legs.tried, wallet.Received{Command: wallet.ExpireGrantCommand(g)}, e.RecordedAt); err != nil {
				c.wrongEntry(e, "%v", err)
				break
			}
			c.legs.keep(after)
		}
	}
	return &wallet.Refusal{Reason: e.Reason, Message: e.Message}
}

// keep takes over what a leg, or an expiry after it, would have done.
func (l *chainLegs) keep(after wallet.Account) {
	l.tried = after
	if h, ok := after.Changed(); ok {
		l.tried.Keep(h)
	}
	if o, ok := after.Reversed(); ok {
		l.tried.KeepOriginal(o)
	}
	for _, g := range after.ChangedGrants() {
		l.tried.KeepGrant(g)
	}
}
