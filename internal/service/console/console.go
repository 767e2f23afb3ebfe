// Package console is the console: pages for people who help customers or close the books. It reads by
// package trail and sends commands by package starter, as the HTTP API does, and has no rules of its
// own. Pages are made here, whole, and need no JavaScript.
//
// Read next: session.go (who may in), pages.go (the table of pages), change.go (what a person can
// change).
package console

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"go.uber.org/zap"

	"github.com/valueledger/wallet"
	"github.com/valueledger/wallet/activities"
	"github.com/valueledger/wallet/internal/service/access"
	"github.com/valueledger/wallet/internal/service/outcome"
	"github.com/valueledger/wallet/internal/service/postgres"
	"github.com/valueledger/wallet/internal/service/telemetry"
	"github.com/valueledger/wallet/starter"
	"github.com/valueledger/wallet/trail"
)

// Path is where the console is: it, and all below it.
const Path = "/console"

const (
	// pageRows is how many rows a list shows at once.
	pageRows = 50
	// maxFormBytes is far more than any form of the console sends.
	maxFormBytes = 64 << 10
	// policy lets a page load the console's own style and pictures, and nothing else: whatever text
	// of a caller should ever get into a page unescaped, it runs nothing.
	policy = "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)

// Options of a Console.
type Options struct {
	Auth *access.Authenticator
	Pool *pgxpool.Pool
	Read trail.Reader // the one that others verify with: verifications take turns
	// Reads is what Read reads from, and AwaitVersion waits for a version there; nil if that is Pool.
	Reads        *postgres.Reads
	AwaitVersion func(context.Context, wallet.AssetRef, int64) error
	Wallets      *starter.Client
	Logger       *zap.Logger
	// AnswerTimeout is how long a page may take.
	AnswerTimeout time.Duration
	// Key encrypts sessions, 32 bytes. Servers behind one address need the same. If it is empty,
	// sessions end with the process.
	Key []byte
	// URL is how browsers reach the server, such as https://wallet.example.com; OIDC needs it.
	URL string
	// OIDC is the provider that people log in with, besides tokens; nil for none.
	OIDC *OIDC
	// Allow reports whether a bearer may send one more request now; nil for always.
	Allow func(access.Principal) bool
	// Widely does what reads whole journals or all wallets, one at a time, the API's among them.
	Widely func(ctx context.Context, do func() error) error
}

// Console answers the requests below Path.
type Console struct {
	Options
	sessions *sessions
	isHTTPS  bool      // by Options.URL
	provider *provider // nil for none
	dryRun   activities.DryRun
	mux      *http.ServeMux
	guarded  http.Handler
}

// New makes a Console. It asks the OIDC provider for its addresses, and does not wait for the answer.
func New(ctx context.Context, o Options) (*Console, error) {
	if len(o.Key) == 0 {
		o.Key = make([]byte, keyBytes)
		_, _ = rand.Read(o.Key) // never fails
	}
	s, err := newSessions(o.Key)
	if err != nil {
		return nil, err
	}
	c := &Console{Options: o, sessions: s, isHTTPS: strings.HasPrefix(strings.ToLower(o.URL), "https:"), dryRun: activities.NewDryRun(o.Pool), mux: http.NewServeMux()}
	if o.OIDC != nil {
		c.provider = newProvider(*o.OIDC, o.URL)
		go func() {
			if _, err := c.provider.discover(ctx); err != nil {
				c.Logger.Warn("nobody can log in at the OIDC provider until it answers", zap.Error(err))
			}
		}()
	}
	c.pages()
	crossOrigin := http.NewCrossOriginProtection()
	crossOrigin.SetDenyHandler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c.Logger.Warn("a request to the console was refused", zap.String("why", "it came from another site"), zap.String("origin", r.Header.Get("Origin")))
		c.fail(w, &request{Request: r}, problem{http.StatusForbidden, "This form came from another site", "Nothing was done. Open the console itself, and try it there."})
	}))
	c.guarded = crossOrigin.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, pattern := c.mux.Handler(r)
		telemetry.SetRoute(w, pattern)
		c.mux.ServeHTTP(w, r)
	}))
	return c, nil
}

// ServeHTTP answers a request.
func (c *Console) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	for name, value := range map[string]string{
		"Content-Security-Policy":      policy,
		"X-Content-Type-Options":       "nosniff",
		"Cache-Control":                "no-store",
		"Referrer-Policy":              "same-origin", // with no-referrer, forms have no Origin to check
		"Cross-Origin-Opener-Policy":   "same-origin",
		"Cross-Origin-Resource-Policy": "same-origin",
	} {
		w.Header().Set(name, value)
	}
	c.guarded.ServeHTTP(w, r)
}

// request is one that was let through: who sent it, what is in its query or form, and the wallet that
// these name.
type request struct {
	*http.Request
	who  access.Principal
	in   bool // somebody is logged in, or need not be
	form url.Values
	ref  wallet.AssetRef
	view *postgres.View
}

func (r *request) get(name string) string { return r.form.Get(name) }

// problem is a failure that is said as it is.
type problem struct {
	status       int
	title, words string
}

func (p problem) Error() string { return p.title + ": " + p.words }

// page is a row of the table of pages. wallets says which wallets a request is about, as for a route
// of the API: an empty user id stands for all users, an empty currency for all currencies. The bearer
// must reach each. scope is what it needs besides read.
type page struct {
	pattern string
	scope   access.Scope
	wallets func(*request) ([]wallet.AssetRef, error)
	do      func(context.Context, http.ResponseWriter, *request) error
}

// register adds a page. Nothing reaches do unless the bearer has the scope and reaches the wallets.
func (c *Console) register(p page) {
	c.mux.HandleFunc(p.pattern, func(w http.ResponseWriter, hr *http.Request) {
		r := &request{Request: hr}
		var err error
		if r.who, err = c.authenticate(hr); err != nil {
			c.askToLogIn(w, r, err)
			return
		}
		r.in = true
		ctx, cancel := context.WithTimeout(hr.Context(), c.AnswerTimeout)
		defer cancel()
		ctx, r.view = postgres.NewView(ctx)
		if err := c.mayUse(w, r, p); err != nil {
			c.fail(w, r, err)
		} else if err := c.await(ctx, r); err != nil {
			c.fail(w, r, err)
		} else if err := p.do(ctx, w, r); err != nil {
			c.fail(w, r, err)
		}
	})
}

// await waits for the version that a person's own change has made.
func (c *Console) await(ctx context.Context, r *request) error {
	version, err := strconv.ParseInt(r.get("at_least_version"), 10, 64)
	if err != nil || c.Reads == nil {
		return nil
	}
	return c.AwaitVersion(ctx, r.ref, version)
}

// mayUse reads the form, and denies what the bearer's token does not allow.
func (c *Console) mayUse(w http.ResponseWriter, r *request, p page) error {
	if c.Allow != nil && !c.Allow(r.who) {
		return problem{http.StatusTooManyRequests, "Too many requests", "Wait a second, and load the page again."}
	}
	if err := r.readForm(w); err != nil {
		return err
	}
	for _, scope := range []access.Scope{access.Read, p.scope} { // every page shows something
		if !r.who.Has(scope) {
			c.logDenied(r, p, "scope "+string(scope)+" is missing")
			return problem{http.StatusForbidden, "You may not do this", fmt.Sprintf("It needs the scope %s, which your token does not have.", scope)}
		}
	}
	refs, err := p.wallets(r)
	if err != nil {
		return err
	}
	for _, ref := range refs {
		if !r.who.Reaches(ref) {
			c.logDenied(r, p, "the token does not reach it")
			return notReached
		}
	}
	return nil
}

var notReached = problem{http.StatusForbidden, "You may not see this", "Your token does not reach it."}

func (c *Console) logDenied(r *request, p page, why string) {
	c.Logger.Warn("a request to the console was refused", zap.String("why", why), zap.String("subject", r.who.Subject), zap.String("route", p.pattern))
}

func (r *request) readForm(w http.ResponseWriter) error {
	if r.Method != http.MethodPost {
		var err error
		if r.form, err = url.ParseQuery(r.URL.RawQuery); err != nil {
			return problem{http.StatusBadRequest, "The address cannot be read", "A part of it is not escaped."}
		}
	} else {
		r.Body = http.MaxBytesReader(w, r.Body, maxFormBytes)
		if err := r.ParseForm(); err != nil {
			return problem{http.StatusBadRequest, "The form cannot be read", "It is too large, or not a form."}
		}
		r.form = r.PostForm
	}
	for _, values := range r.form {
		for _, v := range values {
			if !postgres.IsText(v) {
				return problem{http.StatusBadRequest, "The request cannot be read", "It contains bytes that are not text."}
			}
		}
	}
	return nil
}

// What pages are about.

func ofNone(*request) ([]wallet.AssetRef, error) { return nil, nil }

func ofAll(*request) ([]wallet.AssetRef, error) { return []wallet.AssetRef{{}}, nil }

func ofWallet(r *request) ([]wallet.AssetRef, error) {
	r.ref = wallet.AssetRef{UserID: r.get("user"), Currency: r.get("currency")}
	return []wallet.AssetRef{r.ref}, wallet.ValidateWallet(r.ref.UserID, r.ref.Currency)
}

// ofUser is for pages that leave out the currencies that the bearer does not reach.
func ofUser(r *request) ([]wallet.AssetRef, error) {
	r.ref.UserID = r.get("user")
	some := r.ref
	if len(r.who.Currencies) > 0 {
		some.Currency = r.who.Currencies[0]
	}
	return []wallet.AssetRef{some}, wallet.ValidateUserID(r.ref.UserID)
}

// fail shows an error. What is no fault of the reader is logged, and not shown: it may name hosts,
// roles and tables.
func (c *Console) fail(w http.ResponseWriter, r *request, err error) {
	var known problem
	if !errors.As(err, &known) {
		switch kind := outcome.Of(err); kind {
		case outcome.Unavailable, outcome.NoAnswer:
			c.Logger.Warn("a page of the console is not available", zap.Error(err))
			known = problem{http.StatusServiceUnavailable, "There is no answer", "A server is not responding, or there is too much to read. Try again."}
		case outcome.Failed:
			c.Logger.Error("a page of the console failed", zap.Error(err))
			known = problem{kind.HTTP, "Something went wrong", "The log of the server says why."}
		default:
			known = problem{kind.HTTP, kind.Title, err.Error()}
		}
	}
	if r.Context().Err() != nil {
		return // nobody is there
	}
	if err := c.render(w, r, known.status, "problem", known.title, known.words); err != nil {
		c.Logger.Error("the console cannot show a problem", zap.Error(err))
	}
}
