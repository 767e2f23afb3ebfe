package wallet

import (
	"strings"
)

// Received is a command as it reached a wallet: a good one, or the trace of one
// that could not be understood and is recorded all the same.
type Received struct {
	Command Command `json:"command"`
	// Malformed says what was wrong; empty for a good command.
	Malformed string `json:"malformed,omitempty"`
}

// maxMalformedBytes is what a reason takes as JSON at most.
const maxMalformedBytes = 2 << 10

// Size is Command.Size for what came with a reason for its refusal. It does not depend
// on the words of that: a run's batches are cut by it, on replay too, and other versions
// have other words.
func (r Received) Size() int {
	size := r.Command.Size() + len(`{"command":,"malformed":""}`)
	if r.Malformed != "" {
		size += maxMalformedBytes
	}
	return size
}

// Malformed makes the record of an undecodable or invalid command: under its own
// id if that is usable, else under fallbackID, with the beginning of the payload
// and the hash of all of it as metadata, so that what came can be seen and the
// same payload is recognized when it comes again. Nothing of the readable parts
// is taken over that would not pass validation.
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

// storable makes any bytes text that Postgres and protobuf take.
func storable(s string) string {
	return strings.ReplaceAll(strings.ToValidUTF8(s, "�"), "\x00", "�")
}
