package cli

import (
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/valueledger/wallet"
)

// AddOutputFlag adds --output to a command and its subcommands. If a format is only printed by
// some of them, the others refuse it with CheckOutput.
func AddOutputFlag(cmd *cobra.Command, format *string, usage string, formats ...string) {
	cmd.PersistentFlags().StringVarP(format, "output", "o", formats[0], usage)
	offer(cmd, "output", formats...)
}

// CheckOutput refuses a format that the command does not print.
func CheckOutput(cmd *cobra.Command, format string, formats ...string) error {
	if slices.Contains(formats, format) {
		return nil
	}
	last := len(formats) - 1
	return fmt.Errorf("--output %q is unknown to %q: use %s or %s", format, cmd.CommandPath(), strings.Join(formats[:last], ", "), formats[last])
}

// AddTaskQueueFlag adds --task-queue to a command and its subcommands.
func AddTaskQueueFlag(cmd *cobra.Command, queue *string) {
	cmd.PersistentFlags().StringVar(queue, "task-queue", EnvOr("WALLET_TASK_QUEUE", wallet.DefaultTaskQueue), "task queue of the workers (WALLET_TASK_QUEUE)")
}

var logLevels, logFormats = []string{"debug", "info", "warn", "error"}, []string{"console", "json"}

// AddLogFlags gives --log-level, which is usual by default, and --log-format to a command and
// those below it.
func AddLogFlags(cmd *cobra.Command, level, format *string, usual string) {
	flags := cmd.PersistentFlags()
	flags.StringVar(level, "log-level", EnvOr("WALLET_LOG_LEVEL", usual), "debug, info, warn or error (WALLET_LOG_LEVEL)")
	flags.StringVar(format, "log-format", EnvOr("WALLET_LOG_FORMAT", "console"), "console or json (WALLET_LOG_FORMAT)")
	offer(cmd, "log-level", logLevels...)
	offer(cmd, "log-format", logFormats...)
}

// CheckLog refuses a log level or format that there is not.
func CheckLog(level, format string) error {
	if !slices.Contains(logLevels, level) {
		return Usagef("log level %q is unknown: set --log-level or WALLET_LOG_LEVEL to %s", level, strings.Join(logLevels, ", "))
	}
	if !slices.Contains(logFormats, format) {
		return Usagef("log format %q is unknown: set --log-format or WALLET_LOG_FORMAT to %s", format, strings.Join(logFormats, " or "))
	}
	return nil
}

// offer sets the values that a shell offers when it completes a flag.
func offer(cmd *cobra.Command, flag string, values ...string) {
	cobra.CheckErr(cmd.RegisterFlagCompletionFunc(flag, cobra.FixedCompletions(values, cobra.ShellCompDirectiveNoFileComp)))
}

// EnvOr returns an environment variable, or a default if it is empty.
func EnvOr(name, otherwise string) string {
	if value := os.Getenv(name); value != "" {
		return value
	}
	return otherwise
}

// Terminal returns stderr if it is a terminal and the output is not JSON, otherwise nil: nobody
// wants a progress bar in a log or next to JSON.
func Terminal(cmd *cobra.Command, format string) *os.File {
	file, ok := cmd.ErrOrStderr().(*os.File)
	if !ok || format != "table" || !term.IsTerminal(int(file.Fd())) {
		return nil
	}
	return file
}
