package wallet

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func TestCommandsThatAreRefusedBeforeTheyLeaveATrace(t *testing.T) {
	long := strings.Repeat("x", 129)
	for name, row := range map[string]struct{ json, message string }{
		"exponent":               {`{"id":"a","type":"add","amount":"1e9"}`, `amount "1e9" is not a plain decimal`},
		"not a number":           {`{"id":"a","type":"add","amount":"NaN"}`, `amount "NaN" is not a plain decimal`},
		"negative":               {`{"id":"a","type":"add","amount":"-1"}`, `amount "-1" is not a plain decimal`},
		"zero":                   {`{"id":"a","type":"add","amount":"0"}`, `amount "0" of command "a" is not above 0`},
		"zero with decimals":     {`{"id":"a","type":"subtract","amount":"0.00"}`, `amount "0.00" of command "a" is not above 0`},
		"no amount":              {`{"id":"a","type":"add"}`, `command "a" has no amount: send it as a string, such as "12.50"`},
		"a JSON number":          {`{"id":"a","type":"add","amount":12.5}`, `amount 12.5 is not a JSON string: send it in quotes`},
		"null amount":            {`{"id":"a","type":"add","amount":null}`, `amount null is not a JSON string`},
		"40 digits":              {`{"id":"a","type":"add","amount":"` + strings.Repeat("9", 40) + `"}`, `has 40 digits: at most 38`},
		"40 digits, decimals":    {`{"id":"a","type":"add","amount":"0.` + strings.Repeat("9", 39) + `"}`, `has 39 digits: at most 38`},
		"empty id":               {`{"id":"","type":"add","amount":"1"}`, `id is empty`},
		"no id":                  {`{"type":"add","amount":"1"}`, `id is empty`},
		"id of 129":              {`{"id":"` + long + `","type":"add","amount":"1"}`, `has 129 characters: at most 128`},
		"id of the service":      {`{"id":"_x","type":"add","amount":"1"}`, `id "_x" begins with an underscore`},
		"id with newline":        {`{"id":"a\nb","type":"add","amount":"1"}`, `id "a\nb" contains a control character`},
		"id is a number":         {`{"id":7,"type":"add","amount":"1"}`, `id of command must not be a JSON number: send a string`},
		"unknown type":           {`{"id":"a","type":"transfer","amount":"1"}`, `type "transfer" is unknown`},
		"no type":                {`{"id":"a","amount":"1"}`, `type "" is unknown`},
		"create with amount":     {`{"id":"a","type":"create","amount":"1"}`, `create takes no amount, got "1"`},
		"actor of 129":           {`{"id":"a","type":"create","actor":"` + long + `"}`, `actor`},
		"long description":       {`{"id":"a","type":"create","description":"` + strings.Repeat("é", 257) + `"}`, `has 257 characters: at most 256`},
		"NUL in description":     {`{"id":"a","type":"create","description":"a\u0000b"}`, `contains a NUL character`},
		"metadata too big":       {`{"id":"a","type":"create","metadata":{"k":"` + strings.Repeat("v", 5<<10) + `"}}`, `at most 4096 are allowed`},
		"metadata not flat":      {`{"id":"a","type":"create","metadata":{"k":{"x":"y"}}}`, `must not be a JSON object`},
		"metadata with number":   {`{"id":"a","type":"create","metadata":{"k":1}}`, `must not be a JSON number: send a string`},
		"reply without signal":   {`{"id":"a","type":"create","reply_to":{"workflow_id":"w"}}`, `reply_to needs "workflow_id" and "signal"`},
		"not an object":          {`[]`, `must not be a JSON array`},
		"a string":               {`"hello"`, `command must not be a JSON string: send an object`},
		"broken JSON":            {`{"id":"a"`, `command is not JSON`},
		"nothing":                {``, `command is empty`},
		"null":                   {`null`, `command is empty: send an object`},
		"byte order mark":        {"\ufeff{}", `command begins with a byte order mark: send UTF-8 without one`},
		"a name of tomorrow":     {`{"id":"a","type":"create","expires_soon":"15m"}`, `command has no field "expires_soon": leave it out, or send it to a version`},
		"a name in capitals":     {`{"ID":"a","type":"create"}`, `command has no field "ID"`},
		"a name within a field":  {`{"id":"a","type":"create","reply_to":{"workflow_id":"w","signal":"s","run_id":"r"}}`, `command has no field "reply_to/run_id"`},
		"an id twice":            {`{"id":"a","type":"create","id":"b"}`, `id of command is given twice`},
		"metadata twice":         {`{"id":"a","type":"create","metadata":{"a":"1"},"metadata":{"b":"2"}}`, `metadata of command is given twice`},
		"a key twice":            {`{"id":"a","type":"create","metadata":{"a":"1","a":"2"}}`, `metadata/a of command is given twice`},
		"null in metadata":       {`{"id":"a","type":"create","metadata":{"a":null}}`, `the value of "a" in metadata is null: send a text`},
		"half a surrogate pair":  {`{"id":"a\ud800","type":"create"}`, `command is not JSON (invalid surrogate pair`},
		"half a pair in a key":   {`{"id":"a","type":"create","metadata":{"\udfff":"x"}}`, `command is not JSON (invalid surrogate pair`},
		"bytes that are no text": {"{\"id\":\"\xff\"}", `command is not valid UTF-8`},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := DecodeCommand([]byte(row.json))
			require.ErrorContains(t, err, row.message)
			require.IsType(t, &InvalidError{}, err)
		})
	}
}

func TestCommandsAreKeptVerbatim(t *testing.T) {
	text := "O'Hara \"x\" %s \\ ../../etc 💶 \u202e \n\t; DROP TABLE wallets"
	data, err := json.Marshal(Command{ID: "💶'\"%s../", Type: TypeAdd, Amount: MustAmount("1.50"), Description: text,
		Actor: "ü", Metadata: map[string]string{text: text}, ReplyTo: &ReplyTo{"w", "s"}})
	require.NoError(t, err)
	command, err := DecodeCommand(data)
	require.NoError(t, err)
	require.Equal(t, text, command.Description)
	require.Equal(t, text, command.Metadata[text])
	again, err := json.Marshal(command)
	require.NoError(t, err)
	require.JSONEq(t, string(data), string(again))

	_, err = DecodeCommand([]byte(`{"id":"` + strings.Repeat("é", 128) + `","type":"create","description":null,"metadata":null,"reply_to":null}`))
	require.NoError(t, err, "128 characters are fine, and null is the same as no field")
}

func TestWalletNamesThatAreRefused(t *testing.T) {
	for _, row := range [][3]string{
		{"", "USD", "user_id is empty"},
		{strings.Repeat("x", 129), "USD", "129 characters"},
		{"a\x00b", "USD", "control character"},
		{"a\xff", "USD", "not valid UTF-8"},
		{"u1", "", `currency "" is not a currency code`},
		{"u1", "U/D", `currency "U/D" is not a currency code`},
		{"u1", "usd", `currency "usd"`},
		{"u1", "U", `currency "U"`},
		{"u1", "1USD", `currency "1USD"`},
		{"u1", "US D", `currency "US D"`},
		{"u1", "ABCDEFGHIJKLMNOPQ", `currency "ABCDEFGHIJKLMNOPQ"`},
	} {
		require.ErrorContains(t, ValidateWallet(row[0], row[1]), row[2])
	}
	for _, row := range [][2]string{{"u1", "USD"}, {"a/b c'\"💶", "GOLD_COIN_2"}, {strings.Repeat("界", 128), "BTC"}} {
		require.NoError(t, ValidateWallet(row[0], row[1]))
	}
}

func TestBatchErrorsNameThePlace(t *testing.T) {
	_, err := DecodeBatch([]byte(`[{"id":"a","type":"create"},{"id":"b","type":"add","amount":"-2"}]`))
	require.ErrorContains(t, err, `command 1 of the batch (counted from 0): amount "-2"`)
	_, err = DecodeBatch([]byte(`[]`))
	require.ErrorContains(t, err, "the batch has 0 commands: send 1 to 500")
	_, err = DecodeBatch([]byte("[" + strings.Repeat(`{"id":"a","type":"create"},`, 500) + `{"id":"a","type":"create"}]`))
	require.ErrorContains(t, err, "the batch has 501 commands")
	commands, err := DecodeBatch([]byte(`[{"id":"a","type":"create"}]`))
	require.NoError(t, err)
	require.Len(t, commands, 1)
}

func TestRequestHashIsTheContent(t *testing.T) {
	base := Command{ID: "a", Type: TypeAdd, Amount: MustAmount("12.5"), Description: "d", Actor: "x", Metadata: map[string]string{"a": "b", "c": "d"}}
	same := base
	same.ID, same.Amount, same.ReplyTo = "b", MustAmount("12.50"), &ReplyTo{"w", "s"}
	require.Equal(t, base.RequestHash(), same.RequestHash(), "id, reply address and zeros at the end are not content")

	for name, change := range map[string]func(*Command){
		"type":           func(c *Command) { c.Type = TypeSubtract },
		"amount":         func(c *Command) { c.Amount = MustAmount("12.51") },
		"description":    func(c *Command) { c.Description = "" },
		"actor":          func(c *Command) { c.Actor = "y" },
		"bleeding field": func(c *Command) { c.Description, c.Actor = "dx", "" },
		"metadata value": func(c *Command) { c.Metadata = map[string]string{"a": "b", "c": "e"} },
		"metadata key":   func(c *Command) { c.Metadata = map[string]string{"a": "b", "cd": ""} },
		"no metadata":    func(c *Command) { c.Metadata = nil },
	} {
		changed := base
		change(&changed)
		require.NotEqual(t, base.RequestHash(), changed.RequestHash(), name)
	}
}

func TestMalformedKeepsThePayload(t *testing.T) {
	payload := []byte(`{"id":"order-7","type":"add","amount":12.5}`)
	readable, err := DecodeCommand(payload)
	require.Error(t, err)
	m := Malformed(payload, "json/plain", readable, err)
	require.Equal(t, MalformedID(payload, "json/plain"), m.Command.ID)
	require.NoError(t, validateName("id", m.Command.ID))
	require.Equal(t, "order-7", m.Command.Metadata["sent_id"])
	require.Equal(t, TypeAdd, m.Command.Type)
	require.Equal(t, string(payload), m.Command.Metadata["payload"])
	require.Contains(t, m.Malformed, "12.5")

	for _, payload := range []string{"", "\xff\x00\xfe", `{"id":"_mine"}`, `{"id":7}`, strings.Repeat("é", 4000), "\x01{"} {
		readable, err := DecodeCommand([]byte(payload))
		require.Error(t, err)
		m := Malformed([]byte(payload), "binary/\xff", readable, err)
		require.Equal(t, MalformedID([]byte(payload), "binary/\xff"), m.Command.ID)
		for _, value := range m.Command.Metadata {
			require.NoError(t, validateText("metadata", value), "Postgres can store it")
		}
	}
}

func TestWorkflowIDsFitTemporal(t *testing.T) {
	require.Equal(t, "wallet-asset/USD/u1", WorkflowID("u1", "USD"))
	require.Equal(t, "command/USD/u1/order-7", ApplyCommandWorkflowID("u1", "USD", "order-7"))
	require.NotEqual(t, ApplyCommandWorkflowID("a/b", "USD", "c"), ApplyCommandWorkflowID("a", "USD", "b/c"), "two commands, two workflows")
	require.NotEqual(t, ApplyCommandWorkflowID("a/b", "USD", "c"), ApplyCommandWorkflowID("a%2Fb", "USD", "c"))
	wide := strings.Repeat("💶", 128)
	slashes := strings.Repeat("/", 128)
	require.LessOrEqual(t, len(ApplyCommandWorkflowID(slashes, "ABCDEFGHIJKLMNOP", wide)), maxWorkflowIDBytes)
	require.LessOrEqual(t, len(WorkflowID(wide, "ABCDEFGHIJKLMNOP")), maxWorkflowIDBytes)
	require.Equal(t, "run/march-credits", RunWorkflowID("march-credits"))
	require.LessOrEqual(t, len(RunWorkflowID(wide)), maxWorkflowIDBytes)
	require.LessOrEqual(t, len(ApplyCommandWorkflowID(wide, "ABCDEFGHIJKLMNOP", wide)), maxWorkflowIDBytes)
	require.Equal(t, "command/USD/u1/schedule/monthly", ScheduledWorkflowID("u1", "USD", "monthly"), "as ever")
	for characters := range 98 {
		run := ScheduledWorkflowID(wide, "ABCDEFGHIJKLMNOP", wide[:4*characters]) + "-2026-12-01T00:00:00Z"
		require.LessOrEqual(t, len(run), maxWorkflowIDBytes)
		run = ScheduledWorkflowID(slashes[:50], "USD", slashes[:characters]) + "-2026-12-01T00:00:00Z"
		require.LessOrEqual(t, len(run), maxWorkflowIDBytes)
	}
	require.NotEqual(t, ScheduledWorkflowID(wide, "USD", "a"), ScheduledWorkflowID(wide, "USD", "b"))
	require.LessOrEqual(t, len("temporal-sys-scheduler:")+MaxScheduleBytes, maxWorkflowIDBytes)
	require.NotEqual(t, WorkflowID(wide, "USD"), WorkflowID(wide[4:]+"x", "USD"))
	hashed := strings.TrimPrefix(WorkflowID(wide, "USD"), "wallet-asset-sha256/USD/")
	require.Len(t, hashed, 64)
	require.NotEqual(t, WorkflowID(wide, "USD"), WorkflowID(hashed, "USD"), "nobody can take the name of another's lock")
}

func TestSizeIsNoLessThanTheJSON(t *testing.T) {
	text := rapid.StringOf(rapid.OneOf(rapid.Rune(), rapid.SampledFrom([]rune{0, '\n', '"', '\\', '<', '>', '&', 0x7f, '\u2028', '\u2029', 'é', '😀'})))
	rapid.Check(t, func(t *rapid.T) {
		c := Command{
			ID: text.Draw(t, "id"), Type: rapid.SampledFrom([]CommandType{TypeCreate, TypeAdd, TypeSubtract}).Draw(t, "type"), Amount: MustAmount("12.50"),
			Description: text.Draw(t, "description"), Actor: text.Draw(t, "actor"),
			Metadata: rapid.MapOf(text, text).Draw(t, "metadata"), HoldID: text.Draw(t, "hold"), ExpiresIn: text.Draw(t, "in"), Partial: rapid.Bool().Draw(t, "partial"),
		}
		if rapid.Bool().Draw(t, "with a condition") {
			c.NotAfter = time.UnixMicro(rapid.Int64Range(0, 1<<50).Draw(t, "not after")).In(time.FixedZone("", 60*rapid.IntRange(-720, 720).Draw(t, "zone")))
		}
		if rapid.Bool().Draw(t, "with a version") {
			c.ExpectedVersion = new(rapid.Int64().Draw(t, "version"))
		}
		if rapid.Bool().Draw(t, "reply") {
			c.ReplyTo = &ReplyTo{WorkflowID: text.Draw(t, "workflow"), Signal: text.Draw(t, "signal")}
		}
		r := Received{Command: c, Malformed: text.Draw(t, "malformed")}
		for value, size := range map[any]int{&c: c.Size(), &r: r.Size()} {
			encoded, err := json.Marshal(value)
			require.NoError(t, err)
			require.LessOrEqual(t, len(encoded), size, "%s", encoded)
		}
	})
	for _, f := range commandFields { // a new one too
		var c Command
		if text, ok := f.of(&c).(*string); ok {
			*text = strings.Repeat("x", 1000)
			require.Greater(t, c.Size(), 1000, f.name)
		}
	}
	require.Less(t, Command{ID: "order-7", Type: TypeAdd, Amount: MustAmount("12.50")}.Size(), 200)
}
