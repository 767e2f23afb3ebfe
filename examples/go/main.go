// Command go sends commands to a wallet from Go, and runs workflows that do the same in its own
// worker. It connects according to TEMPORAL_ADDRESS and Temporal's other variables.
package main

import (
	"context"
	"fmt"
	"log"
	"log/slog"
	"os"

	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/contrib/envconfig"
	temporallog "go.temporal.io/sdk/log"
	"go.temporal.io/sdk/worker"

	"github.com/valueledger/wallet/starter"
)

const (
	user      = "go"
	taskQueue = "example-go"
)

func main() {
	if err := run(context.Background()); err != nil {
		log.Fatal(err)
	}
}

func run(ctx context.Context) error {
	options, err := envconfig.LoadDefaultClientOptions()
	if err != nil {
		return err
	}
	options.Logger = temporallog.NewStructuredLogger(slog.New(slog.NewTextHandler(os.Stderr, nil)))
	temporal, err := client.DialContext(ctx, options)
	if err != nil {
		return err
	}
	defer temporal.Close()
	wallets, err := starter.New(temporal, starter.Options{})
	if err != nil {
		return err
	}
	if err := sendCommands(ctx, wallets, user); err != nil {
		return err
	}

	w := worker.New(temporal, taskQueue, worker.Options{})
	w.RegisterWorkflow(Charge)
	w.RegisterWorkflow(Deliver)
	w.RegisterWorkflow(Refund)
	w.RegisterActivity(&Activities{wallets})
	if err := w.Start(); err != nil {
		return err
	}
	defer w.Stop()
	for _, step := range []struct {
		name            string
		workflow        any
		orderID, amount string
	}{
		{"child", Charge, "order-7", "6.00"},
		{"child", Charge, "order-8", "100"},
		{"reply", Refund, "order-9", "0.50"},
		{"hold", Deliver, "order-10", "8.00"},
	} {
		start := client.StartWorkflowOptions{ID: user + "-" + step.orderID, TaskQueue: taskQueue}
		workflowRun, err := temporal.ExecuteWorkflow(ctx, start, step.workflow, user, step.orderID, step.amount)
		if err != nil {
			return err
		}
		var outcome string
		if err := workflowRun.Get(ctx, &outcome); err != nil {
			return err
		}
		fmt.Printf("%s: %s\n", step.name, outcome)
	}
	return nil
}
