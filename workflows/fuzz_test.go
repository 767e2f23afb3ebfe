package workflows

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	commonpb "go.temporal.io/api/common/v1"
	"go.temporal.io/sdk/converter"

	"github.com/valueledger/wallet"
)

// payloadOf makes a payload that anybody could send: any bytes that claim any encoding.
func payloadOf(encoding string, data []byte) converter.RawValue {
	p := &commonpb.Payload{Data: data}
	if encoding != "" {
		p.Metadata = map[string][]byte{converter.MetadataEncoding: []byte(encoding), "messageType": []byte(encoding)}
	}
	return converter.NewRawValue(p)
}

// FuzzSignal checks that any signal becomes either a command or a malformed record that reaches
// the steps unchanged.
func FuzzSignal(f *testing.F) {
	good := []byte(`{"id":"order-7","type":"add","amount":"12.50","reply_to":{"workflow_id":"w","signal":"s"}}`)
	for _, encoding := range []string{"json/plain", "binary/null", "json/protobuf", "binary/protobuf", "binary/plain", "binary/encrypted", "", "json/plain ", "\xff"} {
		f.Add(encoding, good)
		f.Add(encoding, []byte{})
		f.Add(encoding, []byte("\x00\xff"))
		f.Add(encoding, []byte(`{"id":"order-7","type":"add","amount":12.5}`))
	}
	f.Fuzz(func(t *testing.T, encoding string, data []byte) {
		payload := payloadOf(encoding, data)
		command, err := decodeSignal(payload)
		if err == nil {
			require.Equal(t, converter.MetadataEncodingJSON, encoding, "nothing else is read as a command")
			require.NoError(t, command.Validate())
			return
		}
		var invalid *wallet.InvalidError
		require.ErrorAs(t, err, &invalid)
		require.NotEmpty(t, invalid.Field)
		record := wallet.Malformed(data, encoding, command, err)
		require.NotEmpty(t, record.Malformed)
		payloads, err := converter.GetDefaultDataConverter().ToPayloads(record)
		require.NoError(t, err)
		require.Less(t, payloads.Size(), maxBatchBytes)
		var arrived wallet.Received
		require.NoError(t, converter.GetDefaultDataConverter().FromPayloads(payloads, &arrived))
		require.Equal(t, record, arrived)
		again := wallet.Malformed(data, encoding, command, invalid)
		require.Equal(t, record.Command.RequestHash(), again.Command.RequestHash(), "the same payload is recognized")
	})
}

// FuzzWalletInput checks that a wallet only starts with input that survives continue-as-new
// unchanged.
func FuzzWalletInput(f *testing.F) {
	for _, input := range []string{`{"user_id":"u1","currency":"USD"}`, `{"user_id":"u1","currency":"USD","idle_timeout":"24h"}`,
		`{"user_id":"u1","currency":"USD","idle_timeout":"-1s"}`, `{"user_id":"u1","currency":"USD","carried":{"asset":{},"queue":[{}],"counts":{"unapplied":null}}}`, `null`, `[]`, `{"user_id":1}`} {
		f.Add("json/plain", []byte(input))
	}
	f.Add("binary/null", []byte{})
	f.Add("json/plain", []byte(`{"user_id":"u1","currency":"USD","idle_timeout":"`+strings.Repeat("x", 5000)+`"}`))
	f.Fuzz(func(t *testing.T, encoding string, data []byte) {
		input, _, err := decodeInput(payloadOf(encoding, data), true)
		if err != nil {
			var invalid *wallet.InvalidError
			require.ErrorAs(t, err, &invalid)
			require.NotEmpty(t, invalid.Field)
			require.NotEmpty(t, invalid.Message)
			require.Less(t, len(invalid.Message), 5000, "it goes into the workflow's failure")
			return
		}
		require.NoError(t, wallet.ValidateWallet(input.UserID, input.Currency))
		encoded, err := json.Marshal(input)
		require.NoError(t, err)
		again, ignored, err := decodeInput(payloadOf("json/plain", encoded), true)
		require.Empty(t, ignored)
		require.NoError(t, err, "%s", encoded)
		require.Equal(t, input.AssetRef, again.AssetRef)
		require.Equal(t, input.IdleTimeout, again.IdleTimeout)
		twice, err := json.Marshal(again)
		require.NoError(t, err)
		require.Equal(t, string(encoded), string(twice))
	})
}
