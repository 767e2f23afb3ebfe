package bench

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestALongLifeIsMeasuredAndVerified(t *testing.T) {
	var out bytes.Buffer
	require.NoError(t, Life(t.Context(), environment(t), LifeOptions{
		Commands: lifeStages * lifeCallers * lifeBatch, Wallets: 2 * lifeStages, Holds: lifeStages * lifeCallers * lifeOpen,
	}, &out))
	require.Contains(t, out.String(), "verified 22 wallets, 59124 journal entries, 59124 events: 0 findings")
}
