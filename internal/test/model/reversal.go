package model

import "math/big"

// reverse returns what a reversal changes of the total, and what it leaves of its original, or a
// reason for a refusal.
func (w *Wallet) reverse(c Command, amount *big.Int, a *Answer) (change, left *big.Int, reason string) {
	original, known := w.used[c.OriginalID]
	if !known {
		return nil, nil, "original_not_found"
	}
	left = new(big.Int).Abs(original.change)
	for _, earlier := range w.used {
		if earlier.original == c.OriginalID && earlier.answer.Status == "applied" {
			left.Sub(left, new(big.Int).Abs(earlier.change))
		}
	}
	if c.Amount == "" {
		amount = left
		if _, granted := w.grants[original.answer.Position]; granted && w.free.of(original.answer.Position).Sign() > 0 && w.free.of(original.answer.Position).Cmp(left) < 0 {
			amount = w.free.of(original.answer.Position)
		}
	}
	switch {
	case original.answer.Status == "unapplied":
		return nil, nil, "original_unapplied"
	case original.kind == "reverse":
		return nil, nil, "original_is_reversal"
	case original.change.Sign() == 0:
		return nil, nil, "not_reversible"
	case left.Sign() == 0 || amount.Cmp(left) > 0:
		return nil, nil, "reversal_exceeded"
	case w.refuses("debits") && original.change.Sign() > 0, w.refuses("credits") && original.change.Sign() < 0:
		return nil, nil, "frozen"
	case original.change.Sign() < 0:
		if reason := w.returned(original, c, amount, left, a); reason != "" {
			return nil, nil, reason
		}
		return amount, new(big.Int).Sub(left, amount), ""
	case amount.Cmp(w.available()) > 0:
		return nil, nil, "insufficient_funds"
	}
	if reason := w.takeBack(original, amount, a); reason != "" {
		return nil, nil, reason
	}
	return new(big.Int).Neg(amount), new(big.Int).Sub(left, amount), ""
}
