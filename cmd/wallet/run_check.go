package main

import (
	"encoding/json"
	"fmt"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/spf13/cobra"

	"github.com/valueledger/wallet/runs"
)

// maxShownFailures is how many failures "run check" prints as text; JSON has all.
const maxShownFailures = 20

func (a *app) runCheckCommand() *cobra.Command {
	id, offline := "", false
	cmd := &cobra.Command{
		Use: "check FILE", Short: "Say which lines of a file are invalid, or would be refused now",
		Long: `Read a file and say which of its lines are invalid, and which would be refused
if it were started now. Nothing is written. With --offline it only reads the
file. Exit code 3 if a line is invalid, else 2 if one would be refused.`,
		Example: "  wallet run check march.csv\n  wallet run check march.csv --offline",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			check := runs.Check{File: runs.File{ID: id, Path: args[0]}, Failed: a.checkPrinter(cmd)}
			if offline {
				report, err := check.Run(cmd.Context(), nil)
				if err != nil {
					return err
				}
				return a.printChecked(cmd, report, args[0])
			}
			return a.withPool(cmd.Context(), func(pool *pgxpool.Pool) error {
				report, err := check.Run(cmd.Context(), pool)
				if err != nil {
					return err
				}
				return a.printChecked(cmd, report, args[0])
			})
		},
	}
	cmd.Flags().StringVar(&id, "id", "check", "the id that the run will have: the ids of lines without one are made from it")
	cmd.Flags().BoolVar(&offline, "offline", false, "check only the file itself, without Postgres")
	return cmd
}

func (a *app) checkPrinter(cmd *cobra.Command) func(runs.Failure) error {
	printed, asJSON := 0, json.NewEncoder(cmd.OutOrStdout())
	return func(f runs.Failure) error {
		if a.output == "json" {
			return asJSON.Encode(f)
		}
		if printed++; printed <= maxShownFailures {
			_, err := fmt.Fprintf(cmd.OutOrStdout(), "line %d: %s: %s\n", f.Line, f.Status, f.Message)
			return err
		}
		return nil
	}
}

func (a *app) printChecked(cmd *cobra.Command, r runs.CheckReport, path string) error {
	text := fmt.Sprintf("%s: %d lines, %d invalid", path, r.Lines, r.Invalid)
	if r.Decided {
		text += fmt.Sprintf(", %d would be refused now, %d answered before", r.Refused, r.Replayed)
	}
	if a.output == "table" {
		if r.Invalid+r.Refused > maxShownFailures {
			fmt.Fprintf(cmd.OutOrStdout(), "... (-o json shows all)\n")
		}
		fmt.Fprintln(cmd.OutOrStdout(), text)
	} else if err := json.NewEncoder(cmd.OutOrStdout()).Encode(r); err != nil {
		return err
	}
	if r.Invalid+r.Refused > 0 {
		return &failedCheckError{r, text}
	}
	return nil
}

// failedCheckError is a file with lines that would fail.
type failedCheckError struct {
	report runs.CheckReport
	text   string
}

func (e *failedCheckError) Error() string { return e.text }
