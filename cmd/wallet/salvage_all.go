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
	commonpb "go.temporal.io/api/common/v1"
	historypb "go.temporal.io/api/history/v1"
	workflowpb "go.temporal.io/api/workflow/v1"
	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/converter"

	"github.com/valueledger/wallet"
	"github.com/valueledger/wallet/codec"
	"github.com/valueledger/wallet/internal/service"
	"github.com/valueledger/wallet/internal/service/cli"
	"github.com/valueledger/wallet/starter"
	"github.com/valueledger/wallet/trail"
	"github.com/valueledger/wallet/workflows"
)

// answeredCommand is a command or a transaction that Temporal says was answered.
type answeredCommand struct {
	WorkflowID string    `json:"workflow_id"`
	AcceptedAt time.Time `json:"accepted_at"`
	By         string    `json:"by"`
	State      string    `json:"state"`
	UserID     string    `json:"user_id,omitempty"`
	Currency   string    `json:"currency,omitempty"`
	*wallet.Received
	Transaction *wallet.Transaction `json:"transaction,omitempty"`
}

// id is unique among all.
func (c answeredCommand) id() [3]string {
	if c.Transaction != nil {
		return [3]string{"", "", c.Transaction.ID}
	}
	return [3]string{c.UserID, c.Currency, c.Command.ID}
}

// lookAgainAfter is how long a missing command may still be on its way: a signal, for example.
const lookAgainAfter = 3 * time.Second

// salvageAll finds what all workflows have answered since a time, and the journal does not have.
func (a *app) salvageAll(cmd *cobra.Command, since time.Time, apply bool) error {
	ctx := cmd.Context()
	logger, err := service.NewLogger("error", a.logFormat)
	if err != nil {
		return err
	}
	temporal, namespace, err := service.DialTemporal(ctx, logger, nil)
	if err != nil {
		return unsent(err)
	}
	defer temporal.Close()
	wallets, err := starter.New(temporal, starter.Options{TaskQueue: a.taskQueue})
	if err != nil {
		return err
	}
	answered, runs, err := answeredSince(ctx, temporal, namespace, since)
	if err != nil {
		return unsent(err)
	}
	missing, err := a.missing(ctx, answered)
	if err == nil && len(missing) > 0 {
		time.Sleep(lookAgainAfter)
		missing, err = a.missing(ctx, missing)
	}
	if err != nil {
		return err
	}
	if apply {
		err = sendMissing(ctx, wallets, missing)
	}
	return errors.Join(a.printMissing(cmd, missing, runs, len(answered)), unsent(err))
}

// answeredSince reads what wallets, lanes and transactions have answered since a time, each once, in
// the order in which it was accepted. It returns how many workflow runs there are.
func answeredSince(ctx context.Context, temporal client.Client, namespace string, since time.Time) (all []answeredCommand, runs int, err error) {
	keys, err := codec.FromEnv()
	if err != nil {
		return nil, 0, err
	}
	query := fmt.Sprintf("WorkflowType IN ('%s', '%s', '%s') AND (ExecutionStatus = 'Running' OR CloseTime >= '%s')",
		wallet.WorkflowWalletAsset, wallet.WorkflowLane, wallet.WorkflowTransaction, since.UTC().Format(time.RFC3339Nano))
	known := map[[3]string]bool{}
	for page := []byte(nil); ; {
		list, err := temporal.ListWorkflow(ctx, &workflowservice.ListWorkflowExecutionsRequest{Query: query, NextPageToken: page})
		if err != nil {
			return nil, 0, fmt.Errorf("list workflows (%s): %w", query, err)
		}
		for _, info := range list.GetExecutions() {
			answered, err := answeredBy(ctx, temporal, namespace, info, since, keys.DataConverter())
			if err != nil {
				return nil, 0, fmt.Errorf("run %s of %s: %w", info.GetExecution().GetRunId(), info.GetExecution().GetWorkflowId(), err)
			}
			runs++
			for _, c := range answered {
				if !known[c.id()] {
					known[c.id()] = true
					all = append(all, c)
				}
			}
		}
		if page = list.GetNextPageToken(); len(page) == 0 {
			break
		}
	}
	slices.SortStableFunc(all, func(x, y answeredCommand) int { return x.AcceptedAt.Compare(y.AcceptedAt) })
	return all, runs, nil
}

func answeredBy(ctx context.Context, temporal client.Client, namespace string, info *workflowpb.WorkflowExecutionInfo, since time.Time, from converter.DataConverter) (all []answeredCommand, err error) {
	history, err := historySince(ctx, temporal, namespace, info, since)
	if err != nil {
		return nil, err
	}
	var ref wallet.AssetRef
	if info.GetType().GetName() == wallet.WorkflowWalletAsset {
		if ref, err = walletOf(ctx, temporal, info); err != nil {
			return nil, err
		}
	}
	answered, err := workflows.AnsweredBy(info.GetType().GetName(), history, ref, from)
	for _, c := range answered {
		made := answeredCommand{WorkflowID: info.GetExecution().GetWorkflowId(), AcceptedAt: c.At, By: c.By, UserID: c.UserID, Currency: c.Currency, Transaction: c.Transaction}
		if c.Transaction == nil {
			made.Received = &c.Received
		}
		all = append(all, made)
	}
	return all, err
}

// walletOf is the wallet of a workflow, by its search attributes or else by what it was started with.
func walletOf(ctx context.Context, temporal client.Client, info *workflowpb.WorkflowExecutionInfo) (ref wallet.AssetRef, err error) {
	fields, decode := info.GetSearchAttributes().GetIndexedFields(), converter.GetDefaultDataConverter().FromPayload
	user, currency := fields[wallet.SearchAttributeUserID], fields[wallet.SearchAttributeCurrency]
	if user != nil && currency != nil && decode(user, &ref.UserID) == nil && decode(currency, &ref.Currency) == nil {
		return ref, nil
	}
	state, err := temporal.QueryWorkflow(ctx, info.GetExecution().GetWorkflowId(), info.GetExecution().GetRunId(), wallet.QueryState)
	if err != nil {
		return ref, fmt.Errorf("which wallet is it of? %w", err)
	}
	return ref, state.Get(&ref)
}

// historySince is the end of a run's history: its events since a time. A transaction's is the whole.
func historySince(ctx context.Context, temporal client.Client, namespace string, info *workflowpb.WorkflowExecutionInfo, since time.Time) (*historypb.History, error) {
	whole := info.GetType().GetName() == wallet.WorkflowTransaction
	history := &historypb.History{}
	for page := []byte(nil); ; {
		answer, err := temporal.WorkflowService().GetWorkflowExecutionHistoryReverse(ctx, &workflowservice.GetWorkflowExecutionHistoryReverseRequest{
			Namespace: namespace, NextPageToken: page,
			Execution: &commonpb.WorkflowExecution{WorkflowId: info.GetExecution().GetWorkflowId(), RunId: info.GetExecution().GetRunId()},
		})
		if err != nil {
			return nil, err
		}
		page = answer.GetNextPageToken()
		for _, event := range answer.GetHistory().GetEvents() {
			if !whole && event.GetEventTime().AsTime().Before(since) {
				page = nil
				break
			}
			history.Events = append(history.Events, event)
		}
		if len(page) == 0 {
			slices.Reverse(history.Events)
			return history, nil
		}
	}
}

// missing returns those that the journal does not have.
func (a *app) missing(ctx context.Context, answered []answeredCommand) (missing []answeredCommand, err error) {
	err = a.withPool(ctx, func(pool *pgxpool.Pool) error {
		read := trail.New(pool)
		journals := map[wallet.AssetRef]map[string]wallet.Entry{}
		ids := map[wallet.AssetRef][]string{}
		for _, c := range answered {
			if c.Transaction == nil {
				ref := wallet.AssetRef{UserID: c.UserID, Currency: c.Currency}
				ids[ref] = append(ids[ref], c.Command.ID)
			}
		}
		for ref, of := range ids {
			if journals[ref], err = read.EntriesByID(ctx, ref, of); err != nil {
				return err
			}
		}
		for _, c := range answered {
			if c.Transaction == nil {
				c.State = salvageState(*c.Received, journals[wallet.AssetRef{UserID: c.UserID, Currency: c.Currency}])
			} else if _, err := read.Transaction(ctx, c.Transaction.ID); errors.Is(err, trail.ErrNoTransaction) {
				c.State = salvageMissing
			} else if err != nil {
				return err
			}
			if c.State == salvageMissing || c.State == salvageMalformed {
				missing = append(missing, c)
			}
		}
		return nil
	})
	return missing, err
}

// sendMissing sends them again, in their order, and waits for the answers: a charge that was refused is
// not sent after the top-up that came later.
func sendMissing(ctx context.Context, wallets *starter.Client, missing []answeredCommand) error {
	for i, c := range missing {
		if c.State != salvageMissing {
			continue
		}
		err := sendAgain(ctx, wallets, c)
		var unapplied *wallet.UnappliedError
		var refused *wallet.TransactionRefusedError
		if err != nil && !errors.As(err, &unapplied) && !errors.As(err, &refused) {
			return err
		}
		missing[i].State = salvageSent
	}
	return nil
}

func sendAgain(ctx context.Context, wallets *starter.Client, c answeredCommand) (err error) {
	ctx, cancel := context.WithTimeout(ctx, sendPatience)
	defer cancel()
	if c.Transaction != nil {
		_, err = wallets.Transaction(ctx, *c.Transaction)
	} else {
		_, err = wallets.Apply(ctx, c.UserID, c.Currency, c.Command)
	}
	return err
}

func (a *app) printMissing(cmd *cobra.Command, missing []answeredCommand, runs, answered int) error {
	count := map[string]int{}
	for _, c := range missing {
		count[c.State]++
	}
	if len(missing) > 0 {
		err := printList(a, cmd, missing, "", table.Row{"user", "currency", "command", "type", "amount", "by", "accepted", "state"}, func(c answeredCommand) table.Row {
			if t := c.Transaction; t != nil {
				var users []string
				for _, ref := range t.Wallets() {
					users = append(users, cli.Plain(ref.UserID))
				}
				return table.Row{strings.Join(users, " "), "", cli.Plain(t.ID), "transaction", "", c.By, when(c.AcceptedAt), c.State}
			}
			return table.Row{cli.Plain(c.UserID), c.Currency, cli.Plain(c.Command.ID), c.Command.Type, cli.Amount(c.Command.Amount), c.By, when(c.AcceptedAt), c.State}
		})
		if err != nil {
			return err
		}
	}
	a.tellNone(cmd, fmt.Sprintf("workflow runs: %d; answered in them: %d; sent again: %d; missing in the journal: %d", runs, answered, count[salvageSent], count[salvageMissing]))
	if n := count[salvageMissing]; n > 0 {
		return fmt.Errorf("commands and transactions that were answered and are not in the journal: %d: send them again with --apply", n)
	}
	return nil
}
