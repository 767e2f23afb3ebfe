package torture

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"time"

	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/api/serviceerror"
	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/client"

	"github.com/valueledger/wallet"
	"github.com/valueledger/wallet/migrations"
)

const (
	// overfillClient is the number of the caller of signals that an Overfill sends.
	overfillClient = -1
	// signalsInside are commands that a run accepts before its end.
	signalsInside = 3
	// One signal of ballast is below the limit of a call, and together they are more than
	// a run may have.
	ballastBytes   = 1_000_000
	ballastSignals = 2 * bytesOfARun / ballastBytes
)

// overfill sends commands to a wallet's run while all workers stand still, and then more bytes
// than the run may have.
func (w *world) overfill(ctx context.Context, h *history, f Fault) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	of := w.plan.Wallets[f.Wallet]
	id := wallet.WorkflowID(of.UserID, of.Currency)
	described, err := w.direct.DescribeWorkflowExecution(ctx, id, "")
	if err != nil {
		return err
	}
	if status := described.GetWorkflowExecutionInfo().GetStatus(); status != enumspb.WORKFLOW_EXECUTION_STATUS_RUNNING {
		return fmt.Errorf("the run is %s already", status)
	}
	run := described.GetWorkflowExecutionInfo().GetExecution().GetRunId()
	for i := range w.plan.Options.Workers {
		defer w.servers[workerTarget(i)].freeze()()
	}
	for i := range signalsInside {
		c := wallet.Command{ID: fmt.Sprintf("inside-%d-%.0f-%d", f.At.Milliseconds(), 1e6*f.Strength, i), Type: wallet.TypeAdd, Amount: wallet.MustAmount("1")}
		numbers := h.begin(overfillClient, f.Wallet, Send{Way: Signal, Commands: []wallet.Command{c}})
		err := w.direct.SignalWorkflow(ctx, id, run, wallet.SignalCommand, c)
		var ended *serviceerror.NotFound
		if errors.As(err, &ended) { // it has certainly not accepted it, and nobody sends it again
			h.withdraw(numbers)
			return err
		}
		h.end(numbers, nil, err == nil, err)
		if err != nil {
			return err
		}
	}
	for range ballastSignals {
		if err = w.direct.SignalWorkflow(ctx, id, run, "ballast", make([]byte, ballastBytes)); err != nil {
			break
		}
	}
	described, failed := w.direct.DescribeWorkflowExecution(ctx, id, run)
	if failed != nil {
		return failed
	}
	if status := described.GetWorkflowExecutionInfo().GetStatus(); status != enumspb.WORKFLOW_EXECUTION_STATUS_TERMINATED {
		return errors.Join(fmt.Errorf("the run is %s with a history of %d bytes", status, described.GetWorkflowExecutionInfo().GetHistorySizeBytes()), err)
	}
	return nil
}

// overfilled counts the runs of a wallet that were ended at a limit.
func (r *Report) overfilled(wallet int) (n int) {
	for _, f := range r.Faults {
		if f.Kind == Overfill && f.Wallet == wallet && f.Missed == "" {
			n++
		}
	}
	return n
}

// salvage runs "wallet salvage" once the server lists the runs that it has ended, and returns
// how many commands it has sent again.
func (w *world) salvage(ctx context.Context, of Wallet, runs int) (sent int, err error) {
	id := wallet.WorkflowID(of.UserID, of.Currency)
	if err := w.eventually(ctx, startPatience, fmt.Sprintf("the list of %d ended runs of %s", runs, id), func(ctx context.Context) error {
		listed, err := w.direct.CountWorkflow(ctx, &workflowservice.CountWorkflowExecutionsRequest{
			Namespace: client.DefaultNamespace, Query: fmt.Sprintf("WorkflowId = '%s' AND ExecutionStatus = 'Terminated'", id),
		})
		if err == nil && listed.GetCount() < int64(runs) {
			err = fmt.Errorf("%d are listed", listed.GetCount())
		}
		return err
	}); err != nil {
		return 0, err
	}
	cmd := exec.CommandContext(ctx, w.plan.Options.Program, "salvage", of.UserID, of.Currency, "--apply", "-o", "json")
	cmd.Env = append(os.Environ(),
		"TEMPORAL_ADDRESS="+w.stack.Temporal.Address(), "TEMPORAL_NAMESPACE="+client.DefaultNamespace,
		"WALLET_DATABASE_URL="+w.database.URLOf(migrations.RoleApp, appPassword, database),
	)
	out, err := cmd.Output()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		err = fmt.Errorf("salvage %s: %w: %s", id, err, exit.Stderr)
	}
	lines := bufio.NewScanner(bytes.NewReader(out))
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var line struct{ State string }
		if err := json.Unmarshal(lines.Bytes(), &line); err != nil {
			return sent, err
		}
		if line.State == "sent" {
			sent++
		}
	}
	return sent, errors.Join(err, lines.Err())
}
