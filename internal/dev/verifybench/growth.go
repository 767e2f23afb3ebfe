package verifybench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/valueledger/wallet"
	"github.com/valueledger/wallet/activities"
	"github.com/valueledger/wallet/internal/dev/devstack"
	"github.com/valueledger/wallet/migrations"
	"github.com/valueledger/wallet/trail"
)

// GrowthOptions of a measurement of what a large journal costs.
type GrowthOptions struct {
	Sizes      []int  // in entries; at each it is measured
	Wallets    int    // that share them
	Partitions int    // of journal and events, by hash of the user; 0 for none
	Dir        string // of the servers' data
	Parallel   int    // as for wallet verify
	Program    string // the program wallet
}

const (
	growthWarmUp  = 5   // batches, until which plans are made
	growthBatches = 40  // of 500 commands, of each kind
	growthProbes  = 300 // of each look-up
	// growthEntries are what the batches of both kinds make.
	growthEntries = 2 * (growthWarmUp + growthBatches) * wallet.MaxBatch
)

// Growth fills a database with entries and measures at each size what they take, and what commands
// and reads cost by then.
func Growth(ctx context.Context, o GrowthOptions, out io.Writer) (err error) {
	// Without autovacuum, so that its time can be measured. Checkpoints are rare, and begin each measurement.
	postgres, err := devstack.StartPostgres(ctx, filepath.Join(o.Dir, "postgres"), "fsync=off", "autovacuum=off", "shared_buffers=1GB",
		"max_wal_size=8GB", "checkpoint_timeout=1h", "maintenance_work_mem=256MB")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, postgres.Stop()) }()
	if err := postgres.CreateDatabase(ctx, "growth"); err != nil {
		return err
	}
	url := postgres.URL("growth")
	if _, err := migrations.Up(ctx, url); err != nil {
		return err
	}
	pool, err := pgxpool.New(ctx, url)
	if err != nil {
		return err
	}
	defer pool.Close()
	if err := partition(ctx, pool, o.Partitions); err != nil {
		return err
	}
	c, err := newCopier(ctx, pool, o.Wallets)
	if err != nil {
		return err
	}
	for i, size := range o.Sizes {
		turns := size/copyChunk/o.Wallets - c.turns
		begin := time.Now()
		if err := c.fill(ctx, turns); err != nil {
			return err
		}
		g := growth{o: o, copier: c, url: url, out: out}
		g.say("\nentries\t%d of %d wallets, %d partitions", c.entries(), o.Wallets, o.Partitions)
		g.say("filled in\t%.0f s", time.Since(begin).Seconds())
		if err := g.measure(ctx, i); err != nil {
			return err
		}
	}
	return nil
}

// partition makes journal and events anew, by hash of the user. By time they cannot be: a unique key
// has all columns of the partition's, and one of ids and times lets an id count twice.
func partition(ctx context.Context, pool *pgxpool.Pool, partitions int) error {
	if partitions == 0 {
		return nil
	}
	var view string
	if err := pool.QueryRow(ctx, `SELECT pg_get_viewdef('wallet_entry_events')`).Scan(&view); err != nil {
		return err
	}
	for _, name := range []string{"wallet_commands", "wallet_asset_events"} {
		sql := fmt.Sprintf("ALTER TABLE %[1]s RENAME TO plain_%[1]s; CREATE TABLE %[1]s (LIKE plain_%[1]s INCLUDING ALL) PARTITION BY HASH (user_id)", name)
		for i := range partitions {
			sql += fmt.Sprintf("; CREATE TABLE %[1]s_%[2]d PARTITION OF %[1]s FOR VALUES WITH (MODULUS %[3]d, REMAINDER %[2]d)", name, i, partitions)
		}
		if _, err := pool.Exec(ctx, sql); err != nil {
			return err
		}
	}
	_, err := pool.Exec(ctx, `CREATE OR REPLACE VIEW wallet_entry_events AS `+view)
	return err
}

// growth measures at one size.
type growth struct {
	o      GrowthOptions
	copier *copier
	url    string
	out    io.Writer
}

func (g growth) say(format string, values ...any) { fmt.Fprintf(g.out, format+"\n", values...) }

func (g growth) measure(ctx context.Context, nth int) error {
	config, err := pgxpool.ParseConfig(g.url)
	if err != nil {
		return err
	}
	config.MaxConns = 1 // whose process has all the work
	pool, err := pgxpool.NewWithConfig(ctx, config)
	if err != nil {
		return err
	}
	defer pool.Close()
	var backend int
	if err := pool.QueryRow(ctx, `SELECT pg_backend_pid()`).Scan(&backend); err != nil {
		return err
	}
	if err := g.sizes(ctx, pool, nth*growthEntries); err != nil {
		return err
	}
	if err := g.vacuum(ctx, pool, "after the fill"); err != nil {
		return err
	}
	if err := g.batches(ctx, pool, backend); err != nil {
		return err
	}
	if err := g.vacuum(ctx, pool, fmt.Sprintf("after %d more entries", growthEntries)); err != nil {
		return err
	}
	if err := g.lookUps(ctx, pool, backend); err != nil {
		return err
	}
	begin := time.Now()
	verified, err := Options{Program: g.o.Program}.run(ctx, g.url, "verify", "--parallel", strconv.Itoa(g.o.Parallel))
	if err != nil {
		return err
	}
	g.say("wallet verify\t%.0f s, %s", time.Since(begin).Seconds(), verified.printed)
	if nth == 0 { // it reads each row once
		return g.dump(ctx, g.copier.entries()+growthEntries)
	}
	return nil
}

// sizes adds partitions up. The batches of earlier sizes have made more entries.
func (g growth) sizes(ctx context.Context, pool *pgxpool.Pool, more int) error {
	found, err := pool.Query(ctx, `SELECT coalesce(parent.relname, c.relname), sum(pg_relation_size(c.oid))
		FROM pg_class AS c
		LEFT JOIN pg_inherits AS i ON i.inhrelid = c.oid
		LEFT JOIN pg_class AS parent ON parent.oid = i.inhparent
		WHERE c.relkind IN ('r', 'i') AND coalesce(parent.relname, c.relname) ~ '^wallet_(commands|asset_events|feed$|feed_o)'
		GROUP BY 1
		ORDER BY 1`)
	if err != nil {
		return err
	}
	entries := g.copier.entries() + more
	var name string
	var size, total int64
	_, err = pgx.ForEachRow(found, []any{&name, &size}, func() error {
		total += size
		g.say("%s\t%.1f bytes per entry", name, float64(size)/float64(entries))
		return nil
	})
	g.say("all of them\t%.1f bytes per entry, %.2f GB", float64(total)/float64(entries), float64(total)/1e9)
	return err
}

func (g growth) vacuum(ctx context.Context, pool *pgxpool.Pool, when string) error {
	for _, table := range []string{"wallet_commands", "wallet_asset_events"} {
		begin := time.Now()
		if _, err := pool.Exec(ctx, `VACUUM (ANALYZE) `+table); err != nil {
			return err
		}
		g.say("VACUUM of %s %s\t%.1f s", table, when, time.Since(begin).Seconds())
	}
	return nil
}

// batches applies 500 commands to one wallet, and one command to each of 500, by turns.
func (g growth) batches(ctx context.Context, pool *pgxpool.Pool, backend int) error {
	steps := activities.New(pool)
	name := fmt.Sprintf("at-%d", g.copier.entries())
	hot := func(n int) error {
		batch := make([]wallet.Received, wallet.MaxBatch)
		for i := range batch {
			batch[i].Command = command(1)
			batch[i].Command.ID = fmt.Sprintf("hot-%s-%d-%d", name, n, i)
		}
		_, err := steps.ApplyCommands(ctx, wallet.ApplyCommandsInput{AssetRef: wallet.AssetRef{UserID: "hot-" + name, Currency: "USD"}, Commands: batch, AndRecord: true})
		return err
	}
	spread := func(n int) error {
		return applyToEach(ctx, steps, wallet.MaxBatch, func(i int) (wallet.AssetRef, wallet.Command) {
			c := command(1)
			c.ID = fmt.Sprintf("spread-%s-%d", name, n)
			return ref((i*len(g.copier.accounts)/wallet.MaxBatch + n*7919) % len(g.copier.accounts)), c
		})
	}
	for _, kind := range []struct {
		name  string
		batch func(n int) error
	}{{"a batch of 500 to one wallet", hot}, {"one command to each of 500", spread}} {
		for n := range growthWarmUp {
			if err := kind.batch(n); err != nil {
				return err
			}
		}
		if _, err := pool.Exec(ctx, `CHECKPOINT`); err != nil {
			return err
		}
		var before, written int64
		if err := pool.QueryRow(ctx, `SELECT pg_current_wal_lsn() - '0/0'`).Scan(&before); err != nil {
			return err
		}
		cpu, begin := cpuOf(backend), time.Now()
		for n := range growthBatches {
			if err := kind.batch(growthWarmUp + n); err != nil {
				return err
			}
		}
		took := time.Since(begin)
		if err := pool.QueryRow(ctx, `SELECT pg_current_wal_lsn() - '0/0'`).Scan(&written); err != nil {
			return err
		}
		commands := growthBatches * wallet.MaxBatch
		g.say("%s\t%.1f us of CPU in Postgres per command, %.0f commands/s, %d bytes of WAL per command", kind.name,
			float64((cpuOf(backend)-cpu).Microseconds())/float64(commands), float64(commands)/took.Seconds(), (written-before)/int64(commands))
	}
	return nil
}

func (g growth) lookUps(ctx context.Context, pool *pgxpool.Pool, backend int) error {
	read := trail.New(pool)
	random := func() (wallet.AssetRef, int) {
		return ref(rand.IntN(len(g.copier.accounts))), rand.IntN(g.copier.turns * copyChunk)
	}
	for _, kind := range []struct {
		name   string
		probes int
		read   func() error
	}{
		{"the balance at a time", growthProbes, func() error {
			of, n := random()
			_, err := read.AssetAt(ctx, of.UserID, of.Currency, g.copier.began.Add(time.Duration(n/copyChunk)*time.Hour))
			return err
		}},
		{"a command by its id", growthProbes, func() error {
			of, n := random()
			found, err := read.EntriesByID(ctx, of, []string{command(n).ID})
			if err == nil && len(found) == 0 {
				err = fmt.Errorf("no command %d of %s", n, of.UserID)
			}
			return err
		}},
		{"an id in all wallets", 1, func() error {
			return read.Find(ctx, "spread-"+fmt.Sprintf("at-%d-0", g.copier.entries()), func(wallet.Entry) error { return nil })
		}},
	} {
		times := make([]time.Duration, kind.probes)
		cpu := cpuOf(backend)
		for i := range times {
			begin := time.Now()
			if err := kind.read(); err != nil {
				return err
			}
			times[i] = time.Since(begin)
		}
		slices.Sort(times)
		g.say("%s\tmedian %.2f ms, %.2f ms of CPU in Postgres", kind.name, times[len(times)/2].Seconds()*1000,
			(cpuOf(backend)-cpu).Seconds()*1000/float64(kind.probes))
	}
	return nil
}

// dump makes a backup, and throws it away.
func (g growth) dump(ctx context.Context, entries int) error {
	if _, err := exec.LookPath("pg_dump"); err != nil {
		g.say("pg_dump\tnot measured: it is not in the PATH")
		return nil
	}
	var size counter
	cmd := exec.CommandContext(ctx, "pg_dump", "--format=custom", "--dbname", g.url)
	cmd.Stdout, cmd.Stderr = &size, os.Stderr
	begin := time.Now()
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("pg_dump: %w", err)
	}
	g.say("pg_dump\t%.0f s, %.1f bytes per entry", time.Since(begin).Seconds(), float64(size)/float64(entries))
	return nil
}

// counter counts the bytes that are written to it.
type counter int64

func (c *counter) Write(text []byte) (int, error) {
	*c += counter(len(text))
	return len(text), nil
}
