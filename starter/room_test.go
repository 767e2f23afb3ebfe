package starter

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/mock"
	"github.com/stretchr/testify/require"
	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/api/serviceerror"
	"go.temporal.io/api/workflow/v1"
	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/mocks"

	"github.com/valueledger/wallet"
)

// TestSendFillsNoHistory has a wallet that no worker gets to.
func TestSendFillsNoHistory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var history atomic.Int64
		signals, looks, status := 0, 0, enumspb.WORKFLOW_EXECUTION_STATUS_RUNNING
		temporal := mocks.NewClient(t)
		temporal.On("SignalWithStartWorkflow", mock.Anything, mock.Anything, mock.Anything, mock.Anything, mock.Anything, mock.Anything, mock.Anything).Return(
			func(context.Context, string, string, any, client.StartWorkflowOptions, any, ...any) (client.WorkflowRun, error) {
				signals++
				return nil, nil
			})
		temporal.On("DescribeWorkflowExecution", mock.Anything, wallet.WorkflowID("u1", "USD"), "").Return(
			func(context.Context, string, string) (*workflowservice.DescribeWorkflowExecutionResponse, error) {
				if looks++; history.Load() == 0 {
					return nil, serviceerror.NewNotFound("no run")
				}
				return &workflowservice.DescribeWorkflowExecutionResponse{WorkflowExecutionInfo: &workflow.WorkflowExecutionInfo{Status: status, HistorySizeBytes: history.Load()}}, nil
			})
		c, err := New(temporal, Options{})
		require.NoError(t, err)
		command := wallet.Command{Type: wallet.TypeAdd, Amount: wallet.MustAmount("1"), Metadata: map[string]string{"k": strings.Repeat("x", 4000)}}
		send := func() error {
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			defer cancel()
			command.ID = fmt.Sprint("c", signals)
			return c.Send(ctx, "u1", "USD", command)
		}
		for range 600 {
			require.NoError(t, send())
		}
		require.Equal(t, 2, looks, "once for each MB")
		history.Store(maxHistoryBytes + 1)
		for err = send(); err == nil && signals < 1200; err = send() {
		}
		require.ErrorIs(t, err, wallet.ErrBusy)
		require.ErrorContains(t, err, `the history of wallet-asset/USD/u1 has 40000001 bytes, and Temporal terminates it at 50 MB: start a worker on task queue "wallet"`)
		before := signals
		require.LessOrEqual(t, before, 800, "at the next look")
		require.ErrorIs(t, send(), wallet.ErrBusy)
		require.Equal(t, before, signals)

		time.AfterFunc(5*time.Second, func() { history.Store(1000) }) // a worker runs
		require.NoError(t, send())
		history.Store(maxHistoryBytes + 1)
		status = enumspb.WORKFLOW_EXECUTION_STATUS_TERMINATED
		for range 600 {
			require.NoError(t, send(), "the next signal starts another run")
		}
	})
}
