package wallet

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func setTo(id, name, amount string) Command {
	return Command{ID: id, Type: TypeSetThreshold, Threshold: name, Amount: MustAmount(amount)}
}

func amountOf(id string, t CommandType, amount string) Command {
	return Command{ID: id, Type: t, Amount: MustAmount(amount)}
}

func crossings(results []Result) (all []string) {
	for _, r := range results {
		for _, c := range r.Crossed.List() {
			all = append(all, fmt.Sprintf("%s %s %s %s", r.CommandID, c.Name, c.Amount, c.Direction))
		}
	}
	return all
}

func TestAThresholdIsCrossedOncePerDirection(t *testing.T) {
	asset, results := fold(t, dollars(), amountOf("25", TypeAdd, "25"), setTo("set", "low", "20"),
		amountOf("19", TypeSubtract, "6"), amountOf("18", TypeSubtract, "1"), amountOf("17", TypeSubtract, "1"),
		amountOf("30", TypeAdd, "13"), amountOf("19 again", TypeSubtract, "11"))
	require.Equal(t, []string{"19 low 20.00 below", "30 low 20.00 above", "19 again low 20.00 below"}, crossings(results))
	require.Equal(t, []Threshold{{"low", MustAmount("20.00")}}, asset.Thresholds.List())
}

func TestEqualToAThresholdIsNotBelowIt(t *testing.T) {
	_, results := fold(t, dollars(), amountOf("a", TypeAdd, "25"), setTo("set", "low", "20"),
		amountOf("equal", TypeSubtract, "5"), amountOf("below", TypeSubtract, "0.01"), amountOf("equal again", TypeAdd, "0.01"))
	require.Equal(t, []string{"below low 20.00 below", "equal again low 20.00 above"}, crossings(results))
}

// TestWhatReservesCrossesThresholds, and what does not move the available amount does not: a
// capture of all that is held.
func TestWhatReservesCrossesThresholds(t *testing.T) {
	_, results := fold(t, dollars(), amountOf("a", TypeAdd, "25"), setTo("set", "low", "20"),
		amountOf("h", TypeHold, "10"), Command{ID: "capture", Type: TypeCapture, HoldID: "h", Amount: MustAmount("4"), Partial: true},
		Command{ID: "rest", Type: TypeRelease, HoldID: "h"}, Command{ID: "reverse", Type: TypeReverse, OriginalID: "a", Amount: MustAmount("3")},
		amountOf("too much", TypeSubtract, "100"))
	require.Equal(t, []string{"h low 20.00 below", "rest low 20.00 above", "reverse low 20.00 below"}, crossings(results))
}

func TestSettingAThresholdCrossesNothing(t *testing.T) {
	_, results := fold(t, dollars(), amountOf("a", TypeAdd, "10"), setTo("already below", "low", "20"), amountOf("lower", TypeSubtract, "1"),
		setTo("now above", "low", "5"), setTo("now below", "low", "20"), amountOf("up", TypeAdd, "11"))
	require.Equal(t, []string{"up low 20.00 above"}, crossings(results))
}

func TestAWalletHasSixteenThresholds(t *testing.T) {
	commands := []Command{amountOf("a", TypeAdd, "100")}
	for i := range MaxThresholds {
		commands = append(commands, setTo(fmt.Sprint("set ", i), fmt.Sprint("t", i), fmt.Sprint(1+i)))
	}
	commands = append(commands, setTo("one more", "t8", "50"), setTo("again", "t3", "60"), amountOf("all", TypeSubtract, "100"),
		Command{ID: "remove", Type: TypeRemoveThreshold, Threshold: "t7"}, Command{ID: "twice", Type: TypeRemoveThreshold, Threshold: "t7"}, setTo("then", "t8", "50"))
	asset, results := fold(t, dollars(), commands...)
	of := func(id string) Result {
		return results[slices.IndexFunc(results, func(r Result) bool { return r.CommandID == id })]
	}
	require.Equal(t, ReasonTooManyThresholds, of("one more").Reason)
	require.Contains(t, of("one more").Message, "8 thresholds already")
	require.Len(t, of("all").Crossed.List(), MaxThresholds)
	require.Equal(t, StatusApplied, of("again").Status)
	require.Equal(t, ReasonThresholdNotFound, of("twice").Reason)
	require.Equal(t, StatusApplied, of("then").Status)
	require.Equal(t, asset.Thresholds, of("then").Thresholds)
	require.Empty(t, of("all").Thresholds, "only the commands that change them have them")
	names := ""
	for _, x := range asset.Thresholds.List() {
		names += x.Name + " "
	}
	require.Equal(t, "t0 t1 t2 t3 t4 t5 t6 t8 ", names)
}

func TestNamesOfThresholds(t *testing.T) {
	for name, valid := range map[string]bool{"low": true, "Low_2.b-c": true, strings.Repeat("x", 32): true, strings.Repeat("x", 33): false, "a b": false, `a"b`: false, "lö": false, "a\n": false, "'": false} {
		c := setTo("a", name, "1")
		require.Equal(t, valid, c.Validate() == nil, name)
	}
	for _, sent := range []string{`{"id":"a","type":"set_threshold","threshold":"low"}`, `{"id":"a","type":"set_threshold","amount":"1"}`, `{"id":"a","type":"set_threshold","threshold":"","amount":"1"}`,
		`{"id":"a","type":"set_threshold","threshold":"low","amount":"0"}`, `{"id":"a","type":"remove_threshold","threshold":"low","amount":"1"}`, `{"id":"a","type":"add","threshold":"low","amount":"1"}`} {
		_, err := DecodeCommand([]byte(sent))
		require.Error(t, err, sent)
	}
}

// TestThresholdsThatNobodyWroteStopTheFold: a list that somebody has changed by hand decides
// nothing.
func TestThresholdsThatNobodyWroteStopTheFold(t *testing.T) {
	asset, _ := fold(t, dollars(), amountOf("a", TypeAdd, "10"))
	for _, text := range []Thresholds{`null`, `[]`, `[{"name": "low", "amount": "much"}]`, `[{"name": "b", "amount": "1"}, {"name": "a", "amount": "1"}]`, `[{"name": "a", "amount": "1", "more": 1}]`} {
		asset.Thresholds = text
		_, err := Fold(Account{Asset: asset}, nil, []Received{{Command: Command{ID: "r", Type: TypeRemoveThreshold, Threshold: "low"}}}, noon)
		var inconsistent *InconsistentError
		require.ErrorAs(t, err, &inconsistent, text)
	}
}

func TestThresholdsAreAListInJSON(t *testing.T) {
	_, results := fold(t, dollars(), amountOf("a", TypeAdd, "25"), setTo("set", "low", "20"), amountOf("s", TypeSubtract, "6"))
	text, err := json.Marshal(results[2])
	require.NoError(t, err)
	require.Contains(t, string(text), `"crossed":[{"name":"low","amount":"20.00","direction":"below"}]`)
	require.NotContains(t, string(text), "thresholds")
	var read Result
	require.NoError(t, json.Unmarshal(text, &read))
	require.Equal(t, results[2].Crossed, read.Crossed)
}

// TestCrossingsAreThoseOfTheAvailableAmount for any commands: each threshold alternates, and says
// on which side the available amount is.
func TestCrossingsAreThoseOfTheAvailableAmount(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		asset := dollars()
		side := map[string]Direction{} // unknown until it is crossed
		for i := range rapid.IntRange(1, 40).Draw(t, "commands") {
			c := Command{ID: fmt.Sprint(i), Type: rapid.SampledFrom([]CommandType{TypeAdd, TypeSubtract, TypeSubtract, TypeSetThreshold, TypeRemoveThreshold}).Draw(t, "type")}
			if c.Type != TypeRemoveThreshold {
				c.Amount = MustAmount(rapid.SampledFrom([]string{"0.01", "1", "2", "5"}).Draw(t, "amount"))
			}
			if c.Type == TypeSetThreshold || c.Type == TypeRemoveThreshold {
				c.Threshold = rapid.SampledFrom([]string{"a", "b", "c"}).Draw(t, "threshold")
			}
			f, err := Fold(Account{Asset: asset}, nil, []Received{{Command: c}}, noon)
			require.NoError(t, err)
			before := asset
			asset = f.Account.Asset
			r := f.Results[0]
			if c.Threshold != "" {
				delete(side, c.Threshold)
				require.Empty(t, r.Crossed)
			}
			for _, x := range r.Crossed.List() {
				require.NotEqual(t, side[x.Name], x.Direction, "twice in one direction")
				side[x.Name] = x.Direction
				require.Contains(t, before.Thresholds.List(), Threshold{x.Name, x.Amount})
			}
			for _, x := range asset.Thresholds.List() {
				is := Above
				if asset.Available().Cmp(x.Amount) < 0 {
					is = Below
				}
				require.Contains(t, []Direction{"", is}, side[x.Name])
			}
		}
	})
}
