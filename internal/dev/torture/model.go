package torture

import (
	"fmt"

	"github.com/shopspring/decimal"

	"github.com/valueledger/wallet"
)

// balance is the model of a wallet asset: what the rules say, written down a second
// time and without the fold of package wallet, so that both have to be wrong in the
// same way to agree on something wrong. It is comparable.
type balance struct {
	exists            bool
	total             string // canonical
	position, version int64
}

// scales are the decimals of the currencies that a run uses.
var scales = map[string]int32{"USD": 2, "JPY": 0, "BHD": 3}

// outcome is what the model says that a command does.
type outcome struct {
	status        wallet.Status
	reason        wallet.Reason
	before, after decimal.Decimal
}

// apply gives the balance after a command. malformed is one that could not be read.
func (b balance) apply(c wallet.Command, malformed bool, scale int32) (balance, outcome) {
	total := decimal.RequireFromString("0" + b.total)
	o := outcome{status: wallet.StatusUnapplied, before: total, after: total}
	amount := decimal.RequireFromString("0" + c.Amount.String())
	b.position++
	switch {
	case !b.exists && (malformed || c.Type != wallet.TypeCreate):
		o.reason = "the wallet does not exist yet"
		return b, o
	case malformed:
		o.reason = wallet.ReasonMalformed
		return b, o
	case !amount.Truncate(scale).Equal(amount):
		o.reason = wallet.ReasonScaleExceeded
		return b, o
	case c.Type == wallet.TypeCreate && b.exists:
		o.reason = wallet.ReasonAlreadyExists
		return b, o
	case c.Type == wallet.TypeSubtract && amount.GreaterThan(total):
		o.reason = wallet.ReasonInsufficientFunds
		return b, o
	case c.Type == wallet.TypeSubtract:
		o.after = total.Sub(amount)
	case c.Type == wallet.TypeAdd:
		o.after = total.Add(amount)
	}
	o.status = wallet.StatusApplied
	b.exists, b.total = true, o.after.String()
	b.version++
	return b, o
}

// differs says how an answer or a record is not what the model says; empty if it is.
func (b balance) differs(after balance, o outcome, r wallet.Result) string {
	version := int64(0)
	if o.status == wallet.StatusApplied {
		version = after.version
	}
	switch {
	case r.Status != o.status || r.Reason != o.reason:
		return fmt.Sprintf("is %s %s, the rules say %s %s", r.Status, r.Reason, o.status, o.reason)
	case !sameNumber(r.TotalBefore, o.before) || !sameNumber(r.TotalAfter, o.after):
		return fmt.Sprintf("goes from total %s to %s, the rules say from %s to %s", r.TotalBefore, r.TotalAfter, o.before, o.after)
	case r.Version != version:
		return fmt.Sprintf("has version %d, the rules say %d", r.Version, version)
	case r.Position != after.position:
		return fmt.Sprintf("has position %d, the rules say %d", r.Position, after.position)
	case !r.HoldBefore.IsZero() || !r.HoldAfter.IsZero():
		return "has a hold, which nobody placed"
	case r.TotalAfter.IsNegative():
		return "makes the total negative"
	default:
		return ""
	}
}

func sameNumber(a wallet.Amount, b decimal.Decimal) bool {
	return decimal.RequireFromString(a.String()).Equal(b)
}

func canonical(a wallet.Amount) string { return decimal.RequireFromString(a.String()).String() }
