package cli

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"
)

// nameArguments makes commands say which of their arguments is missing or too many, by the
// names in their usage line. Cobra counts them.
func nameArguments(cmd *cobra.Command) {
	for _, sub := range cmd.Commands() {
		nameArguments(sub)
	}
	if check := cmd.Args; check != nil && !cmd.HasSubCommands() && cmd.Name() != "help" {
		cmd.Args = func(cmd *cobra.Command, args []string) error {
			if err := check(cmd, args); err != nil {
				return argumentsError(cmd, args, err)
			}
			return nil
		}
	}
}

func argumentsError(cmd *cobra.Command, args []string, err error) error {
	var names, required []string
	for _, word := range strings.Fields(cmd.Use)[1:] {
		if strings.HasPrefix(word, "-") { // flags, which come last
			break
		}
		names = append(names, strings.Trim(word, "[]"))
		if !strings.HasPrefix(word, "[") {
			required = append(required, word)
		}
	}
	usage := strings.TrimSpace(cmd.Parent().CommandPath() + " " + cmd.Use)
	switch {
	case len(args) < len(required):
		verb := "is"
		if len(required)-len(args) > 1 {
			verb = "are"
		}
		return fmt.Errorf("%s %s missing: %s", strings.Join(required[len(args):], " and "), verb, usage)
	case len(args) > len(names):
		return fmt.Errorf("%q is too many: %s", strings.Join(args[len(names):], " "), usage)
	default:
		return err
	}
}
