package workflows_test

import (
	"encoding/json"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	historypb "go.temporal.io/api/history/v1"
	"go.temporal.io/sdk/converter"
	"go.temporal.io/sdk/interceptor"
	"go.temporal.io/sdk/worker"
	"go.temporal.io/sdk/workflow"

	"github.com/valueledger/wallet"
	"github.com/valueledger/wallet/internal/service/failure"
	"github.com/valueledger/wallet/internal/service/replay"
	"github.com/valueledger/wallet/workflows"
)

// TestAReplayGivesTheRecordedAnswers replays histories and compares what the update handlers
// return with what the history says they returned, byte for byte. TestAnswersOutliveTheRules in
// internal/dev/mutations runs it with different rules.
func TestAReplayGivesTheRecordedAnswers(t *testing.T) {
	files, err := filepath.Glob("testdata/wallet_asset*.json")
	require.NoError(t, err)
	compared, refused := 0, 0
	for _, path := range files {
		if filepath.Base(path) == "wallet_asset_without_keys_v1.json" { // has no updates
			continue
		}
		history, err := replay.Load(path)
		require.NoError(t, err)
		given := &answersGiven{}
		replayer, err := worker.NewWorkflowReplayerWithOptions(worker.WorkflowReplayerOptions{Interceptors: []interceptor.WorkerInterceptor{given}})
		require.NoError(t, err)
		workflows.Register(replayer)
		var ref wallet.AssetRef
		started := history.Events[0].GetWorkflowExecutionStartedEventAttributes()
		require.NoError(t, json.Unmarshal(started.Input.Payloads[0].Data, &ref))
		require.NoError(t, replayer.ReplayWorkflowHistoryWithOptions(nil, history, worker.ReplayWorkflowHistoryOptions{
			OriginalExecution: workflow.Execution{ID: wallet.WorkflowID(ref.UserID, ref.Currency), RunID: started.OriginalExecutionRunId},
		}))
		var recorded []string
		for _, event := range history.Events {
			if done := event.GetWorkflowExecutionUpdateCompletedEventAttributes(); done != nil {
				recorded = append(recorded, recordedAnswer(done))
				if done.GetOutcome().GetFailure() != nil {
					refused++
				}
			}
		}
		require.Equal(t, recorded, given.answers, path)
		compared += len(recorded)
	}
	require.Greater(t, compared, 8)
	require.Positive(t, refused)
}

func recordedAnswer(done *historypb.WorkflowExecutionUpdateCompletedEventAttributes) string {
	if failed := done.GetOutcome().GetFailure(); failed != nil {
		details := failed.GetApplicationFailureInfo().GetDetails().GetPayloads()
		return string(details[0].GetData())
	}
	return string(done.GetOutcome().GetSuccess().GetPayloads()[0].GetData())
}

// answersGiven records what the update handlers return, as payloads.
type answersGiven struct {
	interceptor.WorkerInterceptorBase
	answers []string
}

func (g *answersGiven) InterceptWorkflow(_ workflow.Context, next interceptor.WorkflowInboundInterceptor) interceptor.WorkflowInboundInterceptor {
	return &answersInbound{interceptor.WorkflowInboundInterceptorBase{Next: next}, g}
}

type answersInbound struct {
	interceptor.WorkflowInboundInterceptorBase
	given *answersGiven
}

func (i *answersInbound) ExecuteUpdate(ctx workflow.Context, in *interceptor.UpdateInput) (any, error) {
	value, err := i.Next.ExecuteUpdate(ctx, in)
	answer := value
	if err != nil {
		answer = failure.Decode(err)
		if unapplied, ok := answer.(*wallet.UnappliedError); ok {
			answer = unapplied.Result
		}
	}
	payload, encodingErr := converter.GetDefaultDataConverter().ToPayload(answer)
	if encodingErr != nil {
		return value, encodingErr
	}
	i.given.answers = append(i.given.answers, string(payload.GetData()))
	return value, err
}
