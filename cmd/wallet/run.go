package main

import (
	"context"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/spf13/cobra"

	"github.com/valueledger/wallet"
	"github.com/valueledger/wallet/activities"
	"github.com/valueledger/wallet/internal/service/cli"
	"github.com/valueledger/wallet/runs"
	"github.com/valueledger/wallet/starter"
)

const runPollInterval = 500 * time.Millisecond

func (a *app) runCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "run", Short: "Apply a file of commands for many wallets",
		Long: `Apply the lines of a file, each a command for any wallet: CSV with a header, or
JSON objects, one per line. The columns, or fields, are user_id, currency, type,
amount, id, hold_id, expires_in, expires_at, partial, not_after,
expected_version, description, actor, and metadata (JSON) or metadata.KEY.

Each line is applied or refused by itself; lines for the same wallet are applied
in file order. A line without an id gets one made from the run's id and the line
number, so each line counts once, whatever interrupts the run.`,
	}
	cmd.AddCommand(a.runCheckCommand(), a.runStartCommand(), a.runStatusCommand(), a.runListCommand(), a.runFailuresCommand(),
		a.runUpdateCommand("pause", "Stop a run after the lines in progress; its workflow waits", (*starter.Client).PauseRun, nil),
		a.runResumeCommand(),
		a.runUpdateCommand("cancel", "Stop a run and end its workflow; what is applied stays", (*starter.Client).CancelRun, setCancelled))
	return cmd
}

func (a *app) runStartCommand() *cobra.Command {
	file, in, detach := runs.File{}, wallet.RunInput{}, false
	cmd := &cobra.Command{
		Use: "start [FILE] --id ID", Short: "Stage the lines of a file, apply them, and wait until all are done",
		Long: `Stage the lines of a file in Postgres, apply them, and wait until all are done.
If a line is invalid, nothing is staged (exit code 3), unless --skip-invalid
leaves such lines out. Exit code 2 if some lines were refused or left out:
"wallet run failures" lists them.

Ctrl-C does not stop the run. Start the same file under the same id again to
continue it, or to see how it ended; a different file is refused. Without FILE
it starts a run whose lines were staged by SQL.`,
		Example: "  wallet run start march.csv --id march-credits\n  wallet run start --id interest-2026-03",
		Args:    cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := in.Validate(); err != nil {
				return err
			}
			return a.withRuns(cmd, func(pool *pgxpool.Pool, wallets *starter.Client) (err error) {
				var status wallet.RunStatus
				if len(args) == 0 {
					status, err = runs.Status(cmd.Context(), pool, in.RunID)
				} else {
					file.ID, file.Path = in.RunID, args[0]
					status, err = a.stageWithProgress(cmd, pool, file)
				}
				if err != nil {
					return err
				}
				switch status.State {
				case wallet.RunDone:
					return a.printRan(cmd, status)
				case wallet.RunPaused:
					return errors.Join(a.printRuns(cmd, status), fmt.Errorf("run %q is paused: \"wallet run resume %s\" goes on with it", in.RunID, in.RunID))
				case wallet.RunCancelled:
					return errors.Join(a.printRuns(cmd, status), fmt.Errorf("run %q was cancelled: \"wallet run resume %s\" continues it", in.RunID, in.RunID))
				}
				others, err := runs.OfSameFile(cmd.Context(), pool, status)
				if err != nil {
					return err
				}
				for _, other := range others {
					a.note(cmd, "run %q has the same file: lines without an id are applied again in this run", other)
				}
				if err := wallets.StartRun(cmd.Context(), in); err != nil {
					return unsent(err)
				}
				if detach {
					return a.printRuns(cmd, status)
				}
				return a.awaitRun(cmd, pool, wallets, status)
			})
		},
	}
	cmd.Flags().StringVar(&in.RunID, "id", "", "your own id for the run, at most 100 characters")
	cmd.Flags().IntVar(&in.Parallel, "parallel", 0, "how many transactions run at once, 1 to 16 (default 4)")
	cmd.Flags().BoolVar(&file.SkipInvalid, "skip-invalid", false, "leave out invalid lines")
	cmd.Flags().BoolVar(&detach, "detach", false, "return once it has started: \"wallet run status\" shows its progress")
	cobra.CheckErr(cmd.MarkFlagRequired("id"))
	return cmd
}

// withRuns connects to Postgres and Temporal.
func (a *app) withRuns(cmd *cobra.Command, do func(*pgxpool.Pool, *starter.Client) error) error {
	return withWriterPool(cmd.Context(), a.database, func(pool *pgxpool.Pool) error {
		wallets, temporal, err := a.dialWallets(cmd.Context())
		if err != nil {
			return unsent(err)
		}
		defer temporal.Close()
		return do(pool, wallets)
	})
}

func (a *app) stageWithProgress(cmd *cobra.Command, pool *pgxpool.Pool, file runs.File) (wallet.RunStatus, error) {
	terminal := cli.Terminal(cmd, a.output)
	info, err := os.Stat(file.Path)
	if terminal == nil || err != nil {
		return runs.StageFile(cmd.Context(), pool, file)
	}
	file.Read = &atomic.Int64{}
	finish := showProgress(terminal, "bytes staged", info.Size(), file.Read)
	status, err := runs.StageFile(cmd.Context(), pool, file)
	finish(err)
	return status, err
}

// awaitRun waits for the end of a run, with a bar on the terminal.
func (a *app) awaitRun(cmd *cobra.Command, pool *pgxpool.Pool, wallets *starter.Client, status wallet.RunStatus) error {
	finish := func(error) {}
	if terminal := cli.Terminal(cmd, a.output); terminal != nil {
		var done atomic.Int64
		polling, stop := context.WithCancel(cmd.Context())
		defer stop()
		go pollRun(polling, pool, status.RunID, &done)
		finish = showProgress(terminal, "lines of "+cli.Plain(status.RunID), status.Lines, &done)
	}
	ended, err := wallets.AwaitRun(cmd.Context(), status.RunID)
	finish(err)
	if cmd.Context().Err() != nil {
		return &unreachableError{fmt.Errorf("run %q continues: \"wallet run status %s\" shows its progress, \"wallet run cancel %s\" stops it", status.RunID, status.RunID, status.RunID)}
	}
	if err != nil {
		return err
	}
	return a.printRan(cmd, ended)
}

func pollRun(ctx context.Context, pool *pgxpool.Pool, id string, done *atomic.Int64) {
	ticker := time.NewTicker(runPollInterval)
	defer ticker.Stop()
	for {
		if status, err := runs.Status(ctx, pool, id); err == nil {
			done.Store(status.Done())
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
	}
}

// failedLinesError is a run with refused or invalid lines.
type failedLinesError struct{ status wallet.RunStatus }

func (e *failedLinesError) Error() string {
	return fmt.Sprintf("run %q: %d of %d lines failed (refused or invalid): \"wallet run failures %s\" lists them", e.status.RunID, e.status.Failed(), e.status.Lines, e.status.RunID)
}

// printRan prints a run that has ended.
func (a *app) printRan(cmd *cobra.Command, status wallet.RunStatus) error {
	if err := a.printRuns(cmd, status); err != nil || status.Failed() == 0 {
		return err
	}
	err := &failedLinesError{status}
	if a.output == "table" {
		fmt.Fprintln(cmd.OutOrStdout(), err)
	}
	return err
}

func (a *app) printRuns(cmd *cobra.Command, list ...wallet.RunStatus) error {
	header := table.Row{"run", "state", "lines", "applied", "refused", "invalid", "replayed", "waiting", "changed"}
	return printList(a, cmd, list, "no runs", header, func(s wallet.RunStatus) table.Row {
		return table.Row{cli.Plain(s.RunID), s.State, s.Lines, s.Applied, s.Refused, s.Invalid, s.Replayed, s.Waiting, when(s.UpdatedAt)}
	})
}

func (a *app) runStatusCommand() *cobra.Command {
	return &cobra.Command{
		Use: "status ID", Short: "Show the progress of a run", Example: "  wallet run status march-credits", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withPool(cmd.Context(), func(pool *pgxpool.Pool) error {
				status, err := runs.Status(cmd.Context(), pool, args[0])
				if err != nil {
					return err
				}
				return a.printRuns(cmd, status)
			})
		},
	}
}

func (a *app) runListCommand() *cobra.Command {
	limit := 0
	cmd := &cobra.Command{
		Use: "list", Short: "List runs, the newest first", Example: "  wallet run list", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if limit < 1 {
				return cli.Usagef("--limit %d is out of range: use 1 or more", limit)
			}
			return a.withPool(cmd.Context(), func(pool *pgxpool.Pool) error {
				list, err := runs.List(cmd.Context(), pool, limit)
				if err != nil {
					return err
				}
				return a.printRuns(cmd, list...)
			})
		},
	}
	cmd.Flags().IntVar(&limit, "limit", 100, "show at most this many")
	return cmd
}

// setCancelled cancels a run that has no workflow: it was staged by mistake, or the workflow was
// terminated.
func setCancelled(ctx context.Context, pool *pgxpool.Pool, id string) (wallet.RunStatus, error) {
	return activities.New(pool).SetRunState(ctx, wallet.SetRunStateInput{RunID: id, State: wallet.RunCancelled})
}

// runUpdateCommand sends an update to the workflow of a run. Where none runs, it calls set unless
// that is nil or the run has ended.
func (a *app) runUpdateCommand(name, short string, update func(*starter.Client, context.Context, string) (wallet.RunStatus, error),
	set func(context.Context, *pgxpool.Pool, string) (wallet.RunStatus, error)) *cobra.Command {
	timeout := time.Duration(0)
	cmd := &cobra.Command{
		Use: name + " ID", Short: short, Example: "  wallet run " + name + " march-credits", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withRuns(cmd, func(pool *pgxpool.Pool, wallets *starter.Client) error {
				status, err := a.updateRun(cmd, wallets, args[0], timeout, update)
				if errors.Is(err, starter.ErrRunNotRunning) {
					status, lookUp := runs.Status(cmd.Context(), pool, args[0])
					if lookUp != nil {
						return lookUp
					}
					if set != nil && status.State != wallet.RunDone && status.State != wallet.RunCancelled {
						if status, err = set(cmd.Context(), pool, args[0]); err != nil {
							return err
						}
						// A workflow that has begun meanwhile would go on.
						switch newer, err := a.updateRun(cmd, wallets, args[0], timeout, update); {
						case err == nil:
							status = newer
						case !errors.Is(err, starter.ErrRunNotRunning):
							return err
						}
						return a.printRuns(cmd, status)
					}
					return fmt.Errorf("%w (its state is %s): \"wallet run resume %s\" starts it", err, status.State, args[0])
				}
				if err != nil {
					return err
				}
				return a.printRuns(cmd, status)
			})
		},
	}
	addRunTimeout(cmd, &timeout)
	return cmd
}

func addRunTimeout(cmd *cobra.Command, timeout *time.Duration) {
	cmd.Flags().DurationVar(timeout, "timeout", 30*time.Second, "how long to wait for the answer")
}

func (a *app) updateRun(cmd *cobra.Command, wallets *starter.Client, id string, timeout time.Duration, update func(*starter.Client, context.Context, string) (wallet.RunStatus, error)) (wallet.RunStatus, error) {
	ctx, cancel := context.WithTimeout(cmd.Context(), timeout)
	defer cancel()
	status, err := update(wallets, ctx, id)
	if err != nil && ctx.Err() != nil {
		err = &unreachableError{fmt.Errorf("no answer within %s, but it may still take effect; send it again: %w", timeout, err)}
	}
	return status, err
}

func (a *app) runResumeCommand() *cobra.Command {
	timeout := time.Duration(0)
	cmd := &cobra.Command{
		Use: "resume ID", Short: "Continue a run that was paused, cancelled, or lost its workflow",
		Example: "  wallet run resume march-credits", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withRuns(cmd, func(pool *pgxpool.Pool, wallets *starter.Client) error {
				status, err := runs.Status(cmd.Context(), pool, args[0])
				if err != nil {
					return err
				}
				if status.State == wallet.RunDone {
					return a.printRuns(cmd, status)
				}
				// It starts the workflow if none runs.
				if err := wallets.StartRun(cmd.Context(), wallet.RunInput{RunID: args[0], Resume: true}); err != nil {
					return unsent(err)
				}
				if status, err = a.updateRun(cmd, wallets, args[0], timeout, (*starter.Client).ResumeRun); errors.Is(err, starter.ErrRunNotRunning) {
					status, err = runs.Status(cmd.Context(), pool, args[0]) // it is done, or was cancelled
					if err == nil && status.State == wallet.RunCancelled {
						err = fmt.Errorf("run %q was cancelled meanwhile: resume it once more", args[0])
					}
				}
				if err != nil {
					return err
				}
				return a.printRuns(cmd, status)
			})
		},
	}
	addRunTimeout(cmd, &timeout)
	return cmd
}

func (a *app) runFailuresCommand() *cobra.Command {
	spreadsheet := false
	cmd := &cobra.Command{
		Use: "failures ID", Short: "List the refused and invalid lines, as CSV",
		Long: `List the refused and invalid lines of a run with the reason, in file order: as
CSV, or with --output json.`,
		Example:     "  wallet run failures march-credits > failures.csv",
		Args:        cobra.ExactArgs(1),
		Annotations: map[string]string{writesCSV: ""},
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withPool(cmd.Context(), func(pool *pgxpool.Pool) error {
				if _, err := runs.Status(cmd.Context(), pool, args[0]); err != nil {
					return err
				}
				return a.printFailures(cmd, pool, args[0], spreadsheet)
			})
		},
	}
	cmd.Flags().BoolVar(&spreadsheet, "spreadsheet", false, "CSV to open in a spreadsheet: an apostrophe before text that would run as a formula")
	return cmd
}

func (a *app) printFailures(cmd *cobra.Command, pool *pgxpool.Pool, id string, spreadsheet bool) error {
	out := csvStatement{Writer: csv.NewWriter(cmd.OutOrStdout()), out: cmd.OutOrStdout(), spreadsheet: spreadsheet}
	asJSON := json.NewEncoder(cmd.OutOrStdout())
	if a.output != "json" {
		if err := out.Write([]string{"line", "status", "user_id", "currency", "type", "amount", "id", "reason", "message"}); err != nil {
			return err
		}
	}
	for f, err := range runs.Failures(cmd.Context(), pool, id) {
		switch {
		case err != nil:
		case a.output == "json":
			err = asJSON.Encode(f)
		default:
			err = out.Write([]string{strconv.FormatInt(f.Line, 10), f.Status, out.text(f.UserID), out.text(f.Currency), out.text(f.Type), f.Amount, out.text(f.CommandID), string(f.Reason), out.text(f.Message)})
		}
		if err != nil {
			return err
		}
	}
	out.Flush()
	return out.Error()
}
