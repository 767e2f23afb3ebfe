package wallet

import (
	"encoding/json"
	"math/big"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
)

// "make fuzz" runs these with generated input; go test runs the seeds and earlier findings in
// testdata/fuzz.

// requireRefusal checks what every refusal must have: the field, and a message that can be
// shown, sent and stored.
func requireRefusal(t *testing.T, err error) *InvalidError {
	var invalid *InvalidError
	require.ErrorAs(t, err, &invalid)
	require.Equal(t, ReasonMalformed, invalid.Reason)
	require.NotEmpty(t, invalid.Field)
	require.NotEmpty(t, invalid.Message)
	for _, text := range []string{invalid.Field, invalid.Value, invalid.Message} {
		require.NoError(t, validateText("text", text))
		require.LessOrEqual(t, utf8.RuneCountInString(text), 1001)
	}
	return invalid
}

var plainDecimal = regexp.MustCompile(`\A[0-9]+(\.[0-9]+)?\z`)

// FuzzAmount compares with exact fractions: which texts are accepted, and their value.
func FuzzAmount(f *testing.F) {
	for _, text := range []string{"12.50", "0.000000000000000001", "007.500", "1e9", "-1", ".5", "5.", "NaN", "٣", "1 ", strings.Repeat("9", 38), strings.Repeat("9", 101)} {
		f.Add(text, uint8(2))
	}
	f.Fuzz(func(t *testing.T, text string, scale uint8) {
		a, err := ParseAmount(text)
		plain := plainDecimal.MatchString(text)
		if err != nil {
			require.Equal(t, "amount", requireRefusal(t, err).Field)
			require.True(t, !plain || len(text) > maxParsedDigits, "%q is a plain decimal", text)
			return
		}
		require.True(t, plain, "%q is no plain decimal", text)
		worth := func(a Amount) *big.Rat {
			r, ok := new(big.Rat).SetString(a.String())
			require.True(t, ok)
			return r
		}
		exact, ok := new(big.Rat).SetString(text)
		require.True(t, ok)
		require.Zero(t, exact.Cmp(worth(a)), "its text is worth the same")

		data, err := json.Marshal(a)
		require.NoError(t, err)
		var back Amount
		require.NoError(t, json.Unmarshal(data, &back))
		require.True(t, a.Same(back), "%s is %s when it comes back", a, back)

		canonical := a.Canonical()
		require.Zero(t, exact.Cmp(worth(canonical)))
		require.Regexp(t, `\A(0|[1-9][0-9]*)(\.[0-9]*[1-9])?\z`, canonical.String())

		at, fits := a.AtScale(int32(scale % (MaxScale + 1)))
		units := new(big.Rat).Mul(exact, new(big.Rat).SetInt(new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(scale%(MaxScale+1))), nil)))
		require.Equal(t, units.IsInt(), fits, "it fits if it is a whole number of the smallest unit")
		require.Zero(t, exact.Cmp(worth(at)), "never rounded")
		if fits {
			_, decimals, _ := strings.Cut(at.String(), ".")
			require.Len(t, decimals, int(scale%(MaxScale+1)))
		}
	})
}

// FuzzDecodeCommand decodes, encodes and decodes again: a valid command must not change, and an
// invalid one must be recordable.
func FuzzDecodeCommand(f *testing.F) {
	for _, data := range []string{
		`{"id":"order-7","type":"add","amount":"12.50","description":"d","actor":"a","metadata":{"k":"v"},"reply_to":{"workflow_id":"w","signal":"s"}}`,
		`{"id":"order-7","type":"add","amount":12.5}`, `{"ID":"a","id":"b","type":"create"}`, `{"id":"\ud800","type":"create"}`,
		`{"id":"a","type":"create","metadata":{"":""}}`, `{"id":"a","type":"subtract","amount":"1","metadata":null,"reply_to":null}`,
		`{"id":"h","type":"hold","amount":"80","expires_in":"1d12h"}`, `{"id":"h","type":"hold","hold_id":"order-7","expires_at":"2026-01-31T12:00:00.123456+01:00"}`,
		`{"id":"c","type":"capture","hold_id":"order-7","amount":"30","partial":true}`, `{"id":"r","type":"release","hold_id":"order-7","partial":null,"expires_in":null}`,
		`{"id":"h","type":"hold","amount":"8"}`, `{"id":"h","type":"hold","amount":"1","expires_at":"0001-01-01T00:00:00Z"}`, `{"id":"h","type":"hold","amount":"1","expires_in":""}`,
		`{"id":"v","type":"add","amount":"1","not_after":"2026-01-31T12:00:00.000001+01:00","expected_version":0}`, `{"id":"v","type":"create","expected_version":-0}`,
		`{"id":"v","type":"add","amount":"1","expected_version":1.0}`, `{"id":"v","type":"add","amount":"1","not_after":"","expected_version":null}`,
		`{"id":"r","type":"reverse","original_id":"order-7","amount":"6"}`, `{"id":"r","type":"reverse","original_id":"_transaction/t/1"}`, `{"id":"r","type":"reverse","original_id":""}`,
		`{"id":"f","type":"freeze","what":"all"}`, `{"id":"f","type":"freeze","what":"both"}`, `{"id":"f","type":"freeze","what":"debits","expires_in":"1h"}`, `{"id":"f","type":"close"}`,
		`{"id":"_a","type":"create"}`, `{"id":7}`, `[]`, `null`, ``, "\xff", `{"id":"a","type":"add","amount":"` + strings.Repeat("0", 90) + `1"}`,
	} {
		f.Add([]byte(data))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		command, err := DecodeCommand(data)
		asset := Asset{UserID: "u1", Currency: "USD", Scale: 2, Total: MustAmount("10.00"), Version: 1, Position: 1}
		received := Received{Command: command}
		if err != nil {
			requireRefusal(t, err)
			received = Malformed(data, "json/plain", command, err)
			_, result, err := Apply(Account{Asset: asset}, received, time.Unix(1, 0))
			require.NoError(t, err)
			require.Equal(t, ReasonMalformed, result.Reason)
		}
		requireTravels(t, asset, received)
		if err != nil {
			return
		}
		encoded, err := json.Marshal(command)
		require.NoError(t, err)
		again, err := DecodeCommand(encoded)
		require.NoError(t, err, "%s", encoded)
		require.Equal(t, command.RequestHash(), again.RequestHash())
		require.Equal(t, command.ID, again.ID)
		require.Equal(t, command.ReplyTo, again.ReplyTo)
		twice, err := json.Marshal(again)
		require.NoError(t, err)
		require.Equal(t, string(encoded), string(twice))
	})
}

// requireTravels checks every command that reaches the steps: it survives the trip as JSON, it
// has an id, it can be stored, and the fold accepts it.
func requireTravels(t *testing.T, asset Asset, received Received) {
	data, err := json.Marshal(received)
	require.NoError(t, err)
	require.LessOrEqual(t, len(data), received.Size())
	var arrived Received
	require.NoError(t, json.Unmarshal(data, &arrived))
	require.Equal(t, received.Command.ID, arrived.Command.ID)
	require.Equal(t, received.Malformed, arrived.Malformed)
	require.Equal(t, received.Command.RequestHash(), arrived.Command.RequestHash())

	require.NoError(t, validateName("id", received.Command.ID))
	for _, text := range append(sortedKeys(received.Command.Metadata), received.Malformed, received.Command.Description, received.Command.Actor) {
		require.NoError(t, validateText("text", text))
		require.NoError(t, validateText("text", received.Command.Metadata[text]))
	}
	folded, err := Fold(Account{Asset: asset}, nil, []Received{received, arrived}, time.Unix(1, 0))
	require.NoError(t, err)
	after, results := folded.Account, folded.Results
	require.Len(t, folded.Entries, 1)
	require.True(t, results[1].Replayed)
	require.False(t, after.Total.IsNegative())
	require.Equal(t, results[0].TotalAfter, after.Total)
	applied := results[0].Status == StatusApplied
	require.Equal(t, after.Total.Cmp(asset.Total) != 0, applied && (results[0].Type == TypeAdd || results[0].Type == TypeSubtract))
	require.Equal(t, after.Hold.Cmp(asset.Hold) != 0, applied && results[0].Type == TypeHold)
}

// FuzzDecodeBatch checks that a batch is accepted if and only if each of its commands is.
func FuzzDecodeBatch(f *testing.F) {
	for _, data := range []string{`[{"id":"a","type":"create"},{"id":"b","type":"add","amount":"1"}]`, `[]`, `{}`, `[null]`, `[[]]`, `[{"id":"a"}]`, `null`} {
		f.Add([]byte(data))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		commands, err := DecodeBatch(data)
		if err != nil {
			requireRefusal(t, err)
			return
		}
		var items []json.RawMessage
		require.NoError(t, json.Unmarshal(data, &items), "what is taken is JSON to the standard library too")
		require.Len(t, commands, len(items))
		for i, item := range items {
			alone, err := DecodeCommand(item)
			require.NoError(t, err)
			require.Equal(t, alone, commands[i])
		}
	})
}

// FuzzCommandIsKeptVerbatim builds a command from texts. If it is valid, it must survive JSON
// unchanged; if not, the refusal must name one of its fields.
func FuzzCommandIsKeptVerbatim(f *testing.F) {
	f.Add("order-7", "add", "12.50", "a refund", "ops", "k", "v", "", "", "w", "s")
	f.Add("💶'\"%s../", "subtract", "1.50", "\u202e\n\t\\", "ü", "\u2028", "<script>", "k\x01", "\x7f", "", "")
	f.Add("a\x00", "create", "0", "\xff", "\n", "\x00", "", "", "\xff", "", "s")
	f.Fuzz(func(t *testing.T, id, kind, amount, description, actor, k1, v1, k2, v2, workflow, signal string) {
		c := Command{ID: id, Type: CommandType(kind), Description: description, Actor: actor}
		if a, err := ParseAmount(amount); err == nil {
			c.Amount = a
		}
		if k1+v1+k2+v2 != "" {
			c.Metadata = map[string]string{k1: v1, k2: v2}
		}
		if workflow+signal != "" {
			c.ReplyTo = &ReplyTo{workflow, signal}
		}
		if err := c.Validate(); err != nil {
			require.Contains(t, []string{"id", "type", "amount", "original_id", "what", "description", "actor", "metadata", "metadata key", "metadata value", "reply_to"}, requireRefusal(t, err).Field)
			return
		}
		data, err := json.Marshal(c)
		require.NoError(t, err)
		back, err := DecodeCommand(data)
		require.NoError(t, err, "%s", data)
		require.True(t, c.Amount.Cmp(back.Amount) == 0)
		back.Amount = c.Amount // a zero may lose its decimals
		require.True(t, reflect.DeepEqual(c, back), "%+v is not %+v", c, back)
		require.Equal(t, c.RequestHash(), back.RequestHash())
	})
}

// FuzzWorkflowIDs checks that two wallets never share a workflow id, and neither do two
// commands: the parts can be read back from the id.
func FuzzWorkflowIDs(f *testing.F) {
	f.Add("u1", "USD", "order-7")
	f.Add("a/b", "USD", "c")
	f.Add("a", "USD", "b/c")
	f.Add("/", "GOLD_COIN", "/")
	f.Add("1/a", "USD", "/1")
	f.Add(strings.Repeat("💶", 128), "ABCDEFGHIJKLMNOP", strings.Repeat("💶", 128))
	f.Add("a\x00", "usd", "_x")
	f.Fuzz(func(t *testing.T, user, currency, id string) {
		if !utf8.ValidString(user) || !utf8.ValidString(currency) { // JSON cannot carry these
			requireRefusal(t, ValidateWallet(user, currency))
			return
		}
		data, jsonErr := json.Marshal(AssetRef{user, currency})
		require.NoError(t, jsonErr)
		ref, err := DecodeAssetRef(data)
		require.Equal(t, ValidateWallet(user, currency) == nil, err == nil)
		if err != nil {
			requireRefusal(t, err)
			return
		}
		require.Equal(t, AssetRef{user, currency}, ref)
		assetID := WorkflowID(user, currency)
		require.LessOrEqual(t, len(assetID), maxWorkflowIDBytes)
		kind, rest, _ := strings.Cut(assetID, "/")
		gotCurrency, gotUser, _ := strings.Cut(rest, "/")
		if kind == "wallet-asset-sha256" {
			require.Greater(t, len(user), 200, "only what is too long is hashed")
			require.Equal(t, sha256Of([]byte(user)).String(), gotUser)
		} else {
			require.Equal(t, "wallet-asset", kind)
			require.Equal(t, AssetRef{gotUser, gotCurrency}, ref)
		}

		if (&Command{ID: id, Type: TypeCreate}).Validate() != nil {
			return
		}
		commandID := ApplyCommandWorkflowID(user, currency, id)
		require.True(t, utf8.ValidString(commandID))
		require.LessOrEqual(t, len(commandID), maxWorkflowIDBytes)
		if strings.HasPrefix(commandID, "command-sha256/") {
			require.Greater(t, 3*len(user)+len(id), 200)
			require.Equal(t, sha256Of([]byte(escapeSlash.Replace(user)+"/"+id)).String(), commandID[len("command-sha256/"+currency+"/"):])
			return
		}
		gotUser, gotID := partsOfCommandWorkflowID(t, commandID, currency)
		require.Equal(t, user, gotUser)
		require.Equal(t, id, gotID)
	})
}

// FuzzHashesAreOfEverything reads an entry's fields back from the bytes that are hashed. If
// that works, no two different entries have the same bytes.
func FuzzHashesAreOfEverything(f *testing.F) {
	f.Add("u1", "order-7", "add", "12.50", "applied", "", "", "0.00", "12.50", "refund", "ops", "k", "v", "", "", int64(3), int64(2), int64(1_700_000_000_123_456), []byte("p"))
	f.Add("ab", "c", "", "0", "unapplied", "malformed", "m", "0", "0", "\x00\x00\x00\x00\x00\x00\x00\x01", "", "a", "", "", "a", int64(-1), int64(0), int64(-1), []byte{})
	f.Fuzz(func(t *testing.T, user, id, kind, amount, status, reason, message, before, after, description, actor, k1, v1, k2, v2 string, position, version, at int64, prev []byte) {
		e := Entry{UserID: user, Currency: "USD", Position: position, CommandID: id, Type: CommandType(kind), Status: Status(status),
			Reason: Reason(reason), Message: message, Version: version, Description: description, Actor: actor,
			Metadata: map[string]string{k1: v1, k2: v2}, RecordedAt: time.UnixMicro(at).UTC()}
		for text, field := range map[string]*Amount{amount: &e.Amount, before: &e.TotalBefore, after: &e.TotalAfter} {
			var err error
			if *field, err = ParseAmount(text); err != nil {
				t.Skip()
			}
		}
		copy(e.PrevHash[:], prev)
		c := Command{Type: e.Type, Amount: e.Amount, Description: description, Actor: actor, Metadata: e.Metadata}
		e.RequestHash = c.RequestHash()
		e.Format = CurrentFormat
		rules, _ := RulesOf(CurrentFormat)
		require.Equal(t, e.ComputeHash(), sha256Of(*rules.encodeEntry(&e)))
		require.Equal(t, c.RequestHash(), sha256Of(*rules.encodeCommand(&c)))

		read := &reader{t: t, left: *rules.encodeEntry(&e)}
		require.Equal(t, "wallet-entry-v1", read.text())
		back := Entry{UserID: read.text(), Currency: read.text(), Position: read.number(), CommandID: read.text(), Type: CommandType(read.text()),
			Amount: read.amount(), RequestHash: read.hash(), Status: Status(read.text()), Reason: Reason(read.text()), Message: read.text(),
			TotalBefore: read.amount(), TotalAfter: read.amount(), HoldBefore: read.amount(), HoldAfter: read.amount(), Version: read.number(),
			Description: read.text(), Actor: read.text(), Metadata: read.metadata(), RecordedAt: time.UnixMicro(read.number()).UTC(), PrevHash: read.hash(), Format: CurrentFormat}
		require.Zero(t, read.number(), "no field is set that is hashed by its name")
		require.Empty(t, read.left)
		for _, pair := range [][2]*Amount{{&e.Amount, &back.Amount}, {&e.TotalBefore, &back.TotalBefore}, {&e.TotalAfter, &back.TotalAfter}, {&e.HoldBefore, &back.HoldBefore}, {&e.HoldAfter, &back.HoldAfter}} {
			require.True(t, pair[0].Same(*pair[1]))
			*pair[1] = *pair[0] // the same value, written differently
		}
		require.Equal(t, e, back)

		read = &reader{t: t, left: *rules.encodeCommand(&c)}
		require.Equal(t, "wallet-command-v1", read.text())
		require.Equal(t, string(c.Type), read.text())
		require.Zero(t, c.Amount.Cmp(read.amount()))
		require.Equal(t, []string{description, actor}, []string{read.text(), read.text()})
		require.Equal(t, c.Metadata, read.metadata())
		require.Zero(t, read.number())
		require.Empty(t, read.left)
	})
}
