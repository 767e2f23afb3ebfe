// Package httpserver is the HTTP API: commands by package starter, reads by package trail. It has no
// rules of its own. Read next: routes.go (how a request is let through),
// commands.go.
package httpserver

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"math"
	"net"
	"net/http"
	"net/url"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"
	lru "github.com/hashicorp/golang-lru/v2"
	"github.com/jackc/pgx/v5/pgxpool"
	"go.uber.org/zap"
	"golang.org/x/net/netutil"
	"golang.org/x/sync/semaphore"
	"golang.org/x/sync/singleflight"
	"golang.org/x/time/rate"

	"github.com/valueledger/wallet/internal/service/access"
	"github.com/valueledger/wallet/internal/service/loopback"
	"github.com/valueledger/wallet/internal/service/outcome"
	"github.com/valueledger/wallet/internal/service/telemetry"
	"github.com/valueledger/wallet/internal/service/webhooks"
	"github.com/valueledger/wallet/starter"
	"github.com/valueledger/wallet/trail"
)

// Limits of what a client may use of the server.
const (
	maxHeaderBytes = 32 << 10
	headerTimeout  = 5 * time.Second
	bodyTimeout    = 20 * time.Second
	idleTimeout    = time.Minute
	// writeMargin is how long the caller may take to read an answer.
	writeMargin = 20 * time.Second
	// maxConnections are accepted at once; others wait in the kernel's queue.
	maxConnections = 10_000
	// maxLimited is how many tokens are told apart for the rate limit.
	maxLimited = 10_000
	// stopPatience is how long a stop waits for requests in progress.
	stopPatience = 15 * time.Second
	// maxStages and maxChecks are how many files are staged, and checked, at once: each takes a
	// connection of the pool for as long as it lasts.
	maxStages = 2
	maxChecks = 2
	// maxCatchUp is how many streams that are behind read Postgres at once: they read without a pause,
	// and leave the other connections of the pool to requests.
	maxCatchUp = 2
)

// Options of a Server.
type Options struct {
	Wallets *starter.Client
	Pool    *pgxpool.Pool
	Auth    *access.Authenticator
	Logger  *zap.Logger
	// Checks are of what a command needs. They must not depend on how busy the pool is.
	Checks []telemetry.Check
	// AnswerTimeout is how long a request waits for its answer.
	AnswerTimeout time.Duration
	// Rate is how many requests a second a token may send, in bursts of twice as many; 0 for any.
	Rate float64
	// Webhooks changes the endpoints of webhooks; nil if this server may not.
	Webhooks *webhooks.Store
	// Wrap, if not nil, observes all requests.
	Wrap func(http.Handler) http.Handler
}

// DefaultAnswerTimeout is below the time after which most clients and proxies give up.
const DefaultAnswerTimeout = 10 * time.Second

// Server answers HTTP.
type Server struct {
	// console answers what is below its path.
	console     http.Handler
	consolePath string

	options  Options
	auth     *access.Authenticator
	wallets  *starter.Client
	read     trail.Reader
	logger   *zap.Logger
	api      huma.API
	document document
	mux      *http.ServeMux
	checking singleflight.Group
	limiters *lru.Cache[string, *rate.Limiter]
	// wide is for reads of whole journals, one at a time: each takes several connections of the pool.
	wide    *semaphore.Weighted
	stages  slots
	checks  slots
	streams slots
	// catchUp is for streams that read pages of the past, a page at a time.
	catchUp *semaphore.Weighted
	tail    tail
	files   map[string]bool // patterns of routes that take a file
	origins *http.CrossOriginProtection
	// stopping ends streams, which would last.
	stopping context.Context
	stop     context.CancelFunc
}

// New makes a Server.
func New(o Options) (*Server, error) {
	limiters, err := lru.New[string, *rate.Limiter](maxLimited)
	if err != nil {
		return nil, err
	}
	if o.AnswerTimeout <= 0 {
		o.AnswerTimeout = DefaultAnswerTimeout
	}
	s := &Server{
		options: o, auth: o.Auth, wallets: o.Wallets, read: trail.New(o.Pool), logger: o.Logger, mux: http.NewServeMux(), wide: semaphore.NewWeighted(1),
		limiters: limiters, stages: slots{most: maxStages, mostOfToken: 1}, checks: slots{most: maxChecks, mostOfToken: 1},
		streams: slots{most: maxStreams, mostOfToken: maxStreamsOfToken}, catchUp: semaphore.NewWeighted(maxCatchUp), tail: tail{db: o.Pool}, files: map[string]bool{}, origins: http.NewCrossOriginProtection(),
	}
	s.stopping, s.stop = context.WithCancel(context.Background())
	config := huma.DefaultConfig("Wallet", "1")
	config.CreateHooks = nil // no $schema in answers
	config.OpenAPIPath, config.DocsPath, config.SchemasPath = "", "", ""
	config.Formats = map[string]huma.Format{"application/json": huma.DefaultJSONFormat, "json": huma.DefaultJSONFormat}
	config.Info.Description = "Balances of users, and commands that change them. See docs/http.md."
	config.Components.SecuritySchemes = map[string]*huma.SecurityScheme{"token": {Type: "http", Scheme: "bearer"}}
	s.api = humago.New(s.mux, config)
	aliasTypes(s.api.OpenAPI().Components.Schemas)
	s.commandRoutes()
	s.dryRunRoutes()
	s.readRoutes()
	s.statementRoutes()
	s.eventRoutes()
	s.runRoutes()
	s.webhookRoutes()
	s.mux.HandleFunc("GET /openapi.json", s.writeOpenAPI)
	return s, nil
}

// OpenAPI is the document of the API.
func (s *Server) OpenAPI() *huma.OpenAPI { return s.api.OpenAPI() }

// Handler answers all requests.
func (s *Server) Handler() http.Handler {
	var handler http.Handler = http.HandlerFunc(s.serve)
	if s.options.Wrap != nil {
		handler = s.options.Wrap(handler)
	}
	return handler
}

// Mount has the console answer a path and all below it. It asks for tokens in its own way.
func (s *Server) Mount(path string, console http.Handler) { s.consolePath, s.console = path, console }

// Read is the reader that the API verifies with: verifications with it take turns.
func (s *Server) Read() trail.Reader { return s.read }

// Allow reports whether a bearer may send one more request now.
func (s *Server) Allow(bearer access.Principal) bool {
	return s.options.Rate <= 0 || s.limiter(bearer.Key).Allow()
}

// serve refuses what no route may see, finds out who is calling, and passes on the rest.
func (s *Server) serve(w http.ResponseWriter, r *http.Request) {
	header := w.Header()
	header.Set("X-Content-Type-Options", "nosniff")
	header.Set("Cache-Control", "no-store")
	if s.auth.IsOff() && !loopback.IsHostPort(r.Host) { // a name of somebody else's that leads here: DNS rebinding
		problem(forbidden, "without tokens only 127.0.0.1 is served, and the request is for another host").write(w)
		return
	}
	if s.console != nil && (r.URL.Path == s.consolePath || strings.HasPrefix(r.URL.Path, s.consolePath+"/")) {
		s.console.ServeHTTP(w, r)
		return
	}
	if p := checkURL(r.URL); p != nil {
		p.write(w)
		return
	}
	handler, pattern := s.mux.Handler(r)
	telemetry.SetRoute(w, pattern)
	if r.URL.Path == prefix || strings.HasPrefix(r.URL.Path, prefix+"/") {
		authorized, p := s.authorize(w, r, pattern)
		if p != nil {
			p.write(w)
			return
		}
		r = authorized
	}
	if pattern == "" {
		s.unrouted(w, r, handler)
		return
	}
	s.mux.ServeHTTP(w, r)
}

// authorize finds out who is calling, and what a route has to know of the request.
func (s *Server) authorize(w http.ResponseWriter, r *http.Request, pattern string) (*http.Request, *Problem) {
	c := &connection{ResponseController: http.NewResponseController(w), body: r.Body, isHead: r.Method == http.MethodHead}
	bearer, p := s.authenticate(r, c)
	if p != nil {
		return nil, p
	}
	if s.auth.IsOff() && s.origins.Check(r) != nil { // a page of another site in a browser could send it
		s.logDenied(bearer, pattern, "another origin")
		return nil, problem(forbidden, "the request is from a page of another site")
	}
	if p := s.prepare(r, s.files[pattern]); p != nil {
		return nil, p
	}
	ctx := context.WithValue(access.NewContext(r.Context(), bearer), connectionKey{}, c)
	if wait, ok := preferredWait(r.Header); ok {
		ctx = context.WithValue(ctx, waitKey{}, wait)
	}
	// Without Accept, huma answers application/json under that name; routes that have CSV look at acceptsCSV.
	c.acceptsCSV = strings.Contains(strings.ToLower(r.Header.Get("Accept")), csvType)
	r.Header.Del("Accept")
	return r.WithContext(ctx), nil
}

// unrouted says that there is no such path, or what methods it takes.
func (s *Server) unrouted(w http.ResponseWriter, r *http.Request, handler http.Handler) {
	probe := &headersOnly{header: http.Header{}}
	handler.ServeHTTP(probe, r)
	if allow := probe.header.Get("Allow"); allow != "" {
		problem(notAllowed, "%s is not a method of this path: use %s", r.Method, allow).with("Allow", allow).write(w)
		return
	}
	problem(outcome.NotFound, "there is no such path: see /openapi.json").write(w)
}

type headersOnly struct{ header http.Header }

func (h *headersOnly) Header() http.Header         { return h.header }
func (h *headersOnly) Write(b []byte) (int, error) { return len(b), nil }
func (h *headersOnly) WriteHeader(int)             {}

// authenticate finds the bearer of a request, and holds back one who sends too much.
func (s *Server) authenticate(r *http.Request, c *connection) (access.Principal, *Problem) {
	token, p := bearerToken(r.Header)
	c.token = token
	if p != nil {
		return access.Principal{}, p
	}
	bearer, err := s.auth.Authenticate(r.Context(), token)
	if err != nil {
		s.logger.Warn("a request was refused", zap.String("why", err.Error()), zap.String("method", r.Method), zap.String("remote", r.RemoteAddr))
		if !access.IsRefusal(err) {
			return bearer, problem(outcome.Unavailable, "tokens cannot be checked now").with("Retry-After", retryAfter)
		}
		challenge := `Bearer realm="wallet"`
		if token != "" {
			challenge += `, error="invalid_token"`
		}
		return bearer, problem(unauthenticated, "the token is missing, or it is not valid").with("WWW-Authenticate", challenge)
	}
	if !s.Allow(bearer) {
		s.logger.Warn("a request was refused", zap.String("why", "too many requests"), zap.String("subject", bearer.Subject))
		seconds := max(1, math.Ceil(1/s.options.Rate))
		return bearer, problem(tooMany, "the token has sent more than %v requests a second", s.options.Rate).with("Retry-After", fmt.Sprintf("%.0f", seconds))
	}
	return bearer, nil
}

func (s *Server) limiter(key string) *rate.Limiter {
	if l, known := s.limiters.Get(key); known {
		return l
	}
	l := rate.NewLimiter(rate.Limit(s.options.Rate), max(1, int(2*s.options.Rate)))
	if before, known, _ := s.limiters.PeekOrAdd(key, l); known {
		return before
	}
	return l
}

func bearerToken(h http.Header) (string, *Problem) {
	values := h.Values("Authorization")
	if len(values) == 0 {
		return "", nil
	}
	scheme, token, found := strings.Cut(values[0], " ")
	if len(values) > 1 || !found || !strings.EqualFold(scheme, "Bearer") {
		return "", problem(unauthenticated, "the header Authorization is not understood").with("WWW-Authenticate", `Bearer realm="wallet", error="invalid_request"`)
	}
	return strings.TrimSpace(token), nil
}

// logDenied records what a token did not allow.
func (s *Server) logDenied(p access.Principal, route, why string) {
	s.logger.Warn("a request was refused", zap.String("why", why), zap.String("subject", p.Subject), zap.String("route", route))
}

// checkURL refuses paths that a router or a proxy could read in another way, and queries that would
// be read in part.
func checkURL(u *url.URL) *Problem {
	escaped := u.EscapedPath()
	switch {
	case !isText(u.Path):
		return badInput("path", u.Path, "the path is not valid UTF-8, or has a NUL")
	case escaped != "/" && path.Clean(escaped) != strings.TrimSuffix(escaped, "/"), strings.Contains(escaped, "//"):
		return badInput("path", escaped, "the path has an empty step, or one that is . or ..: write such an id as %%2E or %%2E%%2E, and a slash in an id as %%2F")
	}
	query, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return badInput("query", u.RawQuery, "the query cannot be read: escape its values")
	}
	for name, values := range query {
		switch {
		case len(values) > 1:
			return badInput(name, values[1], "%.60q is given %d times: send it once", name, len(values))
		case values[0] == "":
			return badInput(name, "", "%.60q is empty: give it a value, or leave it out", name)
		case !isText(values[0]):
			return badInput(name, values[0], "%.60q is not valid UTF-8, or has a NUL", name)
		}
	}
	return nil
}

// isText reports whether Postgres takes it as text.
func isText(s string) bool { return utf8.ValidString(s) && !strings.ContainsRune(s, 0) }

// prepare refuses headers that would be read in part, and bodies of another type.
func (s *Server) prepare(r *http.Request, takesFile bool) *Problem {
	for _, name := range []string{"Idempotency-Key", "Content-Type", "Last-Event-ID"} {
		if values := r.Header.Values(name); len(values) > 1 {
			return badInput(name, values[1], "%s is given %d times: send it once", name, len(values))
		} else if len(values) == 1 && (values[0] == "" || !utf8.ValidString(values[0])) {
			return badInput(name, values[0], "%s is empty, or not valid UTF-8", name)
		}
	}
	if r.Method != http.MethodPost && r.Method != http.MethodPut {
		return nil
	}
	types := []string{"application/json"}
	if takesFile {
		types = fileTypes
	}
	if encoding := r.Header.Get("Content-Encoding"); encoding != "" && encoding != "identity" {
		return problem(unsupported, "the content encoding %.60q is not supported: send the body as it is", encoding)
	}
	if r.ContentLength == 0 {
		return nil
	}
	// A page of another site can send other types without asking.
	sent, _, _ := strings.Cut(r.Header.Get("Content-Type"), ";")
	if sent = strings.ToLower(strings.TrimSpace(sent)); slices.Contains(types, sent) {
		return nil
	}
	return problem(unsupported, "the content type %.60q is not supported: send %s", sent, strings.Join(types, " or "))
}

// preferredWait reads "Prefer: wait=5".
func preferredWait(h http.Header) (time.Duration, bool) {
	for _, value := range h.Values("Prefer") {
		for _, preference := range strings.Split(value, ",") {
			name, text, _ := strings.Cut(strings.TrimSpace(preference), "=")
			seconds, err := strconv.ParseUint(text, 10, 16)
			if strings.EqualFold(name, "wait") && err == nil && seconds > 0 {
				return time.Duration(seconds) * time.Second, true
			}
		}
	}
	return 0, false
}

// checkPatience is how long the checks may take.
const checkPatience = 2 * time.Second

// failedCheck names the check that fails; empty if none does. Requests that end together share its
// answer, so that they do not wait for each other.
func (s *Server) failedCheck() string {
	name, _, _ := s.checking.Do("", func() (any, error) {
		ctx, cancel := context.WithTimeout(context.Background(), checkPatience)
		defer cancel()
		for _, check := range s.options.Checks {
			if check.Do(ctx) != nil {
				return check.Name, nil
			}
		}
		return "", nil
	})
	return name.(string)
}

func (s *Server) writeOpenAPI(w http.ResponseWriter, _ *http.Request) {
	document, err := s.OpenAPIDocument()
	if err != nil {
		s.problemOf(err).write(w)
		return
	}
	w.Header().Set("Content-Type", "application/vnd.oai.openapi+json")
	_, _ = w.Write(document)
}

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
