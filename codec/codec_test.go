package codec

import (
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	commonpb "go.temporal.io/api/common/v1"
	failurepb "go.temporal.io/api/failure/v1"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/converter"
	"go.temporal.io/sdk/temporal"
)

func newKey(id string) string {
	secret := make([]byte, keyBytes)
	rand.Read(secret)
	return id + ":" + base64.StdEncoding.EncodeToString(secret)
}

func parse(t *testing.T, text string) *Keys {
	keys, err := Parse(text)
	require.NoError(t, err)
	return keys
}

func TestAPayloadIsUnreadableWithoutTheKeyAndTheSameWithIt(t *testing.T) {
	keys := parse(t, newKey("k1"))
	dc := keys.DataConverter()
	payloads, err := dc.ToPayloads(map[string]string{"amount": "secret-amount"}, []byte("secret-bytes"), nil)
	require.NoError(t, err)
	for _, p := range payloads.Payloads {
		require.Equal(t, Encoding, string(p.Metadata[converter.MetadataEncoding]))
		require.Equal(t, "k1", string(p.Metadata["encryption-key-id"]))
		require.NotContains(t, p.String(), "secret")
	}
	var value map[string]string
	var bytes []byte
	var raw converter.RawValue
	require.NoError(t, dc.FromPayloads(payloads, &value, &bytes, &raw))
	require.Equal(t, "secret-amount", value["amount"])
	require.Equal(t, "secret-bytes", string(bytes))
	require.Equal(t, converter.MetadataEncodingNil, string(raw.Payload().Metadata[converter.MetadataEncoding]))

	again, err := dc.ToPayloads(map[string]string{"amount": "secret-amount"})
	require.NoError(t, err)
	require.NotEqual(t, again.Payloads[0].Data, payloads.Payloads[0].Data, "each has a nonce of its own")
}

func TestTheFirstKeyEncryptsAndAllDecrypt(t *testing.T) {
	one, two := newKey("k1"), newKey("k2")
	read := func(with, by string) (text string, err error) {
		p, err := parse(t, with).DataConverter().ToPayload("hello")
		require.NoError(t, err)
		err = parse(t, by).DataConverter().FromPayload(p, &text)
		return text, err
	}
	for name, row := range map[string]struct{ with, by string }{
		"the same":               {one, one},
		"the new key is there":   {one, one + "," + two},
		"the new key is first":   {two + "," + one, one + ", " + two},
		"the old is still there": {one, two + "," + one},
		"from before encryption": {"", one},
		"nobody uses it yet":     {"plain," + one, ""},
		"everybody can read it":  {one, "plain," + one},
		"none":                   {"", ""},
	} {
		t.Run(name, func(t *testing.T) {
			text, err := read(row.with, row.by)
			require.NoError(t, err)
			require.Equal(t, "hello", text)
		})
	}
	for name, row := range map[string]struct{ with, by, message string }{
		"unknown":              {two, one, `key "k2", and this program does not have that key`},
		"no keys":              {one, "", `key "k1", and this program has no keys`},
		"another under its id": {newKey("k1"), one, `key "k1", and this program has a different key with that id`},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := read(row.with, row.by)
			var unreadable *UnreadableError
			require.ErrorAs(t, err, &unreadable)
			require.ErrorContains(t, err, row.message)
			require.ErrorContains(t, err, Setting)
		})
	}
}

func TestWhoTakesRawPayloadsGetsWhatNoKeyOpens(t *testing.T) {
	p, err := parse(t, newKey("k1")).DataConverter().ToPayload("hello")
	require.NoError(t, err)
	var raw converter.RawValue
	require.NoError(t, parse(t, newKey("k2")).DataConverter().FromPayload(p, &raw))
	require.Equal(t, p.Data, raw.Payload().Data)
	require.ErrorContains(t, Unreadable(raw.Payload()), "does not have that key")
	require.NotContains(t, p.Metadata, "encryption-problem", "what was given is not changed")

	require.NoError(t, converter.GetDefaultDataConverter().FromPayload(p, &raw), "a worker without this codec")
	require.ErrorContains(t, Unreadable(raw.Payload()), `key "k1", and this program has no keys`)

	p.Metadata["encryption-key-id"] = []byte(strings.Repeat("long", 1000))
	p.Metadata["encryption-problem"] = []byte("what the sender wants said")
	require.NotContains(t, Unreadable(p).Error(), "what the sender wants said")
	require.Less(t, len(Unreadable(p).Error()), 400)
	require.NoError(t, Unreadable(nil))
	require.NoError(t, Unreadable(&commonpb.Payload{}))
}

func TestEveryChangedByteIsNoticed(t *testing.T) {
	keys := parse(t, newKey("k1"))
	p, err := keys.DataConverter().ToPayload("hello")
	require.NoError(t, err)
	var text string
	for i := range p.Data {
		changed := &commonpb.Payload{Metadata: p.Metadata, Data: append([]byte{}, p.Data...)}
		changed.Data[i] ^= 1
		require.ErrorContains(t, keys.DataConverter().FromPayload(changed, &text), "was changed", i)
		changed.Data = p.Data[:i]
		require.ErrorContains(t, keys.DataConverter().FromPayload(changed, &text), "was changed", i)
	}
}

func TestFailuresAreEncryptedToo(t *testing.T) {
	for name, text := range map[string]string{"with keys": newKey("k1"), "without": ""} {
		t.Run(name, func(t *testing.T) {
			var options client.Options
			parse(t, text).Secure(&options)
			failure := options.FailureConverter.ErrorToFailure(temporal.NewApplicationError("secret message", "Type", "secret detail"))
			if text == "" {
				require.Equal(t, "secret message", failure.Message)
			} else {
				require.NotContains(t, failure.String(), "secret")
			}
			var back *temporal.ApplicationError
			require.True(t, errors.As(options.FailureConverter.FailureToError(failure), &back))
			require.Equal(t, "secret message", back.Message())
			var detail string
			require.NoError(t, back.Details(&detail))
			require.Equal(t, "secret detail", detail)
			require.Equal(t, text == "", strings.Contains(failure.String(), "secret message"), "what was decoded stays encrypted")

			// The SDK returns the failure it was given, decoded.
			again := options.FailureConverter.ErrorToFailure(fmt.Errorf("secret context: %w", back))
			for _, f := range []*failurepb.Failure{options.FailureConverter.ErrorToFailure(back), again} {
				require.Equal(t, text == "", strings.Contains(f.String(), "secret message"))
			}
			require.ErrorContains(t, options.FailureConverter.FailureToError(again), "secret context: secret message")
		})
	}
}

func TestBadKeysAreNamedAndNeverShown(t *testing.T) {
	good := newKey("k1")
	secret := good[len("k1:"):]
	for name, row := range map[string]struct{ text, message string }{
		"no id":         {secret, "key 1 is not id:base64"},
		"the wrong way": {secret + ":k1", "key 1 is not id:base64"},
		"second":        {good + "," + secret, "key 2 is not id:base64"},
		"short":         {"k1:" + secret[:24], "key 1 (k1) has 18 bytes, AES-256 needs 32"},
		"not base64":    {"k1:" + secret[:40] + "!!", "key 1 (k1) is not base64"},
		"plain later":   {good + ",plain", "key 2 is not id:base64"},
		"empty":         {"k1:", "key 1 (k1) has 0 bytes"},
		"a comma more":  {good + ",", "key 2 is not id:base64"},
		"the same id":   {good + "," + newKey("k1"), "two keys have the id k1"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Setenv(Setting, row.text)
			_, err := FromEnv()
			require.ErrorContains(t, err, Setting+": "+row.message)
			require.NotContains(t, err.Error(), secret[:10])
		})
	}
	keys := parse(t, good)
	for _, format := range []string{"%v", "%+v", "%#v", "%s"} {
		require.Equal(t, "keys k1", fmt.Sprintf(format, keys))
	}
}

// sealedByPython is "hello" as the codec in Temporal's Python sample would encrypt it, made
// with Python's cryptography package and the key and nonce below.
const sealedByPython = "bm9uY2Utb2YtMTJiiq8bW2K/9QxAK0YcXXX9/eeUe7OzYHYJdvc/NAGdr4CvxFlSMLZ1DNX/geRJ0V2Y/A=="

func TestTheFormatIsThatOfTemporalsSamples(t *testing.T) {
	keys := parse(t, "test:"+base64.StdEncoding.EncodeToString([]byte("0123456789abcdef0123456789abcdef")))
	data, err := base64.StdEncoding.DecodeString(sealedByPython)
	require.NoError(t, err)
	require.Equal(t, "nonce-of-12b", string(data[:12]))
	var text string
	require.NoError(t, keys.DataConverter().FromPayload(&commonpb.Payload{Data: data, Metadata: map[string][]byte{
		"encoding": []byte("binary/encrypted"), "encryption-key-id": []byte("test"),
	}}, &text))
	require.Equal(t, "hello", text)
}

func TestAPayloadThatIsEncryptedTwiceIsNotTakenForOneWithoutKeys(t *testing.T) {
	keys := parse(t, newKey("k1"))
	p, err := keys.DataConverter().ToPayload("hello")
	require.NoError(t, err)
	twice, err := keys.Encode([]*commonpb.Payload{p})
	require.NoError(t, err)
	decoded, err := keys.Decode(twice)
	require.NoError(t, err)
	var unreadable *UnreadableError
	require.ErrorAs(t, Unreadable(decoded[0]), &unreadable)
	require.False(t, unreadable.NoKeys())
	require.ErrorContains(t, unreadable, "it is encrypted twice")
}
