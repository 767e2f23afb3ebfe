// Command subscription charges subscribers each month and gives them access to what they pay for. It
// connects to Temporal according to TEMPORAL_ADDRESS and its other variables, and to the wallets'
// Postgres by SUBSCRIPTION_DATABASE_URL, beside "make run" by WALLET_OWNER_DATABASE_URL.
package main

import (
	"cmp"
	"context"
	_ "embed"
	"fmt"
	"log"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
	_ "time/tzdata" // for machines without it

	"github.com/jackc/pgx/v5/pgxpool"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/contrib/envconfig"
	temporallog "go.temporal.io/sdk/log"
	"go.temporal.io/sdk/worker"

	"github.com/valueledger/wallet/starter"
	"github.com/valueledger/wallet/trail"
)

//go:embed schema.sql
var schema string

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx); err != nil {
		log.Fatal(err)
	}
}

// run charges and grants access until ctx ends. Any number of processes may do so.
func run(ctx context.Context) error {
	options := envconfig.MustLoadDefaultClientOptions()
	options.Logger = temporallog.NewStructuredLogger(slog.Default())
	connection, err := client.DialContext(ctx, options)
	if err != nil {
		return err
	}
	defer connection.Close()
	db, err := pgxpool.New(ctx, cmp.Or(os.Getenv("SUBSCRIPTION_DATABASE_URL"), os.Getenv("WALLET_OWNER_DATABASE_URL")))
	if err != nil {
		return err
	}
	defer db.Close()
	if os.Getenv("SUBSCRIPTION_DATABASE_URL") == "" { // as the owner, one process at a time
		if _, err := db.Exec(ctx, "SELECT pg_advisory_xact_lock(hashtext('subscription'));"+schema); err != nil {
			return err
		}
	}
	wallets, err := starter.New(connection, starter.Options{TaskQueue: os.Getenv("WALLET_TASK_QUEUE"), Lanes: 1})
	if err != nil {
		return err
	}
	pollers := worker.NewPollerBehaviorAutoscaling(worker.PollerBehaviorAutoscalingOptions{}) // many periods begin at once
	w := worker.New(connection, "subscriptions", worker.Options{WorkflowTaskPollerBehavior: pollers, ActivityTaskPollerBehavior: pollers})
	w.RegisterWorkflow(Subscription)
	w.RegisterActivity(&Activities{db, wallets, trail.New(db)})
	if err := w.Start(); err != nil {
		return err
	}
	defer w.Stop()
	fmt.Println("charging subscribers until Ctrl-C")
	return consume(ctx, db)
}
