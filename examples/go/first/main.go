// Command first is the README's first command from Go. It connects according to
// TEMPORAL_ADDRESS and Temporal's other variables.
package main

import (
	"context"
	"fmt"
	"log"

	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/contrib/envconfig"

	"github.com/valueledger/wallet"
	"github.com/valueledger/wallet/starter"
)

func main() {
	if err := run(context.Background()); err != nil {
		log.Fatal(err)
	}
}

func run(ctx context.Context) error {
	temporalClient, err := client.DialContext(ctx, envconfig.MustLoadDefaultClientOptions())
	if err != nil {
		return err
	}
	defer temporalClient.Close()
	wallets, err := starter.New(temporalClient, starter.Options{})
	if err != nil {
		return err
	}
	result, err := wallets.Subtract(ctx, starter.Change{
		UserID: "u1", Currency: "USD", CommandID: "order-3", Amount: wallet.MustAmount("1.50"),
	})
	if err != nil {
		return err // a refusal is a *wallet.UnappliedError
	}
	fmt.Println(result.Status, result.TotalAfter)
	return nil
}
