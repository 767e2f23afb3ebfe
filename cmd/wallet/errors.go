package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/spf13/cobra"
	"go.temporal.io/api/serviceerror"

	"github.com/valueledger/wallet"
	"github.com/valueledger/wallet/internal/service/cli"
	"github.com/valueledger/wallet/internal/service/outcome"
	"github.com/valueledger/wallet/internal/service/webhooks"
	"github.com/valueledger/wallet/runs"
	"github.com/valueledger/wallet/starter"
)

// Exit codes.
const (
	exitDone     = 0
	exitFailed   = 1
	exitRefused  = 2
	exitInvalid  = 3
	exitNoAnswer = 4
)

// exit is one way for a command to end.
type exit struct {
	code                  int
	kind, meaning, remedy string
}

// exits is the one table of exit codes; the place of each is its code. TestExitCodesAreDocumented looks for each in
// docs/contract.md.
var exits = []exit{
	{exitDone, "", "done; a command was applied", ""},
	{exitFailed, "failed", "any other failure, findings of a check among them", "read the message; sending a command again with the same id is safe"},
	{exitRefused, "refused", "the command was refused, on record", "final for its id: send another command under a new id"},
	{exitInvalid, "invalid", "wrong usage or input; nothing was recorded", "correct it, never send it again as it is"},
	{exitNoAnswer, "no_answer", "no answer yet; the command may still be applied", "send exactly the same again, with the same id"},
}

// exitOf is the one place where errors become exit codes.
func exitOf(err error) exit {
	var usage *cli.UsageError
	var unreachable *unreachableError
	var argument *serviceerror.InvalidArgument // a query or a cron that Temporal does not take
	var failedLines *failedLinesError
	var failedCheck *failedCheckError
	var otherFile *runs.OtherFileError
	var endpoint *webhooks.InvalidError
	switch {
	case err == nil:
		return exits[exitDone]
	case errors.As(err, &failedCheck) && failedCheck.report.Invalid > 0:
		return exits[exitInvalid]
	case errors.As(err, &failedLines), errors.As(err, &failedCheck):
		return exits[exitRefused]
	case errors.As(err, &usage), errors.As(err, &argument), errors.As(err, &otherFile), errors.As(err, &endpoint):
		return exits[exitInvalid]
	case errors.As(err, &unreachable):
		return exits[exitNoAnswer]
	}
	return exits[outcome.Of(err).CLI]
}

// unreachableError is a command that could not be sent, because Temporal does not answer: as
// good as one without an answer.
type unreachableError struct{ error }

func (e *unreachableError) Unwrap() error { return e.error }

// unsent tells a Temporal that does not answer from one that says no.
func unsent(err error) error {
	for _, passing := range []any{new(*serviceerror.Unavailable), new(*serviceerror.DeadlineExceeded), new(*serviceerror.ResourceExhausted)} {
		if errors.As(err, passing) {
			return &unreachableError{err}
		}
	}
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, wallet.ErrBusy) {
		return &unreachableError{err}
	}
	return err
}

// failureReport is an error as machines read it: one object on stderr.
type failureReport struct {
	Kind      string         `json:"kind"`
	ExitCode  int            `json:"exit_code"`
	Message   string         `json:"message"`
	Hint      string         `json:"hint,omitempty"` // of Postgres
	Reason    wallet.Reason  `json:"reason,omitempty"`
	Field     string         `json:"field,omitempty"` // of an invalid command, with its value
	Value     string         `json:"value,omitempty"`
	CommandID string         `json:"command_id,omitempty"`
	Result    *wallet.Result `json:"result,omitempty"` // of a refusal, as on stdout

	// TransactionID and Transaction are of a refused transaction, as on stdout.
	TransactionID string                    `json:"transaction_id,omitempty"`
	Transaction   *wallet.TransactionResult `json:"transaction,omitempty"`

	DryRun bool `json:"dry_run,omitempty"` // the refusal is not on record
}

func reportOf(err error) failureReport {
	o := exitOf(err)
	r := failureReport{Kind: o.kind, ExitCode: o.code, Message: err.Error()}
	var refusedByPostgres *pgconn.PgError
	if errors.As(err, &refusedByPostgres) {
		r.Hint = refusedByPostgres.Hint
	}
	var unapplied *wallet.UnappliedError
	var invalid *wallet.InvalidError
	var noAnswer *starter.NoAnswerError
	var transaction *wallet.TransactionRefusedError
	r.DryRun = errors.As(err, new(*dryRunRefusal))
	switch {
	case errors.As(err, &unapplied):
		r.Reason, r.CommandID, r.Result = unapplied.Result.Reason, unapplied.Result.CommandID, &unapplied.Result
	case errors.As(err, &transaction):
		r.Reason, r.TransactionID, r.Transaction = transaction.Result.Reason, transaction.Result.TransactionID, &transaction.Result
	case errors.As(err, &noAnswer) && noAnswer.Transaction:
		r.TransactionID = noAnswer.CommandID
	case errors.As(err, &invalid):
		r.Reason, r.Field, r.Value = invalid.Reason, invalid.Field, invalid.Value
	case errors.As(err, &noAnswer):
		r.CommandID = noAnswer.CommandID
	}
	return r
}

// printError prints why a command failed. For people a refusal is a result, which stdout has.
func printError(program string, asJSON bool, err error) {
	switch {
	case asJSON:
		printJSON(os.Stderr, "error", reportOf(err))
	case exitOf(err).code != exitRefused:
		cli.PrintError(program, err)
	}
}

// asksForJSON looks for --output json in arguments that cobra may not have come to read: what
// precedes it may be wrong.
func asksForJSON(args []string) (asks bool) {
	for i, arg := range args {
		value, given := "", true
		switch {
		case arg == "--":
			return asks
		case (arg == "-o" || arg == "--output") && i+1 < len(args):
			value = args[i+1]
		case strings.HasPrefix(arg, "--output="):
			value = strings.TrimPrefix(arg, "--output=")
		case strings.HasPrefix(arg, "-o"):
			value = strings.TrimPrefix(strings.TrimPrefix(arg, "-o"), "=")
		default:
			given = false
		}
		if given {
			asks = value == "json"
		}
	}
	return asks
}

// note tells something beside the result, on stderr.
func (a *app) note(cmd *cobra.Command, format string, args ...any) {
	if text := fmt.Sprintf(format, args...); a.output == "json" {
		printJSON(cmd.ErrOrStderr(), "note", text)
	} else {
		fmt.Fprintln(cmd.ErrOrStderr(), text)
	}
}

// printJSON prints an object of one field, as a line. A terminal that is gone is no error.
func printJSON(out io.Writer, name string, value any) {
	encoder := json.NewEncoder(out)
	encoder.SetEscapeHTML(false)
	_ = encoder.Encode(map[string]any{name: value})
}

// exitCodesTopic is "wallet help exit-codes".
func exitCodesTopic() *cobra.Command {
	var text strings.Builder
	text.WriteString("Exit codes, and what to do:\n\n")
	for _, o := range exits {
		fmt.Fprintf(&text, "  %d  %s\n", o.code, o.meaning)
		if o.remedy != "" {
			fmt.Fprintf(&text, "     %s\n", o.remedy)
		}
	}
	text.WriteString(`
With --output json, results are on stdout, one JSON object a line, and an error
is one object on stderr:

  {"error":{"kind":"no_answer","exit_code":4,"message":"..."}}

Its kind is `)
	for i, o := range exits[1:] {
		if i > 0 {
			text.WriteString(", ")
		}
		fmt.Fprintf(&text, "%s (%d)", o.kind, o.code)
	}
	text.WriteString(".\nA refusal has its reason and its result there too. {\"note\":\"...\"} is no error.")
	return &cobra.Command{Use: "exit-codes", Short: "What the exit codes mean, and errors as JSON", Long: text.String()}
}
