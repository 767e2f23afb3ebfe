package bench

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/valueledger/wallet"
)

// The floor's tables are only a balance and a journal: no hash chain, no events, no refusals.
// That is the least that a ledger in this database can do.
const (
	sqlFloorCreate = `DROP SCHEMA IF EXISTS wallet_bench CASCADE;
		CREATE SCHEMA wallet_bench;
		CREATE TABLE wallet_bench.balances (
			id    bigint  PRIMARY KEY,
			total numeric NOT NULL);
		CREATE TABLE wallet_bench.journal (
			id          bigint,
			command_id  text,
			amount      numeric NOT NULL,
			total_after numeric NOT NULL,
			PRIMARY KEY (id, command_id))`

	sqlFloorRows = `INSERT INTO wallet_bench.balances
		SELECT id, 0
		FROM generate_series(0, $1::bigint - 1) AS id`

	sqlFloorDrop = `DROP SCHEMA wallet_bench CASCADE`

	sqlFloorOne = `WITH balance AS (
			UPDATE wallet_bench.balances
			SET total = total + $3::text::numeric
			WHERE id = $1
			RETURNING total)
		INSERT INTO wallet_bench.journal (id, command_id, amount, total_after)
		SELECT $1, $2, $3::text::numeric, total
		FROM balance`

	sqlFloorBatch = `WITH command AS (
			SELECT command_id, amount::numeric AS amount, sum(amount::numeric) OVER (ORDER BY n) AS running
			FROM unnest($2::text[], $3::text[]) WITH ORDINALITY AS c (command_id, amount, n)),
		balance AS (
			UPDATE wallet_bench.balances
			SET total = total + (SELECT sum(amount) FROM command)
			WHERE id = $1
			RETURNING total - (SELECT sum(amount) FROM command) AS before)
		INSERT INTO wallet_bench.journal (id, command_id, amount, total_after)
		SELECT $1, command_id, amount, before + running
		FROM balance, command`

	// The rows of both balances are locked in one order.
	sqlFloorTransfer = `WITH locked AS MATERIALIZED (
			SELECT b.id
			FROM (VALUES (least($1::bigint, $2::bigint)), (greatest($1::bigint, $2::bigint))) AS wanted (id)
			CROSS JOIN LATERAL (
				SELECT id
				FROM wallet_bench.balances AS b
				WHERE b.id = wanted.id
				FOR NO KEY UPDATE) AS b),
		moved AS (
			UPDATE wallet_bench.balances AS b
			SET total = total + CASE b.id WHEN $1::bigint THEN -$4::text::numeric ELSE $4::text::numeric END
			FROM locked
			WHERE b.id = locked.id
			RETURNING b.id, b.total)
		INSERT INTO wallet_bench.journal (id, command_id, amount, total_after)
		SELECT id, $3, CASE id WHEN $1::bigint THEN -$4::text::numeric ELSE $4::text::numeric END, total
		FROM moved`

	sqlFloorSettled = `SELECT count(*) FROM wallet_bench.journal`

	sqlFloorSums = `SELECT
		(SELECT coalesce(sum(amount), 0)::text FROM wallet_bench.journal),
		(SELECT coalesce(sum(total), 0)::text FROM wallet_bench.balances)`
)

// floor runs one SQL statement per call, on as many connections as there are callers.
type floor struct{ pool *pgxpool.Pool }

func newFloor(ctx context.Context, databaseURL string, spec Spec) (*floor, error) {
	config, err := pgxpool.ParseConfig(databaseURL)
	if err != nil {
		return nil, err
	}
	config.MaxConns = int32(spec.Clients)
	pool, err := pgxpool.NewWithConfig(ctx, config)
	if err != nil {
		return nil, err
	}
	f := &floor{pool}
	if _, err := pool.Exec(ctx, sqlFloorCreate); err != nil {
		pool.Close()
		return nil, fmt.Errorf("create the floor's tables: %w", err)
	}
	if _, err := pool.Exec(ctx, sqlFloorRows, spec.Wallets); err != nil {
		f.close()
		return nil, fmt.Errorf("fill the floor's tables: %w", err)
	}
	return f, nil
}

// close drops the tables, even if the run was interrupted.
func (f *floor) close() {
	_, _ = f.pool.Exec(context.Background(), sqlFloorDrop) // the next one drops them too
	f.pool.Close()
}

func (f *floor) send(ctx context.Context, _ int, r request) ([]wallet.Result, error) {
	commands := r.commands
	if r.transfer != "" {
		_, err := f.pool.Exec(ctx, sqlFloorTransfer, r.wallet, r.to, r.transfer, commands[0].Amount.String())
		return nil, err
	}
	if len(commands) == 1 {
		_, err := f.pool.Exec(ctx, sqlFloorOne, r.wallet, commands[0].ID, signed(commands[0]))
		return nil, err
	}
	ids, amounts := make([]string, len(commands)), make([]string, len(commands))
	for i, command := range commands {
		ids[i], amounts[i] = command.ID, signed(command)
	}
	_, err := f.pool.Exec(ctx, sqlFloorBatch, r.wallet, ids, amounts)
	return nil, err
}

// signed returns a command's amount with its sign.
func signed(c wallet.Command) string {
	if c.Type == wallet.TypeSubtract {
		return "-" + c.Amount.String()
	}
	return c.Amount.String()
}

func (f *floor) settled(ctx context.Context) (n int64, err error) {
	err = f.pool.QueryRow(ctx, sqlFloorSettled).Scan(&n)
	return n, err
}

// check counts and sums: the primary key already ensures that no id is there twice.
func (f *floor) check(ctx context.Context, of accepted) (Checked, error) {
	c := Checked{Accepted: of.commands}
	n, err := f.settled(ctx)
	if err != nil {
		return c, err
	}
	c.Applied = int(n)
	if c.Applied != c.Accepted {
		c.violate("floor: %d commands were accepted, %d are recorded", c.Accepted, c.Applied)
	}
	want := of.total
	var journal, balances string
	if err := f.pool.QueryRow(ctx, sqlFloorSums).Scan(&journal, &balances); err != nil {
		return c, err
	}
	if journal != want.String() || balances != want.String() {
		c.violate("floor: the balances are %s and the journal %s, what was accepted makes %s", balances, journal, want)
	}
	return c, nil
}

func (f *floor) historyEvents(context.Context) (int64, error) { return 0, nil }
