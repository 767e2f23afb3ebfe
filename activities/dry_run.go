package activities

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/valueledger/wallet"
	"github.com/valueledger/wallet/internal/service/postgres"
)

const (
	// One snapshot for all that is read. Postgres refuses any write.
	sqlBeginDryRun = `BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY`

	sqlDryRunSettings = `SELECT ` + postgres.PlanByIndex

	// Without a lock, so that it waits for nobody and nobody waits for it.
	sqlReadAssets = sqlAssetsToLock + `OFFSET 0) AS asset`

	sqlScales = `SELECT code, scale FROM currencies WHERE code = ANY ($1)`
)

// DryRun says what commands would do now, by the reads and the fold of the steps, and changes
// nothing. Nothing is promised: what is queued in the wallets' workflows is not seen, and more may
// arrive. It locks no rows, asks no workflow, and its role only needs SELECT (wallet_reader); it
// may read a standby, whose data may be older.
//
// Errors are those of the call that sends the same: a *wallet.InvalidError of what is not recorded,
// and a *wallet.UnappliedError or *wallet.TransactionRefusedError with the answer of a refusal.
type DryRun struct{ steps *Activities }

// NewDryRun makes dry runs on a pool.
func NewDryRun(db *pgxpool.Pool) DryRun { return DryRun{&Activities{db: db}} }

// Apply says what starter.Client.Apply would return.
func (d DryRun) Apply(ctx context.Context, userID, currency string, command wallet.Command) (wallet.DryRunResult, error) {
	results, err := d.ApplyBatch(ctx, userID, currency, []wallet.Command{command})
	if err != nil {
		return wallet.DryRunResult{}, err
	}
	return results[0], results[0].Err()
}

// ApplyBatch says what starter.Client.ApplyBatch would return: each command sees those before it.
func (d DryRun) ApplyBatch(ctx context.Context, userID, currency string, commands []wallet.Command) ([]wallet.DryRunResult, error) {
	if err := wallet.ValidateCommands(userID, currency, commands); err != nil {
		return nil, err
	}
	g := group{AssetRef: wallet.AssetRef{UserID: userID, Currency: currency}, commands: make([]wallet.Received, len(commands))}
	for i, c := range commands {
		g.commands[i].Command = c
	}
	return dryRun(ctx, d.steps, func(t transaction) ([]wallet.DryRunResult, error) {
		l, err := t.readUnlocked(ctx, []group{g}, nil)
		if err != nil {
			return nil, err
		}
		recorded := l.of(g.AssetRef).Position
		outcomes, err := t.fold(ctx, l, []group{g})
		if err != nil {
			return nil, err
		}
		o := outcomes[0]
		results := make([]wallet.DryRunResult, len(o.results))
		for i, r := range o.results {
			results[i] = wallet.NewDryRunResult(r, recorded)
		}
		return results, o.err
	})
}

// Transaction says what starter.Client.Transaction would return.
func (d DryRun) Transaction(ctx context.Context, of wallet.Transaction) (wallet.DryRunTransactionResult, error) {
	if err := of.Validate(); err != nil {
		return wallet.DryRunTransactionResult{}, err
	}
	result, err := dryRun(ctx, d.steps, func(t transaction) (wallet.TransactionResult, error) {
		c := newClaim(of)
		l, err := t.readUnlocked(ctx, c.groups(), c)
		if err != nil {
			return wallet.TransactionResult{}, err
		}
		result, _, _, err := t.foldTransaction(ctx, l, c)
		return result, err
	})
	if err != nil {
		return wallet.DryRunTransactionResult{}, err
	}
	return wallet.NewDryRunTransactionResult(result), result.Err()
}

// dryRun runs do in a transaction that is never committed.
func dryRun[T any](ctx context.Context, a *Activities, do func(transaction) (T, error)) (value T, err error) {
	conn, err := a.acquire(ctx)
	if err != nil {
		return value, err
	}
	defer conn.Release() // closes a connection that is still in its transaction
	citus, err := postgres.OnCitus(ctx, conn.Conn())
	if err != nil {
		return value, err
	}
	t := transaction{conn: conn, citus: citus}
	if value, err = do(t); ctx.Err() == nil {
		_ = t.rollback(ctx)
	}
	var invalid *wallet.InvalidError
	if errors.As(err, &invalid) {
		return value, invalid // as the call returns it
	}
	if err != nil {
		err = fmt.Errorf("dry run: %w", err)
	}
	return value, err
}

// readUnlocked is lockAndRead without locks and creations.
func (t transaction) readUnlocked(ctx context.Context, groups []group, c *claim) (*lockedAssets, error) {
	l, batch := newLockedAssets(groups), &pgx.Batch{}
	batch.Queue(sqlBeginDryRun)
	batch.Queue(sqlDryRunSettings)
	l.queueLocks(batch, sqlReadAssets, groups)
	if c != nil {
		queueClaimed(batch, c)
	}
	if err := t.send(ctx, batch); err != nil {
		return nil, err
	}
	if c != nil {
		if c.stored == (wallet.Hash{}) { // the id is free
			c.stored = c.hash
		}
		if c.hasConflict() {
			return l, nil
		}
	}
	if l.lacksSome() {
		if err := t.imagineMissing(ctx, l); err != nil {
			return nil, err
		}
	}
	return l, t.readMissing(ctx, l, groups)
}

// imagineMissing fills in the rows that createAndLock would make.
func (t transaction) imagineMissing(ctx context.Context, l *lockedAssets) error {
	users, currencies := columns(l.all)
	scales := map[string]int32{}
	batch := &pgx.Batch{}
	batch.Queue(sqlScales, currencies).Query(func(found pgx.Rows) error {
		var code string
		var scale int32
		_, err := pgx.ForEachRow(found, []any{&code, &scale}, func() error { scales[code] = scale; return nil })
		for _, a := range l.where(func(a *lockedAsset) bool { return !a.hasRow() }) {
			if scale, registered := scales[a.ref.Currency]; registered {
				a.Asset = wallet.Asset{UserID: a.ref.UserID, Currency: a.ref.Currency, Scale: scale}
			}
		}
		return err
	})
	batch.Queue(sqlLostAssets, users, currencies).Query(l.restoreAssets)
	if err := t.send(ctx, batch); err != nil {
		return err
	}
	for _, a := range l.all {
		if !a.hasRow() {
			return wallet.UnknownCurrency(a.ref.Currency)
		}
	}
	return nil
}
