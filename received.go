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
	// Refused is set for the legs of a refused transaction: see FoldTransaction.
	Refused *Refusal `json:"-"`
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

const malformedPrefix = "_malformed-"

// metadataSentID is where the record of a malformed command has the id that it was sent under.
const metadataSentID = "sent_id"

// MalformedID is the id that a malformed command is recorded under. It is made of the payload,
// so that the same payload has one entry however often it comes, and it is never the id that
// was sent: the corrected command goes under that one.
func MalformedID(payload []byte, encoding string) string {
	return malformedPrefix + sha256Of(append([]byte(encoding+"\x00"), payload...)).String()
}

// Malformed makes the record of an undecodable or invalid command. Its metadata has the
// beginning of the payload, the hash of all of it, and the id that was sent, if that is
// usable. Of the rest it keeps only what is valid.
func Malformed(payload []byte, encoding string, readable Command, cause error) Received {
	const keptBytes = 1 << 10
	command := Command{ID: MalformedID(payload, encoding), Metadata: map[string]string{
		"payload":          storable(string(payload[:min(len(payload), keptBytes)])),
		"payload_encoding": storable(encoding[:min(len(encoding), 100)]),
		"payload_sha256":   sha256Of(payload).String(),
	}}
	if validateName("id", readable.ID) == nil {
		command.Metadata[metadataSentID] = readable.ID
	}
	if kind, known := KindOf(readable.Type); known && !kind.Service {
		command.Type = readable.Type
	}
	if readable.ReplyTo != nil && readable.ReplyTo.validate() == nil {
		command.ReplyTo = readable.ReplyTo
	}
	return Received{Command: command, Malformed: storable(cause.Error())}
}

// Validate refuses what neither DecodeCommand nor Malformed makes.
func (r *Received) Validate() error {
	if r.Malformed == "" {
		return r.Command.Validate()
	}
	if id := strings.TrimPrefix(r.Command.ID, malformedPrefix); id == r.Command.ID || new(Hash).UnmarshalText([]byte(id)) != nil {
		return invalid("id", r.Command.ID, "id %s is not one of a malformed command", quote(r.Command.ID))
	}
	return r.Command.validateMetadata()
}

// storable makes any bytes text that Postgres and protobuf take.
func storable(s string) string {
	return strings.ReplaceAll(strings.ToValidUTF8(s, "�"), "\x00", "�")
}
