package contract

import (
	"fmt"

	"github.com/invopop/jsonschema"

	"github.com/valueledger/wallet"
)

// Patterns in the dialect that all regular expressions share.
const (
	decimal  = `^[0-9]+(\.[0-9]+)?$`
	notZero  = `[1-9]`
	zero     = `^[0.]*$`
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

	isCreate := jsonschema.NewProperties()
	isCreate.Set("type", &jsonschema.Schema{Const: wallet.TypeCreate})
	noAmount := jsonschema.NewProperties()
	noAmount.Set("amount", &jsonschema.Schema{Pattern: zero})
	amount := jsonschema.NewProperties()
	amount.Set("amount", &jsonschema.Schema{
		Pattern: notZero,
		Not:     &jsonschema.Schema{Pattern: tooManyDigits, Comments: fmt.Sprintf("more than %d digits", wallet.MaxAmountDigits)},
	})
	s.If = &jsonschema.Schema{Properties: isCreate}
	s.Then = &jsonschema.Schema{Properties: noAmount}
	s.Else = &jsonschema.Schema{Properties: amount, Required: []string{"amount"}}
	return s
}

// nameWallet has the rules of ValidateWallet.
func nameWallet(s *jsonschema.Schema) {
	user := property(s, "user_id")
	user.Pattern, user.MinLength, user.MaxLength = name, length(1), length(wallet.MaxIDCharacters)
	property(s, "currency").Pattern = currency
}
