package workflows

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	commonpb "go.temporal.io/api/common/v1"
	"go.temporal.io/sdk/converter"
	"go.temporal.io/sdk/workflow"

	"github.com/valueledger/wallet"
	"github.com/valueledger/wallet/codec"
	"github.com/valueledger/wallet/internal/service/failure"
	"github.com/valueledger/wallet/internal/service/payloads"
)

// commandHelp is what the user of a form must know besides an example.
var commandHelp = func() string {
	var types []string
	for _, k := range wallet.CallersKinds() {
		name := string(k.Type)
		if !slices.Contains(k.Required, "amount") && !slices.Contains(k.Optional, "amount") {
			name += " (takes no amount)"
		}
		types = append(types, name)
	}
	return ". Types: " + strings.Join(types, ", ") + ". The amount is a string. An id counts once."
}()

// setHandlers registers the signals, updates and queries of a wallet. It takes commands as raw
// payloads: the SDK drops a signal that it cannot decode, and rejects such an update with an
// error that does not show the value.
func (w *walletAsset) setHandlers(ctx workflow.Context) error {
	w.signals = workflow.GetSignalChannelWithOptions(ctx, wallet.SignalCommand, workflow.SignalChannelOptions{
		Description: `One command, without an answer: {"id": "order-7", "type": "add", "amount": "12.50"}` + commandHelp,
	})
	w.refreshes = workflow.GetSignalChannelWithOptions(ctx, wallet.SignalRefresh, workflow.SignalChannelOptions{
		Description: "Read the balance again: others have changed it. No arguments",
	})
	if err := workflow.SetUpdateHandlerWithOptions(ctx, wallet.UpdateApply, w.handleApply, workflow.UpdateHandlerOptions{
		Description: `One command, answered with its Result: {"id": "order-7", "type": "subtract", "amount": "12.50"}` + commandHelp,
		Validator: func(ctx workflow.Context, payload converter.RawValue) error {
			if err := w.checkPayload(ctx, payload); err != nil {
				return failure.Encode(err)
			}
			if _, err := decodeCommand(payload); err != nil {
				return failure.Encode(err)
			}
			return failure.Encode(w.checkRoom(payload, 1))
		},
	}); err != nil {
		return err
	}
	if err := workflow.SetUpdateHandlerWithOptions(ctx, wallet.UpdateApplyBatch, w.handleApplyBatch, workflow.UpdateHandlerOptions{
		Description: `1 to 500 commands, answered with their Results in order: [{"id": "order-7", "type": "add", "amount": "12.50"}]` + commandHelp,
		Validator:   w.validateBatch,
	}); err != nil {
		return err
	}
	if err := workflow.SetUpdateHandlerWithOptions(ctx, wallet.UpdateApplyBrief, w.handleApplyBrief, workflow.UpdateHandlerOptions{
		Description: "apply_batch with its answer in brief, for the Go client",
		Validator:   w.validateBatch,
	}); err != nil {
		return err
	}
	if err := workflow.SetQueryHandlerWithOptions(ctx, wallet.QueryState, func() (wallet.State, error) { return w.state(ctx) }, workflow.QueryHandlerOptions{
		Description: "The balance after the last handled command, and what is queued",
	}); err != nil {
		return err
	}
	return workflow.SetQueryHandlerWithOptions(ctx, wallet.QueryResult, w.result, workflow.QueryHandlerOptions{
		Description: `The Result of a recent command, by its id: "order-7"`,
	})
}

func (w *walletAsset) handleApply(ctx workflow.Context, payload converter.RawValue) (wallet.Result, error) {
	panicIfEncrypted(payload)
	command, err := decodeCommand(payload)
	if err != nil {
		return wallet.Result{}, failure.Encode(err)
	}
	u, err := w.submit(ctx, payload, []wallet.Command{command})
	if err != nil {
		return wallet.Result{}, err
	}
	return u.results[0], failure.Encode(u.results[0].Err())
}

func (w *walletAsset) handleApplyBatch(ctx workflow.Context, payload converter.RawValue) ([]wallet.Result, error) {
	panicIfEncrypted(payload)
	commands, err := w.batch(payload)
	if err != nil {
		return nil, failure.Encode(err)
	}
	u, err := w.submit(ctx, payload, commands)
	return u.results, err
}

// handleApplyBrief answers with wallet.Facts. A []byte goes into the history as it is, Facts would
// be base64.
func (w *walletAsset) handleApplyBrief(ctx workflow.Context, payload converter.RawValue) ([]byte, error) {
	panicIfEncrypted(payload)
	commands, err := w.batch(payload)
	if err != nil {
		return nil, failure.Encode(err)
	}
	u, err := w.submit(ctx, payload, commands)
	if err != nil {
		return nil, err
	}
	return wallet.FactsOf(commands, u.results), nil
}

// receiveSignals moves every signal that has arrived into the queue. It never blocks: a reader
// blocked in Receive would hold a signal that the check before continue-as-new cannot see.
func (w *walletAsset) receiveSignals(ctx workflow.Context) {
	earlier := w.signalsReceived
	defer func() { w.countReceived("signal", w.signalsReceived-earlier) }()
	for {
		var payload converter.RawValue
		if !w.signals.ReceiveAsync(&payload) {
			return
		}
		w.signalsReceived++
		w.panicWithoutKey(ctx, payload)
		w.enqueue(receivedSignal(payload), nil)
	}
}

// receiveRefreshes takes the signals that others have changed the wallet's row. One look at it
// is enough for all of them.
func (w *walletAsset) receiveRefreshes() {
	for w.refreshes.ReceiveAsync(nil) {
		w.signalsReceived++
		w.carried.Stale = w.ensured
	}
}

func (w *walletAsset) state(ctx workflow.Context) (wallet.State, error) {
	a := w.assetAt(workflow.Now(ctx))
	return wallet.State{
		UserID: w.ref.UserID, Currency: w.ref.Currency,
		Total: a.Owned(), Hold: a.Reserved(), Available: a.Available(), Due: a.Due,
		Version: a.Version, Position: a.Position, Hash: a.Hash,
		OpenHolds: a.OpenHolds, NextExpiry: a.NextExpiry, Frozen: a.Frozen, FreezeEnds: a.FreezeEnds, Closed: a.Closed, CreditLimit: a.CreditLimit, Thresholds: a.Thresholds,
		OpenGrants: a.OpenGrants, Granted: a.Granted, NextGrantExpiry: a.NextGrantExpiry, DueGrants: a.DueGrants,
		Queue: len(w.queue) + w.signals.Len(), Counts: w.carried.Counts,
	}, nil
}

func (w *walletAsset) result(payload converter.RawValue) (wallet.Result, error) {
	var commandID string
	data, err := payloads.JSON(payload)
	if err != nil || json.Unmarshal(data, &commandID) != nil || commandID == "" {
		return wallet.Result{}, errors.New(`the query takes the id of a command, as a JSON string: "order-7"`)
	}
	for i := len(w.carried.Recent) - 1; i >= 0; i-- {
		if r := w.carried.Recent[i]; r.CommandID == commandID || r.SentID == commandID {
			return w.carried.Recent[i], nil
		}
	}
	return wallet.Result{}, fmt.Errorf("no recent result for command %q: the last %d are kept here, all are in the journal (\"wallet commands\"), and sending the command again gives its first answer", commandID, maxRecent)
}

// validateBatch refuses a batch before it leaves a trace.
func (w *walletAsset) validateBatch(ctx workflow.Context, payload converter.RawValue) error {
	if err := w.checkPayload(ctx, payload); err != nil {
		return failure.Encode(err)
	}
	commands, err := decodeBatch(payload)
	if err != nil {
		return failure.Encode(err)
	}
	if err := w.checkRoom(payload, len(commands)); err != nil {
		return failure.Encode(err)
	}
	w.valid = validBatch{payload.Payload(), commands}
	return nil
}

// validBatch is what the last validator has read of an update, for its handler, which comes next:
// half of a batch's time in the workflow is reading it. There is none on replay.
type validBatch struct {
	payload  *commonpb.Payload
	commands []wallet.Command
}

// batch is decodeBatch for a handler.
func (w *walletAsset) batch(payload converter.RawValue) ([]wallet.Command, error) {
	valid := w.valid
	w.valid = validBatch{}
	if valid.payload != nil && valid.payload == payload.Payload() {
		return valid.commands, nil
	}
	return decodeBatch(payload)
}

func decodeCommand(payload converter.RawValue) (wallet.Command, error) {
	data, err := payloads.JSON(payload)
	if err != nil {
		return wallet.Command{}, err
	}
	return wallet.DecodeCommand(data)
}

// decodeSignal treats an encrypted payload like any other encoding that is not JSON. On a
// worker with keys, panicWithoutKey has already stopped such a signal.
func decodeSignal(payload converter.RawValue) (wallet.Command, error) {
	command, err := decodeCommand(payload)
	var unreadable *codec.UnreadableError
	if errors.As(err, &unreadable) {
		err = wallet.InvalidEncoding(codec.Encoding, converter.MetadataEncodingJSON)
	}
	return command, err
}

func decodeBatch(payload converter.RawValue) ([]wallet.Command, error) {
	data, err := payloads.JSON(payload)
	if err != nil {
		return nil, err
	}
	return wallet.DecodeBatch(data)
}
