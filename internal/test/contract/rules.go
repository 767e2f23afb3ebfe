package contract

import (
	"fmt"
	"slices"

	"github.com/invopop/jsonschema"

	"github.com/valueledger/wallet"
)

// Patterns in the dialect that all regular expressions share.
const (
	decimal  = `^[0-9]+(\.[0-9]+)?$`
	notZero  = `[1-9]`
	noNUL    = `^[^\x00]*$`
	name     = `^[^\x00-\x1f\x7f-\x9f]*$`
	ownName  = `^[^_\x00-\x1f\x7f-\x9f][^\x00-\x1f\x7f-\x9f]*$`
	currency = `^[A-Z][A-Z0-9_]{1,15}$`
)

// maxAmountCharacters is of what is parsed at all; zeros at both ends are not counted
// among an amount's digits.
const maxAmountCharacters = 100

// tooManyDigits matches what has more than 38 of them: whole numbers, those with
// decimals, and those below 1.
var tooManyDigits = fmt.Sprintf(`^0*([1-9][0-9]{%[1]d,}(\.0*)?|[1-9](\.?[0-9]){%[2]d,}\.?[1-9]0*|\.[0-9]{%[1]d,}[1-9]0*)$`,
	wallet.MaxAmountDigits, wallet.MaxAmountDigits-1)

// command is the schema of Command with the rules of Command.Validate.
func (g *generator) command() *jsonschema.Schema {
	s := g.schema(wallet.Command{})
	id := property(s, "id")
	id.Pattern, id.MaxLength = ownName, length(wallet.MaxIDCharacters)
	property(s, "amount").Examples = []any{"12.50"}
	actor := property(s, "actor")
	actor.Pattern, actor.MaxLength = name, length(wallet.MaxIDCharacters)
	description := property(s, "description")
	description.Pattern, description.MaxLength = noNUL, length(wallet.MaxDescriptionCharacters)
	metadata := property(s, "metadata")
	metadata.PropertyNames = &jsonschema.Schema{Pattern: noNUL}
	metadata.AdditionalProperties.Pattern = noNUL
	for _, part := range []string{"workflow_id", "signal"} {
		property(property(s, "reply_to"), part).MinLength = length(1)
	}

	amount := property(s, "amount")
	amount.AllOf = []*jsonschema.Schema{
		{Pattern: notZero},
		{Not: &jsonschema.Schema{Pattern: tooManyDigits, Comments: fmt.Sprintf("more than %d digits", wallet.MaxAmountDigits)}},
	}
	s.AdditionalProperties, property(s, "reply_to").AdditionalProperties = jsonschema.FalseSchema, jsonschema.FalseSchema
	for _, kind := range callersKinds() {
		s.AllOf = append(s.AllOf, fieldsOf(kind))
	}
	return s
}

// callersKinds are those whose commands callers may send.
func callersKinds() (kinds []wallet.Kind) {
	for _, k := range wallet.Kinds() {
		if !k.Service {
			kinds = append(kinds, k)
		}
	}
	return kinds
}

// fieldsOf is which fields a type needs, and which it does not take, of those that not every
// type takes.
func fieldsOf(kind wallet.Kind) *jsonschema.Schema {
	is := jsonschema.NewProperties()
	is.Set("type", &jsonschema.Schema{Const: kind.Type})
	then := &jsonschema.Schema{Required: kind.Needs, Properties: jsonschema.NewProperties()}
	for _, other := range wallet.Kinds() {
		for _, field := range append(slices.Clone(other.Needs), other.Takes...) {
			if !slices.Contains(kind.Needs, field) && !slices.Contains(kind.Takes, field) {
				then.Properties.Set(field, jsonschema.FalseSchema)
			}
		}
	}
	return &jsonschema.Schema{If: &jsonschema.Schema{Properties: is}, Then: then}
}

// nameWallet has the rules of ValidateWallet.
func nameWallet(s *jsonschema.Schema) {
	user := property(s, "user_id")
	user.Pattern, user.MinLength, user.MaxLength = name, length(1), length(wallet.MaxIDCharacters)
	property(s, "currency").Pattern = currency
}
