package devstack

import (
	"fmt"
	"math/rand/v2"
	"net"
	"strconv"
)

// Free ports are picked from this range: above the well-known ports and below those that Linux
// (32768) and other systems (49152) assign to connections and to listeners on port 0. Between
// the search and the server's start, such a port could be taken, for example by a connection of
// another server in the same stack.
const (
	firstFreePort = 10_000
	endOfPorts    = 32_000
)

// FreePorts finds n different unused ports on 127.0.0.1.
func FreePorts(n int) ([]int, error) {
	ports := make([]int, 0, n)
	for range 1000 {
		port := firstFreePort + rand.IntN(endOfPorts-firstFreePort)
		listener, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
		if err != nil {
			continue
		}
		defer listener.Close() // close them together, so that none is returned twice
		if ports = append(ports, port); len(ports) == n {
			return ports, nil
		}
	}
	return nil, fmt.Errorf("no %d free ports between %d and %d on 127.0.0.1: give them by flags", n, firstFreePort, endOfPorts)
}
