package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"golang.org/x/term"

	"github.com/valueledger/wallet"
	"github.com/valueledger/wallet/internal/service/cli"
	"github.com/valueledger/wallet/starter"
)

// changeHelp is what the help text says of a type of command.
type changeHelp struct{ use, short, long, example string }

// changes has the help of each type that callers may send. The flags follow from the type.
var changes = map[wallet.CommandType]changeHelp{
	wallet.TypeCreate: {
		use: "create USER CURRENCY", short: "Open a user's wallet in a currency, with nothing in it",
		example: `  wallet create u1 USD --id open-1`,
	},
	wallet.TypeAdd: {
		use: "add USER CURRENCY AMOUNT", short: "Add an amount to a user's wallet",
		long: `Add an amount. With --expires-in, --expires-at or --priority it is a grant,
which is used up before what is not granted: by priority, then the soonest
expiry. See "wallet grants".`,
		example: `  wallet add u1 USD 12.50 --id order-7 --description "refund"
  wallet add u1 USD 10 --expires-at 2026-04-01 --id credits-2026-03`,
	},
	wallet.TypeSubtract: {
		use: "subtract USER CURRENCY AMOUNT", short: "Subtract an amount, if that much is available",
		example: `  wallet subtract u1 USD 12.50 --id order-7 --description "a coffee"`,
	},
	wallet.TypeHold: {
		use: "hold USER CURRENCY [AMOUNT]", short: "Reserve an amount until it is captured, released or expires",
		long: `Reserve an amount, if that much is available. It stays in the wallet, but can
only be captured ("wallet capture") or released ("wallet release"). The hold's
id is the command's. Without --expires-in and --expires-at it never expires.

With --hold it raises that hold by AMOUNT, or extends it to a later expiry, or
both.`,
		example: `  wallet hold u1 USD 80 --id order-7 --expires-in 15m
  wallet hold u1 USD 5 --hold order-7 --id order-7-gift-wrap
  wallet hold u1 USD --hold order-7 --expires-in 7d --id order-7-late`,
	},
	wallet.TypeCapture: {
		use: "capture USER CURRENCY", short: "Take what a hold reserves, or a part of it",
		long: `Take what a hold reserves, or a part of it. What is left after that is available
again, and the hold is closed, unless --partial says that more will follow.`,
		example: `  wallet capture u1 USD --hold order-7 --id order-7-shipped
  wallet capture u1 USD --hold order-7 --amount 30 --partial --id order-7-parcel-1`,
	},
	wallet.TypeRelease: {
		use: "release USER CURRENCY", short: "Make what a hold reserves available again, or a part of it",
		example: `  wallet release u1 USD --hold order-7 --id order-7-cancelled
  wallet release u1 USD --hold order-7 --amount 10 --id order-7-item-2`,
	},
	wallet.TypeReverse: {
		use: "reverse USER CURRENCY", short: "Undo what a command did to the total, or a part of it",
		long: `Undo what an add, subtract or capture did to the total, or a part of it. All
reversals of a command come to at most what it did. Reversing an add needs
available funds. A hold that was captured stays closed.`,
		example: `  wallet reverse u1 USD --original order-7 --id order-7-returned
  wallet reverse u1 USD --original order-7 --amount 6 --id return-31`,
	},
	wallet.TypeFreeze: {
		use: "freeze USER CURRENCY", short: "Refuse debits, credits or all, until it is unfrozen",
		long: `Refuse debits, credits or all, until "wallet unfreeze", or until the time that
--expires-in or --expires-at says. What holds reserve already may be captured or
released, and they expire. A second freeze adds to the first.`,
		example: `  wallet freeze u1 USD --what debits --id case-12 --actor fraud-team
  wallet freeze u1 USD --what all --expires-in 2d --id case-13`,
	},
	wallet.TypeUnfreeze: {
		use: "unfreeze USER CURRENCY", short: "Accept debits and credits again",
		example: `  wallet unfreeze u1 USD --id case-12-over`,
	},
	wallet.TypeClose: {
		use: "close USER CURRENCY", short: "Refuse everything, until a create opens it again",
		long: `Close a wallet with nothing in it. Until "wallet create" opens it again, every
other command is refused. If it is frozen, it stays so.`,
		example: `  wallet close u1 USD --id closing-u1`,
	},
	wallet.TypeSetCreditLimit: {
		use: "set-credit-limit USER CURRENCY AMOUNT", short: "Let the total fall to minus an amount",
		long: `Let the total fall to minus AMOUNT, which is then available too. 0 ends that,
and so does "wallet close". A limit below what is used is refused.`,
		example: `  wallet set-credit-limit u1 USD 100 --id contract-7`,
	},
	wallet.TypeSetThreshold: {
		use: "set-threshold USER CURRENCY AMOUNT", short: "Tell when the available amount comes below or up to an amount",
		long: `Tell when the available amount comes below AMOUNT, or up to it again: the event
of the command that does so has it in "crossed". A wallet has at most 8
thresholds, each with a name. The same name again changes its amount.`,
		example: `  wallet set-threshold u1 USD 20 --threshold low --id low-1`,
	},
	wallet.TypeRemoveThreshold: {
		use: "remove-threshold USER CURRENCY", short: "Watch an amount no longer",
		example: `  wallet remove-threshold u1 USD --threshold low --id low-2`,
	},
}

// changeFlags are those of a command that changes a wallet.
type changeFlags struct {
	command   wallet.Command
	amount    string
	expiresAt timeFlag
	notAfter  timeFlag
	version   func() *int64
	timeout   time.Duration
	dryRun    bool
	metadata  func() map[string]string
}

func (a *app) changeCommands() (all []*cobra.Command) {
	for _, kind := range wallet.CallersKinds() {
		all = append(all, a.changeCommand(kind))
	}
	return all
}

// changeCommand is "wallet create", "wallet add" and so on.
func (a *app) changeCommand(kind wallet.Kind) *cobra.Command {
	f := changeFlags{command: wallet.Command{Type: kind.Type}}
	help, args := changes[kind.Type], cobra.ExactArgs(2)
	switch {
	case slices.Contains(kind.Required, "amount"), kind.Type == wallet.TypeSetCreditLimit:
		args = cobra.ExactArgs(3)
	case kind.Type == wallet.TypeHold:
		args = cobra.RangeArgs(2, 3)
	}
	cmd := &cobra.Command{
		Use: help.use, Short: help.short, Long: help.long, Example: help.example, Args: args,
		RunE: func(cmd *cobra.Command, args []string) error {
			command, err := f.read(args[2:])
			if err != nil {
				return err
			}
			invented, err := a.inventID(cmd, &command.ID)
			if err != nil {
				return err
			}
			if f.dryRun {
				return a.dryRun(cmd, f.timeout, args[0], args[1], command)
			}
			wallets, temporal, err := a.dialWallets(cmd.Context())
			if err != nil {
				return unsent(err)
			}
			defer temporal.Close()
			err = a.apply(cmd, wallets, f.timeout, wallet.ApplyCommandInput{
				AssetRef: wallet.AssetRef{UserID: args[0], Currency: args[1]}, Command: command,
			})
			return howToRepeat(err, invented, command.ID)
		},
	}
	f.add(cmd, kind)
	return cmd
}

// inventID makes an id up where none is given, for a person on a terminal only.
func (a *app) inventID(cmd *cobra.Command, id *string) (invented bool, err error) {
	if *id != "" {
		return false, nil
	}
	if !isTerminal(cmd) || a.output != "table" {
		return false, cli.Usagef("the command has no id: give it one with --id, such as an order's number, so that it counts once however often it is sent (only on a terminal one is made up)")
	}
	*id = "cli-" + rand.Text()
	// Printed before it is sent: if the answer is lost, this is how to ask again.
	a.note(cmd, "id %s (to try again: --id %s)", *id, *id)
	return true, nil
}

// isTerminal reports whether a person has typed a command and sees what it says.
func isTerminal(cmd *cobra.Command) bool {
	in, ok := cmd.InOrStdin().(*os.File)
	return ok && term.IsTerminal(int(in.Fd())) && cli.Terminal(cmd, "table") != nil
}

// howToRepeat adds to an error without an answer how to ask again with an id that was made up.
func howToRepeat(err error, invented bool, id string) error {
	if invented && exitOf(err).code == exitNoAnswer {
		return fmt.Errorf("%w\nto ask again: %s", err, repeated(os.Args, id))
	}
	return err
}

// repeated is a command line for a shell that sends the same command again.
func repeated(args []string, id string) string {
	words := append([]string{"wallet"}, args[1:]...)
	if at := slices.Index(words, "--"); at >= 0 {
		words = slices.Insert(words, at, "--id", id)
	} else {
		words = append(words, "--id", id)
	}
	for i, word := range words {
		if strings.Trim(word, plainInShells) != "" || word == "" {
			words[i] = "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
		}
	}
	return strings.Join(words, " ")
}

const plainInShells = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_./:=,+@"

// metadataFlag takes one KEY=VALUE each time it is given, verbatim: a comma or a quote is a
// part of the value.
type metadataFlag map[string]string

// Set reads the flag's value.
func (f metadataFlag) Set(text string) error {
	key, value, found := strings.Cut(text, "=")
	if !found {
		return fmt.Errorf("%q is not KEY=VALUE", text)
	}
	if _, given := f[key]; given {
		return fmt.Errorf("key %q is given twice", key)
	}
	f[key] = value
	return nil
}

// Type names the value in the help text.
func (f metadataFlag) Type() string { return "KEY=VALUE" }

// String gives the default for the help text: none.
func (f metadataFlag) String() string { return "" }

// addMetadata gives a command --metadata. What is given is in the map, which is nil without.
func addMetadata(flags *pflag.FlagSet) func() map[string]string {
	metadata := metadataFlag{}
	flags.Var(metadata, "metadata", "a pair to keep with it, such as invoice=7; once for each pair")
	return func() map[string]string {
		if len(metadata) == 0 {
			return nil
		}
		return metadata
	}
}

const notAfterHelp = "the last moment at which it may be recorded, or it is refused: RFC 3339, or a date for its midnight UTC"

// addExpectedVersion gives a command --expected-version, of which 0 is a value too.
func addExpectedVersion(flags *pflag.FlagSet) func() *int64 {
	version := flags.Int64("expected-version", 0, "the version that the wallet must have, or it is refused (see \"wallet balance\")")
	return func() *int64 {
		if !flags.Changed("expected-version") {
			return nil
		}
		return version
	}
}

// add gives a command the flags that its type takes.
func (f *changeFlags) add(cmd *cobra.Command, kind wallet.Kind) {
	flags, c := cmd.Flags(), &f.command
	flags.StringVar(&c.ID, "id", "", "command id: sent again with the same id, the command counts once (without this flag one is made up and printed, on a terminal only)")
	for _, field := range slices.Concat(kind.Required, kind.Optional) {
		switch field {
		case "amount":
			switch {
			case slices.Contains(kind.Required, "original_id"):
				flags.StringVar(&f.amount, "amount", "", "a part of it (all that is left without this flag)")
			case slices.Contains(kind.Required, "hold_id"):
				flags.StringVar(&f.amount, "amount", "", "a part of the hold (all that is left without this flag)")
			}
		case "hold_id":
			flags.StringVar(&c.HoldID, "hold", "", "id of the hold: of the command that placed it")
			if slices.Contains(kind.Required, field) {
				cobra.CheckErr(cmd.MarkFlagRequired("hold"))
			}
		case "original_id":
			flags.StringVar(&c.OriginalID, "original", "", "id of the command to reverse")
			cobra.CheckErr(cmd.MarkFlagRequired("original"))
		case "what":
			flags.StringVar(&c.What, "what", "", "debits, credits or all")
			cobra.CheckErr(cmd.MarkFlagRequired("what"))
		case "threshold":
			flags.StringVar(&c.Threshold, "threshold", "", "name of the threshold, such as low")
			cobra.CheckErr(cmd.MarkFlagRequired("threshold"))
		case "expires_in":
			flags.StringVar(&c.ExpiresIn, "expires-in", "", "how long it lasts, such as 90s, 15m, 24h or 7d")
		case "expires_at":
			flags.Var(&f.expiresAt, "expires-at", "when it expires: RFC 3339, or a date for its midnight UTC")
			cmd.MarkFlagsMutuallyExclusive("expires-in", "expires-at")
		case "priority":
			flags.Var((*priorityFlag)(&c.Priority), "priority", "1 is used up first, 100 last (50 for what expires, without this flag)")
		case "return_expired":
			flags.BoolVar(&c.ReturnExpired, "return-expired", false, "what came from grants that have expired comes back as what never expires")
		case "partial":
			flags.BoolVar(&c.Partial, "partial", false, "more will follow: what is left stays reserved")
		}
	}
	flags.Var(&f.notAfter, "not-after", notAfterHelp)
	f.version = addExpectedVersion(flags)
	flags.StringVar(&c.Description, "description", "", "what it is for, at most 256 characters")
	flags.StringVar(&c.Actor, "actor", "", "who asks for it")
	f.metadata = addMetadata(flags)
	flags.DurationVar(&f.timeout, "timeout", 30*time.Second, "how long to wait for the answer")
	addDryRun(flags, &f.dryRun)
}

// read makes the command. args are those behind USER and CURRENCY.
func (f *changeFlags) read(args []string) (wallet.Command, error) {
	c := f.command
	c.ExpiresAt, c.NotAfter, c.ExpectedVersion, c.Metadata = f.expiresAt.Time, f.notAfter.Time, f.version(), f.metadata()
	if f.amount != "" {
		args = []string{f.amount}
	}
	if len(args) == 0 {
		return c, nil
	}
	var err error
	c.Amount, err = wallet.ParseAmount(args[0])
	return c, err
}

// apply sends a command and prints its result, of a refusal too.
func (a *app) apply(cmd *cobra.Command, wallets *starter.Client, timeout time.Duration, in wallet.ApplyCommandInput) error {
	ctx, cancel := context.WithTimeoutCause(cmd.Context(), timeout, fmt.Errorf("no answer within %s", timeout))
	defer cancel()
	result, err := wallets.Apply(ctx, in.UserID, in.Currency, in.Command)
	var unapplied *wallet.UnappliedError
	if err != nil && !errors.As(err, &unapplied) {
		return err
	}
	if printErr := a.printResult(cmd, result); printErr != nil {
		return printErr
	}
	return err
}

// priorityFlag is a flag of a grant's priority. A command whose priority is 0 names none.
type priorityFlag int64

// Set reads the flag's value.
func (f *priorityFlag) Set(text string) error {
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n == 0 {
		return errors.New("give it 1 (used up first) to 100, or leave it out")
	}
	*f = priorityFlag(n)
	return nil
}

// Type names the value in the help text.
func (f *priorityFlag) Type() string { return "int" }

// String gives the default for the help text: none.
func (f *priorityFlag) String() string {
	if *f == 0 {
		return ""
	}
	return strconv.FormatInt(int64(*f), 10)
}
