package httpserver

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"go.uber.org/zap"
	"golang.org/x/net/netutil"
)

// Limits of a connection.
const (
	maxHeaderBytes = 32 << 10
	headerTimeout  = 5 * time.Second
	idleTimeout    = time.Minute
	// writeMargin is how long the caller may take to read an answer.
	writeMargin = 20 * time.Second
	// maxConnections are accepted at once; others wait in the kernel's queue.
	maxConnections = 10_000
	// stopPatience is how long a stop waits for requests in progress.
	stopPatience = 15 * time.Second
)

// bodyTimeout is how long a body may take to arrive.
var bodyTimeout = 20 * time.Second

// Listen opens a listener. Without tokens it has to be for this machine alone.
func (s *Server) Listen(address string) (net.Listener, error) {
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return nil, fmt.Errorf("listen for the HTTP API on %q: %w", address, err)
	}
	if ip := listener.Addr().(*net.TCPAddr).IP; s.auth.IsOff() && !ip.IsLoopback() {
		_ = listener.Close()
		return nil, fmt.Errorf("%s can be reached from other machines, and no token is required: configure tokens (--tokens-file, --jwks), or listen on 127.0.0.1", listener.Addr())
	}
	return netutil.LimitListener(listener, maxConnections), nil
}

// Serve answers on a listener until ctx ends, then lets requests in progress finish.
func (s *Server) Serve(ctx context.Context, listener net.Listener, certificates *tls.Config) error {
	server := &http.Server{
		Handler: s.Handler(), ReadHeaderTimeout: headerTimeout, ReadTimeout: headerTimeout + bodyTimeout,
		WriteTimeout: headerTimeout + bodyTimeout + s.options.AnswerTimeout + checkPatience + writeMargin,
		IdleTimeout:  idleTimeout, MaxHeaderBytes: maxHeaderBytes, TLSConfig: certificates, ErrorLog: zap.NewStdLog(s.logger),
	}
	stopped := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(stopped)
		s.stop()
		patience, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopPatience)
		defer cancel()
		_ = server.Shutdown(patience) // requests that take longer are cut off
	})
	defer stop()
	var err error
	if certificates != nil {
		err = server.ServeTLS(listener, "", "")
	} else {
		err = server.Serve(listener)
	}
	if !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	<-stopped
	return nil
}
