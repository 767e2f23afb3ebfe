package telemetry

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync"
	"time"

	"go.uber.org/zap"
)

// checkPatience is how long a probe waits for Postgres and Temporal, so that its answer can say
// which one is late. The caller's timeout must be longer.
const checkPatience = 3 * time.Second

// Check is one condition of readiness.
type Check struct {
	Name string
	Do   func(context.Context) error
	// Optional is a condition that is told, and that the process is ready without.
	Optional bool
}

// Server answers on /metrics, /healthz (the process is alive) and /readyz (all checks
// pass).
type Server struct {
	http     *http.Server
	listener net.Listener
}

// Serve listens on an address such as "127.0.0.1:9464" and answers until Close. The log says
// why a check fails.
func Serve(address string, metrics http.Handler, logger *zap.Logger, checks []Check) (*Server, error) {
	if address == "" { // net.Listen would listen on every interface
		return nil, errors.New("no address for metrics and probes: set WALLET_HTTP_ADDRESS to one such as 127.0.0.1:9464, or to \"off\"")
	}
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return nil, fmt.Errorf("listen for metrics and probes on %q: set WALLET_HTTP_ADDRESS to a free address, or to \"off\": %w", address, err)
	}
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", metrics)
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	mux.HandleFunc("GET /readyz", (&readiness{logger: logger, checks: checks, logged: map[string]string{}}).answer)
	s := &Server{&http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second}, listener}
	go func() { _ = s.http.Serve(listener) }() // ends with ErrServerClosed
	return s, nil
}

// URL is where the server answers.
func (s *Server) URL() string { return "http://" + s.listener.Addr().String() }

// Close stops the server at once: an interrupted scrape is repeated.
func (s *Server) Close() error {
	if err := s.http.Close(); !errors.Is(err, net.ErrClosed) {
		return err
	}
	return nil
}

// notOK is the public answer for a failing check. An error from Postgres or Temporal contains
// hosts, roles and tables.
const notOK = "failed: the log says why"

// readiness runs the checks, and logs when the result of one changes.
type readiness struct {
	logger *zap.Logger
	checks []Check

	mu     sync.Mutex
	logged map[string]string // the last error of a failing check
}

// answer reports for each check whether it passes, with status 503 if one does not.
func (r *readiness) answer(w http.ResponseWriter, request *http.Request) {
	ctx, cancel := context.WithTimeout(request.Context(), checkPatience)
	defer cancel()
	answer, status := map[string]string{}, http.StatusOK
	for _, check := range r.checks {
		answer[check.Name] = "ok"
		err := check.Do(ctx)
		if err != nil {
			answer[check.Name] = notOK
		}
		if err != nil && !check.Optional {
			status = http.StatusServiceUnavailable
		}
		r.log(check.Name, err)
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(answer)
}

// log logs an error once: probes come every few seconds, from anybody.
func (r *readiness) log(check string, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	last, failed := r.logged[check]
	switch {
	case err == nil && failed:
		delete(r.logged, check)
		r.logger.Info("ready again", zap.String("check", check))
	case err != nil && err.Error() != last:
		r.logged[check] = err.Error()
		r.logger.Warn("not ready", zap.String("check", check), zap.Error(err))
	}
}
