package wallet

import (
	"strings"
)

// Received is a command as it reached a wallet: either a valid one, or the record of one that
// could not be understood.
type Received struct {
	Command Command `json:"command"`
	// Malformed says what was wrong; empty for a valid command.
	Malformed string `json:"malformed,omitempty"`
}

// maxMalformedBytes is the most that Malformed takes as JSON.
const maxMalformedBytes = 2 << 10

// Size is Command.Size plus room for Malformed, whatever its text. A run splits batches by it,
// on replay too, and the text may differ between versions.
func (r Received) Size() int {
	size := r.Command.Size() + len(`{"command":,"malformed":""}`)
	if r.Malformed != "" {
		size += maxMalformedBytes
	}
	return size
}

// Malformed records a command that cannot be decoded or is invalid. It uses the command's own
// id if that is valid, otherwise fallbackID. Metadata holds the beginning of the payload and
// the hash of all of it, to show what came and to recognize the same payload when it comes
// again. Parts of readable that would not pass validation are dropped.
func Malformed(payload []byte, encoding string, readable Command, fallbackID string, cause error) Received {
	const keptBytes = 1 << 10
	id := readable.ID
	if validateName("id", id) != nil || strings.HasPrefix(id, "_") {
		id = fallbackID
	}
	command := Command{ID: id, Metadata: map[string]string{
		"payload":          storable(string(payload[:min(len(payload), keptBytes)])),
		"payload_encoding": storable(encoding[:min(len(encoding), 100)]),
		"payload_sha256":   sha256Of(payload).String(),
	}}
	if kind, known := KindOf(readable.Type); known && !kind.Service {
		command.Type = readable.Type
	}
	if readable.ReplyTo != nil && readable.ReplyTo.validate() == nil {
		command.ReplyTo = readable.ReplyTo
	}
	return Received{Command: command, Malformed: storable(cause.Error())}
}

// storable turns any bytes into text that Postgres and protobuf accept.
func storable(s string) string {
	return strings.ReplaceAll(strings.ToValidUTF8(s, "�"), "\x00", "�")
}
