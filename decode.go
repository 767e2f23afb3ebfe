package wallet

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"unicode/utf8"
)

// DecodeCommand reads a caller's JSON and validates it. Fields that it does not
// know are ignored, so that a newer caller can talk to an older service. On
// failure it returns an *InvalidError, and a Command that has the id and type if
// those could be read, so that the refusal can be recorded under them.
func DecodeCommand(data []byte) (Command, error) {
	var command Command
	if err := decodeJSON(data, "command", &command); err != nil {
		return readableParts(data), err
	}
	return command, command.Validate()
}

// DecodeBatch reads a JSON array of 1 to 500 commands. One bad command refuses
// the whole batch, with its place in the message.
func DecodeBatch(data []byte) ([]Command, error) {
	var items []json.RawMessage
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
func DecodeInput(data []byte, into any) error { return decodeJSON(data, "input", into) }

// DecodeAssetRef reads {"user_id", "currency"} and validates both.
func DecodeAssetRef(data []byte) (AssetRef, error) {
	var ref AssetRef
	if err := DecodeInput(data, &ref); err != nil {
		return ref, err
	}
	return ref, ValidateWallet(ref.UserID, ref.Currency)
}

// DecodeApplyCommand reads {"user_id", "currency", "command"} and validates all of it.
// A command without an id gets idIfNone.
func DecodeApplyCommand(data []byte, idIfNone string) (ApplyCommandInput, error) {
	ref, err := DecodeAssetRef(data)
	if err != nil {
		return ApplyCommandInput{}, err
	}
	var raw struct {
		Command json.RawMessage `json:"command"`
	}
	if err := DecodeInput(data, &raw); err != nil {
		return ApplyCommandInput{}, err
	}
	in := ApplyCommandInput{AssetRef: ref}
	if err := decodeJSON(raw.Command, "command", &in.Command); err != nil {
		return ApplyCommandInput{}, err
	}
	if in.Command.ID == "" {
		in.Command.ID = idIfNone
	}
	return in, in.Command.Validate()
}

// decodeJSON unmarshals with errors in the caller's terms.
func decodeJSON(data []byte, what string, into any) error {
	if !utf8.Valid(data) { // encoding/json would replace the bytes silently
		return invalid(what, string(data), "%s is not valid UTF-8, send UTF-8: %s", what, quote(string(data)))
	}
	if bytes.HasPrefix(data, []byte("\ufeff")) {
		return invalid(what, string(data), "%s begins with a byte order mark: send UTF-8 without one", what)
	}
	shape := jsonShape(reflect.TypeOf(into).Elem().Kind().String())
	if trimmed := bytes.TrimSpace(data); len(trimmed) == 0 || bytes.Equal(trimmed, []byte("null")) {
		return invalid(what, string(data), "%s is empty: send %s", what, shape)
	}
	err := json.Unmarshal(data, into)
	if err == nil {
		return nil
	}
	var invalidErr *InvalidError
	if errors.As(err, &invalidErr) {
		return invalidErr
	}
	var typeErr *json.UnmarshalTypeError
	if errors.As(err, &typeErr) {
		field, shape := typeErr.Field, jsonShape(typeErr.Type.Kind().String())
		if field == "" {
			return invalid(what, typeErr.Value, "%s must not be a JSON %s: send %s", what, typeErr.Value, shape)
		}
		if field == "metadata" && shape == "a string" { // its own is an object
			return invalid(field, typeErr.Value, "a value in metadata of %s must not be a JSON %s: send %s", what, typeErr.Value, shape)
		}
		return invalid(field, typeErr.Value, "%s of %s must not be a JSON %s: send %s", field, what, typeErr.Value, shape)
	}
	return invalid(what, string(data), "%s is not JSON (%v), send %s: %s", what, err, shape, quote(string(data)))
}

// jsonShape names a Go kind as a JSON author would.
func jsonShape(kind string) string {
	switch kind {
	case "struct", "map", "ptr":
		return "an object"
	case "slice":
		return "an array"
	default:
		return "a string"
	}
}

// readableParts picks id and type out of a command that cannot be read whole.
func readableParts(data []byte) Command {
	var fields map[string]json.RawMessage
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
