package main

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/valueledger/wallet"
	"github.com/valueledger/wallet/internal/service/cli"
)

// paging is the flags of a command that reads pages.
type paging struct {
	unit  string // what counts the rows of a wallet: VERSION or POSITION
	limit int
	after string
}

func (p *paging) flags(cmd *cobra.Command) {
	cmd.Flags().IntVar(&p.limit, "limit", 0, "at most so many, the oldest; 0 for all")
	cmd.Flags().StringVar(&p.after, "after", "", fmt.Sprintf("go on after this row: %[1]s, or CURRENCY/%[1]s, or USER/CURRENCY/%[1]s, without what the arguments name", p.unit))
}

// place is where a row stands in the order of all rows.
type place struct {
	wallet.AssetRef
	number int64
}

// place reads --after. What the arguments name is no part of it. It is read from
// its end, since a user id may have slashes itself.
func (p *paging) place(scope wallet.AssetRef) (place, error) {
	if p.after == "" {
		return place{}, nil
	}
	form, rest, last := p.unit+", such as 17", "", p.after
	if scope.Currency == "" {
		form, rest, last = "CURRENCY/"+p.unit+", such as USD/17", beforeLast(p.after), afterLast(p.after)
	}
	number, err := strconv.ParseUint(last, 10, 63)
	after := place{wallet.AssetRef{Currency: rest}, int64(number)}
	if scope.UserID == "" {
		form = "USER/CURRENCY/" + p.unit + ", such as u1/USD/17"
		after.UserID, after.Currency = beforeLast(rest), afterLast(rest)
	}
	if err != nil || (scope.Currency == "" && wallet.ValidateCurrency(after.Currency) != nil) || (scope.UserID == "" && wallet.ValidateUserID(after.UserID) != nil) {
		return place{}, cli.Usagef("--after %q is no place in this list: use %s", p.after, form)
	}
	return after, nil
}

func beforeLast(text string) string { return text[:max(0, strings.LastIndexByte(text, '/'))] }
func afterLast(text string) string  { return text[strings.LastIndexByte(text, '/')+1:] }
