package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"runtime/debug"

	"github.com/spf13/cobra"

	"github.com/valueledger/wallet/migrations"
)

// A release sets these with -ldflags "-X main.version=...". Without, Go's own record of
// the build says what it knows.
var version, commit, date string

// build says what this program is.
type build struct {
	Version   string `json:"version"`
	Commit    string `json:"commit,omitempty"`
	Date      string `json:"date,omitempty"` // of the commit
	Go        string `json:"go"`
	Migration int64  `json:"migration"` // the newest that it carries, which its workers need
}

// developed is the version of a build that nobody released.
const developed = "(devel)"

func thisBuild() build {
	b := build{Version: version, Commit: commit, Date: date, Migration: migrations.Latest()}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return b
	}
	b.Go, b.Version = info.GoVersion, cmp.Or(b.Version, info.Main.Version, developed)
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision":
			b.Commit = cmp.Or(b.Commit, s.Value)
		case "vcs.time":
			b.Date = cmp.Or(b.Date, s.Value)
		}
	}
	return b
}

func (b build) String() string {
	return fmt.Sprintf("wallet %s (commit %s of %s, %s, migration %d)", b.Version, cmp.Or(b.Commit, "unknown"), cmp.Or(b.Date, "unknown"), b.Go, b.Migration)
}

func (a *app) versionCommand() *cobra.Command {
	return &cobra.Command{
		Use: "version", Short: "Show which build this is, and the newest migration in it", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if a.output == "json" {
				return json.NewEncoder(cmd.OutOrStdout()).Encode(thisBuild())
			}
			_, err := fmt.Fprintln(cmd.OutOrStdout(), thisBuild())
			return err
		},
	}
}
