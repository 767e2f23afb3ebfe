package devstack

import (
	"fmt"
	"math/rand/v2"
	"net"
	"strconv"
)

// The free ports are looked for here: above the well-known ones, below those that
// Linux (32768) and the others (49152) give to whoever connects or listens on port
// 0. Between the search and the server's start such a port would be up for grabs,
// by the connections of other servers of the same stack among others.
const (
	firstFreePort = 10_000
	endOfPorts    = 32_000
)

// FreePorts finds n different ports on 127.0.0.1 that nobody listens on.
func FreePorts(n int) ([]int, error) {
	ports := make([]int, 0, n)
	for range 1000 {
		port := firstFreePort + rand.IntN(endOfPorts-firstFreePort)
		listener, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
		if err != nil {
			continue
		}
		defer listener.Close() // together, so that none is given twice
		if ports = append(ports, port); len(ports) == n {
			return ports, nil
		}
	}
	return nil, fmt.Errorf("no %d free ports between %d and %d on 127.0.0.1: give them by flags", n, firstFreePort, endOfPorts)
}
