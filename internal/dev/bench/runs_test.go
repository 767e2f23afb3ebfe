package bench

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestRunsAreMeasuredAndVerified(t *testing.T) {
	var out bytes.Buffer
	require.NoError(t, Runs(t.Context(), environment(t), RunsOptions{Lines: 4000, Wallets: 50, Parallel: 2}, &out))
	require.Contains(t, out.String(), "verified 50 wallets, 12050 journal entries, 12050 events: 0 findings")
}
