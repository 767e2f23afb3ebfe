// Package wallet defines the terms and rules of Wallet, an internal balance and asset ledger:
// what a command is, what it does to a balance, what is recorded about it, and which input is
// refused and why.
//
// It is pure Go and uses neither Temporal nor SQL. The workflow in package workflows puts the
// commands of one wallet asset in order, the activities in package activities apply them in
// Postgres using the fold in this package, and package starter lets a program send them.
//
// Read next: command.go (what comes in), kind.go (what each type of command does), fold.go (how
// it is done), result.go (what goes out), journal.go (what is kept), steps.go (how the workflow
// asks for it).
package wallet

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Limits of what callers may send. They bound the size of a row, of a workflow's
// history event and of an index entry (a Postgres B-tree entry holds 2,704 bytes,
// and 128 characters are at most 512).
const (
	MaxIDCharacters          = 128
	MaxDescriptionCharacters = 256
	MaxMetadataBytes         = 4 << 10
	// MaxScale leaves 14 of an amount's 38 digits for the whole part, even for the currency
	// with the most decimals in use (NEAR has 24, ether 18).
	MaxScale = 24
)

// MaxBatch is how many commands fit into one update of a batch and one transaction: enough to
// make the cost of a commit negligible, and few enough to keep their results far below
// Temporal's limit of 2 MB per payload.
const MaxBatch = 500

// MaxUpdateBytes limits the payload of an update. Temporal terminates a workflow that accepts
// one over 2 MB.
const MaxUpdateBytes = 2_000_000

// TooManyBytes refuses an update of more than MaxUpdateBytes.
func TooManyBytes(n int) error {
	return invalid("payload", fmt.Sprint(n), "the update has %d bytes: send at most %d, in several updates if these are many commands", n, MaxUpdateBytes)
}

// ValidateWallet checks the two names of a wallet asset. It returns an *InvalidError.
func ValidateWallet(userID, currency string) error {
	if err := ValidateUserID(userID); err != nil {
		return err
	}
	return ValidateCurrency(currency)
}

// ValidateUserID accepts 1 to 128 Unicode characters except control characters. The id is
// stored unchanged: no trimming, no case folding, no normalization.
func ValidateUserID(userID string) error {
	return validateName("user_id", userID)
}

// ValidateCurrency accepts a code of 2 to 16 characters, [A-Z][A-Z0-9_]{1,15}: ISO 4217 codes,
// and names such as POINTS or GOLD_COIN. Postgres decides whether the currency is registered.
func ValidateCurrency(currency string) error {
	ok := len(currency) >= 2 && len(currency) <= 16
	for i := 0; ok && i < len(currency); i++ {
		c := currency[i]
		ok = c >= 'A' && c <= 'Z' || i > 0 && (c >= '0' && c <= '9' || c == '_')
	}
	if !ok {
		return invalid("currency", currency,
			"currency %s is not a currency code: send 2 to 16 of A-Z, 0-9 and _, beginning with a letter, such as USD", quote(currency))
	}
	return nil
}

// ValidateScale checks how many decimals a currency may have.
func ValidateScale(scale int32) error {
	if scale < 0 || scale > MaxScale {
		return invalid("scale", fmt.Sprint(scale), "scale %d is out of range: a currency has 0 to %d decimals", scale, MaxScale)
	}
	return nil
}

// validateName is the rule for ids of users, commands and actors.
func validateName(field, value string) error {
	switch {
	case value == "":
		return invalid(field, value, "%s is empty or missing: send 1 to %d characters", field, MaxIDCharacters)
	case !utf8.ValidString(value):
		return invalid(field, value, "%s %s is not valid UTF-8", field, quote(value))
	case utf8.RuneCountInString(value) > MaxIDCharacters:
		return invalid(field, value, "%s %s has %d characters: at most %d are allowed",
			field, quote(value), utf8.RuneCountInString(value), MaxIDCharacters)
	case strings.ContainsFunc(value, unicode.IsControl):
		return invalid(field, value, "%s %s contains a control character: remove it", field, quote(value))
	}
	return nil
}

// quote formats a caller's value for a message, shortened to keep the message readable and
// bounded.
func quote(value string) string {
	const most = 60
	runes := []rune(value[:min(len(value), 4*most+4)])
	if len(runes) > most {
		return fmt.Sprintf("%q…", string(runes[:most]))
	}
	return fmt.Sprintf("%q", value)
}
