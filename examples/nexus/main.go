// Command nexus is a shop in its own namespace, whose workflows charge wallets through the
// Nexus service "wallet". It connects according to TEMPORAL_ADDRESS and Temporal's other
// variables, and creates the namespace "shop" if it is missing.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"log/slog"
	"os"
	"time"

	"go.temporal.io/api/serviceerror"
	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/contrib/envconfig"
	temporallog "go.temporal.io/sdk/log"
	"go.temporal.io/sdk/worker"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/valueledger/wallet"
	"github.com/valueledger/wallet/walletnexus"
)

const (
	namespace = "shop"
	taskQueue = "shop"
)

func main() {
	options, err := envconfig.LoadDefaultClientOptions()
	if err == nil {
		err = run(context.Background(), os.Stdout, options, walletnexus.Endpoint, "nexus")
	}
	if err != nil {
		log.Fatal(err)
	}
}

func run(ctx context.Context, out io.Writer, options client.Options, endpoint, user string) error {
	options.Namespace = namespace
	options.Logger = temporallog.NewStructuredLogger(slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelError})))
	temporal, err := client.DialContext(ctx, options)
	if err != nil {
		return err
	}
	defer temporal.Close()
	if err := makeNamespace(ctx, temporal); err != nil {
		return err
	}
	w := worker.New(temporal, taskQueue, worker.Options{})
	w.RegisterWorkflow(TopUp)
	w.RegisterWorkflow(Purchase)
	if err := w.Start(); err != nil {
		return err
	}
	defer w.Stop()
	for _, step := range []struct {
		id       string
		workflow any
		amount   string
	}{
		{"top-up-1", TopUp, "20.00"},
		{"purchase-1", Purchase, "7.50"},
		{"purchase-2", Purchase, "100.00"},
		{"purchase-1", Purchase, "7.50"}, // once more: it is already paid
	} {
		order := Order{Endpoint: endpoint, UserID: user, Amount: wallet.MustAmount(step.amount)}
		run, err := temporal.ExecuteWorkflow(ctx, client.StartWorkflowOptions{ID: step.id + "/" + user, TaskQueue: taskQueue}, step.workflow, order)
		if err != nil {
			return err
		}
		var said string
		if err := run.Get(ctx, &said); err != nil {
			return err
		}
		fmt.Fprintf(out, "%s of %s: %s\n", step.id, step.amount, said)
	}
	return nil
}

// makeNamespace registers the shop's namespace and waits until the server knows it.
func makeNamespace(ctx context.Context, temporal client.Client) error {
	_, err := temporal.WorkflowService().RegisterNamespace(ctx, &workflowservice.RegisterNamespaceRequest{
		Namespace: namespace, WorkflowExecutionRetentionPeriod: durationpb.New(24 * time.Hour),
	})
	var exists *serviceerror.NamespaceAlreadyExists
	if err != nil && !errors.As(err, &exists) {
		return err
	}
	for {
		_, err := temporal.CountWorkflow(ctx, &workflowservice.CountWorkflowExecutionsRequest{Namespace: namespace})
		var unknown *serviceerror.NamespaceNotFound
		if !errors.As(err, &unknown) {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(100 * time.Millisecond):
		}
	}
}
