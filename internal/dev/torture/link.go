package torture

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"time"

	toxiproxy "github.com/Shopify/toxiproxy/v2"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"
)

// link is a connection between two parts, through a proxy that can disturb it.
type link struct {
	name     string
	address  string // where the proxy listens
	upstream string

	mu    sync.Mutex
	proxy *toxiproxy.Proxy
}

// proxies is the server that toxiproxy's proxies must belong to; it never listens.
var proxies = toxiproxy.NewServer(toxiproxy.NewMetricsContainer(prometheus.NewRegistry()), zerolog.Nop())

func newLink(name string, port int, upstream string) (*link, error) {
	l := &link{name: name, address: fmt.Sprintf("127.0.0.1:%d", port), upstream: upstream}
	return l, l.open()
}

func (l *link) open() error {
	l.proxy = toxiproxy.NewProxy(proxies, l.name, l.address, l.upstream)
	return l.proxy.Start()
}

// begin applies the fault to the link.
func (l *link) begin(f Fault) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if f.Kind == Cut {
		l.proxy.Stop()
		return nil
	}
	stream := "downstream"
	if f.Upstream {
		stream = "upstream"
	}
	kind, attributes := toxicOf(f)
	toxic, err := json.Marshal(map[string]any{"name": "fault", "type": kind, "stream": stream, "attributes": attributes})
	if err != nil {
		return err
	}
	_, err = l.proxy.Toxics.AddToxicJson(strings.NewReader(string(toxic)))
	return err
}

// toxicOf translates a fault to toxiproxy's terms; times are milliseconds, except the slicer's,
// which are microseconds.
func toxicOf(f Fault) (kind string, attributes map[string]int) {
	switch f.Kind {
	case Delay:
		return "latency", map[string]int{"latency": 20 + int(1500*f.Strength*f.Strength), "jitter": int(200 * f.Strength)}
	case Silence:
		return "timeout", map[string]int{"timeout": 0}
	case Sever:
		return "reset_peer", map[string]int{"timeout": int(50 * f.Strength)}
	case Slice:
		return "slicer", map[string]int{"average_size": 1 + int(100*f.Strength), "size_variation": int(50 * f.Strength), "delay": 200}
	default:
		panic(fmt.Sprintf("torture: %s is no fault of a link", f.Kind))
	}
}

// healPatience is how long toxiproxy may take to remove a toxic: if the connection ends
// meanwhile, it may wait forever.
const healPatience = 2 * time.Second

// end removes the fault. A link that does not heal is reopened.
func (l *link) end(f Fault) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if f.Kind == Cut {
		return l.proxy.Start()
	}
	removed := make(chan error, 1)
	go func(proxy *toxiproxy.Proxy) { removed <- proxy.Toxics.RemoveToxic(context.Background(), "fault") }(l.proxy)
	select {
	case err := <-removed:
		return err
	case <-time.After(healPatience):
		l.proxy.Stop()
		return l.open()
	}
}

// redirect leads to another server, where the link led to from; what disturbs the link stays.
// It returns only when the connections to from are closed.
func (l *link) redirect(from, to string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.upstream != from {
		return nil
	}
	l.upstream = to
	return l.proxy.Update(&toxiproxy.Proxy{Listen: l.proxy.Listen, Upstream: to, Enabled: l.proxy.Enabled})
}

func (l *link) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.proxy.Stop()
}
