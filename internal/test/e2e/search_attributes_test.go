package e2e

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	commonpb "go.temporal.io/api/common/v1"
	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/api/operatorservice/v1"
	taskqueuepb "go.temporal.io/api/taskqueue/v1"
	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/converter"
	"go.temporal.io/sdk/worker"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/valueledger/wallet"
	"github.com/valueledger/wallet/activities"
	"github.com/valueledger/wallet/internal/test/testenv"
	"github.com/valueledger/wallet/starter"
	"github.com/valueledger/wallet/workflows"
)

// startForeign starts the test's wallet like a client that only knows the contract, and sends
// it an update.
func (w *world) startForeign(temporal client.Client, command wallet.Command) wallet.Result {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	handle, err := temporal.UpdateWithStartWorkflow(ctx, client.UpdateWithStartWorkflowOptions{
		StartWorkflowOperation: temporal.NewWithStartWorkflowOperation(client.StartWorkflowOptions{
			ID: w.workflowID(), TaskQueue: w.queue, WorkflowIDConflictPolicy: enumspb.WORKFLOW_ID_CONFLICT_POLICY_USE_EXISTING,
		}, wallet.WorkflowWalletAsset, wallet.AssetRef{UserID: w.user, Currency: "USD"}),
		UpdateOptions: client.UpdateWorkflowOptions{
			WorkflowID: w.workflowID(), UpdateName: wallet.UpdateApply, Args: []any{command}, WaitForStage: client.WorkflowUpdateStageCompleted,
		},
	})
	require.NoError(w.t, err)
	var result wallet.Result
	require.NoError(w.t, handle.Get(ctx, &result))
	return result
}

// found counts the runs that the Web UI finds by the test's user.
func (w *world) found() int64 {
	count, err := w.temporal.CountWorkflow(context.Background(), &workflowservice.CountWorkflowExecutionsRequest{
		Query: fmt.Sprintf("%s = %q AND %s = 'USD'", wallet.SearchAttributeUserID, w.user, wallet.SearchAttributeCurrency),
	})
	require.NoError(w.t, err)
	return count.Count
}

// labels counts the events that set search attributes in the wallet's current run.
func (w *world) labels() (count int) {
	events := w.temporal.GetWorkflowHistory(context.Background(), w.workflowID(), "", false, enumspb.HISTORY_EVENT_FILTER_TYPE_ALL_EVENT)
	for events.HasNext() {
		event, err := events.Next()
		require.NoError(w.t, err)
		if event.EventType == enumspb.EVENT_TYPE_UPSERT_WORKFLOW_SEARCH_ATTRIBUTES {
			count++
		}
	}
	return count
}

func TestAWalletIsFoundByItsUser(t *testing.T) {
	t.Run("started by package starter", func(t *testing.T) {
		w := newWorld(t)
		_, err := w.wallets.Add(t.Context(), w.change("a", "1"))
		require.NoError(t, err)
		w.eventually("the wallet in the list", func() bool { return w.found() == 1 })
		require.Zero(t, w.labels(), "no event that it does not need")
	})
	t.Run("started by a client that sets no search attributes", func(t *testing.T) {
		w := newWorld(t)
		w.startForeign(w.temporal, add("a", "1"))
		w.eventually("the wallet in the list", func() bool { return w.found() == 1 })
		require.Equal(t, 2, w.labels(), "its label, and that of the change which brought it")
	})
}

// TestSearchAttributesAsListsStopNoWallet: TypeScript's client sends lists if it gets them by
// its older option. The SDK's own reader panics on them.
func TestSearchAttributesAsListsStopNoWallet(t *testing.T) {
	for _, kind := range []string{"", "Keyword"} {
		t.Run("of type "+kind, func(t *testing.T) {
			w := newWorld(t)
			list := func(text string) *commonpb.Payload {
				return &commonpb.Payload{Data: fmt.Appendf(nil, "[%q]", text), Metadata: map[string][]byte{"encoding": []byte("json/plain"), "type": []byte(kind)}}
			}
			input, err := converter.GetDefaultDataConverter().ToPayloads(wallet.AssetRef{UserID: w.user, Currency: "USD"})
			require.NoError(t, err)
			_, err = w.temporal.WorkflowService().StartWorkflowExecution(t.Context(), &workflowservice.StartWorkflowExecutionRequest{
				Namespace: client.DefaultNamespace, RequestId: w.user, WorkflowId: w.workflowID(), Input: input,
				WorkflowType: &commonpb.WorkflowType{Name: wallet.WorkflowWalletAsset},
				TaskQueue:    &taskqueuepb.TaskQueue{Name: w.queue},
				SearchAttributes: &commonpb.SearchAttributes{IndexedFields: map[string]*commonpb.Payload{
					wallet.SearchAttributeUserID: list(w.user), wallet.SearchAttributeCurrency: list("USD"),
				}},
			})
			require.NoError(t, err)
			require.Equal(t, "1.00", w.startForeign(w.temporal, add("a", "1")).TotalAfter.String())
			w.eventually("the wallet in the list", func() bool { return w.found() == 1 })
		})
	}
}

// namespace creates a namespace without search attributes and returns a client for it.
func (w *world) namespace() (string, client.Client) {
	name := testenv.Unique(w.t, "ns")
	name = "ns-" + name[strings.LastIndex(name, "-")+1:]
	_, err := w.temporal.WorkflowService().RegisterNamespace(context.Background(), &workflowservice.RegisterNamespaceRequest{
		Namespace: name, WorkflowExecutionRetentionPeriod: durationpb.New(24 * time.Hour),
	})
	require.NoError(w.t, err)
	c, err := client.NewClientFromExisting(w.temporal, client.Options{Namespace: name})
	require.NoError(w.t, err)
	w.eventually("the namespace", func() bool {
		_, err := c.CountWorkflow(context.Background(), &workflowservice.CountWorkflowExecutionsRequest{})
		return err == nil
	})
	return name, c
}

// TestANamespaceWithoutSearchAttributesStopsNoWallet, because a workflow that sets one there
// would get stuck.
func TestANamespaceWithoutSearchAttributesStopsNoWallet(t *testing.T) {
	w := newWorld(t)
	_, temporal := w.namespace()
	sender, err := starter.New(temporal, starter.Options{TaskQueue: w.queue})
	require.NoError(t, err)
	service := worker.New(temporal, w.queue, worker.Options{})
	workflows.Register(service)
	activities.New(w.db).Register(service)
	sender.Register(service)
	require.NoError(t, service.Start())
	defer service.Stop()
	require.Equal(t, "1.00", w.startForeign(temporal, add("a", "1")).TotalAfter.String())
}

func TestASearchAttributeOfAnotherTypeIsNamed(t *testing.T) {
	w := newWorld(t)
	name, temporal := w.namespace()
	_, err := temporal.OperatorService().AddSearchAttributes(t.Context(), &operatorservice.AddSearchAttributesRequest{
		Namespace: name, SearchAttributes: map[string]enumspb.IndexedValueType{wallet.SearchAttributeCurrency: enumspb.INDEXED_VALUE_TYPE_INT},
	})
	require.NoError(t, err)
	err = starter.RegisterSearchAttributes(t.Context(), temporal, name)
	require.Error(t, err)
	contains(t, err.Error(), "search attribute WalletCurrency of namespace", "has type Int, not Keyword", "temporal operator search-attribute remove --name WalletCurrency")
}

// TestACommandIsTakenWithoutSearchAttributes even if the caller sets them, as package starter
// does: a server that has just started may not know them yet.
func TestACommandIsTakenWithoutSearchAttributes(t *testing.T) {
	w := newWorld(t)
	_, temporal := w.namespace()
	wallets, err := starter.New(temporal, starter.Options{TaskQueue: w.queue})
	require.NoError(t, err)
	require.NoError(t, wallets.Send(t.Context(), w.user, "USD", add("a", "1")))

	// The update gets as far as waiting for a worker, which this namespace does not have.
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	_, err = wallets.Add(ctx, starter.Change{UserID: w.user + "-2", Currency: "USD", CommandID: "a", Amount: wallet.MustAmount("1")})
	require.ErrorIs(t, err, context.DeadlineExceeded)
	_, err = temporal.DescribeWorkflowExecution(t.Context(), wallet.WorkflowID(w.user+"-2", "USD"), "")
	require.NoError(t, err)
}
