package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"
	"unicode"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/spf13/cobra"
	commonpb "go.temporal.io/api/common/v1"
	enumspb "go.temporal.io/api/enums/v1"
	failurepb "go.temporal.io/api/failure/v1"
	"go.temporal.io/api/serviceerror"
	taskqueuepb "go.temporal.io/api/taskqueue/v1"
	workflowpb "go.temporal.io/api/workflow/v1"
	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/client"

	"github.com/valueledger/wallet"
	"github.com/valueledger/wallet/internal/service"
	"github.com/valueledger/wallet/internal/service/cli"
	"github.com/valueledger/wallet/internal/service/resourceid"
	"github.com/valueledger/wallet/trail"
)

// diagnosis is what "wallet doctor" has seen of a wallet asset, and what it makes of it.
type diagnosis struct {
	wallet.AssetRef
	WorkflowID string `json:"workflow_id"`
	TaskQueue  string `json:"task_queue"` // of this program

	Run       *runSeen        `json:"run,omitempty"`     // the last one; none if it was never started, or Temporal does not answer
	Workers   *workersSeen    `json:"workers,omitempty"` // on the run's task queue, or else on ours
	Pending   []pendingStep   `json:"pending,omitempty"` // what the run waits for
	State     *wallet.State   `json:"state,omitempty"`   // as the workflow knows it
	Journal   *wallet.Balance `json:"journal,omitempty"` // as Postgres has it
	OpenHolds int64           `json:"open_holds"`        // in Postgres
	Missing   int64           `json:"missing_events"`    // of applied commands
	Findings  []doctorReport  `json:"findings"`
	Healthy   bool            `json:"healthy"`

	asked bool // Postgres, with an answer
}

type runSeen struct {
	RunID     string    `json:"run_id"`
	Status    string    `json:"status"`
	TaskQueue string    `json:"task_queue"`
	StartedAt time.Time `json:"started_at"`
	Events    int64     `json:"events"`
	running   bool
}

type workersSeen struct {
	Workflows  []string `json:"workflows"`  // identities of those that poll for workflows
	Activities []string `json:"activities"` // and for steps
}

type pendingStep struct {
	Step        string    `json:"step"`
	Attempt     int32     `json:"attempt"`
	Since       time.Time `json:"since,omitzero"`
	NextTry     time.Time `json:"next_try,omitzero"`
	LastFailure string    `json:"last_failure,omitempty"`
}

// doctorReport is something that is wrong, and what to do about it.
type doctorReport struct {
	Problem string `json:"problem"`
	Remedy  string `json:"remedy"`
}

func (d *diagnosis) find(remedy, problem string, args ...any) {
	d.Findings = append(d.Findings, doctorReport{fmt.Sprintf(problem, args...), remedy})
}

func (a *app) doctorCommand() *cobra.Command {
	return &cobra.Command{
		Use: "doctor USER CURRENCY", Short: "Find out why a wallet is stuck, and what to do",
		Long: `Look at a wallet's workflow, its workers, its pending step, and its journal and
events in Postgres. It names each problem and its remedy, and
changes nothing. Exit code 0 only if nothing is wrong. "wallet verify USER
CURRENCY" checks every row.`,
		Example: "  wallet doctor u1 USD",
		Args:    cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := wallet.ValidateWallet(args[0], args[1]); err != nil {
				return err
			}
			d := a.examine(cmd.Context(), wallet.AssetRef{UserID: args[0], Currency: args[1]})
			if err := a.printDiagnosis(cmd.OutOrStdout(), d); err != nil {
				return err
			}
			if n := len(d.Findings); n > 0 {
				return fmt.Errorf("%s of the %s wallet of %q", plural(n, "problem", "problems"), d.Currency, d.UserID)
			}
			return nil
		},
	}
}

// doctorPatience is how long each server, and the workflow, may take to answer.
const doctorPatience = 5 * time.Second

func (a *app) examine(ctx context.Context, ref wallet.AssetRef) *diagnosis {
	d := &diagnosis{AssetRef: ref, WorkflowID: wallet.WorkflowID(ref.UserID, ref.Currency), TaskQueue: a.taskQueue, Findings: []doctorReport{}}
	// The workflow first: the journal only grows meanwhile.
	if err := a.examineWorkflow(ctx, d); err != nil {
		d.find("see the error; commands wait or fail until Temporal answers", "Temporal cannot be asked: %s", err)
	}
	if err := a.withPool(ctx, func(pool *pgxpool.Pool) error { return examineJournal(ctx, pool, d) }); err != nil {
		d.find("see the error; commands wait in their wallets and go on by themselves when Postgres is back", "Postgres cannot be asked: %s", err)
	}
	d.compare()
	d.Healthy = len(d.Findings) == 0
	return d
}

func (a *app) examineWorkflow(ctx context.Context, d *diagnosis) error {
	logger, err := service.NewLogger("error", a.logFormat)
	if err != nil {
		return err
	}
	temporal, namespace, err := service.DialTemporal(ctx, logger, nil)
	if err != nil {
		return err
	}
	defer temporal.Close()
	ctx = resourceid.For(ctx, d.WorkflowID)
	within := func(do func(context.Context) error) error {
		ctx, cancel := context.WithTimeout(ctx, doctorPatience)
		defer cancel()
		return do(ctx)
	}
	queue := d.TaskQueue
	err = within(func(ctx context.Context) error { return d.describeRun(ctx, temporal, namespace) })
	if err != nil {
		return err
	}
	if d.Run != nil && d.Run.running { // or else the next command starts it on ours
		queue = d.Run.TaskQueue
	}
	if err := within(func(ctx context.Context) error { return d.describeWorkers(ctx, temporal, namespace, queue) }); err != nil {
		return err
	}
	if d.Run == nil || !d.Run.running || len(d.Workers.Workflows) == 0 {
		return nil
	}
	return within(func(ctx context.Context) error {
		answer, err := temporal.QueryWorkflow(ctx, d.WorkflowID, "", wallet.QueryState)
		if err == nil {
			d.State = &wallet.State{}
			return answer.Get(d.State)
		}
		d.find(fmt.Sprintf("wallet replay --query 'WorkflowId = \"%s\"' tells whether these workers can go on with it; if they cannot, deploy the version before", d.WorkflowID),
			"the workflow does not answer, though workers poll its task queue: %s", err)
		return nil
	})
}

// describeRun looks at the last run. A wallet that was never started has none.
func (d *diagnosis) describeRun(ctx context.Context, temporal client.Client, namespace string) error {
	described, err := temporal.DescribeWorkflowExecution(ctx, d.WorkflowID, "")
	var none *serviceerror.NotFound
	if errors.As(err, &none) {
		return nil
	} else if err != nil {
		return err
	}
	info := described.GetWorkflowExecutionInfo()
	d.Run = &runSeen{
		RunID: info.GetExecution().GetRunId(), Status: info.GetStatus().String(), TaskQueue: described.GetExecutionConfig().GetTaskQueue().GetName(),
		StartedAt: info.GetStartTime().AsTime(), Events: info.GetHistoryLength(), running: info.GetStatus() == enumspb.WORKFLOW_EXECUTION_STATUS_RUNNING,
	}
	for _, activity := range described.GetPendingActivities() {
		step := pendingStep{Step: activity.GetActivityType().GetName(), Attempt: activity.GetAttempt(), LastFailure: failureText(activity.GetLastFailure())}
		if at := activity.GetScheduledTime(); at.IsValid() {
			step.Since = at.AsTime()
		}
		if at := activity.GetNextAttemptScheduleTime(); at.IsValid() {
			step.NextTry = at.AsTime()
		}
		d.Pending = append(d.Pending, step)
		if step.LastFailure != "" {
			d.find("mend the cause; the step is tried again by itself, until it works", "the step %s fails, %s by now: %s", step.Step, plural(int(max(step.Attempt-1, 1)), "time", "times"), step.LastFailure)
		}
	}
	if task := described.GetPendingWorkflowTask(); task != nil {
		return d.describeTask(ctx, temporal, namespace, task)
	}
	return nil
}

// describeTask looks at the workflow task that waits for a worker, or is with one.
func (d *diagnosis) describeTask(ctx context.Context, temporal client.Client, namespace string, task *workflowpb.PendingWorkflowTaskInfo) error {
	step := pendingStep{Step: "workflow task", Attempt: task.GetAttempt(), Since: task.GetOriginalScheduledTime().AsTime()}
	if step.Attempt > 1 {
		history, err := temporal.WorkflowService().GetWorkflowExecutionHistoryReverse(ctx, &workflowservice.GetWorkflowExecutionHistoryReverseRequest{
			Namespace: namespace, Execution: &commonpb.WorkflowExecution{WorkflowId: d.WorkflowID, RunId: d.Run.RunID}, MaximumPageSize: 20,
		})
		if err != nil {
			return err
		}
		for _, event := range history.GetHistory().GetEvents() {
			if failed := event.GetWorkflowTaskFailedEventAttributes(); failed != nil {
				step.LastFailure = failureText(failed.GetFailure())
				break
			}
		}
		d.find(fmt.Sprintf("wallet replay --query 'WorkflowId = \"%s\"' tells whether this version can go on with it; if it cannot, deploy the version before", d.WorkflowID),
			"its workflow task fails, %s by now: %s", plural(int(step.Attempt-1), "time", "times"), step.LastFailure)
	}
	d.Pending = append(d.Pending, step)
	return nil
}

// describeWorkers looks at who polls a task queue. A worker that ended is listed for some
// minutes: what was not seen for longer than its polls last is left out.
func (d *diagnosis) describeWorkers(ctx context.Context, temporal client.Client, namespace, queue string) error {
	pollers := func(of enumspb.TaskQueueType) ([]string, error) {
		described, err := temporal.WorkflowService().DescribeTaskQueue(ctx, &workflowservice.DescribeTaskQueueRequest{
			Namespace: namespace, TaskQueue: &taskqueuepb.TaskQueue{Name: queue}, TaskQueueType: of,
		})
		list := []string{}
		for _, p := range described.GetPollers() {
			if time.Since(p.GetLastAccessTime().AsTime()) < pollLasts {
				list = append(list, p.GetIdentity())
			}
		}
		return list, err
	}
	seen, err := workersSeen{}, error(nil)
	if seen.Workflows, err = pollers(enumspb.TASK_QUEUE_TYPE_WORKFLOW); err != nil {
		return err
	}
	if seen.Activities, err = pollers(enumspb.TASK_QUEUE_TYPE_ACTIVITY); err != nil {
		return err
	}
	d.Workers = &seen
	other := d.Run != nil && d.Run.running && queue != d.TaskQueue
	switch start := fmt.Sprintf("start a worker with WALLET_TASK_QUEUE=%s", queue); {
	case other && len(seen.Workflows) == 0:
		d.find(start+fmt.Sprintf(", or end its run, which is safe, and send its commands again: temporal workflow terminate --workflow-id '%s'", d.WorkflowID),
			"its workflow runs on task queue %q, where no worker polls; this program uses %q", queue, d.TaskQueue)
	case len(seen.Workflows) == 0:
		d.find(start, "no worker polls task queue %q", queue)
	case len(seen.Activities) == 0:
		d.find("restart its workers, which poll for both", "workers poll task queue %q for workflows, but none for steps", queue)
	}
	return nil
}

// pollLasts is how long Temporal keeps a poll open, and some more.
const pollLasts = 90 * time.Second

// failureText is the message of a failure and of what caused it.
func failureText(failure *failurepb.Failure) string {
	var parts []string
	for ; failure != nil; failure = failure.GetCause() {
		if m := failure.GetMessage(); m != "" && (len(parts) == 0 || !strings.Contains(parts[len(parts)-1], m)) {
			parts = append(parts, m)
		}
	}
	return strings.Join(parts, ": ")
}

// The newest event, and how many holds are open, one of them for longer than a sweep should
// let it be.
const sqlVitals = `
	SELECT (SELECT coalesce(max(version), 0) FROM wallet_asset_events WHERE user_id = $1 AND currency = $2),
		count(*), coalesce(bool_or(expires_at < now() - interval '2 minutes'), false)
	FROM wallet_holds WHERE user_id = $1 AND currency = $2 AND state = 'open'`

func examineJournal(ctx context.Context, pool *pgxpool.Pool, d *diagnosis) error {
	asset, err := trail.New(pool).Asset(ctx, d.UserID, d.Currency)
	d.asked = err == nil || errors.Is(err, trail.ErrNoWallet)
	if errors.Is(err, trail.ErrNoWallet) {
		if d.Run == nil {
			d.find("check the name; the first command opens a wallet", "there is no such wallet, neither in Postgres nor in Temporal")
		}
		return nil
	} else if err != nil {
		return err
	}
	seen, overdue, newest := asset.Balance(), false, int64(0)
	d.Journal = &seen
	for try := 0; try < 2; try++ { // events come in a transaction after that of their commands
		if err := pool.QueryRow(ctx, sqlVitals, d.UserID, d.Currency).Scan(&newest, &d.OpenHolds, &overdue); err != nil {
			return err
		}
		if d.Missing = max(0, asset.Version-newest); d.Missing == 0 {
			break
		}
		time.Sleep(time.Second)
	}
	if d.Missing > 0 {
		d.find(fmt.Sprintf("its next command appends them, or: wallet repair '%s' %s", d.UserID, d.Currency), "%s missing: the newest is of version %d, the wallet is at %d",
			plural(int(d.Missing), "event is", "events are"), newest, asset.Version)
	}
	if overdue {
		d.find("start a worker: each one sees to such holds every 20 s", "a hold has expired more than 2 minutes ago, and nobody has recorded it")
	}
	return nil
}

// compare looks for a journal that is not the one that the workflow has written. The workflow
// may be behind: others write to the journal too, and it finds out with its next command.
func (d *diagnosis) compare() {
	if !d.asked || d.State == nil || d.State.Position == 0 {
		return
	}
	at := int64(0)
	if d.Journal != nil {
		at = d.Journal.Position
	}
	switch {
	case d.State.Position > at:
		d.find("was Postgres restored from a backup? see docs/guides/when-lost.md, and have the later commands sent again with the same ids",
			"the journal ends at position %d, and the workflow has written up to %d", at, d.State.Position)
	case d.State.Position == at && d.State.Hash != d.Journal.Hash:
		d.find(fmt.Sprintf("wallet verify '%s' %s", d.UserID, d.Currency), "the journal's last entry, at position %d, is not the one that the workflow has written", at)
	}
}

func (a *app) printDiagnosis(out io.Writer, d *diagnosis) error {
	if a.output == "json" {
		return json.NewEncoder(out).Encode(d)
	}
	line := func(name, format string, args ...any) {
		fmt.Fprintf(out, "%-12s%s\n", name, fmt.Sprintf(format, args...))
	}
	line("wallet", "%s %s", cli.Plain(d.UserID), d.Currency)
	if d.Run == nil {
		line("workflow", "%s: no run", cli.Plain(d.WorkflowID))
	} else {
		line("workflow", "%s: %s", cli.Plain(d.WorkflowID), strings.ToLower(d.Run.Status))
		line("run", "%s, since %s, %d events", d.Run.RunID, when(d.Run.StartedAt), d.Run.Events)
		line("task queue", "%s (of this program: %s)", cli.Plain(d.Run.TaskQueue), cli.Plain(d.TaskQueue))
	}
	if d.Workers != nil {
		line("workers", "%d for workflows, %d for steps", len(d.Workers.Workflows), len(d.Workers.Activities))
	}
	for _, p := range d.Pending {
		next := ""
		if !p.NextTry.IsZero() {
			next = ", next try " + when(p.NextTry)
		}
		line("pending", "%s, attempt %d, since %s%s", p.Step, p.Attempt, when(p.Since), next)
	}
	if s := d.State; s != nil {
		line("state", "position %d, total %s, hold %s, %s in the queue", s.Position, s.Total, s.Hold, plural(s.Queue, "command", "commands"))
	}
	if j := d.Journal; j != nil {
		line("journal", "position %d, total %s, hold %s, %s missing", j.Position, j.Total, j.Hold, plural(int(d.Missing), "event", "events"))
		if d.State != nil && d.State.Position < j.Position {
			line("", "the workflow is %d entries behind, and catches up with its next command", j.Position-d.State.Position)
		}
		line("open holds", "%d", d.OpenHolds)
	}
	for _, f := range d.Findings {
		fmt.Fprintf(out, "\nPROBLEM  %s\nREMEDY   %s\n", oneLine(f.Problem), oneLine(f.Remedy))
	}
	if d.Healthy {
		fmt.Fprint(out, "\nnothing is wrong\n")
	}
	return nil
}

// oneLine keeps text of others from driving the terminal.
func oneLine(text string) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return ' '
		}
		return r
	}, text)
}

// plural is a number with its noun.
func plural(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}
