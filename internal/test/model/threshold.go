package model

import (
	"maps"
	"math/big"
	"slices"
	"strings"
)

// mostThresholds is how many thresholds a wallet can have.
const mostThresholds = 8

// Thresholds returns "high 100.00, low 20.00" for those that are set.
func (w *Wallet) Thresholds() string {
	var set []string
	for _, name := range slices.Sorted(maps.Keys(w.thresholds)) {
		set = append(set, name+" "+text(w.thresholds[name], w.Scale))
	}
	return strings.Join(set, ", ")
}

// crossed returns "above high, below low" for the thresholds between an available amount of
// before and the one of now. Equal to a threshold is not below it.
func (w *Wallet) crossed(before *big.Int) string {
	var crossed []string
	for _, name := range slices.Sorted(maps.Keys(w.thresholds)) {
		least := w.thresholds[name]
		was, is := before.Cmp(least) >= 0, w.available().Cmp(least) >= 0
		if was && !is {
			crossed = append(crossed, "below "+name)
		}
		if is && !was {
			crossed = append(crossed, "above "+name)
		}
	}
	return strings.Join(crossed, ", ")
}
