package wallet

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	"github.com/shopspring/decimal"
)

const (
	// MaxAmountDigits limits the digits of a command's amount, before and after the point
	// together. 38 is the precision of SQL's widest portable decimal.
	MaxAmountDigits = 38
	// maxParsedDigits limits what is parsed at all, including totals in answers: 38 whole
	// digits, up to 24 decimals (MaxScale), and room for a sum of 10^38 such amounts.
	maxParsedDigits = 100
)

// Amount is an exact decimal in major units: "12.50" is twelve and a half. In JSON it is always
// a string, because most JSON readers turn a number into a binary fraction, which cannot
// represent 0.1. It remembers its decimals: "0.00" stays "0.00". The zero value is 0.
type Amount struct{ value decimal.Decimal }

// ParseAmount reads plain decimal notation: digits, at most one point with digits on both
// sides, no sign, no exponent, no spaces, at most 100 digits. Otherwise it returns an
// *InvalidError with the text and what to send instead.
func ParseAmount(text string) (Amount, error) {
	digits, points := 0, 0
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case c >= '0' && c <= '9':
			digits++
		case c == '.' && points == 0 && i > 0 && i < len(text)-1:
			points++
		default:
			return Amount{}, notAnAmount(text)
		}
	}
	if digits == 0 {
		return Amount{}, notAnAmount(text)
	}
	if digits > maxParsedDigits {
		return Amount{}, tooManyDigits(text, digits)
	}
	value, err := decimal.NewFromString(text)
	if err != nil {
		return Amount{}, notAnAmount(text)
	}
	return Amount{value}, nil
}

// ParseSigned is ParseAmount for totals, which may be below 0: "-5.00". 0 has no sign.
func ParseSigned(text string) (Amount, error) {
	unsigned, negative := strings.CutPrefix(text, "-")
	amount, err := ParseAmount(unsigned)
	switch {
	case !negative:
		return amount, err
	case err != nil || amount.IsZero():
		return Amount{}, notAnAmount(text)
	}
	return Amount{amount.value.Neg()}, nil
}

// MustAmount is ParseAmount for constants: it panics on bad input.
func MustAmount(text string) Amount {
	amount, err := ParseAmount(text)
	if err != nil {
		panic(err)
	}
	return amount
}

func notAnAmount(text string) error {
	return invalid("amount", text,
		`amount %s is not a plain decimal: send digits with at most one point, such as "12.50" (no sign, exponent, space or separator)`, quote(text))
}

func tooManyDigits(text string, digits int) error {
	return invalid("amount", text, "amount %s has %d digits: at most %d are allowed", quote(text), digits, MaxAmountDigits)
}

// String returns plain notation with the amount's own decimals.
func (a Amount) String() string {
	var room [maxParsedDigits]byte
	return string(a.appendText(room[:0]))
}

// appendText appends what String returns. Amounts that fit in 64 bits, which is nearly all of
// them, skip the slower big-number arithmetic.
func (a Amount) appendText(text []byte) []byte {
	decimals := -int(a.value.Exponent())
	if decimals < 0 || decimals >= maxParsedDigits || a.value.Sign() < 0 || a.value.NumDigits() > 18 {
		return append(text, a.value.StringFixed(int32(max(decimals, 0)))...)
	}
	var room [20]byte
	digits := strconv.AppendInt(room[:0], a.value.CoefficientInt64(), 10)
	whole := len(digits) - decimals
	if whole <= 0 {
		text = append(text, '0')
	} else {
		text = append(text, digits[:whole]...)
	}
	if decimals == 0 {
		return text
	}
	text = append(text, '.')
	for ; whole < 0; whole++ {
		text = append(text, '0')
	}
	return append(text, digits[whole:]...)
}

// Same reports whether a and b are equal, including their number of decimals.
func (a Amount) Same(b Amount) bool {
	return a.value.Exponent() == b.value.Exponent() && a.value.Cmp(b.value) == 0
}

// IsZero reports whether the amount is 0; JSON's omitzero uses it too.
func (a Amount) IsZero() bool { return a.value.IsZero() }

// IsNegative can only be true of a total, or a result of Sub. Commands with such an amount are refused.
func (a Amount) IsNegative() bool { return a.value.IsNegative() }

// Cmp returns -1, 0 or 1 if a is below, equal to or above b, regardless of decimals.
func (a Amount) Cmp(b Amount) int { return a.value.Cmp(b.value) }

// Add keeps the larger number of decimals, as Sub does.
func (a Amount) Add(b Amount) Amount {
	if b.addsNothingTo(a) {
		return a
	}
	return Amount{a.value.Add(b.value)}
}

func (a Amount) Sub(b Amount) Amount {
	if b.addsNothingTo(a) {
		return a
	}
	return Amount{a.value.Sub(b.value)}
}

// addsNothingTo reports whether a sum with the amount is the other amount, decimals too. Most wallets
// have no hold, no limit and no grants, and big numbers cost an allocation each.
func (a Amount) addsNothingTo(b Amount) bool {
	return a.value.IsZero() && a.value.Exponent() >= b.value.Exponent()
}

// Canonical drops trailing zeros: "12.5", "12.50" and "012.500" share one form. Request hashes
// use it because it does not depend on the currency.
func (a Amount) Canonical() Amount {
	if decimals := -a.value.Exponent(); decimals <= 0 {
		return a
	} else if a.value.NumDigits() <= 18 {
		digits := a.value.CoefficientInt64()
		for ; decimals > 0 && digits%10 == 0; decimals-- {
			digits /= 10
		}
		return Amount{decimal.New(digits, -decimals)}
	}
	text := a.String()
	if !strings.Contains(text, ".") || !strings.HasSuffix(text, "0") {
		return a
	}
	return Amount{decimal.RequireFromString(strings.TrimRight(strings.TrimRight(text, "0"), "."))}
}

// AtScale returns the same amount with exactly scale decimals, as answers and rows use it. It
// reports false if that would need rounding.
func (a Amount) AtScale(scale int32) (Amount, bool) {
	fixed := a.value.Truncate(scale)
	if !fixed.Equal(a.value) {
		return a, false
	}
	if -fixed.Exponent() < scale {
		fixed = fixed.Add(decimal.New(0, -scale)) // Add keeps the larger number of decimals
	}
	return Amount{fixed}, true
}

// digits counts the digits of the canonical form, without leading zeros.
func (a Amount) digits() int {
	value := a.Canonical().value
	return max(value.NumDigits()+int(max(value.Exponent(), 0)), int(-value.Exponent()))
}

// MarshalJSON writes a string, which has nothing to escape.
func (a Amount) MarshalJSON() ([]byte, error) { return []byte(`"` + a.String() + `"`), nil }

// UnmarshalJSON reads a string. If a caller sends a number or null, the error says to send a
// string.
func (a *Amount) UnmarshalJSON(data []byte) error {
	var text string
	if err := json.Unmarshal(data, &text); err != nil || string(data) == "null" {
		return invalid("amount", string(data),
			`amount %s is not a JSON string: send it in quotes, such as "12.50", so that no JSON reader rounds it`, shorten(string(data), 60))
	}
	parsed, err := ParseSigned(text)
	if err != nil {
		return err
	}
	*a = parsed
	return nil
}

// Scan reads a text column, with NULL as 0; it makes Amount a database/sql Scanner.
func (a *Amount) Scan(column any) error {
	switch text := column.(type) {
	case nil:
		*a = Amount{}
		return nil
	case string:
		value, err := decimal.NewFromString(text)
		*a = Amount{value}
		return err
	default:
		return fmt.Errorf("amount column is a %T, not text", column)
	}
}

// decimals counts the decimals in the amount's own text.
func (a Amount) decimals() int32 { return max(-a.value.Exponent(), 0) }
