package console

import (
	"context"
	"fmt"
	"net/http"
	"net/url"

	"github.com/valueledger/wallet"
	"github.com/valueledger/wallet/feed"
	"github.com/valueledger/wallet/internal/service/access"
	"github.com/valueledger/wallet/internal/service/webhooks"
	"github.com/valueledger/wallet/runs"
)

// feedPage is what the page of the feed shows.
type feedPage struct {
	Consumers []feed.Lag
	Waiting   []feed.Waiting // wallets, the first of them
	Endpoints []endpoint
}

// endpoint is one without the parts of its URL that may be secret.
type endpoint struct {
	webhooks.Endpoint
	Address string
}

func (c *Console) feed(ctx context.Context, w http.ResponseWriter, r *request) error {
	v := feedPage{}
	var err error
	if v.Consumers, err = feed.Lags(ctx, c.Pool); err != nil {
		return err
	}
	if v.Waiting, err = feed.ListWaiting(ctx, c.Pool, ""); err != nil {
		return err
	}
	v.Waiting = v.Waiting[:min(len(v.Waiting), pageRows)]
	endpoints, err := webhooks.List(ctx, c.Pool, "")
	if err != nil {
		return err
	}
	for _, e := range endpoints {
		v.Endpoints = append(v.Endpoints, endpoint{e, addressOf(e.URL, r.who.Has(access.Admin))})
	}
	return c.render(w, r, http.StatusOK, "feed", "Feed and webhooks", v)
}

// addressOf is a webhook's URL without what may be secret: many services have a key in its path.
func addressOf(text string, withPath bool) string {
	u, err := url.Parse(text)
	if err != nil {
		return "an address that cannot be read"
	}
	shown := url.URL{Scheme: u.Scheme, Host: u.Host}
	if withPath {
		shown.Path = u.Path
	}
	return shown.String()
}

func (c *Console) runs(ctx context.Context, w http.ResponseWriter, r *request) error {
	all, err := runs.List(ctx, c.Pool, pageRows)
	if err != nil {
		return err
	}
	shown := make([]progress, len(all))
	for i, s := range all {
		shown[i] = progress{s}
	}
	return c.render(w, r, http.StatusOK, "runs", "Runs", shown)
}

// progress is the status of a run.
type progress struct{ wallet.RunStatus }

// Percent is how much of the run is done, rounded down: 100 is all of it.
func (p progress) Percent() int64 {
	if p.Lines <= 0 {
		return 0
	}
	return min(p.Done(), p.Lines) * 100 / p.Lines
}

// Moves is whether the run may change by itself.
func (p progress) Moves() bool { return p.State == wallet.RunRunning || p.State == wallet.RunStaged }

// refreshSeconds is how often a run that is followed loads its page again.
const refreshSeconds = 5

func (c *Console) run(ctx context.Context, w http.ResponseWriter, r *request) error {
	id := r.get("id")
	if err := wallet.ValidateRunID(id); err != nil {
		return err
	}
	status, err := runs.Status(ctx, c.Pool, id)
	if err != nil {
		return err
	}
	after, err := r.number("after")
	if err != nil {
		return err
	}
	v := struct {
		progress
		Failures []runs.Failure
		First    bool
		Next     int64 // the line to go on after; 0 at the end
		Live     bool
		Seconds  int
	}{progress: progress{status}, First: after == 0, Live: r.get("live") != "", Seconds: refreshSeconds}
	if v.Failures, err = runs.FailuresAfter(ctx, c.Pool, id, after, pageRows); err != nil {
		return err
	}
	if n := len(v.Failures); n >= pageRows {
		v.Next = v.Failures[n-1].Line
	}
	if v.Live = v.Live && v.Moves(); v.Live {
		w.Header().Set("Refresh", fmt.Sprint(refreshSeconds))
	}
	return c.render(w, r, http.StatusOK, "run", "Run "+id, v)
}
