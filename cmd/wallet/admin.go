package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strconv"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/spf13/cobra"

	"github.com/valueledger/wallet"
	"github.com/valueledger/wallet/migrations"
)

func (a *app) migrateCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "migrate", Short: "Bring the database's tables up to date"}
	cmd.AddCommand(&cobra.Command{
		Use: "up", Short: "Apply the migrations that are missing", Args: cobra.NoArgs,
		Long: `Apply the migrations that are missing, as the owner of the tables.

They make the role ` + migrations.RoleApp + `, which has the rights that a worker and the HTTP
API need and no more, and ` + migrations.RoleWebhooks + ` for "wallet webhook run". If
WALLET_APP_PASSWORD and WALLET_WEBHOOKS_PASSWORD are set, these may log in with
them; otherwise let them log in by your own means, or grant them to roles of
yours.`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := a.needDatabase(); err != nil {
				return err
			}
			applied, err := migrations.UpNotify(cmd.Context(), a.owner.URL, func(err error) {
				a.note(cmd, "trying again, commands go on meanwhile: %s", err)
			})
			a.printApplied(cmd, applied)
			if err != nil {
				return a.migrating(err)
			}
			for _, row := range [][2]string{{migrations.RoleApp, "WALLET_APP_PASSWORD"}, {migrations.RoleWebhooks, "WALLET_WEBHOOKS_PASSWORD"}} {
				role, setting := row[0], row[1]
				if password := os.Getenv(setting); password != "" {
					if err := migrations.AllowLogin(cmd.Context(), a.owner.URL, role, password); err != nil {
						return a.migrating(err)
					}
				}
			}
			if len(applied) == 0 && a.output == "table" {
				fmt.Fprintf(cmd.OutOrStdout(), "nothing to do, the database is at version %d\n", migrations.Latest())
			}
			return nil
		},
	}, a.distributeCommand(), &cobra.Command{
		Use: "status", Short: "Show which migrations are applied", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := a.needDatabase(); err != nil {
				return err
			}
			list, err := migrations.List(cmd.Context(), a.owner.URL)
			if err != nil {
				return a.migrating(err)
			}
			return printList(a, cmd, list, "this build has no migrations", table.Row{"version", "file", "applied"}, func(s migrations.Status) table.Row {
				return table.Row{s.Version, s.Name, s.Applied}
			})
		},
	})
	return cmd
}

func (a *app) distributeCommand() *cobra.Command {
	dryRun := false
	cmd := &cobra.Command{
		Use: "distribute", Short: "Distribute the tables over the nodes of a Citus cluster", Args: cobra.NoArgs,
		Long: `Distribute the tables over the nodes of a Citus cluster by user, as their owner,
after "wallet migrate up" and before workers start. The cluster's version and
settings are checked first. It can be repeated: what is done is left out.`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := a.needDatabase(); err != nil {
				return err
			}
			steps := []migrations.Step{}
			err := migrations.Distribute(cmd.Context(), a.owner.URL, dryRun, func(s migrations.Step) {
				steps = append(steps, s)
				if a.output == "table" {
					fmt.Fprintln(cmd.OutOrStdout(), s.What)
				}
			})
			if err != nil {
				return a.migrating(err)
			}
			if a.output == "json" {
				return json.NewEncoder(cmd.OutOrStdout()).Encode(steps)
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "only check the cluster, and print what would be done")
	return cmd
}

// printApplied prints how far "wallet migrate up" came, after a failure too.
func (a *app) printApplied(cmd *cobra.Command, applied []int64) {
	if a.output == "json" {
		_ = json.NewEncoder(cmd.OutOrStdout()).Encode(struct {
			Applied []int64 `json:"applied"`
			Latest  int64   `json:"latest"` // that this build has
		}{append([]int64{}, applied...), migrations.Latest()})
		return
	}
	for _, version := range applied {
		fmt.Fprintf(cmd.OutOrStdout(), "applied migration %d\n", version)
	}
}

func (a *app) needDatabase() error {
	if a.owner.URL == "" {
		return errors.New("neither WALLET_OWNER_DATABASE_URL nor WALLET_DATABASE_URL is set: give one the Postgres to migrate, such as postgres://user:password@host:5432/wallet")
	}
	return nil
}

// migrating says which database an error is about.
func (a *app) migrating(err error) error {
	return fmt.Errorf("the database of %s: %w", a.owner.Setting, a.asOwner(err))
}

type currency struct {
	Code  string `json:"code"`
	Scale int32  `json:"scale"`
}

const (
	sqlAddCurrency    = `INSERT INTO currencies (code, scale) VALUES ($1, $2) ON CONFLICT DO NOTHING`
	sqlGetCurrency    = `SELECT scale FROM currencies WHERE code = $1`
	sqlListCurrencies = `SELECT code, scale FROM currencies ORDER BY code`
)

func (a *app) currencyCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "currency", Short: "Register currencies and list them"}
	scale := int32(-1)
	add := &cobra.Command{
		Use: "add CODE --scale N", Short: "Register a currency with N decimals, for good", Args: cobra.ExactArgs(1),
		Example: "  wallet currency add POINTS --scale 0",
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := errors.Join(wallet.ValidateCurrency(args[0]), wallet.ValidateScale(scale)); err != nil {
				return err
			}
			err := withWriterPool(cmd.Context(), a.owner, func(pool *pgxpool.Pool) error { return addCurrency(cmd.Context(), pool, args[0], scale) })
			if err != nil {
				return a.asOwner(err)
			}
			return a.printCurrencies(cmd, []currency{{args[0], scale}})
		},
	}
	add.Flags().Int32Var(&scale, "scale", -1, "number of decimals: 0 for points, 2 for dollars, 8 for bitcoin")
	cobra.CheckErr(add.MarkFlagRequired("scale"))
	list := &cobra.Command{
		Use: "list", Short: "List the registered currencies", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var all []currency
			err := a.withPool(cmd.Context(), func(pool *pgxpool.Pool) error {
				rows, err := pool.Query(cmd.Context(), sqlListCurrencies)
				if err != nil {
					return err
				}
				all, err = pgx.CollectRows(rows, pgx.RowToStructByPos[currency])
				return err
			})
			if err != nil {
				return err
			}
			return a.printCurrencies(cmd, all)
		},
	}
	cmd.AddCommand(add, list)
	return cmd
}

// addCurrency registers a currency. With the scale it has already, it changes
// nothing; with another it fails.
func addCurrency(ctx context.Context, pool *pgxpool.Pool, code string, scale int32) error {
	if _, err := pool.Exec(ctx, sqlAddCurrency, code, scale); err != nil {
		return err
	}
	var registered int32
	if err := pool.QueryRow(ctx, sqlGetCurrency, code).Scan(&registered); err != nil {
		return err
	}
	if registered != scale {
		return fmt.Errorf("currency %s is registered with scale %s: a scale never changes, choose another code (or, if no wallet uses it yet, delete its row from currencies first)", code, strconv.Itoa(int(registered)))
	}
	return nil
}

func (a *app) printCurrencies(cmd *cobra.Command, list []currency) error {
	return printList(a, cmd, list, "no currency is registered: wallet currency add CODE --scale N", table.Row{"currency", "scale"}, func(c currency) table.Row { return table.Row{c.Code, c.Scale} })
}
