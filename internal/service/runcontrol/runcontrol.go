// Package runcontrol starts, pauses, resumes and cancels runs, whether their workflow runs or not.
// The CLI and the HTTP API use it.
package runcontrol

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/valueledger/wallet"
	"github.com/valueledger/wallet/activities"
	"github.com/valueledger/wallet/runs"
	"github.com/valueledger/wallet/starter"
)

// Control has what it takes.
type Control struct {
	DB      *pgxpool.Pool
	Wallets *starter.Client
}

// StateError says that the state of a run does not allow what was asked.
type StateError struct{ message string }

func (e *StateError) Error() string { return e.message }

// Start starts a run that is staged, or lets it go on if its workflow was lost. One that is done
// stays as it is; only Resume continues one that was paused or cancelled.
func (c Control) Start(ctx context.Context, in wallet.RunInput) (wallet.RunStatus, error) {
	if err := in.Validate(); err != nil {
		return wallet.RunStatus{}, err
	}
	status, err := runs.Status(ctx, c.DB, in.RunID)
	if err != nil || status.State == wallet.RunDone {
		return status, err
	}
	if err := Startable(status); err != nil {
		return status, err
	}
	return status, c.Wallets.StartRun(ctx, in)
}

// Startable returns a StateError for a run that only Resume continues.
func Startable(status wallet.RunStatus) error {
	if status.State == wallet.RunPaused || status.State == wallet.RunCancelled {
		return &StateError{fmt.Sprintf("run %q is %s: resume it", status.RunID, status.State)}
	}
	return nil
}

// Pause stops a run after the lines in progress; its workflow waits.
func (c Control) Pause(ctx context.Context, id string) (wallet.RunStatus, error) {
	status, err := c.Wallets.PauseRun(ctx, id)
	if !errors.Is(err, starter.ErrRunNotRunning) {
		return status, err
	}
	status, lookUp := runs.Status(ctx, c.DB, id)
	if lookUp != nil {
		return status, lookUp
	}
	return status, notRunning(status)
}

// Cancel stops a run and ends its workflow; what is applied stays. A run that has no workflow is
// cancelled too: it was staged by mistake, or the workflow was terminated.
func (c Control) Cancel(ctx context.Context, id string) (wallet.RunStatus, error) {
	status, err := c.Wallets.CancelRun(ctx, id)
	if !errors.Is(err, starter.ErrRunNotRunning) {
		return status, err
	}
	status, lookUp := runs.Status(ctx, c.DB, id)
	switch {
	case lookUp != nil:
		return status, lookUp
	case status.State == wallet.RunDone || status.State == wallet.RunCancelled:
		return status, notRunning(status)
	}
	if status, err = activities.New(c.DB).SetRunState(ctx, wallet.SetRunStateInput{RunID: id, State: wallet.RunCancelled}); err != nil {
		return status, err
	}
	// A workflow that has begun meanwhile would go on.
	switch newer, err := c.Wallets.CancelRun(ctx, id); {
	case err == nil:
		return newer, nil
	case errors.Is(err, starter.ErrRunNotRunning):
		return status, nil
	default:
		return status, err
	}
}

// Resume continues a run that was paused, cancelled, or lost its workflow.
func (c Control) Resume(ctx context.Context, id string) (wallet.RunStatus, error) {
	status, err := runs.Status(ctx, c.DB, id)
	if err != nil || status.State == wallet.RunDone {
		return status, err
	}
	// It starts the workflow if none runs.
	if err := c.Wallets.StartRun(ctx, wallet.RunInput{RunID: id, Resume: true}); err != nil {
		return status, err
	}
	status, err = c.Wallets.ResumeRun(ctx, id)
	if errors.Is(err, starter.ErrRunNotRunning) {
		status, err = runs.Status(ctx, c.DB, id) // it is done, or was cancelled
		if err == nil && status.State == wallet.RunCancelled {
			err = &StateError{fmt.Sprintf("run %q was cancelled meanwhile: resume it once more", id)}
		}
	}
	return status, err
}

// notRunning is the error for a run whose workflow is not there to be paused or cancelled.
func notRunning(status wallet.RunStatus) error {
	var message string
	switch status.State {
	case wallet.RunDone:
		message = fmt.Sprintf("run %q is done: there is nothing to stop", status.RunID)
	case wallet.RunCancelled:
		message = fmt.Sprintf("run %q is already cancelled", status.RunID)
	default:
		message = fmt.Sprintf("run %q is %s and has no running workflow: resume it first", status.RunID, status.State)
	}
	return &StateError{message}
}
