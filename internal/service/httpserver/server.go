// Package httpserver is the HTTP API: commands by package starter, reads by package trail. It has no
// rules of its own. Read next: routes.go (how a request is let through),
// commands.go.
package httpserver

import (
	"context"
	"fmt"
	"math"
	"net/http"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"
	lru "github.com/hashicorp/golang-lru/v2"
	"github.com/jackc/pgx/v5/pgxpool"
	"go.uber.org/zap"
	"golang.org/x/sync/semaphore"
	"golang.org/x/sync/singleflight"
	"golang.org/x/time/rate"

	"github.com/valueledger/wallet/internal/service/access"
	"github.com/valueledger/wallet/internal/service/loopback"
	"github.com/valueledger/wallet/internal/service/outcome"
	"github.com/valueledger/wallet/internal/service/postgres"
	"github.com/valueledger/wallet/internal/service/telemetry"
	"github.com/valueledger/wallet/internal/service/webhooks"
	"github.com/valueledger/wallet/starter"
	"github.com/valueledger/wallet/trail"
)

// Limits of what a client may use of the server; those of a connection are in listen.go.
const (
	// maxLimited is how many tokens are told apart for the rate limit.
	maxLimited = 10_000
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
	// Reads is where reads of the journal go; nil for Pool.
	Reads  *postgres.Reads
	Auth   *access.Authenticator
	Logger *zap.Logger
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
	read     trail.Reader // of Options.Reads
	current  trail.Reader // of Options.Pool
	logger   *zap.Logger
	api      huma.API
	document document
	mux      *http.ServeMux
	checking singleflight.Group
	limiters *lru.Cache[string, *rate.Limiter]
	wide     *semaphore.Weighted // see Widely
	stages   slots
	checks   slots
	streams  slots
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
		options: o, auth: o.Auth, wallets: o.Wallets, read: trail.New(o.Pool), current: trail.New(o.Pool), logger: o.Logger, mux: http.NewServeMux(), wide: semaphore.NewWeighted(1),
		limiters: limiters, stages: slots{most: maxStages, mostOfToken: 1}, checks: slots{most: maxChecks, mostOfToken: 1},
		streams: slots{most: maxStreams, mostOfToken: maxStreamsOfToken}, catchUp: semaphore.NewWeighted(maxCatchUp), tail: tail{db: o.Pool}, files: map[string]bool{}, origins: http.NewCrossOriginProtection(),
	}
	if o.Reads != nil {
		s.read = trail.New(o.Reads.Pool)
	}
	s.stopping, s.stop = context.WithCancel(context.Background())
	config := huma.DefaultConfig("Wallet", "1")
	config.CreateHooks = nil // no $schema in answers
	config.OpenAPIPath, config.DocsPath, config.SchemasPath = "", "", ""
	config.Formats = map[string]huma.Format{"application/json": huma.DefaultJSONFormat, "json": huma.DefaultJSONFormat}
	config.Info.Description = "Balances of users, and commands that change them. What was read from a standby has the header Wallet-Age: how many seconds old it can be. See docs/http.md."
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

// Widely does what reads whole journals or all wallets, one at a time: each takes several connections
// of the pool.
func (s *Server) Widely(ctx context.Context, do func() error) error {
	if err := s.wide.Acquire(ctx, 1); err != nil {
		return err
	}
	defer s.wide.Release(1)
	return do()
}

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
	c := &connection{ResponseController: http.NewResponseController(w), header: w.Header(), body: r.Body, isHead: r.Method == http.MethodHead}
	bearer, p := s.authenticate(r, c)
	if p != nil {
		return nil, p
	}
	if s.auth.IsOff() && s.origins.Check(r) != nil { // a page of another site in a browser could send it
		s.logDenied(bearer, pattern, "another origin")
		return nil, problem(forbidden, "the request is from a page of another site")
	}
	if p := checkHeaders(r, s.files[pattern]); p != nil {
		return nil, p
	}
	ctx, _ := postgres.NewView(context.WithValue(access.NewContext(r.Context(), bearer), connectionKey{}, c))
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
