package torture

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/sdk/client"
	"golang.org/x/sync/errgroup"

	"github.com/valueledger/wallet"
	"github.com/valueledger/wallet/activities"
	"github.com/valueledger/wallet/internal/service/failure"
	"github.com/valueledger/wallet/starter"
)

// caller is one client of the wallets: it runs a script and never gives up a command before it
// has an answer.
type caller struct {
	number   int
	wallets  []Wallet
	history  *history
	temporal client.Client
	starter  *starter.Client
	lanes    *starter.Client // with lanes
	steps    *activities.Activities
	database *pgxpool.Pool // of the steps
}

// retryPause is the pause between two attempts of a caller.
const retryPause = 100 * time.Millisecond

// callersTogether is how many callers share one connection and one starter.Client, which
// combines overlapping calls for one wallet.
const callersTogether = 4

// lanes is more than are of use, so that wallets change hands more often.
const lanes = 3

// newCallers connects n clients through their proxy, numbered from first.
func newCallers(first, n int, w *world, h *history) (callers []*caller, closeConnections func(), err error) {
	var connections []client.Client
	closeConnections = func() {
		for _, c := range connections {
			c.Close()
		}
	}
	for i := range n {
		c := &caller{number: first + i, wallets: w.plan.Wallets, history: h, steps: activities.New(w.service), database: w.service}
		callers = append(callers, c)
		if i%callersTogether > 0 {
			c.temporal, c.starter, c.lanes = callers[i-1].temporal, callers[i-1].starter, callers[i-1].lanes
			continue
		}
		c.temporal, err = client.NewLazyClient(client.Options{
			HostPort: w.links[callerTarget].address, Logger: quiet,
			ConnectionOptions: client.ConnectionOptions{GrpcCompression: &client.GrpcCompressionNone{}},
		})
		if err == nil {
			connections = append(connections, c.temporal)
			c.starter, err = starter.New(c.temporal, starter.Options{})
		}
		if err == nil {
			c.lanes, err = starter.New(c.temporal, starter.Options{Lanes: lanes})
		}
		if err != nil {
			closeConnections()
			return nil, nil, err
		}
	}
	return callers, closeConnections, nil
}

// run runs the script's steps until load ends, and finishes what it has begun until answers
// ends.
func (c *caller) run(load, answers context.Context, script *Script) {
	for {
		step := script.Next()
		if !sleep(load, step.Pause) {
			return
		}
		var sends errgroup.Group
		for _, send := range step.Sends {
			sends.Go(func() error { c.insist(answers, step.Wallet, send, step.Patient); return nil })
		}
		_ = sends.Wait() // no goroutine returns an error
	}
}

// insist sends until there is an answer, or ctx ends.
func (c *caller) insist(ctx context.Context, wallet int, send Send, patient time.Duration) {
	if send.Way == LongRun {
		c.longRun(ctx, send)
		return
	}
	for ctx.Err() == nil {
		numbers := c.history.begin(c.number, wallet, send)
		attempt, cancel := context.WithTimeout(ctx, patient)
		results, err := c.send(attempt, c.wallets[wallet].AssetRef, send)
		if err != nil && attempt.Err() == nil && send.isByStarter() {
			err = &gaveUpError{err}
		}
		cancel()
		accepted := err == nil && (send.Way == Signal || send.Way == Garbage || send.Way == InRun)
		c.history.end(numbers, results, accepted, err)
		if err == nil {
			return
		}
		sleep(ctx, retryPause)
	}
}

// isByStarter reports whether a call promises to retry until its context ends.
func (s Send) isByStarter() bool {
	return s.Way == Signal || s.Way == Update || s.Way == Batch || s.Way.isTransaction() || s.Way == InLane
}

// gaveUpError is a call of package starter that ended before its context did, without an answer
// or a final error.
type gaveUpError struct{ error }

func (e *gaveUpError) Unwrap() error { return e.error }

// send makes one attempt. A refusal is a result.
func (c *caller) send(ctx context.Context, ref wallet.AssetRef, send Send) ([]wallet.Result, error) {
	first := send.Commands[0]
	switch send.Way {
	case Signal:
		return nil, c.starter.Send(ctx, ref.UserID, ref.Currency, first)
	case Garbage:
		_, err := c.temporal.SignalWithStartWorkflow(ctx, wallet.WorkflowID(ref.UserID, ref.Currency), wallet.SignalCommand, garbagePayload(first.Description),
			bareStart(ref), wallet.WorkflowWalletAsset, ref)
		return nil, err
	case Update:
		return answered(c.starter.Apply(ctx, ref.UserID, ref.Currency, first))
	case InLane:
		return answered(c.lanes.Apply(ctx, ref.UserID, ref.Currency, first))
	case InRun:
		return nil, c.inRun(ctx, ref, send.Commands)
	case Batch:
		return c.starter.ApplyBatch(ctx, ref.UserID, ref.Currency, send.Commands)
	case BareUpdate:
		return c.bareUpdate(ctx, ref, first)
	case ApplyCommand:
		return c.applyCommand(ctx, ref, first)
	case StrayStep:
		return c.strayStep(ctx, ref, first)
	case Transaction:
		return legsAnswered(c.starter.Transaction(ctx, send.Transaction))(send)
	case TransactionInLane:
		return legsAnswered(c.lanes.Transaction(ctx, send.Transaction))(send)
	default:
		return nil, fmt.Errorf("way %q is unknown", send.Way)
	}
}

// bareStart is how a caller in another language starts the wallet's workflow.
func bareStart(ref wallet.AssetRef) client.StartWorkflowOptions {
	return client.StartWorkflowOptions{
		ID: wallet.WorkflowID(ref.UserID, ref.Currency), TaskQueue: wallet.DefaultTaskQueue,
		WorkflowIDConflictPolicy: enumspb.WORKFLOW_ID_CONFLICT_POLICY_USE_EXISTING,
		WorkflowIDReusePolicy:    enumspb.WORKFLOW_ID_REUSE_POLICY_ALLOW_DUPLICATE,
	}
}

func (c *caller) bareUpdate(ctx context.Context, ref wallet.AssetRef, command wallet.Command) ([]wallet.Result, error) {
	options := bareStart(ref)
	handle, err := c.temporal.UpdateWithStartWorkflow(ctx, client.UpdateWithStartWorkflowOptions{
		StartWorkflowOperation: c.temporal.NewWithStartWorkflowOperation(options, wallet.WorkflowWalletAsset, ref),
		UpdateOptions: client.UpdateWorkflowOptions{
			WorkflowID: options.ID, UpdateName: wallet.UpdateApply, Args: []any{command}, WaitForStage: client.WorkflowUpdateStageCompleted,
		},
	})
	var result wallet.Result
	if err == nil {
		err = handle.Get(ctx, &result)
	}
	return answered(result, failure.Decode(err))
}

func (c *caller) applyCommand(ctx context.Context, ref wallet.AssetRef, command wallet.Command) ([]wallet.Result, error) {
	options := bareStart(ref)
	options.ID = wallet.ApplyCommandWorkflowID(ref.UserID, ref.Currency, command.ID)
	run, err := c.temporal.ExecuteWorkflow(ctx, options, wallet.WorkflowApplyCommand, wallet.ApplyCommandInput{AssetRef: ref, Command: command})
	var result wallet.Result
	if err == nil {
		err = run.Get(ctx, &result)
	}
	return answered(result, failure.Decode(err))
}

const sqlStageRun = `WITH run AS (INSERT INTO wallet_runs (run_id) VALUES ($1) ON CONFLICT DO NOTHING RETURNING run_id)
	INSERT INTO wallet_run_lines (run_id, line, user_id, currency, command)
	SELECT run_id, n, $2, $3, command
	FROM run, unnest($4::json[]) WITH ORDINALITY AS l (command, n)`

const sqlAddLateLine = `INSERT INTO wallet_run_lines (run_id, line, user_id, currency, command) VALUES ($1, 1000000, $2, $3, '{}') ON CONFLICT DO NOTHING`

// inRun returns once a run of the commands is done, under an id that is made of their content. The
// run must take no further lines.
func (c *caller) inRun(ctx context.Context, ref wallet.AssetRef, commands []wallet.Command) error {
	content := sha256.New()
	var lines [][]byte
	for _, command := range commands {
		line, err := json.Marshal(command)
		if err != nil {
			return err
		}
		content.Write(line)
		lines = append(lines, line)
	}
	id := fmt.Sprintf("%s-%x", commands[0].ID, content.Sum(nil)[:8])
	if _, err := c.database.Exec(ctx, sqlStageRun, id, ref.UserID, ref.Currency, lines); err != nil {
		return err
	}
	if err := c.starter.StartRun(ctx, wallet.RunInput{RunID: id}); err != nil {
		return err
	}
	status, err := c.starter.AwaitRun(ctx, id)
	if err == nil && (status.Invalid > 0 || status.Done() != int64(len(commands))) {
		err = &gaveUpError{fmt.Errorf("of %d lines of run %q, %d are done and %d invalid", len(commands), id, status.Done(), status.Invalid)}
	}
	if err == nil {
		if _, refused := c.database.Exec(ctx, sqlAddLateLine, id, ref.UserID, ref.Currency); refused == nil {
			err = &gaveUpError{fmt.Errorf("run %q took a line after it was done", id)}
		}
	}
	return err
}

// panicError is a panic in a stray step, which a worker would have recovered.
type panicError struct{ cause any }

func (e *panicError) Error() string { return fmt.Sprintf("the step panicked: %v", e.cause) }

// strayStep runs the steps as a workflow does for one command.
func (c *caller) strayStep(ctx context.Context, ref wallet.AssetRef, command wallet.Command) (_ []wallet.Result, err error) {
	defer func() {
		if cause := recover(); cause != nil {
			err = &panicError{cause}
		}
	}()
	if command.Type != wallet.TypeCreate {
		if _, err := c.steps.EnsureWalletAsset(ctx, ref); err != nil {
			return nil, err
		}
	}
	commands := []wallet.Received{{Command: command}}
	out, err := c.steps.ApplyCommands(ctx, wallet.ApplyCommandsInput{AssetRef: ref, Commands: commands, AndRecord: true})
	if err != nil {
		return nil, err
	}
	return out.Results.Results(commands)
}

// legsAnswered turns a transaction's answer into those of its legs.
func legsAnswered(answer wallet.TransactionResult, err error) func(Send) ([]wallet.Result, error) {
	return func(send Send) (results []wallet.Result, _ error) {
		var refused *wallet.TransactionRefusedError
		if err != nil && !errors.As(err, &refused) {
			return nil, err
		}
		for _, leg := range answer.Results {
			results = append(results, leg.Result)
		}
		if answer.Reason == wallet.ReasonIDConflict {
			for _, c := range send.Commands {
				results = append(results, wallet.Result{CommandID: c.ID, Type: c.Type, Status: answer.Status, Reason: answer.Reason})
			}
		}
		return results, nil
	}
}

// answered turns a refusal into a result.
func answered(result wallet.Result, err error) ([]wallet.Result, error) {
	var unapplied *wallet.UnappliedError
	if errors.As(err, &unapplied) {
		result, err = unapplied.Result, nil
	}
	if err != nil {
		return nil, err
	}
	return []wallet.Result{result}, nil
}
