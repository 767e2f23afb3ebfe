package service

import (
	"errors"
	"testing"

	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/log"
	"go.temporal.io/sdk/temporal"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"
)

func TestAStepThatFailsIsOneLineWithWhatIsTriedNext(t *testing.T) {
	core, seen := observer.New(zapcore.InfoLevel)
	logger := log.With(SDKLogger(zap.New(core)), "Namespace", "default")
	logger.Error(failedActivity, "Attempt", 3, "Error", errors.New("connection refused"))
	logger.Error(failedActivity, "Attempt", 1, "Error", temporal.NewNonRetryableApplicationError("no", "InvalidCommand", nil))
	logger.Error("something else")
	entries := seen.All()
	require.Len(t, entries, 3)
	for _, entry := range entries {
		require.Empty(t, entry.Stack)
	}
	require.Equal(t, "a step failed", entries[0].Message)
	require.Equal(t, map[string]any{"Namespace": "default", "Attempt": int64(3), "Error": "connection refused", "next": "Temporal tries it again in at most 5 s, until it works"}, entries[0].ContextMap())
	require.Equal(t, "none, this is final", entries[1].ContextMap()["next"])
	require.NotContains(t, entries[2].ContextMap(), "next")
}
