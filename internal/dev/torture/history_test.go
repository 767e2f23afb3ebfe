package torture

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/valueledger/wallet"
)

func TestSilencesAreAddedUp(t *testing.T) {
	h := newHistory()
	for _, at := range []time.Duration{0, 500 * time.Millisecond, 2 * time.Second, 2100 * time.Millisecond, 5 * time.Second} {
		h.hear(at)
	}
	require.Equal(t, 4400*time.Millisecond, h.silent)
	require.Equal(t, 2900*time.Millisecond, h.silence)
	h.end(h.begin(0, 0, Send{Way: Update, Commands: []wallet.Command{add("a", "1")}}), nil, true, nil)
	require.NotEqual(t, 5*time.Second, h.lastAnswer, "an answer is heard")
}
