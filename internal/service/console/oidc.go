package console

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"go.uber.org/zap"
	"golang.org/x/oauth2"
)

// OIDC is a provider that people log in with. Its tokens must be JWTs that the API accepts: what a
// person sees and may do is in their claims.
type OIDC struct {
	Issuer       string
	ClientID     string
	ClientSecret string   // empty for a public client: PKCE is used anyway
	URL          string   // of the server, as browsers reach it, such as https://wallet.example.com
	Scopes       []string // to ask for besides openid
}

const (
	oidcPath = Path + "/oidc"
	// oidcPatience is how long the provider may take to answer.
	oidcPatience = 10 * time.Second
	// oidcTime is how long a person may take at the provider.
	oidcTime = 10 * time.Minute
)

type provider struct {
	oauth    oauth2.Config
	verifier *oidc.IDTokenVerifier
	client   *http.Client
}

func newProvider(ctx context.Context, o OIDC) (*provider, error) {
	client := &http.Client{Timeout: oidcPatience}
	found, err := oidc.NewProvider(oidc.ClientContext(ctx, client), o.Issuer)
	if err != nil {
		return nil, fmt.Errorf("ask the OIDC provider %s for its addresses: %w", o.Issuer, err)
	}
	return &provider{
		oauth2.Config{
			ClientID: o.ClientID, ClientSecret: o.ClientSecret, Endpoint: found.Endpoint(), RedirectURL: strings.TrimRight(o.URL, "/") + oidcPath + "/callback",
			Scopes: append([]string{oidc.ScopeOpenID}, o.Scopes...),
		},
		found.Verifier(&oidc.Config{ClientID: o.ClientID}), client,
	}, nil
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
	a := attempt{rand.Text(), rand.Text(), oauth2.GenerateVerifier(), inConsole(r.URL.Query().Get("next")), time.Now().Add(oidcTime)}
	sealed, err := c.sessions.seal(forAttempt, a)
	if err != nil {
		c.fail(w, &request{Request: r}, err)
		return
	}
	// Lax: the provider leads back from its own site.
	setCookie(w, r, attemptCookie, sealed, int(oidcTime/time.Second), http.SameSiteLaxMode)
	http.Redirect(w, r, c.provider.oauth.AuthCodeURL(a.State, oidc.Nonce(a.Nonce), oauth2.S256ChallengeOption(a.Verifier)), http.StatusSeeOther)
}

// endOIDC is where the provider leads back to.
func (c *Console) endOIDC(w http.ResponseWriter, r *http.Request) {
	setCookie(w, r, attemptCookie, "", -1, http.SameSiteLaxMode)
	ctx, cancel := context.WithTimeout(oidc.ClientContext(r.Context(), c.provider.client), oidcPatience)
	defer cancel()
	token, next, err := c.tokenOf(ctx, r)
	if err != nil {
		c.Logger.Warn("a login to the console was refused", zap.String("why", err.Error()), zap.String("remote", r.RemoteAddr))
		c.renderLogin(w, r, http.StatusUnauthorized, loginForm{Next: next, Message: "The login did not succeed. Try it again."})
		return
	}
	c.begin(w, r, token, next)
}

// tokenOf finishes a login at the provider: it returns the token that the API accepts.
func (c *Console) tokenOf(ctx context.Context, r *http.Request) (token, next string, err error) {
	var a attempt
	cookie, err := r.Cookie(nameOf(r, attemptCookie))
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
	tokens, err := c.provider.oauth.Exchange(ctx, query.Get("code"), oauth2.VerifierOption(a.Verifier))
	if err != nil {
		return "", a.Next, errors.New("the provider does not take its code") // the error may have the answer, with tokens
	}
	raw, _ := tokens.Extra("id_token").(string)
	id, err := c.provider.verifier.Verify(ctx, raw)
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
