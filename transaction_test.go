package wallet

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func legOf(user string, t CommandType, amount string) Leg {
	l := Leg{AssetRef: AssetRef{UserID: user, Currency: "USD"}, Command: Command{Type: t}}
	if amount != "" {
		l.Amount = MustAmount(amount)
	}
	return l
}

// TestATransactionKeepsItsPromises runs random ones over few wallets: all legs are applied or
// none is, one leg is the cause, nothing is made or lost, and the chains go on.
func TestATransactionKeepsItsPromises(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		accounts := map[AssetRef]Account{}
		for _, user := range []string{"a", "b", "c"} {
			ref := AssetRef{UserID: user, Currency: "USD"}
			accounts[ref] = Account{Asset: Asset{UserID: user, Currency: "USD", Scale: 2}}
			if rapid.Bool().Draw(t, "exists") {
				f, err := Fold(accounts[ref], nil, good(Command{ID: "funds", Type: TypeAdd, Amount: MustAmount("10")}, Command{ID: "h", Type: TypeHold, Amount: MustAmount("4"), ExpiresIn: "1s"}), noon)
				require.NoError(t, err)
				accounts[ref] = f.Account
			}
		}
		tx := Transaction{ID: "t", MustBalance: true}
		for range rapid.IntRange(1, 5).Draw(t, "pairs") {
			user := rapid.SampledFrom([]string{"a", "b", "c"})
			amount := rapid.SampledFrom([]string{"1", "3", "7", "0.5", "0.001"}).Draw(t, "amount")
			take := legOf(user.Draw(t, "from"), TypeSubtract, amount)
			if rapid.IntRange(0, 3).Draw(t, "capture") == 0 {
				take.Type, take.HoldID = TypeCapture, "h"
			}
			tx.Commands = append(tx.Commands, take, legOf(user.Draw(t, "to"), TypeAdd, amount))
			if rapid.Bool().Draw(t, "hold") {
				tx.Commands = append(tx.Commands, legOf(user.Draw(t, "holder"), TypeHold, "2"))
			}
		}
		require.NoError(t, tx.Validate())
		later := noon.AddDate(0, 0, rapid.IntRange(0, 1).Draw(t, "days"))
		folded, err := FoldTransaction(func(ref AssetRef) Account { return accounts[ref] }, tx, later)
		require.NoError(t, err)
		require.Len(t, folded, len(tx.Commands))

		applied, causes, change := 0, 0, Amount{}
		for i, f := range folded {
			ref := tx.Commands[i].AssetRef
			before := accounts[ref]
			for _, e := range f.Entries {
				require.Equal(t, before.Position+1, e.Position)
				require.Equal(t, before.Hash, e.PrevHash)
				require.Equal(t, e.Hash, e.ComputeHash())
				change = change.Add(e.TotalAfter).Sub(e.TotalBefore)
				before.Asset = before.Asset.After(e)
			}
			accounts[ref] = f.Account
			last := f.Entries[len(f.Entries)-1]
			require.Equal(t, LegRef{"t", int64(i + 1), int64(len(tx.Commands))}, last.LegRef)
			require.Equal(t, LegID("t", int64(i+1)), last.CommandID)
			switch r := f.Results[0]; {
			case r.Status == StatusApplied:
				applied++
			case r.Reason != ReasonTransactionRefused:
				causes++
				require.Equal(t, r.TotalBefore, r.TotalAfter)
			}
		}
		require.True(t, applied == len(folded) && causes == 0 || applied == 0 && causes == 1, "%d applied, %d causes", applied, causes)
		require.True(t, change.IsZero(), "value was made or lost: %s", change)
		for _, a := range accounts {
			require.False(t, a.Hold.Cmp(a.Total) > 0)
		}
	})
}

func TestTransactionsThatAreRefusedBeforeTheyLeaveATrace(t *testing.T) {
	two := `{"user_id":"a","currency":"USD","type":"subtract","amount":"1"},{"user_id":"b","currency":"USD","type":"add","amount":"1"}`
	for input, why := range map[string]string{
		`{"commands":[` + two + `]}`:                                         "id is empty or missing",
		`{"id":"_t","commands":[` + two + `]}`:                               "begins with an underscore",
		`{"id":"` + strings.Repeat("ü", 101) + `","commands":[` + two + `]}`: "has 101 characters: at most 100",
		`{"id":"t"}`: "has 0 commands: send 2 to 100",
		`{"id":"t","commands":[` + two[:len(two)/2] + `]}`:                                                                                 "is not JSON",
		`{"id":"t","legs":2,"commands":[` + two + `]}`:                                                                                     `no field "legs"`,
		`{"id":"t","commands":[` + strings.Replace(two, `"amount"`, `"leg":1,"amount"`, 1) + `]}`:                                          `no field "commands/0/leg"`,
		`{"id":"t","commands":[` + strings.Replace(two, `"amount":"1"`, `"amount":"0"`, 1) + `]}`:                                          "leg 1 of the transaction: amount",
		`{"id":"t","commands":[` + two + `,{"user_id":"a","currency":"USD","type":"expire","hold_id":"h"}]}`:                               `type "expire" is unknown`,
		`{"id":"t","commands":[` + two + `,{"user_id":"","currency":"USD","type":"create"}]}`:                                              "leg 3 of the transaction: user_id is empty",
		`{"id":"t","commands":[` + two + `,{"user_id":"a","currency":"USD","type":"create","reply_to":{"workflow_id":"w","signal":"s"}}]}`: "takes no reply_to",
		`{"id":"t","must_balance":true,"commands":[` + strings.Replace(two, `"1"`, `"1.5"`, 1) + `]}`:                                      "in USD its commands take 1.5 and give 1",
		`{"id":"t","must_balance":true,"commands":[` + two + `,{"user_id":"a","currency":"USD","type":"capture","hold_id":"h"}]}`:          "capture without an amount may take anything",
		`{"id":"t","actor":"a\u0000","commands":[` + two + `]}`:                                                                            "control character",
		`{"id":"t","id":"u","commands":[` + two + `]}`:                                                                                     "given twice",
		`{"id":"t","commands":[` + two + `,{"user_id":"a\ud800","currency":"USD","type":"create"}]}`:                                       "is not JSON",
	} {
		_, err := DecodeTransaction([]byte(input), "")
		require.ErrorAs(t, err, new(*InvalidError), input)
		require.ErrorContains(t, err, why, input)
	}
}

// TestTheLargestTransactionFitsAPayload writes one as an encoder does that escapes all but ASCII.
func TestTheLargestTransactionFitsAPayload(t *testing.T) {
	large := Transaction{ID: strings.Repeat("é", MaxTransactionIDCharacters)}
	for range MaxLegs {
		l := legOf(strings.Repeat("é", MaxIDCharacters), TypeHold, strings.Repeat("9", MaxAmountDigits))
		l.HoldID, l.Actor, l.Description = strings.Repeat("é", MaxIDCharacters), strings.Repeat("é", MaxIDCharacters), strings.Repeat("é", MaxDescriptionCharacters)
		l.Metadata = map[string]string{"k": strings.Repeat("é", (MaxMetadataBytes-8)/2)}
		large.Commands = append(large.Commands, l)
	}
	require.NoError(t, large.Validate())
	encoded, err := json.Marshal(large)
	require.NoError(t, err)
	escaped := len(encoded) + 4*strings.Count(string(encoded), "é") // \u00e9 instead of two bytes
	require.Less(t, escaped, MaxUpdateBytes)
}

// FuzzDecodeTransaction: what is accepted is kept, and has one hash.
func FuzzDecodeTransaction(f *testing.F) {
	f.Add([]byte(`{"id":"t","must_balance":true,"metadata":{"a":"b"},"commands":[{"user_id":"a","currency":"USD","type":"subtract","amount":"1"},{"user_id":"b","currency":"USD","type":"add","amount":"1.0"}]}`))
	f.Add([]byte(`{"id":"t","commands":[{"user_id":"a","currency":"USD","type":"hold","amount":"1","expires_in":"1h"},{"user_id":"b","currency":"USD","type":"create"}]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		tx, err := DecodeTransaction(data, "from a schedule")
		if err != nil {
			require.ErrorAs(t, err, new(*InvalidError))
			return
		}
		require.LessOrEqual(t, len(TransactionWorkflowID(tx.ID)), maxWorkflowIDBytes)
		encoded, err := json.Marshal(tx)
		require.NoError(t, err)
		again, err := DecodeTransaction(encoded, "")
		require.NoError(t, err, "%s", encoded)
		require.Equal(t, tx.RequestHash(), again.RequestHash())
		for i, leg := range tx.Legs() {
			require.Equal(t, fmt.Sprintf("_transaction/%s/%d", tx.ID, i+1), leg.ID)
		}
	})
}

func TestATransactionReversesLegsOfOthersOnly(t *testing.T) {
	of := func(id, original string) error {
		reversal := Leg{AssetRef: AssetRef{"u1", "USD"}, Command: Command{Type: TypeReverse, OriginalID: original}}
		return Transaction{ID: id, Commands: []Leg{reversal, {AssetRef: AssetRef{"u2", "USD"}, Command: Command{Type: TypeAdd, Amount: MustAmount("1")}}}}.Validate()
	}
	require.NoError(t, of("2026", LegID("2026/05", 1)), "an id may begin with another")
	require.ErrorContains(t, of("2026", LegID("2026", 2)), "is a command of the same transaction")
}
