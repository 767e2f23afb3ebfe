package wallet

import "time"

// Original is a command as far as a reversal of it has to know it.
type Original struct {
	ID     string
	Type   CommandType
	Status Status
	Gave   bool       // it added to the total, so that a reversal takes
	Moved  Amount     // by how much it changed the total
	Left   Amount     // what has not been reversed of that yet
	Grant  int64      // that it made; 0 if none
	Grants GrantParts // that it took, in order
}

// NamedGrants are the grants that a reversal of it is about.
func (o Original) NamedGrants() (numbers []int64) {
	if o.Grant != 0 {
		numbers = append(numbers, o.Grant)
	}
	for _, part := range o.Grants {
		numbers = append(numbers, part.Grant)
	}
	return numbers
}

// OriginalOf is the command of an entry before it is reversed.
func OriginalOf(e Entry) Original {
	o := Original{ID: e.CommandID, Type: e.Type, Status: e.Status, Gave: e.TotalAfter.Cmp(e.TotalBefore) > 0}
	if o.Gave {
		o.Moved = e.TotalAfter.Sub(e.TotalBefore)
	} else {
		o.Moved = e.TotalBefore.Sub(e.TotalAfter)
	}
	o.Left = o.Moved
	if e.MadeGrant() {
		o.Grant = e.Position
	}
	if !o.Gave {
		o.Grants, _ = ParseGrantParts(e.Grants) // its own reading and verification check it
	}
	return o
}

// WithLeft is the original when reversals have left so much of it.
func (o Original) WithLeft(left Amount) Original {
	o.Left = o.Moved.Sub(o.Moved).Add(left) // with the currency's decimals
	return o
}

// KeepOriginal stores what is left of an original.
func (a *Account) KeepOriginal(o Original) {
	if a.Originals == nil {
		a.Originals = map[string]Original{}
	}
	a.Originals[o.ID] = o
}

// Reversed is the original of which the last command reversed something.
func (a Account) Reversed() (Original, bool) {
	if a.reversed == nil {
		return Original{}, false
	}
	return *a.reversed, true
}

// nameOriginal looks the original of a command up among the entries before it that the account
// was not read with: those of this fold, or of an earlier one of the same transaction.
func (f *folding) nameOriginal(c Command, prior map[string]*Entry) {
	if c.OriginalID == "" {
		return
	}
	if _, known := f.Account.Originals[c.OriginalID]; known {
		return
	}
	if e, known := f.known[c.OriginalID]; known {
		f.Account.KeepOriginal(OriginalOf(*e))
	} else if e, known := prior[c.OriginalID]; known {
		f.Account.KeepOriginal(OriginalOf(*e))
	}
}

// reverse undoes what an add, subtract or capture did to the total, or a part of it. A captured
// amount is available again: its hold stays closed.
func reverse(a Account, c Command, now time.Time) (Account, *Refusal) {
	o, known := a.Originals[c.OriginalID]
	amount := c.Amount
	if amount.IsZero() {
		amount = a.allLeft(o)
	}
	switch available := a.Available(); {
	case !known:
		return a, refuse(ReasonOriginalNotFound, "this wallet has no command %s: check the id, and that the user and the currency are those of the command to reverse", quote(c.OriginalID))
	case o.Status != StatusApplied:
		return a, refuse(ReasonOriginalUnapplied, "command %s was refused, so there is nothing to reverse", quote(o.ID))
	case o.Type == TypeReverse:
		return a, refuse(ReasonOriginalIsReversal, "command %s is a reversal: send its original's amount again as a new command instead", quote(o.ID))
	case !o.IsReversible():
		return a, refuse(ReasonNotReversible, "command %s is of type %s: only add, subtract and capture are reversed", quote(o.ID), o.Type)
	case o.Left.IsZero():
		return a, refuse(ReasonReversalExceeded, "all %s %s of command %s are reversed already", o.Moved, a.Currency, quote(o.ID))
	case amount.Cmp(o.Left) > 0:
		return a, refuse(ReasonReversalExceeded, "only %s of the %s %s of command %s are left to reverse, less than %s: send at most what is left, under a new id", o.Left, o.Moved, a.Currency, quote(o.ID), amount)
	case o.Gave && a.refusesFrozen(FrozenDebits) != nil:
		return a, a.refusesFrozen(FrozenDebits)
	case !o.Gave && a.refusesFrozen(FrozenCredits) != nil:
		return a, a.refusesFrozen(FrozenCredits)
	case o.Gave && amount.Cmp(available) > 0:
		return a, refuse(ReasonInsufficientFunds, "cannot reverse %s %s of command %s: %s", amount, a.Currency, quote(o.ID), a.availableText())
	}
	var refused *Refusal
	if o.Gave {
		a, refused = a.takeBack(o, amount)
		a.Total = a.Total.Sub(amount)
	} else {
		a, refused = a.returnToGrants(o, c, amount, now)
		a.Total = a.Total.Add(amount)
	}
	if refused != nil {
		return a, refused
	}
	o.Left = o.Left.Sub(amount)
	a.reversed = &o
	return a, nil
}

// allLeft is what a reversal without an amount takes or gives back: all that is left, but of an add that
// made a grant no more than is left of that. So what was not used is taken back, however much that is.
func (a Account) allLeft(o Original) Amount {
	if g, known := a.Grants[o.Grant]; known && !g.Left.IsZero() {
		return smaller(o.Left, g.Left)
	}
	return o.Left
}

// IsReversible reports whether a command was applied, and is of a type that is reversed.
func (o Original) IsReversible() bool {
	return o.Status == StatusApplied && (o.Type == TypeAdd || o.Type == TypeSubtract || o.Type == TypeCapture)
}
