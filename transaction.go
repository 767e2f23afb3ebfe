package wallet

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// Limits of a transaction. Its id is shorter than that of a command, because the ids of its
// legs, and of the holds that they place, are made of it. A hundred of the largest commands have
// less than Temporal's 2 MB per payload, in any encoding.
const (
	MinLegs                    = 2
	MaxLegs                    = 100
	MaxTransactionIDCharacters = 100
)

// Transaction is a list of commands for several wallet assets: all are applied, or none.
// If it is sent again with the same id and content, it counts once and gets the first answer.
type Transaction struct {
	// ID is chosen by the caller: 1 to 100 characters, unique among all transactions.
	ID string `json:"id"`
	// Commands are its legs, 2 to 100, applied in this order. They have no ids of their own and no
	// reply_to.
	Commands []Leg `json:"commands"`
	// MustBalance makes the transaction invalid unless in each currency what its legs take
	// (subtract, capture) equals what they give (add).
	MustBalance bool `json:"must_balance,omitempty"`
	// NotAfter, description, actor and metadata are those of every leg that has none of its own.
	NotAfter    time.Time         `json:"not_after,omitzero"`
	Description string            `json:"description,omitempty"`
	Actor       string            `json:"actor,omitempty"`
	Metadata    map[string]string `json:"metadata,omitempty"`
}

// Leg is one command of a transaction, and the wallet that it is for.
type Leg struct {
	AssetRef
	Command
}

// LegRef says which leg of which transaction a command is.
type LegRef struct {
	TransactionID string `json:"transaction_id,omitempty"`
	Leg           int64  `json:"leg,omitempty"`  // from 1
	Legs          int64  `json:"legs,omitempty"` // how many the transaction has
}

func (l *LegRef) appendPairs(all []pair) []pair {
	all = appendPair(all, "transaction_id", &l.TransactionID)
	all = appendPair(all, "leg", &l.Leg)
	return appendPair(all, "legs", &l.Legs)
}

// LegPrefix begins the id of a command that is a leg.
const LegPrefix = "_transaction/"

// LegID is the id of the command that is a leg of a transaction, counted from 1. It is also the
// id of the hold that such a leg places.
func LegID(transactionID string, leg int64) string {
	return LegPrefix + transactionID + "/" + strconv.FormatInt(leg, 10)
}

// Legs are the commands of the transaction as they are recorded: with their ids, and with the
// transaction's description, actor and metadata where they have none.
func (t Transaction) Legs() []Leg {
	legs := make([]Leg, len(t.Commands))
	for i, leg := range t.Commands {
		leg.LegRef = LegRef{t.ID, int64(i + 1), int64(len(t.Commands))}
		leg.ID = LegID(t.ID, leg.LegRef.Leg)
		if leg.NotAfter.IsZero() {
			leg.NotAfter = t.NotAfter
		}
		if leg.Description == "" {
			leg.Description = t.Description
		}
		if leg.Actor == "" {
			leg.Actor = t.Actor
		}
		if len(leg.Metadata) == 0 {
			leg.Metadata = t.Metadata
		}
		legs[i] = leg
	}
	return legs
}

// Wallets are those of the legs, each once.
func (t Transaction) Wallets() (refs []AssetRef) {
	seen := map[AssetRef]bool{}
	for _, leg := range t.Commands {
		if !seen[leg.AssetRef] {
			refs, seen[leg.AssetRef] = append(refs, leg.AssetRef), true
		}
	}
	return refs
}

// Validate checks a caller's transaction. It returns an *InvalidError with the value and what
// to send instead.
func (t Transaction) Validate() error {
	if err := ValidateTransactionID(t.ID); err != nil {
		return err
	}
	if n := len(t.Commands); n < MinLegs || n > MaxLegs {
		return invalid("commands", fmt.Sprint(n), "transaction %s has %d commands: send %d to %d", quote(t.ID), n, MinLegs, MaxLegs)
	}
	for i, leg := range t.Commands {
		if err := leg.validate(); err != nil {
			return ofLeg(i, err)
		}
		if err := t.validateOriginal(leg.Command); err != nil {
			return ofLeg(i, err)
		}
	}
	shared := Command{Type: TypeCreate, NotAfter: t.NotAfter, Description: t.Description, Actor: t.Actor, Metadata: t.Metadata}
	if err := shared.validateContent(); err != nil {
		return err
	}
	if t.MustBalance {
		return t.validateBalance()
	}
	return nil
}

// validateOriginal refuses the reversal of a leg of the same transaction: if it is refused, that
// leg was never applied, and nobody could tell afterwards why.
func (t Transaction) validateOriginal(c Command) error {
	if !strings.HasPrefix(c.OriginalID, LegPrefix) {
		return nil
	}
	for i := range t.Commands {
		if c.OriginalID == LegID(t.ID, int64(i+1)) {
			return invalid("original_id", c.OriginalID, "original_id %s is a command of the same transaction: leave both out", quote(c.OriginalID))
		}
	}
	return nil
}

// ValidateTransactionID accepts 1 to 100 characters, none of them a control character.
func ValidateTransactionID(id string) error {
	return validatePartOfIDs("id", id, MaxTransactionIDCharacters)
}

// validatePartOfIDs validates an id of a transaction or a run, of which the ids of commands are made.
func validatePartOfIDs(field, id string, most int) error {
	if err := validateName(field, id); err != nil {
		return err
	}
	if strings.HasPrefix(id, "_") {
		return invalid(field, id, "%s %s begins with an underscore: such ids belong to the service, choose another", field, quote(id))
	}
	if n := utf8.RuneCountInString(id); n > most {
		return invalid(field, id, "%s %s has %d characters: at most %d are allowed, because the ids of its commands contain it", field, quote(id), n, most)
	}
	return nil
}

func (l Leg) validate() error {
	if err := ValidateWallet(l.UserID, l.Currency); err != nil {
		return err
	}
	if l.ID != "" {
		return invalid("id", l.ID, "a command of a transaction takes no id, got %s: leave it out, its id is made of the transaction's", quote(l.ID))
	}
	if l.ReplyTo != nil {
		return invalid("reply_to", l.ReplyTo.WorkflowID, "a command of a transaction takes no reply_to, got %s: leave it out, the transaction has one answer", quote(l.ReplyTo.WorkflowID))
	}
	return l.validateContent()
}

// ofLeg says which command of a transaction an error is about.
func ofLeg(i int, err error) error {
	var of *InvalidError
	if !errors.As(err, &of) {
		return err
	}
	at := *of
	at.Field = fmt.Sprintf("commands[%d].%s", i, of.Field)
	at.Message = fmt.Sprintf("leg %d of the transaction: %s", i+1, of.Message)
	return &at
}

// validateBalance checks what MustBalance promises.
func (t Transaction) validateBalance() error {
	given, taken := map[string]Amount{}, map[string]Amount{}
	var currencies []string
	for i, leg := range t.Commands {
		if _, known := given[leg.Currency]; !known {
			currencies = append(currencies, leg.Currency)
			given[leg.Currency], taken[leg.Currency] = Amount{}, Amount{}
		}
		switch leg.Type {
		case TypeAdd:
			given[leg.Currency] = given[leg.Currency].Add(leg.Amount)
		case TypeReverse:
			return ofLeg(i, invalid("must_balance", "true", "a reverse gives or takes as its original says, and must_balance is set: leave must_balance out"))
		case TypeSubtract, TypeCapture:
			if leg.Amount == (Amount{}) {
				return ofLeg(i, invalid("amount", "", "a capture without an amount may take anything, and must_balance is set: send the amount"))
			}
			taken[leg.Currency] = taken[leg.Currency].Add(leg.Amount)
		}
	}
	for _, currency := range currencies {
		if given[currency].Cmp(taken[currency]) != 0 {
			return invalid("must_balance", "true", "transaction %s does not balance: in %s its commands take %s and give %s: make them equal, or leave must_balance out",
				quote(t.ID), currency, taken[currency].Canonical(), given[currency].Canonical())
		}
	}
	return nil
}

// RequestHash is the SHA-256 of a transaction's content: of its legs' wallets and request
// hashes, and of must_balance. An id that is sent again with another one is an id_conflict.
func (t Transaction) RequestHash() Hash {
	legs := t.Legs()
	hashes := make([]LegHash, len(legs))
	for i, leg := range legs {
		hashes[i] = LegHash{leg.AssetRef, leg.Command.RequestHash()}
	}
	return HashTransaction(t.MustBalance, hashes)
}

// LegHash is what the request hash of a transaction has of a leg.
type LegHash struct {
	AssetRef
	RequestHash Hash
}

// HashTransaction derives the request hash of a transaction from its legs.
func HashTransaction(mustBalance bool, legs []LegHash) Hash {
	e := newEncoder("wallet-transaction-v1")
	balances := int64(0)
	if mustBalance {
		balances = 1
	}
	e.number(balances)
	e.number(int64(len(legs)))
	for _, leg := range legs {
		e.text(leg.UserID)
		e.text(leg.Currency)
		e.bytes(leg.RequestHash[:])
	}
	return e.sum()
}

// LegResult is the Result of a leg, and its wallet.
type LegResult struct {
	AssetRef
	Result
}

// TransactionResult is the answer to a transaction.
type TransactionResult struct {
	TransactionID string `json:"transaction_id"`
	Status        Status `json:"status"`
	Reason        Reason `json:"reason,omitempty"`  // of the leg that is the cause of a refusal
	Message       string `json:"message,omitempty"` // the same in words
	// RefusedLeg is that leg, from 1; absent for an applied transaction, and for an id_conflict.
	RefusedLeg int64 `json:"refused_leg,omitempty"`
	// Results are those of the legs, in their order. An id_conflict has none: nothing is recorded.
	Results     []LegResult `json:"results,omitempty"`
	RequestHash Hash        `json:"request_hash"` // of what was sent
	RecordedAt  time.Time   `json:"recorded_at,omitzero"`
	// Replayed is true if the id had been answered before: this time nothing changed.
	Replayed bool `json:"replayed"`
}

// NewTransactionResult puts the results of a transaction's legs together.
func NewTransactionResult(id string, requestHash Hash, results []LegResult) TransactionResult {
	r := TransactionResult{TransactionID: id, Status: StatusApplied, Results: results, RequestHash: requestHash}
	for _, leg := range results {
		r.Replayed = r.Replayed || leg.Replayed
		if leg.RecordedAt.After(r.RecordedAt) {
			r.RecordedAt = leg.RecordedAt
		}
		if leg.Status == StatusUnapplied && leg.Reason != ReasonTransactionRefused {
			r.Status, r.Reason, r.Message, r.RefusedLeg = StatusUnapplied, leg.Reason, leg.Message, leg.Leg
		}
	}
	return r
}

// ConflictingTransaction is the answer to a transaction whose id another one has.
func ConflictingTransaction(t Transaction) TransactionResult {
	return TransactionResult{
		TransactionID: t.ID, Status: StatusUnapplied, Reason: ReasonIDConflict, RequestHash: t.RequestHash(),
		Message: fmt.Sprintf("transaction id %s was used before, with other content: send this transaction under a new id", quote(t.ID)),
	}
}

// LaneResult is what a lane has answered to the transaction; nil if it has returned it.
func (t Transaction) LaneResult(a LaneAnswer) (*TransactionResult, error) {
	switch {
	case a.IDConflict:
		return new(ConflictingTransaction(t)), nil
	case a.Facts == nil:
		return nil, nil
	}
	legs := t.Legs()
	received := make([]Received, len(legs))
	for i, leg := range legs {
		received[i].Command = leg.Command
	}
	results, err := a.Facts.Results(received)
	if err != nil {
		return nil, err
	}
	ofLegs := make([]LegResult, len(legs))
	for i, leg := range legs {
		ofLegs[i] = LegResult{leg.AssetRef, results[i]}
	}
	return new(NewTransactionResult(t.ID, t.RequestHash(), ofLegs)), nil
}

// Err is nil for an applied transaction and a *TransactionRefusedError for a refused one.
func (r TransactionResult) Err() error {
	if r.Status == StatusApplied {
		return nil
	}
	return &TransactionRefusedError{r}
}

// TransactionRefusedError is a refusal of a whole transaction: final for its id.
type TransactionRefusedError struct{ Result TransactionResult }

func (e *TransactionRefusedError) Error() string {
	r := e.Result
	if r.RefusedLeg == 0 {
		return fmt.Sprintf("transaction %s was not applied: %s (%s)", quote(r.TransactionID), r.Message, r.Reason)
	}
	return fmt.Sprintf("transaction %s was not applied, because of leg %d of %d: %s (%s)", quote(r.TransactionID), r.RefusedLeg, len(r.Results), r.Message, r.Reason)
}

// Unwrap makes errors.Is(err, ReasonInsufficientFunds) true of a refusal for that reason.
func (e *TransactionRefusedError) Unwrap() error { return e.Result.Reason }

// FoldTransaction applies the legs of a transaction in order, or none of them. It returns what
// became of each: its entries, which are also those of the service that come before it, and its
// result. If a leg is refused, every leg is recorded as refused: that one for its own reason,
// the others with transaction_refused.
//
// account returns the account of a wallet before the transaction. Errors are those of Fold.
func FoldTransaction(account func(AssetRef) Account, t Transaction, now time.Time) ([]Folded, error) {
	legs := t.Legs()
	folded, err := foldLegs(account, legs, nil, now)
	if err != nil || len(folded) == 0 {
		return folded, err
	}
	last := len(folded) - 1
	if r := folded[last].Results[0]; r.Status == StatusUnapplied {
		return foldLegs(account, legs, refusals(legs, last, r), now)
	}
	return folded, nil
}

// refusals returns one for each leg: the cause keeps its reason, the others get
// transaction_refused.
func refusals(legs []Leg, cause int, r Result) []*Refusal {
	all := make([]*Refusal, len(legs))
	for i := range legs {
		all[i] = refuse(ReasonTransactionRefused, "leg %d of %d of the transaction was refused (%s): %s", cause+1, len(legs), r.Reason, r.Message)
	}
	all[cause] = &Refusal{r.Reason, r.Message}
	return all
}

// foldLegs folds legs in order. Without refused it stops at the first refusal; with it, it
// records all legs as refused.
func foldLegs(account func(AssetRef) Account, legs []Leg, refused []*Refusal, now time.Time) ([]Folded, error) {
	current := make(map[AssetRef]Account, len(legs))
	reverses := slices.ContainsFunc(legs, func(l Leg) bool { return l.OriginalID != "" })
	folded := make([]Folded, 0, len(legs))
	for i, leg := range legs {
		before, known := current[leg.AssetRef]
		if !known {
			before = account(leg.AssetRef)
		}
		received := Received{Command: leg.Command}
		if refused != nil {
			received.Refused = refused[i]
		}
		f, err := Fold(before, nil, []Received{received}, now)
		if err != nil {
			return nil, fmt.Errorf("leg %d, the %s wallet of user %s: %w", i+1, leg.Currency, quote(leg.UserID), err)
		}
		if reverses { // a later leg may name what the service recorded before this one
			for _, e := range f.Entries {
				f.Account.KeepOriginal(OriginalOf(e))
			}
		}
		current[leg.AssetRef] = f.Account
		folded = append(folded, f)
		if refused == nil && f.Results[0].Status == StatusUnapplied {
			break
		}
	}
	return folded, nil
}
