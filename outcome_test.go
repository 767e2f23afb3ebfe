package wallet

import (
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// TestAnOutcomeGivesTheResultsAgain folds a history of batches, divides each into the
// parts of several updates, sends them as JSON, and works the results out from those.
func TestAnOutcomeGivesTheResultsAgain(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		asset := Asset{UserID: "u1", Currency: "USD", Scale: 2}
		journal := map[string]Entry{}
		now := time.UnixMicro(1_000_000)
		fresh := 0
		for range rapid.IntRange(1, 5).Draw(t, "batches") {
			now = now.Add(time.Duration(rapid.IntRange(0, 3).Draw(t, "passed")) * time.Microsecond)
			commands := make([]Command, rapid.IntRange(1, 8).Draw(t, "commands"))
			received := make([]Received, len(commands))
			for i := range commands {
				if fresh++; fresh == 1 {
					commands[i] = Command{ID: "open", Type: TypeCreate}
				} else {
					id := fmt.Sprint("c", rapid.SampledFrom([]int{fresh, fresh, fresh, rapid.IntRange(1, fresh).Draw(t, "used")}).Draw(t, "id"))
					commands[i] = Command{ID: id, Type: rapid.SampledFrom(commandTypes).Draw(t, "type")}
					if commands[i].Type != TypeCreate {
						commands[i].Amount = MustAmount(rapid.SampledFrom([]string{"1", "2.5", "1.005", "40"}).Draw(t, "amount"))
					}
				}
				received[i].Command = commands[i]
			}
			prior := map[string]Entry{}
			for _, c := range commands {
				if e, ok := journal[c.ID]; ok {
					prior[c.ID] = e
				}
			}
			before := asset
			after, entries, results, err := Fold(asset, prior, received, now)
			require.NoError(t, err)
			for _, e := range entries {
				journal[e.CommandID] = e
			}
			var parts []Part
			at := before
			for left := results; len(left) > 0; {
				n := rapid.IntRange(1, len(left)).Draw(t, "part")
				parts = append(parts, Part{n, NewOutcome(at, left[:n])})
				for _, r := range left[:n] {
					at = at.After(r)
				}
				left = left[n:]
			}
			require.Equal(t, after, at, "After walks along the results")
			encoded, err := json.Marshal(parts)
			require.NoError(t, err)
			var decoded []Part
			require.NoError(t, json.Unmarshal(encoded, &decoded))
			again, err := AnswersOf(decoded, commands)
			require.NoError(t, err)
			require.Equal(t, asJSON(t, results), asJSON(t, again))
			asset = after
		}
	})
}

func asJSON(t require.TestingT, value any) string {
	encoded, err := json.Marshal(value)
	require.NoError(t, err)
	return string(encoded)
}

func TestAnOutcomeUnderOtherRulesIsNoticed(t *testing.T) {
	opened, _, results, err := Fold(Asset{UserID: "u1", Currency: "USD", Scale: 2}, nil, []Received{{Command: Command{ID: "open", Type: TypeCreate}}}, time.UnixMicro(1))
	require.NoError(t, err)
	require.Len(t, results, 1)
	command := Command{ID: "a", Type: TypeAdd, Amount: MustAmount("1")}
	_, _, results, err = Fold(opened, nil, []Received{{Command: command}}, time.UnixMicro(2))
	require.NoError(t, err)
	outcome := NewOutcome(opened, results)
	outcome.Hash[0] ^= 1
	_, err = AnswersOf([]Part{{1, outcome}}, []Command{command})
	require.ErrorContains(t, err, "the rules have changed")
	_, err = AnswersOf([]Part{{2, outcome}}, []Command{command})
	require.ErrorContains(t, err, "an answer for 2 commands, of which 1 are left")
}
