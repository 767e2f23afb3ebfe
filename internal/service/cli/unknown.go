package cli

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"
)

// RefuseUnknown makes every command that only groups subcommands refuse an unknown one. Cobra
// itself does that only for the root, and prints any other group's help as if the user had
// asked for it: a script with "schedule delet" would continue as if it had deleted something.
func RefuseUnknown(root *cobra.Command) {
	root.InitDefaultHelpCmd()
	root.InitDefaultCompletionCmd()
	for _, cmd := range root.Commands() {
		if cmd.Name() == "help" {
			cmd.Args = knownTopic
		}
	}
	refuseUnknown(root) // cobra names no remedy
}

func refuseUnknown(cmd *cobra.Command) {
	for _, sub := range cmd.Commands() {
		refuseUnknown(sub)
	}
	if !cmd.HasSubCommands() || cmd.Runnable() {
		return
	}
	cmd.Args = noOther
	cmd.RunE = func(cmd *cobra.Command, _ []string) error { return cmd.Help() } // cobra only checks arguments of commands that run
}

func noOther(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	cmd.SuggestionsMinimumDistance = 2
	remedy := fmt.Sprintf("see \"%s --help\"", cmd.CommandPath())
	if similar := cmd.SuggestionsFor(args[0]); len(similar) > 0 {
		remedy = fmt.Sprintf("did you mean %s?", strings.Join(similar, " or "))
	}
	return fmt.Errorf("unknown command %q for %q: %s", args[0], cmd.CommandPath(), remedy)
}

// knownTopic checks the arguments of the command "help".
func knownTopic(help *cobra.Command, args []string) error {
	topic, rest, err := help.Root().Find(args)
	if err == nil && len(rest) > 0 {
		err = fmt.Errorf("unknown command %q for %q: see \"%s --help\"", rest[0], topic.CommandPath(), topic.CommandPath())
	}
	return err
}
