package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/spf13/cobra"

	"github.com/valueledger/wallet"
	"github.com/valueledger/wallet/internal/service/cli"
	"github.com/valueledger/wallet/starter"
)

const demoUser = "demo"

// demonstrate sends a few commands and prints the results. It opens the wallet with a fixed id,
// so a later start shows that the earlier data is still there.
func (l *local) demonstrate(cmd *cobra.Command) error {
	wallets := l.wallets
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
	return l.demonstrateHTTP(cmd.Context())
}

// demonstrateHTTP reads the balance by the HTTP API.
func (l *local) demonstrateHTTP(ctx context.Context) error {
	url := l.apiURL + "/v1/wallets/" + demoUser + "/USD/balance"
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	request.Header.Set("Authorization", "Bearer "+l.token)
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		return fmt.Errorf("demonstration: %w", err)
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err == nil && answer.StatusCode != http.StatusOK {
		err = errors.New(string(body))
	}
	if err != nil {
		return fmt.Errorf("demonstration: GET %s: %s: %w", url, answer.Status, err)
	}
	l.say("\nIts balance over HTTP, GET %s:\n%s", url, bytes.TrimSpace(body))
	return nil
}
