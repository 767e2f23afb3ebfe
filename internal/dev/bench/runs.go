package bench

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/jedib0t/go-pretty/v6/text"
	"golang.org/x/sync/errgroup"

	"github.com/valueledger/wallet"
	"github.com/valueledger/wallet/activities"
	"github.com/valueledger/wallet/runs"
	"github.com/valueledger/wallet/starter"
	"github.com/valueledger/wallet/trail"
)

// RunsOptions of runs over files: so many lines, each an add to one of so many wallets at random.
type RunsOptions struct{ Lines, Wallets, Parallel int }

// floorLanes is on how many connections the floor of runs is measured.
const floorLanes = 4

// One transaction over many rows, without a chain, events or a fold. The rows of each connection
// are its own.
const sqlFloorMany = `WITH command AS (
		SELECT id, command_id, amount::numeric AS amount
		FROM unnest($1::bigint[], $2::text[], $3::text[]) AS c (id, command_id, amount)),
	balance AS (
		UPDATE wallet_bench.balances AS b
		SET total = total + s.amount
		FROM (SELECT id, sum(amount) AS amount FROM command GROUP BY id) AS s
		WHERE b.id = s.id
		RETURNING b.id, b.total)
	INSERT INTO wallet_bench.journal (id, command_id, amount, total_after)
	SELECT id, command_id, amount, total
	FROM command
	JOIN balance USING (id)`

// runsBench is a benchmark of runs.
type runsBench struct {
	RunsOptions
	environment Environment
	pool        *pgxpool.Pool
	wallets     *starter.Client
	name        string // unique: of the task queue, and the prefix of all users
	table       table.Writer
}

// Runs measures a floor, a run that makes its wallets on the way, and one over those that are there
// then, beside the bare step. It verifies the whole trail at the end.
func Runs(ctx context.Context, environment Environment, o RunsOptions, out io.Writer) error {
	pool, err := environment.openPool(ctx)
	if err != nil {
		return err
	}
	defer pool.Close()
	b := &runsBench{RunsOptions: o, environment: environment, pool: pool, name: fmt.Sprintf("runs-%d", time.Now().UnixNano()), table: table.NewWriter()}
	b.table.SetStyle(table.StyleLight)
	b.table.Style().Format.Header = text.FormatDefault
	b.table.AppendHeader(table.Row{"", "lines/s", "of the step alone", "staged lines/s", "CPU ms/line", "of it Postgres", "process MiB", "history events/line"})
	if err := b.floor(ctx); err != nil {
		return err
	}
	worker, err := environment.startWorker(ctx, pool, b.name)
	if err != nil {
		return err
	}
	defer worker.Stop()
	if b.wallets, err = starter.New(environment.Temporal, starter.Options{TaskQueue: b.name}); err != nil {
		return err
	}
	if err := b.run(ctx, "a run that makes the wallets", b.name+"-1", 0); err != nil {
		return err
	}
	bare, err := b.bare(ctx)
	if err != nil {
		return err
	}
	if err := b.run(ctx, "a run over wallets that exist", b.name+"-2", bare); err != nil {
		return err
	}
	fmt.Fprintf(out, "%d lines, %d wallets:\n%s\n", o.Lines, o.Wallets, b.table.Render())
	started := time.Now()
	report, err := trail.New(pool).Verify(ctx, trail.VerifyOptions{})
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "verified %d wallets, %d journal entries, %d events: %d findings (%s)\n", report.Wallets, report.Entries, report.Events, len(report.Findings), time.Since(started).Round(time.Second))
	if len(report.Findings) > 0 {
		return fmt.Errorf("%s: %s", report.Findings[0].UserID, report.Findings[0].Problem)
	}
	return nil
}

// bare applies lines by the step of lanes on as many connections, without Temporal: what a run adds
// to that is reading its lines and saving how far it has come.
func (b *runsBench) bare(ctx context.Context) (perSecond float64, err error) {
	steps := activities.New(b.pool)
	before, err := b.environment.Processes.cpu()
	if err != nil {
		return 0, err
	}
	started := time.Now()
	group, groupCtx := errgroup.WithContext(ctx)
	for lane := range floorLanes {
		group.Go(func() error {
			r := rand.New(rand.NewPCG(5, uint64(lane)))
			for n := 0; n < b.Lines/floorLanes; n += wallet.MaxBatch {
				var in wallet.ApplyLaneInput
				for i := range wallet.MaxBatch {
					user := r.IntN(max(b.Wallets/floorLanes, 1))*floorLanes + lane
					in.Items = append(in.Items, fmt.Appendf(nil, `{"user_id":"%s-%d","currency":%q,"command":{"id":"bare-%d-%d","type":"add","amount":"1.00","description":"March credit"}}`,
						b.name, user%b.Wallets, currency, lane, n+i))
				}
				if _, err := steps.ApplyLane(groupCtx, in); err != nil {
					return err
				}
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return 0, err
	}
	took := time.Since(started)
	after, err := b.environment.Processes.cpu()
	if err != nil {
		return 0, err
	}
	used, lines := after.sub(before), int64(b.Lines)
	perSecond = float64(lines) / took.Seconds()
	b.table.AppendRow(table.Row{fmt.Sprintf("the step of lanes alone, %d at once", floorLanes), figure(perSecond), "", "",
		perLine(used.client+used.postgres, lines), perLine(used.postgres, lines), "", ""})
	return perSecond, nil
}

// floor measures a transaction that only updates balances and appends to a journal.
func (b *runsBench) floor(ctx context.Context) error {
	f, err := newFloor(ctx, b.environment.DatabaseURL, Spec{Clients: floorLanes, Wallets: b.Wallets})
	if err != nil {
		return err
	}
	defer f.close()
	before, err := b.environment.Processes.cpu()
	if err != nil {
		return err
	}
	started := time.Now()
	group, groupCtx := errgroup.WithContext(ctx)
	for lane := range floorLanes {
		group.Go(func() error { return b.floorLane(groupCtx, f, lane) })
	}
	if err := group.Wait(); err != nil {
		return err
	}
	took := time.Since(started)
	after, err := b.environment.Processes.cpu()
	if err != nil {
		return err
	}
	lines, err := f.settled(ctx)
	if err != nil {
		return err
	}
	used := after.sub(before)
	b.table.AppendRow(table.Row{fmt.Sprintf("floor: %d connections, %d lines a transaction", floorLanes, wallet.MaxBatch), figure(float64(lines) / took.Seconds()), "", "",
		perLine(used.client+used.postgres, lines), perLine(used.postgres, lines), "", ""})
	return nil
}

func (b *runsBench) floorLane(ctx context.Context, f *floor, lane int) error {
	r := rand.New(rand.NewPCG(3, uint64(lane)))
	for n := 0; n < b.Lines/floorLanes; n += wallet.MaxBatch {
		ids, names, amounts := make([]int64, wallet.MaxBatch), make([]string, wallet.MaxBatch), make([]string, wallet.MaxBatch)
		for i := range ids {
			ids[i] = int64(r.IntN(max(b.Wallets/floorLanes, 1))*floorLanes+lane) % int64(b.Wallets)
			names[i], amounts[i] = fmt.Sprintf("line-%d-%d", lane, n+i), "1.00"
		}
		if _, err := f.pool.Exec(ctx, sqlFloorMany, ids, names, amounts); err != nil {
			return err
		}
	}
	return nil
}

func perLine(used time.Duration, lines int64) string {
	return figure(float64(used) / float64(time.Millisecond) / float64(lines))
}

// run stages a file and applies it.
func (b *runsBench) run(ctx context.Context, title, id string, bare float64) error {
	path, err := b.writeFile()
	if err != nil {
		return err
	}
	defer os.RemoveAll(filepath.Dir(path))
	started := time.Now()
	if _, err := runs.StageFile(ctx, b.pool, runs.File{ID: id, Path: path}); err != nil {
		return err
	}
	staged := time.Since(started)
	before, err := b.environment.Processes.cpu()
	if err != nil {
		return err
	}
	started = time.Now()
	if err := b.wallets.StartRun(ctx, wallet.RunInput{RunID: id, Parallel: b.Parallel}); err != nil {
		return err
	}
	status, err := b.wallets.AwaitRun(ctx, id)
	if err != nil {
		return err
	}
	took := time.Since(started)
	after, err := b.environment.Processes.cpu()
	if err != nil {
		return err
	}
	if status.Applied != int64(b.Lines) || status.Replayed > 0 {
		return fmt.Errorf("of %d lines %d are applied, %d of them not for the first time", b.Lines, status.Applied, status.Replayed)
	}
	memory, err := residentMiB(0)
	if err != nil {
		return err
	}
	events, err := eventsOf(ctx, b.environment.Temporal, wallet.RunWorkflowID(id))
	if err != nil {
		return err
	}
	used, perSecond, ratio := after.sub(before), float64(b.Lines)/took.Seconds(), ""
	if bare > 0 {
		ratio = figure(perSecond / bare)
	}
	b.table.AppendRow(table.Row{title, figure(perSecond), ratio, figure(float64(b.Lines) / staged.Seconds()),
		perLine(used.client+used.temporal+used.postgres, status.Lines), perLine(used.postgres, status.Lines), figure(memory), fmt.Sprintf("%.5f", float64(events)/float64(b.Lines))})
	return nil
}

func (b *runsBench) writeFile() (path string, err error) {
	dir, err := os.MkdirTemp("", "wallet-bench-run-")
	if err != nil {
		return "", err
	}
	file, err := os.Create(filepath.Join(dir, "lines.csv"))
	if err != nil {
		return "", err
	}
	defer file.Close()
	out := bufio.NewWriter(file)
	fmt.Fprintln(out, "user_id,currency,type,amount,description")
	r := rand.New(rand.NewPCG(1, 2))
	for range b.Lines {
		fmt.Fprintf(out, "%s-%d,%s,add,1.00,March credit\n", b.name, r.IntN(b.Wallets), currency)
	}
	return file.Name(), out.Flush()
}
