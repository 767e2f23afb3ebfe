package wallet

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func reversal(id, original, amount string) Command {
	c := Command{ID: id, Type: TypeReverse, OriginalID: original}
	if amount != "" {
		c.Amount = MustAmount(amount)
	}
	return c
}

// funded is a wallet with 10 added, 4 of it subtracted, 3 captured and 1 held.
func funded(t *testing.T) Folded {
	f, err := Fold(Account{Asset: dollars()}, nil, good(
		Command{ID: "add", Type: TypeAdd, Amount: MustAmount("10")},
		Command{ID: "subtract", Type: TypeSubtract, Amount: MustAmount("4")},
		Command{ID: "hold", Type: TypeHold, Amount: MustAmount("3")},
		Command{ID: "capture", Type: TypeCapture, HoldID: "hold"},
		Command{ID: "held", Type: TypeHold, Amount: MustAmount("1")},
		Command{ID: "refused", Type: TypeSubtract, Amount: MustAmount("1000")},
	), noon)
	require.NoError(t, err)
	return f
}

// byID are entries as a step looks them up.
func byID(entries []Entry) map[string]*Entry {
	prior := map[string]*Entry{}
	for _, e := range entries {
		prior[e.CommandID] = &e
	}
	return prior
}

func TestAReversalUndoesWhatItsOriginalDid(t *testing.T) {
	f := funded(t)
	again, err := Fold(f.Account, byID(f.Entries), good(
		reversal("r1", "subtract", "1.5"), reversal("r2", "subtract", ""), reversal("r3", "capture", ""), reversal("r4", "add", "9")), noon)
	require.NoError(t, err)
	for i, want := range []struct{ before, after, left string }{{"3.00", "4.50", "2.50"}, {"4.50", "7.00", "0"}, {"7.00", "10.00", "0"}, {"10.00", "1.00", "1.00"}} {
		r := again.Results[i]
		require.Equal(t, StatusApplied, r.Status, r.Message)
		require.Equal(t, want.before, r.TotalBefore.String())
		require.Equal(t, want.after, r.TotalAfter.String())
		require.Equal(t, want.left, r.OriginalLeft.String())
		require.Equal(t, "1.00", r.HoldAfter.String(), "no hold is opened again")
		require.Equal(t, []string{"subtract", "subtract", "capture", "add"}[i], r.OriginalID)
	}
}

func TestEachWrongReversalHasItsReason(t *testing.T) {
	f := funded(t)
	f, err := Fold(f.Account, byID(f.Entries), good(reversal("part", "subtract", "1.50"), reversal("all", "capture", "")), noon)
	require.NoError(t, err)
	first := funded(t)
	prior := byID(append(first.Entries, f.Entries...))
	for _, row := range []struct {
		command Command
		reason  Reason
		message string
	}{
		{reversal("r", "nobody", ""), ReasonOriginalNotFound, `this wallet has no command "nobody"`},
		{reversal("r", "r", ""), ReasonOriginalNotFound, `this wallet has no command "r"`},
		{reversal("r", "refused", ""), ReasonOriginalUnapplied, `command "refused" was refused`},
		{reversal("r", "part", ""), ReasonOriginalIsReversal, `command "part" is a reversal`},
		{reversal("r", "hold", ""), ReasonNotReversible, `command "hold" is of type hold`},
		{reversal("r", "_auto-create", ""), ReasonNotReversible, `is of type create`},
		{reversal("r", "subtract", "2.51"), ReasonReversalExceeded, `only 2.50 of the 4.00 USD of command "subtract" are left to reverse, less than 2.51`},
		{reversal("r", "capture", ""), ReasonReversalExceeded, `all 3.00 USD of command "capture" are reversed already`},
		{reversal("r", "capture", "1"), ReasonReversalExceeded, `all 3.00 USD`},
		{reversal("r", "add", ""), ReasonInsufficientFunds, `cannot reverse 10.00 USD of command "add": 6.50 available (total 7.50, hold 1.00)`},
		{reversal("r", "add", "0.001"), ReasonScaleExceeded, ``},
	} {
		again, err := Fold(f.Account, prior, good(row.command), noon)
		require.NoError(t, err)
		require.Equal(t, row.reason, again.Results[0].Reason, row.command.OriginalID)
		require.Contains(t, again.Results[0].Message, row.message)
		require.Equal(t, f.Account.Total, again.Account.Total)
	}
}

// TestReversalsNeverExceedTheirOriginal draws commands of all kinds that change the total, and
// reversals of them in batches, and counts in cents what is left of each.
func TestReversalsNeverExceedTheirOriginal(t *testing.T) {
	reasons := map[Reason]int{}
	rapid.Check(t, func(t *rapid.T) {
		account, prior := Account{Asset: dollars()}, map[string]*Entry{}
		change, left, sent := map[string]int64{}, map[string]int64{}, []string{"nobody"}
		total, held := int64(0), int64(0)
		for len(sent) < 30 {
			var commands []Command
			for range rapid.IntRange(1, 4).Draw(t, "batch") {
				id := fmt.Sprint("c", len(sent))
				c := Command{ID: id, Type: rapid.SampledFrom([]CommandType{TypeAdd, TypeSubtract, TypeHold, TypeReverse, TypeReverse}).Draw(t, "type")}
				c.Amount = cents(rapid.Int64Range(1, 800).Draw(t, "cents"))
				if c.Type == TypeReverse {
					c.OriginalID = rapid.SampledFrom(sent).Draw(t, "original")
					if rapid.Bool().Draw(t, "all") {
						c.Amount = Amount{}
					}
				}
				sent, commands = append(sent, id), append(commands, c)
			}
			f, err := Fold(account, prior, good(commands...), noon)
			require.NoError(t, err)
			for i, r := range f.Results {
				reasons[r.Reason]++
				amount := commands[i].Amount.value.Shift(2).IntPart()
				if r.Status == StatusUnapplied {
					continue
				}
				switch r.Type {
				case TypeAdd:
					change[r.CommandID] = amount
				case TypeSubtract:
					change[r.CommandID] = -amount
				case TypeHold:
					held += amount
				case TypeReverse:
					of := commands[i].OriginalID
					if amount == 0 {
						amount = left[of]
					}
					require.Positive(t, amount)
					left[of] -= amount
					require.GreaterOrEqual(t, left[of], int64(0))
					require.Zero(t, r.OriginalLeft.Cmp(cents(left[of])))
					if change[of] > 0 {
						amount = -amount
					}
					total += amount
				}
				if r.Type != TypeReverse {
					total += change[r.CommandID]
					left[r.CommandID] = max(change[r.CommandID], -change[r.CommandID])
				}
				require.Zero(t, r.TotalAfter.Cmp(cents(total)))
				require.GreaterOrEqual(t, total, held)
			}
			account.Asset = f.Account.Asset
			// A step reads what the batch names, and no more.
			account.Originals, account.Holds = f.Account.Originals, f.Account.Holds
			for _, e := range f.Entries {
				prior[e.CommandID] = &e
			}
		}
	})
	kind, _ := KindOf(TypeReverse)
	for _, reason := range kind.Refuses {
		if reason == ReasonGrantExpired || reason == ReasonTooManyGrants {
			continue // they have tests of their own
		}
		require.Positive(t, reasons[reason], reason)
	}
}

func TestATransactionDoesNotReverseItsOwnLegs(t *testing.T) {
	legs := func(original string, balances bool) Transaction {
		return Transaction{ID: "t", MustBalance: balances, Commands: []Leg{
			{AssetRef{"u1", "USD"}, Command{Type: TypeAdd, Amount: MustAmount("1")}},
			{AssetRef{"u1", "USD"}, Command{Type: TypeReverse, OriginalID: original}}}}
	}
	require.NoError(t, legs("_transaction/other/1", false).Validate())
	require.ErrorContains(t, legs("_transaction/t/1", false).Validate(), "is a command of the same transaction")
	require.ErrorContains(t, legs("_transaction/other/1", true).Validate(), "leave must_balance out")
}
