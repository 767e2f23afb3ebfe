package wallet

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// GrantPart is an amount of a grant.
type GrantPart struct {
	Grant  int64  `json:"grant"` // its number
	Amount Amount `json:"amount"`
}

// GrantParts are amounts of grants, in the order in which they are taken. What a hold or a command
// has beyond them is not granted.
type GrantParts []GrantPart

// String is "17:2.50,23:1.00", which entries and holds are stored with.
func (p GrantParts) String() string {
	var b strings.Builder
	for i, part := range p {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString(strconv.FormatInt(part.Grant, 10))
		b.WriteByte(':')
		b.WriteString(part.Amount.String())
	}
	return b.String()
}

// ParseGrantParts reads what String wrote, and nothing else.
func ParseGrantParts(text string) (GrantParts, error) {
	if text == "" {
		return nil, nil
	}
	var parts GrantParts
	for item := range strings.SplitSeq(text, ",") {
		number, amount, _ := strings.Cut(item, ":")
		n, err := strconv.ParseInt(number, 10, 64)
		part := GrantPart{Grant: n}
		if err == nil {
			part.Amount, err = ParseAmount(amount)
		}
		if err != nil || n < 1 || part.Amount.IsZero() {
			return nil, fmt.Errorf("%s is no list of grants", quote(text))
		}
		parts = append(parts, part)
	}
	if parts.String() != text {
		return nil, fmt.Errorf("%s is no list of grants as it is written", quote(text))
	}
	return parts, nil
}

// with adds parts: to the part of the same grant, or at the end.
func (p GrantParts) with(more GrantParts) GrantParts {
	all, places := slices.Clone(p), make(map[int64]int, len(p)+len(more))
	for i, part := range all {
		places[part.Grant] = i
	}
	for _, part := range more {
		if i, found := places[part.Grant]; found {
			all[i].Amount = all[i].Amount.Add(part.Amount)
		} else {
			places[part.Grant] = len(all)
			all = append(all, part)
		}
	}
	return all
}

// without takes parts away.
func (p GrantParts) without(less GrantParts) (rest GrantParts) {
	taken := less.byGrant()
	for _, part := range p {
		if part.Amount = part.Amount.Sub(taken[part.Grant]); !part.Amount.IsZero() {
			rest = append(rest, part)
		}
	}
	return rest
}

// byGrant are the amounts by the numbers of the grants.
func (p GrantParts) byGrant() map[int64]Amount {
	amounts := make(map[int64]Amount, len(p))
	for _, part := range p {
		amounts[part.Grant] = amounts[part.Grant].Add(part.Amount)
	}
	return amounts
}

// between are the parts of what lies from one amount to another, if the parts lie one after the other.
// What lies behind them is not granted.
func (p GrantParts) between(from, to Amount) (some GrantParts) {
	start := from.Sub(from)
	for _, part := range p {
		end := start.Add(part.Amount)
		if first, last := larger(start, from), smaller(end, to); first.Cmp(last) < 0 {
			some = append(some, GrantPart{part.Grant, last.Sub(first)})
		}
		start = end
	}
	return some
}
