package wallet

import (
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

var noon = time.Date(2026, 1, 31, 12, 0, 0, 123456000, time.UTC)

func dollars() Asset { return Asset{UserID: "u1", Currency: "USD", Scale: 2} }

func good(commands ...Command) []Received {
	received := make([]Received, len(commands))
	for i, c := range commands {
		received[i].Command = c
	}
	return received
}

func fold(t require.TestingT, a Asset, commands ...Command) (Asset, []Result) {
	f, err := Fold(Account{Asset: a}, nil, good(commands...), noon)
	require.NoError(t, err)
	return f.Account.Asset, f.Results
}

func TestFoldReadsLikeItsSpecification(t *testing.T) {
	create := Command{ID: "open", Type: TypeCreate}
	add := func(id, amount string) Command { return Command{ID: id, Type: TypeAdd, Amount: MustAmount(amount)} }
	subtract := func(id, amount string) Command {
		return Command{ID: id, Type: TypeSubtract, Amount: MustAmount(amount)}
	}
	asset := dollars()
	position := int64(0)
	for _, row := range []struct {
		name          string
		command       Command
		status        Status
		reason        Reason
		before, after string
		version       int64
	}{
		{"create opens with zero", create, StatusApplied, "", "0.00", "0.00", 1},
		{"add adds", add("a", "10.5"), StatusApplied, "", "0.00", "10.50", 2},
		{"subtract subtracts", subtract("b", "0.50"), StatusApplied, "", "10.50", "10.00", 3},
		{"not more than is there", subtract("c", "10.01"), StatusUnapplied, ReasonInsufficientFunds, "10.00", "10.00", 0},
		{"all of it", subtract("d", "10"), StatusApplied, "", "10.00", "0.00", 4},
		{"nothing from nothing", subtract("e", "0.01"), StatusUnapplied, ReasonInsufficientFunds, "0.00", "0.00", 0},
		{"another create", Command{ID: "open-2", Type: TypeCreate}, StatusUnapplied, ReasonAlreadyExists, "0.00", "0.00", 0},
		{"half a cent", add("f", "1.005"), StatusUnapplied, ReasonScaleExceeded, "0.00", "0.00", 0},
		{"then a whole one", add("g", "1.01"), StatusApplied, "", "0.00", "1.01", 5},
	} {
		position++
		var results []Result
		asset, results = fold(t, asset, row.command)
		r := results[0]
		require.Equal(t, row.status, r.Status, row.name)
		require.Equal(t, row.reason, r.Reason, row.name)
		require.Equal(t, row.before, r.TotalBefore.String(), row.name)
		require.Equal(t, row.after, r.TotalAfter.String(), row.name)
		require.Equal(t, row.version, r.Version, row.name)
		require.Equal(t, position, r.Position, row.name)
		require.Equal(t, asset.Hash, r.Hash, row.name)
		require.Equal(t, row.reason == "", r.Message == "", row.name)
	}
}

func TestSubtractLeavesHeldFunds(t *testing.T) {
	asset := dollars()
	asset.Version, asset.Position, asset.Total, asset.Hold = 1, 1, MustAmount("10.00"), MustAmount("4.00")
	asset, results := fold(t, asset,
		Command{ID: "a", Type: TypeSubtract, Amount: MustAmount("6.01")},
		Command{ID: "b", Type: TypeSubtract, Amount: MustAmount("6.00")})
	require.Equal(t, ReasonInsufficientFunds, results[0].Reason)
	require.Equal(t, "cannot subtract 6.01 USD: 6.00 available (total 10.00, hold 4.00)", results[0].Message)
	require.Equal(t, StatusApplied, results[1].Status)
	require.Equal(t, "4.00", asset.Total.String())
	require.Equal(t, "4.00", results[1].HoldAfter.String())
	require.Equal(t, "0.00", asset.Available().String())
}

func TestRefusalIsFinalForItsID(t *testing.T) {
	asset, _ := fold(t, dollars(), Command{ID: "open", Type: TypeCreate})
	overdraft := Command{ID: "o", Type: TypeSubtract, Amount: MustAmount("5")}
	first, err := Fold(Account{Asset: asset}, nil, good(overdraft), noon)
	require.NoError(t, err)
	asset, _ = fold(t, first.Account.Asset, Command{ID: "funds", Type: TypeAdd, Amount: MustAmount("100")})

	again, err := Fold(Account{Asset: asset}, map[string]*Entry{"o": &first.Entries[0]}, good(overdraft), noon.Add(time.Hour))
	require.NoError(t, err)
	require.Empty(t, again.Entries)
	require.Equal(t, asset, again.Account.Asset)
	want := first.Results[0]
	want.Replayed = true
	require.Equal(t, want, again.Results[0])
}

func TestIDWithOtherContentIsAConflictWithoutAnEntry(t *testing.T) {
	asset, results := fold(t, dollars(),
		Command{ID: "open", Type: TypeCreate},
		Command{ID: "a", Type: TypeAdd, Amount: MustAmount("5")},
		Command{ID: "a", Type: TypeAdd, Amount: MustAmount("5.00")},
		Command{ID: "a", Type: TypeAdd, Amount: MustAmount("6")},
		Command{ID: "a", Type: TypeSubtract, Amount: MustAmount("5")})
	require.True(t, results[2].Replayed)
	for _, r := range results[3:] {
		require.Equal(t, ReasonIDConflict, r.Reason)
		require.Contains(t, r.Message, `id "a" was used before`)
		require.Zero(t, r.Position)
		require.False(t, r.Replayed)
	}
	require.Equal(t, int64(2), asset.Position)
	require.Equal(t, "5.00", asset.Total.String())
}

func TestTheFirstCommandOpensItsWallet(t *testing.T) {
	auto := AutoCreate()
	for _, first := range []Received{
		{Command: Command{ID: "a", Type: TypeAdd, Amount: MustAmount("1")}},
		{Command: Command{ID: "a", Type: TypeSubtract, Amount: MustAmount("1")}},
		{Command: Command{ID: "a", Type: TypeCreate}, Malformed: "no good"},
	} {
		f, err := Fold(Account{Asset: dollars()}, nil, []Received{first}, noon)
		require.NoError(t, err)
		require.Len(t, f.Entries, 2)
		require.Equal(t, auto.ID, f.Entries[0].CommandID)
		require.Equal(t, StatusApplied, f.Entries[0].Status)
		require.Len(t, f.Results, 1, "the service's own entry answers nobody")
		require.Equal(t, "a", f.Results[0].CommandID)
		require.Equal(t, int64(2), f.Results[0].Position)
	}
	f, err := Fold(Account{Asset: dollars()}, nil, good(Command{ID: "open", Type: TypeCreate}), noon)
	require.NoError(t, err)
	require.Len(t, f.Entries, 1)
}

func TestAJournalOfALaterFormatIsNotWrittenTo(t *testing.T) {
	asset, _ := fold(t, dollars(), Command{ID: "open", Type: TypeCreate})
	asset.Format = CurrentFormat + 1
	_, err := Fold(Account{Asset: asset}, nil, nil, noon)
	var unknown *UnknownFormatError
	require.ErrorAs(t, err, &unknown)
	asset.Format = CurrentFormat
	_, err = Fold(Account{Asset: asset}, map[string]*Entry{"a": {CommandID: "a", Format: CurrentFormat + 1}}, good(Command{ID: "a", Type: TypeCreate}), noon)
	require.ErrorAs(t, err, &unknown)
}

func TestTimeNeverRunsBackwardsAlongAChain(t *testing.T) {
	asset, _ := fold(t, dollars(), Command{ID: "open", Type: TypeCreate})
	f, err := Fold(Account{Asset: asset}, nil, good(Command{ID: "a", Type: TypeAdd, Amount: MustAmount("1")}), noon.Add(-time.Hour))
	require.NoError(t, err)
	require.Equal(t, noon, f.Entries[0].RecordedAt)
}

// TestFoldKeepsItsPromises runs random commands in random batches, with repeated ids, different
// content under a used id, overdrafts and malformed commands, and compares the outcome with the
// simplest possible model.
func TestFoldKeepsItsPromises(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		scale := rapid.Int32Range(0, 4).Draw(t, "scale")
		asset := Asset{UserID: "u1", Currency: "XTS", Scale: scale}
		journal := []Entry{}
		byID := map[string]*Entry{}
		sum := Amount{}
		opened, err := Fold(Account{Asset: asset}, nil, nil, noon)
		require.NoError(t, err)
		asset, journal = opened.Account.Asset, append(journal, opened.Entries...)

		for batch := range rapid.IntRange(1, 6).Draw(t, "batches") {
			commands := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) Received {
				return Received{
					Command: Command{
						ID:          fmt.Sprint("c", rapid.IntRange(0, 12).Draw(t, "id")),
						Type:        rapid.SampledFrom([]CommandType{TypeAdd, TypeSubtract, TypeSubtract, TypeCreate}).Draw(t, "type"),
						Amount:      MustAmount(rapid.StringMatching(`[1-9][0-9]?(\.[0-9]{1,5})?`).Draw(t, "amount")),
						Description: rapid.SampledFrom([]string{"", "", "x"}).Draw(t, "description"),
					},
					Malformed: rapid.SampledFrom([]string{"", "", "", "", "bad"}).Draw(t, "malformed"),
				}
			}), 1, 8).Draw(t, "commands")
			for i := range commands {
				if commands[i].Command.Type == TypeCreate {
					commands[i].Command.Amount = Amount{}
				}
			}
			folded, err := Fold(Account{Asset: asset}, byID, commands, noon.Add(time.Duration(batch)*time.Second))
			require.NoError(t, err)
			after, entries, results := folded.Account.Asset, folded.Entries, folded.Results
			require.Len(t, results, len(commands))
			for i, r := range results { // one answer each, in order
				require.Equal(t, commands[i].Command.ID, r.CommandID)
			}
			// Folding the same commands again changes nothing and gives the same answers.
			seen := map[string]*Entry{}
			for id, e := range byID {
				seen[id] = e
			}
			for _, e := range entries {
				require.NotContains(t, seen, e.CommandID, "one entry per id")
				seen[e.CommandID] = &e
			}
			again, err := Fold(Account{Asset: after}, seen, commands, noon.Add(time.Hour))
			require.NoError(t, err)
			require.Empty(t, again.Entries)
			require.Equal(t, after, again.Account.Asset)
			repeated := again.Results
			for i := range results {
				if results[i].Reason != ReasonIDConflict {
					results[i].Replayed = true
					require.Equal(t, results[i], repeated[i])
				} else {
					require.Equal(t, ReasonIDConflict, repeated[i].Reason)
				}
			}
			asset, byID = after, seen
			journal = append(journal, entries...)
		}

		prev, total, version := Hash{}, Amount{}, int64(0)
		for i, e := range journal {
			require.Equal(t, int64(i+1), e.Position)
			require.Equal(t, prev, e.PrevHash)
			require.Equal(t, e.ComputeHash(), e.Hash)
			prev = e.Hash
			require.Zero(t, e.TotalBefore.Cmp(total), "totals chain")
			require.False(t, e.TotalAfter.IsNegative())
			if e.Status == StatusUnapplied {
				require.Zero(t, e.TotalAfter.Cmp(e.TotalBefore))
				require.Zero(t, e.Version)
				continue
			}
			version++
			require.Equal(t, version, e.Version)
			switch e.Type {
			case TypeAdd:
				sum = sum.Add(e.Amount)
			case TypeSubtract:
				sum = sum.Sub(e.Amount)
			}
			total = e.TotalAfter
			require.Zero(t, total.Cmp(sum), "total = sum of applied amounts")
		}
		require.Zero(t, asset.Total.Cmp(sum))
		require.Equal(t, prev, asset.Hash)
		require.Equal(t, version, asset.Version)
	})
}

// TestEveryFieldIsInTheHash changes each field of EntryFields in turn.
func TestEveryFieldIsInTheHash(t *testing.T) {
	asset, _ := fold(t, dollars(), Command{ID: "open", Type: TypeCreate})
	f, err := Fold(Account{Asset: asset}, nil, good(Command{ID: "a", Type: TypeAdd, Amount: MustAmount("5"), Description: "d", Actor: "x",
		Metadata: map[string]string{"k": "v"}}), noon)
	require.NoError(t, err)
	entry := f.Entries[0]
	require.Equal(t, entry.Hash, entry.ComputeHash())
	for _, field := range EntryFields {
		if field.Name == "hash" {
			continue
		}
		changed := entry
		switch v := field.Of(&changed).(type) {
		case *string:
			*v += "x"
		case *int64:
			*v++
		case **int64:
			require.Nil(t, *v)
			*v = new(int64(0)) // not the same as none
		case *bool:
			*v = !*v
		case *Hash:
			v[31]++
		case *Amount:
			*v = v.Add(MustAmount("1.00"))
		case *time.Time:
			*v = v.Add(time.Microsecond)
		case *map[string]string:
			*v = map[string]string{"k": "w"}
		default:
			t.Fatalf("field %s is a %T", field.Name, v)
		}
		require.NotEqual(t, entry.Hash, changed.ComputeHash(), field.Name)
	}
	decimals := entry
	decimals.Amount = MustAmount("5.000")
	require.NotEqual(t, entry.Hash, decimals.ComputeHash())
	bleeding := entry
	bleeding.Description, bleeding.Actor = "dx", ""
	require.NotEqual(t, entry.Hash, bleeding.ComputeHash())
}

func TestResultJSONIsTheContract(t *testing.T) {
	asset, _ := fold(t, dollars(), Command{ID: "open", Type: TypeCreate})
	_, results := fold(t, asset, Command{ID: "a", Type: TypeAdd, Amount: MustAmount("5")})
	results[0].Hash = Hash{0xab}
	data, err := json.Marshal(results[0])
	require.NoError(t, err)
	require.JSONEq(t, `{"command_id":"a","type":"add","status":"applied","amount":"5.00",
		"total_before":"0.00","total_after":"5.00","hold_before":"0.00","hold_after":"0.00",
		"version":2,"position":2,"hash":"ab00000000000000000000000000000000000000000000000000000000000000",
		"recorded_at":"2026-01-31T12:00:00.123456Z","replayed":false}`, string(data))
	var back Result
	require.NoError(t, json.Unmarshal(data, &back))
	require.Equal(t, results[0].Hash, back.Hash)
	require.Equal(t, "5.00", back.TotalAfter.String())
}

// TestFoldRefusesRowsThatContradictEachOther has an error name them: a panic would end the
// process of whoever calls the fold outside of an activity, and of the next one.
func TestFoldRefusesRowsThatContradictEachOther(t *testing.T) {
	held := Asset{UserID: "u1", Currency: "USD", Scale: 2, Version: 3, Position: 3, Total: MustAmount("100"), Hold: MustAmount("80"), OpenHolds: 1}
	h := Hold{ID: "h", State: HoldOpen, Amount: MustAmount("81"), Captured: MustAmount("0"), Released: MustAmount("0"), ExpiresAt: noon}
	fine := held
	fine.Total = MustAmount("100.005")
	for name, row := range map[string]struct {
		account  Account
		commands []Received
		problem  string
	}{
		"a hold that is due":      {Account{Asset: held, Holds: map[string]Hold{"h": h}}, nil, "would break 0 <= hold -1.00 + granted 0 <= total 100.00"},
		"a hold that is captured": {Account{Asset: held, Holds: map[string]Hold{"h": h}}, good(Command{ID: "c", Type: TypeCapture, HoldID: "h"}), "would break 0 <= hold -1.00"},
		"too many decimals":       {Account{Asset: fine}, good(Command{ID: "a", Type: TypeAdd, Amount: MustAmount("1")}), "total 100.005 or hold 80.00 has more than 2 decimals"},
	} {
		t.Run(name, func(t *testing.T) {
			f, err := Fold(row.account, nil, row.commands, noon)
			var inconsistent *InconsistentError
			require.ErrorAs(t, err, &inconsistent)
			require.ErrorContains(t, err, row.problem)
			require.ErrorContains(t, err, `run "wallet verify"`)
			require.Empty(t, f)
		})
	}
}
