package httpserver

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"reflect"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/valueledger/wallet"
	"github.com/valueledger/wallet/internal/service/access"
	"github.com/valueledger/wallet/internal/service/outcome"
	"github.com/valueledger/wallet/starter"
	"github.com/valueledger/wallet/trail"
)

// Result is a wallet.Result without replayed, which is a header here: a replay has the same body.
type Result struct {
	wallet.Result
	Replayed *bool `json:"replayed,omitempty" hidden:"true"` // never set, it covers the other
}

func resultOf(r wallet.Result) *Result { return &Result{Result: r} }

// LegResult is the Result of a leg.
type LegResult struct {
	wallet.AssetRef
	Result
}

// TransactionResult is a wallet.TransactionResult without replayed.
type TransactionResult struct {
	wallet.TransactionResult
	Results     []LegResult `json:"results"`
	MustBalance bool        `json:"must_balance,omitempty"`
	Replayed    *bool       `json:"replayed,omitempty" hidden:"true"`
}

func transactionResultOf(r wallet.TransactionResult) *TransactionResult {
	legs := make([]LegResult, len(r.Results))
	for i, leg := range r.Results {
		legs[i] = LegResult{leg.AssetRef, *resultOf(leg.Result)}
	}
	return &TransactionResult{TransactionResult: r, Results: legs}
}

// Pending is the answer to what may still be applied.
type Pending struct {
	Status        string `json:"status" enum:"pending"`
	CommandID     string `json:"command_id,omitempty"`
	TransactionID string `json:"transaction_id,omitempty"`
	Detail        string `json:"detail"`

	location string
}

// answer is what a route that changes something returns.
type answer struct {
	Status   int
	Replayed string `header:"Idempotency-Replayed" doc:"true if the id had been answered before: nothing changed this time"`
	Location string `header:"Location" doc:"where the answer will be, if there is none yet"`
	Retry    string `header:"Retry-After"`
	Body     any
}

func answered(body any, replayed bool) *answer {
	a := &answer{Status: http.StatusOK, Body: body}
	if replayed {
		a.Replayed = "true"
	}
	return a
}

// orPending makes an answer of an error that is not one: 202 if the deadline passed first, or 503 if
// that is because a server is away.
func (s *Server) orPending(err error) (*answer, error) {
	var noAnswer *starter.NoAnswerError
	if !errors.As(err, &noAnswer) {
		return nil, err
	}
	if failed := s.failedCheck(); failed != "" {
		return nil, problem(outcome.Unavailable, "%s is not ready; what was sent may still be applied", failed).with("Retry-After", retryAfter)
	}
	body := pending(noAnswer)
	return &answer{Status: http.StatusAccepted, Location: body.location, Retry: retryAfter, Body: body}, nil
}

// jsonBody describes a body that the wallet's own decoder reads.
func (s *Server) jsonBody(t reflect.Type, what string) *huma.RequestBody {
	schema := s.api.OpenAPI().Components.Schemas.Schema(t, true, what)
	return &huma.RequestBody{Required: true, Content: map[string]*huma.MediaType{"application/json": {Schema: schema}}}
}

// Idempotent is the input of a route that changes something.
type Idempotent struct {
	Key string `header:"Idempotency-Key" doc:"the id, if the body has none"`
}

// agree refuses two different ids.
func (i Idempotent) agree(id string) error {
	if i.Key != "" && i.Key != id {
		return badInput("Idempotency-Key", i.Key, "the body has the id %.60q, the header Idempotency-Key another, %.60q: send one of them, or the same", id, i.Key)
	}
	return nil
}

// stamp sets the actor of what a bearer sends, and refuses another than the bearer unless an admin
// sets it.
func stamp(ctx context.Context, actors ...*string) error {
	p := access.From(ctx)
	if p.Subject == "" {
		return nil
	}
	for _, actor := range actors {
		switch {
		case *actor == "":
			*actor = p.Subject
		case *actor != p.Subject && !p.Has(access.Admin):
			return problem(forbidden, "the actor is %.60q, and the token is of another: leave it out, or use a token with the scope admin", *actor)
		}
	}
	return nil
}

func noReply(c wallet.Command) error {
	if c.ReplyTo != nil {
		return badInput("reply_to", c.ReplyTo.WorkflowID, "reply_to is for workflows: leave it out, the response is the answer")
	}
	return nil
}

type commandInput struct {
	WalletPath
	Idempotent
	RawBody []byte
}

func (in *commandInput) decode(ctx context.Context) (wallet.Command, error) {
	command, err := wallet.DecodeCommandOr(in.RawBody, in.Key)
	if err != nil {
		return command, err
	}
	return command, errors.Join(in.agree(command.ID), noReply(command), stamp(ctx, &command.Actor))
}

type batchInput struct {
	WalletPath
	Idempotent
	RawBody []byte
}

func (in *batchInput) decode(ctx context.Context) ([]wallet.Command, error) {
	commands, err := wallet.DecodeBatch(in.RawBody)
	if err != nil {
		return nil, err
	}
	if in.Key != "" {
		return nil, badInput("Idempotency-Key", in.Key, "each command of a batch has an id of its own: leave the header Idempotency-Key out")
	}
	for i := range commands {
		if err := errors.Join(noReply(commands[i]), stamp(ctx, &commands[i].Actor)); err != nil {
			return nil, err
		}
	}
	return commands, nil
}

func (s *Server) commandRoutes() {
	refusals := []int{http.StatusConflict, http.StatusUnprocessableEntity}
	register(s, route{
		id: "apply-command", method: http.MethodPost, path: prefix + "/wallets/{user}/{currency}/commands", scope: access.Write,
		summary: "Send one command", text: "The same id counts once, and gets the first answer again.",
		errors: refusals, answers: reflect.TypeFor[Result](), body: s.jsonBody(reflect.TypeFor[Command](), "Command"),
	}, func(ctx context.Context, in *commandInput) (*answer, error) {
		command, err := in.decode(ctx)
		if err != nil {
			return nil, err
		}
		result, err := s.wallets.Apply(ctx, in.User, in.Currency, command)
		if err != nil {
			return s.orPending(err)
		}
		return answered(resultOf(result), result.Replayed), nil
	})

	register(s, route{
		id: "apply-batch", method: http.MethodPost, path: prefix + "/wallets/{user}/{currency}/batches", scope: access.Write,
		summary: "Send up to 500 commands for one wallet",
		text:    "Each is applied or refused by itself, in order; its own result says so. One invalid command refuses the whole batch.",
		answers: reflect.TypeFor[[]Result](), body: s.jsonBody(reflect.TypeFor[[]Command](), "Commands"),
	}, func(ctx context.Context, in *batchInput) (*answer, error) {
		commands, err := in.decode(ctx)
		if err != nil {
			return nil, err
		}
		results, err := s.wallets.ApplyBatch(ctx, in.User, in.Currency, commands)
		if err != nil {
			return s.orPending(err)
		}
		body, replayed := make([]Result, len(results)), true
		for i, r := range results {
			body[i], replayed = *resultOf(r), replayed && r.Replayed
		}
		return answered(body, replayed), nil
	})

	type ofCommand struct {
		WalletPath
		ID string `path:"command_id"`
	}
	register(s, route{
		id: "get-command", method: http.MethodGet, path: prefix + "/wallets/{user}/{currency}/commands/{command_id}", scope: access.Read,
		summary: "The result of a command", text: "Applied or refused, from the journal.", errors: []int{http.StatusNotFound},
	}, func(ctx context.Context, in *ofCommand) (*bodyOf[*Result], error) {
		entries, err := s.current.EntriesByID(ctx, in.ref(), []string{in.ID})
		if err != nil {
			return nil, err
		}
		e, known := entries[in.ID]
		if !known {
			return nil, problem(outcome.NotFound, "the journal has no command %.60q; if it was sent, it may still be applied", in.ID)
		}
		return body(resultOf(e.Result())), nil
	})
	s.transactionRoutes(refusals)
}

type transactionInput struct {
	Idempotent
	RawBody     []byte
	transaction wallet.Transaction
}

// wallets reads the transaction, whose legs say which wallets it is about.
func (in *transactionInput) wallets() (refs []wallet.AssetRef, err error) {
	in.transaction, err = wallet.DecodeTransaction(in.RawBody, in.Key)
	if err == nil {
		err = in.agree(in.transaction.ID)
	}
	return in.transaction.Wallets(), err
}

// actors are that of the transaction, and those that legs name.
func (in *transactionInput) actors() []*string {
	actors := []*string{&in.transaction.Actor}
	for i := range in.transaction.Commands {
		if actor := &in.transaction.Commands[i].Actor; *actor != "" {
			actors = append(actors, actor)
		}
	}
	return actors
}

// Transfer is what POST /v1/transfers takes.
type Transfer struct {
	ID          string            `json:"id,omitempty" doc:"your own id, unique among all transactions; else the header Idempotency-Key is it"`
	FromUserID  string            `json:"from_user_id"`
	ToUserID    string            `json:"to_user_id"`
	Currency    string            `json:"currency"`
	Amount      wallet.Amount     `json:"amount"`
	FromHoldID  string            `json:"from_hold_id,omitempty" doc:"capture it from this hold"`
	Partial     bool              `json:"partial,omitempty" doc:"the rest of that hold stays reserved"`
	NotAfter    time.Time         `json:"not_after,omitzero"`
	Description string            `json:"description,omitempty"`
	Actor       string            `json:"actor,omitempty"`
	Metadata    map[string]string `json:"metadata,omitempty"`
}

type transferInput struct {
	Idempotent
	RawBody  []byte
	transfer starter.Transfer
}

func (in *transferInput) wallets() ([]wallet.AssetRef, error) {
	var t Transfer
	if err := wallet.DecodeInput(in.RawBody, &t); err != nil {
		return nil, err
	}
	if t.ID == "" {
		t.ID = in.Key
	}
	in.transfer = starter.Transfer{
		ID: t.ID, FromUserID: t.FromUserID, ToUserID: t.ToUserID, Currency: t.Currency, Amount: t.Amount, FromHoldID: t.FromHoldID, Partial: t.Partial,
		NotAfter: t.NotAfter, Description: t.Description, Actor: t.Actor, Metadata: t.Metadata,
	}
	return []wallet.AssetRef{{UserID: t.FromUserID, Currency: t.Currency}, {UserID: t.ToUserID, Currency: t.Currency}},
		errors.Join(in.agree(t.ID), wallet.ValidateWallet(t.FromUserID, t.Currency), wallet.ValidateWallet(t.ToUserID, t.Currency))
}

func (s *Server) transactionRoutes(refusals []int) {
	register(s, route{
		id: "apply-transaction", method: http.MethodPost, path: prefix + "/transactions", scope: access.Write,
		summary: "Apply commands for several wallets, all or none", errors: refusals, answers: reflect.TypeFor[TransactionResult](),
		body: s.jsonBody(reflect.TypeFor[Transaction](), "Transaction"),
	}, func(ctx context.Context, in *transactionInput) (*answer, error) {
		if err := stamp(ctx, in.actors()...); err != nil {
			return nil, err
		}
		result, err := s.wallets.Transaction(ctx, in.transaction)
		if err != nil {
			return s.orPending(err)
		}
		return answered(transactionResultOf(result), result.Replayed), nil
	})
	register(s, route{
		id: "transfer", method: http.MethodPost, path: prefix + "/transfers", scope: access.Write,
		summary: "Move value from one user to another: a transaction of two legs", errors: refusals, answers: reflect.TypeFor[TransactionResult](),
		body: s.jsonBody(reflect.TypeFor[Transfer](), "Transfer"),
	}, func(ctx context.Context, in *transferInput) (*answer, error) {
		if err := stamp(ctx, &in.transfer.Actor); err != nil {
			return nil, err
		}
		result, err := s.wallets.Transfer(ctx, in.transfer)
		if err != nil {
			return s.orPending(err)
		}
		return answered(transactionResultOf(result), result.Replayed), nil
	})
	register(s, route{
		id: "get-transaction", method: http.MethodGet, path: prefix + "/transactions/{transaction_id}", scope: access.Read,
		summary: "What became of a transaction", text: "Only for tokens that reach the wallets of all its legs; for others there is none.",
		errors: []int{http.StatusNotFound},
	}, func(ctx context.Context, in *ofTransaction) (*bodyOf[*TransactionResult], error) {
		t, err := s.current.Transaction(ctx, in.ID)
		if err != nil {
			return nil, err
		}
		for _, leg := range t.Results {
			if p := access.From(ctx); !p.Reaches(leg.AssetRef) {
				s.logDenied(p, "get-transaction", notReached(leg.AssetRef))
				return nil, fmt.Errorf("transaction %q: %w", in.ID, trail.ErrNoTransaction) // as if there were none
			}
		}
		result := transactionResultOf(t.TransactionResult)
		result.MustBalance = t.MustBalance
		return body(result), nil
	})
}

// ofTransaction names a transaction.
type ofTransaction struct {
	ID string `path:"transaction_id"`
}

// wallets are known only once it is read.
func (*ofTransaction) wallets() ([]wallet.AssetRef, error) { return nil, nil }
