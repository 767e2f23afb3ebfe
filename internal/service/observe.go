package service

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"go.temporal.io/sdk/client"

	"github.com/valueledger/wallet/internal/service/telemetry"
)

// HTTPOff, as an address, means no HTTP server.
const HTTPOff = "off"

// errNotRunning is what a probe gets while the worker takes no work.
var errNotRunning = errors.New("the worker is starting or stopping")

// observe makes the metrics cover what the worker depends on, and starts the HTTP server.
func (s *Service) observe(o Options) error {
	if o.Metrics == nil {
		return nil
	}
	err := o.Metrics.ObservePool(o.Pool)
	if err != nil || o.HTTPAddress == HTTPOff {
		return err
	}
	// A separate connection lets a probe check Postgres itself, without depending on how busy
	// the steps' pool is or taking a connection from it. It is renewed, because a session's
	// rights are fixed when it begins.
	own := o.Pool.Config()
	own.MinConns, own.MinIdleConns, own.MaxConns, own.MaxConnLifetime = 0, 0, 1, time.Minute
	if s.probe, err = pgxpool.NewWithConfig(context.Background(), own); err != nil {
		return err
	}
	s.http, err = telemetry.Serve(o.HTTPAddress, o.Metrics.Handler(), o.Logger, []telemetry.Check{
		{Name: "worker", Do: func(context.Context) error {
			if !s.running.Load() {
				return errNotRunning
			}
			return nil
		}},
		{Name: "postgres", Do: func(ctx context.Context) error { return checkPostgres(ctx, s.probe) }},
		{Name: "temporal", Do: func(ctx context.Context) error {
			_, err := o.Temporal.CheckHealth(ctx, &client.CheckHealthRequest{})
			return err
		}},
	})
	if err != nil {
		s.probe.Close()
	}
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
	err := s.http.Close()
	s.probe.Close()
	return err
}
