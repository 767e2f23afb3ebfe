package workflows_test

import (
	"testing"

	"github.com/stretchr/testify/require"
	commonpb "go.temporal.io/api/common/v1"
	enumspb "go.temporal.io/api/enums/v1"
	failurepb "go.temporal.io/api/failure/v1"
	historypb "go.temporal.io/api/history/v1"
	updatepb "go.temporal.io/api/update/v1"
	"go.temporal.io/sdk/converter"

	"github.com/valueledger/wallet"
	"github.com/valueledger/wallet/workflows"
)

// TestWhatWasAnsweredIsInTheHistories has updates that were applied, refused on record, refused without a
// trace, and never answered; items of a lane that it answered and returned; and transactions.
func TestWhatWasAnsweredIsInTheHistories(t *testing.T) {
	dc := converter.GetDefaultDataConverter()
	ref := wallet.AssetRef{UserID: "u1", Currency: "USD"}
	args := func(value any) *commonpb.Payloads {
		encoded, err := dc.ToPayloads(value)
		require.NoError(t, err)
		return encoded
	}
	add := func(id string) wallet.Command {
		return wallet.Command{ID: id, Type: wallet.TypeAdd, Amount: wallet.MustAmount("1")}
	}
	accepted := func(event int64, name string, value any) *historypb.HistoryEvent {
		return &historypb.HistoryEvent{EventId: event, EventType: enumspb.EVENT_TYPE_WORKFLOW_EXECUTION_UPDATE_ACCEPTED, Attributes: &historypb.HistoryEvent_WorkflowExecutionUpdateAcceptedEventAttributes{
			WorkflowExecutionUpdateAcceptedEventAttributes: &historypb.WorkflowExecutionUpdateAcceptedEventAttributes{
				AcceptedRequest: &updatepb.Request{Input: &updatepb.Input{Name: name, Args: args(value)}}},
		}}
	}
	completed := func(event int64, outcome *updatepb.Outcome) *historypb.HistoryEvent {
		return &historypb.HistoryEvent{EventType: enumspb.EVENT_TYPE_WORKFLOW_EXECUTION_UPDATE_COMPLETED, Attributes: &historypb.HistoryEvent_WorkflowExecutionUpdateCompletedEventAttributes{
			WorkflowExecutionUpdateCompletedEventAttributes: &historypb.WorkflowExecutionUpdateCompletedEventAttributes{AcceptedEventId: event, Outcome: outcome},
		}}
	}
	success := func(value any) *updatepb.Outcome {
		return &updatepb.Outcome{Value: &updatepb.Outcome_Success{Success: args(value)}}
	}
	failed := func(kind string, details any) *failurepb.Failure {
		return &failurepb.Failure{FailureInfo: &failurepb.Failure_ApplicationFailureInfo{ApplicationFailureInfo: &failurepb.ApplicationFailureInfo{Type: kind, Details: args(details)}}}
	}
	failure := func(kind string) *updatepb.Outcome {
		return &updatepb.Outcome{Value: &updatepb.Outcome_Failure{Failure: failed(kind, "")}}
	}
	ids := func(workflow string, events ...*historypb.HistoryEvent) (ids []string) {
		answered, err := workflows.AnsweredBy(workflow, &historypb.History{Events: events}, ref, dc)
		require.NoError(t, err)
		for _, a := range answered {
			if a.Transaction != nil {
				ids = append(ids, "transaction "+a.Transaction.ID)
			} else {
				require.Equal(t, ref, a.AssetRef)
				ids = append(ids, a.Command.ID)
			}
		}
		return ids
	}

	require.Equal(t, []string{"applied", "refused"}, ids(wallet.WorkflowWalletAsset,
		accepted(1, wallet.UpdateApply, add("applied")), completed(1, success("")),
		accepted(3, wallet.UpdateApply, add("refused")), completed(3, failure(wallet.FailureUnappliedCommand)),
		accepted(5, wallet.UpdateApply, add("invalid")), completed(5, failure(wallet.FailureInvalidCommand)),
		accepted(7, wallet.UpdateApply, add("waits")),
	))

	move := func(id string) *wallet.Transaction {
		return &wallet.Transaction{ID: id, Commands: []wallet.Leg{
			{AssetRef: ref, Command: wallet.Command{Type: wallet.TypeSubtract, Amount: wallet.MustAmount("1")}},
			{AssetRef: wallet.AssetRef{UserID: "u2", Currency: "USD"}, Command: wallet.Command{Type: wallet.TypeAdd, Amount: wallet.MustAmount("1")}},
		}}
	}
	items := []wallet.LaneItem{
		{ApplyCommandInput: &wallet.ApplyCommandInput{AssetRef: ref, Command: add("in a lane")}},
		{ApplyCommandInput: &wallet.ApplyCommandInput{AssetRef: ref, Command: add("returned")}},
		{Transaction: move("in a lane")}, {Transaction: move("of another")},
	}
	answers := []wallet.LaneAnswer{{Facts: wallet.Facts("x")}, {}, {Facts: wallet.Facts("x")}, {IDConflict: true}}
	var encoded []byte
	for _, a := range answers {
		encoded = a.AppendTo(encoded)
	}
	require.Equal(t, []string{"in a lane", "transaction in a lane"}, ids(wallet.WorkflowLane,
		accepted(1, wallet.UpdateApplyLane, items), completed(1, success(encoded)), accepted(3, wallet.UpdateApplyLane, items)))

	started := &historypb.HistoryEvent{EventType: enumspb.EVENT_TYPE_WORKFLOW_EXECUTION_STARTED, Attributes: &historypb.HistoryEvent_WorkflowExecutionStartedEventAttributes{
		WorkflowExecutionStartedEventAttributes: &historypb.WorkflowExecutionStartedEventAttributes{Input: args(move(""))},
	}}
	ended := func(f *failurepb.Failure) *historypb.HistoryEvent {
		return &historypb.HistoryEvent{EventType: enumspb.EVENT_TYPE_WORKFLOW_EXECUTION_FAILED, Attributes: &historypb.HistoryEvent_WorkflowExecutionFailedEventAttributes{
			WorkflowExecutionFailedEventAttributes: &historypb.WorkflowExecutionFailedEventAttributes{Failure: f},
		}}
	}
	result := wallet.TransactionResult{TransactionID: "schedule/rent/2026-11-01T00:00:00Z", Status: wallet.StatusApplied}
	require.Equal(t, []string{"transaction " + result.TransactionID}, ids(wallet.WorkflowTransaction, started, &historypb.HistoryEvent{
		EventType: enumspb.EVENT_TYPE_WORKFLOW_EXECUTION_COMPLETED, Attributes: &historypb.HistoryEvent_WorkflowExecutionCompletedEventAttributes{
			WorkflowExecutionCompletedEventAttributes: &historypb.WorkflowExecutionCompletedEventAttributes{Result: args(result)},
		}}), "the id that a schedule has given it is in the answer")
	require.Equal(t, []string{"transaction " + result.TransactionID}, ids(wallet.WorkflowTransaction, started, ended(failed(wallet.FailureUnappliedCommand, result))))
	require.Empty(t, ids(wallet.WorkflowTransaction, started, ended(failed(wallet.FailureInvalidCommand, result))))
	require.Empty(t, ids(wallet.WorkflowTransaction, started), "it goes on")
}
