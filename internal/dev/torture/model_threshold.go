package torture

import (
	"fmt"
	"maps"
	"slices"

	"github.com/shopspring/decimal"

	"github.com/valueledger/wallet"
)

// mostThresholds is how many thresholds a wallet can have.
const mostThresholds = 8

// thresholds are those of a wallet, by name.
type thresholds struct{ byName map[string]decimal.Decimal }

// all is a copy.
func (t *thresholds) all() map[string]decimal.Decimal {
	if t == nil {
		return map[string]decimal.Decimal{}
	}
	return maps.Clone(t.byName)
}

func (t *thresholds) has(name string) bool {
	_, set := t.all()[name]
	return set
}

// with returns a copy with one threshold set.
func (t *thresholds) with(name string, amount decimal.Decimal) *thresholds {
	all := t.all()
	all[name] = amount
	return &thresholds{all}
}

// without returns a copy without one threshold.
func (t *thresholds) without(name string) *thresholds {
	all := t.all()
	delete(all, name)
	return &thresholds{all}
}

// crossed names the thresholds between two available amounts. Equal to one is not below it.
func (t *thresholds) crossed(before, after decimal.Decimal) (crossed []string) {
	all := t.all()
	for _, name := range slices.Sorted(maps.Keys(all)) {
		amount := all[name]
		switch {
		case before.GreaterThanOrEqual(amount) && after.LessThan(amount):
			crossed = append(crossed, crossing(name, "below", amount))
		case before.LessThan(amount) && after.GreaterThanOrEqual(amount):
			crossed = append(crossed, crossing(name, "above", amount))
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

// watches reports whether these thresholds, sorted by name, are those of the balance.
func (b balance) watches(set wallet.Thresholds) bool {
	var want, have []string
	all := b.thresholds.all()
	for _, name := range slices.Sorted(maps.Keys(all)) {
		want = append(want, crossing(name, "", all[name]))
	}
	for _, t := range set.List() {
		have = append(have, crossing(t.Name, "", decimalOf(t.Amount.String())))
	}
	return slices.Equal(want, have)
}
