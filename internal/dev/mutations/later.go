package mutations

// Later is a later version of the service: with other words for every refusal, and with other
// rules.
var Later = Mutation{Name: "a later version", Edits: []Edit{
	{File: "grant.go", Old: `"cannot subtract %s %s: %s"`, New: `"%s %s are too much: %s"`},
	{File: "grant.go", Old: `c.Amount.Cmp(a.Available()) > 0`, New: `c.Amount.Cmp(a.Available()) >= 0`},
	{File: "kind.go", Old: `"the %s wallet of user %s exists already"`, New: `"there is a %s wallet of %s"`},
	{File: "grant.go", Old: "if !c.makesGrant() {\n\t\ta.Total = a.Total.Add(c.Amount)", New: "if !c.makesGrant() {\n\t\ta.Total = a.Total.Add(c.Amount).Add(c.Amount)"},
	{File: "hold.go", Old: `"the hold would have expired already, at %s: send a later time under a new id"`, New: `"other words 0: %s"`},
	{File: "hold.go", Old: `"cannot hold %s %s: %s"`, New: `"other words 1: %s %s %s"`},
	{File: "hold.go", Old: `"%d holds are open, and no more than %d may be: capture or release some first"`, New: `"other words 2: %d %d"`},
	{File: "hold.go", Old: `"hold %s already expires %s, and %s is not later: send a later time, or none to keep it"`, New: `"other words 3: %s %s %s"`},
	{File: "hold.go", Old: `"cannot raise hold %s by %s %s: %s"`, New: `"other words 4: %s %s %s %s"`},
	{File: "credit.go", Old: `"%s available (total %s, hold %s%s)"`, New: `"%s can be spent (%s, %s, %s)"`},
	{File: "hold.go", Old: `"hold %s is not due"`, New: `"other words 5: %s"`},
	{File: "hold.go", Old: `"this wallet has no hold %s: use the id of the command that placed it"`, New: `"other words 6: %s"`},
	{File: "hold.go", Old: `"hold %s expired %s: place another one"`, New: `"other words 7: %s %s"`},
	{File: "hold.go", Old: `"hold %s is closed: %s captured, %s released"`, New: `"other words 8: %s %s %s"`},
	{File: "hold.go", Old: `"hold %s has only %s %s left, less than %s: send at most what is left, under a new id"`, New: `"other words 9: %s %s %s %s"`},
	{File: "fold.go", Old: `"amount %s has more decimals than %s allows (%d): send a rounded amount under a new id"`, New: `"%s is too fine for %s (%d)"`},
	{File: "condition.go", Old: `"it is %s, later than not_after %s: if it is still wanted, send it under a new id, with a later time"`, New: `"%s is after %s"`},
	{File: "condition.go", Old: `"the wallet has version %d, not the expected_version %d: read it, and decide again under a new id"`, New: `"%d is not %d"`},
	{File: "fold.go", Old: `"id %s was used before, on %s at position %d, with other content: send this command under a new id"`, New: `"%s: taken (%s, %d)"`},
}}
