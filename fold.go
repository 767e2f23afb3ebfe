package wallet

import (
	"fmt"
	"maps"
	"slices"
	"time"
)

// Asset is one wallet asset: the balance of a user in a currency, and the head
// of its hash chain.
type Asset struct {
	UserID   string `json:"user_id"`
	Currency string `json:"currency"`
	Scale    int32  `json:"scale"`        // the currency's decimals
	Total    Amount `json:"total_amount"` // everything the user owns; below 0, what the user owes
	Hold     Amount `json:"hold_amount"`  // what is reserved of it, and of the credit limit
	// Due is the part of Hold whose holds have expired but have no expire entry in the journal
	// yet. It is already available. Only reads of the current balance set it.
	Due    Amount `json:"due_amount,omitzero"`
	Frozen Frozen `json:"frozen,omitempty"`
	FreezeEnds
	Closed bool `json:"closed,omitempty"`
	// CreditLimit is by how much the total may be below 0.
	CreditLimit Amount `json:"credit_limit,omitzero"`
	Version     int64  `json:"version"`  // applied commands
	Position    int64  `json:"position"` // recorded commands
	// OpenHolds is how many holds are open. NextExpiry is when the next of them expires, zero
	// if none does.
	OpenHolds  int64     `json:"open_holds,omitempty"`
	NextExpiry time.Time `json:"next_expiry,omitzero"`
	// Granted is what is left of grants, a part of what is available. OpenGrants is how many grants
	// are open. NextGrantExpiry is when something of one expires next, zero if nothing does.
	Granted         Amount    `json:"granted_amount,omitzero"`
	OpenGrants      int64     `json:"open_grants,omitempty"`
	NextGrantExpiry time.Time `json:"next_grant_expiry,omitzero"`
	// DueGrants is the part of Total that has expired but has no entry of that in the journal yet.
	// Only reads of the current balance set it.
	DueGrants  Amount     `json:"due_grants_amount,omitzero"`
	Hash       Hash       `json:"hash"`   // of the last journal entry
	Format     int64      `json:"format"` // of that entry; 0 before the first
	Thresholds Thresholds `json:"thresholds,omitempty"`
	// UpdatedAt is when that entry was recorded. Time never runs backwards along a chain, so
	// "the balance at a time" has exactly one answer.
	UpdatedAt time.Time `json:"updated_at"`
}

// Exists reports whether the asset was created: creation is version 1.
func (a Asset) Exists() bool { return a.Version > 0 }

// Available is what may be subtracted: total and credit limit minus what is reserved.
func (a Asset) Available() Amount { return a.withCredit().Sub(a.DueGrants).Sub(a.Reserved()) }

// Owned is Total without what has expired.
func (a Asset) Owned() Amount { return a.Total.Sub(a.DueGrants) }

// Reserved is Hold without what has expired.
func (a Asset) Reserved() Amount { return a.Hold.Sub(a.Due) }

// After is the asset after an entry of its journal.
func (a Asset) After(e Entry) Asset {
	a.Position, a.Hash, a.Format, a.UpdatedAt = e.Position, e.Hash, e.Format, e.RecordedAt
	a.Total, a.Hold, a.Frozen, a.FreezeEnds, a.Closed, a.CreditLimit = e.TotalAfter, e.HoldAfter, e.Frozen, e.FreezeEnds, e.Closed, e.CreditLimit
	if e.Status == StatusApplied {
		a.Version = e.Version
		if e.Threshold != "" {
			a.Thresholds = e.Thresholds
		}
	}
	return a
}

// Account is what a command is decided on: the asset, the holds that the command names or that
// are due to expire, the originals that it reverses, and the grants that any of it is about.
type Account struct {
	Asset
	Holds     map[string]Hold
	Originals map[string]Original
	// Grants are those of the holds and originals, those that are due, and of the open ones those
	// that are used up first: up to GrantsAfter, or all if that is nil.
	Grants      map[int64]Grant
	GrantsAfter *Grant

	// By the last command decided:
	changed       *Hold
	reversed      *Original
	changedGrants []Grant
	parts         GrantParts // that it took, reserved or gave back
	lacksGrants   bool       // it cannot be decided without grants that are not known
}

// Clone is an account with holds and originals of its own.
func (a Account) Clone() Account {
	a.Holds, a.Originals, a.Grants = maps.Clone(a.Holds), maps.Clone(a.Originals), maps.Clone(a.Grants)
	return a
}

// Changed is the hold that the last command placed or changed.
func (a Account) Changed() (Hold, bool) {
	if a.changed == nil {
		return Hold{}, false
	}
	return *a.changed, true
}

// Keep stores the current state of a hold.
func (a *Account) Keep(h Hold) {
	if a.Holds == nil {
		a.Holds = map[string]Hold{}
	}
	a.Holds[h.ID] = h
}

// AutoCreate is the command that the service itself records before the first command of a
// wallet asset that does not exist yet.
func AutoCreate() Command {
	return Command{ID: "_auto-create", Type: TypeCreate, Description: "created by the first command"}
}

// Refusal is why a command is not applied.
type Refusal struct {
	Reason  Reason
	Message string
}

func refuse(reason Reason, format string, args ...any) *Refusal {
	return &Refusal{reason, fmt.Sprintf(format, args...)}
}

// Apply decides a command that has not been seen before. It is pure. The rules of the types
// are in the table kinds; those that hold for all of them are here. It fills every field of
// the Result but Hash and RecordedAt, which the entry has.
//
// It returns an *InconsistentError if what is stored of the wallet cannot be true: nobody
// may be answered on such ground, and nothing be written.
func Apply(before Account, received Received, now time.Time) (Account, Result, error) {
	return formats[CurrentFormat].Apply(before, received, now)
}

// apply is the rules of format 1. Their order decides which reason a refusal gives: a
// command that cannot be understood first, then one that comes too late, then one that can
// never fit the currency, then one for another version of the wallet, then one for which it is
// closed or frozen, then one that does not fit the balance.
func apply(before Account, received Received, now time.Time) (Account, Result, error) {
	c := received.Command
	var totalFits, holdFits bool
	before.Total, totalFits = before.Total.AtScale(before.Scale)
	before.Hold, holdFits = before.Hold.AtScale(before.Scale)
	if !totalFits || !holdFits {
		return before, Result{}, before.inconsistent("total %s or hold %s has more than %d decimals", before.Total, before.Hold, before.Scale)
	}
	if before.CreditLimit.decimals() > before.Scale {
		return before, Result{}, before.inconsistent("credit limit %s has more than %d decimals", before.CreditLimit, before.Scale)
	}
	watched, err := before.watched()
	if err != nil {
		return before, Result{}, err
	}
	before.Asset = before.Thawed(now)
	before.Position++
	before.changed, before.reversed, before.changedGrants, before.parts, before.lacksGrants = nil, nil, nil, nil, false
	after, refused := decide(before, received, now)
	if after.lacksGrants {
		return before, Result{}, &MoreGrantsError{AssetRef{before.UserID, before.Currency}}
	}
	r := Result{
		CommandID: c.ID, LegRef: c.LegRef, SentID: sentID(received.Malformed != "", c.Metadata), Type: c.Type, Position: before.Position, HoldID: c.holdID(), OriginalID: c.OriginalID, Amount: resultAmount(&c, received.Malformed != "", before.Scale),
		TotalBefore: before.Total, TotalAfter: before.Total, HoldBefore: before.Hold, HoldAfter: before.Hold,
		Frozen: before.Frozen, FreezeEnds: before.FreezeEnds, Closed: before.Closed, CreditLimit: before.CreditLimit, Threshold: c.Threshold,
	}
	if refused != nil {
		r.Status, r.Reason, r.Message = StatusUnapplied, refused.Reason, refused.Message
		return before, r, nil
	}
	if after.Hold.IsNegative() || after.Granted.IsNegative() || after.Hold.Add(after.Granted).Cmp(after.withCredit()) > 0 {
		return before, Result{}, before.inconsistent("%s would break 0 <= hold %s + granted %s <= total %s + credit limit %s", c, after.Hold, after.Granted, after.Total, after.CreditLimit)
	}
	r.Crossed = crossed(watched, before.Available(), after.Available())
	if c.Threshold != "" {
		r.Thresholds = after.Thresholds
	}
	after.Version++
	for i := range after.changedGrants {
		g := &after.changedGrants[i]
		g.UpdatedAt, g.Position = now, before.Position
		if c.makesGrant() {
			r.GrantExpiresAt = g.ExpiresAt
		}
	}
	r.Grants = after.parts.String()
	if after.changed != nil {
		h := *after.changed
		h.UpdatedAt, h.Position = now, before.Position
		after.changed = &h
		r.HoldState, r.HoldExpiresAt = h.State, h.ExpiresAt
		if h.IsOpen() {
			r.HoldLeft = h.Left()
		}
	}
	if o, ok := after.Reversed(); ok && !o.Left.IsZero() {
		r.OriginalLeft = o.Left
	}
	r.Frozen, r.FreezeEnds, r.Closed, r.CreditLimit = after.Frozen, after.FreezeEnds, after.Closed, after.CreditLimit
	r.Status, r.Version, r.TotalAfter, r.HoldAfter = StatusApplied, after.Version, after.Total, after.Hold
	return after, r, nil
}

func decide(before Account, received Received, now time.Time) (Account, *Refusal) {
	c := received.Command
	if received.Refused != nil {
		return before, received.Refused
	}
	if received.Malformed != "" {
		return before, &Refusal{ReasonMalformed, received.Malformed}
	}
	kind, known := KindOf(c.Type)
	if !known {
		panic(fmt.Sprintf("wallet: command type %q passed validation", c.Type))
	}
	if refused := c.tooLate(now); refused != nil {
		return before, refused
	}
	amount, fits := c.Amount.AtScale(before.Scale)
	if !fits {
		return before, refuse(ReasonScaleExceeded, "amount %s has more decimals than %s allows (%d): send a rounded amount under a new id",
			c.Amount.Canonical(), before.Currency, before.Scale)
	}
	if refused := c.versionMismatch(before.Asset); refused != nil {
		return before, refused
	}
	if refused := before.stopped(kind); refused != nil {
		return before, refused
	}
	c.Amount = amount
	return kind.apply(before, c, now)
}

// resultAmount is a command's amount with the currency's decimals, if they are enough. 0 is none: the
// journal has no other form of it.
func resultAmount(c *Command, malformed bool, scale int32) Amount {
	if malformed || c.Amount.IsZero() {
		return Amount{}
	}
	amount, fits := c.Amount.AtScale(scale)
	if !fits {
		return c.Amount.Canonical()
	}
	return amount
}

// Answer gives the result of a command whose id is taken: the first answer again,
// or an id_conflict if its content is another.
func Answer(prior Entry, a Asset, c Command) Result {
	if rules, known := formats[prior.Format]; known && prior.RequestHash == rules.RequestHash(c) {
		r := prior.Result()
		r.Replayed = true
		return r
	}
	return Result{
		CommandID: c.ID, Type: c.Type, Amount: c.Amount,
		Status: StatusUnapplied, Reason: ReasonIDConflict,
		Message: fmt.Sprintf("id %s was used before, on %s at position %d, with other content: send this command under a new id",
			quote(c.ID), prior.RecordedAt.Format(time.RFC3339), prior.Position),
		TotalBefore: a.Total, TotalAfter: a.Total, HoldBefore: a.Hold, HoldAfter: a.Hold, Frozen: a.Frozen, FreezeEnds: a.FreezeEnds, Closed: a.Closed, CreditLimit: a.CreditLimit,
		RecordedAt: prior.RecordedAt,
	}
}

// Folded is what commands did to an account.
type Folded struct {
	Account Account
	Entries []Entry  // to append to the journal, including the service's own
	Results []Result // one for each command, in order
	Holds   []Hold   // placed or changed, in their final state
	Grants  []Grant  // made or changed, in their final state
}

// Fold runs commands in order on an account. prior holds the journal entries of those commands
// whose ids are already used. now is Postgres's clock. The service's own entries come first: it
// creates an account that does not exist, unless the first command does, and it expires
// the holds that are due, so that nobody has to wait for funds that an expired hold reserves.
//
// It returns an *UnknownFormatError, and changes nothing, if the journal has entries of a
// later format than this build writes, and an *InconsistentError if what is stored of the
// wallet cannot be true.
func Fold(before Account, prior map[string]*Entry, commands []Received, now time.Time) (Folded, error) {
	if before.Format > CurrentFormat {
		return Folded{}, &UnknownFormatError{before.Format}
	}
	for _, e := range prior {
		if _, known := formats[e.Format]; !known {
			return Folded{}, &UnknownFormatError{e.Format}
		}
	}
	now = now.UTC().Truncate(time.Microsecond)
	if now.Before(before.UpdatedAt) {
		now = before.UpdatedAt
	}
	f := folding{
		Folded: Folded{Account: before, Entries: make([]Entry, 0, len(commands)+1), Results: make([]Result, 0, len(commands))},
		now:    now, known: make(map[string]*Entry, len(commands)),
	}
	f.Account = before.Clone()
	f.Account.Asset = f.Account.Thawed(now)
	if !before.Exists() && !f.opens(commands) {
		if _, err := f.record(&Received{Command: AutoCreate()}); err != nil {
			return Folded{}, err
		}
	}
	if err := f.expire(f.Account.dueHolds(now), f.Account.dueGrants(now)); err != nil {
		return Folded{}, err
	}
	for i := range commands {
		c := &commands[i].Command
		entry, taken := f.known[c.ID]
		if !taken {
			entry, taken = prior[c.ID]
		}
		if taken {
			f.Results = append(f.Results, Answer(*entry, f.Account.Asset, *c))
			continue
		}
		f.nameOriginal(*c, prior)
		entry, err := f.record(&commands[i])
		if err != nil {
			return Folded{}, err
		}
		f.Results = append(f.Results, entry.Result())
		if err := f.expire(nil, dueOf(f.Account.changedGrants, now)); err != nil {
			return Folded{}, err
		}
	}
	for _, number := range slices.Sorted(maps.Keys(f.changedGrants)) {
		f.Grants = append(f.Grants, f.changedGrants[number])
	}
	for _, id := range slices.Sorted(maps.Keys(f.changed)) {
		f.Holds = append(f.Holds, f.changed[id])
	}
	return f.Folded, nil
}

// folding is a Fold in progress.
type folding struct {
	Folded
	now     time.Time
	known   map[string]*Entry // the entries of this fold, by id
	changed map[string]Hold

	changedGrants map[int64]Grant
}

// expire records what has expired, in the order of the times: whoever comes first, the journal has
// the same. A hold gives back to its grants, which may be past: that expires too.
func (f *folding) expire(holds []Hold, grants []Grant) error {
	for len(holds) > 0 || len(grants) > 0 {
		var c Command
		if len(holds) > 0 && (len(grants) == 0 || !grants[0].ExpiresAt.Before(holds[0].ExpiresAt)) {
			c, holds = ExpireCommand(holds[0].ID), holds[1:]
		} else {
			c, grants = ExpireGrantCommand(f.Account.Grants[grants[0].Number]), grants[1:]
		}
		if _, err := f.record(&Received{Command: c}); err != nil {
			return err
		}
		for _, g := range dueOf(f.Account.changedGrants, f.now) {
			if at, found := slices.BinarySearchFunc(grants, g, compareExpiries); !found {
				grants = slices.Insert(grants, at, g)
			}
		}
	}
	return nil
}

func dueOf(grants []Grant, now time.Time) []Grant {
	due := slices.DeleteFunc(slices.Clone(grants), func(g Grant) bool { return !g.IsDue(now) })
	slices.SortFunc(due, compareExpiries)
	return due
}

// record applies a command that has not been seen before.
func (f *folding) record(received *Received) (*Entry, error) {
	before := f.Account.Asset
	after, result, err := Apply(f.Account, *received, f.now)
	if err != nil {
		return nil, err
	}
	f.Entries = append(f.Entries, Entry{})
	entry := &f.Entries[len(f.Entries)-1]
	formats[CurrentFormat].fill(entry, before, &received.Command, &result, f.now)
	after.Asset = after.Asset.After(*entry)
	f.Account = after
	if h, ok := after.Changed(); ok {
		f.Account.Keep(h)
		if f.changed == nil {
			f.changed = map[string]Hold{}
		}
		f.changed[h.ID] = h
	}
	if o, ok := after.Reversed(); ok {
		f.Account.KeepOriginal(o)
	}
	for _, g := range after.changedGrants {
		f.Account.KeepGrant(g)
		if f.changedGrants == nil {
			f.changedGrants = map[int64]Grant{}
		}
		f.changedGrants[g.Number] = g
	}
	f.known[entry.CommandID] = entry
	return entry, nil
}

// opens reports whether the first command creates the account. A create that is refused does
// not, and a refusal needs a wallet that has it on record.
func (f *folding) opens(commands []Received) bool {
	if !Opens(commands) {
		return false
	}
	_, result, err := Apply(f.Account, commands[0], f.now)
	return err == nil && result.Status == StatusApplied
}

// Opens reports whether the first command is one that creates the wallet asset, if it is
// applied.
func Opens(commands []Received) bool {
	return len(commands) > 0 && commands[0].Malformed == "" && commands[0].Refused == nil && commands[0].Command.Type == TypeCreate
}
