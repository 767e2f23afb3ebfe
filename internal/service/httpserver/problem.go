package httpserver

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/danielgtaylor/huma/v2"
	"go.uber.org/zap"

	"github.com/valueledger/wallet"
	"github.com/valueledger/wallet/internal/service/outcome"
	"github.com/valueledger/wallet/internal/service/runcontrol"
	"github.com/valueledger/wallet/runs"
	"github.com/valueledger/wallet/starter"
)

// Problem is a failure as RFC 9457 writes it. Kind says what to do, whatever else it has.
type Problem struct {
	Type   string `json:"type" doc:"about:blank: kind and reason say more"`
	Title  string `json:"title"`
	Status int    `json:"status"`
	Detail string `json:"detail" doc:"what was wrong with which value, and what to do"`
	Kind   string `json:"kind" doc:"refused, conflict, invalid, not_found, unavailable, behind, failed; unauthenticated, forbidden, too_many_requests, too_large, too_slow, unsupported_media_type, not_allowed, wrong_state, not_configured"`
	Remedy string `json:"remedy,omitempty"`

	Reason wallet.Reason `json:"reason,omitempty" doc:"of a refusal or of invalid input"`
	Field  string        `json:"field,omitempty" doc:"of invalid input"`
	Value  string        `json:"value,omitempty" doc:"shortened to 60 characters"`

	Lines []InvalidLine `json:"lines,omitempty" doc:"of an invalid file, the first of its invalid lines"`

	Result      *Result            `json:"result,omitempty" doc:"of a refused command"`
	Transaction *TransactionResult `json:"transaction,omitempty" doc:"of a refused transaction"`

	headers http.Header
}

// InvalidLine is a line of a file that holds no valid command.
type InvalidLine struct {
	Line    int64         `json:"line"`
	Reason  wallet.Reason `json:"reason"`
	Message string        `json:"message"`
}

// Error, GetStatus, GetHeaders and ContentType are what huma asks of an error.
func (p *Problem) Error() string             { return p.Detail }
func (p *Problem) GetStatus() int            { return p.Status }
func (p *Problem) GetHeaders() http.Header   { return p.headers }
func (p *Problem) ContentType(string) string { return problemType }

const problemType = "application/problem+json"

// The kinds that only HTTP has.
var (
	unauthenticated = outcome.Kind{Name: "unauthenticated", Title: "A valid token is required", HTTP: http.StatusUnauthorized,
		Remedy: `send "Authorization: Bearer TOKEN"`}
	forbidden = outcome.Kind{Name: "forbidden", Title: "The token does not allow this", HTTP: http.StatusForbidden}
	tooMany   = outcome.Kind{Name: "too_many_requests", Title: "Too many requests", HTTP: http.StatusTooManyRequests,
		Remedy: "send it again after Retry-After seconds"}
	tooLarge = outcome.Kind{Name: "too_large", Title: "The request is too large", HTTP: http.StatusRequestEntityTooLarge,
		Remedy: "send less at once"}
	unsupported = outcome.Kind{Name: "unsupported_media_type", Title: "The content type is not supported", HTTP: http.StatusUnsupportedMediaType}
	notAllowed  = outcome.Kind{Name: "not_allowed", Title: "The path does not take this method", HTTP: http.StatusMethodNotAllowed}
	wrongState  = outcome.Kind{Name: "wrong_state", Title: "Its state does not allow this", HTTP: http.StatusConflict}
	// notConfigured is about the server, not the caller.
	notConfigured = outcome.Kind{Name: "not_configured", Title: "This server is not configured for this", HTTP: http.StatusNotImplemented}
	tooSlow       = outcome.Kind{Name: "too_slow", Title: "The request took too long to arrive", HTTP: http.StatusRequestTimeout}
)

func problem(kind outcome.Kind, format string, args ...any) *Problem {
	return &Problem{
		Type: "about:blank", Title: kind.Title, Status: kind.HTTP, Kind: kind.Name, Remedy: kind.Remedy, Detail: fmt.Sprintf(format, args...), headers: http.Header{},
	}
}

func (p *Problem) with(name, value string) *Problem {
	p.headers.Set(name, value)
	return p
}

// problemOf is the one place where errors become problems. What is no fault of the caller is
// logged, and not shown: it may name hosts, roles and tables.
func (s *Server) problemOf(err error) *Problem {
	var known *Problem
	if errors.As(err, &known) {
		return known
	}
	kind := outcome.Of(err)
	var unapplied *wallet.UnappliedError
	var refused *wallet.TransactionRefusedError
	var invalid *wallet.InvalidError
	var lines *runs.InvalidLinesError
	var state *runcontrol.StateError
	switch {
	case errors.As(err, &unapplied):
		p := problem(kind, "%s", unapplied.Result.Message)
		p.Reason, p.Result = unapplied.Result.Reason, resultOf(unapplied.Result)
		p.setReplayed(unapplied.Result.Replayed)
		return p
	case errors.As(err, &refused):
		p := problem(kind, "%s", refused.Result.Message)
		p.Reason, p.Transaction = refused.Result.Reason, transactionResultOf(refused.Result)
		p.setReplayed(refused.Result.Replayed)
		return p
	case errors.As(err, &invalid):
		return invalidProblem(invalid)
	case errors.As(err, &lines):
		return invalidLines(lines)
	case errors.As(err, &state):
		return problem(wrongState, "%s", state)
	case kind == outcome.Behind:
		return problem(kind, "%s", err).with("Retry-After", retryAfter)
	case kind == outcome.Unavailable:
		s.logger.Warn("unavailable", zap.Error(err))
		return problem(kind, "Postgres or Temporal does not answer now").with("Retry-After", retryAfter)
	case kind == outcome.Failed:
		s.logger.Error("a request failed", zap.Error(err))
		return problem(kind, "it failed, and the log of the server says why")
	default:
		return problem(kind, "%s", err)
	}
}

func invalidProblem(invalid *wallet.InvalidError) *Problem {
	p := problem(outcome.Invalid, "%s", invalid.Message)
	p.Reason, p.Field, p.Value = invalid.Reason, invalid.Field, invalid.Value
	return p
}

func invalidLines(err *runs.InvalidLinesError) *Problem {
	p := problem(outcome.Invalid, "%d of the %d lines are invalid: correct them, or leave them out with skip_invalid=true; nothing was staged", err.Invalid, err.Lines)
	for _, l := range err.First {
		p.Lines = append(p.Lines, InvalidLine{l.Number, l.Err.Reason, l.Err.Message})
	}
	return p
}

func badInput(field, value, format string, args ...any) *Problem {
	shown := []rune(strings.ToValidUTF8(value, "\ufffd"))
	return invalidProblem(&wallet.InvalidError{Reason: wallet.ReasonMalformed, Field: field, Value: string(shown[:min(len(shown), 60)]), Message: fmt.Sprintf(format, args...)})
}

// retryAfter is in seconds.
const retryAfter = "1"

const headerReplayed = "Idempotency-Replayed"

func (p *Problem) setReplayed(replayed bool) {
	if replayed {
		p.headers.Set(headerReplayed, "true")
	}
}

// write is for problems that come before huma.
func (p *Problem) write(w http.ResponseWriter) {
	for name, values := range p.headers {
		w.Header()[name] = values
	}
	w.Header().Set("Content-Type", problemType)
	w.WriteHeader(p.Status)
	_ = json.NewEncoder(w).Encode(p)
}

// init makes huma's own errors problems of the same table.
func init() {
	huma.NewError = func(status int, message string, errs ...error) huma.StatusError {
		return humaProblem(status, message, errs)
	}
	huma.NewErrorWithContext = func(_ huma.Context, status int, message string, errs ...error) huma.StatusError {
		return humaProblem(status, message, errs)
	}
}

func humaProblem(status int, message string, errs []error) *Problem {
	for _, err := range errs {
		var detail *huma.ErrorDetail
		if errors.As(err, &detail) {
			field := detail.Location
			if _, name, found := strings.Cut(field, "."); found {
				field = name
			}
			return badInput(field, fmt.Sprint(detail.Value), "%s: %s", field, detail.Message)
		}
	}
	for _, kind := range []outcome.Kind{tooLarge, unsupported, tooSlow} {
		if kind.HTTP == status {
			return problem(kind, "%s", message)
		}
	}
	if status >= http.StatusInternalServerError {
		return problem(outcome.Failed, "it failed, and the log of the server says why")
	}
	return problem(outcome.Invalid, "%s", message)
}

// pending is the answer to a command that has none yet.
func pending(noAnswer *starter.NoAnswerError) Pending {
	p := Pending{Status: "pending", Detail: outcome.NoAnswer.Title + ": " + outcome.NoAnswer.Remedy}
	if noAnswer.Transaction {
		p.TransactionID, p.location = noAnswer.CommandID, transactionPath(noAnswer.CommandID)
	} else {
		p.CommandID, p.location = noAnswer.CommandID, commandPath(noAnswer.AssetRef, noAnswer.CommandID)
	}
	return p
}
