package bench

import (
	"context"
	"errors"
	"sync/atomic"

	"github.com/jackc/pgx/v5/pgxpool"
	"go.temporal.io/api/serviceerror"
	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/client"
	"golang.org/x/sync/errgroup"

	commonpb "go.temporal.io/api/common/v1"

	"github.com/valueledger/wallet"
	"github.com/valueledger/wallet/internal/service/rows"
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
func (l ledger) check(ctx context.Context, of accepted) (Checked, error) {
	perWallet := make([][]*outcome, len(l.users))
	for _, o := range of.outcomes {
		perWallet[o.wallet] = append(perWallet[o.wallet], o)
	}
	var all Checked
	const together = 1000 // wallets
	for from := 0; from < len(l.users); from += together {
		users := l.users[from:min(from+together, len(l.users))]
		journals, assets, err := l.read(ctx, users)
		if err != nil {
			return all, err
		}
		for i, user := range users {
			all.add(checkWallet(user, perWallet[from+i], journals[user], assets[user]))
		}
	}
	read := trail.New(l.pool)
	// To verify everything costs as much as to verify so many wallets by themselves.
	const fewWallets = 100
	verified := []string{""}
	if len(l.users) <= fewWallets {
		verified = l.users
	}
	for _, user := range verified {
		report, err := read.Verify(ctx, trail.VerifyOptions{UserID: user})
		if err != nil {
			return all, err
		}
		for _, finding := range report.Findings {
			all.violate("%s: %s at position %d: %s", finding.UserID, finding.Table, finding.Position, finding.Problem)
		}
	}
	return all, nil
}

// read returns what users have.
func (l ledger) read(ctx context.Context, users []string) (journals map[string][]wallet.Entry, assets map[string]wallet.Asset, err error) {
	found, err := l.pool.Query(ctx, `SELECT `+rows.EntryColumns+` FROM wallet_commands WHERE user_id = ANY ($1) ORDER BY user_id, position`, users)
	if err != nil {
		return nil, nil, err
	}
	entries, err := rows.CollectEntries(found)
	if err != nil {
		return nil, nil, err
	}
	if found, err = l.pool.Query(ctx, `SELECT `+rows.AssetColumns+` FROM wallet_assets AS a WHERE user_id = ANY ($1)`, users); err != nil {
		return nil, nil, err
	}
	balances, err := rows.CollectAssets(found)
	if err != nil {
		return nil, nil, err
	}
	journals, assets = map[string][]wallet.Entry{}, map[string]wallet.Asset{}
	for _, e := range entries {
		journals[e.UserID] = append(journals[e.UserID], e)
	}
	for _, a := range balances {
		assets[a.UserID] = a
	}
	return journals, assets, nil
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
