// Package loopback tells this machine from others.
package loopback

import (
	"net"
	"strings"
)

// IsHost reports whether a host, a name or an IP without a port, is this machine.
func IsHost(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// IsHostPort is IsHost for a host with or without a port, such as the header Host.
func IsHostPort(hostport string) bool {
	host, _, err := net.SplitHostPort(hostport)
	if err != nil {
		host = strings.Trim(hostport, "[]")
	}
	return IsHost(host)
}
