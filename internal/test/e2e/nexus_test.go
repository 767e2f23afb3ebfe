package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nexus-rpc/sdk-go/nexus"
	"github.com/stretchr/testify/require"
	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/api/serviceerror"
	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/worker"
	"go.temporal.io/sdk/workflow"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/valueledger/wallet"
	"github.com/valueledger/wallet/internal/service/nexushandler"
	"github.com/valueledger/wallet/internal/test/testenv"
	"github.com/valueledger/wallet/walletnexus"
)

// nexusCaller is a worker in another namespace, with an endpoint to the test's wallets.
type nexusCaller struct {
	w         *world
	temporal  client.Client
	namespace string
	endpoint  string
}

// call is the input of the caller's workflow: one operation.
type call struct {
	Endpoint, Operation string
	Input               any
	Timeout             time.Duration
}

func callOperation(ctx workflow.Context, c call) (answer map[string]any, err error) {
	wallets := workflow.NewNexusClient(c.Endpoint, walletnexus.Service)
	err = wallets.ExecuteOperation(ctx, c.Operation, c.Input, workflow.NexusOperationOptions{ScheduleToCloseTimeout: c.Timeout}).Get(ctx, &answer)
	return answer, err
}

func newNexusCaller(w *world) *nexusCaller {
	t := w.t
	name := strings.NewReplacer("_", "-", "/", "-").Replace(testenv.Unique(t, "n"))
	c := &nexusCaller{w: w, namespace: name, endpoint: name}
	_, err := w.temporal.WorkflowService().RegisterNamespace(context.Background(), &workflowservice.RegisterNamespaceRequest{
		Namespace: c.namespace, WorkflowExecutionRetentionPeriod: durationpb.New(24 * time.Hour),
	})
	require.NoError(t, err)
	require.NoError(t, nexushandler.RegisterEndpoint(context.Background(), w.temporal, c.endpoint, client.DefaultNamespace, w.queue))
	c.temporal, err = client.NewClientFromExisting(w.temporal, client.Options{Namespace: c.namespace})
	require.NoError(t, err)
	t.Cleanup(c.temporal.Close)
	w.eventually("the namespace", func() bool {
		_, err := c.temporal.DescribeTaskQueue(context.Background(), "caller", enumspb.TASK_QUEUE_TYPE_WORKFLOW)
		return err == nil
	})
	callers := worker.New(c.temporal, "caller", worker.Options{})
	callers.RegisterWorkflowWithOptions(callOperation, workflow.RegisterOptions{Name: "Call"})
	require.NoError(t, callers.Start())
	t.Cleanup(callers.Stop)
	return c
}

func (c *nexusCaller) start(operation string, input any, timeout time.Duration) client.WorkflowRun {
	var run client.WorkflowRun
	c.w.eventually("the namespace takes workflows", func() (ok bool) {
		var err error
		run, err = c.temporal.ExecuteWorkflow(context.Background(), client.StartWorkflowOptions{TaskQueue: "caller"}, "Call",
			call{Endpoint: c.endpoint, Operation: operation, Input: input, Timeout: timeout})
		var unknown *serviceerror.NamespaceNotFound
		if !errors.As(err, &unknown) {
			require.NoError(c.w.t, err)
		}
		return err == nil
	})
	return run
}

func jsonInput(t *testing.T, text string) any {
	var input any
	require.NoError(t, json.Unmarshal([]byte(text), &input))
	return input
}

func (c *nexusCaller) do(operation string, input any) (map[string]any, error) {
	var answer map[string]any
	err := c.start(operation, input, time.Minute).Get(context.Background(), &answer)
	return answer, err
}

func (c *nexusCaller) change(id, amount string) walletnexus.Change {
	change := walletnexus.Change{AssetRef: wallet.AssetRef{UserID: c.w.user, Currency: "USD"}, ID: id}
	if amount != "" {
		change.Amount = wallet.MustAmount(amount)
	}
	return change
}

// TestADryRunByNexusChangesNothing asks what a command and a transaction would get; refused ones too.
func TestADryRunByNexusChangesNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c := newNexusCaller(w)
	w.give(w.user, "10")
	command := func(amount string) wallet.ApplyCommandInput {
		return wallet.ApplyCommandInput{AssetRef: wallet.AssetRef{UserID: w.user, Currency: "USD"}, Command: wallet.Command{ID: "s", Type: wallet.TypeSubtract, Amount: wallet.MustAmount(amount)}}
	}
	for amount, reason := range map[string]wallet.Reason{"4": "", "11": wallet.ReasonInsufficientFunds} {
		var one wallet.DryRunResult
		require.NoError(t, c.start(walletnexus.DryRun.Name(), command(amount), time.Minute).Get(t.Context(), &one))
		require.True(t, one.DryRun.DryRun)
		require.Equal(t, reason, one.Reason)
		var many wallet.DryRunTransactionResult
		require.NoError(t, c.start(walletnexus.DryRunTransaction.Name(), w.transfer("t", amount).Transaction(), time.Minute).Get(t.Context(), &many))
		require.True(t, many.DryRun.DryRun)
		require.Equal(t, reason == "", many.Status == wallet.StatusApplied)
		require.Len(t, many.Results, 2)
		require.Equal(t, w.user, many.Results[0].UserID)
		require.Equal(t, reason, many.Results[0].Reason)
	}
	require.Equal(t, "10.00", w.total(w.user))
}

func TestNexusOperationsOfAnotherNamespace(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c := newNexusCaller(w)
	ref := wallet.AssetRef{UserID: w.user, Currency: "USD"}

	_, err := c.do("balance", ref)
	var handlerErr *nexus.HandlerError
	require.ErrorAs(t, err, &handlerErr)
	require.Equal(t, nexus.HandlerErrorTypeNotFound, handlerErr.Type)

	_, err = c.do("create", c.change("open", ""))
	require.NoError(t, err)
	_, err = c.do("add", c.change("a", "5"))
	require.NoError(t, err)
	answer, err := c.do("apply", wallet.ApplyCommandInput{AssetRef: ref, Command: subtract("b", "2")})
	require.NoError(t, err)
	require.Equal(t, "3.00", answer["total_after"])
	answer, err = c.do("add", c.change("a", "5.00"))
	require.NoError(t, err)
	require.Equal(t, true, answer["replayed"], "the same id counts once")
	answer, err = c.do("balance", ref)
	require.NoError(t, err)
	require.Equal(t, "3.00", answer["available"])

	// A refusal fails the operation, once, and contains the Result.
	_, err = c.do("subtract", c.change("c", "100"))
	var unapplied *wallet.UnappliedError
	require.ErrorAs(t, walletnexus.Decode(err), &unapplied)
	require.Equal(t, wallet.ReasonInsufficientFunds, unapplied.Result.Reason)
	require.Equal(t, int64(4), unapplied.Result.Position)
	require.NotErrorAs(t, err, &handlerErr)
	w.requireSound()
}

func TestNexusRefusesBadInput(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c := newNexusCaller(w)
	object := func(more string) string {
		return fmt.Sprintf(`{"user_id":%q,"currency":"USD"%s}`, w.user, more)
	}
	for _, row := range []struct{ operation, input, field, message string }{
		{"add", object(`,"id":"a","amount":5`), "amount", "amount 5 is not a JSON string"},
		{"add", object(`,"amount":"5"`), "id", "id is empty"},
		{"add", object(`,"id":"a"`), "amount", `command "a" has no amount`},
		{"create", object(`,"id":"a","amount":"5"`), "amount", "create takes no amount"},
		{"subtract", `"text"`, "input", "must not be a JSON string"},
		{"add", strings.Replace(object(`,"id":"a","amount":"5"`), "USD", "NOPE", 1), "currency", `currency "NOPE" is not registered`},
		{"apply", object(`,"command":{"id":"a","type":"gift","amount":"5"}`), "type", `type "gift" is unknown`},
		{"apply", object(`,"command":{"id":"a","type":"add","amount":"5","reply_to":{"workflow_id":"w","signal":"s"}}`), "reply_to", "leave it out"},
		{"dry_run", object(`,"command":{"id":"a","type":"add","amount":"5","reply_to":{"workflow_id":"w","signal":"s"}}`), "reply_to", "leave it out"},
		{"dry_run", strings.Replace(object(`,"command":{"id":"a","type":"add","amount":"5"}`), "USD", "NOPE", 1), "currency", `currency "NOPE" is not registered`},
		{"dry_run_transaction", `{"id":"x","commands":[]}`, "commands", "send 2 to 100"},
		{"balance", `{"user_id":"","currency":"USD"}`, "user_id", "user_id is empty"},
	} {
		_, err := c.do(row.operation, jsonInput(t, row.input))
		var handlerErr *nexus.HandlerError
		require.ErrorAs(t, err, &handlerErr, row.input)
		require.Equal(t, nexus.HandlerErrorTypeBadRequest, handlerErr.Type)
		require.False(t, handlerErr.Retryable())
		var invalid *wallet.InvalidError
		require.ErrorAs(t, walletnexus.Decode(err), &invalid)
		require.Equal(t, row.field, invalid.Field)
		require.Contains(t, invalid.Message, row.message)
	}
	_, err := c.do("give", object(""))
	var handlerErr *nexus.HandlerError
	require.ErrorAs(t, err, &handlerErr)
	require.Equal(t, nexus.HandlerErrorTypeNotFound, handlerErr.Type)
}

// TestNexusAsksAgain: as long as the wallet has no answer, Temporal retries the operation with
// a failure that says so, and it counts once.
func TestNexusAsksAgain(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c := newNexusCaller(w)
	_, err := c.do("add", c.change("a", "5"))
	require.NoError(t, err)

	tx, err := w.owner.Begin(context.Background()) // the step waits for its lock
	require.NoError(t, err)
	_, err = tx.Exec(context.Background(), `SELECT FROM wallet_assets WHERE user_id = $1 FOR UPDATE`, w.user)
	require.NoError(t, err)
	run := c.start("add", c.change("b", "5"), 0)
	w.eventually("a failed try of the operation", func() bool {
		d, err := c.temporal.DescribeWorkflowExecution(context.Background(), run.GetID(), "")
		require.NoError(t, err)
		for _, pending := range d.GetPendingNexusOperations() {
			if pending.GetAttempt() > 0 && pending.GetLastAttemptFailure() != nil {
				require.Equal(t, string(nexus.HandlerErrorTypeUnavailable), pending.GetLastAttemptFailure().GetNexusHandlerFailureInfo().GetType())
				return true
			}
		}
		return false
	})
	require.NoError(t, tx.Rollback(context.Background()))
	var answer map[string]any
	require.NoError(t, run.Get(context.Background(), &answer))
	require.Equal(t, "10.00", answer["total_after"])
	_, journal := w.requireSound()
	require.Len(t, journal, 3, "created, a and b")
}
