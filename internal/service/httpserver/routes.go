package httpserver

import (
	"context"
	"io"
	"net/http"
	"net/url"
	"reflect"
	"slices"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/valueledger/wallet"
	"github.com/valueledger/wallet/internal/service/access"
	"github.com/valueledger/wallet/internal/service/outcome"
)

// route is a row of the table of routes. The type of its input says how the wallets of a request
// are found; a route without such an input does not compile.
type route struct {
	id, method, path string
	summary, text    string
	scope            access.Scope
	errors           []int
	body             *huma.RequestBody // of a body that the wallet's own decoder reads
	answers          reflect.Type      // of a route that sends commands: the body of its answer
	status           int               // of success, if it is not 200
	// content is what a stream answers, by media type; nil for text.
	content map[string]reflect.Type
	file    bool          // it takes a file
	timeout time.Duration // if it is not the server's
}

// input is what a route takes. wallets returns those that the request is about, after reading them
// from the body if they are there: an empty user id stands for all users, an empty currency for all
// currencies. The bearer must reach each.
type input[I any] interface {
	*I
	wallets() ([]wallet.AssetRef, error)
}

// register adds a route. Nothing reaches do unless the bearer has the scope and reaches the wallets.
func register[I, O any, P input[I]](s *Server, r route, do func(context.Context, *I) (*O, error)) {
	huma.Register(s.api, r.operation(s), func(ctx context.Context, in *I) (*O, error) {
		if err := s.mayUse(ctx, r, P(in).wallets); err != nil {
			return nil, s.problemOf(err)
		}
		timeout := r.timeout
		if timeout == 0 {
			timeout = s.timeout(ctx)
		}
		keepOpen(ctx, timeout)
		ctx, cancel := context.WithTimeout(ctx, timeout)
		defer cancel()
		defer s.setAge(ctx)
		if demanding, ok := any(in).(interface {
			demanded() (wallet.AssetRef, int64)
		}); ok {
			if ref, version := demanding.demanded(); version > 0 {
				if err := s.AwaitVersion(ctx, ref, version); err != nil {
					return nil, s.problemOf(err)
				}
			}
		}
		out, err := do(ctx, in)
		if err != nil {
			return nil, s.problemOf(err)
		}
		return out, nil
	})
	s.describe(r)
}

// describe corrects what huma says of a route: invalid input is never 422 here, a body is never any
// bytes, and it does not see what a route that sends commands, or a stream, answers.
func (s *Server) describe(r route) {
	schemas := s.api.OpenAPI().Components.Schemas
	item := s.api.OpenAPI().Paths[r.path]
	responses := map[string]*huma.Operation{
		http.MethodGet: item.Get, http.MethodPost: item.Post, http.MethodPut: item.Put, http.MethodDelete: item.Delete,
	}[r.method].Responses
	if r.file {
		s.files[r.method+" "+r.path] = true
	}
	if !slices.Contains(r.errors, http.StatusUnprocessableEntity) {
		delete(responses, "422")
	}
	if r.body != nil {
		delete(r.body.Content, "application/octet-stream")
	}
	if r.content != nil {
		responses["200"].Content = map[string]*huma.MediaType{}
		for mediaType, t := range r.content {
			schema := &huma.Schema{Type: huma.TypeString}
			if t != nil {
				schema = schemas.Schema(t, true, r.id)
			}
			responses["200"].Content[mediaType] = &huma.MediaType{Schema: schema}
		}
	}
	if r.answers == nil {
		return
	}
	headers := responses["200"].Headers
	content := func(t reflect.Type) map[string]*huma.MediaType {
		return map[string]*huma.MediaType{"application/json": {Schema: schemas.Schema(t, true, r.id)}}
	}
	responses["200"] = &huma.Response{Description: "The answer, or the first one again", Headers: headers, Content: content(r.answers)}
	responses["202"] = &huma.Response{Description: outcome.NoAnswer.Title, Headers: headers, Content: content(reflect.TypeFor[Pending]())}
}

// mayUse denies what the bearer's token does not allow.
func (s *Server) mayUse(ctx context.Context, r route, wallets func() ([]wallet.AssetRef, error)) error {
	p := access.From(ctx)
	if !p.Has(r.scope) {
		s.logDenied(p, r.id, "scope "+string(r.scope)+" is missing")
		return problem(forbidden, "this needs the scope %s, which the token does not have", r.scope)
	}
	refs, err := wallets()
	if err != nil {
		return err
	}
	for _, ref := range refs {
		if !p.Reaches(ref) {
			why := notReached(ref)
			s.logDenied(p, r.id, why)
			return problem(forbidden, "%s", why)
		}
	}
	return nil
}

func notReached(ref wallet.AssetRef) string {
	switch {
	case ref.UserID == "":
		return "this is about all users, and the token is bound to some"
	case ref.Currency == "":
		return "the token does not reach all wallets of this user"
	}
	return "the token does not reach this wallet"
}

func (r route) operation(s *Server) huma.Operation {
	errs := append([]int{http.StatusBadRequest, http.StatusUnauthorized, http.StatusForbidden, http.StatusTooManyRequests, http.StatusServiceUnavailable}, r.errors...)
	op := huma.Operation{
		OperationID: r.id, Method: r.method, Path: r.path, Summary: r.summary, Description: r.text, Errors: errs,
		Security: []map[string][]string{{"token": {string(r.scope)}}}, MaxBodyBytes: wallet.MaxUpdateBytes, BodyReadTimeout: bodyTimeout,
		RequestBody: r.body, SkipValidateBody: true, RejectUnknownQueryParameters: true, DefaultStatus: r.status,
	}
	if r.method == http.MethodPost || r.method == http.MethodPut {
		op.Errors = append(op.Errors, http.StatusUnsupportedMediaType) // see checkHeaders
	}
	if r.body != nil {
		op.Errors = append(op.Errors, http.StatusRequestEntityTooLarge, http.StatusRequestTimeout)
	}
	return op
}

// timeout is how long a request may take to be answered: the server's time, or less if the caller
// asks for that with "Prefer: wait=SECONDS".
func (s *Server) timeout(ctx context.Context) time.Duration {
	if wait, ok := ctx.Value(waitKey{}).(time.Duration); ok && wait < s.options.AnswerTimeout {
		return wait
	}
	return s.options.AnswerTimeout
}

type (
	waitKey       struct{}
	connectionKey struct{}
)

// connection is what a route may have to know of its request, besides its input.
type connection struct {
	*http.ResponseController
	header     http.Header // of the answer
	body       io.ReadCloser
	token      string
	acceptsCSV bool
	isHead     bool
}

func connectionOf(ctx context.Context) *connection {
	return ctx.Value(connectionKey{}).(*connection)
}

// keepOpen moves the time by which the body had to arrive: net/http would end the request then. It
// does not remove it, for a body that no route reads.
func keepOpen(ctx context.Context, timeout time.Duration) {
	c, until := connectionOf(ctx), time.Now().Add(timeout+checkPatience+writeMargin)
	_, _ = c.SetReadDeadline(until), c.SetWriteDeadline(until) // not of a recorder in tests
}

// WalletPath is the input of a route whose path names a wallet.
// It is exported, as all inputs within others: huma sets no fields in others.
type WalletPath struct {
	User     string `path:"user" doc:"the user's id; a slash in it is written as %2F"`
	Currency string `path:"currency" doc:"such as USD"`
}

func (p *WalletPath) wallets() ([]wallet.AssetRef, error) {
	return []wallet.AssetRef{p.ref()}, wallet.ValidateWallet(p.User, p.Currency)
}

func (p *WalletPath) ref() wallet.AssetRef {
	return wallet.AssetRef{UserID: p.User, Currency: p.Currency}
}

// ReadPath is the input of a route that reads a wallet.
type ReadPath struct {
	WalletPath
	AtLeastVersion int64 `query:"at_least_version" minimum:"1" doc:"wait until the wallet has this version: that of your own command. 404 if it never comes; 503 (behind) if a standby was read, which may not have it yet"`
}

func (p *ReadPath) demanded() (wallet.AssetRef, int64) { return p.ref(), p.AtLeastVersion }

// UserPath is the input of a route whose path names a user.
type UserPath struct {
	User string `path:"user" doc:"the user's id; a slash in it is written as %2F"`
}

func (p *UserPath) wallets() ([]wallet.AssetRef, error) {
	return []wallet.AssetRef{{UserID: p.User}}, wallet.ValidateUserID(p.User)
}

// everyWallet is the input of a route that is about all wallets: no token that is bound to some may
// use it.
type everyWallet struct{}

func (everyWallet) wallets() ([]wallet.AssetRef, error) { return []wallet.AssetRef{{}}, nil }

const prefix = "/v1"

func commandPath(ref wallet.AssetRef, id string) string {
	return prefix + "/wallets/" + segment(ref.UserID) + "/" + ref.Currency + "/commands/" + segment(id)
}

func transactionPath(id string) string { return prefix + "/transactions/" + segment(id) }

// segment escapes an id for a path. "." and ".." would be steps in it.
func segment(id string) string {
	switch id {
	case ".":
		return "%2E"
	case "..":
		return "%2E%2E"
	}
	return url.PathEscape(id)
}
