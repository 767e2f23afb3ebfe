package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/spf13/cobra"
	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/api/serviceerror"
	workflowpb "go.temporal.io/api/workflow/v1"
	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/workflow"

	"github.com/valueledger/wallet"
	"github.com/valueledger/wallet/codec"
	"github.com/valueledger/wallet/internal/service/cli"
	"github.com/valueledger/wallet/internal/service/replay"
	"github.com/valueledger/wallet/starter"
	"github.com/valueledger/wallet/trail"
	"github.com/valueledger/wallet/workflows"
)

// Whether the journal has a command that an ended run had accepted.
const (
	salvageRecorded  = "recorded"    // it has, with the same content
	salvageConflict  = "id_conflict" // it has its id, with other content
	salvageMalformed = "malformed"   // it has not, and nobody could apply it
	salvageMissing   = "missing"
	salvageSent      = "sent" // it was missing
)

// salvaged is a command that an ended run had accepted.
type salvaged struct {
	RunID      string    `json:"run_id"`
	EventID    int64     `json:"event_id"`
	AcceptedAt time.Time `json:"accepted_at"`
	By         string    `json:"by"`
	State      string    `json:"state"`
	wallet.Received
}

func (a *app) salvageCommand() *cobra.Command {
	runID, apply := "", false
	var since timeFlag
	cmd := &cobra.Command{
		Use: "salvage [USER CURRENCY]", Short: "Find commands that Temporal has and the journal does not",
		Long: `Read the histories of a wallet's workflow runs that were terminated, timed out
or failed, as long as Temporal keeps them, and compare the commands in them with
the journal. A command that the journal does not have is missing: its signal was
accepted, but the run ended before. Exit code 1 if some are missing.

With --apply the missing ones are sent again as signals, in the order of the
histories, with their ids: one that was applied meanwhile does not count twice.
Encrypted histories are read with the keys in WALLET_PAYLOAD_KEYS.

Use --since, without a wallet, when Postgres has lost answered entries after a
restore or a failover: it reads what all wallets, lanes and
transactions have answered since that time. Running wallets go on meanwhile; a
signal that waits in one is missing too, and sending it again does no harm.`,
		Example: "  wallet salvage u1 USD\n  wallet salvage u1 USD --apply\n  wallet salvage --since 2026-11-30T18:00:00Z --apply",
		Args: cobra.MatchAll(cobra.MaximumNArgs(2), func(_ *cobra.Command, args []string) error {
			if len(args) == 1 {
				return cli.Usagef("salvage takes a user and a currency, or neither and --since")
			}
			return nil
		}),
		RunE: func(cmd *cobra.Command, args []string) error {
			switch all := len(args) == 0; {
			case all && since.IsZero():
				return cli.Usagef("name a wallet, or with --since a time shortly before Postgres lost entries")
			case all && runID != "":
				return cli.Usagef("--run-id is for one wallet: name its user and currency")
			case all:
				return a.salvageAll(cmd, since.Time, apply)
			case !since.IsZero():
				return cli.Usagef("--since is for all wallets: leave out %q", args)
			}
			ref := wallet.AssetRef{UserID: args[0], Currency: args[1]}
			if err := wallet.ValidateWallet(ref.UserID, ref.Currency); err != nil {
				return err
			}
			wallets, temporal, err := a.dialWallets(cmd.Context())
			if err != nil {
				return unsent(err)
			}
			defer temporal.Close()
			found, runs, err := a.findSalvage(cmd.Context(), temporal, ref, runID)
			if err != nil {
				return unsent(err)
			}
			if apply {
				err = sendSalvage(cmd.Context(), wallets, ref, found)
			}
			return errors.Join(a.printSalvage(cmd, found, runs), unsent(err))
		},
	}
	cmd.Flags().StringVar(&runID, "run-id", "", "look at this run only")
	cmd.Flags().Var(&since, "since", "of all wallets, what was answered since this time: RFC 3339")
	cmd.Flags().BoolVar(&apply, "apply", false, "send the missing commands again")
	return cmd
}

// findSalvage reads what ended runs have accepted, each command once, and looks it up in the
// journal. It returns how many runs there are.
func (a *app) findSalvage(ctx context.Context, temporal client.Client, ref wallet.AssetRef, runID string) (found []salvaged, runs int, err error) {
	keys, err := codec.FromEnv()
	if err != nil {
		return nil, 0, err
	}
	ended, err := endedRuns(ctx, temporal, wallet.WorkflowID(ref.UserID, ref.Currency), runID)
	if err != nil {
		return nil, 0, err
	}
	var ids []string
	known := map[string]bool{}
	for _, run := range ended {
		history, err := replay.History(ctx, temporal, run)
		if err != nil {
			return nil, 0, fmt.Errorf("history of run %s: %w", run.RunID, err)
		}
		accepted, err := workflows.AcceptedCommands(history, ref, keys.DataConverter())
		if err != nil {
			return nil, 0, fmt.Errorf("run %s: %w", run.RunID, err)
		}
		for _, c := range accepted {
			if !known[c.Command.ID] {
				ids, known[c.Command.ID] = append(ids, c.Command.ID), true
				found = append(found, salvaged{RunID: run.RunID, EventID: c.EventID, AcceptedAt: c.At, By: c.By, Received: c.Received})
			}
		}
	}
	err = a.withPool(ctx, func(pool *pgxpool.Pool) error {
		journal, err := trail.New(pool).EntriesByID(ctx, ref, ids)
		for i, s := range found {
			found[i].State = salvageState(s.Received, journal)
		}
		return err
	})
	return found, len(ended), err
}

func salvageState(received wallet.Received, journal map[string]wallet.Entry) string {
	entry, recorded := journal[received.Command.ID]
	switch {
	case recorded && received.Malformed == "" && wallet.Answer(entry, wallet.Asset{}, received.Command).Reason == wallet.ReasonIDConflict:
		return salvageConflict
	case recorded:
		return salvageRecorded
	case received.Malformed != "":
		return salvageMalformed
	default:
		return salvageMissing
	}
}

// endedRuns are the runs of a wallet's workflow that can have ended with commands in them, the
// oldest first; or the one run.
func endedRuns(ctx context.Context, temporal client.Client, id, runID string) (ended []workflow.Execution, err error) {
	described, err := temporal.DescribeWorkflowExecution(ctx, id, runID)
	var missing *serviceerror.NotFound
	if errors.As(err, &missing) {
		return nil, fmt.Errorf("no run of %s is in Temporal: it was never started, or its history is no longer kept: %w", id, err)
	} else if err != nil {
		return nil, err
	}
	last := described.WorkflowExecutionInfo
	if runID != "" {
		if last.GetStatus() == enumspb.WORKFLOW_EXECUTION_STATUS_RUNNING {
			return nil, fmt.Errorf("run %s of %s is running, it applies what it has accepted: \"wallet doctor\" says what it waits for", runID, id)
		}
		return []workflow.Execution{{ID: id, RunID: last.GetExecution().GetRunId()}}, nil
	}
	query := fmt.Sprintf("WorkflowId = '%s' AND ExecutionStatus IN ('Terminated', 'TimedOut', 'Failed')", strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(id))
	var infos []*workflowpb.WorkflowExecutionInfo
	for page := []byte(nil); ; {
		list, err := temporal.ListWorkflow(ctx, &workflowservice.ListWorkflowExecutionsRequest{Query: query, NextPageToken: page})
		if err != nil {
			return nil, fmt.Errorf("list ended runs (%s): %w", query, err)
		}
		infos = append(infos, list.GetExecutions()...)
		if page = list.GetNextPageToken(); len(page) == 0 {
			break
		}
	}
	slices.SortFunc(infos, func(a, b *workflowpb.WorkflowExecutionInfo) int {
		return a.GetStartTime().AsTime().Compare(b.GetStartTime().AsTime())
	})
	for _, info := range append(infos, last) { // the list may lag behind
		run := workflow.Execution{ID: id, RunID: info.GetExecution().GetRunId()}
		switch info.GetStatus() {
		case enumspb.WORKFLOW_EXECUTION_STATUS_TERMINATED, enumspb.WORKFLOW_EXECUTION_STATUS_TIMED_OUT, enumspb.WORKFLOW_EXECUTION_STATUS_FAILED:
			if !slices.Contains(ended, run) {
				ended = append(ended, run)
			}
		}
	}
	return ended, nil
}

// sendPatience is how long to try to send one command.
const sendPatience = 30 * time.Second

func sendSalvage(ctx context.Context, wallets *starter.Client, ref wallet.AssetRef, found []salvaged) error {
	for i, s := range found {
		if s.State != salvageMissing {
			continue
		}
		ctx, cancel := context.WithTimeout(ctx, sendPatience)
		err := wallets.Send(ctx, ref.UserID, ref.Currency, s.Command)
		cancel()
		if err != nil {
			return err
		}
		found[i].State = salvageSent
	}
	return nil
}

func (a *app) printSalvage(cmd *cobra.Command, found []salvaged, runs int) error {
	count := func(state string) (n int) {
		for _, s := range found {
			if s.State == state {
				n++
			}
		}
		return n
	}
	if len(found) > 0 {
		err := printList(a, cmd, found, "", table.Row{"command", "type", "amount", "by", "accepted", "state", "problem"}, func(s salvaged) table.Row {
			return table.Row{cli.Plain(s.Command.ID), s.Command.Type, cli.Amount(s.Command.Amount), s.By, when(s.AcceptedAt), s.State, cli.Plain(s.Malformed)}
		})
		if err != nil {
			return err
		}
	}
	a.tellNone(cmd, fmt.Sprintf("ended runs: %d; commands in them: %d, %d in the journal, %d sent again, %d missing",
		runs, len(found), count(salvageRecorded)+count(salvageConflict), count(salvageSent), count(salvageMissing)))
	if n := count(salvageMissing); n > 0 {
		return fmt.Errorf("commands that were accepted and are not in the journal: %d: send them again with --apply", n)
	}
	return nil
}
