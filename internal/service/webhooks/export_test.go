package webhooks

import (
	"net/http"
	"time"
)

// Client is what a Deliverer sends with.
func Client(g *Guard) *http.Client { return g.client(time.Second) }
