package wallet

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"reflect"
	"regexp"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// Input is accepted as it is or refused, never changed on the way in. Unknown names, duplicate
// names and invalid Unicode are refused; encoding/json would silently keep the last duplicate
// or replace the bad bytes. An unknown name may be a typo, or a field that only a newer version
// knows: ignoring it would do something other than what was asked for.

// DecodeCommand reads a caller's JSON and validates it. On failure it returns an *InvalidError,
// and a Command with whatever id and type could be read, so the refusal can be recorded under
// that id.
func DecodeCommand(data []byte) (Command, error) { return DecodeCommandOr(data, "") }

// DecodeCommandOr is DecodeCommand, but a command without an id gets idIfNone.
func DecodeCommandOr(data []byte, idIfNone string) (Command, error) {
	var command Command
	if err := decodeJSON(data, "command", &command); err != nil {
		return readableParts(data), err
	}
	if err := refuseEmpty(data); err != nil {
		return command, err
	}
	if command.ID == "" {
		command.ID = idIfNone
	}
	return command, command.Validate()
}

// DecodeBatch reads a JSON array of 1 to 500 commands. One bad command refuses the whole batch;
// the message gives its index.
func DecodeBatch(data []byte) ([]Command, error) {
	var items []jsontext.Value
	if err := decodeJSON(data, "batch", &items); err != nil {
		return nil, err
	}
	if len(items) == 0 || len(items) > MaxBatch {
		return nil, invalid("batch", fmt.Sprint(len(items)), "the batch has %d commands: send 1 to %d", len(items), MaxBatch)
	}
	commands := make([]Command, len(items))
	for i, item := range items {
		command, err := DecodeCommand(item)
		var invalidErr *InvalidError
		if errors.As(err, &invalidErr) {
			at := *invalidErr
			at.Field = fmt.Sprintf("[%d].%s", i, at.Field)
			at.Message = fmt.Sprintf("command %d of the batch (counted from 0): %s", i, at.Message)
			return nil, &at
		}
		commands[i] = command
	}
	return commands, nil
}

// DecodeInput reads the JSON that a workflow or an operation is started with.
func DecodeInput(data []byte, into any) error {
	if err := decodeJSON(data, "input", into); err != nil {
		return err
	}
	return refuseEmpty(data)
}

// DecodeStart reads the JSON that a wallet's workflow is started with. It ignores unknown
// names: refusing them would fail the run and lose the command that may have come with the
// start, and no name in the input affects what a command does.
func DecodeStart(data []byte, into any) error {
	return decodeJSON(data, "input", into, json.RejectUnknownMembers(false))
}

// DecodeAssetRef reads {"user_id", "currency"} and validates both.
func DecodeAssetRef(data []byte) (AssetRef, error) {
	var ref AssetRef
	if err := DecodeInput(data, &ref); err != nil {
		return ref, err
	}
	return ref, ValidateWallet(ref.UserID, ref.Currency)
}

// DecodeApplyCommand reads {"user_id", "currency", "command"} and validates all of it.
// A command without an id gets idIfNone, which is empty unless a schedule sends the command.
func DecodeApplyCommand(data []byte, idIfNone string) (ApplyCommandInput, error) {
	var raw rawApplyCommand
	if err := DecodeInput(data, &raw); err != nil {
		return ApplyCommandInput{}, err
	}
	in, err := raw.decode(idIfNone)
	if err != nil || !raw.ExpiresAtNext {
		return in, err
	}
	if in.ExpiresAtNext = true; idIfNone == "" || in.Command.ID != idIfNone {
		return in, invalid("expires_at_next", "true", "expires_at_next is for a schedule whose command has no id: only it has a next time, so send expires_at")
	}
	if !in.Command.ExpiresAt.IsZero() {
		return in, invalid("expires_at_next", "true", "the command has expires_at too: leave one of them out")
	}
	timed := in.Command
	timed.ExpiresAt = time.Date(2100, 1, 1, 0, 0, 0, 0, time.UTC) // any time shows whether it may have one
	return in, timed.Validate()
}

// rawApplyCommand is an ApplyCommandInput whose command is not decoded yet.
type rawApplyCommand struct {
	AssetRef
	Command       jsontext.Value `json:"command"`
	ExpiresAtNext bool           `json:"expires_at_next"`
}

func (raw rawApplyCommand) decode(idIfNone string) (ApplyCommandInput, error) {
	in := ApplyCommandInput{AssetRef: raw.AssetRef}
	if err := ValidateWallet(in.UserID, in.Currency); err != nil {
		return ApplyCommandInput{}, err
	}
	if err := decodeJSON(raw.Command, "command", &in.Command); err != nil {
		return ApplyCommandInput{}, err
	}
	if in.Command.ID == "" {
		in.Command.ID = idIfNone
	}
	return in, in.Command.Validate()
}

// DecodeLaneItem reads what DecodeApplyCommand does, or {"transaction"} with nothing beside it,
// and validates all of it.
func DecodeLaneItem(data []byte) (LaneItem, error) {
	var raw struct {
		rawApplyCommand
		Transaction jsontext.Value `json:"transaction"`
	}
	if err := decodeJSON(data, "input", &raw); err != nil {
		return LaneItem{}, err
	}
	if raw.Transaction == nil {
		if err := refuseEmpty(data); err != nil {
			return LaneItem{}, err
		}
		in, err := raw.decode("")
		return LaneItem{ApplyCommandInput: &in}, err
	}
	if raw.AssetRef != (AssetRef{}) || raw.Command != nil {
		return LaneItem{}, invalid("transaction", "", "an item is either a command or a transaction, and this one is both: send two")
	}
	t, err := DecodeTransaction(raw.Transaction, "")
	return LaneItem{Transaction: &t}, err
}

// DecodeTransaction reads a caller's transaction and validates it. One without an id gets
// idIfNone.
func DecodeTransaction(data []byte, idIfNone string) (t Transaction, err error) {
	if err := decodeJSON(data, "transaction", &t); err != nil {
		return t, err
	}
	if err := refuseEmpty(data); err != nil {
		return t, err
	}
	if t.ID == "" {
		t.ID = idIfNone
	}
	return t, t.Validate()
}

// asSent are the options for decoding input without losing any of it.
var asSent = json.JoinOptions(
	json.RejectUnknownMembers(true),
	json.WithUnmarshalers(json.JoinUnmarshalers(json.UnmarshalFromFunc(textPairs), json.UnmarshalFromFunc(readTime))),
)

// ParseTime reads a caller's time. It refuses the zero time, which some languages send when they mean
// no time: the hold would then never expire.
func ParseTime(field, text string) (time.Time, error) {
	t, ok := parseTime(text)
	if !ok || t.IsZero() {
		return time.Time{}, notATime(field, quote(text))
	}
	return t, nil
}

func notATime(field, value string) error {
	return invalid(field, value, "%s is %s: send a time such as 2026-01-31T12:00:00Z", field, shorten(value, 60))
}

func parseTime(text string) (t time.Time, ok bool) {
	ok = rfc3339.MatchString(text) && t.UnmarshalText([]byte(text)) == nil
	return t, ok
}

// rfc3339 is stricter than Go, which also reads a comma before the decimals, an hour of one digit,
// and an offset of 60 minutes.
var rfc3339 = regexp.MustCompile(`^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(\.\d+)?(Z|[+-]([01]\d|2[0-3]):[0-5]\d)$`)

// readTime is ParseTime, but in the state that a run carries to the next, the zero time does mean
// none.
func readTime(decoder *jsontext.Decoder, t *time.Time) error {
	value, err := decoder.ReadValue()
	if err != nil {
		return err
	}
	*t = time.Time{}
	if value.Kind() == 'n' {
		return nil
	}
	var text string
	ok := json.Unmarshal(value, &text) == nil
	if ok {
		*t, ok = parseTime(text)
	}
	if ok && (!t.IsZero() || strings.HasPrefix(string(decoder.StackPointer()), "/carried/")) {
		return nil
	}
	return notATime(fieldAt(decoder.StackPointer()), string(value))
}

// refuseEmpty refuses an empty text, null, and a priority of 0, in a field of commands that not every type takes:
// a program whose variable was not set must not place a hold that never expires, for example.
func refuseEmpty(data []byte) error {
	if !bytes.Contains(data, []byte(`""`)) && !bytes.Contains(data, []byte(`null`)) && !bytes.Contains(data, []byte(`"priority"`)) {
		return nil
	}
	decoder := jsontext.NewDecoder(bytes.NewReader(data))
	for {
		token, err := decoder.ReadToken()
		if err != nil { // the end: decodeJSON has refused anything that is not JSON
			return nil
		}
		isZero := token.Kind() == '0' && strings.TrimLeft(token.String(), "-") == "0"
		isEmpty := token.Kind() == 'n' || token.Kind() == '"' && token.String() == "" || isZero
		if !isEmpty {
			continue
		}
		at := decoder.StackPointer() // which costs more than all else
		_, length := decoder.StackIndex(decoder.StackDepth())
		isValue := length%2 == 0 // the names of an object count too
		if !isValue || at.Parent().LastToken() == "metadata" {
			continue
		}
		is, value := "is empty", ""
		if token.Kind() == 'n' {
			is, value = "is null", "null"
		}
		if isZero && at.LastToken() != "priority" {
			continue
		}
		if isZero {
			is, value = "is 0", "0"
		}
		for _, f := range commandFields {
			if name := at.LastToken(); name == f.name {
				return invalid(name, value, "%s %s: send %s, or leave it out", name, is, f.help)
			}
		}
	}
}

// textPairs refuses null as a metadata value, which would be stored as an empty string.
func textPairs(decoder *jsontext.Decoder, pairs *map[string]string) error {
	var nullable map[string]*string
	if err := json.UnmarshalDecode(decoder, &nullable); err != nil {
		return err
	}
	if nullable == nil {
		return nil
	}
	*pairs = make(map[string]string, len(nullable))
	for key, value := range nullable {
		if value == nil {
			return invalid("metadata", "null", "the value of %s in metadata is null: send a text, or leave it out", quote(key))
		}
		(*pairs)[key] = *value
	}
	return nil
}

// decodeJSON unmarshals and puts errors in the caller's terms.
func decodeJSON(data []byte, what string, into any, options ...json.Options) error {
	if !utf8.Valid(data) {
		return invalid(what, string(data), "%s is not valid UTF-8, send UTF-8: %s", what, quote(string(data)))
	}
	if bytes.HasPrefix(data, []byte("\ufeff")) {
		return invalid(what, string(data), "%s begins with a byte order mark: send UTF-8 without one", what)
	}
	shape := jsonShape(reflect.TypeOf(into).Elem().Kind())
	if trimmed := bytes.TrimSpace(data); len(trimmed) == 0 || bytes.Equal(trimmed, []byte("null")) {
		return invalid(what, string(data), "%s is empty: send %s", what, shape)
	}
	err := json.Unmarshal(data, into, append([]json.Options{asSent}, options...)...)
	var invalidErr *InvalidError
	var semantic *json.SemanticError
	var syntax *jsontext.SyntacticError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &invalidErr):
		return invalidErr
	case errors.Is(err, jsontext.ErrDuplicateName) && errors.As(err, &syntax):
		field := fieldAt(syntax.JSONPointer)
		return invalid(cmp.Or(field, what), string(data), "%s of %s is given twice: send it once", cmp.Or(field, `""`), what)
	case errors.Is(err, json.ErrUnknownName) && errors.As(err, &semantic):
		field := fieldAt(semantic.JSONPointer)
		return invalid(cmp.Or(field, what), field, "%s has no field %s: leave it out, or send it to a version of the service that knows it", what, quote(field))
	case errors.As(err, &semantic) && semantic.GoType != nil:
		return wrongShape(semantic, what)
	default:
		return invalid(what, string(data), "%s is not JSON (%s), send %s: %s", what, reasonOf(err), shape, quote(string(data)))
	}
}

// wrongShape says what type a field must have, and what it got.
func wrongShape(err *json.SemanticError, what string) error {
	field, shape := fieldAt(err.JSONPointer), jsonShape(err.GoType.Kind())
	kind := jsonKind(err.JSONKind)
	switch {
	case field == "":
		return invalid(what, kind, "%s must not be a JSON %s: send %s", what, kind, shape)
	case strings.HasPrefix(field, "metadata/"):
		return invalid("metadata", kind, "a value in metadata of %s must not be a JSON %s: send %s", what, kind, shape)
	case kind == "number" && shape == wholeNumber:
		text := shorten(string(err.JSONValue), 60)
		return invalid(field, text, "%s of %s is %s: send %s of at most 19 digits, without decimals or exponent", field, what, text, shape)
	}
	return invalid(field, kind, "%s of %s must not be a JSON %s: send %s", field, what, kind, shape)
}

// fieldAt returns the path to an error: "reply_to/signal".
func fieldAt(at jsontext.Pointer) string {
	var names []string
	for name := range at.Tokens() {
		names = append(names, name)
	}
	return strings.Join(names, "/")
}

// reasonOf says what is wrong with the syntax, and where. It avoids the library's own messages,
// whose wording changes from one call to the next.
func reasonOf(err error) string {
	var syntax *jsontext.SyntacticError
	if errors.As(err, &syntax) && syntax.Err != nil {
		return fmt.Sprintf("%v at byte %d", syntax.Err, syntax.ByteOffset)
	}
	return "it has another shape"
}

const wholeNumber = "a whole number"

// jsonShape names a Go kind as a JSON author would.
func jsonShape(kind reflect.Kind) string {
	switch kind {
	case reflect.Struct, reflect.Map, reflect.Pointer:
		return "an object"
	case reflect.Slice:
		return "an array"
	case reflect.Bool:
		return "true or false"
	case reflect.Int64, reflect.Int32, reflect.Int:
		return wholeNumber
	default:
		return "a string"
	}
}

func jsonKind(kind jsontext.Kind) string {
	switch kind {
	case '0':
		return "number"
	case '"':
		return "string"
	case 't', 'f':
		return "bool"
	case '{':
		return "object"
	case '[':
		return "array"
	default:
		return "null"
	}
}

// readableParts reads id, type and reply_to from a command that cannot be decoded as a whole.
func readableParts(data []byte) Command {
	var fields map[string]jsontext.Value
	var command Command
	if json.Unmarshal(data, &fields) != nil {
		return command
	}
	// What cannot be read stays empty.
	_ = json.Unmarshal(fields["id"], &command.ID)
	_ = json.Unmarshal(fields["type"], &command.Type)
	_ = json.Unmarshal(fields["reply_to"], &command.ReplyTo)
	return command
}
