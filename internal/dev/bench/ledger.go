package bench

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"

	"github.com/jackc/pgx/v5/pgxpool"
	"go.temporal.io/api/serviceerror"
	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/client"
	"golang.org/x/sync/errgroup"

	commonpb "go.temporal.io/api/common/v1"

	"github.com/valueledger/wallet"
	"github.com/valueledger/wallet/trail"
)

// currency is the currency of all wallets in a benchmark.
const currency = "USD"

// sqlSettled counts recorded commands that also have their event, without the wallet's
// creation. A signal may be between the two; an answer comes after both.
const sqlSettled = `SELECT coalesce(sum(position - 1 - (version - coalesce(last.event, 0))), 0)::bigint
	FROM wallet_assets AS a,
		LATERAL (SELECT max(version) AS event
			FROM wallet_asset_events AS e
			WHERE e.user_id = a.user_id AND e.currency = a.currency) AS last
	WHERE user_id = ANY ($1)`

// ledger is the database side of one run's wallets, which is the same for the WalletAsset
// workflow and the textbook.
type ledger struct {
	temporal client.Client
	pool     *pgxpool.Pool
	users    []string // one for each wallet
}

func (ledger) close() {}

func (l ledger) settled(ctx context.Context) (n int64, err error) {
	err = l.pool.QueryRow(ctx, sqlSettled, l.users).Scan(&n)
	return n, err
}

// check reads back each wallet, compares it with what was accepted for it, and verifies its
// whole trail.
func (l ledger) check(ctx context.Context, accepted []outcome) (Checked, error) {
	perWallet := make([][]outcome, len(l.users))
	for _, o := range accepted {
		perWallet[o.wallet] = append(perWallet[o.wallet], o)
	}
	read := trail.New(l.pool)
	var all Checked
	for i, user := range l.users {
		journal, err := readJournal(ctx, read, user)
		if err != nil {
			return all, err
		}
		asset, err := read.Asset(ctx, user, currency)
		if err != nil {
			return all, err
		}
		checked := checkWallet(user, perWallet[i], journal, asset)
		report, err := read.Verify(ctx, trail.VerifyOptions{UserID: user, Currency: currency, Parallel: 1})
		if err != nil {
			return all, err
		}
		for _, finding := range report.Findings {
			checked.Violations = append(checked.Violations, fmt.Sprintf("%s: %s at position %d: %s", user, finding.Table, finding.Position, finding.Problem))
		}
		all.add(checked)
	}
	return all, nil
}

func readJournal(ctx context.Context, read trail.Reader, user string) (journal []wallet.Entry, err error) {
	filter := trail.CommandFilter{UserID: user, Currency: currency}
	for {
		page, err := read.Commands(ctx, filter)
		if err != nil {
			return nil, err
		}
		if journal = append(journal, page...); len(page) < trail.MaxPage {
			return journal, nil
		}
		filter.AfterPosition = page[len(page)-1].Position
	}
}

// historyEvents counts the events of all runs of the wallets' workflows.
func (l ledger) historyEvents(ctx context.Context, workflowID func(user string) string) (int64, error) {
	var total atomic.Int64
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(8)
	for _, user := range l.users {
		group.Go(func() error {
			n, err := eventsOf(ctx, l.temporal, workflowID(user))
			total.Add(n)
			return err
		})
	}
	err := group.Wait()
	return total.Load(), err
}

// eventsOf counts the events of a workflow, from its current run back to the first. One that never
// ran, because its commands went in lanes, has none.
func eventsOf(ctx context.Context, c client.Client, workflowID string) (total int64, err error) {
	for runID := ""; ; {
		description, err := c.DescribeWorkflowExecution(ctx, workflowID, runID)
		var missing *serviceerror.NotFound
		if errors.As(err, &missing) && runID == "" {
			return 0, nil
		}
		if err != nil {
			return total, err
		}
		total += description.GetWorkflowExecutionInfo().GetHistoryLength()
		first, err := c.WorkflowService().GetWorkflowExecutionHistory(ctx, &workflowservice.GetWorkflowExecutionHistoryRequest{
			Namespace:       client.DefaultNamespace,
			Execution:       &commonpb.WorkflowExecution{WorkflowId: workflowID, RunId: description.GetWorkflowExecutionInfo().GetExecution().GetRunId()},
			MaximumPageSize: 1,
		})
		if err != nil {
			return total, err
		}
		runID = first.GetHistory().GetEvents()[0].GetWorkflowExecutionStartedEventAttributes().GetContinuedExecutionRunId()
		if runID == "" {
			return total, nil
		}
	}
}
