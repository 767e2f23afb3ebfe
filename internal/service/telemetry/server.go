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

// checkPatience is how long a probe waits for Postgres and Temporal, so that an answer
// says which of them is late. Who asks has to wait longer than that to get it.
const checkPatience = 3 * time.Second

// Check is one condition of readiness.
type Check struct {
	Name string
	Do   func(context.Context) error
}

// Server answers on /metrics, /healthz (the process is alive) and /readyz (all checks
// pass).
type Server struct {
	http     *http.Server
	listener net.Listener
}

// Serve listens on an address such as "127.0.0.1:9464" and answers until Close. Why a
// check fails goes to the log.
func Serve(address string, metrics http.Handler, logger *zap.Logger, checks []Check) (*Server, error) {
	if address == "" { // net.Listen would take every interface
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

// Close ends it at once: a scrape that is cut off comes again.
func (s *Server) Close() error {
	if err := s.http.Close(); !errors.Is(err, net.ErrClosed) {
		return err
	}
	return nil
}

// notOK is what anybody may know of a check that fails. An error of Postgres or Temporal
// names hosts, roles and tables.
const notOK = "failed: the worker's log says why"

// readiness answers for the checks, and logs when what one of them says has changed.
type readiness struct {
	logger *zap.Logger
	checks []Check

	mu     sync.Mutex
	logged map[string]string // the last error of a check that fails
}

// answer says for each check whether it passes, and 503 if one does not.
func (r *readiness) answer(w http.ResponseWriter, request *http.Request) {
	ctx, cancel := context.WithTimeout(request.Context(), checkPatience)
	defer cancel()
	answer, status := map[string]string{}, http.StatusOK
	for _, check := range r.checks {
		answer[check.Name] = "ok"
		err := check.Do(ctx)
		if err != nil {
			answer[check.Name], status = notOK, http.StatusServiceUnavailable
		}
		r.log(check.Name, err)
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(answer)
}

// log says the same once: probes come every few seconds, from anybody.
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
