package workflows_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/valueledger/wallet"
)

// TestDetailsListTheHoldsThatExpireFirst has more open than are listed, one of them captured
// in part, and lets the first expire.
func TestDetailsListTheHoldsThatExpireFirst(t *testing.T) {
	env := newEnvironment(t)
	start := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	env.SetStartTime(start)
	env.clock = env.Now
	var none, open, later, closed string
	env.at(time.Second, func() {
		none = env.details()
		env.signal(command(wallet.TypeAdd, "funds", "100"))
		for i := range 4 {
			env.signal(hold(fmt.Sprint("order-", i), "10", fmt.Sprint(i+2, "h")))
		}
		env.signal(hold("a|b<c>", "10", "1h"))
		env.signal(command(wallet.TypeHold, "for ever", "20"))
		part := command(wallet.TypeCapture, "part", "2.5")
		part.HoldID, part.Partial = "order-0", true
		env.signal(part)
	})
	env.at(30*time.Minute, func() { open = env.details() })
	env.at(90*time.Minute, func() {
		later = env.details()
		for _, id := range []string{"order-0", "order-1", "order-2", "order-3", "for ever"} {
			release := command(wallet.TypeRelease, "release "+id, "")
			release.HoldID = id
			env.signal(release)
		}
	})
	env.at(100*time.Minute, func() { closed = env.details() })
	require.NoError(t, env.run(idleFor(2*time.Hour)))

	row := func(cells ...string) string { return "| " + strings.Join(cells, "\u2003 | ") + "\u2003 |\n" }
	plain := func(details string) string { return strings.ReplaceAll(details, "\u00a0", " ") }
	require.NotContains(t, none, "hold")
	require.Contains(t, plain(open), "### 6 open holds\n\nThe next one expires at 2026-03-01 13:00:01 UTC.\n\n"+
		row("hold", "left", "captured", "placed (UTC)", "expires (UTC)"))
	const placed = "01 Mar 2026 12:00"
	require.Contains(t, plain(open), "|\n"+
		row("a&#124;b&#60;c&#62;", "10.00", "0.00", placed, "2026-03-01 13:00:01")+
		row("order-0", "7.50", "2.50", placed, "2026-03-01 14:00:01")+
		row("order-1", "10.00", "0.00", placed, "2026-03-01 15:00:01")+
		row("order-2", "10.00", "0.00", placed, "2026-03-01 16:00:01")+
		row("order-3", "10.00", "0.00", placed, "2026-03-01 17:00:01")+"\n", "those that expire first")
	require.Contains(t, plain(later), "### 5 open holds\n\nThe next one expires at 2026-03-01 14:00:01 UTC.\n\n")
	require.Contains(t, plain(later), row("for ever", "20.00", "0.00", placed, "never"), "at the end")
	require.NotContains(t, plain(later), "2026-03-01 13:00:01", "it has expired")
	require.NotContains(t, closed, "open hold")
}
