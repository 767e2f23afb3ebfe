package workflows_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	commonpb "go.temporal.io/api/common/v1"
	enumspb "go.temporal.io/api/enums/v1"
	historypb "go.temporal.io/api/history/v1"
	updatepb "go.temporal.io/api/update/v1"
	"go.temporal.io/sdk/converter"

	"github.com/valueledger/wallet"
	"github.com/valueledger/wallet/workflows"
)

// TestAcceptedCommandsAreAllThatARunWasGiven has a run that continues another, with a queue.
func TestAcceptedCommandsAreAllThatARunWasGiven(t *testing.T) {
	dc := converter.GetDefaultDataConverter()
	args := func(value any) *commonpb.Payloads {
		encoded, err := dc.ToPayloads(value)
		require.NoError(t, err)
		return encoded
	}
	add := func(id string) wallet.Command {
		return wallet.Command{ID: id, Type: wallet.TypeAdd, Amount: wallet.MustAmount("1")}
	}
	started := func(before string) *historypb.HistoryEvent {
		return &historypb.HistoryEvent{EventType: enumspb.EVENT_TYPE_WORKFLOW_EXECUTION_STARTED, Attributes: &historypb.HistoryEvent_WorkflowExecutionStartedEventAttributes{
			WorkflowExecutionStartedEventAttributes: &historypb.WorkflowExecutionStartedEventAttributes{ContinuedExecutionRunId: before, Input: args(workflows.WalletAssetInput{
				AssetRef: wallet.AssetRef{UserID: "u1", Currency: "USD"}, Carried: &workflows.Carried{LastActivity: time.Now(), Queue: []wallet.Received{{Command: add("carried")}}},
			})},
		}}
	}
	signal := func(name string, input *commonpb.Payloads) *historypb.HistoryEvent {
		return &historypb.HistoryEvent{EventType: enumspb.EVENT_TYPE_WORKFLOW_EXECUTION_SIGNALED, Attributes: &historypb.HistoryEvent_WorkflowExecutionSignaledEventAttributes{
			WorkflowExecutionSignaledEventAttributes: &historypb.WorkflowExecutionSignaledEventAttributes{SignalName: name, Input: input},
		}}
	}
	update := func(name string, value any) *historypb.HistoryEvent {
		return &historypb.HistoryEvent{EventType: enumspb.EVENT_TYPE_WORKFLOW_EXECUTION_UPDATE_ACCEPTED, Attributes: &historypb.HistoryEvent_WorkflowExecutionUpdateAcceptedEventAttributes{
			WorkflowExecutionUpdateAcceptedEventAttributes: &historypb.WorkflowExecutionUpdateAcceptedEventAttributes{
				AcceptedRequest: &updatepb.Request{Input: &updatepb.Input{Name: name, Args: args(value)}}},
		}}
	}
	rest := []*historypb.HistoryEvent{
		signal(wallet.SignalCommand, args(add("signal"))), signal("another", args("x")), signal(wallet.SignalCommand, nil),
		update(wallet.UpdateApply, add("one")), update(wallet.UpdateApplyBatch, []wallet.Command{add("two"), add("three")}),
		update(wallet.UpdateApplyBrief, []wallet.Command{add("four")}), update(wallet.UpdateApply, "what an older version took"),
	}
	accepted := func(first *historypb.HistoryEvent) (ids []string) {
		all, err := workflows.AcceptedCommands(&historypb.History{Events: append([]*historypb.HistoryEvent{first}, rest...)}, wallet.AssetRef{UserID: "u1", Currency: "USD"}, dc)
		require.NoError(t, err)
		for _, c := range all {
			id := c.By + " " + c.Command.ID
			if c.Malformed != "" {
				id = c.By + " malformed"
			}
			ids = append(ids, id)
		}
		return ids
	}
	want := []string{"continue-as-new carried", "signal signal", "signal malformed", "update one", "update two", "update three", "update four", "update malformed"}
	require.Equal(t, want, accepted(started("the run before")))
	require.Equal(t, want[1:], accepted(started("")), "what a caller calls carried is none")
}

// TestAcceptedCommandsOfAResetRun has an update that was accepted after the point of a reset. In the
// new run the server puts its request into an event of its own, and none into the acceptance.
func TestAcceptedCommandsOfAResetRun(t *testing.T) {
	dc := converter.GetDefaultDataConverter()
	args, err := dc.ToPayloads(wallet.Command{ID: "reset", Type: wallet.TypeAdd, Amount: wallet.MustAmount("1")})
	require.NoError(t, err)
	all, err := workflows.AcceptedCommands(&historypb.History{Events: []*historypb.HistoryEvent{
		{EventId: 5, EventType: enumspb.EVENT_TYPE_WORKFLOW_EXECUTION_UPDATE_ADMITTED, Attributes: &historypb.HistoryEvent_WorkflowExecutionUpdateAdmittedEventAttributes{
			WorkflowExecutionUpdateAdmittedEventAttributes: &historypb.WorkflowExecutionUpdateAdmittedEventAttributes{
				Request: &updatepb.Request{Input: &updatepb.Input{Name: wallet.UpdateApply, Args: args}}, Origin: enumspb.UPDATE_ADMITTED_EVENT_ORIGIN_REAPPLY},
		}},
		{EventId: 9, EventType: enumspb.EVENT_TYPE_WORKFLOW_EXECUTION_UPDATE_ACCEPTED, Attributes: &historypb.HistoryEvent_WorkflowExecutionUpdateAcceptedEventAttributes{
			WorkflowExecutionUpdateAcceptedEventAttributes: &historypb.WorkflowExecutionUpdateAcceptedEventAttributes{},
		}},
	}}, wallet.AssetRef{UserID: "u1", Currency: "USD"}, dc)
	require.NoError(t, err)
	require.Len(t, all, 1)
	require.Equal(t, "reset", all[0].Command.ID)
	require.Empty(t, all[0].Malformed)
	require.Equal(t, "update", all[0].By)
	require.Equal(t, int64(5), all[0].EventID)
}

// TestARunForAnotherWalletHasAcceptedNothing has a signal-with-start whose input names another user
// than its workflow id: to send its command again could credit the wrong one.
func TestARunForAnotherWalletHasAcceptedNothing(t *testing.T) {
	dc := converter.GetDefaultDataConverter()
	input, err := dc.ToPayloads(wallet.AssetRef{UserID: "u2", Currency: "USD"})
	require.NoError(t, err)
	args, err := dc.ToPayloads(wallet.Command{ID: "a", Type: wallet.TypeAdd, Amount: wallet.MustAmount("1")})
	require.NoError(t, err)
	history := &historypb.History{Events: []*historypb.HistoryEvent{
		{EventType: enumspb.EVENT_TYPE_WORKFLOW_EXECUTION_STARTED, Attributes: &historypb.HistoryEvent_WorkflowExecutionStartedEventAttributes{
			WorkflowExecutionStartedEventAttributes: &historypb.WorkflowExecutionStartedEventAttributes{Input: input}}},
		{EventType: enumspb.EVENT_TYPE_WORKFLOW_EXECUTION_SIGNALED, Attributes: &historypb.HistoryEvent_WorkflowExecutionSignaledEventAttributes{
			WorkflowExecutionSignaledEventAttributes: &historypb.WorkflowExecutionSignaledEventAttributes{SignalName: wallet.SignalCommand, Input: args}}},
	}}
	all, err := workflows.AcceptedCommands(history, wallet.AssetRef{UserID: "u1", Currency: "USD"}, dc)
	require.NoError(t, err)
	require.Empty(t, all)
	all, err = workflows.AcceptedCommands(history, wallet.AssetRef{UserID: "u2", Currency: "USD"}, dc)
	require.NoError(t, err)
	require.Len(t, all, 1)
}
