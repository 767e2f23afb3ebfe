package starter

import (
	"context"
	"errors"
	"fmt"

	"go.temporal.io/api/serviceerror"
	"go.temporal.io/sdk/client"
	"golang.org/x/sync/semaphore"

	"github.com/valueledger/wallet"
	"github.com/valueledger/wallet/internal/service/resourceid"
)

// Send signals one command and does not wait for its Result: once it returns nil the command is
// durable and will be handled in order of arrival. If its context ends first, it returns a
// *NoAnswerError. Calls for one wallet are sent one after the other. If the wallet's history is so
// full that Temporal may soon end its run, which only happens without workers, Send waits. If its
// context ends meanwhile, the error is wallet.ErrBusy.
func (c *Client) Send(ctx context.Context, userID, currency string, command wallet.Command) error {
	if err := validate(userID, currency, command); err != nil {
		return err
	}
	ref := wallet.AssetRef{UserID: userID, Currency: currency}
	options := c.startOptions(ref)
	ctx = resourceid.For(ctx, options.ID)
	leave, err := c.enter(ctx, ref)
	if err == nil {
		defer leave()
		var busy error
		_, err = retry(ctx, c, func() (client.WorkflowRun, error) {
			if busy = c.checkHistory(ctx, ref, command.Size()); busy != nil {
				return nil, busy
			}
			run, err := c.temporal.SignalWithStartWorkflow(ctx, options.ID, wallet.SignalCommand, command, options, wallet.WorkflowWalletAsset, c.input(ref))
			if withoutLabel(err, &options) {
				run, err = c.temporal.SignalWithStartWorkflow(ctx, options.ID, wallet.SignalCommand, command, options, wallet.WorkflowWalletAsset, c.input(ref))
			}
			return run, err
		})
		if errors.Is(busy, wallet.ErrBusy) {
			err = busy
		}
	}
	if gaveUp(ctx, err) && !errors.Is(err, wallet.ErrBusy) {
		missing := c.noAnswer(ctx, ref, command.ID)
		missing.Signal = true
		return missing
	}
	if err != nil {
		return fmt.Errorf("signal command %q to the %s wallet of %q: %w", command.ID, currency, userID, err)
	}
	return nil
}

// gate sends one signal to a wallet at a time. Concurrent signals gain nothing, because the
// server accepts them one by one, and as few as eight senders keep the server's lock on the
// workflow so busy that the workflow's own tasks, which wait at a lower priority, never reach a
// worker: measured on Temporal 1.29.1, 10,000 signals went in before the first was handled, and
// that is the server's limit for one run.
type gate struct {
	*semaphore.Weighted
	users int
}

// enter waits for a wallet's gate; leave opens it for the next.
func (c *Client) enter(ctx context.Context, ref wallet.AssetRef) (leave func(), err error) {
	c.mu.Lock()
	g := c.gates[ref]
	if g == nil {
		g = &gate{Weighted: semaphore.NewWeighted(1)}
		c.gates[ref] = g
	}
	g.users++
	c.mu.Unlock()
	done := func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		if g.users--; g.users == 0 {
			delete(c.gates, ref)
		}
	}
	if err := g.Acquire(ctx, 1); err != nil {
		done()
		return nil, err
	}
	return func() { g.Release(1); done() }, nil
}

// signalsLimit is Temporal's message for a run's 10,001st signal. It comes as an
// InvalidArgument like a real mistake, so only its text distinguishes it. It is temporary: the
// wallet continues as new after 2,000 signals, as soon as a worker gets to it.
const signalsLimit = "exceeded workflow execution limit for signal events"

func isSignalsLimit(err error) bool {
	var argument *serviceerror.InvalidArgument
	return errors.As(err, &argument) && argument.Message == signalsLimit
}
