package main

import (
	"encoding/json"
	"fmt"
	"io"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/spf13/cobra"

	"github.com/valueledger/wallet"
	"github.com/valueledger/wallet/internal/service/cli"
)

// printList writes a list: as JSON lines for machines, one object each, or as the
// table that row makes of it. An empty one is told, in the words of none.
func printList[T any](a *app, cmd *cobra.Command, list []T, none string, header table.Row, row func(T) table.Row) error {
	if len(list) == 0 {
		a.tellNone(cmd, none)
		return nil
	}
	if a.output == "json" {
		encoder := json.NewEncoder(cmd.OutOrStdout())
		for _, item := range list {
			if err := encoder.Encode(item); err != nil {
				return err
			}
		}
		return nil
	}
	t := cli.NewTable(cmd.OutOrStdout(), header)
	for _, item := range list {
		t.AppendRow(row(item))
	}
	t.Render()
	return nil
}

// tellNone says that there is nothing to show: to people as the result, and beside it where
// machines read that.
func (a *app) tellNone(cmd *cobra.Command, none string) {
	if a.output == "table" {
		fmt.Fprintln(cmd.OutOrStdout(), none)
	} else {
		a.note(cmd, "%s", none)
	}
}

// rowsPerTable is what a list holds in memory before it is printed.
const rowsPerTable = 1000

// pagedTable prints a list of any length as one table after the other.
type pagedTable struct{ *cli.Table }

func newPagedTable(out io.Writer, header table.Row) pagedTable {
	return pagedTable{cli.NewTable(out, header)}
}

func (p pagedTable) append(row table.Row) {
	if p.Length() == rowsPerTable {
		p.Render()
		p.ResetRows()
	}
	p.AppendRow(row)
}

func (a *app) printResult(cmd *cobra.Command, r wallet.Result) error {
	if err := printList(a, cmd, []wallet.Result{r}, "", cli.ResultHeader, cli.ResultRow); err != nil {
		return err
	}
	if a.output != "table" {
		return nil
	}
	for _, c := range r.Crossed.List() {
		fmt.Fprintf(cmd.OutOrStdout(), "crossed %s %s: %s\n", c.Name, c.Amount, c.Direction)
	}
	switch {
	case r.Message != "":
		fmt.Fprintln(cmd.OutOrStdout(), r.Message)
	case r.OriginalID != "":
		fmt.Fprintf(cmd.OutOrStdout(), "%s of %s left to reverse\n", leftOf(r), cli.Plain(r.OriginalID))
	case r.Type == wallet.TypeFreeze:
		fmt.Fprintf(cmd.OutOrStdout(), "frozen: %s\n", wallet.FrozenText(r.Frozen, r.FreezeEnds, when))
	case r.HoldState == wallet.HoldOpen:
		fmt.Fprintf(cmd.OutOrStdout(), "hold %s is open: %s left, expires %s\n", cli.Plain(r.HoldID), r.HoldLeft, expiry(r.HoldExpiresAt))
	case r.HoldState != "":
		fmt.Fprintf(cmd.OutOrStdout(), "hold %s is %s\n", cli.Plain(r.HoldID), r.HoldState)
	}
	return nil
}

// leftOf is what is left of a reversal's original, with the decimals of the currency.
func leftOf(r wallet.Result) wallet.Amount {
	return r.TotalAfter.Sub(r.TotalAfter).Add(r.OriginalLeft)
}

func when(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05.000000Z") }
