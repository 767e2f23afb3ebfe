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
	if s.probe, err = NewProbe(o.Pool, o.Temporal); err != nil {
		return err
	}
	running := telemetry.Check{Name: "worker", Do: func(context.Context) error {
		if !s.running.Load() {
			return errNotRunning
		}
		return nil
	}}
	s.http, err = telemetry.Serve(o.HTTPAddress, o.Metrics.Handler(), o.Logger, append([]telemetry.Check{running}, s.probe.Checks()...))
	if err != nil {
		s.probe.Close()
	}
	return err
}

// Probe checks Postgres and Temporal. A connection of its own lets it check Postgres itself, without
// depending on how busy a pool is or taking a connection from it.
type Probe struct {
	pool     *pgxpool.Pool
	temporal client.Client
}

// NewProbe makes a Probe of the server of a pool, to be closed.
func NewProbe(pool *pgxpool.Pool, temporal client.Client) (*Probe, error) {
	// It is renewed, because a session's rights are fixed when it begins.
	own := pool.Config()
	own.MinConns, own.MinIdleConns, own.MaxConns, own.MaxConnLifetime = 0, 0, 1, time.Minute
	one, err := pgxpool.NewWithConfig(context.Background(), own)
	return &Probe{one, temporal}, err
}

// Checks are the conditions of readiness.
func (p *Probe) Checks() []telemetry.Check {
	return []telemetry.Check{
		{Name: "postgres", Do: func(ctx context.Context) error { return checkPostgres(ctx, p.pool) }},
		{Name: "temporal", Do: func(ctx context.Context) error {
			_, err := p.temporal.CheckHealth(ctx, &client.CheckHealthRequest{})
			return err
		}},
	}
}

// Close closes its connection.
func (p *Probe) Close() { p.pool.Close() }

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
