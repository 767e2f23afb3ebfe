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
	RefuseUnknown(root)
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	stopTraces, err := telemetry.StartTraces(ctx)
	if err != nil {
		return err
	}
	err = root.ExecuteContext(ctx)
	flush, cancel := context.WithTimeout(context.WithoutCancel(ctx), tracesPatience)
	defer cancel()
	if unsent := stopTraces(flush); unsent != nil { // not a failure of the command
		fmt.Fprintf(os.Stderr, "%s: traces were not sent: %v\n", root.Name(), unsent)
	}
	return err
}

// PrintError prints why a command failed, with Postgres's hint if there is one.
func PrintError(program string, err error) {
	fmt.Fprintf(os.Stderr, "%s: %v\n", program, err)
	var refused *pgconn.PgError
	if errors.As(err, &refused) && refused.Hint != "" {
		fmt.Fprintln(os.Stderr, "hint:", refused.Hint)
	}
}
