package workflows

import (
	"errors"
	"fmt"

	"go.temporal.io/sdk/converter"
	"go.temporal.io/sdk/workflow"

	"github.com/valueledger/wallet/codec"
)

// What a worker does with payloads that it has no key for.

// panicIfEncrypted fails the workflow task if this worker has no key for an input or an update.
// Validators refuse such updates, so an update only gets here on replay: a worker that had the
// key accepted it. If a run's input is encrypted, the installation uses encryption.
func panicIfEncrypted(payload converter.RawValue) {
	if err := codec.Unreadable(payload.Payload()); err != nil {
		panic(err)
	}
}

// panicWithoutKey fails the workflow task if a signal is encrypted with a key that is missing among
// this worker's keys. That is the operator's mistake, not the caller's, so the command is
// neither refused nor recorded as malformed: it waits, visibly, for a worker that has the key.
//
// A worker without any keys treats the signal as malformed, as an encoding that nobody
// supports. Otherwise one stray client could stop a wallet for everyone. The side effect
// records this in the history, so a worker with keys that replays the run does not read a
// command there.
func (w *walletAsset) panicWithoutKey(ctx workflow.Context, payload converter.RawValue) {
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
	defer func() { // if the history has no such side effect, a worker with the key accepted the signal
		if problem := recover(); problem != nil {
			panic(fmt.Errorf("%w (%v)", unreadable, problem))
		}
	}()
	workflow.SideEffect(ctx, func(workflow.Context) any { return "without keys" })
	w.withoutKeys = true
}
