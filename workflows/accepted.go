package workflows

import (
	"fmt"
	"time"

	commonpb "go.temporal.io/api/common/v1"
	enumspb "go.temporal.io/api/enums/v1"
	historypb "go.temporal.io/api/history/v1"
	"go.temporal.io/sdk/converter"

	"github.com/valueledger/wallet"
	"github.com/valueledger/wallet/codec"
	"github.com/valueledger/wallet/internal/service/payloads"
)

const byUpdate = "update"

// Accepted is a command that a run of a wallet's workflow has accepted, applied or not.
type Accepted struct {
	wallet.Received
	By      string // signal, update, or continue-as-new from the run before
	EventID int64
	At      time.Time
}

// AcceptedCommands reads all commands that a run of a wallet's workflow has accepted from its
// history, in its order. It fails if one is encrypted with a key that the converter lacks. A run
// that was started for another wallet, under this one's id, has failed at once and accepted none:
// nobody knows which of the two its commands were for.
func AcceptedCommands(history *historypb.History, ref wallet.AssetRef, from converter.DataConverter) (all []Accepted, err error) {
	for _, event := range history.GetEvents() {
		if started := event.GetWorkflowExecutionStartedEventAttributes(); started != nil && isForAnother(started, ref, from) {
			return nil, nil
		}
		by, commands := "", []wallet.Received(nil)
		switch event.GetEventType() {
		case enumspb.EVENT_TYPE_WORKFLOW_EXECUTION_STARTED:
			by = "continue-as-new"
			commands, err = carriedCommands(event.GetWorkflowExecutionStartedEventAttributes(), from)
		case enumspb.EVENT_TYPE_WORKFLOW_EXECUTION_SIGNALED:
			signal := event.GetWorkflowExecutionSignaledEventAttributes()
			if signal.GetSignalName() != wallet.SignalCommand {
				continue
			}
			by = "signal"
			commands, err = signalledCommand(signal.GetInput(), from)
		case enumspb.EVENT_TYPE_WORKFLOW_EXECUTION_UPDATE_ACCEPTED, enumspb.EVENT_TYPE_WORKFLOW_EXECUTION_UPDATE_ADMITTED:
			// After a reset, an update of the old run is first admitted, then accepted without its
			// request.
			request := event.GetWorkflowExecutionUpdateAcceptedEventAttributes().GetAcceptedRequest()
			if admitted := event.GetWorkflowExecutionUpdateAdmittedEventAttributes(); admitted != nil {
				request = admitted.GetRequest()
			}
			if request == nil {
				continue
			}
			by = byUpdate
			commands, err = updateCommands(request.GetInput().GetName(), request.GetInput().GetArgs(), from)
		}
		if err != nil {
			return nil, fmt.Errorf("event %d of the history: %w", event.GetEventId(), err)
		}
		for _, received := range commands {
			all = append(all, Accepted{received, by, event.GetEventId(), event.GetEventTime().AsTime()})
		}
	}
	return all, nil
}

func isForAnother(started *historypb.WorkflowExecutionStartedEventAttributes, ref wallet.AssetRef, from converter.DataConverter) bool {
	payload, err := rawValue(started.GetInput(), from)
	if err != nil {
		return false // its commands are probably unreadable too
	}
	input, _, err := decodeInput(payload, false)
	return err == nil && input.AssetRef != ref
}

func carriedCommands(started *historypb.WorkflowExecutionStartedEventAttributes, from converter.DataConverter) ([]wallet.Received, error) {
	if started.GetContinuedExecutionRunId() == "" {
		return nil, nil
	}
	payload, err := rawValue(started.GetInput(), from)
	if err != nil {
		return nil, err
	}
	input, _, err := decodeInput(payload, true)
	if err != nil || input.Carried == nil {
		return nil, err
	}
	return input.Carried.Queue, nil
}

func signalledCommand(args *commonpb.Payloads, from converter.DataConverter) ([]wallet.Received, error) {
	payload, err := rawValue(args, from)
	if err != nil {
		return nil, err
	}
	return []wallet.Received{receivedSignal(payload)}, nil
}

func updateCommands(name string, args *commonpb.Payloads, from converter.DataConverter) (all []wallet.Received, err error) {
	payload, err := rawValue(args, from)
	if err != nil {
		return nil, err
	}
	var commands []wallet.Command
	if name == wallet.UpdateApply {
		commands = make([]wallet.Command, 1)
		commands[0], err = decodeCommand(payload)
	} else {
		commands, err = decodeBatch(payload)
	}
	if err != nil { // a worker of another version accepted it
		return []wallet.Received{malformed(payload, wallet.Command{}, err)}, nil
	}
	for _, command := range commands {
		all = append(all, wallet.Received{Command: command})
	}
	return all, nil
}

// rawValue is the first argument, decrypted. As on a worker, a program without keys leaves what
// is encrypted as it is.
func rawValue(args *commonpb.Payloads, from converter.DataConverter) (value converter.RawValue, err error) {
	if len(args.GetPayloads()) == 0 {
		return value, nil
	}
	if err := from.FromPayload(args.GetPayloads()[0], &value); err != nil {
		return value, err
	}
	if unreadable, ok := codec.Unreadable(value.Payload()).(*codec.UnreadableError); ok && !unreadable.NoKeys() {
		return value, unreadable
	}
	return value, nil
}

// receivedSignal is the command of a signal, or the record of one that is malformed.
func receivedSignal(payload converter.RawValue) wallet.Received {
	command, err := decodeSignal(payload)
	if err != nil {
		return malformed(payload, command, err)
	}
	return wallet.Received{Command: command}
}

func malformed(payload converter.RawValue, readable wallet.Command, cause error) wallet.Received {
	return wallet.Malformed(payload.Payload().GetData(), payloads.Encoding(payload.Payload()), readable, cause)
}
