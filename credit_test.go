package wallet

import (
	"encoding/json"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func limitOf(id, amount string) Command {
	c := Command{ID: id, Type: TypeSetCreditLimit}
	if amount != "" {
		c.Amount = MustAmount(amount)
	}
	return c
}

// TestTheTotalFallsToMinusTheCreditLimit and no further, whatever takes or reserves it.
func TestTheTotalFallsToMinusTheCreditLimit(t *testing.T) {
	f, err := Fold(Account{Asset: dollars()}, nil, good(
		limitOf("limit", "10"),
		Command{ID: "add", Type: TypeAdd, Amount: MustAmount("5")},
		Command{ID: "too much", Type: TypeSubtract, Amount: MustAmount("15.01")},
		Command{ID: "held", Type: TypeHold, Amount: MustAmount("9")},
		Command{ID: "all", Type: TypeSubtract, Amount: MustAmount("6")},
		Command{ID: "one more", Type: TypeHold, Amount: MustAmount("0.01")},
		Command{ID: "captured", Type: TypeCapture, HoldID: "held"},
		reversal("unfund", "add", ""),
		limitOf("lower", "9.99"), limitOf("none", "0"), limitOf("same", "10.00"), limitOf("higher", "15"),
		reversal("unfund again", "add", ""),
		Command{ID: "closed", Type: TypeClose},
	), noon)
	require.NoError(t, err)
	var reasons []Reason
	for _, r := range f.Results {
		reasons = append(reasons, r.Reason)
	}
	require.Equal(t, []Reason{"", "", ReasonInsufficientFunds, "", "", ReasonInsufficientFunds, "", ReasonInsufficientFunds,
		ReasonCreditLimitExceeded, ReasonCreditLimitExceeded, "", "", "", ReasonNotEmpty}, reasons)
	require.Equal(t, "cannot subtract 15.01 USD: 15.00 available (total 5.00, hold 0.00, credit limit 10.00)", f.Results[2].Message)
	require.Equal(t, "-1.00", f.Results[4].TotalAfter.String())
	require.Equal(t, "-10.00", f.Results[6].TotalAfter.String())
	require.Contains(t, f.Results[8].Message, "less than the 10.00 USD that are used (total -10.00, hold 0.00)")
	require.Equal(t, "-15.00", f.Account.Total.String())
	require.Equal(t, "0.00", f.Account.Available().String())
}

// TestClosingEndsTheCreditLimit: a create must not grant one.
func TestClosingEndsTheCreditLimit(t *testing.T) {
	f, err := Fold(Account{Asset: dollars()}, nil, good(limitOf("limit", "10"), Command{ID: "close", Type: TypeClose}, Command{ID: "open", Type: TypeCreate},
		Command{ID: "s", Type: TypeSubtract, Amount: MustAmount("1")}), noon)
	require.NoError(t, err)
	require.Equal(t, ReasonInsufficientFunds, f.Results[3].Reason)
	require.Equal(t, Amount{}, f.Account.CreditLimit)
}

// TestNoCreditLimitIsOneOfZero: JSON of Go leaves an amount of 0 out.
func TestNoCreditLimitIsOneOfZero(t *testing.T) {
	zero, none := limitOf("a", "0.00"), limitOf("a", "")
	require.NoError(t, zero.Validate())
	require.NoError(t, none.Validate())
	require.Equal(t, none.RequestHash(), zero.RequestHash())
	f, err := Fold(Account{Asset: dollars()}, nil, good(limitOf("limit", "1"), zero), noon)
	require.NoError(t, err)
	last := f.Entries[len(f.Entries)-1]
	require.Equal(t, []any{StatusApplied, Amount{}, Amount{}}, []any{last.Status, last.Amount, last.CreditLimit})
	again, err := Fold(f.Account, byID(f.Entries), good(none), noon)
	require.NoError(t, err)
	require.True(t, again.Results[0].Replayed)
	for _, text := range []string{"-1", "-0.01"} {
		c := limitOf("a", "")
		c.Amount, err = ParseSigned(text)
		require.NoError(t, err)
		require.ErrorContains(t, c.Validate(), "is not a plain decimal")
	}
}

// TestTotalsBelowZeroAreRead back from JSON, with one form for each.
func TestTotalsBelowZeroAreRead(t *testing.T) {
	for _, text := range []string{"-5.00", "-0.01", "-99999999999999999999999999999999999999", "3.5"} {
		a, err := ParseSigned(text)
		require.NoError(t, err)
		require.Equal(t, text, a.String())
		encoded, err := json.Marshal(a)
		require.NoError(t, err)
		var back Amount
		require.NoError(t, json.Unmarshal(encoded, &back))
		require.True(t, a.Same(back))
	}
	for _, text := range []string{"-", "--1", "-0", "-0.00", "- 1", "+1", "-1e3", "-.5", ""} {
		_, err := ParseSigned(text)
		require.Error(t, err, text)
	}
}

// TestCreditLimitProperty: after any commands 0 <= hold <= total + limit, each entry has the limit
// after it, and the answers survive their stored form.
func TestCreditLimitProperty(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		account, prior := Account{Asset: dollars()}, map[string]*Entry{}
		lowest := Amount{}
		for n := range 40 {
			c := Command{ID: fmt.Sprint("c", n), Amount: cents(rapid.Int64Range(1, 500).Draw(t, "cents"))}
			c.Type = rapid.SampledFrom([]CommandType{TypeSetCreditLimit, TypeAdd, TypeSubtract, TypeSubtract, TypeHold, TypeCapture, TypeReverse, TypeClose, TypeCreate}).Draw(t, "type")
			switch earlier := fmt.Sprint("c", rapid.IntRange(0, n).Draw(t, "earlier")); c.Type {
			case TypeCapture:
				c.HoldID, c.Amount = earlier, Amount{}
			case TypeReverse:
				c.OriginalID, c.Amount = earlier, Amount{}
			case TypeClose, TypeCreate:
				c.Amount = Amount{}
			case TypeSetCreditLimit:
				if rapid.Bool().Draw(t, "none") {
					c.Amount = Amount{}
				}
			}
			before := account.Asset
			f, err := Fold(account, prior, good(c), noon)
			require.NoError(t, err)
			account = f.Account
			for i := range f.Entries {
				prior[f.Entries[i].CommandID] = &f.Entries[i]
			}
			last := f.Entries[len(f.Entries)-1]
			require.Equal(t, last.CreditLimit, account.CreditLimit)
			require.False(t, account.Available().IsNegative(), "%s: %+v", c, account.Asset)
			require.True(t, !account.Closed || account.CreditLimit.IsZero())
			if last.Status == StatusApplied && c.Type == TypeSetCreditLimit {
				require.Zero(t, last.CreditLimit.Cmp(c.Amount))
			} else if last.Status != StatusApplied || c.Type != TypeClose {
				require.Equal(t, before.CreditLimit, last.CreditLimit)
			}
			facts, err := NewFacts(good(c), f.Results).Results(good(c))
			require.NoError(t, err)
			require.Equal(t, f.Results[0].CreditLimit.String(), facts[0].CreditLimit.String())
			require.Equal(t, f.Results[0].TotalAfter.String(), facts[0].TotalAfter.String())
			if account.Total.Cmp(lowest) < 0 {
				lowest = account.Total
			}
		}
	})
}

// TestACreditLimitCrossesThresholds: what it makes available is watched too, and closing ends it.
func TestACreditLimitCrossesThresholds(t *testing.T) {
	asset, results := fold(t, dollars(), setTo("set", "low", "20"), limitOf("more", "20"), limitOf("less", "19.99"), amountOf("in debt", TypeSubtract, "5"),
		limitOf("refused", "4"), limitOf("much more", "30"), amountOf("paid back", TypeAdd, "5"), Command{ID: "close", Type: TypeClose})
	require.Equal(t, []string{"more low 20.00 above", "less low 20.00 below", "much more low 20.00 above", "close low 20.00 below"}, crossings(results))
	require.True(t, asset.Closed)
}

// TestAnAnswerWithoutAnEntryHasTheLimit too.
func TestAnAnswerWithoutAnEntryHasTheLimit(t *testing.T) {
	f, err := Fold(Account{Asset: dollars()}, nil, good(limitOf("limit", "10"), limitOf("limit", "11")), noon)
	require.NoError(t, err)
	require.Equal(t, ReasonIDConflict, f.Results[1].Reason)
	require.Equal(t, "10.00", f.Results[1].CreditLimit.String())
}
