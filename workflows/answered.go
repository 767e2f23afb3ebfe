package workflows

import (
	"fmt"
	"time"

	commonpb "go.temporal.io/api/common/v1"
	enumspb "go.temporal.io/api/enums/v1"
	failurepb "go.temporal.io/api/failure/v1"
	historypb "go.temporal.io/api/history/v1"
	updatepb "go.temporal.io/api/update/v1"
	"go.temporal.io/sdk/converter"

	"github.com/valueledger/wallet"
	"github.com/valueledger/wallet/internal/service/payloads"
)

// Answered is a command or a transaction that a run has answered, or an accepted signal: what has an
// entry in the journal, unless Postgres has lost it.
type Answered struct {
	wallet.AssetRef // of a command
	wallet.Received
	Transaction *wallet.Transaction // else a command
	By          string
	EventID     int64
	At          time.Time // when it was accepted
}

// AnsweredBy reads what a run of WalletAsset, Lane or Transaction has answered from its history, or
// from the end of it. ref is the wallet of a WalletAsset.
func AnsweredBy(workflow string, history *historypb.History, ref wallet.AssetRef, from converter.DataConverter) ([]Answered, error) {
	switch workflow {
	case wallet.WorkflowLane:
		return answeredByLane(history, from)
	case wallet.WorkflowTransaction:
		return answeredByTransaction(history, from)
	}
	accepted, err := AcceptedCommands(history, ref, from)
	outcomes := outcomesOf(history)
	var all []Answered
	for _, a := range accepted {
		outcome, completed := outcomes[a.EventID]
		if a.By == byUpdate && !(completed && isRecorded(outcome.GetFailure())) {
			continue
		}
		all = append(all, Answered{AssetRef: ref, Received: a.Received, By: a.By, EventID: a.EventID, At: a.At})
	}
	return all, err
}

// outcomesOf are those of the updates, by the event that accepted them. What a reset admits again was
// accepted by the run before, and may have been answered there.
func outcomesOf(history *historypb.History) map[int64]*updatepb.Outcome {
	outcomes := map[int64]*updatepb.Outcome{}
	for _, event := range history.GetEvents() {
		if event.GetEventType() == enumspb.EVENT_TYPE_WORKFLOW_EXECUTION_UPDATE_ADMITTED {
			outcomes[event.GetEventId()] = &updatepb.Outcome{}
		}
		if completed := event.GetWorkflowExecutionUpdateCompletedEventAttributes(); completed != nil {
			outcomes[completed.GetAcceptedEventId()] = completed.GetOutcome()
		}
	}
	return outcomes
}

// isRecorded reports whether what ended so has an entry: it was applied, or refused on record.
func isRecorded(f *failurepb.Failure) bool {
	return f == nil || f.GetApplicationFailureInfo().GetType() == wallet.FailureUnappliedCommand
}

func answeredByLane(history *historypb.History, from converter.DataConverter) (all []Answered, err error) {
	outcomes := outcomesOf(history)
	for _, event := range history.GetEvents() {
		request := event.GetWorkflowExecutionUpdateAcceptedEventAttributes().GetAcceptedRequest()
		answers := outcomes[event.GetEventId()].GetSuccess()
		if request == nil || answers == nil {
			continue
		}
		answered, err := laneAnswered(request.GetInput().GetArgs(), answers, from)
		if err != nil {
			return nil, fmt.Errorf("event %d of the history: %w", event.GetEventId(), err)
		}
		for _, a := range answered {
			a.By, a.EventID, a.At = "lane", event.GetEventId(), event.GetEventTime().AsTime()
			all = append(all, a)
		}
	}
	return all, nil
}

// laneAnswered are the items of an update that the lane has answered; the others were returned.
func laneAnswered(args, success *commonpb.Payloads, from converter.DataConverter) (all []Answered, err error) {
	payload, err := rawValue(args, from)
	if err != nil {
		return nil, err
	}
	items, err := decodeItems(payload)
	if err != nil {
		return nil, err
	}
	encoded, err := rawValue(success, from)
	if err != nil {
		return nil, err
	}
	answers, err := wallet.SplitLaneAnswers(encoded.Payload().GetData(), len(items))
	if err != nil {
		return nil, err
	}
	for i, data := range items {
		answer, err := wallet.ReadLaneAnswer(answers[i])
		if err != nil {
			return nil, err
		}
		if answer.Facts == nil {
			continue
		}
		item, err := wallet.DecodeLaneItem(data)
		if err != nil {
			return nil, err
		}
		a := Answered{Transaction: item.Transaction}
		if item.ApplyCommandInput != nil {
			a.AssetRef, a.Received = item.AssetRef, wallet.Received{Command: item.Command}
		}
		all = append(all, a)
	}
	return all, nil
}

// answeredByTransaction is the transaction of a run that has ended. One that a schedule started may have
// its id in the answer alone.
func answeredByTransaction(history *historypb.History, from converter.DataConverter) ([]Answered, error) {
	var input, output *commonpb.Payloads
	a := Answered{By: "transaction"}
	for _, event := range history.GetEvents() {
		switch event.GetEventType() {
		case enumspb.EVENT_TYPE_WORKFLOW_EXECUTION_STARTED:
			input, a.EventID, a.At = event.GetWorkflowExecutionStartedEventAttributes().GetInput(), event.GetEventId(), event.GetEventTime().AsTime()
		case enumspb.EVENT_TYPE_WORKFLOW_EXECUTION_COMPLETED:
			output = event.GetWorkflowExecutionCompletedEventAttributes().GetResult()
		case enumspb.EVENT_TYPE_WORKFLOW_EXECUTION_FAILED:
			if f := event.GetWorkflowExecutionFailedEventAttributes().GetFailure(); isRecorded(f) {
				output = f.GetApplicationFailureInfo().GetDetails()
			}
		}
	}
	if output == nil {
		return nil, nil
	}
	answer, err := rawValue(output, from)
	if err != nil {
		return nil, err
	}
	var result wallet.TransactionResult
	if err := converter.GetDefaultDataConverter().FromPayload(answer.Payload(), &result); err != nil { // it is decrypted
		return nil, err
	}
	payload, err := rawValue(input, from)
	if err != nil {
		return nil, err
	}
	data, err := payloads.JSON(payload)
	if err != nil {
		return nil, err
	}
	t, err := wallet.DecodeTransaction(data, result.TransactionID)
	a.Transaction = &t
	return []Answered{a}, err
}
