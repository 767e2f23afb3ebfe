package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/spf13/cobra"

	"github.com/valueledger/wallet"
	"github.com/valueledger/wallet/activities"
	"github.com/valueledger/wallet/internal/service/cli"
	"github.com/valueledger/wallet/trail"
)

// repaired is a wallet asset whose trail is complete again.
type repaired struct {
	UserID   string `json:"user_id"`
	Currency string `json:"currency"`
	activities.Repaired
}

func (a *app) repairCommand() *cobra.Command {
	return &cobra.Command{
		Use: "repair [USER [CURRENCY]]", Short: "Append what is missing in the audit trail and its feed",
		Long: `Append the audit events that are missing for journaled commands, as after a
crash together with a lost workflow; any next command of the wallet would do the
same for the end of its trail. Append ranges to the feed for events that are in
none: its consumers get them late. Make the rows of holds that were lost again,
from the journal. Nothing else is touched. If anything else is wrong, nothing at
all is done, and what is wrong is named.`,
		Args: cobra.MaximumNArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			userID, currency, err := walletArgs(args)
			if err != nil {
				return err
			}
			var wrong trail.Report
			var done []repaired
			err = withWriterPool(cmd.Context(), a.database, func(pool *pgxpool.Pool) (err error) {
				wrong, done, err = repair(cmd.Context(), pool, userID, currency)
				return err
			})
			if len(wrong.Findings) > 0 {
				if err := a.printReport(cmd, wrong); err != nil {
					return err
				}
				return fmt.Errorf("nothing was repaired: %d wallets are wrong in more than what is missing, restore them from a backup first", len(wrong.Findings))
			}
			if err != nil && len(done) == 0 {
				return err
			}
			return errors.Join(err, printList(a, cmd, done, "nothing is missing, nothing was repaired", table.Row{"user", "currency", "events appended", "ranges appended", "holds restored"}, func(r repaired) table.Row {
				return table.Row{cli.Plain(r.UserID), r.Currency, r.Events, r.Ranges, r.Holds}
			}))
		},
	}
}

// repair appends what is missing, unless something else is wrong. What it has done, it
// returns with an error too.
func repair(ctx context.Context, pool *pgxpool.Pool, userID, currency string) (wrong trail.Report, done []repaired, err error) {
	read, steps := trail.New(pool), activities.New(pool)
	wrong, err = read.Verify(ctx, trail.VerifyOptions{UserID: userID, Currency: currency, WithoutMissing: true})
	if err != nil {
		return trail.Report{}, nil, err
	}
	if len(wrong.Findings) > 0 {
		return wrong, nil, nil
	}
	report, err := read.Verify(ctx, trail.VerifyOptions{UserID: userID, Currency: currency})
	if err != nil {
		return wrong, nil, err
	}
	for _, f := range report.Findings {
		if !f.MissingEvent && !f.MissingRange && !f.MissingHold && !f.MissingGrant {
			return wrong, done, fmt.Errorf("the %s wallet of %q changed meanwhile: %s", f.Currency, f.UserID, f.Problem)
		}
		appended, err := steps.RepairEvents(ctx, wallet.AssetRef{UserID: f.UserID, Currency: f.Currency})
		if appended != (activities.Repaired{}) { // else somebody was faster
			done = append(done, repaired{f.UserID, f.Currency, appended})
		}
		if err != nil {
			return wrong, done, err
		}
	}
	return wrong, done, nil
}
