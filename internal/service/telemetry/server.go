package telemetry

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"
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

// Serve listens on an address such as "127.0.0.1:9464" and answers until Close.
func Serve(address string, metrics http.Handler, checks []Check) (*Server, error) {
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
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, r *http.Request) { answerReady(w, r, checks) })
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

// answerReady says for each check "ok" or what is wrong, and 503 if one is.
func answerReady(w http.ResponseWriter, r *http.Request, checks []Check) {
	ctx, cancel := context.WithTimeout(r.Context(), checkPatience)
	defer cancel()
	answer, status := map[string]string{}, http.StatusOK
	for _, check := range checks {
		answer[check.Name] = "ok"
		if err := check.Do(ctx); err != nil {
			answer[check.Name], status = err.Error(), http.StatusServiceUnavailable
		}
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(answer)
}
