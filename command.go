package wallet

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// Command asks for one change to one wallet asset. If it is sent again with the same id and
// content, it counts once and gets the first answer.
type Command struct {
	// ID is chosen by the caller: 1 to 128 characters, unique within user and currency. Ids
	// that begin with "_" are reserved for the service.
	ID   string      `json:"id"`
	Type CommandType `json:"type"`
	// Amount must be above 0 if it is sent; only a credit limit may be 0, which is the same as no amount.
	// Create takes none. Capture and release without an amount apply to everything left of the hold,
	// reverse to everything left of the original.
	Amount Amount `json:"amount,omitzero"`
	// HoldID is the hold to capture, release, raise or extend: the id of the command that
	// placed it.
	HoldID string `json:"hold_id,omitempty"`
	// ExpiresIn is how long after it is placed a hold expires, a freeze ends, or a grant expires after it is
	// added, for example "15m", "24h" or "7d", by Postgres's clock.
	ExpiresIn string `json:"expires_in,omitempty"`
	// ExpiresAt is the time at which a hold or a grant expires, or a freeze ends. Without expires_in and
	// expires_at it never does.
	ExpiresAt time.Time `json:"expires_at,omitzero"`
	// Partial keeps the rest of the hold reserved after a capture, for another capture.
	Partial bool `json:"partial,omitempty"`
	// OriginalID is the add, subtract or capture to reverse: its command id.
	OriginalID string `json:"original_id,omitempty"`
	// Priority makes an add a grant, as an expiry does. Grants are used up by priority: 1 first, 100
	// last. Without one it is 50.
	Priority int64 `json:"priority,omitempty"`
	// ReturnExpired lets a reversal give back what came from grants that have expired since: it comes
	// back without an expiry. Without it such a reversal is refused.
	ReturnExpired bool `json:"return_expired,omitempty"`
	// What a freeze is of: debits, credits or all.
	What string `json:"what,omitempty"`
	// Threshold is the name of the threshold to set or remove: 1 to 32 of a-z, A-Z, 0-9, ".", "_"
	// and "-".
	Threshold string `json:"threshold,omitempty"`
	// NotAfter is the last moment at which the command may be recorded, by Postgres's clock.
	// After it the command is refused.
	NotAfter time.Time `json:"not_after,omitzero"`
	// ExpectedVersion is the version that the wallet must have right before the command, or it
	// is refused. The commands before it in a batch count.
	ExpectedVersion *int64            `json:"expected_version,omitzero"`
	Description     string            `json:"description,omitempty"` // at most 256 characters
	Actor           string            `json:"actor,omitempty"`       // who asked; at most 128 characters
	Metadata        map[string]string `json:"metadata,omitempty"`    // at most 4 KiB as JSON
	// ReplyTo is the workflow that the Result is signalled to, at least once.
	ReplyTo *ReplyTo `json:"reply_to,omitempty"`
	// LegRef is set by the service, for a leg of a transaction.
	LegRef LegRef `json:"-"`
}

// maxReplyToBytes is Temporal's default limit of an id (limit.maxIDLength).
const maxReplyToBytes = 1000

// ReplyTo names a workflow in the same namespace and the signal that delivers the Result to it.
// It is not part of a command's content: a retry may ask for its answer elsewhere.
type ReplyTo struct {
	WorkflowID string `json:"workflow_id"`
	Signal     string `json:"signal"`
}

// Validate checks a caller's command. It returns an *InvalidError with the value and what to
// send instead. Rules that depend on the currency or the balance are left to Apply.
func (c *Command) Validate() error {
	if err := validateName("id", c.ID); err != nil {
		return err
	}
	if strings.HasPrefix(c.ID, "_") {
		return invalid("id", c.ID, "id %s begins with an underscore: such ids belong to the service, choose another", quote(c.ID))
	}
	return c.validateContent()
}

// validateContent checks everything but the id.
func (c *Command) validateContent() error {
	if err := c.validateFields(); err != nil {
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

// validate refuses what Temporal would refuse from a workflow, whose task would fail with it
// again and again; control characters, at which Temporal's Postgres store fails; and wallets,
// which would take the Result for a command.
func (to ReplyTo) validate() error {
	if to.WorkflowID == "" || to.Signal == "" || len(to.WorkflowID)+len(to.Signal) > maxReplyToBytes ||
		!utf8.ValidString(to.WorkflowID) || !utf8.ValidString(to.Signal) {
		return invalid("reply_to", to.WorkflowID, "reply_to needs \"workflow_id\" and \"signal\", at most %d bytes together (got %s and %s)",
			maxReplyToBytes, quote(to.WorkflowID), quote(to.Signal))
	}
	for _, text := range []string{to.WorkflowID, to.Signal} {
		if strings.ContainsFunc(text, unicode.IsControl) {
			return invalid("reply_to", text, "reply_to has a control character in %s: remove it", quote(text))
		}
	}
	if isWalletWorkflow(to.WorkflowID) {
		return invalid("reply_to", to.WorkflowID, "reply_to names the workflow of a wallet, %s: name the workflow that waits for the result", quote(to.WorkflowID))
	}
	return nil
}

// validateFields checks the type, the fields that only some types take, and the conditions. A
// field that the type does not take is refused: it may have been meant for another type, or for
// a newer version of this service.
func (c *Command) validateFields() error {
	kind, known := KindOf(c.Type)
	if !known || kind.Service {
		return invalid("type", string(c.Type), "type %s is unknown: send one of %s", quote(string(c.Type)), callersTypes())
	}
	for _, f := range commandFields {
		switch set := isSet(f.of(c)); {
		case !set && slices.Contains(kind.Required, f.name):
			return invalid(f.name, "", "command %s has no %s: send %s", quote(c.ID), f.name, f.help)
		case set && !kind.allows(f.name):
			text := fieldText(f.of(c))
			return invalid(f.name, text, "%s takes no %s, got %s: leave it out", c.Type, f.name, quote(text))
		}
	}
	if kind.allows("amount") && c.Amount != (Amount{}) {
		if err := c.validateAmount(); err != nil {
			return err
		}
	}
	if err := c.validateConditions(); err != nil {
		return err
	}
	if c.OriginalID != "" {
		if err := validateName("original_id", c.OriginalID); err != nil {
			return err
		}
	}
	if err := c.validateWhat(); err != nil {
		return err
	}
	if err := c.validateThreshold(); err != nil {
		return err
	}
	if err := c.validatePriority(); err != nil {
		return err
	}
	return c.validateHold()
}

// holdID is the hold that a command concerns. A hold that a command places has that command's
// id.
func (c Command) holdID() string { return targetHoldID(c.Type, c.ID, c.HoldID) }

func targetHoldID(t CommandType, commandID, holdID string) string {
	if holdID == "" && t == TypeHold {
		return commandID
	}
	return holdID
}

func (c *Command) validateAmount() error {
	if c.Amount.IsNegative() {
		return notAnAmount(c.Amount.String())
	}
	if c.Amount.IsZero() && c.Type != TypeSetCreditLimit {
		return invalid("amount", c.Amount.String(), "amount %q of command %s is not above 0: send the amount to %s", c.Amount, quote(c.ID), c.Type)
	}
	if n := c.Amount.digits(); n > MaxAmountDigits {
		return tooManyDigits(c.Amount.String(), n)
	}
	return nil
}

func (c *Command) validateMetadata() error {
	if len(c.Metadata) == 0 {
		return nil
	}
	for _, key := range sortedKeys(c.Metadata) { // sorted, so the same input always gives the same error
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

// validateText refuses what Postgres's text type cannot store unchanged.
func validateText(field, value string) error {
	if !utf8.ValidString(value) {
		return invalid(field, value, "%s %s is not valid UTF-8", field, quote(value))
	}
	if strings.ContainsRune(value, 0) {
		return invalid(field, value, "%s %s contains a NUL character: remove it", field, quote(value))
	}
	return nil
}

// Size is an upper bound, and a close one, on the length of the command as JSON with any
// encoder's escaping. Batches are split by it.
func (c Command) Size() int {
	// Lengths of the fields' names with their punctuation, and of what has a bounded length.
	const names, holdNames, otherName, conditionsSize, grantFields = 160, 120, 20, 100, 60
	size := names + SizeAsJSON(c.ID) + SizeAsJSON(string(c.Type)) + SizeAsJSON(c.Amount.String()) +
		SizeAsJSON(c.Description) + SizeAsJSON(c.Actor) + SizeAsJSON(c.HoldID) + SizeAsJSON(c.ExpiresIn)
	if c.HoldID != "" || c.ExpiresIn != "" || c.Partial || !c.ExpiresAt.IsZero() {
		size += holdNames
	}
	if c.OriginalID != "" {
		size += otherName + SizeAsJSON(c.OriginalID)
	}
	if c.What != "" {
		size += otherName + SizeAsJSON(c.What)
	}
	if c.Threshold != "" {
		size += otherName + SizeAsJSON(c.Threshold)
	}
	if c.Priority != 0 || c.ReturnExpired {
		size += grantFields
	}
	if !c.NotAfter.IsZero() || c.ExpectedVersion != nil {
		size += conditionsSize
	}
	for _, key := range sortedKeys(c.Metadata) {
		size += SizeAsJSON(key) + SizeAsJSON(c.Metadata[key]) + len(`"":"",`)
	}
	if c.ReplyTo != nil {
		size += SizeAsJSON(c.ReplyTo.WorkflowID) + SizeAsJSON(c.ReplyTo.Signal)
	}
	return size
}

// SizeAsJSON is the length of a text as JSON in any encoder's escaping, or more: it counts what may be written as \u003c with all its six bytes.
func SizeAsJSON(s string) int {
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
	if c.Amount.IsZero() {
		return fmt.Sprintf("%s (%s)", c.Type, c.ID)
	}
	return fmt.Sprintf("%s %s (%s)", c.Type, c.Amount, c.ID)
}
