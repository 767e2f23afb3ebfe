package wallet

import (
	"fmt"
	"time"
)

// withCredit is the total and the credit limit: what may be reserved or taken in all.
func (a Asset) withCredit() Amount {
	if a.CreditLimit.IsZero() {
		return a.Total
	}
	return a.Total.Add(a.CreditLimit)
}

// creditUsed is how much of a credit limit is taken or reserved, 0 or more. Grants do not pay it: what
// is left of them may expire.
func (a Asset) creditUsed() Amount {
	used := a.Hold.Add(a.Granted).Sub(a.Total)
	if used.IsNegative() {
		return used.Sub(used)
	}
	return used
}

// availableText explains why there are not enough funds.
func (a Asset) availableText() string {
	credit := ""
	if !a.CreditLimit.IsZero() {
		credit = fmt.Sprintf(", credit limit %s", a.CreditLimit)
	}
	return fmt.Sprintf("%s available (total %s, hold %s%s)", a.Available(), a.Total, a.Hold, credit)
}

// grantedText adds what is left of grants to a text, where there are any.
func (a Asset) grantedText() string {
	if a.Granted.IsZero() {
		return ""
	}
	return fmt.Sprintf(", granted %s", a.Granted)
}

// setCreditLimit replaces the limit; an amount of 0, or none, ends it.
func setCreditLimit(a Account, c Command, _ time.Time) (Account, *Refusal) {
	if used := a.creditUsed(); c.Amount.Cmp(used) < 0 {
		return a, refuse(ReasonCreditLimitExceeded, "a credit limit of %s is less than the %s %s that are used (total %s, hold %s%s): set at least that, under a new id", c.Amount, used, a.Currency, a.Total, a.Hold, a.grantedText())
	}
	a.CreditLimit = Amount{} // what is not set has one form
	if !c.Amount.IsZero() {
		a.CreditLimit = c.Amount
	}
	return a, nil
}
