package main

import "github.com/valueledger/wallet/internal/service/cli"

// checkBy refuses what balances and statements are not divided by.
func checkBy(by string) error {
	if by != "" && by != "grant" {
		return cli.Usagef("--by %q is unknown: use grant", by)
	}
	return nil
}
