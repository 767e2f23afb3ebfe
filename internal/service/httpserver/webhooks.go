package httpserver

import (
	"context"
	"errors"
	"net/http"
	"reflect"
	"regexp"
	"time"

	"github.com/valueledger/wallet"
	"github.com/valueledger/wallet/feed"
	"github.com/valueledger/wallet/internal/service/access"
	"github.com/valueledger/wallet/internal/service/postgres"
	"github.com/valueledger/wallet/internal/service/webhooks"
)

// EndpointPath is the input of a route whose path names an endpoint of webhooks.
type EndpointPath struct {
	ID string `path:"endpoint_id"`
}

var anEndpointID = regexp.MustCompile(`^we_[a-z0-9]{26}$`)

func (p *EndpointPath) wallets() ([]wallet.AssetRef, error) {
	if !anEndpointID.MatchString(p.ID) {
		return []wallet.AssetRef{{}}, &webhooks.NotFoundError{ID: p.ID}
	}
	return []wallet.AssetRef{{}}, nil
}

// WebhookSettings are what an endpoint is made of.
type WebhookSettings struct {
	URL         string   `json:"url" doc:"where to send events to: https, and on the Internet unless the server allows other networks"`
	Description string   `json:"description,omitempty"`
	Users       []string `json:"users,omitempty" doc:"send only events of these users' wallets"`
	Currencies  []string `json:"currencies,omitempty" doc:"send only events of these currencies"`
	Events      []string `json:"events,omitempty" doc:"send only events of these types, such as wallet_asset.added"`
}

func (w WebhookSettings) settings() webhooks.Settings {
	return webhooks.Settings{URL: w.URL, Description: w.Description, Filter: webhooks.Filter{Users: w.Users, Currencies: w.Currencies, Events: w.Events}}
}

// WebhookSecret is a new secret.
type WebhookSecret struct {
	ID     string `json:"endpoint_id"`
	Secret string `json:"secret" doc:"the receiver checks signatures with it; it is not shown again"`
}

// WebhookList has all endpoints.
type WebhookList struct {
	Items     []webhooks.Endpoint `json:"items"`
	NotQueued int64               `json:"not_queued" doc:"about how many appends to the feed are not queued for the endpoints yet"`
}

// ParkedEvent is an event that is parked, or that failed and that its wallet waits with.
type ParkedEvent struct{ webhooks.Event }

// WebhookRotation is how to make a new secret.
type WebhookRotation struct {
	Overlap string `json:"overlap,omitempty" doc:"how long the last secret stays valid, such as 24h, which is the default; 0s if it has leaked"`
}

// WebhookRedelivery says which events to send again: one by its id, all parked ones, or a range.
type WebhookRedelivery struct {
	EventID  string    `json:"event_id,omitempty"`
	Parked   bool      `json:"parked,omitempty" doc:"all parked ones"`
	Since    time.Time `json:"since,omitzero" doc:"all from this time on, that pass the filters"`
	Until    time.Time `json:"until,omitzero" doc:"and before this time; now by default"`
	UserID   string    `json:"user_id,omitempty" doc:"of a range: of this user"`
	Currency string    `json:"currency,omitempty" doc:"of a range: of this currency"`
}

// WebhookRedelivered is how many events are sent again.
type WebhookRedelivered struct {
	Events int64 `json:"events"`
}

type endpointInput struct {
	EndpointPath
	RawBody []byte
}

type addEndpointInput struct {
	everyWallet
	RawBody []byte
}

type listEndpointsInput struct{ everyWallet }

func (s *Server) webhookRoutes() {
	const all, one = prefix + "/webhooks", prefix + "/webhooks/{endpoint_id}"
	admin := func(r route) route {
		r.scope = access.Admin
		return r
	}
	change := func(id, method, path, summary string, body reflect.Type) route {
		r := admin(get(id, path, summary))
		r.method, r.errors = method, append(r.errors, http.StatusNotImplemented)
		if body != nil {
			r.body = s.jsonBody(body, id)
		}
		return r
	}
	register(s, admin(read("list-webhooks", all, "The endpoints that events are sent to, and how far they are")), func(ctx context.Context, _ *listEndpointsInput) (*bodyOf[WebhookList], error) {
		endpoints, err := webhooks.List(ctx, s.options.Pool, "")
		if err != nil {
			return nil, err
		}
		lags, err := feed.Lags(ctx, s.options.Pool)
		if err != nil {
			return nil, err
		}
		list := WebhookList{Items: append([]webhooks.Endpoint{}, endpoints...)}
		for _, l := range lags {
			if l.Consumer == webhooks.ConsumerName {
				list.NotQueued = l.Appends
			}
		}
		return body(list), nil
	})
	register(s, admin(get("get-webhook", one, "One endpoint")), func(ctx context.Context, in *EndpointPath) (*bodyOf[webhooks.Endpoint], error) {
		return s.endpoint(ctx, in.ID)
	})
	register(s, admin(get("list-parked-webhooks", one+"/parked", "The events of an endpoint that are parked, or that a wallet waits with; at most 1,000")),
		func(ctx context.Context, in *EndpointPath) (*bodyOf[[]ParkedEvent], error) {
			events, err := webhooks.ListEvents(ctx, s.options.Pool, in.ID)
			if err != nil {
				return nil, err
			}
			list := make([]ParkedEvent, len(events))
			for i, e := range events {
				list[i] = ParkedEvent{e}
			}
			return body(list), nil
		})
	add := change("add-webhook", http.MethodPost, all, "Send the events from now on to a URL", reflect.TypeFor[WebhookSettings]())
	add.status, add.errors, add.text = http.StatusCreated, []int{http.StatusNotImplemented}, "Each call adds one: where there was no answer, look at the list first."
	register(s, add, func(ctx context.Context, in *addEndpointInput) (*bodyOf[WebhookSecret], error) {
		var settings WebhookSettings
		store, err := s.storeFor(in.RawBody, &settings)
		if err != nil {
			return nil, err
		}
		id, secret, err := store.Add(ctx, settings.settings(), access.From(ctx).Subject)
		return bodyOrError(WebhookSecret{id, secret}, err)
	})
	register(s, change("change-webhook", http.MethodPut, one, "Replace the settings of an endpoint", reflect.TypeFor[WebhookSettings]()), func(ctx context.Context, in *endpointInput) (*bodyOf[webhooks.Endpoint], error) {
		var settings WebhookSettings
		store, err := s.storeFor(in.RawBody, &settings)
		if err != nil {
			return nil, err
		}
		if err := store.Change(ctx, in.ID, settings.settings()); err != nil {
			return nil, err
		}
		return s.endpoint(ctx, in.ID)
	})
	for name, row := range map[string]struct {
		summary string
		do      func(*webhooks.Store, context.Context, string) error
	}{
		"pause":  {"Send nothing to an endpoint until it is resumed", (*webhooks.Store).Pause},
		"resume": {"Send to an endpoint again that was paused or parked, or that is down", (*webhooks.Store).Resume},
	} {
		register(s, change(name+"-webhook", http.MethodPost, one+"/"+name, row.summary, nil), func(ctx context.Context, in *EndpointPath) (*bodyOf[webhooks.Endpoint], error) {
			store, err := s.webhookStore()
			if err != nil {
				return nil, err
			}
			if err := row.do(store, ctx, in.ID); err != nil {
				return nil, err
			}
			return s.endpoint(ctx, in.ID)
		})
	}
	remove := change("remove-webhook", http.MethodDelete, one, "Forget an endpoint, and what it is still to be sent", nil)
	remove.status = http.StatusNoContent
	register(s, remove, func(ctx context.Context, in *EndpointPath) (*struct{}, error) {
		store, err := s.webhookStore()
		if err != nil {
			return nil, err
		}
		return nil, store.Remove(ctx, in.ID)
	})
	register(s, change("rotate-webhook", http.MethodPost, one+"/rotate", "Make a new secret for an endpoint", reflect.TypeFor[WebhookRotation]()), func(ctx context.Context, in *endpointInput) (*bodyOf[WebhookSecret], error) {
		var rotation WebhookRotation
		store, err := s.storeFor(in.RawBody, &rotation)
		if err != nil {
			return nil, err
		}
		overlap := webhooks.DefaultOverlap
		if rotation.Overlap != "" {
			if overlap, err = time.ParseDuration(rotation.Overlap); err != nil {
				return nil, badInput("overlap", rotation.Overlap, "overlap is %.60q: send a duration, such as 24h or 0s", rotation.Overlap)
			}
		}
		secret, err := store.Rotate(ctx, in.ID, overlap)
		return bodyOrError(WebhookSecret{in.ID, secret}, err)
	})
	register(s, change("redeliver-webhook", http.MethodPost, one+"/redeliver", "Send events again: one, all parked ones, or a range of time", reflect.TypeFor[WebhookRedelivery]()), s.redeliver)
}

func (s *Server) endpoint(ctx context.Context, id string) (*bodyOf[webhooks.Endpoint], error) {
	found, err := webhooks.List(ctx, s.options.Pool, id)
	if err != nil {
		return nil, err
	}
	return body(found[0]), nil
}

// storeFor reads a body, and returns what changes endpoints.
func (s *Server) storeFor(content []byte, into any) (*webhooks.Store, error) {
	if err := wallet.DecodeInput(content, into); err != nil {
		return nil, err
	}
	return s.webhookStore()
}

// webhookStore changes endpoints.
func (s *Server) webhookStore() (*webhooks.Store, error) {
	if s.options.Webhooks == nil {
		return nil, problem(notConfigured, "this server may not change webhooks: start it with WALLET_WEBHOOK_DATABASE_URL")
	}
	return s.options.Webhooks, nil
}

func (s *Server) redeliver(ctx context.Context, in *endpointInput) (*bodyOf[WebhookRedelivered], error) {
	var r WebhookRedelivery
	store, err := s.storeFor(in.RawBody, &r)
	if err != nil {
		return nil, err
	}
	for field, text := range map[string]string{"event_id": r.EventID, "user_id": r.UserID, "currency": r.Currency} {
		if !postgres.IsText(text) {
			return nil, badInput(field, text, "%s has a NUL", field)
		}
	}
	events, err := store.Redeliver(ctx, in.ID, webhooks.Redelivery{
		EventID: r.EventID, Parked: r.Parked, Range: webhooks.Range{Since: r.Since, Until: r.Until, UserID: r.UserID, Currency: r.Currency},
	})
	switch {
	case errors.Is(err, webhooks.ErrWhichEvents):
		err = badInput("event_id", r.EventID, "say which events: send one of event_id, parked and since")
	case errors.Is(err, webhooks.ErrNoSince):
		err = badInput("since", "", "until, user_id and currency are of a range: send since too")
	}
	return bodyOrError(WebhookRedelivered{events}, err)
}
