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
	"github.com/valueledger/wallet/internal/service/rows"
)

const (
	// The ids come sorted. Another transaction of the same id that is in progress ends first.
	sqlClaimTransactions = `INSERT INTO wallet_transactions (transaction_id, users, currencies, must_balance, request_hash)
		SELECT id, users::text[], currencies::text[], must_balance, request_hash
		FROM unnest($1::text[], $2::text[], $3::text[], $4::boolean[], $5::bytea[]) AS claim (id, users, currencies, must_balance, request_hash)
		ON CONFLICT DO NOTHING
		RETURNING transaction_id`

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
	legs   []wallet.Leg
	hash   wallet.Hash // of the request
	stored wallet.Hash // of the request that the row is of
}

func newClaim(t wallet.Transaction) *claim {
	return &claim{Transaction: t, legs: t.Legs(), hash: t.RequestHash()}
}

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
	groups := newClaim(of).groups()
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
		if out.Result, out.Expired, out.ExpiredGrants, err = t.foldTransaction(ctx, l, c); err != nil {
			return out, err
		}
		return out, t.write(ctx, l)
	})
}

// hasConflict reports whether the id is another transaction's.
func (c *claim) hasConflict() bool { return c.stored != c.hash }

// groups are the legs, one in each.
func (c *claim) groups() []group {
	groups := make([]group, len(c.legs))
	for i, leg := range c.legs {
		groups[i] = group{AssetRef: leg.AssetRef, commands: []wallet.Received{{Command: leg.Command}}}
	}
	return groups
}

// queueClaim takes a transaction's id, or finds out whose it is: see claimIDs.
func (t transaction) queueClaim(batch *pgx.Batch, c *claim) error {
	if c == nil {
		return nil
	}
	parameters, err := t.claimParameters(c)
	batch.Queue(sqlClaimTransactions, parameters...)
	queueClaimed(batch, c)
	return err
}

// claimIDs claims the ids of transactions, or finds out whose they are, and reads what the journals
// have of those. To avoid deadlocks it runs after all rows are created and locked, and claims ids in
// byte order: the owner of an id never waits for a row, and only for later ids.
func (t transaction) claimIDs(ctx context.Context, l *lockedAssets, claims []*claim) error {
	first := slices.CompactFunc(slices.SortedStableFunc(slices.Values(claims), compareIDs), func(a, b *claim) bool { return a.ID == b.ID })
	parameters, err := t.claimParameters(first...)
	if err != nil {
		return err
	}
	batch, taken := &pgx.Batch{}, map[string]bool{}
	batch.Queue(sqlClaimTransactions, parameters...).Query(func(found pgx.Rows) error {
		var id string
		_, err := pgx.ForEachRow(found, []any{&id}, func() error { taken[id] = true; return nil })
		return err
	})
	if err := t.send(ctx, batch); err != nil {
		return err
	}
	var others []*claim // which are tried again, or have a conflict
	for _, c := range claims {
		i, _ := slices.BinarySearchFunc(first, c, compareIDs)
		if c.stored = first[i].hash; !taken[c.ID] {
			others = append(others, c)
		}
	}
	if len(others) == 0 {
		return nil
	}
	var legs []group
	for _, c := range others {
		legs = append(legs, c.groups()...)
	}
	batch = &pgx.Batch{}
	queueClaimed(batch, others...)
	batch.Queue(rows.EntriesByID, distinctIDs(legs, commandID).parameters()...).Query(l.readPrior)
	return t.send(ctx, batch)
}

func compareIDs(a, b *claim) int { return cmp.Compare(a.ID, b.ID) }

// claimParameters are those of sqlClaimTransactions.
func (t transaction) claimParameters(claims ...*claim) ([]any, error) {
	var ids, users, currencies []string
	var balance []bool
	var hashes [][]byte
	// An array of arrays would have to have them all of one length, so they are sent as texts.
	literal := func(of *claim, text func(wallet.Leg) string) (string, error) {
		texts := make([]string, len(of.Commands))
		for i, leg := range of.Commands {
			texts[i] = text(leg)
		}
		encoded, err := t.conn.Conn().TypeMap().Encode(pgtype.TextArrayOID, pgx.TextFormatCode, texts, nil)
		return string(encoded), err
	}
	for _, c := range claims {
		u, err := literal(c, func(leg wallet.Leg) string { return leg.UserID })
		if err != nil {
			return nil, err
		}
		of, err := literal(c, func(leg wallet.Leg) string { return leg.Currency })
		if err != nil {
			return nil, err
		}
		ids, users, currencies, balance, hashes = append(ids, c.ID), append(users, u), append(currencies, of), append(balance, c.MustBalance), append(hashes, c.hash[:])
	}
	return []any{ids, users, currencies, balance, hashes}, nil
}

// queueClaimed reads whose the ids are.
func queueClaimed(batch *pgx.Batch, claims ...*claim) {
	ids := make([]string, len(claims))
	for i, c := range claims {
		ids[i] = c.ID
	}
	stored := make(map[string]wallet.Hash, len(ids))
	batch.Queue(sqlClaimedTransactions, ids).Query(func(found pgx.Rows) error {
		var id string
		var hash wallet.Hash
		_, err := pgx.ForEachRow(found, []any{&id, &hash}, func() error { stored[id] = hash; return nil })
		for _, c := range claims {
			c.stored = stored[c.ID]
		}
		return err
	})
}

// foldTransaction applies a transaction, or answers with what the journal has of it. It returns
// how many holds have expired, too, and how many times something of a grant.
func (t transaction) foldTransaction(ctx context.Context, l *lockedAssets, c *claim) (result wallet.TransactionResult, expired, expiredGrants int, err error) {
	if c.hasConflict() {
		return wallet.ConflictingTransaction(c.Transaction), 0, 0, nil
	}
	results, err := l.recordedLegs(c)
	if err != nil || len(results) > 0 {
		return wallet.NewTransactionResult(c.ID, c.stored, results), 0, 0, err
	}
	for _, leg := range c.Commands {
		l.of(leg.AssetRef).keepOriginal(leg.OriginalID)
	}
	folded, err := withGrants(ctx, t, l, func() ([]wallet.Folded, error) {
		return wallet.FoldTransaction(func(ref wallet.AssetRef) wallet.Account { return l.of(ref).account() }, c.Transaction, l.now)
	})
	if err != nil {
		return result, 0, 0, err
	}
	for i, f := range folded {
		ref := c.Commands[i].AssetRef
		holds, grants := l.take(l.of(ref), f)
		expired, expiredGrants = expired+holds, expiredGrants+grants
		results = append(results, wallet.LegResult{AssetRef: ref, Result: f.Results[0]})
	}
	return wallet.NewTransactionResult(c.ID, c.stored, results), expired, expiredGrants, nil
}

// recordedLegs are the answers that the journal has; none if the transaction is new. Legs are
// recorded together, so there is no other case, unless rows were changed by hand.
func (l *lockedAssets) recordedLegs(c *claim) (results []wallet.LegResult, err error) {
	for _, leg := range c.legs {
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
