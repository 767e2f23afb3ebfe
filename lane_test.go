package wallet_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/valueledger/wallet"
)

func TestLaneAnswersComeBackAsTheyWere(t *testing.T) {
	answers := []wallet.LaneAnswer{
		{Facts: wallet.Facts{1, 2, 3}}, {}, {IDConflict: true}, {Invalid: &wallet.InvalidError{Reason: wallet.ReasonMalformed, Field: "id", Value: "x", Message: "no"}},
		{Facts: wallet.Facts(strings.Repeat("long", 100))},
	}
	var all []byte
	for _, a := range answers {
		all = a.AppendTo(all)
	}
	split, err := wallet.SplitLaneAnswers(all, len(answers))
	require.NoError(t, err)
	for i, b := range split {
		read, err := wallet.ReadLaneAnswer(b)
		require.NoError(t, err)
		require.Equal(t, answers[i], read)
		require.Equal(t, i == 1, wallet.IsReturned(b))
	}
	for n := range all { // cut short
		_, err := wallet.SplitLaneAnswers(all[:n], len(answers))
		require.Error(t, err, n)
	}
	for _, n := range []int{0, len(answers) - 1, len(answers) + 1} {
		_, err := wallet.SplitLaneAnswers(all, n)
		require.Error(t, err, n)
	}
	later := append([]byte{99, 2}, "??"...) // of a later version
	require.True(t, wallet.IsReturned(later))
	read, err := wallet.ReadLaneAnswer(later)
	require.NoError(t, err)
	require.Equal(t, wallet.LaneAnswer{}, read)
}

func TestLaneIDsFitTemporal(t *testing.T) {
	require.Equal(t, "lane/wallet/2", wallet.LaneWorkflowID("wallet", 2))
	seen := map[string]bool{}
	for _, queue := range []string{"q", "q/1", strings.Repeat("é", 500), strings.Repeat("é", 500) + "/1"} {
		for _, lane := range []int{1, 11, 64} {
			id := wallet.LaneWorkflowID(queue, lane)
			require.LessOrEqual(t, len(id), 255)
			require.False(t, seen[id], id)
			seen[id] = true
		}
	}
}

func TestALaneItemIsACommandOrATransaction(t *testing.T) {
	const command = `"user_id":"a","currency":"USD","command":{"id":"x","type":"add","amount":"1"}`
	const transaction = `"transaction":{"id":"t","must_balance":true,"commands":[{"user_id":"a","currency":"USD","type":"subtract","amount":"1"},{"user_id":"b","currency":"USD","type":"add","amount":"1"}]}`
	item, err := wallet.DecodeLaneItem([]byte("{" + command + "}"))
	require.NoError(t, err)
	require.Nil(t, item.Transaction)
	require.Equal(t, "x", item.Command.ID)
	again, err := json.Marshal(item)
	require.NoError(t, err)
	require.JSONEq(t, "{"+command+"}", string(again))

	item, err = wallet.DecodeLaneItem([]byte("{" + transaction + "}"))
	require.NoError(t, err)
	require.Nil(t, item.ApplyCommandInput)
	require.Equal(t, "t", item.Transaction.ID)
	again, err = json.Marshal(item)
	require.NoError(t, err)
	sameAgain, err := wallet.DecodeLaneItem(again)
	require.NoError(t, err)
	require.Equal(t, item, sameAgain)
	_, err = wallet.DecodeApplyCommand(again, "")
	require.ErrorContains(t, err, "has no field", "what a worker of before says: it applies nothing")

	for item, message := range map[string]string{
		"{" + command + "," + transaction + "}":                  "this one is both",
		`{"user_id":"a",` + transaction + "}":                    "this one is both",
		`{"transaction":null}`:                                   "transaction is empty",
		`{"transaction":{}}`:                                     "id is empty",
		`{"transaction":{"id":"t","commands":[]}}`:               "has 0 commands: send 2 to 100",
		"{" + transaction + `,"lane":1}`:                         "has no field",
		"{" + transaction + "," + transaction + "}":              "is given twice",
		strings.Replace("{"+transaction+"}", `"t"`, `"_t"`, 1):   "begins with an underscore",
		strings.Replace("{"+transaction+"}", `"1"`, `"2"`, 1):    "does not balance",
		strings.Replace("{"+transaction+"}", `must_`, `can_`, 1): "has no field",
		`{}`: "user_id",
	} {
		_, err := wallet.DecodeLaneItem([]byte(item))
		var invalid *wallet.InvalidError
		require.ErrorAs(t, err, &invalid, item)
		require.ErrorContains(t, err, message, item)
	}
}
