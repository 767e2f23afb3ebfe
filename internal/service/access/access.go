// Package access decides who may do what over HTTP: a token names its bearer (a Principal), who has
// scopes and reaches some wallets. What a token does not say is denied.
package access

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/valueledger/wallet"
)

// Scope is a kind of action. No scope includes another.
type Scope string

// The scopes.
const (
	Read  Scope = "read"
	Write Scope = "write" // commands and runs
	Admin Scope = "admin" // webhooks, and commands with another actor than the bearer
)

func isScope(s Scope) bool { return s == Read || s == Write || s == Admin }

// Everyone in a token's users stands for all users.
const Everyone = "*"

// Principal is the bearer of a token.
type Principal struct {
	// Subject is the actor of the commands that the bearer sends; empty only if nobody has to
	// authenticate.
	Subject    string
	Scopes     []Scope
	Users      []string // whose wallets the bearer reaches; Everyone for all
	Currencies []string // in which currencies; empty for all
	Expires    time.Time
	// Key tells tokens apart, for the rate limit and the limits of streams and files.
	Key string
}

// Anybody is the bearer of no token, where none is needed.
func Anybody() Principal {
	return Principal{Scopes: []Scope{Read, Write, Admin}, Users: []string{Everyone}}
}

// Has reports whether the bearer may do what the scope stands for.
func (p Principal) Has(s Scope) bool { return slices.Contains(p.Scopes, s) }

// Reaches reports whether the bearer may use a wallet. An empty user id stands for all users, an
// empty currency for all currencies.
func (p Principal) Reaches(ref wallet.AssetRef) bool {
	user := slices.Contains(p.Users, Everyone) || ref.UserID != "" && slices.Contains(p.Users, ref.UserID)
	return user && (len(p.Currencies) == 0 || ref.Currency != "" && slices.Contains(p.Currencies, ref.Currency))
}

// RefusedError says why a token was not accepted. The words are fixed: they never have a part of
// the token.
type RefusedError struct{ Why string }

func (e *RefusedError) Error() string { return "the token was not accepted: " + e.Why }

func refuse(why string) error { return &RefusedError{why} }

// Options say which tokens are accepted. With neither JWT nor a file nobody has to authenticate.
type Options struct {
	JWT        *JWTOptions // nil for no JWTs
	TokensFile string      // of static tokens; empty for none
}

// Authenticator finds the bearer of a token.
type Authenticator struct {
	jwt    *jwtVerifier
	static *staticTokens
}

// New makes an Authenticator. It reads keys and files, and fails if it cannot. Its keys are
// refreshed until ctx ends.
func New(ctx context.Context, o Options) (*Authenticator, error) {
	a := &Authenticator{}
	var err error
	if o.JWT != nil {
		if a.jwt, err = newJWTVerifier(ctx, *o.JWT); err != nil {
			return nil, err
		}
	}
	if o.TokensFile != "" {
		if a.static, err = newStaticTokens(o.TokensFile); err != nil {
			return nil, err
		}
	}
	return a, nil
}

// IsOff reports whether nobody has to authenticate.
func (a *Authenticator) IsOff() bool { return a.jwt == nil && a.static == nil }

// Authenticate finds the bearer of a token. Its error is a *RefusedError, or that of a file or of
// keys that cannot be read.
func (a *Authenticator) Authenticate(ctx context.Context, token string) (Principal, error) {
	if a.IsOff() {
		return Anybody(), nil
	}
	if token == "" {
		return Principal{}, refuse("there is none")
	}
	p, err := a.find(ctx, token)
	if err != nil {
		return Principal{}, err
	}
	if !p.Expires.IsZero() && !time.Now().Before(p.Expires) {
		return Principal{}, refuse("it has expired")
	}
	return p, nil
}

func (a *Authenticator) find(ctx context.Context, token string) (Principal, error) {
	if isJWT(token) {
		if a.jwt == nil {
			return Principal{}, refuse("JWTs are not accepted here")
		}
		return a.jwt.verify(ctx, token)
	}
	if a.static == nil {
		return Principal{}, refuse("it is no JWT")
	}
	return a.static.find(token)
}

type contextKey struct{}

// NewContext returns a context that knows who is calling.
func NewContext(ctx context.Context, p Principal) context.Context {
	return context.WithValue(ctx, contextKey{}, p)
}

// From returns who is calling. Without NewContext it is somebody who may do nothing.
func From(ctx context.Context) Principal {
	p, _ := ctx.Value(contextKey{}).(Principal)
	return p
}

// IsRefusal reports whether a token was refused, rather than not examined.
func IsRefusal(err error) bool {
	var refused *RefusedError
	return errors.As(err, &refused)
}
