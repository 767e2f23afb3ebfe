// Package codecserver lets Temporal's Web UI and CLI show encrypted payloads: they send them to
// this HTTP server, which has the keys and requires a token.
package codecserver

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/rs/cors"
	"go.temporal.io/sdk/converter"

	"github.com/valueledger/wallet/codec"
)

const (
	// minToken is long enough to be unguessable if the token is random.
	minToken = 16
	// maxBody is more than one page of a history in the Web UI.
	maxBody = 32 << 20
	// stopPatience is how long a stop waits for requests in progress.
	stopPatience = 5 * time.Second
)

// Options of a server. All but UIOrigins are required.
type Options struct {
	Keys  *codec.Keys
	Token string
	// UIOrigins are the Web UI's origins, for example http://127.0.0.1:8233. Browsers let no
	// other site's pages read an answer.
	UIOrigins []string
}

// Handler answers POST .../encode and .../decode for anyone with the token: as "Authorization:
// Bearer", or as the password of HTTP basic authentication, which a browser can send.
func Handler(o Options) (http.Handler, error) {
	if len(o.Keys.IDs()) == 0 {
		return nil, fmt.Errorf("%s is not set: give the codec server the keys of the workers", codec.Setting)
	}
	if len(o.Token) < minToken {
		return nil, fmt.Errorf(`the token has %d characters, at least %d are needed: make one with "openssl rand -hex 32"`, len(o.Token), minToken)
	}
	for _, origin := range o.UIOrigins {
		if origin == "" || strings.Contains(origin, "*") {
			return nil, fmt.Errorf("origin %q of the Web UI is not valid: give one such as http://127.0.0.1:8233", origin)
		}
	}
	payloads := converter.NewPayloadCodecHTTPHandler(o.Keys)
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintln(w, "The codec server of the wallet. This address is the codec endpoint.")
	})
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		r.Body = http.MaxBytesReader(w, r.Body, maxBody)
		payloads.ServeHTTP(w, r)
	})
	origins := cors.New(cors.Options{
		// An empty list would mean everybody, so use a function.
		AllowOriginFunc:  func(origin string) bool { return contains(o.UIOrigins, origin) },
		AllowedMethods:   []string{http.MethodPost},
		AllowedHeaders:   []string{"Content-Type", "Authorization", "X-Namespace"},
		AllowCredentials: true,
	})
	return origins.Handler(demandToken(o.Token, mux)), nil
}

func contains(origins []string, origin string) bool {
	for _, allowed := range origins {
		if strings.EqualFold(strings.TrimSuffix(allowed, "/"), origin) {
			return true
		}
	}
	return false
}

func demandToken(token string, next http.Handler) http.Handler {
	want := sha256.Sum256([]byte(token))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		given, isBearer := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
		if !isBearer {
			_, given, _ = r.BasicAuth()
		}
		// Compare hashes, so that not even the length can be measured.
		got := sha256.Sum256([]byte(given))
		if subtle.ConstantTimeCompare(got[:], want[:]) != 1 {
			w.Header().Set("WWW-Authenticate", `Basic realm="wallet codec server: the token is the password"`)
			http.Error(w, "the token is missing or wrong: send it as \"Authorization: Bearer TOKEN\"", http.StatusUnauthorized)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// Serve answers on a listener until ctx ends.
func Serve(ctx context.Context, listener net.Listener, handler http.Handler) error {
	server := &http.Server{Handler: handler, ReadHeaderTimeout: 10 * time.Second, ReadTimeout: time.Minute, IdleTimeout: time.Minute}
	stop := context.AfterFunc(ctx, func() {
		patience, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopPatience)
		defer cancel()
		_ = server.Shutdown(patience) // requests that take longer are cut off
	})
	defer stop()
	if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}
