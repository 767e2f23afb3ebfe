package access

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"fmt"
	"os"
	"slices"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/valueledger/wallet"
)

// StaticToken is an entry of the file of static tokens. The file has the token's SHA-256 only: the
// token is random, so that nobody can guess what has this hash.
type StaticToken struct {
	Subject    string      `json:"subject"`
	SHA256     wallet.Hash `json:"sha256"`
	Scopes     []Scope     `json:"scopes"`
	Users      []string    `json:"users"`                // "*" for all
	Currencies []string    `json:"currencies,omitempty"` // absent for all
	Expires    time.Time   `json:"expires,omitzero"`
}

// tokenPrefix lets scanners find tokens that were published by mistake.
const tokenPrefix = "wallet_"

// NewToken makes a token and its hash.
func NewToken() (token string, hash wallet.Hash) {
	token = tokenPrefix + rand.Text()
	return token, sha256.Sum256([]byte(token))
}

func parseTokens(content []byte) ([]StaticToken, error) {
	var file struct {
		Tokens []StaticToken `json:"tokens"`
	}
	if err := json.Unmarshal(content, &file, json.RejectUnknownMembers(true)); err != nil {
		return nil, err
	}
	for i, t := range file.Tokens {
		if err := t.check(); err != nil {
			return nil, fmt.Errorf("token %d (counted from 1): %w", i+1, err)
		}
	}
	return file.Tokens, nil
}

func (t StaticToken) check() error {
	if err := wallet.ValidateUserID(t.Subject); err != nil {
		return fmt.Errorf("its subject: %w", err)
	}
	for _, s := range t.Scopes {
		if !isScope(s) {
			return fmt.Errorf("scope %q is unknown: use %s, %s, %s", s, Read, Write, Admin)
		}
	}
	switch {
	case t.SHA256.IsZero():
		return fmt.Errorf(`sha256 is missing: make a token with "wallet token"`)
	case len(t.Scopes) == 0:
		return fmt.Errorf("it has no scopes, so that it is good for nothing: give it %s, %s or %s", Read, Write, Admin)
	case len(t.Users) == 0 || slices.Contains(t.Users, ""):
		return fmt.Errorf(`users is missing: name them, or "*" for all`)
	}
	if t.Currencies != nil && len(t.Currencies) == 0 {
		return fmt.Errorf("currencies is empty: name them, or leave it out for all")
	}
	for _, c := range t.Currencies {
		if err := wallet.ValidateCurrency(c); err != nil {
			return err
		}
	}
	return nil
}

// staticTokens are those of a file.
type staticTokens struct{ file *followed[[]StaticToken] }

func newStaticTokens(path string) (*staticTokens, error) {
	file, err := follow(path, parseTokens)
	return &staticTokens{file}, tokensError(path, err)
}

func tokensError(path string, err error) error {
	if err != nil {
		err = fmt.Errorf("read the file of tokens %s: %w", path, err)
	}
	return err
}

func (s *staticTokens) find(token string) (p Principal, err error) {
	tokens, err := s.file.current(time.Now())
	if err != nil {
		return p, tokensError(s.file.path, err)
	}
	hash := sha256.Sum256([]byte(token))
	err = refuse("it is unknown")
	for _, t := range tokens { // all of them, so that time does not tell which one is like it
		if subtle.ConstantTimeCompare(hash[:], t.SHA256[:]) == 1 {
			p, err = Principal{
				Subject: t.Subject, Scopes: t.Scopes, Users: t.Users, Currencies: t.Currencies, Expires: t.Expires,
				Key: hex.EncodeToString(t.SHA256[:]),
			}, nil
		}
	}
	return p, err
}

// WriteTokensFile writes a file for Options.TokensFile, with a new token as t says, and returns that.
func WriteTokensFile(path string, t StaticToken) (token string, err error) {
	token, t.SHA256 = NewToken()
	entry, err := t.Entry()
	if err != nil {
		return "", err
	}
	return token, os.WriteFile(path, fmt.Appendf(nil, "{\"tokens\": [%s]}\n", entry), 0o600)
}

// Entry is the token's entry in a file, as JSON.
func (t StaticToken) Entry() ([]byte, error) {
	if err := t.check(); err != nil {
		return nil, err
	}
	return json.Marshal(t, json.Deterministic(true))
}
