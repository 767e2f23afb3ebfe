package wallet

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"
)

// CommandType says what a command does.
type CommandType string

// The command types.
const (
	TypeCreate   CommandType = "create"   // open the wallet asset with zero amounts
	TypeAdd      CommandType = "add"      // total grows by amount
	TypeSubtract CommandType = "subtract" // total shrinks by amount, if that much is available
)

var commandTypes = []CommandType{TypeCreate, TypeAdd, TypeSubtract}

// Command asks for one change of one wallet asset. Sent again with the same id
// and content it counts once and gives the first answer.
type Command struct {
	// ID is the caller's, 1 to 128 characters, unique within user and currency.
	// Ids that begin with "_" are the service's own.
	ID   string      `json:"id"`
	Type CommandType `json:"type"`
	// Amount is above 0 for add and subtract, and absent for create.
	Amount      Amount            `json:"amount,omitzero"`
	Description string            `json:"description,omitempty"` // at most 256 characters
	Actor       string            `json:"actor,omitempty"`       // who asked; at most 128 characters
	Metadata    map[string]string `json:"metadata,omitempty"`    // at most 4 KiB as JSON
	// ReplyTo is where the Result is signalled to, at least once.
	ReplyTo *ReplyTo `json:"reply_to,omitempty"`
}

// ReplyTo names a workflow of the same namespace and the signal that brings it
// the Result. It is not part of a command's content: a retry may ask for its
// answer elsewhere.
type ReplyTo struct {
	WorkflowID string `json:"workflow_id"`
	Signal     string `json:"signal"`
}

// Validate checks a caller's command. It returns an *InvalidError that names the
// value and the remedy. What depends on the currency or the balance is decided
// by Apply.
func (c Command) Validate() error {
	if err := validateName("id", c.ID); err != nil {
		return err
	}
	if strings.HasPrefix(c.ID, "_") {
		return invalid("id", c.ID, "id %s begins with an underscore: such ids belong to the service, choose another", quote(c.ID))
	}
	if err := c.validateAmount(); err != nil {
		return err
	}
	if c.Actor != "" {
		if err := validateName("actor", c.Actor); err != nil {
			return err
		}
	}
	if err := validateText("description", c.Description); err != nil {
		return err
	}
	if n := utf8.RuneCountInString(c.Description); n > MaxDescriptionCharacters {
		return invalid("description", c.Description, "description %s has %d characters: at most %d are allowed",
			quote(c.Description), n, MaxDescriptionCharacters)
	}
	if err := c.validateMetadata(); err != nil {
		return err
	}
	if c.ReplyTo != nil {
		return c.ReplyTo.validate()
	}
	return nil
}

// validate refuses what Temporal would refuse of a workflow, whose task would
// fail with it again and again.
func (to ReplyTo) validate() error {
	if to.WorkflowID == "" || to.Signal == "" || len(to.WorkflowID)+len(to.Signal) > maxWorkflowIDBytes ||
		!utf8.ValidString(to.WorkflowID) || !utf8.ValidString(to.Signal) {
		return invalid("reply_to", to.WorkflowID, "reply_to needs \"workflow_id\" and \"signal\", at most %d bytes together (got %s and %s)",
			maxWorkflowIDBytes, quote(to.WorkflowID), quote(to.Signal))
	}
	return nil
}

func (c Command) validateAmount() error {
	switch c.Type {
	case TypeCreate:
		if !c.Amount.IsZero() {
			return invalid("amount", c.Amount.String(), "create takes no amount, got %q: create first, then add", c.Amount)
		}
	case TypeAdd, TypeSubtract:
		if c.Amount == (Amount{}) {
			return invalid("amount", "", "command %s has no amount: send the amount to %s, as a string such as \"12.50\"", quote(c.ID), c.Type)
		}
		if c.Amount.Cmp(Amount{}) <= 0 {
			return invalid("amount", c.Amount.String(), "amount %q of command %s is not above 0: send the amount to %s", c.Amount, quote(c.ID), c.Type)
		}
		if n := c.Amount.digits(); n > MaxAmountDigits {
			return tooManyDigits(c.Amount.String(), n)
		}
	default:
		return invalid("type", string(c.Type), "type %s is unknown: send create, add or subtract", quote(string(c.Type)))
	}
	return nil
}

func (c Command) validateMetadata() error {
	if len(c.Metadata) == 0 {
		return nil
	}
	for _, key := range sortedKeys(c.Metadata) { // one order, so that one error
		if err := validateText("metadata key", key); err != nil {
			return err
		}
		if err := validateText("metadata value", c.Metadata[key]); err != nil {
			return err
		}
	}
	encoded, err := json.Marshal(c.Metadata)
	if err != nil {
		return invalid("metadata", "", "metadata cannot be written as JSON: %v", err)
	}
	if len(encoded) > MaxMetadataBytes {
		return invalid("metadata", string(encoded), "metadata %s has %d bytes as JSON: at most %d are allowed",
			quote(string(encoded)), len(encoded), MaxMetadataBytes)
	}
	return nil
}

// validateText refuses what Postgres's text cannot hold verbatim.
func validateText(field, value string) error {
	if !utf8.ValidString(value) {
		return invalid(field, value, "%s %s is not valid UTF-8", field, quote(value))
	}
	if strings.ContainsRune(value, 0) {
		return invalid(field, value, "%s %s contains a NUL character: remove it", field, quote(value))
	}
	return nil
}

// Size is at least the length of the command as JSON, in any encoder's escaping, and
// not much more: batches are divided by it.
func (c Command) Size() int {
	const names = 160 // of all fields, with their punctuation
	size := names + sizeAsJSON(c.ID) + sizeAsJSON(string(c.Type)) + sizeAsJSON(c.Amount.String()) +
		sizeAsJSON(c.Description) + sizeAsJSON(c.Actor)
	for _, key := range sortedKeys(c.Metadata) {
		size += sizeAsJSON(key) + sizeAsJSON(c.Metadata[key]) + len(`"":"",`)
	}
	if c.ReplyTo != nil {
		size += sizeAsJSON(c.ReplyTo.WorkflowID) + sizeAsJSON(c.ReplyTo.Signal)
	}
	return size
}

// sizeAsJSON counts what may be written as \u003c with all its six bytes.
func sizeAsJSON(s string) int {
	size := len(s)
	for i := range len(s) {
		switch b := s[i]; {
		case b < ' ', b == '"', b == '\\', b == '<', b == '>', b == '&', b == 0x7f,
			b == 0xe2: // the first byte of U+2028 and U+2029
			size += len(`\u003c`) - 1
		}
	}
	return size
}

// RequestHash is the SHA-256 of a command's content: everything but its id and
// reply_to. An id that comes back with another hash is an id_conflict.
func (c Command) RequestHash() Hash { return c.encode().sum() }

func (c Command) encode() *encoder {
	e := newEncoder("wallet-command-v1")
	e.text(string(c.Type))
	e.amount(c.Amount.Canonical())
	e.text(c.Description)
	e.text(c.Actor)
	e.metadata(c.Metadata)
	return e
}

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
	if slices.Contains(commandTypes, readable.Type) {
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

// sortedKeys fixes the order in which a map is hashed.
func sortedKeys(m map[string]string) []string {
	keys := make([]string, 0, len(m))
	for key := range m {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	return keys
}

// String names a command in logs and messages.
func (c Command) String() string {
	if c.Type == TypeCreate {
		return fmt.Sprintf("%s (%s)", c.Type, c.ID)
	}
	return fmt.Sprintf("%s %s (%s)", c.Type, c.Amount, c.ID)
}
