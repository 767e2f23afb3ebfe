package wallet

import (
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func frozenFor(what string) Command {
	return Command{ID: "freeze " + what, Type: TypeFreeze, What: what}
}

// TestAFreezeStopsItsDirectionOnly, and nothing that was reserved before.
func TestAFreezeStopsItsDirectionOnly(t *testing.T) {
	one := MustAmount("1")
	expiring := Command{ID: "expiring", Type: TypeHold, Amount: one, ExpiresIn: "1h"}
	for _, row := range []struct {
		command Command
		stopped []string // by a freeze of these
	}{
		{Command{ID: "c", Type: TypeAdd, Amount: one}, []string{"credits", "all"}},
		{Command{ID: "c", Type: TypeSubtract, Amount: one}, []string{"debits", "all"}},
		{Command{ID: "c", Type: TypeHold, Amount: one}, []string{"debits", "all"}},
		{Command{ID: "c", Type: TypeHold, HoldID: "held", Amount: one}, []string{"debits", "all"}},
		{Command{ID: "c", Type: TypeHold, HoldID: "expiring", ExpiresIn: "7d"}, []string{"debits", "all"}},
		{reversal("c", "add", "1"), []string{"debits", "all"}},
		{reversal("c", "subtract", "1"), []string{"credits", "all"}},
		{reversal("c", "capture", ""), []string{"credits", "all"}},
		{Command{ID: "c", Type: TypeCapture, HoldID: "held"}, nil},
		{Command{ID: "c", Type: TypeRelease, HoldID: "held"}, nil},
		{Command{ID: "c", Type: TypeUnfreeze}, nil},
		{Command{ID: "c", Type: TypeFreeze, What: "all"}, nil},
	} {
		for _, what := range freezable {
			f := funded(t)
			again, err := Fold(f.Account, byID(f.Entries), good(expiring, frozenFor(what), row.command, Command{ID: "over", Type: TypeUnfreeze}), noon)
			require.NoError(t, err)
			want := StatusApplied
			for _, by := range row.stopped {
				if by == what {
					want = StatusUnapplied
				}
			}
			require.Equal(t, want, again.Results[2].Status, "%s under a freeze of %s: %s", row.command, what, again.Results[2].Message)
			if want == StatusUnapplied {
				require.Equal(t, ReasonFrozen, again.Results[2].Reason)
				require.Equal(t, Frozen(what), again.Entries[2].Frozen, "the entry says what was frozen")
			}
			require.Empty(t, again.Account.Frozen)
		}
	}
}

func TestASecondFreezeTakesNothingBack(t *testing.T) {
	for _, row := range [][3]string{{"debits", "credits", "all"}, {"all", "debits", "all"}, {"credits", "credits", "credits"}} {
		f := funded(t)
		again, err := Fold(f.Account, nil, good(frozenFor(row[0]), Command{ID: "b", Type: TypeFreeze, What: row[1]}), noon)
		require.NoError(t, err)
		require.Equal(t, Frozen(row[2]), again.Account.Frozen)
	}
}

func TestAnExpiryGoesOnUnderAFreeze(t *testing.T) {
	f, err := Fold(Account{Asset: dollars()}, nil, good(
		Command{ID: "funds", Type: TypeAdd, Amount: MustAmount("1")}, Command{ID: "h", Type: TypeHold, Amount: MustAmount("1"), ExpiresIn: "1s"}, frozenFor("all")), noon)
	require.NoError(t, err)
	later, err := Fold(f.Account, nil, good(Command{ID: "s", Type: TypeSubtract, Amount: MustAmount("1")}), noon.AddDate(0, 0, 1))
	require.NoError(t, err)
	require.Equal(t, TypeExpire, later.Entries[0].Type)
	require.Equal(t, StatusApplied, later.Entries[0].Status)
	require.Equal(t, FrozenAll, later.Entries[0].Frozen)
	require.Equal(t, ReasonFrozen, later.Results[0].Reason)
}

func TestOnlyAnEmptyWalletIsClosed(t *testing.T) {
	f := funded(t)
	again, err := Fold(f.Account, byID(f.Entries), good(
		Command{ID: "full", Type: TypeClose},
		Command{ID: "out", Type: TypeCapture, HoldID: "held"}, Command{ID: "rest", Type: TypeSubtract, Amount: MustAmount("2")},
		frozenFor("debits"), Command{ID: "close", Type: TypeClose}), noon)
	require.NoError(t, err)
	require.Equal(t, ReasonNotEmpty, again.Results[0].Reason)
	require.Contains(t, again.Results[0].Message, "total 3.00 and hold 1.00")
	require.Equal(t, StatusApplied, again.Results[4].Status, again.Results[4].Message)
	require.True(t, again.Account.Closed)
	closed := again.Account
	for _, kind := range CallersKinds() {
		c := Command{ID: "c " + string(kind.Type), Type: kind.Type, Amount: MustAmount("1"), HoldID: "held", OriginalID: "add", What: "all"}
		again, err := Fold(closed, nil, good(c), noon)
		require.NoError(t, err)
		if kind.Type != TypeCreate {
			require.Equal(t, ReasonClosed, again.Results[0].Reason, kind.Type)
			require.True(t, again.Entries[0].Closed)
			continue
		}
		require.Equal(t, StatusApplied, again.Results[0].Status)
		require.False(t, again.Account.Closed)
		require.Equal(t, FrozenDebits, again.Account.Frozen, "a create does not undo a freeze")
		require.Equal(t, closed.Version+1, again.Account.Version)
	}
}

// TestFrozenAndClosedAreInEachEntry: from the last one the row is made again, and a past balance read.
func TestFrozenAndClosedAreInEachEntry(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		account, prior := Account{Asset: dollars()}, map[string]*Entry{}
		for n := range 30 {
			c := Command{ID: string(rune('a' + n)), Type: rapid.SampledFrom([]CommandType{TypeCreate, TypeAdd, TypeSubtract, TypeFreeze, TypeUnfreeze, TypeClose}).Draw(t, "type")}
			switch c.Type {
			case TypeAdd, TypeSubtract:
				c.Amount = cents(rapid.Int64Range(1, 3).Draw(t, "cents"))
			case TypeFreeze:
				c.What = rapid.SampledFrom(freezable).Draw(t, "what")
			}
			before := account.Asset
			f, err := Fold(account, prior, good(c), noon)
			require.NoError(t, err)
			account = f.Account
			last := f.Entries[len(f.Entries)-1]
			require.Equal(t, []any{account.Frozen, account.Closed}, []any{last.Frozen, last.Closed})
			require.True(t, !account.Closed || account.Total.IsZero())
			facts, err := NewFacts(good(c), f.Results).Results(good(c))
			require.NoError(t, err)
			require.Equal(t, f.Results[0].Frozen, facts[0].Frozen)
			require.Equal(t, f.Results[0].Closed, facts[0].Closed)
			if before.Closed && last.Status == StatusApplied {
				require.Equal(t, TypeCreate, last.Type)
			}
		}
	})
}
