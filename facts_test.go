package wallet

import (
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// TestFactsGiveTheResultsAgain folds a history of batches with retries, conflicts and refusals,
// sends the results as JSON, and reads them back.
func TestFactsGiveTheResultsAgain(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		account := Account{Asset: Asset{UserID: "u1", Currency: "USD", Scale: rapid.Int32Range(0, 3).Draw(t, "scale")}}
		journal := map[string]*Entry{}
		now := time.UnixMicro(1_000_000).UTC()
		fresh := 0
		for range rapid.IntRange(1, 5).Draw(t, "batches") {
			now = now.Add(time.Duration(rapid.IntRange(0, 3).Draw(t, "passed")) * time.Microsecond)
			received := make([]Received, rapid.IntRange(1, 8).Draw(t, "commands"))
			for i := range received {
				fresh++
				c := &received[i].Command
				c.ID = fmt.Sprint("c", rapid.SampledFrom([]int{fresh, fresh, fresh, rapid.IntRange(1, fresh).Draw(t, "used")}).Draw(t, "id"))
				c.Type = rapid.SampledFrom([]CommandType{TypeCreate, TypeAdd, TypeSubtract}).Draw(t, "type")
				if c.Type != TypeCreate {
					c.Amount = MustAmount(rapid.SampledFrom([]string{"1", "2.5", "1.005", "40", "7.00"}).Draw(t, "amount"))
				}
				if rapid.IntRange(0, 3).Draw(t, "with conditions") == 0 {
					c.NotAfter = time.UnixMicro(1_000_000 + rapid.Int64Range(0, 10).Draw(t, "not after")).UTC()
					c.ExpectedVersion = new(rapid.Int64Range(0, 10).Draw(t, "expected version"))
				}
				if rapid.IntRange(0, 9).Draw(t, "malformed") == 0 {
					received[i].Malformed = "no good"
				}
			}
			f, err := Fold(account, journal, received, now)
			require.NoError(t, err)
			account = f.Account
			for _, e := range f.Entries {
				journal[e.CommandID] = &e
			}
			encoded, err := json.Marshal(NewFacts(received, f.Results))
			require.NoError(t, err)
			var facts Facts
			require.NoError(t, json.Unmarshal(encoded, &facts))
			again, err := facts.Results(received)
			require.NoError(t, err)
			require.Equal(t, asJSON(t, f.Results), asJSON(t, again))

			_, err = facts.Results(received[1:])
			require.ErrorIs(t, err, errFacts)
			_, err = facts.Results(append(received, received[0]))
			require.ErrorIs(t, err, errFacts)
		}
	})
}

func asJSON(t require.TestingT, value any) string {
	encoded, err := json.Marshal(value)
	require.NoError(t, err)
	return string(encoded)
}

// TestFactsAreForever reads facts from existing histories: even if the rules or their wording
// change, they must give the answers that were given then.
func TestFactsAreForever(t *testing.T) {
	commands := []Command{
		{ID: "a", Type: TypeAdd, Amount: MustAmount("12.5")},
		{ID: "b", Type: TypeSubtract, Amount: MustAmount("1000")},
		{ID: "c", Type: "unheard_of", Amount: MustAmount("3")},
		{ID: "d", Type: TypeAdd, Amount: MustAmount("1")},
		{ID: "e", Type: TypeHold, Amount: MustAmount("20")},
		{ID: "f", Type: TypeCapture, HoldID: "e", Amount: MustAmount("20")},
	}
	results := []Result{
		{CommandID: "a", Type: TypeAdd, Status: StatusApplied, Amount: MustAmount("12.50"), TotalBefore: MustAmount("0.00"), TotalAfter: MustAmount("12.50"),
			HoldBefore: MustAmount("0.00"), HoldAfter: MustAmount("0.00"), Version: 2, Position: 2, Hash: Hash{1}, RecordedAt: noon},
		{CommandID: "b", Type: TypeSubtract, Status: StatusUnapplied, Reason: "a_reason_of_then", Message: "in words of then", Amount: MustAmount("1000.00"),
			TotalBefore: MustAmount("12.50"), TotalAfter: MustAmount("12.50"), HoldBefore: MustAmount("0.00"), HoldAfter: MustAmount("0.00"), Position: 3, Hash: Hash{2}, RecordedAt: noon},
		{CommandID: "c", Type: "unheard_of", Status: StatusApplied, Amount: MustAmount("3.00"), TotalBefore: MustAmount("12.50"), TotalAfter: MustAmount("99.00"),
			HoldBefore: MustAmount("0.00"), HoldAfter: MustAmount("5.00"), Version: 3, Position: 4, Hash: Hash{3}, RecordedAt: noon},
		{CommandID: "d", Type: TypeAdd, Status: StatusApplied, Amount: MustAmount("1.00"), TotalBefore: MustAmount("99.00"), TotalAfter: MustAmount("100.00"),
			HoldBefore: MustAmount("5.00"), HoldAfter: MustAmount("5.00"), Version: 4, Position: 5, Hash: Hash{4}, RecordedAt: noon},
		{CommandID: "e", Type: TypeHold, Status: StatusApplied, Amount: MustAmount("20.00"), TotalBefore: MustAmount("100.00"), TotalAfter: MustAmount("100.00"),
			HoldBefore: MustAmount("5.00"), HoldAfter: MustAmount("25.00"), HoldID: "e", HoldState: HoldOpen, HoldLeft: MustAmount("20.00"), Version: 5, Position: 6, Hash: Hash{5}, RecordedAt: noon},
		{CommandID: "f", Type: TypeCapture, Status: StatusApplied, Amount: MustAmount("20.00"), TotalBefore: MustAmount("100.00"), TotalAfter: MustAmount("80.00"),
			HoldBefore: MustAmount("25.00"), HoldAfter: MustAmount("5.00"), HoldID: "e", HoldState: HoldCaptured, Version: 6, Position: 7, Hash: Hash{6}, RecordedAt: noon},
	}
	const stored = `"hQEAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA4w8FMTIuNTAEMC4wMAUxMi41MAQwLjAwBDAuMDABMgEyEDE3Njk4NjA4MDAxMjM0NTaEAgAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAMEGFfcmVhc29uX29mX3RoZW4QaW4gd29yZHMgb2YgdGhlboUDAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAMFOTkuMDAENS4wMA0EAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAKUFAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAIBgBG9wZW4FMjAuMDDVBgAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAACAIAhjYXB0dXJlZA=="`
	var facts Facts
	require.NoError(t, json.Unmarshal([]byte(stored), &facts), asJSON(t, FactsOf(commands, results)))
	read, err := facts.ResultsFor(commands)
	require.NoError(t, err)
	require.Equal(t, asJSON(t, results), asJSON(t, read))
	require.Equal(t, facts, FactsOf(commands, results))
}

// TestFactsOfALaterVersionCanBeRead sets a bit that this build does not know.
func TestFactsOfALaterVersionCanBeRead(t *testing.T) {
	known := resultFields
	defer func() { resultFields = known }()
	command := Command{ID: "a", Type: TypeAdd, Amount: MustAmount("1")}
	result := Result{CommandID: "a", Type: TypeAdd, Status: StatusApplied, Amount: MustAmount("1"), TotalAfter: MustAmount("1"), Version: 1, Position: 1, RecordedAt: noon}
	later := "of a later version"
	resultFields = append(resultFields[:len(resultFields):len(resultFields)], func(r *Result) any {
		if r.RecordedAt.IsZero() {
			return new(string) // as in the expected result
		}
		return &later
	})
	facts := FactsOf([]Command{command}, []Result{result})
	require.Contains(t, string(facts), later)
	resultFields = known
	read, err := facts.ResultsFor([]Command{command})
	require.NoError(t, err)
	require.Equal(t, asJSON(t, []Result{result}), asJSON(t, read))
}

func FuzzFacts(f *testing.F) {
	f.Add([]byte{1, 0}, "a", "add", "1")
	f.Add([]byte{0, 255, 255, 3, 1, '7'}, "a", "", "")
	f.Fuzz(func(t *testing.T, data []byte, id, kind, amount string) {
		c := Command{ID: id, Type: CommandType(kind)}
		if a, err := ParseAmount(amount); err == nil {
			c.Amount = a
		}
		results, err := Facts(data).ResultsFor([]Command{c})
		if err != nil {
			require.ErrorIs(t, err, errFacts)
			return
		}
		again, err := FactsOf([]Command{c}, results).ResultsFor([]Command{c})
		require.NoError(t, err)
		require.Equal(t, asJSON(t, results), asJSON(t, again))
	})
}

// BenchmarkFacts uses a batch of 500. It measures how long a worker takes to write and read its
// answers, and how many bytes each takes.
func BenchmarkFacts(b *testing.B) {
	commands, received := make([]Command, MaxBatch), make([]Received, MaxBatch)
	for i := range commands {
		commands[i] = Command{ID: fmt.Sprint("order-", i), Type: TypeAdd, Amount: MustAmount("12.50")}
		received[i].Command = commands[i]
	}
	f, err := Fold(Account{Asset: Asset{UserID: "u1", Currency: "USD", Scale: 2, Version: 1, Position: 1}}, nil, received, noon)
	require.NoError(b, err)
	b.Run("write", func(b *testing.B) {
		for b.Loop() {
			FactsOf(commands, f.Results)
		}
		b.ReportMetric(float64(len(FactsOf(commands, f.Results)))/MaxBatch, "bytes/command")
	})
	b.Run("read", func(b *testing.B) {
		facts := FactsOf(commands, f.Results)
		for b.Loop() {
			_, err := facts.ResultsFor(commands)
			require.NoError(b, err)
		}
	})
	b.Run("fold", func(b *testing.B) { // for comparison
		for b.Loop() {
			_, err := Fold(Account{Asset: Asset{UserID: "u1", Currency: "USD", Scale: 2, Version: 1, Position: 1}}, nil, received, noon)
			require.NoError(b, err)
		}
	})
}
