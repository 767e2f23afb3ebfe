package wallet_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/valueledger/wallet"
)

func TestALineWithoutAnIDGetsThatOfItsLine(t *testing.T) {
	line, err := wallet.DecodeRunLine([]byte(`{"user_id":"u1","currency":"USD","type":"add","amount":"5.00","metadata":{"a":"b"}}`), "march", 7)
	require.NoError(t, err)
	require.Equal(t, "_run/march/7", line.ID)
	own, err := wallet.DecodeRunLine([]byte(`{"user_id":"u1","currency":"USD","type":"add","amount":"5.00","id":"order-7"}`), "march", 7)
	require.NoError(t, err)
	require.Equal(t, "order-7", own.ID)
	staged, err := wallet.DecodeStagedLine(line.AssetRef, []byte(`{"type":"add","amount":"5.00","metadata":{"a":"b"}}`), "march", 7)
	require.NoError(t, err)
	require.Equal(t, line, staged)

	longest := strings.Repeat("é", wallet.MaxRunIDCharacters)
	line, err = wallet.DecodeRunLine([]byte(`{"user_id":"u1","currency":"USD","type":"hold","amount":"5.00"}`), longest, 1<<62)
	require.NoError(t, err)
	named := wallet.Command{ID: "x", Type: wallet.TypeCapture, HoldID: line.ID}
	require.NoError(t, named.Validate(), "the hold that a line places can be captured")
}

func TestRunLineIDsAreTheServicesOwn(t *testing.T) {
	for id, is := range map[string]bool{
		"_run/march/1": true, "_run/a/b/10": true, "_run//1": false, "_run/march/0": false, "_run/march/01": false, "_run/march/-1": false,
		"_run/march/": false, "_run/march": false, "_run/_x/1": false, "_run/a\nb/1": false, "_run/" + strings.Repeat("x", 101) + "/1": false, "run/march/1": false,
		"_run/march/99999999999999999999": false, "_run/march/+1": false,
	} {
		require.Equal(t, is, wallet.IsRunLineID(id), id)
	}
}

func TestLinesThatAreRefusedBeforeTheyAreApplied(t *testing.T) {
	for line, message := range map[string]string{
		`{"user_id":"u1","currency":"USD","type":"add","amount":"5.00","id":"_run/march/8"}`:                         "belong to the service",
		`{"user_id":"u1","currency":"USD","type":"add","amount":"5.00","user_id":"u2"}`:                              "given twice",
		`{"user_id":"u1","currency":"USD","type":"add","amount":5}`:                                                  "is not a JSON string",
		`{"user_id":"u1","currency":"USD","type":"add","amount":"0"}`:                                                "is not above 0",
		`{"user_id":"u1","currency":"USD","type":"add"}`:                                                             "has no amount",
		`{"user_id":"","currency":"USD","type":"add","amount":"1"}`:                                                  "user_id is empty",
		`{"user_id":"u1","currency":"usd","type":"add","amount":"1"}`:                                                "is not a currency code",
		`{"user_id":"u1","currency":"USD","type":"expire","amount":"1"}`:                                             "is unknown",
		`{"user_id":"u1","currency":"USD","type":"add","amount":"1","transaction_id":"t"}`:                           "has no field",
		`{"user_id":"u1","currency":"USD","type":"hold","amount":"1","expires_in":""}`:                               "is empty",
		`{"user_id":"u1","currency":"USD","type":"add","amount":"1","reply_to":{"workflow_id":"w","signal":"s"}}`:    "takes no reply_to",
		`{"user_id":"u1","currency":"USD","type":"add","amount":"1"} {"user_id":"u1","currency":"USD","type":"add"}`: "is not JSON",
		`[]`: "must not be a JSON array",
		``:   "is empty",
	} {
		_, err := wallet.DecodeRunLine([]byte(line), "march", 7)
		require.ErrorAs(t, err, new(*wallet.InvalidError), line)
		require.ErrorContains(t, err, message, line)
	}
	for _, id := range []string{"", "_x", "a\nb", strings.Repeat("x", 101), "\xff"} {
		require.Error(t, wallet.RunInput{RunID: id}.Validate(), id)
	}
	require.Error(t, wallet.RunInput{RunID: "a", Parallel: 17}.Validate())
	require.NoError(t, wallet.RunInput{RunID: "a", Parallel: 16}.Validate())
}
