package heartbeat

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/converter"
	"go.temporal.io/sdk/testsuite"
)

func TestAnActivityThatWaitsSendsHeartbeats(t *testing.T) {
	var suite testsuite.WorkflowTestSuite
	env := suite.NewTestActivityEnvironment()
	heard := make(chan struct{}, 1)
	env.SetOnActivityHeartbeatListener(func(*activity.Info, converter.EncodedValues) {
		select {
		case heard <- struct{}{}:
		default:
		}
	})
	waits := func(ctx context.Context) error {
		defer Keep(ctx, time.Millisecond)()
		select {
		case <-heard:
			return nil
		case <-time.After(time.Minute):
			return context.DeadlineExceeded
		}
	}
	env.RegisterActivity(waits)
	_, err := env.ExecuteActivity(waits)
	require.NoError(t, err)
}

func TestOutsideOfAnActivityNothingIsSent(t *testing.T) {
	Keep(t.Context(), time.Nanosecond)()
}
