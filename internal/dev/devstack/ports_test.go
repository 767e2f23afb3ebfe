package devstack

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// The kernel can assign a port in its own range to any connection between the search and the
// server's start.
func TestFreePortsAreNotThoseTheKernelGivesAway(t *testing.T) {
	ports, err := FreePorts(500)
	require.NoError(t, err)
	seen := map[int]bool{}
	first := endOfPorts
	if text, err := os.ReadFile("/proc/sys/net/ipv4/ip_local_port_range"); err == nil {
		_, err = fmt.Sscan(strings.TrimSpace(string(text)), &first)
		require.NoError(t, err)
	}
	for _, port := range ports {
		require.False(t, seen[port], "port %d is given twice", port)
		seen[port] = true
		require.Less(t, port, first)
	}
}
