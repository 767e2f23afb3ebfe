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
	after, _, results, err := Fold(a, nil, good(commands...), noon)
	require.NoError(t, err)
	return after, results
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
	asset, entries, first, err := Fold(asset, nil, good(overdraft), noon)
	require.NoError(t, err)
	asset, _ = fold(t, asset, Command{ID: "funds", Type: TypeAdd, Amount: MustAmount("100")})

	after, none, again, err := Fold(asset, map[string]Entry{"o": entries[0]}, good(overdraft), noon.Add(time.Hour))
	require.NoError(t, err)
	require.Empty(t, none)
	require.Equal(t, asset, after)
	want := first[0]
	want.Replayed = true
	require.Equal(t, want, again[0])
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

func TestMissingAssetTakesNothingButCreate(t *testing.T) {
	for _, first := range []Received{
		{Command: Command{ID: "a", Type: TypeAdd, Amount: MustAmount("1")}},
		{Command: Command{ID: "a", Type: TypeSubtract, Amount: MustAmount("1")}},
		{Command: Command{ID: "a", Type: TypeCreate}, Malformed: "no good"},
	} {
		_, entries, results, err := Fold(dollars(), nil, []Received{first}, noon)
		require.ErrorIs(t, err, ErrAssetMissing)
		require.Empty(t, entries)
		require.Empty(t, results)
	}
}

func TestTimeNeverRunsBackwardsAlongAChain(t *testing.T) {
	asset, _ := fold(t, dollars(), Command{ID: "open", Type: TypeCreate})
	_, entries, _, err := Fold(asset, nil, good(Command{ID: "a", Type: TypeAdd, Amount: MustAmount("1")}), noon.Add(-time.Hour))
	require.NoError(t, err)
	require.Equal(t, noon, entries[0].RecordedAt)
}

// TestFoldKeepsItsPromises drives random commands, with repeated ids, other
// content under a used id, overdrafts and malformed ones, in random batches, and
// compares with the plainest possible model.
func TestFoldKeepsItsPromises(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		scale := rapid.Int32Range(0, 4).Draw(t, "scale")
		asset := Asset{UserID: "u1", Currency: "XTS", Scale: scale}
		journal := []Entry{}
		byID := map[string]Entry{}
		sum := Amount{}
		asset, entries, _, err := Fold(asset, nil, good(AutoCreate()), noon)
		require.NoError(t, err)
		journal = append(journal, entries...)

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
			after, entries, results, err := Fold(asset, byID, commands, noon.Add(time.Duration(batch)*time.Second))
			require.NoError(t, err)
			require.Len(t, results, len(commands))
			for i, r := range results { // order kept, one answer each
				require.Equal(t, commands[i].Command.ID, r.CommandID)
			}
			// Folding the same again changes nothing and gives the same answers.
			seen := map[string]Entry{}
			for id, e := range byID {
				seen[id] = e
			}
			for _, e := range entries {
				require.NotContains(t, seen, e.CommandID, "one entry per id")
				seen[e.CommandID] = e
			}
			again, none, repeated, err := Fold(after, seen, commands, noon.Add(time.Hour))
			require.NoError(t, err)
			require.Empty(t, none)
			require.Equal(t, after, again)
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

func TestEveryColumnIsInTheHash(t *testing.T) {
	asset, _ := fold(t, dollars(), Command{ID: "open", Type: TypeCreate})
	_, entries, _, err := Fold(asset, nil, good(Command{ID: "a", Type: TypeAdd, Amount: MustAmount("5"), Description: "d", Actor: "x",
		Metadata: map[string]string{"k": "v"}}), noon)
	require.NoError(t, err)
	for name, change := range map[string]func(*Entry){
		"user_id":      func(e *Entry) { e.UserID = "u2" },
		"currency":     func(e *Entry) { e.Currency = "EUR" },
		"position":     func(e *Entry) { e.Position++ },
		"command_id":   func(e *Entry) { e.CommandID = "b" },
		"type":         func(e *Entry) { e.Type = TypeSubtract },
		"amount":       func(e *Entry) { e.Amount = MustAmount("5.01") },
		"decimals":     func(e *Entry) { e.Amount = MustAmount("5.000") },
		"request_hash": func(e *Entry) { e.RequestHash[31]++ },
		"status":       func(e *Entry) { e.Status = StatusUnapplied },
		"reason":       func(e *Entry) { e.Reason = ReasonMalformed },
		"message":      func(e *Entry) { e.Message = "m" },
		"total_before": func(e *Entry) { e.TotalBefore = MustAmount("1.00") },
		"total_after":  func(e *Entry) { e.TotalAfter = MustAmount("6.00") },
		"hold_before":  func(e *Entry) { e.HoldBefore = MustAmount("1.00") },
		"hold_after":   func(e *Entry) { e.HoldAfter = MustAmount("1.00") },
		"version":      func(e *Entry) { e.Version++ },
		"description":  func(e *Entry) { e.Description = "dx" },
		"actor":        func(e *Entry) { e.Actor = "" },
		"bleeding":     func(e *Entry) { e.Description, e.Actor = "dx", "" },
		"metadata":     func(e *Entry) { e.Metadata = map[string]string{"k": "w"} },
		"recorded_at":  func(e *Entry) { e.RecordedAt = e.RecordedAt.Add(time.Microsecond) },
		"prev_hash":    func(e *Entry) { e.PrevHash[0]++ },
	} {
		changed := entries[0]
		change(&changed)
		require.NotEqual(t, entries[0].Hash, changed.ComputeHash(), name)
	}
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
