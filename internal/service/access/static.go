package access

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"fmt"
	"os"
	"slices"
	"sync"
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

func readTokens(path string) ([]StaticToken, error) {
	content, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read the file of tokens: %w", err)
	}
	var file struct {
		Tokens []StaticToken `json:"tokens"`
	}
	if err := json.Unmarshal(content, &file, json.RejectUnknownMembers(true)); err != nil {
		return nil, fmt.Errorf("the file of tokens %s cannot be read: %w", path, err)
	}
	for i, t := range file.Tokens {
		if err := t.check(); err != nil {
			return nil, fmt.Errorf("token %d (counted from 1) in %s: %w", i+1, path, err)
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

// staticTokens follows its file, so that a token can be revoked without a restart.
type staticTokens struct {
	path string

	mu      sync.Mutex
	tokens  []StaticToken
	looked  time.Time // when the file was looked at last
	changed time.Time // the file's time, as of then
	size    int64
}

// lookEvery is how long a revoked token may still be accepted.
const lookEvery = time.Second

func newStaticTokens(path string) (*staticTokens, error) {
	s := &staticTokens{path: path}
	_, err := s.current(time.Now())
	return s, err
}

// current returns the tokens of the file. A file that cannot be read accepts nobody: the tokens in
// memory may have been revoked.
func (s *staticTokens) current(now time.Time) ([]StaticToken, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.looked.IsZero() && now.Sub(s.looked) < lookEvery && now.After(s.looked) {
		return s.tokens, nil
	}
	info, err := os.Stat(s.path)
	if err != nil {
		return nil, fmt.Errorf("read the file of tokens: %w", err)
	}
	if s.looked.IsZero() || !info.ModTime().Equal(s.changed) || info.Size() != s.size {
		tokens, err := readTokens(s.path)
		if err != nil {
			return nil, err
		}
		s.tokens, s.changed, s.size = tokens, info.ModTime(), info.Size()
	}
	s.looked = now
	return s.tokens, nil
}

func (s *staticTokens) find(token string) (p Principal, err error) {
	tokens, err := s.current(time.Now())
	if err != nil {
		return p, err
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

// Entry is the token's entry in a file, as JSON.
func (t StaticToken) Entry() ([]byte, error) {
	if err := t.check(); err != nil {
		return nil, err
	}
	return json.Marshal(t, json.Deterministic(true))
}
