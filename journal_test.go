package wallet

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestTheHashOfAnEntryIsForever pins the encoding: existing journals and receipts contain these
// hashes.
func TestTheHashOfAnEntryIsForever(t *testing.T) {
	rules, _ := RulesOf(1)
	entry := rules.NewEntry(
		Asset{UserID: "zoë", Currency: "USD", Scale: 2, Hash: Hash{1, 2, 3}},
		Command{ID: "order-7", Type: TypeAdd, Amount: MustAmount("12.5"), Description: "a refund", Actor: "ops", Metadata: map[string]string{"b": "2", "a": "1", "ab": ""}},
		Result{Status: StatusApplied, Amount: MustAmount("12.50"), TotalBefore: MustAmount("0.05"),
			TotalAfter: MustAmount("12345678901234567890123456789.55"), HoldBefore: MustAmount("0.00"), HoldAfter: MustAmount("3"), Version: 3, Position: 4},
		time.UnixMicro(1_700_000_000_123_456))
	require.Equal(t, "c88118c7a6513b2459ef781bc9e21b43d2f7dfedfb4bbcc771151cca29a1250a", entry.RequestHash.String())
	require.Equal(t, "0510861985dd08ab06e7e40e5d91645bd9c5cc46f39d3274c9bf936e03f5402e", entry.Hash.String())
	conditional := entry.Command()
	conditional.NotAfter, conditional.ExpectedVersion = time.UnixMicro(1_700_000_000_123_456), new(int64(0))
	require.Equal(t, "21314dc240edc1e08bf2410a40df3820e286c422dd1314528b8ebddc50a57222", conditional.RequestHash().String())
	require.Equal(t, "7f2f2f08148ea244127fa4b0ccbb5c7922534540fc4d717a3ea63f341d0d8b16", rules.NewEntry(Asset{UserID: "u1", Currency: "USD"}, conditional, entry.Result(), time.UnixMicro(0)).Hash.String())
	refusal := rules.NewEntry(Asset{UserID: "u1", Currency: "USD"}, Command{ID: "x"}, Result{Status: StatusUnapplied, Reason: ReasonMalformed, Message: "no", Position: 1}, time.UnixMicro(0))
	require.Equal(t, "f5c8d9bdb2746f669802da3072a73e994a86e26e35afa0338dd03b7682f2fa36", refusal.Hash.String())
}

// TestALaterFieldChangesNoEarlierHash adds a field in a format of its own, next to entries from
// before it.
func TestALaterFieldChangesNoEarlierHash(t *testing.T) {
	fields, known, content := EntryFields, formats, commandFields
	defer func() { EntryFields, formats, commandFields = fields, known, content }()
	before, _ := fold(t, dollars(), Command{ID: "open", Type: TypeCreate})
	f, err := Fold(Account{Asset: before}, nil, good(Command{ID: "a", Type: TypeAdd, Amount: MustAmount("5")}), noon)
	require.NoError(t, err)
	earlier := f.Entries[0]

	var value string // of the entry and of the command
	EntryFields = append(fields[:len(fields):len(fields)], Field{Name: "made_up", Of: func(*Entry) any { return &value }, Optional: true})
	commandFields = append(content[:len(content):len(content)], commandField{name: "made_up", of: func(*Command) any { return &value }, entry: func(*Entry) any { return &value }})
	formats = map[int64]Rules{1: known[1], 2: {format: 2, entry: "wallet-entry-v2", command: "wallet-command-v1", apply: apply}}
	require.Equal(t, earlier.Hash, earlier.ComputeHash())
	require.Equal(t, earlier.RequestHash, earlier.Command().RequestHash())

	value = "set"
	require.NotEqual(t, earlier.Hash, earlier.ComputeHash(), "where it is set it is in the hash")
	require.NotEqual(t, earlier.RequestHash, earlier.Command().RequestHash())
	next := formats[2].NewEntry(f.Account.Asset, Command{ID: "b", Type: TypeAdd, Amount: MustAmount("1")}, Result{Status: StatusApplied, Position: 3}, noon)
	require.Equal(t, int64(2), next.Format)
	require.Equal(t, next.Hash, next.ComputeHash())
	hash := next.Hash
	value = "another"
	require.NotEqual(t, hash, next.ComputeHash())
	next.Format = 1
	require.NotEqual(t, hash, next.ComputeHash())
	next.Format = 3
	require.Zero(t, next.ComputeHash(), "nobody knows the recipe of format 3")
}
