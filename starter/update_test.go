package starter

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/mock"
	"github.com/stretchr/testify/require"
	"go.temporal.io/api/serviceerror"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/mocks"

	"github.com/valueledger/wallet"
)

func TestWalletsThatStandStillKeepNoOtherWaiting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		temporal := mocks.NewClient(t)
		temporal.On("UpdateWorkflow", mock.Anything, mock.Anything).Return(
			func(ctx context.Context, options client.UpdateWorkflowOptions) (client.WorkflowUpdateHandle, error) {
				if options.WorkflowID != wallet.WorkflowID("well", "USD") {
					<-ctx.Done()
					return nil, ctx.Err()
				}
				return opened{}, nil
			})
		temporal.On("DescribeWorkflowExecution", mock.Anything, mock.Anything, mock.Anything).Return(nil, errors.New("not now")).Maybe()
		c, err := New(temporal, Options{})
		require.NoError(t, err)
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		create := func(user string) error {
			c.running.Add(wallet.WorkflowID(user, "USD"), struct{}{})
			_, err := c.Create(ctx, Change{UserID: user, Currency: "USD", CommandID: "a"})
			return err
		}
		for i := range maxUpdates {
			go func() { _ = create(fmt.Sprint("stuck-", i)) }()
		}
		synctest.Wait()
		require.NoError(t, create("well"))
		cancel()
		synctest.Wait()
		require.True(t, c.updates.TryAcquire(maxUpdates), "each has given its place back, once")
	})
}

// TestANamespaceIsLateOnlyIfItHasAnswered has a server that has just started: it knows no namespace yet.
func TestANamespaceIsLateOnlyIfItHasAnswered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		missing := 0
		temporal := mocks.NewClient(t)
		temporal.On("NewWithStartWorkflowOperation", mock.Anything, mock.Anything, mock.Anything).Return(nil)
		temporal.On("UpdateWithStartWorkflow", mock.Anything, mock.Anything).Return(
			func(context.Context, client.UpdateWithStartWorkflowOptions) (client.WorkflowUpdateHandle, error) {
				if missing > 0 {
					missing--
					return nil, fmt.Errorf("failed workflow start: %w", serviceerror.NewNamespaceNotFound("wallets"))
				}
				return opened{}, nil
			})
		temporal.On("DescribeWorkflowExecution", mock.Anything, mock.Anything, mock.Anything).Return(nil, errors.New("not now")).Maybe()
		c, err := New(temporal, Options{})
		require.NoError(t, err)
		create := func(user string) error {
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			_, err := c.Create(ctx, Change{UserID: user, Currency: "USD", CommandID: "a"})
			return err
		}

		missing = 5
		require.ErrorContains(t, create("u1"), "Namespace wallets is not found")
		require.Equal(t, 4, missing, "a namespace that nobody made is told at once")
		missing = 0
		require.NoError(t, create("u1"))
		missing = 5
		require.NoError(t, create("u2"))
		missing = 1000
		require.ErrorContains(t, create("u3"), "has no answer yet, it may still be applied")
	})
}

// opened is an update that has opened a wallet.
type opened struct{ answered }

func (opened) Get(_ context.Context, result any) error {
	*result.(*wallet.Result) = wallet.Result{Status: wallet.StatusApplied, Version: 1}
	return nil
}
