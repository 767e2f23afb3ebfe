package wallet_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/valueledger/wallet"
)

func TestLaneAnswersComeBackAsTheyWere(t *testing.T) {
	answers := []wallet.LaneAnswer{
		{Facts: wallet.Facts{1, 2, 3}}, {}, {Invalid: &wallet.InvalidError{Reason: wallet.ReasonMalformed, Field: "id", Value: "x", Message: "no"}},
		{Facts: wallet.Facts(strings.Repeat("long", 100))},
	}
	var all []byte
	for _, a := range answers {
		all = a.AppendTo(all)
	}
	split, err := wallet.SplitLaneAnswers(all, len(answers))
	require.NoError(t, err)
	for i, b := range split {
		read, err := wallet.ReadLaneAnswer(b)
		require.NoError(t, err)
		require.Equal(t, answers[i], read)
		require.Equal(t, i == 1, wallet.IsReturned(b))
	}
	for n := range all { // cut short
		_, err := wallet.SplitLaneAnswers(all[:n], len(answers))
		require.Error(t, err, n)
	}
	for _, n := range []int{0, len(answers) - 1, len(answers) + 1} {
		_, err := wallet.SplitLaneAnswers(all, n)
		require.Error(t, err, n)
	}
	later := append([]byte{99, 2}, "??"...) // of a later version
	require.True(t, wallet.IsReturned(later))
	read, err := wallet.ReadLaneAnswer(later)
	require.NoError(t, err)
	require.Equal(t, wallet.LaneAnswer{}, read)
}

func TestLaneIDsFitTemporal(t *testing.T) {
	require.Equal(t, "lane/wallet/2", wallet.LaneWorkflowID("wallet", 2))
	seen := map[string]bool{}
	for _, queue := range []string{"q", "q/1", strings.Repeat("é", 500), strings.Repeat("é", 500) + "/1"} {
		for _, lane := range []int{1, 11, 64} {
			id := wallet.LaneWorkflowID(queue, lane)
			require.LessOrEqual(t, len(id), 255)
			require.False(t, seen[id], id)
			seen[id] = true
		}
	}
}
