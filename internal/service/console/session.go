package console

import (
	"crypto/aes"
	"crypto/cipher"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"path"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/valueledger/wallet/internal/service/access"
	"github.com/valueledger/wallet/internal/service/loopback"
)

const (
	keyBytes = 32 // AES-256
	// sessionTime is a working day: a forgotten browser is not logged in the next morning.
	sessionTime = 8 * time.Hour
	// maxCookieBytes is what browsers keep, with room for the cookie's attributes. A longer session is
	// in several cookies: with more than sessionCookies, proxies that take 8 KB of a header would refuse
	// every request.
	maxCookieBytes = 3900
	sessionCookies = 2
	sessionCookie  = "wallet-console"
	attemptCookie  = "wallet-console-login"
	// hostPrefix has browsers refuse the cookie from any other host or path, and without TLS.
	hostPrefix = "__Host-"
)

// sessions seals what a browser keeps: the token itself, so that each request is checked against the
// tokens that are valid now, and any server can do it. Who steals a cookie cannot use it as a token
// of the API, and no longer than the session lasts.
type sessions struct{ aead cipher.AEAD }

type session struct {
	Token string    `json:"token"`
	Ends  time.Time `json:"ends"`
}

// ParseKey reads the key of sessions, in base64. Its errors have no part of it.
func ParseKey(text string) ([]byte, error) {
	key, err := base64.StdEncoding.DecodeString(strings.TrimSpace(text))
	if err != nil || len(key) != keyBytes {
		return nil, fmt.Errorf(`it is not %d bytes in base64: make one with "openssl rand -base64 %d"`, keyBytes, keyBytes)
	}
	return key, nil
}

func newSessions(key []byte) (*sessions, error) {
	if len(key) != keyBytes {
		return nil, fmt.Errorf("the key of the console's sessions has %d bytes, not %d", len(key), keyBytes)
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	return &sessions{aead}, err
}

// What is sealed for one purpose cannot be opened for another.
const (
	forSession = "wallet console session v1"
	forAttempt = "wallet console login v1"
)

func (s *sessions) seal(purpose string, content any) (string, error) {
	plain, err := json.Marshal(content)
	if err != nil {
		return "", err
	}
	return base64.RawURLEncoding.EncodeToString(s.aead.Seal(nil, nil, plain, []byte(purpose))), nil
}

var (
	errNoSession = errors.New("nobody is logged in")
	errEnded     = errors.New("the session has ended")
)

// open reads what was sealed into content. It fails if the key is another now.
func (s *sessions) open(purpose, sealed string, content any) error {
	decoded, err := base64.RawURLEncoding.DecodeString(sealed)
	if err != nil {
		return err
	}
	plain, err := s.aead.Open(nil, nil, decoded, []byte(purpose))
	if err != nil {
		return err
	}
	return json.Unmarshal(plain, content)
}

// authenticate finds who is logged in. The token is examined anew: one that was revoked ends the
// session.
func (c *Console) authenticate(r *http.Request) (access.Principal, error) {
	if c.Auth.IsOff() {
		return access.Anybody(), nil
	}
	sealed := ""
	for n := range sessionCookies {
		cookie, err := r.Cookie(c.nameOf(r, sessionCookieName(n)))
		if err != nil {
			break
		}
		sealed += cookie.Value
	}
	if sealed == "" {
		return access.Principal{}, errNoSession
	}
	var one session
	if c.sessions.open(forSession, sealed, &one) != nil || !time.Now().Before(one.Ends) {
		return access.Principal{}, errEnded
	}
	who, err := c.Auth.Authenticate(r.Context(), one.Token)
	if access.IsRefusal(err) {
		c.Logger.Warn("a session of the console has ended", zap.String("why", err.Error()))
		err = errEnded
	}
	return who, err
}

// isPlain reports whether the browser talks to this machine without TLS, where not all browsers keep
// a Secure cookie. Behind a proxy, Host may be this machine's although the browser is elsewhere.
func (c *Console) isPlain(r *http.Request) bool {
	if r.TLS != nil || c.isHTTPS || isForwarded(r.Header) {
		return false
	}
	return loopback.IsHostPort(r.Host)
}

// isForwarded reports whether a proxy has added that it passes a request on.
func isForwarded(h http.Header) bool {
	for name := range h {
		if name == "Forwarded" || strings.HasPrefix(name, "X-Forwarded-") {
			return true
		}
	}
	return false
}

func (c *Console) nameOf(r *http.Request, name string) string {
	if c.isPlain(r) {
		return name
	}
	return hostPrefix + name
}

func (c *Console) setCookie(w http.ResponseWriter, r *http.Request, name, value string, maxAge int, sameSite http.SameSite) {
	http.SetCookie(w, &http.Cookie{
		Name: c.nameOf(r, name), Value: value, Path: "/", MaxAge: maxAge, Secure: !c.isPlain(r), HttpOnly: true, SameSite: sameSite,
	})
}

// setSession has the browser keep a session in as many cookies as it needs, and forget the others.
func (c *Console) setSession(w http.ResponseWriter, r *http.Request, sealed string, maxAge int) {
	for n := range sessionCookies {
		part := sealed[:min(len(sealed), maxCookieBytes)]
		if sealed = sealed[len(part):]; part == "" {
			maxAge = -1
		}
		c.setCookie(w, r, sessionCookieName(n), part, maxAge, http.SameSiteStrictMode)
	}
}

func sessionCookieName(n int) string {
	if n == 0 {
		return sessionCookie
	}
	return fmt.Sprint(sessionCookie, "-", n+1)
}

// endSession has the browser forget its session.
func (c *Console) endSession(w http.ResponseWriter, r *http.Request) { c.setSession(w, r, "", -1) }

const loginPath = Path + "/login"

// askToLogIn leads to the form, and from there back to where the request wanted to go.
func (c *Console) askToLogIn(w http.ResponseWriter, r *request, err error) {
	if !errors.Is(err, errNoSession) && !errors.Is(err, errEnded) {
		c.Logger.Warn("a session of the console cannot be checked", zap.Error(err))
		c.fail(w, r, problem{http.StatusServiceUnavailable, "Tokens cannot be checked now", "Try it again."})
		return
	}
	next := url.Values{}
	if r.Method == http.MethodGet {
		// A link in a mail: the browser keeps the cookie to itself until a page of the console asks.
		if errors.Is(err, errNoSession) && r.Header.Get("Sec-Fetch-Site") == "cross-site" {
			w.Header().Set("Refresh", "0")
			_ = c.render(w, r, http.StatusOK, "problem", "One moment", "If nothing happens, load this page again.")
			return
		}
		next.Set("next", r.URL.RequestURI())
	}
	if errors.Is(err, errEnded) {
		next.Set("ended", "1")
		c.endSession(w, r.Request)
	}
	http.Redirect(w, r.Request, loginPath+"?"+next.Encode(), http.StatusSeeOther)
}

// loginForm is what the page for logging in shows.
type loginForm struct {
	Next    string
	Message string
	// Provider is whether there is one to log in with.
	Provider bool
}

func (c *Console) showLogin(w http.ResponseWriter, hr *http.Request) {
	form := loginForm{Next: hr.URL.Query().Get("next")}
	if hr.URL.Query().Get("ended") != "" {
		form.Message = "Your session has ended. Log in again."
	}
	c.renderLogin(w, hr, http.StatusOK, form)
}

func (c *Console) renderLogin(w http.ResponseWriter, hr *http.Request, status int, form loginForm) {
	form.Provider = c.provider != nil
	if err := c.render(w, &request{Request: hr}, status, "login", "Log in", form); err != nil {
		c.Logger.Error("the console cannot show its login", zap.Error(err))
	}
}

func (c *Console) logIn(w http.ResponseWriter, hr *http.Request) {
	r := &request{Request: hr}
	if err := r.readForm(w); err != nil {
		c.fail(w, r, err)
		return
	}
	c.begin(w, hr, strings.TrimSpace(r.get("token")), r.get("next"))
}

// begin begins a session with a token.
func (c *Console) begin(w http.ResponseWriter, hr *http.Request, token, next string) {
	r := &request{Request: hr}
	who, err := c.Auth.Authenticate(hr.Context(), token)
	if err != nil {
		c.Logger.Warn("a login to the console was refused", zap.String("why", err.Error()), zap.String("remote", hr.RemoteAddr))
		if access.IsRefusal(err) {
			c.renderLogin(w, hr, http.StatusUnauthorized, loginForm{Next: next, Message: "The token is not valid."})
			return
		}
		c.askToLogIn(w, r, err)
		return
	}
	ends := time.Now().Add(sessionTime)
	if !who.Expires.IsZero() && who.Expires.Before(ends) {
		ends = who.Expires
	}
	sealed, err := c.sessions.seal(forSession, session{token, ends})
	if err != nil {
		c.fail(w, r, err)
		return
	}
	if most := sessionCookies * maxCookieBytes; len(sealed) > most {
		c.Logger.Warn("a login to the console was refused", zap.String("why", "the token is too long for a browser"), zap.Int("bytes", len(token)), zap.String("subject", who.Subject))
		c.renderLogin(w, hr, http.StatusBadRequest, loginForm{Next: next, Message: fmt.Sprintf(
			"Your token has %d bytes, and a browser can keep about %d of it. Use one with fewer scopes, users, currencies or other claims; the user * stands for all users.", len(token), most*3/4-100)})
		return
	}
	c.setSession(w, hr, sealed, max(1, int(time.Until(ends)/time.Second)))
	c.Logger.Info("somebody logged in to the console", zap.String("subject", who.Subject))
	http.Redirect(w, hr, inConsole(next), http.StatusSeeOther)
}

func (c *Console) logOut(w http.ResponseWriter, hr *http.Request) {
	c.endSession(w, hr)
	http.Redirect(w, hr, loginPath, http.StatusSeeOther)
}

// maxNextBytes is more than any page's address has, and less than a cookie.
const maxNextBytes = 2000

// inConsole is where to go after a login: never to another site.
func inConsole(next string) string {
	u, err := url.Parse(next)
	if err != nil || len(next) > maxNextBytes || u.IsAbs() || u.Host != "" || u.Opaque != "" || !strings.HasPrefix(u.Path, Path+"/") || path.Clean(u.Path) != strings.TrimSuffix(u.Path, "/") || u.Path == loginPath {
		return Path + "/"
	}
	return u.RequestURI()
}
