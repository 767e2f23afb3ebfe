package bench

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestALongLifeIsMeasuredAndVerified(t *testing.T) {
	var out bytes.Buffer
	require.NoError(t, Life(t.Context(), environment(t), LifeOptions{Commands: lifeStages * lifeCallers * lifeBatch, Wallets: 2 * lifeStages}, &out))
	require.Contains(t, out.String(), "verified 21 wallets, 40121 journal entries, 40121 events: 0 findings")
}
