package activities

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/valueledger/wallet"
	"github.com/valueledger/wallet/internal/service/failure"
)

const (
	// The ids come sorted. Another transaction of the same id that is in progress ends first.
	sqlClaimTransactions = `INSERT INTO wallet_transactions (transaction_id, users, currencies, must_balance, request_hash)
		SELECT id, users::text[], currencies::text[], must_balance, request_hash
		FROM unnest($1::text[], $2::text[], $3::text[], $4::boolean[], $5::bytea[]) AS claim (id, users, currencies, must_balance, request_hash)
		ON CONFLICT DO NOTHING`

	// A statement of its own, which sees what the insert had to wait for.
	sqlClaimedTransactions = `SELECT claimed.transaction_id, claimed.request_hash
		FROM unnest($1::text[]) AS wanted (id)
		CROSS JOIN LATERAL (
			SELECT transaction_id, request_hash
			FROM wallet_transactions
			WHERE transaction_id = wanted.id
			OFFSET 0) AS claimed`
)

// claim is a transaction whose id is taken by the row in wallet_transactions: by this try, or
// by an earlier one.
type claim struct {
	wallet.Transaction
	hash   wallet.Hash // of the request
	stored wallet.Hash // of the request that the row is of
}

func newClaim(t wallet.Transaction) *claim { return &claim{Transaction: t, hash: t.RequestHash()} }

// ApplyTransaction applies a transaction: all its legs or none, in one transaction of Postgres
// that locks the rows of all its wallets. A refused transaction is a result like any other, with
// an entry in each wallet. Missing assets are created. It fails for good with InvalidCommand if
// the transaction is not valid or a currency is not registered; any other failure can be
// retried. The events follow in a second transaction: if that takes too long, RecordTransaction
// has to be run.
func (a *Activities) ApplyTransaction(ctx context.Context, t wallet.Transaction) (wallet.ApplyTransactionOutput, error) {
	if err := t.Validate(); err != nil { // a step is not to depend on who calls it
		return wallet.ApplyTransactionOutput{}, failure.Encode(err)
	}
	out, err := a.applyTransaction(ctx, t)
	if err != nil {
		return wallet.ApplyTransactionOutput{}, failure.Encode(fmt.Errorf("apply transaction %q: %w", t.ID, err))
	}
	out.Recorded = len(out.Result.Results) == 0 || a.recordSoon(ctx, t.Wallets()...)
	return out, nil
}

// RecordTransaction is RecordEvents for several wallets, in one transaction of Postgres.
func (a *Activities) RecordTransaction(ctx context.Context, refs []wallet.AssetRef) error {
	if _, err := a.recordEvents(ctx, refs); err != nil {
		return failure.Encode(fmt.Errorf("record events of %d wallets: %w", len(refs), err))
	}
	return nil
}

func (a *Activities) applyTransaction(ctx context.Context, of wallet.Transaction) (wallet.ApplyTransactionOutput, error) {
	groups := legGroups(of)
	return inTransaction(ctx, a, func(t transaction) (out wallet.ApplyTransactionOutput, err error) {
		c := newClaim(of)
		l, err := t.lockAndRead(ctx, groups, c)
		if err == nil && c.hasConflict() && l.created {
			// Another one has taken the id just now: nothing may be created for this one.
			if err = t.rollback(ctx); err == nil {
				l, err = t.lockAndRead(ctx, groups, c)
			}
		}
		if err != nil {
			return out, err
		}
		if out.Result, out.Expired, err = l.foldTransaction(c); err != nil {
			return out, err
		}
		return out, t.write(ctx, l)
	})
}

// hasConflict reports whether the id is another transaction's.
func (c *claim) hasConflict() bool { return c.stored != c.hash }

// legGroups are the legs of a transaction as groups, one for each.
func legGroups(t wallet.Transaction) []group {
	legs := t.Legs()
	groups := make([]group, len(legs))
	for i, leg := range legs {
		groups[i] = group{AssetRef: leg.AssetRef, commands: []wallet.Received{{Command: leg.Command}}}
	}
	return groups
}

// queueClaims takes the ids of transactions, or finds out whose they are. It comes after all rows
// are made and locked, and takes the ids in the order of their bytes. So nobody who has an id
// waits for a row, and who waits for an id waits for somebody who waits for later ids only.
func (t transaction) queueClaims(batch *pgx.Batch, claims ...*claim) error {
	var ids, users, currencies []string
	var balance []bool
	var hashes [][]byte
	byID := slices.SortedStableFunc(slices.Values(claims), func(a, b *claim) int { return cmp.Compare(a.ID, b.ID) })
	for i, c := range byID {
		if i > 0 && c.ID == ids[len(ids)-1] {
			continue // the first has the id
		}
		u, cur := make([]string, len(c.Commands)), make([]string, len(c.Commands))
		for i, leg := range c.Commands {
			u[i], cur[i] = leg.UserID, leg.Currency
		}
		for _, list := range []struct {
			texts []string
			of    *[]string
		}{{u, &users}, {cur, &currencies}} {
			// An array of arrays has them all of one length, so they are sent as texts.
			literal, err := t.conn.Conn().TypeMap().Encode(pgtype.TextArrayOID, pgx.TextFormatCode, list.texts, nil)
			if err != nil {
				return err
			}
			*list.of = append(*list.of, string(literal))
		}
		ids, balance, hashes = append(ids, c.ID), append(balance, c.MustBalance), append(hashes, c.hash[:])
	}
	if len(ids) == 0 {
		return nil
	}
	batch.Queue(sqlClaimTransactions, ids, users, currencies, balance, hashes)
	batch.Queue(sqlClaimedTransactions, ids).Query(func(found pgx.Rows) error {
		stored := make(map[string]wallet.Hash, len(ids))
		var id string
		var hash wallet.Hash
		_, err := pgx.ForEachRow(found, []any{&id, &hash}, func() error { stored[id] = hash; return nil })
		for _, c := range claims {
			c.stored = stored[c.ID]
		}
		return err
	})
	return nil
}

func (t transaction) queueClaim(batch *pgx.Batch, c *claim) error {
	if c == nil {
		return nil
	}
	return t.queueClaims(batch, c)
}

// foldTransaction applies a transaction, or answers with what the journal has of it. It returns
// how many holds have expired, too.
func (l *lockedAssets) foldTransaction(c *claim) (result wallet.TransactionResult, expired int, err error) {
	if c.hasConflict() {
		return wallet.ConflictingTransaction(c.Transaction), 0, nil
	}
	results, err := l.recordedLegs(c)
	if err != nil || len(results) > 0 {
		return wallet.NewTransactionResult(c.ID, c.stored, results), 0, err
	}
	folded, err := wallet.FoldTransaction(func(ref wallet.AssetRef) wallet.Account {
		a := l.of(ref)
		return wallet.Account{Asset: a.Asset, Holds: a.holds}
	}, c.Transaction, l.now)
	if err != nil {
		return result, 0, err
	}
	for i, f := range folded {
		ref := c.Commands[i].AssetRef
		expired += l.take(l.of(ref), f)
		results = append(results, wallet.LegResult{AssetRef: ref, Result: f.Results[0]})
	}
	return wallet.NewTransactionResult(c.ID, c.stored, results), expired, nil
}

// recordedLegs are the answers that the journal has; none if the transaction is new. Legs are
// recorded together, so there is no other case, unless rows were changed by hand.
func (l *lockedAssets) recordedLegs(c *claim) (results []wallet.LegResult, err error) {
	for _, leg := range c.Legs() {
		a := l.of(leg.AssetRef)
		entry, known := a.prior[leg.ID]
		if !known {
			continue
		}
		r := wallet.Answer(*entry, a.Asset, leg.Command)
		if !r.Replayed {
			return nil, &wallet.InconsistentError{UserID: leg.UserID, Currency: leg.Currency,
				Problem: fmt.Sprintf("the journal has %q with other content than wallet_transactions", leg.ID)}
		}
		results = append(results, wallet.LegResult{AssetRef: leg.AssetRef, Result: r})
	}
	if n := len(results); n > 0 && n < len(c.Commands) {
		return nil, &wallet.InconsistentError{UserID: results[0].UserID, Currency: results[0].Currency,
			Problem: fmt.Sprintf("the journals have %d of the %d legs of transaction %q", n, len(c.Commands), c.ID)}
	}
	return results, nil
}
