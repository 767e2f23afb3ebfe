package bench

import (
	"context"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/jedib0t/go-pretty/v6/text"
	"golang.org/x/sync/errgroup"

	"github.com/valueledger/wallet"
	"github.com/valueledger/wallet/starter"
	"github.com/valueledger/wallet/trail"
)

// LifeOptions of a long life: so many commands to one wallet, then so many wallets
// with 5 commands each, then so many holds in the life of one wallet. What is 0 is left out.
type LifeOptions struct {
	Commands, Wallets, Holds int
}

const (
	lifeStages          = 10 // measured one after the other
	lifeCallers         = 8  // of batches, to the one wallet
	lifeBatch           = 500
	lifeWalletCallers   = 32 // each with a wallet at a time
	lifeCommandsAWallet = 5
	lifeProbes          = 20 // of which the median counts
	// lifeOpen holds of each caller are open all the time, as many as a wallet may have.
	lifeOpen = wallet.MaxOpenHolds / lifeCallers
)

// life is a long life in progress.
type life struct {
	environment Environment
	wallets     *starter.Client
	read        trail.Reader
	name        string // unique: the prefix of all users
	probed      string // user whose balance and first command are asked for
	stages      table.Writer
	placed      [lifeCallers]int // holds; all but the last lifeOpen of a caller are captured
}

// Life sends many commands and measures at each tenth what they cost by then: a growing cost
// would show. At the end it verifies the whole trail.
func Life(ctx context.Context, environment Environment, o LifeOptions, out io.Writer) error {
	pool, err := environment.openPool(ctx)
	if err != nil {
		return err
	}
	defer pool.Close()
	name := fmt.Sprintf("life-%d", time.Now().UnixNano())
	worker, err := environment.startWorker(ctx, pool, name)
	if err != nil {
		return err
	}
	defer worker.Stop()
	wallets, err := starter.New(environment.Temporal, starter.Options{TaskQueue: name})
	if err != nil {
		return err
	}
	for _, phase := range []struct {
		size   int
		title  string
		user   string
		stages func(l *life, stage int) func(context.Context) (commands int, err error)
	}{
		{o.Commands, fmt.Sprintf("One wallet, %d commands, %d callers of batches of %d", o.Commands, lifeCallers, lifeBatch), name + "-one",
			func(l *life, stage int) func(context.Context) (int, error) {
				return func(ctx context.Context) (int, error) { return l.sendToOne(ctx, stage, o.Commands/lifeStages) }
			}},
		{o.Wallets, fmt.Sprintf("%d wallets, %d commands each, %d callers, one command a call", o.Wallets, lifeCommandsAWallet, lifeWalletCallers), name + "-0-0",
			func(l *life, stage int) func(context.Context) (int, error) {
				return func(ctx context.Context) (int, error) { return l.sendToMany(ctx, stage, o.Wallets/lifeStages) }
			}},
		{o.Holds, fmt.Sprintf("One wallet, %d holds placed and captured, %d open, %d callers of batches of %d", o.Holds, lifeCallers*lifeOpen, lifeCallers, 2*lifeOpen), name + "-holds",
			func(l *life, stage int) func(context.Context) (int, error) {
				return func(ctx context.Context) (int, error) { return l.sendHolds(ctx, stage, o.Holds/lifeStages) }
			}},
	} {
		if phase.size == 0 {
			continue
		}
		l := &life{environment: environment, wallets: wallets, read: trail.New(pool), name: name, probed: phase.user, stages: lifeTable()}
		for stage := range lifeStages {
			if err := l.stage(ctx, phase.stages(l, stage)); err != nil {
				return err
			}
		}
		fmt.Fprintf(out, "%s:\n%s\n\n", phase.title, l.stages.Render())
	}
	report, err := trail.New(pool).Verify(ctx, trail.VerifyOptions{})
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "verified %d wallets, %d journal entries, %d events: %d findings\n", report.Wallets, report.Entries, report.Events, len(report.Findings))
	if len(report.Findings) > 0 {
		return fmt.Errorf("%s: %s", report.Findings[0].UserID, report.Findings[0].Problem)
	}
	return nil
}

func lifeTable() table.Writer {
	t := table.NewWriter()
	t.SetStyle(table.StyleLight)
	t.Style().Format.Header = text.FormatDefault
	t.AppendHeader(table.Row{"commands", "commands/s", "CPU ms/command", "worker MiB", "history KiB", "events in run", "balance ms", "old id again ms"})
	columns := make([]table.ColumnConfig, 8)
	for i := range columns {
		columns[i] = table.ColumnConfig{Number: i + 1, Align: text.AlignRight}
	}
	t.SetColumnConfigs(columns)
	return t
}

// stage sends commands, then measures.
func (l *life) stage(ctx context.Context, send func(context.Context) (int, error)) error {
	before, err := l.environment.Processes.cpu()
	if err != nil {
		return err
	}
	started := time.Now()
	commands, err := send(ctx)
	if err != nil {
		return err
	}
	took := time.Since(started)
	after, err := l.environment.Processes.cpu()
	if err != nil {
		return err
	}
	memory, err := residentMiB(0)
	if err != nil {
		return err
	}
	description, err := l.environment.Temporal.DescribeWorkflowExecution(ctx, wallet.WorkflowID(l.probed, currency), "")
	if err != nil {
		return err
	}
	balance, err := median(func() error {
		_, err := l.read.Asset(ctx, l.probed, currency)
		return err
	})
	if err != nil {
		return err
	}
	retry, err := median(func() error {
		result, err := l.wallets.Add(ctx, starter.Change{UserID: l.probed, Currency: currency, CommandID: lifeID(0, 0, 0), Amount: wallet.MustAmount("1")})
		if err == nil && !result.Replayed {
			err = fmt.Errorf("command %s counted twice", result.CommandID)
		}
		return err
	})
	if err != nil {
		return err
	}
	run := description.GetWorkflowExecutionInfo()
	used := after.sub(before)
	cpu := float64(used.client+used.temporal+used.postgres) / float64(time.Millisecond)
	l.stages.AppendRow(table.Row{commands, figure(float64(commands) / took.Seconds()), figure(cpu / float64(commands)),
		figure(memory), figure(float64(run.GetHistorySizeBytes()) / 1024), run.GetHistoryLength(), figure(balance), figure(retry)})
	return nil
}

func lifeID(stage, caller, n int) string { return fmt.Sprintf("life-%d-%d-%d", stage, caller, n) }

func (l *life) sendToOne(ctx context.Context, stage, commands int) (int, error) {
	group, ctx := errgroup.WithContext(ctx)
	perCaller := commands / lifeCallers / lifeBatch
	for caller := range lifeCallers {
		group.Go(func() error {
			for batch := range perCaller {
				list := make([]wallet.Command, lifeBatch)
				for i := range list {
					list[i] = wallet.Command{ID: lifeID(stage, caller, batch*lifeBatch+i), Type: wallet.TypeAdd, Amount: wallet.MustAmount("1")}
				}
				if _, err := l.wallets.ApplyBatch(ctx, l.probed, currency, list); err != nil {
					return err
				}
			}
			return nil
		})
	}
	return perCaller * lifeCallers * lifeBatch, group.Wait()
}

func (l *life) sendToMany(ctx context.Context, stage, wallets int) (int, error) {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(lifeWalletCallers)
	for n := range wallets {
		group.Go(func() error {
			for i := range lifeCommandsAWallet {
				_, err := l.wallets.Add(ctx, starter.Change{UserID: fmt.Sprintf("%s-%d-%d", l.name, stage, n), Currency: currency, CommandID: lifeID(0, 0, i), Amount: wallet.MustAmount("1")})
				if err != nil {
					return err
				}
			}
			return nil
		})
	}
	return wallets * lifeCommandsAWallet, group.Wait()
}

// sendHolds captures the holds that were placed last and places as many: those of an earlier
// batch, so that each has to be looked up.
func (l *life) sendHolds(ctx context.Context, stage, holds int) (int, error) {
	if stage == 0 {
		funds := []wallet.Command{
			{ID: lifeID(0, 0, 0), Type: wallet.TypeAdd, Amount: wallet.MustAmount("1")},
			{ID: "funds", Type: wallet.TypeAdd, Amount: wallet.MustAmount("1000000000")},
		}
		if _, err := l.wallets.ApplyBatch(ctx, l.probed, currency, funds); err != nil {
			return 0, err
		}
	}
	group, ctx := errgroup.WithContext(ctx)
	perCaller := holds / lifeCallers / lifeOpen
	commands := perCaller * lifeCallers * 2 * lifeOpen
	if stage == 0 {
		commands -= lifeCallers * lifeOpen // nothing to capture yet
	}
	for caller := range lifeCallers {
		group.Go(func() error {
			for range perCaller {
				if err := l.turnOver(ctx, caller); err != nil {
					return err
				}
			}
			return nil
		})
	}
	return commands, group.Wait()
}

// turnOver is a batch of a caller. A refusal is an error: it would cost less.
func (l *life) turnOver(ctx context.Context, caller int) error {
	amount := wallet.MustAmount("1")
	var batch []wallet.Command
	for n := l.placed[caller]; n < l.placed[caller]+lifeOpen; n++ {
		if n >= lifeOpen {
			old := n - lifeOpen
			batch = append(batch, wallet.Command{ID: fmt.Sprintf("capture-%d-%d", caller, old), Type: wallet.TypeCapture, HoldID: holdID(caller, old), Amount: amount})
		}
		batch = append(batch, wallet.Command{ID: holdID(caller, n), Type: wallet.TypeHold, Amount: amount, ExpiresIn: lifeExpireIn})
	}
	l.placed[caller] += lifeOpen
	results, err := l.wallets.ApplyBatch(ctx, l.probed, currency, batch)
	for _, r := range results {
		if err == nil && r.Status != wallet.StatusApplied {
			err = fmt.Errorf("command %s was refused: %s", r.CommandID, r.Message)
		}
	}
	return err
}

// lifeExpireIn is longer than any run.
const lifeExpireIn = "7d"

func holdID(caller, n int) string { return fmt.Sprintf("hold-%d-%d", caller, n) }

// median is how many milliseconds a call takes.
func median(call func() error) (float64, error) {
	times := make([]time.Duration, lifeProbes)
	for i := range times {
		started := time.Now()
		if err := call(); err != nil {
			return 0, err
		}
		times[i] = time.Since(started)
	}
	slices.Sort(times)
	return float64(times[lifeProbes/2]) / float64(time.Millisecond), nil
}
