// Package outcome is the one table of how a call can end, whatever it came by: what the CLI, Nexus
// and HTTP make of it.
package outcome

import (
	"context"
	"errors"
	"net/http"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/nexus-rpc/sdk-go/nexus"
	"go.temporal.io/api/serviceerror"

	"github.com/valueledger/wallet"
	"github.com/valueledger/wallet/feed"
	"github.com/valueledger/wallet/internal/service/postgres"
	"github.com/valueledger/wallet/internal/service/webhooks"
	"github.com/valueledger/wallet/runs"
	"github.com/valueledger/wallet/starter"
	"github.com/valueledger/wallet/trail"
)

// Kind is a way for a call to fail.
type Kind struct {
	Name   string
	Title  string // the same for all failures of the kind
	Remedy string
	HTTP   int
	// Nexus is empty where the operation itself fails: a refusal.
	Nexus nexus.HandlerErrorType
	CLI   int // exit code
}

// The kinds.
var (
	Refused = Kind{"refused", "The command was refused, on record", "it is final for its id: send another command under a new id", http.StatusUnprocessableEntity, "", 2}
	// Conflict is a refusal that has no entry of its own.
	Conflict = Kind{"conflict", "The id was used before, with other content", "send this content under a new id", http.StatusConflict, "", 2}
	Invalid  = Kind{"invalid", "The request is invalid, nothing was recorded", "correct it", http.StatusBadRequest, nexus.HandlerErrorTypeBadRequest, 3}
	NotFound = Kind{"not_found", "There is no such thing", "check the ids", http.StatusNotFound, nexus.HandlerErrorTypeNotFound, 1}
	NoAnswer = Kind{"no_answer", "There is no answer yet, the command may still be applied", "send exactly the same again, with the same id", http.StatusAccepted, nexus.HandlerErrorTypeUnavailable, 4}
	// Unavailable is the failure of a read: what was sent is NoAnswer.
	Unavailable = Kind{"unavailable", "Postgres or Temporal does not answer", "send exactly the same again, with the same id", http.StatusServiceUnavailable, nexus.HandlerErrorTypeUnavailable, 1}
	// Behind is the failure of a read that demands more than a standby has.
	Behind = Kind{"behind", "The standby that was read is behind", "send it again after Retry-After seconds", http.StatusServiceUnavailable, nexus.HandlerErrorTypeUnavailable, 1}
	Failed = Kind{"failed", "It failed", "the log of the server says why; sending it again with the same id is safe", http.StatusInternalServerError, nexus.HandlerErrorTypeUnavailable, 1}
)

// Of is the one place where errors become kinds.
func Of(err error) Kind {
	var unapplied *wallet.UnappliedError
	var transaction *wallet.TransactionRefusedError
	var invalid *wallet.InvalidError
	var noAnswer *starter.NoAnswerError
	var file *runs.FileError
	var lines *runs.InvalidLinesError
	var otherFile *runs.OtherFileError
	var settings *webhooks.InvalidError
	var endpoint *webhooks.NotFoundError
	switch {
	case errors.As(err, &unapplied), errors.As(err, &transaction):
		if errors.Is(err, wallet.ReasonIDConflict) {
			return Conflict
		}
		return Refused
	case errors.As(err, &otherFile):
		return Conflict
	case errors.As(err, &invalid), errors.As(err, &file), errors.As(err, &lines), errors.As(err, &settings):
		return Invalid
	case errors.Is(err, trail.ErrNoWallet), errors.Is(err, trail.ErrNoVersion), errors.Is(err, trail.ErrNoTransaction), errors.Is(err, trail.ErrNoCommand), errors.Is(err, runs.ErrNoRun), errors.As(err, &endpoint):
		return NotFound
	case errors.As(err, &noAnswer):
		return NoAnswer
	case errors.As(err, new(*postgres.BehindError)):
		return Behind
	case isAway(err):
		return Unavailable
	default:
		return Failed
	}
}

// cancelledByRecovery is the SQLSTATE of a read that a standby ends because replay cannot wait for it.
const cancelledByRecovery = "40001"

// isAway reports whether a server does not answer, or not now; or the caller has left.
func isAway(err error) bool {
	for _, passing := range []any{
		new(*serviceerror.Unavailable), new(*serviceerror.DeadlineExceeded), new(*serviceerror.ResourceExhausted), new(*pgconn.ConnectError),
	} {
		if errors.As(err, passing) {
			return true
		}
	}
	var refused *pgconn.PgError
	if errors.As(err, &refused) {
		return postgres.IsPassing(refused) || refused.Code == cancelledByRecovery
	}
	return errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) || errors.Is(err, wallet.ErrBusy) || errors.Is(err, feed.ErrStandby) || pgconn.SafeToRetry(err) || pgconn.Timeout(err)
}
