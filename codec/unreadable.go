package codec

import (
	"fmt"

	commonpb "go.temporal.io/api/common/v1"
	"go.temporal.io/sdk/converter"
)

// Why a payload cannot be opened.
const (
	problemNoKeys     = "this program has no keys"
	problemUnknownKey = "this program does not have that key"
	problemTwice      = "it is encrypted twice"
	problemOtherKey   = "this program has a different key with that id, or the payload was changed"
)

// UnreadableError is for an encrypted payload that this program cannot open. It reveals nothing
// of the content.
type UnreadableError struct{ KeyID, Problem string }

func (e *UnreadableError) Error() string {
	return fmt.Sprintf("payload is encrypted with key %q, and %s: give all workers and callers the same keys in %s",
		e.KeyID, e.Problem, Setting)
}

// NoKeys reports whether the program has no keys at all, which means that it does not use
// encryption.
func (e *UnreadableError) NoKeys() bool { return e.Problem == problemNoKeys }

// Unreadable returns an *UnreadableError for a payload that is still encrypted, otherwise nil.
// A payload's sender chooses its metadata, so only values that this package could have written
// are used.
func Unreadable(payload *commonpb.Payload) error {
	metadata := payload.GetMetadata()
	if string(metadata[converter.MetadataEncoding]) != Encoding {
		return nil
	}
	id := metadata[metadataKeyID]
	unreadable := &UnreadableError{KeyID: string(id[:min(len(id), maxKeyID)]), Problem: problemNoKeys}
	switch problem := string(metadata[metadataProblem]); problem {
	case problemUnknownKey, problemOtherKey, problemTwice:
		unreadable.Problem = problem
	}
	return unreadable
}

// unreadableConverter returns the error to whoever wants a value.
type unreadableConverter struct{}

func (unreadableConverter) Encoding() string { return Encoding }

func (unreadableConverter) ToPayload(any) (*commonpb.Payload, error) { return nil, nil }

func (unreadableConverter) FromPayload(payload *commonpb.Payload, _ any) error {
	return Unreadable(payload)
}

func (unreadableConverter) ToString(payload *commonpb.Payload) string {
	return Unreadable(payload).Error()
}
