package main

import (
	"fmt"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/spf13/cobra"

	"github.com/valueledger/wallet"
	"github.com/valueledger/wallet/activities"
	"github.com/valueledger/wallet/trail"
)

// repaired is a wallet asset whose trail is complete again.
type repaired struct {
	UserID   string `json:"user_id"`
	Currency string `json:"currency"`
	Appended int64  `json:"events_appended"`
}

func (a *app) repairCommand() *cobra.Command {
	return &cobra.Command{
		Use: "repair [USER [CURRENCY]]", Short: "Append the audit events that are missing for journaled commands",
		Long: `Append the audit events that are missing for journaled commands, as after a crash
together with a lost workflow; any next command of the wallet would do the same for
the end of its trail. Nothing else is touched. If anything but events is wrong, nothing
at all is done, and what is wrong is named.`,
		Args: cobra.MaximumNArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			var options trail.VerifyOptions
			if len(args) > 0 {
				var err error
				if options.UserID, options.Currency, err = walletArgs(args); err != nil {
					return err
				}
			}
			var wrong trail.Report
			done := []repaired{}
			err := a.withPool(cmd.Context(), func(pool *pgxpool.Pool) (err error) {
				read := trail.New(pool)
				behindMissing := options
				behindMissing.WithoutMissingEvents = true
				if wrong, err = read.Verify(cmd.Context(), behindMissing); err != nil || len(wrong.Findings) > 0 {
					return err
				}
				report, err := read.Verify(cmd.Context(), options)
				if err != nil {
					return err
				}
				for _, f := range report.Findings {
					if !f.MissingEvent {
						return fmt.Errorf("the %s wallet of %q changed meanwhile: %s", f.Currency, f.UserID, f.Problem)
					}
					n, err := activities.New(pool).RepairEvents(cmd.Context(), wallet.AssetRef{UserID: f.UserID, Currency: f.Currency})
					if err != nil {
						return err
					}
					done = append(done, repaired{f.UserID, f.Currency, n})
				}
				return nil
			})
			if err != nil {
				return err
			}
			if len(wrong.Findings) > 0 {
				if err := a.printReport(cmd, wrong); err != nil {
					return err
				}
				return fmt.Errorf("nothing was repaired: %d wallets are wrong in more than missing events, restore them from a backup first", len(wrong.Findings))
			}
			return print(a, cmd, done, table.Row{"user", "currency", "events appended"}, func(r repaired) table.Row {
				return table.Row{plain(r.UserID), r.Currency, r.Appended}
			})
		},
	}
}
