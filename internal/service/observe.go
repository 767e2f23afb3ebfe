package service

import (
	"context"
	"errors"

	"go.temporal.io/sdk/client"

	"github.com/valueledger/wallet/internal/service/telemetry"
	"github.com/valueledger/wallet/migrations"
)

// HTTPOff as an address is no HTTP server.
const HTTPOff = "off"

// errNotRunning is what a probe gets while the worker takes no work.
var errNotRunning = errors.New("the worker is starting or stopping")

// observe has the metrics tell of what the worker uses, and answers on HTTP.
func (s *Service) observe(o Options) error {
	if o.Metrics == nil {
		return nil
	}
	err := o.Metrics.ObservePool(o.Pool)
	if err != nil || o.HTTPAddress == HTTPOff {
		return err
	}
	s.http, err = telemetry.Serve(o.HTTPAddress, o.Metrics.Handler(), []telemetry.Check{
		{Name: "worker", Do: func(context.Context) error {
			if !s.running.Load() {
				return errNotRunning
			}
			return nil
		}},
		{Name: "postgres", Do: func(ctx context.Context) error { return migrations.Check(ctx, o.Pool) }},
		{Name: "temporal", Do: func(ctx context.Context) error {
			_, err := o.Temporal.CheckHealth(ctx, &client.CheckHealthRequest{})
			return err
		}},
	})
	return err
}

// URL is where the worker answers HTTP; empty if it does not.
func (s *Service) URL() string {
	if s.http == nil {
		return ""
	}
	return s.http.URL()
}

func (s *Service) stopObserving() error {
	if s.http == nil {
		return nil
	}
	return s.http.Close()
}
