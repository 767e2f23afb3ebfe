package contract

import (
	"encoding/json"
	"fmt"
	"math"
	"slices"

	"github.com/invopop/jsonschema"

	"github.com/valueledger/wallet"
)

// Patterns in the dialect that all regular expression engines share.
const (
	decimal  = `^[0-9]+(\.[0-9]+)?$`
	signed   = `^-?[0-9]+(\.[0-9]+)?$`
	notZero  = `[1-9]`
	noNUL    = `^[^\x00]*$`
	name     = `^[^\x00-\x1f\x7f-\x9f]*$`
	ownName  = `^[^_\x00-\x1f\x7f-\x9f][^\x00-\x1f\x7f-\x9f]*$`
	currency = `^[A-Z][A-Z0-9_]{1,15}$`
	// lasting is days, hours, minutes and seconds. No pattern can express that they add up to
	// at most 3650 days.
	lasting = `^([0-9]{1,9}d)?([0-9]{1,9}h)?([0-9]{1,9}m)?([0-9]{1,9}s)?$`
	// moment is RFC 3339 with at most 6 decimals of a second, without leap seconds.
	moment = `^[2-9][0-9]{3}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-5][0-9](\.[0-9]{1,6}0*)?(Z|[+-][0-9]{2}:[0-9]{2})$`
)

// maxAmountCharacters limits what is parsed at all; zeros at both ends do not count as an
// amount's digits.
const maxAmountCharacters = 100

// tooManyDigits matches amounts with more than 38 digits: whole numbers, those with decimals,
// and those below 1.
var tooManyDigits = fmt.Sprintf(`^0*([1-9][0-9]{%[1]d,}(\.0*)?|[1-9](\.?[0-9]){%[2]d,}\.?[1-9]0*|\.[0-9]{%[1]d,}[1-9]0*)$`,
	wallet.MaxAmountDigits, wallet.MaxAmountDigits-1)

// command is the schema of Command with the rules of Command.Validate.
func (g *generator) command() *jsonschema.Schema {
	s := g.schema(wallet.Command{})
	id := property(s, "id")
	id.Pattern, id.MaxLength = ownName, length(wallet.MaxIDCharacters)
	for _, part := range []string{"workflow_id", "signal"} {
		text := property(property(s, "reply_to"), part)
		text.Pattern, text.MinLength = name, length(1)
	}
	property(property(s, "reply_to"), "workflow_id").Not = &jsonschema.Schema{Pattern: "^wallet-asset(-sha256)?/", Comments: "a wallet would take the result for a command"}
	property(s, "reply_to").AdditionalProperties = jsonschema.FalseSchema
	content(s)
	return s
}

// transaction is the schema of Transaction with the rules of Transaction.Validate, but for those
// over several legs.
func (g *generator) transaction() *jsonschema.Schema {
	s := g.schema(wallet.Transaction{})
	id := property(s, "id")
	id.Pattern, id.MaxLength = ownName, length(wallet.MaxTransactionIDCharacters)
	leg := g.schema(wallet.Leg{})
	leg.Properties.Delete("id")
	leg.Properties.Delete("reply_to")
	leg.Required = []string{"user_id", "currency", "type"}
	nameWallet(leg)
	content(leg)
	commands := property(s, "commands")
	commands.Items, commands.MinItems, commands.MaxItems = leg, length(wallet.MinLegs), length(wallet.MaxLegs)
	shared(s)
	s.AdditionalProperties = jsonschema.FalseSchema
	return s
}

// content are the rules of everything but the id and reply_to.
func content(s *jsonschema.Schema) {
	property(s, "amount").Examples = []any{"12.50"}
	hold := property(s, "hold_id")
	hold.Pattern, hold.MinLength, hold.MaxLength = name, length(1), length(wallet.MaxIDCharacters)
	original := property(s, "original_id")
	original.Pattern, original.MinLength, original.MaxLength = name, length(1), length(wallet.MaxIDCharacters)
	property(s, "what").Enum = []any{wallet.FrozenDebits, wallet.FrozenCredits, wallet.FrozenAll}
	property(s, "threshold").Pattern, property(s, "threshold").Examples = fmt.Sprintf("^[a-zA-Z0-9._-]{1,%d}$", wallet.MaxThresholdNameCharacters), []any{"low"}
	expiresIn := property(s, "expires_in")
	expiresIn.Pattern, expiresIn.AllOf = lasting, []*jsonschema.Schema{{Pattern: notZero}}
	expiresIn.Examples = []any{"15m", "1d12h"}
	property(s, "expires_at").Pattern = moment
	priority := property(s, "priority")
	priority.Minimum, priority.Maximum = "1", "100"
	version := property(s, "expected_version")
	version.Minimum, version.Maximum = "0", json.Number(fmt.Sprint(math.MaxInt64))
	shared(s)
	amount := property(s, "amount")
	amount.AllOf = []*jsonschema.Schema{
		{Not: &jsonschema.Schema{Pattern: tooManyDigits, Comments: fmt.Sprintf("more than %d digits", wallet.MaxAmountDigits)}},
	}
	s.AdditionalProperties = jsonschema.FalseSchema
	for _, kind := range wallet.CallersKinds() {
		s.AllOf = append(s.AllOf, fieldsOf(kind, s))
	}
}

// shared are the rules of not_after, description, actor and metadata, which a transaction has too.
func shared(s *jsonschema.Schema) {
	property(s, "not_after").Pattern = moment
	actor := property(s, "actor")
	actor.Pattern, actor.MaxLength = name, length(wallet.MaxIDCharacters)
	description := property(s, "description")
	description.Pattern, description.MaxLength = noNUL, length(wallet.MaxDescriptionCharacters)
	metadata := property(s, "metadata")
	metadata.PropertyNames = &jsonschema.Schema{Pattern: noNUL}
	metadata.AdditionalProperties.Pattern = noNUL
}

// holdsOf is the rule for type hold over several fields: an amount unless it extends another
// hold, and at most one expiry.
func holdsOf(then *jsonschema.Schema) {
	then.AnyOf = []*jsonschema.Schema{
		{Required: []string{"amount"}}, {Required: []string{"hold_id", "expires_in"}}, {Required: []string{"hold_id", "expires_at"}},
	}
	then.Not = &jsonschema.Schema{Required: []string{"expires_in", "expires_at"}}
}

// fieldsOf is which of the optional fields a type needs, and which it does not take.
func fieldsOf(kind wallet.Kind, command *jsonschema.Schema) *jsonschema.Schema {
	is := jsonschema.NewProperties()
	is.Set("type", &jsonschema.Schema{Const: kind.Type})
	then := &jsonschema.Schema{Required: kind.Required, Properties: jsonschema.NewProperties()}
	for _, other := range wallet.Kinds() {
		for _, field := range append(slices.Clone(other.Required), other.Optional...) {
			if slices.Contains(kind.Required, field) || slices.Contains(kind.Optional, field) {
				continue
			}
			none := jsonschema.FalseSchema
			if property(command, field).Type == "boolean" {
				none = &jsonschema.Schema{Const: false} // the same as none
			}
			then.Properties.Set(field, none)
		}
	}
	switch kind.Type {
	case wallet.TypeHold:
		holdsOf(then)
	case wallet.TypeFreeze:
		then.Not = &jsonschema.Schema{Required: []string{"expires_in", "expires_at"}}
	}
	if kind.Type != wallet.TypeSetCreditLimit && (slices.Contains(kind.Required, "amount") || slices.Contains(kind.Optional, "amount")) {
		then.Properties.Set("amount", &jsonschema.Schema{Pattern: notZero})
	}
	if kind.Type == wallet.TypeAdd {
		then.Not = &jsonschema.Schema{Required: []string{"expires_in", "expires_at"}}
	}
	return &jsonschema.Schema{If: &jsonschema.Schema{Properties: is}, Then: then}
}

// nameWallet adds the rules of ValidateWallet.
func nameWallet(s *jsonschema.Schema) {
	user := property(s, "user_id")
	user.Pattern, user.MinLength, user.MaxLength = name, length(1), length(wallet.MaxIDCharacters)
	property(s, "currency").Pattern = currency
}
