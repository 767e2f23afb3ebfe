package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/valueledger/wallet"
	"github.com/valueledger/wallet/internal/service/cli"
	"github.com/valueledger/wallet/starter"
)

const demoUser = "demo"

// demonstrate sends a few commands and prints the results. It opens the wallet with a fixed id,
// so a later start shows that the earlier data is still there.
func demonstrate(cmd *cobra.Command, wallets *starter.Client) error {
	run := time.Now().UTC().Format("0102-150405.000")
	change := func(id, amount, description string) starter.Change {
		c := starter.Change{UserID: demoUser, Currency: "USD", CommandID: id, Description: description}
		if amount != "" {
			c.Amount = wallet.MustAmount(amount)
		}
		return c
	}
	t := cli.NewTable(cmd.OutOrStdout(), cli.ResultHeader)
	for _, step := range []struct {
		send    func(context.Context, starter.Change) (wallet.Result, error)
		change  starter.Change
		refused bool
	}{
		{wallets.Create, change("open", "", "open the wallet"), false},
		{wallets.Add, change("salary-"+run, "100.00", "salary"), false},
		{wallets.Subtract, change("rent-"+run, "60.00", "rent"), false},
		{wallets.Subtract, change("yacht-"+run, "1000000.00", "more than there is"), true},
		{wallets.Add, change("salary-"+run, "100.00", "salary"), false}, // a retry: counts once
	} {
		result, err := step.send(cmd.Context(), step.change)
		var unapplied *wallet.UnappliedError
		if err != nil && !errors.As(err, &unapplied) {
			return fmt.Errorf("demonstration: %w", err)
		}
		if refused := unapplied != nil; refused != step.refused {
			return fmt.Errorf("demonstration: command %s was %s", step.change.CommandID, result.Status)
		}
		t.AppendRow(cli.ResultRow(result))
	}
	fmt.Fprintf(cmd.OutOrStdout(), "\nThe demonstration, user %s, USD:\n", demoUser)
	t.Render()
	return nil
}
