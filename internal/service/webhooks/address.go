package webhooks

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"syscall"
	"time"

	"code.dny.dev/ssrf"
)

// maxURL is how long an endpoint's URL may be, in bytes.
const maxURL = 2048

// Guard decides which addresses webhooks are sent to: those of the Internet, by TLS, on ports
// 443 and from 1024 on, and any in the networks that the operator allows.
type Guard struct {
	allowed []netip.Prefix
	public  *ssrf.Guardian
}

// ParseGuard reads the networks that are allowed too, such as "10.1.0.0/16,127.0.0.1/32".
func ParseGuard(networks string) (*Guard, error) {
	g := &Guard{public: ssrf.New(ssrf.WithAnyPort())}
	for _, text := range strings.Split(networks, ",") {
		if text = strings.TrimSpace(text); text == "" {
			continue
		}
		prefix, err := netip.ParsePrefix(text)
		if err != nil {
			return nil, fmt.Errorf("%q is no network: use one such as 10.1.0.0/16 or 127.0.0.1/32", text)
		}
		if prefix.Addr().Is4In6() {
			return nil, fmt.Errorf("network %q is an IPv4 network written as IPv6: use its IPv4 form", text)
		}
		g.allowed = append(g.allowed, prefix.Masked())
	}
	return g, nil
}

// A ForbiddenError says that webhooks are not sent to an address.
type ForbiddenError struct{ what string }

func (e *ForbiddenError) Error() string {
	return e.what + ": if it is meant, allow its network (WALLET_WEBHOOK_ALLOW_NETWORKS)"
}

func (g *Guard) allows(ip netip.Addr) bool {
	for _, prefix := range g.allowed {
		if prefix.Contains(ip) {
			return true
		}
	}
	return false
}

// checkAddress looks at an address that a name was resolved to: what the name leads to may
// change between any check and the connection, so the connection itself is checked.
func (g *Guard) checkAddress(network, address string, encrypted bool) error {
	to, err := netip.ParseAddrPort(address)
	if err != nil {
		return &ForbiddenError{fmt.Sprintf("address %q", address)}
	}
	ip := to.Addr().Unmap().WithZone("")
	if g.allows(ip) {
		return nil
	}
	if to.Addr().Zone() != "" {
		return &ForbiddenError{fmt.Sprintf("address %s is not of the Internet", to.Addr())}
	}
	if network == "tcp6" && ip.Is4() {
		network = "tcp4"
	}
	if g.public.Safe(network, netip.AddrPortFrom(ip, to.Port()).String(), nil) != nil {
		return &ForbiddenError{fmt.Sprintf("address %s is not of the Internet", ip)}
	}
	if port := to.Port(); port != 80 && port != 443 && port < 1024 {
		return &ForbiddenError{fmt.Sprintf("port %d is not 443 or from 1024 on", port)}
	}
	if !encrypted {
		return &ForbiddenError{fmt.Sprintf("http to %s is not encrypted: use https", ip)}
	}
	return nil
}

// lookUpPatience is how long CheckURL waits for the name server.
const lookUpPatience = 5 * time.Second

// CheckURL refuses a URL that webhooks can never be sent to. That of a name that leads nowhere
// now is taken: the sender checks each connection again.
func (g *Guard) CheckURL(ctx context.Context, text string) error {
	u, err := url.Parse(text)
	switch {
	case len(text) > maxURL:
		return fmt.Errorf("the URL has %d bytes: use at most %d", len(text), maxURL)
	case err != nil || u.Host == "" || u.Hostname() == "" || u.Scheme != "https" && u.Scheme != "http":
		return fmt.Errorf("%q is no URL to send to: use one such as https://example.com/webhooks", text)
	case u.User != nil:
		return errors.New("the URL has a name or password in it, which lists would show: the signature proves who sends")
	case u.Fragment != "":
		return fmt.Errorf("the URL has a fragment (#%s), which is never sent: leave it out", u.Fragment)
	}
	port := u.Port()
	if port == "" {
		port = map[string]string{"https": "443", "http": "80"}[u.Scheme]
	}
	ctx, cancel := context.WithTimeout(ctx, lookUpPatience)
	defer cancel()
	ips, err := net.DefaultResolver.LookupNetIP(ctx, "ip", u.Hostname())
	if err != nil {
		return nil
	}
	var refused error
	for _, ip := range ips {
		if refused = g.checkAddress(networkOf(ip), net.JoinHostPort(ip.String(), port), u.Scheme == "https"); refused == nil {
			return nil
		}
	}
	return refused
}

func networkOf(ip netip.Addr) string {
	if ip.Unmap().Is4() {
		return "tcp4"
	}
	return "tcp6"
}

const (
	connectPatience = 5 * time.Second
	maxHeaderBytes  = 16 << 10
	// maxBodyBytes of an answer are read, only to use the connection again.
	maxBodyBytes = 64 << 10
)

// client connects only to what the guard allows. It follows no redirects, which would lead around
// the check of the URL, and takes no proxy from the environment, which would resolve names
// itself.
func (g *Guard) client(timeout time.Duration) *http.Client {
	dial := func(encrypted bool) func(context.Context, string, string) (net.Conn, error) {
		d := &net.Dialer{Timeout: connectPatience, KeepAlive: 30 * time.Second, Control: func(network, address string, _ syscall.RawConn) error {
			return g.checkAddress(network, address, encrypted)
		}}
		return d.DialContext
	}
	transport := func(encrypted bool) *http.Transport {
		return &http.Transport{
			DialContext: dial(encrypted), ForceAttemptHTTP2: true, DisableCompression: true,
			TLSHandshakeTimeout: connectPatience, MaxResponseHeaderBytes: maxHeaderBytes,
			MaxIdleConnsPerHost: 8, MaxIdleConns: 256, IdleConnTimeout: time.Minute,
		}
	}
	return &http.Client{
		Timeout: timeout, Transport: bySchemes{plain: transport(false), encrypted: transport(true)},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// bySchemes has a transport for http and one for https, because a dialer does not know what it
// is for.
type bySchemes struct{ plain, encrypted *http.Transport }

func (s bySchemes) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.URL.Scheme == "https" {
		return s.encrypted.RoundTrip(r)
	}
	return s.plain.RoundTrip(r)
}

func (s bySchemes) CloseIdleConnections() {
	s.plain.CloseIdleConnections()
	s.encrypted.CloseIdleConnections()
}
