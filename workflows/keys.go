package workflows

import (
	"errors"
	"fmt"

	"go.temporal.io/sdk/converter"
	"go.temporal.io/sdk/workflow"

	"github.com/valueledger/wallet/codec"
)

// What a worker does with payloads that are encrypted under a key that it does not have.

// mustBeReadable fails the workflow task of an input or an update that this worker has no
// key for. Validators refuse such updates, so it is replayed: a worker that had the key
// took it. A run whose input is encrypted belongs to an installation that encrypts.
func mustBeReadable(payload converter.RawValue) {
	if err := codec.Unreadable(payload.Payload()); err != nil {
		panic(err)
	}
}

// mustHaveKey fails the workflow task of a signal that is encrypted with a key that this
// worker lacks among its own. It is the operator's mistake, not the caller's, so the
// command is neither refused nor recorded as malformed: it waits, in sight, for a worker
// that has the key.
//
// A worker without any keys takes it for what it is there, an encoding that nobody
// understands, or one stray client would stop a wallet for all. The history says so, and
// no worker with keys reads another command in that place when it replays the run.
func (w *walletAsset) mustHaveKey(ctx workflow.Context, payload converter.RawValue) {
	var unreadable *codec.UnreadableError
	if !errors.As(codec.Unreadable(payload.Payload()), &unreadable) {
		return
	}
	if !unreadable.NoKeys() {
		panic(unreadable)
	}
	if w.withoutKeys {
		return
	}
	defer func() { // where the history has nothing of it, a worker that had the key took the signal
		if problem := recover(); problem != nil {
			panic(fmt.Errorf("%w (%v)", unreadable, problem))
		}
	}()
	workflow.SideEffect(ctx, func(workflow.Context) any { return "without keys" })
	w.withoutKeys = true
}
