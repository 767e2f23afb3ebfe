package torture

import (
	"fmt"
	"slices"

	"github.com/shopspring/decimal"

	"github.com/valueledger/wallet"
)

// mostThresholds is how many thresholds a wallet can have.
const mostThresholds = 8

// threshold is one that is watched, and the others, sorted by name.
type threshold struct {
	name   string
	amount decimal.Decimal
	next   *threshold
}

func (t *threshold) has(name string) bool {
	for ; t != nil; t = t.next {
		if t.name == name {
			return true
		}
	}
	return false
}

func (t *threshold) count() (n int) {
	for ; t != nil; t = t.next {
		n++
	}
	return n
}

// with returns a copy with one threshold set.
func (t *threshold) with(name string, amount decimal.Decimal) *threshold {
	rest := t.without(name)
	if rest == nil || rest.name > name {
		return &threshold{name, amount, rest}
	}
	return &threshold{rest.name, rest.amount, rest.next.with(name, amount)}
}

// without returns a copy without one threshold.
func (t *threshold) without(name string) *threshold {
	switch {
	case t == nil:
		return nil
	case t.name == name:
		return t.next
	}
	return &threshold{t.name, t.amount, t.next.without(name)}
}

// crossed names the thresholds between two available amounts. Equal to one is not below it.
func (t *threshold) crossed(before, after decimal.Decimal) (crossed []string) {
	for ; t != nil; t = t.next {
		switch {
		case before.GreaterThanOrEqual(t.amount) && after.LessThan(t.amount):
			crossed = append(crossed, crossing(t.name, "below", t.amount))
		case before.LessThan(t.amount) && after.GreaterThanOrEqual(t.amount):
			crossed = append(crossed, crossing(t.name, "above", t.amount))
		}
	}
	return crossed
}

func crossing(name, direction string, amount decimal.Decimal) string {
	return fmt.Sprintf("%s %s %s", direction, name, amount)
}

func crossingsOf(r wallet.Result) (crossed []string) {
	for _, c := range r.Crossed.List() {
		crossed = append(crossed, crossing(c.Name, string(c.Direction), decimalOf(c.Amount.String())))
	}
	return crossed
}

// watches reports whether the thresholds are those of the balance.
func (b balance) watches(thresholds wallet.Thresholds) bool {
	var want, have []string
	for t := b.thresholds; t != nil; t = t.next {
		want = append(want, crossing(t.name, "", t.amount))
	}
	for _, t := range thresholds.List() {
		have = append(have, crossing(t.Name, "", decimalOf(t.Amount.String())))
	}
	return slices.Equal(want, have)
}
