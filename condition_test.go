package wallet

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestConditionsThatAreRefusedBeforeTheyLeaveATrace(t *testing.T) {
	for sent, message := range map[string]string{
		`"not_after":"tomorrow"`:                          `not_after is "tomorrow": send a time such as`,
		`"not_after":""`:                                  `not_after is "": send a time such as`,
		`"not_after":null`:                                `not_after is null: send a time such as 2026-01-31T12:00:00Z, or leave it out`,
		`"not_after":1767225600`:                          `not_after is 1767225600: send a time such as`,
		`"not_after":"2026-01-31T12:00:00"`:               `not_after is "2026-01-31T12:00:00": send a time`,
		`"not_after":"0001-01-01T00:00:00Z"`:              `not_after is "0001-01-01T00:00:00Z": send a time`,
		`"not_after":"1999-12-31T23:59:59Z"`:              `not_after 1999-12-31T23:59:59Z is out of range`,
		`"not_after":"9999-12-31T23:00:00-02:00"`:         `is out of range`,
		`"not_after":"2026-01-31T12:00:00.1234567Z"`:      `not_after 2026-01-31T12:00:00.1234567Z has more than 6 decimals of a second`,
		`"expected_version":-1`:                           `expected_version -1 is below 0: send the version that the wallet must have`,
		`"expected_version":5.0`:                          `expected_version of command is 5.0: send a whole number of at most 19 digits, without decimals or exponent`,
		`"expected_version":1e3`:                          `expected_version of command is 1e3: send a whole number`,
		`"expected_version":9223372036854775808`:          `expected_version of command is 9223372036854775808: send a whole number`,
		`"expected_version":"5"`:                          `expected_version of command must not be a JSON string: send a whole number`,
		`"expected_version":null`:                         `expected_version is null: send the version that the wallet must have, or leave it out`,
		`"expected_version":5,"expected_version":6`:       `expected_version of command is given twice`,
		`"expected_version":` + strings.Repeat("9", 5000): `expected_version of command is 9999`,
	} {
		_, err := DecodeCommand([]byte(`{"id":"a","type":"create",` + sent + `}`))
		require.ErrorContains(t, err, message)
		require.IsType(t, &InvalidError{}, err)
		require.Less(t, len(err.Error()), 300)
	}
}

func TestEveryTypeTakesConditions(t *testing.T) {
	for _, kind := range CallersKinds() {
		c := Command{ID: "a", Type: kind.Type, NotAfter: noon, ExpectedVersion: new(int64(0))}
		if kind.allows("amount") {
			c.Amount = MustAmount("1")
		}
		if kind.allows("what") {
			c.What = "all"
		}
		if kind.allows("threshold") {
			c.Threshold = "low"
		}
		if kind.allows("hold_id") {
			c.HoldID = "h"
		}
		if kind.allows("original_id") {
			c.OriginalID = "o"
		}
		require.NoError(t, c.Validate(), kind.Type)
	}
}

func TestACommandIsTooLateFromTheNextMicrosecond(t *testing.T) {
	opened, _ := fold(t, dollars(), Command{ID: "open", Type: TypeCreate})
	add := Command{ID: "a", Type: TypeAdd, Amount: MustAmount("1"), NotAfter: noon}
	for after, applied := range map[time.Duration]bool{-time.Hour: true, 0: true, 999 * time.Nanosecond: true, time.Microsecond: false, time.Hour: false} {
		f, err := Fold(Account{Asset: opened}, nil, good(add), noon.Add(after))
		require.NoError(t, err)
		r := f.Results[0]
		require.Equal(t, applied, r.Status == StatusApplied, after)
		require.Equal(t, noon, f.Entries[0].NotAfter)
		if !applied {
			require.Equal(t, ReasonTooLate, r.Reason)
			require.Equal(t, "it is "+timeText(noon.Add(after))+", later than not_after 2026-01-31T12:00:00.123456Z: if it is still wanted, send it under a new id, with a later time", r.Message)
		}
		// A first answer stays, whenever the command comes again.
		again, err := Fold(f.Account, map[string]*Entry{"a": &f.Entries[0]}, good(add), noon.Add(24*time.Hour))
		require.NoError(t, err)
		require.Equal(t, r.Status, again.Results[0].Status)
		require.True(t, again.Results[0].Replayed)
	}

	// A clock that was put back does not bring a command back in time.
	later, err := Fold(Account{Asset: opened}, nil, good(Command{ID: "b", Type: TypeAdd, Amount: MustAmount("1")}), noon.Add(time.Second))
	require.NoError(t, err)
	f, err := Fold(later.Account, nil, good(add), noon.Add(-time.Hour))
	require.NoError(t, err)
	require.Equal(t, ReasonTooLate, f.Results[0].Reason)
}

func TestExpectedVersionIsThatRightBeforeTheCommand(t *testing.T) {
	add := func(id string, version int64) Command {
		return Command{ID: id, Type: TypeAdd, Amount: MustAmount("1"), ExpectedVersion: &version}
	}
	asset, results := fold(t, dollars(), // 1 by itself
		add("zero", 0), add("one", 1), add("one again", 1), add("two", 2),
		Command{ID: "refused", Type: TypeSubtract, Amount: MustAmount("9")}, add("three", 3), add("three", 3))
	var reasons []Reason
	for _, r := range results {
		reasons = append(reasons, r.Reason)
	}
	require.Equal(t, []Reason{ReasonVersionMismatch, "", ReasonVersionMismatch, "", ReasonInsufficientFunds, "", ""}, reasons)
	require.Equal(t, "the wallet has version 2, not the expected_version 1: read it, and decide again under a new id", results[2].Message)
	require.True(t, results[6].Replayed)
	require.Equal(t, int64(4), asset.Version)
}

// TestTheFirstReasonOfARefusalCounts takes away what is wrong with a command, one by one.
func TestTheFirstReasonOfARefusalCounts(t *testing.T) {
	opened, _ := fold(t, dollars(), Command{ID: "open", Type: TypeCreate})
	c := Received{Command: Command{ID: "a", Type: TypeSubtract, Amount: MustAmount("1.005"), NotAfter: noon.Add(-time.Hour), ExpectedVersion: new(int64(7))}, Malformed: "no good"}
	for _, step := range []struct {
		reason Reason
		mend   func()
	}{
		{ReasonMalformed, func() { c.Malformed = "" }},
		{ReasonTooLate, func() { c.Command.NotAfter = noon }},
		{ReasonScaleExceeded, func() { c.Command.Amount = MustAmount("1") }},
		{ReasonVersionMismatch, func() { c.Command.ExpectedVersion = new(int64(1)) }},
		{ReasonInsufficientFunds, func() { c.Command.Type = TypeAdd }},
		{"", func() {}},
	} {
		f, err := Fold(Account{Asset: opened}, nil, []Received{c}, noon)
		require.NoError(t, err)
		require.Equal(t, step.reason, f.Results[0].Reason)
		step.mend()
	}
}

func TestConditionsAreContent(t *testing.T) {
	plain := Command{ID: "a", Type: TypeAdd, Amount: MustAmount("1")}
	hashes := map[Hash]bool{plain.RequestHash(): true}
	for _, change := range []func(*Command){
		func(c *Command) { c.NotAfter = noon },
		func(c *Command) { c.NotAfter = noon.Add(time.Microsecond) },
		func(c *Command) { c.ExpectedVersion = new(int64(0)) },
		func(c *Command) { c.ExpectedVersion = new(int64(5)) },
	} {
		c := plain
		change(&c)
		require.False(t, hashes[c.RequestHash()], "%+v", c)
		hashes[c.RequestHash()] = true
	}
	zoned, utc := plain, plain
	zoned.NotAfter, utc.NotAfter = noon.In(time.FixedZone("", 3600)), noon
	require.Equal(t, utc.RequestHash(), zoned.RequestHash(), "the same moment")
}

// TestARefusedCreateLeavesAWalletThatExists: every journal begins with a create that was
// applied.
func TestARefusedCreateLeavesAWalletThatExists(t *testing.T) {
	for name, c := range map[string]Command{
		"too late":         {ID: "open", Type: TypeCreate, NotAfter: noon.Add(-time.Second)},
		"another version":  {ID: "open", Type: TypeCreate, ExpectedVersion: new(int64(3))},
		"the next version": {ID: "open", Type: TypeCreate, ExpectedVersion: new(int64(1))},
	} {
		f, err := Fold(Account{Asset: dollars()}, nil, good(c, Command{ID: "b", Type: TypeAdd, Amount: MustAmount("1")}), noon)
		require.NoError(t, err)
		require.Len(t, f.Entries, 3, name)
		require.Equal(t, AutoCreate().ID, f.Entries[0].CommandID, name)
		require.Equal(t, StatusUnapplied, f.Results[0].Status, name)
		require.Equal(t, StatusApplied, f.Results[1].Status, name)
	}
	f, err := Fold(Account{Asset: dollars()}, nil, good(Command{ID: "open", Type: TypeCreate, ExpectedVersion: new(int64(0)), NotAfter: noon}), noon)
	require.NoError(t, err)
	require.Len(t, f.Entries, 1)
	require.Equal(t, StatusApplied, f.Results[0].Status)
}

func TestConditionsOfTransactions(t *testing.T) {
	u1, u2 := AssetRef{"u1", "USD"}, AssetRef{"u2", "USD"}
	add := func(to AssetRef) Leg {
		return Leg{AssetRef: to, Command: Command{Type: TypeAdd, Amount: MustAmount("1")}}
	}
	account := func(ref AssetRef) Account {
		return Account{Asset: Asset{UserID: ref.UserID, Currency: ref.Currency, Scale: 2}}
	}
	fates := func(now time.Time, notAfter time.Time, legs ...Leg) (reasons []Reason) {
		transaction := Transaction{ID: "t", Commands: legs, NotAfter: notAfter}
		require.NoError(t, transaction.Validate())
		folded, err := FoldTransaction(account, transaction, now)
		require.NoError(t, err)
		firsts := map[AssetRef]bool{}
		for i, f := range folded {
			reasons = append(reasons, f.Results[0].Reason)
			if !firsts[legs[i].AssetRef] {
				require.Equal(t, StatusApplied, f.Entries[0].Status, "a journal begins with a create")
			}
			firsts[legs[i].AssetRef] = true
		}
		return reasons
	}
	after := noon.Add(time.Microsecond)
	own := add(u2)
	own.NotAfter = noon.Add(time.Hour)
	require.Equal(t, []Reason{"", ""}, fates(noon, noon, add(u1), add(u2)))
	require.Equal(t, []Reason{ReasonTooLate, ReasonTransactionRefused}, fates(after, noon, add(u1), add(u2)))
	require.Equal(t, []Reason{ReasonTransactionRefused, ReasonTooLate}, fates(after, noon, own, add(u1)), "a leg's own time comes first")
	require.Equal(t, []Reason{"", ""}, fates(after, noon, own, own))

	second := add(u1)
	second.ExpectedVersion = new(int64(2)) // after the wallet's creation and the first leg
	require.Equal(t, []Reason{"", ""}, fates(noon, time.Time{}, add(u1), second))
	require.Equal(t, []Reason{ReasonTransactionRefused, ReasonVersionMismatch}, fates(noon, time.Time{}, add(u2), second))

	create := Leg{AssetRef: u1, Command: Command{Type: TypeCreate, ExpectedVersion: new(int64(0))}}
	require.Equal(t, []Reason{ReasonTransactionRefused, ReasonVersionMismatch}, fates(noon, time.Time{}, create, second), "refused with a later leg")
	require.Error(t, Transaction{ID: "t", Commands: []Leg{add(u1), add(u2)}, NotAfter: noon.Add(time.Nanosecond)}.Validate())
}

func TestASchedulesCommandTakesNoConditions(t *testing.T) {
	c := Command{ID: "schedule/a/2026-01-31T12:00:00Z", Type: TypeAdd, Amount: MustAmount("1")}
	require.NoError(t, c.ValidateScheduled())
	c.ExpectedVersion = new(int64(0))
	require.EqualError(t, c.ValidateScheduled(), `a schedule sends the same command at each of its times, so it takes no expected_version, got "0": leave it out`)
	c.NotAfter = noon
	require.ErrorContains(t, c.ValidateScheduled(), "it takes no not_after")
}
