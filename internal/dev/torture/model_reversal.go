package torture

import (
	"time"

	"github.com/shopspring/decimal"

	"github.com/valueledger/wallet"
)

// recorded is a command in a wallet's journal, and those before it.
type recorded struct {
	before     *recorded
	id         string
	kind       wallet.CommandType
	applied    bool
	change     decimal.Decimal // of the total
	originalID string          // of a reversal
	grant      int64           // that it made
	took       []part          // from the total
}

// original finds a command by its id, and how much of it has not been reversed.
func (b balance) original(id string) (found *recorded, left decimal.Decimal) {
	reversed := decimal.Decimal{}
	for r := b.recorded; r != nil; r = r.before {
		if r.id == id {
			return r, r.change.Abs().Sub(reversed)
		}
		if r.originalID == id && r.applied {
			reversed = reversed.Add(r.change.Abs())
		}
	}
	return nil, decimal.Decimal{}
}

// reversal is what a reversal changes of the total, and what it leaves of its original, if it is
// not refused.
func (b balance) reversal(c wallet.Command) (change, left decimal.Decimal) {
	of, left := b.original(c.OriginalID)
	if change = amountOf(c); change.IsZero() {
		change = left
		if unused := b.allGrants()[of.grant].left; unused.IsPositive() && unused.LessThan(left) {
			change = unused
		}
	}
	left = left.Sub(change)
	if of.change.IsPositive() {
		change = change.Neg()
	}
	return change, left
}

// noReversal says why nothing is reversed.
func (b balance) noReversal(c wallet.Command, available decimal.Decimal, at time.Time) wallet.Reason {
	of, left := b.original(c.OriginalID)
	switch {
	case of == nil:
		return wallet.ReasonOriginalNotFound
	case !of.applied:
		return wallet.ReasonOriginalUnapplied
	case of.kind == wallet.TypeReverse:
		return wallet.ReasonOriginalIsReversal
	case of.change.IsZero():
		return wallet.ReasonNotReversible
	case left.IsZero() || amountOf(c).GreaterThan(left):
		return wallet.ReasonReversalExceeded
	}
	change, _ := b.reversal(c)
	if change.IsNegative() && b.freezes.refuse(wallet.FrozenDebits, at) || change.IsPositive() && b.freezes.refuse(wallet.FrozenCredits, at) {
		return wallet.ReasonFrozen
	}
	if change.Neg().GreaterThan(available) {
		return wallet.ReasonInsufficientFunds
	}
	return b.noReturn(of, c, change.Abs(), left, available, at)
}
