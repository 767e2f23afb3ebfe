// Command run applies a file of commands as a run. It connects according to TEMPORAL_ADDRESS and
// Temporal's other variables, and to Postgres by WALLET_DATABASE_URL.
package main

import (
	"context"
	"fmt"
	"log"
	"os"

	"github.com/jackc/pgx/v5/pgxpool"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/contrib/envconfig"

	"github.com/valueledger/wallet"
	"github.com/valueledger/wallet/runs"
	"github.com/valueledger/wallet/starter"
)

func main() {
	if len(os.Args) != 3 {
		log.Fatal("usage: run FILE ID")
	}
	if err := run(context.Background(), os.Args[1], os.Args[2]); err != nil {
		log.Fatal(err)
	}
}

func run(ctx context.Context, path, id string) error {
	temporalClient, err := client.DialContext(ctx, envconfig.MustLoadDefaultClientOptions())
	if err != nil {
		return err
	}
	defer temporalClient.Close()
	wallets, err := starter.New(temporalClient, starter.Options{})
	if err != nil {
		return err
	}
	pool, err := pgxpool.New(ctx, os.Getenv("WALLET_DATABASE_URL"))
	if err != nil {
		return err
	}
	defer pool.Close()
	status, err := applyFile(ctx, pool, wallets, path, id)
	if err != nil {
		return err
	}
	fmt.Printf("%s: %d lines, %d applied, %d refused\n", status.State, status.Lines, status.Applied, status.Refused)
	for failure, err := range runs.Failures(ctx, pool, id) {
		if err != nil {
			return err
		}
		fmt.Printf("line %d: %s\n", failure.Line, failure.Message)
	}
	return nil
}

// applyFile can be called again after any failure, with the same file and id: it continues.
func applyFile(ctx context.Context, pool *pgxpool.Pool, wallets *starter.Client, path, id string) (wallet.RunStatus, error) {
	if _, err := runs.StageFile(ctx, pool, runs.File{ID: id, Path: path}); err != nil {
		return wallet.RunStatus{}, err
	}
	if err := wallets.StartRun(ctx, wallet.RunInput{RunID: id}); err != nil {
		return wallet.RunStatus{}, err
	}
	return wallets.AwaitRun(ctx, id)
}
