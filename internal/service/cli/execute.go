// Package cli is shared by the programs wallet and wallet-dev: how they run a command and
// report its error, their common flags, and the table of results that both print.
package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/spf13/cobra"

	"github.com/valueledger/wallet/internal/service/telemetry"
)

// tracesPatience is how long a command waits at its end for its traces to be sent.
const tracesPatience = 5 * time.Second

// Execute runs the command given by the program's arguments, until SIGINT or SIGTERM, and sends
// its traces if it makes any.
func Execute(root *cobra.Command) error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	stopTraces, err := telemetry.StartTraces(ctx)
	if err != nil {
		return err
	}
	err = execute(ctx, root)
	flush, cancel := context.WithTimeout(context.WithoutCancel(ctx), tracesPatience)
	defer cancel()
	if unsent := stopTraces(flush); unsent != nil { // not a failure of the command
		fmt.Fprintf(os.Stderr, "%s: traces were not sent: %v\n", root.Name(), unsent)
	}
	return err
}

// execute tells usage errors from those of a command that began.
func execute(ctx context.Context, root *cobra.Command) error {
	RefuseUnknown(root)
	nameArguments(root)
	began := false
	noteBegin(root, &began)
	err := root.ExecuteContext(ctx)
	if err != nil && !began {
		return &UsageError{err}
	}
	return err
}

func noteBegin(cmd *cobra.Command, began *bool) {
	for _, sub := range cmd.Commands() {
		noteBegin(sub, began)
	}
	if run := cmd.RunE; run != nil {
		cmd.RunE = func(cmd *cobra.Command, args []string) error {
			*began = true
			return run(cmd, args)
		}
	}
}

// UsageError is a mistake in how a program was called: its arguments, flags or settings.
type UsageError struct{ error }

func (e *UsageError) Unwrap() error { return e.error }

// Usagef makes a UsageError.
func Usagef(format string, args ...any) error { return &UsageError{fmt.Errorf(format, args...)} }

// PrintError prints why a command failed, with Postgres's advice if it gave one.
func PrintError(program string, err error) {
	fmt.Fprintf(os.Stderr, "%s: %v\n", program, err)
	var refused *pgconn.PgError
	if errors.As(err, &refused) && refused.Hint != "" {
		fmt.Fprintln(os.Stderr, "hint:", refused.Hint)
	}
}
