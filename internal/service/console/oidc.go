package console

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"go.uber.org/zap"
	"golang.org/x/oauth2"
	"golang.org/x/sync/singleflight"
)

// OIDC is a provider that people log in with. Its tokens must be JWTs that the API accepts: what a
// person sees and may do is in their claims.
type OIDC struct {
	Issuer       string
	ClientID     string
	ClientSecret string   // empty for a public client: PKCE is used anyway
	Scopes       []string // to ask for besides openid
}

const (
	oidcPath = Path + "/oidc"
	// oidcPatience is how long the provider may take to answer.
	oidcPatience = 10 * time.Second
	// oidcTime is how long a person may take at the provider.
	oidcTime = 10 * time.Minute
)

// provider is asked for its addresses when they are needed first: the API must not wait for it.
type provider struct {
	OIDC
	url     string // of this server
	client  *http.Client
	asking  singleflight.Group
	current atomic.Pointer[discovered] // nil until it has answered
}

// discovered is what the provider says about itself.
type discovered struct {
	oauth    oauth2.Config
	verifier *oidc.IDTokenVerifier
}

func newProvider(o OIDC, url string) *provider {
	return &provider{OIDC: o, url: url, client: &http.Client{Timeout: oidcPatience}}
}

// discover asks the provider until it has answered once. Requests at the same time share an answer.
func (p *provider) discover(ctx context.Context) (*discovered, error) {
	if known := p.current.Load(); known != nil {
		return known, nil
	}
	answer, err, _ := p.asking.Do("", func() (any, error) {
		found, err := oidc.NewProvider(oidc.ClientContext(context.WithoutCancel(ctx), p.client), p.Issuer)
		if err != nil {
			return nil, fmt.Errorf("ask the OIDC provider %s for its addresses: %w", p.Issuer, err)
		}
		d := &discovered{
			oauth2.Config{
				ClientID: p.ClientID, ClientSecret: p.ClientSecret, Endpoint: found.Endpoint(), RedirectURL: strings.TrimRight(p.url, "/") + oidcPath + "/callback",
				Scopes: append([]string{oidc.ScopeOpenID}, p.Scopes...),
			},
			found.Verifier(&oidc.Config{ClientID: p.ClientID}),
		}
		p.current.Store(d)
		return d, nil
	})
	if err != nil {
		return nil, err
	}
	return answer.(*discovered), nil
}

// discover asks the provider, or says that it does not answer.
func (c *Console) discover(w http.ResponseWriter, r *http.Request, next string) *discovered {
	d, err := c.provider.discover(r.Context())
	if err != nil {
		c.Logger.Warn("nobody can log in at the OIDC provider", zap.Error(err))
		c.renderLogin(w, r, http.StatusServiceUnavailable, loginForm{Next: next, Message: "Your organization's login does not answer. Try again, or use a token."})
	}
	return d
}

// attempt is what a browser keeps while a person is at the provider.
type attempt struct {
	State    string    `json:"state"`
	Nonce    string    `json:"nonce"`
	Verifier string    `json:"verifier"`
	Next     string    `json:"next"`
	Ends     time.Time `json:"ends"`
}

// startOIDC leads to the provider.
func (c *Console) startOIDC(w http.ResponseWriter, r *http.Request) {
	d := c.discover(w, r, r.URL.Query().Get("next"))
	if d == nil {
		return
	}
	a := attempt{rand.Text(), rand.Text(), oauth2.GenerateVerifier(), inConsole(r.URL.Query().Get("next")), time.Now().Add(oidcTime)}
	sealed, err := c.sessions.seal(forAttempt, a)
	if err != nil {
		c.fail(w, &request{Request: r}, err)
		return
	}
	// Lax: the provider leads back from its own site.
	c.setCookie(w, r, attemptCookie, sealed, int(oidcTime/time.Second), http.SameSiteLaxMode)
	http.Redirect(w, r, d.oauth.AuthCodeURL(a.State, oidc.Nonce(a.Nonce), oauth2.S256ChallengeOption(a.Verifier)), http.StatusSeeOther)
}

// endOIDC is where the provider leads back to.
func (c *Console) endOIDC(w http.ResponseWriter, r *http.Request) {
	d := c.discover(w, r, "")
	if d == nil {
		return // the cookie stays, so that the page can be loaded again
	}
	c.setCookie(w, r, attemptCookie, "", -1, http.SameSiteLaxMode)
	ctx, cancel := context.WithTimeout(oidc.ClientContext(r.Context(), c.provider.client), oidcPatience)
	defer cancel()
	token, next, err := c.tokenOf(ctx, r, d)
	if err != nil {
		c.Logger.Warn("a login to the console was refused", zap.String("why", err.Error()), zap.String("remote", r.RemoteAddr))
		c.renderLogin(w, r, http.StatusUnauthorized, loginForm{Next: next, Message: "The login did not succeed. Try it again."})
		return
	}
	c.begin(w, r, token, next)
}

// tokenOf finishes a login at the provider: it returns the token that the API accepts.
func (c *Console) tokenOf(ctx context.Context, r *http.Request, d *discovered) (token, next string, err error) {
	var a attempt
	cookie, err := r.Cookie(c.nameOf(r, attemptCookie))
	if err != nil || c.sessions.open(forAttempt, cookie.Value, &a) != nil || !time.Now().Before(a.Ends) {
		return "", "", errors.New("it was not begun in this browser, or took too long")
	}
	query := r.URL.Query()
	if subtle.ConstantTimeCompare([]byte(query.Get("state")), []byte(a.State)) != 1 {
		return "", a.Next, errors.New("its state is of another login")
	}
	if query.Get("error") != "" {
		return "", a.Next, fmt.Errorf("the provider says %.60q", query.Get("error"))
	}
	tokens, err := d.oauth.Exchange(ctx, query.Get("code"), oauth2.VerifierOption(a.Verifier))
	if err != nil {
		return "", a.Next, errors.New("the provider does not take its code") // the error may have the answer, with tokens
	}
	raw, _ := tokens.Extra("id_token").(string)
	id, err := d.verifier.Verify(ctx, raw)
	if err != nil {
		return "", a.Next, errors.New("its ID token is not valid")
	}
	if subtle.ConstantTimeCompare([]byte(id.Nonce), []byte(a.Nonce)) != 1 {
		return "", a.Next, errors.New("its ID token is of another login")
	}
	for _, candidate := range []string{tokens.AccessToken, raw} {
		who, err := c.Auth.Authenticate(ctx, candidate)
		if err == nil && who.Subject == id.Subject {
			return candidate, a.Next, nil
		}
	}
	return "", a.Next, errors.New("the API accepts neither its access token nor its ID token, or these are of two subjects")
}
