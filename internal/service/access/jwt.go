package access

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/MicahParks/keyfunc/v3"
	"github.com/golang-jwt/jwt/v5"
	"golang.org/x/time/rate"

	"github.com/valueledger/wallet"
	"github.com/valueledger/wallet/internal/service/loopback"
)

// JWTOptions say which JWTs are accepted.
type JWTOptions struct {
	JWKS             string // the issuer's keys: a URL, or a file
	Issuer, Audience string // both are required
	Skew             time.Duration
	// KeysFailed is told when the keys cannot be fetched again; nil for nobody.
	KeysFailed func(error)
}

// algorithms are signatures by a key pair. "none" and those with a shared secret are not among
// them: with these, who may read the published keys could make a token.
var algorithms = []string{"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"}

const (
	// maxTokenBytes is more than any issuer's tokens have, and less than a header may.
	maxTokenBytes = 16 << 10
	maxSkew       = 5 * time.Minute
	// keysPatience is how long a request for the keys may take.
	keysPatience = 10 * time.Second
	keysEvery    = 15 * time.Minute
)

var (
	// unknownKeyEvery limits how often a token with an unknown key makes the keys be fetched again.
	unknownKeyEvery = 10 * time.Second
	// unknownKeyPatience is how long a request with such a token waits for its turn.
	unknownKeyPatience = 5 * time.Second
)

type jwtVerifier struct {
	keys   func() (keyfunc.Keyfunc, error)
	parser *jwt.Parser
	skew   time.Duration
}

func newJWTVerifier(ctx context.Context, o JWTOptions) (*jwtVerifier, error) {
	switch {
	case o.JWKS == "":
		return nil, errors.New("no keys to check JWTs with: give the URL or the file of the issuer's JWKS")
	case o.Issuer == "" || o.Audience == "":
		return nil, errors.New("JWTs need both an issuer and an audience: without them, tokens that were issued for others would be accepted")
	case o.Skew < 0 || o.Skew > maxSkew:
		return nil, fmt.Errorf("clock skew %s is out of range: use 0 to %s", o.Skew, maxSkew)
	}
	keys, err := readKeys(ctx, o)
	if err != nil {
		shown := o.JWKS
		if u, err := url.Parse(shown); err == nil {
			shown = u.Redacted()
		}
		return nil, fmt.Errorf("read the keys for JWTs from %s: %w", shown, err)
	}
	return &jwtVerifier{keys, jwt.NewParser(
		jwt.WithValidMethods(algorithms), jwt.WithIssuer(o.Issuer), jwt.WithAudience(o.Audience),
		jwt.WithExpirationRequired(), jwt.WithLeeway(o.Skew), jwt.WithStrictDecoding(),
	), o.Skew}, nil
}

// readKeys returns what finds the keys: those of a file that may change, or of a URL.
func readKeys(ctx context.Context, o JWTOptions) (func() (keyfunc.Keyfunc, error), error) {
	address, err := url.Parse(o.JWKS)
	if err != nil || address.Scheme != "http" && address.Scheme != "https" {
		file, err := follow(o.JWKS, func(content []byte) (keyfunc.Keyfunc, error) { return keyfunc.NewJWKSetJSON(content) })
		return func() (keyfunc.Keyfunc, error) { return file.current(time.Now()) }, err
	}
	if err := checkKeysURL(address); err != nil {
		return nil, err
	}
	first := false // a start without keys would refuse everybody
	keys, err := keyfunc.NewDefaultOverrideCtx(ctx, []string{o.JWKS}, keyfunc.Override{
		Client: &http.Client{Transport: ownTime{http.DefaultTransport}, CheckRedirect: func(to *http.Request, via []*http.Request) error {
			if len(via) > maxRedirects {
				return errors.New("too many redirects")
			}
			return checkKeysURL(to.URL)
		}},
		HTTPTimeout: keysPatience, NoErrorReturnFirstHTTPReq: &first, RefreshInterval: keysEvery,
		RefreshUnknownKID: rate.NewLimiter(rate.Every(unknownKeyEvery), 1),
		RateLimitWaitMax:  unknownKeyPatience, // of the fetch, too, but for ownTime
		RefreshErrorHandlerFunc: func(string) func(context.Context, error) {
			return func(_ context.Context, err error) {
				if o.KeysFailed != nil {
					o.KeysFailed(err)
				}
			}
		},
	})
	return func() (keyfunc.Keyfunc, error) { return keys, nil }, err
}

const maxRedirects = 3

// ownTime gives each request keysPatience, whatever is left of its context's time. The library has
// one time for the wait for a turn and for the fetch: of many tokens with unknown keys, which anybody
// can send, the one whose turn it is has waited so long that no time is left to fetch.
type ownTime struct{ http.RoundTripper }

// RoundTrip implements http.RoundTripper.
func (o ownTime) RoundTrip(r *http.Request) (*http.Response, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), keysPatience)
	response, err := o.RoundTripper.RoundTrip(r.WithContext(ctx))
	if err != nil {
		cancel()
		return nil, err
	}
	response.Body = cancelledBody{response.Body, cancel}
	return response, nil
}

type cancelledBody struct {
	io.ReadCloser
	cancel context.CancelFunc
}

// Close ends the request.
func (b cancelledBody) Close() error {
	defer b.cancel()
	return b.ReadCloser.Close()
}

// checkKeysURL refuses addresses where somebody on the way could replace the keys.
func checkKeysURL(u *url.URL) error {
	if u.Scheme == "https" || loopback.IsHost(u.Hostname()) {
		return nil
	}
	return fmt.Errorf("%s is not protected, and who replaces the keys can make tokens: use https, or a file", u.Redacted())
}

// claims are those that are looked at.
type claims struct {
	jwt.RegisteredClaims
	Scope      string `json:"scope"` // RFC 9068: separated by spaces
	Scp        texts  `json:"scp"`   // as some issuers send them
	Users      texts  `json:"wallet_users"`
	Currencies texts  `json:"wallet_currencies"`
}

// texts is a JSON string or a list of strings.
type texts []string

func (t *texts) UnmarshalJSON(data []byte) error {
	var one string
	if json.Unmarshal(data, &one) == nil {
		*t = texts{one}
		return nil
	}
	var list []string
	err := json.Unmarshal(data, &list)
	*t = list
	return err
}

func isJWT(token string) bool { return strings.Count(token, ".") == 2 }

func (v *jwtVerifier) verify(ctx context.Context, token string) (Principal, error) {
	if len(token) > maxTokenBytes {
		return Principal{}, refuse("it is too long")
	}
	keys, err := v.keys()
	if err != nil {
		return Principal{}, fmt.Errorf("read the keys for JWTs: %w", err)
	}
	var c claims
	// A caller who leaves must not end the request for new keys, which others wait for.
	if _, err := v.parser.ParseWithClaims(token, &c, keys.KeyfuncCtx(context.WithoutCancel(ctx))); err != nil {
		return Principal{}, refuse(whyNot(err))
	}
	if wallet.ValidateUserID(c.Subject) != nil || c.Subject == Everyone { // which would stand for all users
		return Principal{}, refuse("its subject is missing, or no user id")
	}
	p := Principal{Subject: c.Subject, Users: c.Users, Currencies: c.Currencies, Expires: c.ExpiresAt.Add(v.skew), Key: "sub:" + c.Subject}
	for _, s := range append(strings.Fields(c.Scope), c.Scp...) {
		if scope := Scope(s); isScope(scope) && !slices.Contains(p.Scopes, scope) {
			p.Scopes = append(p.Scopes, scope)
		}
	}
	if c.Users == nil { // the claim is absent: the subject's own wallets
		p.Users = []string{c.Subject}
	}
	if c.Currencies != nil && len(c.Currencies) == 0 || slices.Contains(c.Currencies, "") { // null, too: it is none, not all
		return Principal{}, refuse("it is bound to no currency")
	}
	return p, nil
}

// whyNot puts the reason in words that have no part of the token.
func whyNot(err error) string {
	for _, row := range []struct {
		is  error
		why string
	}{
		{jwt.ErrTokenExpired, "it has expired"},
		{jwt.ErrTokenNotValidYet, "it is not valid yet"},
		{jwt.ErrTokenUsedBeforeIssued, "it was issued in the future"},
		{jwt.ErrTokenInvalidAudience, "it is for another audience"},
		{jwt.ErrTokenInvalidIssuer, "it is from another issuer"},
		{jwt.ErrTokenRequiredClaimMissing, "a claim is missing: iss, aud and exp are required"},
		{jwt.ErrTokenMalformed, "it is malformed"},
		{jwt.ErrTokenSignatureInvalid, "its signature or algorithm is not accepted"},
		{jwt.ErrTokenUnverifiable, "its key is unknown"},
	} {
		if errors.Is(err, row.is) {
			return row.why
		}
	}
	return "it is not valid"
}
