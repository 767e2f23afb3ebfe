package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"os"
	"path/filepath"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/spf13/cobra"
	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/workflow"
	"go.uber.org/zap"

	"github.com/valueledger/wallet"
	"github.com/valueledger/wallet/internal/service"
	"github.com/valueledger/wallet/internal/service/cli"
	"github.com/valueledger/wallet/internal/service/replay"
)

// replayed is what "wallet replay" found.
type replayed struct {
	Replayed int         `json:"replayed"` // with those of NotBegun
	NotBegun int         `json:"not_begun"`
	Broken   []brokenRun `json:"broken"`
	More     bool        `json:"more"` // were not looked at: see --limit
}

// brokenRun is one that this build could not go on with.
type brokenRun struct {
	WorkflowID string `json:"workflow_id"`
	RunID      string `json:"run_id"`
	Error      string `json:"error"`
}

func (a *app) replayCommand() *cobra.Command {
	query, save, limit := "", "", 0
	cmd := &cobra.Command{
		Use: "replay", Short: "Check that this build can continue the running wallets",
		Long: `Read the histories of running wallets from Temporal and replay them with the
workflows of this program, without a worker and without writing anything to the
server. A wallet whose history does not replay would be stuck once this
version's workers get it. Exit code 0 only if all replay; one that no worker has
begun has nothing to replay yet, and is fine. The workers of the version that
made the histories may run meanwhile.`,
		Example: "  wallet replay\n  wallet replay --query 'WalletCurrency = \"USD\"' --limit 100\n  wallet replay --query 'WorkflowId = \"wallet-asset/USD/u1\"' --save histories",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if limit < 0 {
				return cli.Usagef("--limit %d is negative: use 0 for all", limit)
			}
			_, temporal, err := a.dialWallets(cmd.Context())
			if err != nil {
				return err
			}
			defer temporal.Close()
			found, err := replayRunning(cmd.Context(), temporal, query, save, limit)
			if err != nil {
				return err
			}
			return a.printReplayed(cmd, found)
		},
	}
	cmd.Flags().StringVar(&query, "query", "", "only workflows that this list filter matches too, as in \"temporal workflow list --query\"")
	cmd.Flags().IntVar(&limit, "limit", 1000, "at most so many, the newest first; 0 for all")
	cmd.Flags().StringVar(&save, "save", "", "folder to write the histories to, as JSON")
	return cmd
}

func replayRunning(ctx context.Context, c client.Client, query, save string, limit int) (found replayed, err error) {
	found.Broken = []brokenRun{}
	filter := fmt.Sprintf("ExecutionStatus = 'Running' AND WorkflowType IN ('%s', '%s', '%s', '%s', '%s')", wallet.WorkflowWalletAsset, wallet.WorkflowApplyCommand, wallet.WorkflowTransaction, wallet.WorkflowLane, wallet.WorkflowRun)
	if query != "" {
		filter += " AND (" + query + ")"
	}
	if save != "" {
		if err := os.MkdirAll(save, 0o755); err != nil {
			return found, err
		}
	}
	var page []byte
	for {
		list, err := c.ListWorkflow(ctx, &workflowservice.ListWorkflowExecutionsRequest{Query: filter, NextPageToken: page})
		if err != nil {
			return found, fmt.Errorf("list running wallets (%s): %w", filter, err)
		}
		for _, execution := range list.Executions {
			if limit > 0 && found.Replayed == limit {
				found.More = true
				return found, nil
			}
			run := workflow.Execution{ID: execution.Execution.WorkflowId, RunID: execution.Execution.RunId}
			begun, broken, err := replayRun(ctx, c, run, save)
			if err != nil {
				return found, fmt.Errorf("history of %s: %w", run.ID, err)
			}
			if !begun {
				found.NotBegun++
			}
			if found.Replayed++; broken != nil {
				found.Broken = append(found.Broken, brokenRun{run.ID, run.RunID, broken.Error()})
			}
		}
		if page = list.NextPageToken; len(page) == 0 {
			return found, nil
		}
	}
}

// replayRun tells apart what is wrong with the history from what kept it from being
// read.
func replayRun(ctx context.Context, c client.Client, run workflow.Execution, save string) (begun bool, broken, err error) {
	history, err := replay.History(ctx, c, run)
	if err != nil {
		return false, nil, err
	}
	if save != "" { // slashes are escaped, and a name of a file has at most 255 bytes
		name := url.QueryEscape(run.ID)
		if err := replay.Save(filepath.Join(save, name[:min(len(name), 200)]+"_"+run.RunID+".json"), history); err != nil {
			return false, nil, err
		}
	}
	if !replay.Begun(history) {
		return false, nil, nil
	}
	return true, replay.Check(service.SDKLogger(zap.NewNop()), history, run), nil
}

func (a *app) printReplayed(cmd *cobra.Command, found replayed) error {
	if a.output == "json" {
		if err := json.NewEncoder(cmd.OutOrStdout()).Encode(found); err != nil {
			return err
		}
	} else {
		if len(found.Broken) > 0 {
			err := printList(a, cmd, found.Broken, "", table.Row{"workflow id", "run id", "problem"}, func(b brokenRun) table.Row {
				return table.Row{cli.Plain(b.WorkflowID), b.RunID, cli.Plain(b.Error)}
			})
			if err != nil {
				return err
			}
		}
		rest := ""
		if found.NotBegun > 0 {
			rest = fmt.Sprintf(", %d with nothing to replay yet", found.NotBegun)
		}
		if found.More {
			rest += ", and there are more: see --limit"
		}
		fmt.Fprintf(cmd.OutOrStdout(), "replayed %d running workflows: %d broken%s\n", found.Replayed, len(found.Broken), rest)
	}
	if len(found.Broken) > 0 {
		return fmt.Errorf("this build cannot go on with %d of %d running workflows: see docs/workflow-changes.md", len(found.Broken), found.Replayed)
	}
	return nil
}
