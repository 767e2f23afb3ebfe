package mutations

import "github.com/valueledger/wallet/internal/dev/torture"

// All lists the mutations, by name. No mutation uses the Problem "no final answer", because a
// run with little patience reports that anyway.
var All = []Mutation{
	{
		Name:      "all_or_nothing",
		Mechanism: "If one leg of a transaction is refused, none is applied.",
		Edits: []Edit{{
			File: "transaction.go",
			Old: `r.Status == StatusUnapplied {
		return foldLegs`,
			New: `r.Status == "" {
		return foldLegs`,
		}},
		Faults:   "tamper",
		Problems: []string{"and the journals have"},
	},
	{
		Name:      "append_only",
		Mechanism: "Triggers stop everyone, even the tables' owner, from changing or deleting what was recorded.",
		Edits: []Edit{{
			File: "migrations/00001_ledger.sql",
			Old: `RAISE EXCEPTION '% is append-only: % refused', TG_TABLE_NAME, TG_OP
        USING ERRCODE = 'restrict_violation', HINT = 'Correct a mistake with a new command.';`,
			New: `RETURN coalesce(NEW, OLD);`,
		}},
		Faults:   "tamper",
		Problems: []string{"the hash chain is broken"},
	},
	{
		Name:      "available",
		Mechanism: "What open holds reserve is not available to other commands.",
		Edits: []Edit{{
			File: "fold.go",
			Old:  `return a.withCredit().Sub(a.DueGrants).Sub(a.Reserved())`,
			New:  `return a.withCredit().Sub(a.DueGrants)`,
		}},
		Faults:   "tamper",
		Problems: []string{"contradict each other"},
	},
	{
		Name:      "closed_holds",
		Mechanism: "A captured or released hold cannot be captured again.",
		Edits: []Edit{{
			File: "hold.go",
			Old:  `case !h.IsOpen():`,
			New:  `case false:`,
		}},
		Faults:   "tamper",
		Problems: []string{"the rules say unapplied hold_closed"},
	},
	{
		Name:      "claim",
		Mechanism: "Other content under a transaction's id is refused, whatever wallets it is about.",
		Edits: []Edit{{
			File: "activities/apply_transaction.go",
			Old:  `return c.stored != c.hash`,
			New:  `return c.stored.IsZero()`,
		}},
		Faults:   "tamper",
		Problems: []string{"contradict each other"},
	},
	{
		Name:      "close_empty",
		Mechanism: "A wallet is closed only when nothing is in it.",
		Edits: []Edit{{
			File: "freeze.go",
			Old:  `if !a.Total.IsZero() || !a.Hold.IsZero() || !a.Granted.IsZero() {`,
			New:  `if false {`,
		}},
		Faults:   "tamper",
		Problems: []string{"the rules say unapplied not_empty", "a step ran into a constraint"},
	},
	{
		Name:      "dedupe",
		Mechanism: "A step looks up which of its commands' ids are already in the journal.",
		Edits: []Edit{{
			File: "activities/lock.go",
			Old: `for i := range entries {
		e := &entries[i]
		l.of(wallet.AssetRef{UserID: e.UserID, Currency: e.Currency}).prior[e.CommandID] = e
	}`,
			New: `_ = entries`,
		}},
		Faults:   "tamper",
		Problems: []string{"a step ran into a constraint"},
	},
	{
		Name:      "drain",
		Mechanism: "Before a run ends, it moves all signals that have arrived into its queue.",
		Edits: []Edit{{
			File: "workflows/wallet_asset.go",
			Old: `w.noticeEnd(ctx)
		w.receiveSignals(ctx)
		w.receiveRefreshes()`,
			New: `w.noticeEnd(ctx)
		if !w.shouldContinueAsNew(ctx) {
			w.receiveSignals(ctx)
		}
		w.receiveRefreshes()`,
		}},
		Faults:   "tamper",
		Problems: []string{"was accepted, but is not recorded"},
	},
	{
		Name:      "events_of_all",
		Mechanism: "Every applied entry without an event gets one, however old it is.",
		Edits: []Edit{{
			File: "migrations/00002_roles_and_feed.sql",
			Old:  `AND version > recorded`,
			New:  `AND occurred_at > clock_timestamp() - interval '0.5s' AND version > recorded`,
		}, {
			File: "migrations/00002_roles_and_feed.sql",
			Old:  `    -- The ranges need all events`,
			New: `    PERFORM pg_sleep(0.05);  -- time for a crash
    -- The ranges need all events`,
		}},
		Faults:   "postgres",
		Problems: []string{"has no event", "its event is version"},
	},
	{
		Name:      "expected_version",
		Mechanism: "A command for another version of its wallet is refused.",
		Edits: []Edit{{
			File: "condition.go",
			Old:  `*c.ExpectedVersion == before.Version {`,
			New:  `*c.ExpectedVersion >= 0 {`,
		}},
		Faults:   "tamper",
		Problems: []string{"the rules say unapplied version_mismatch"},
	},
	{
		Name:      "credit_limit",
		Mechanism: "A credit limit below what is used is refused.",
		Edits: []Edit{{
			File: "credit.go",
			Old:  `c.Amount.Cmp(used) < 0 {`,
			New:  `false && c.Amount.Cmp(used) < 0 {`,
		}, {
			File: "fold.go",
			Old:  `after.Hold.IsNegative() || after.Granted.IsNegative() || after.Hold.Add(after.Granted).Cmp(after.withCredit()) > 0 {`,
			New:  `after.Hold.IsNegative() {`,
		}, {
			File: "migrations/00001_ledger.sql",
			Old:  `hold_amount + granted_amount <= total_amount + coalesce(credit_limit, 0) AND`,
			New:  `true AND`,
		}, {
			File: "migrations/00001_ledger.sql",
			Old:  `hold_before <= total_before + coalesce(credit_limit, 0) AND`,
			New:  `true AND`,
		}, {
			File: "migrations/00001_ledger.sql",
			Old:  `hold_after <= total_after + coalesce(credit_limit, 0) AND`,
			New:  `true AND`,
		}},
		Faults:   "tamper",
		Problems: []string{"the rules say unapplied credit_limit_exceeded"},
	},
	{
		Name:      "expire_first",
		Mechanism: "The fold expires due holds before the first command, whoever sends it.",
		Edits: []Edit{{
			File: "fold.go",
			Old:  `if err := f.expire(f.Account.dueHolds(now), f.Account.dueGrants(now)); err != nil {`,
			New: `if len(commands) > 0 { // only the timer's step
	} else if err := f.expire(f.Account.dueHolds(now), f.Account.dueGrants(now)); err != nil {`,
		}},
		Faults:   "tamper",
		Problems: []string{"first it has to expire"},
	},
	{
		Name:      "fallback",
		Mechanism: "A step that does not succeed quickly continues as a regular activity until it does.",
		Edits: []Edit{{
			File: "workflows/policies.go",
			Old:  `if err == nil || isFinal(err) {`,
			New:  `if true {`,
		}},
		Faults:   "postgres",
		Problems: []string{"the Go client gave up", "was accepted, but is not recorded"},
	},
	{
		Name:      "frozen",
		Mechanism: "A freeze refuses changes in its direction.",
		Edits: []Edit{{
			File: "freeze.go",
			Old:  `if !a.Frozen.stops(direction) {`,
			New:  `if true {`,
		}},
		Faults:   "tamper",
		Problems: []string{"the rules say unapplied frozen"},
	},
	{
		Name:      "freeze_ends",
		Mechanism: "A freeze ends at its time, by the time of the entry that comes then.",
		Edits: []Edit{{
			File: "freeze.go",
			Old:  `return !freeze.IsZero() && !now.Before(freeze)`,
			New:  `return false`,
		}},
		Faults:   "tamper",
		Problems: []string{"is unapplied frozen, the rules say applied", "leaves the wallet frozen", "the rules say unapplied freeze_expired"},
	},
	{
		Name:      "longer_freeze",
		Mechanism: "A second freeze ends the first no earlier.",
		Edits: []Edit{{
			File: "freeze.go",
			Old:  `if frozen && (before.IsZero() || !until.IsZero() && before.After(until)) {`,
			New:  `if false {`,
		}},
		Faults:   "tamper",
		Problems: []string{"leaves the wallet frozen"},
	},
	{
		Name:      "freezes_add_up",
		Mechanism: "A second freeze takes nothing of the first back.",
		Edits: []Edit{{
			File: "freeze.go",
			Old: `if f == "" || f == other {
		return other
	}
	return FrozenAll`,
			New: `return other`,
		}},
		Faults:   "tamper",
		Problems: []string{"leaves the wallet frozen"},
	},
	{
		Name:      "crossed_once",
		Mechanism: "A threshold is crossed only by the entry that comes from its other side.",
		Edits: []Edit{{
			File: "threshold.go",
			Old:  `case !wasBelow && isBelow:`,
			New:  `case isBelow:`,
		}},
		Faults:   "tamper",
		Problems: []string{"crosses the thresholds"},
	},
	{
		Name:      "crossed_back",
		Mechanism: "A threshold is crossed upwards only by the entry that comes from below it, after which it is armed again.",
		Edits: []Edit{{
			File: "threshold.go",
			Old:  `case wasBelow && !isBelow:`,
			New:  `case !isBelow:`,
		}},
		Faults:   "tamper",
		Problems: []string{"crosses the thresholds"},
	},
	{
		Name:      "grant_order",
		Mechanism: "Grants are used up by priority, then the soonest expiry.",
		Edits: []Edit{{
			File: "grant.go",
			Old:  `return cmp.Or(cmp.Compare(o.priority, with.priority), compareExpiry(`,
			New:  `return cmp.Or(compareExpiry(`,
		}},
		Faults:   "tamper",
		Problems: []string{"takes, reserves or gives back"},
	},
	{
		Name:      "grant_held",
		Mechanism: "What a hold reserves keeps its grants, which get it back.",
		Edits: []Edit{{
			File: "grant.go",
			Old:  `after.Grants = before.Grants.without(a.parts)`,
			New:  `a.parts, after.Grants = nil, nil`,
		}},
		Faults:   "tamper",
		Problems: []string{"takes, reserves or gives back"},
	},
	{
		Name:      "grant_once",
		Mechanism: "What has expired of a grant does not expire again.",
		Edits: []Edit{{
			File: "grant.go",
			Old:  `after.Left, after.Expired, after.Expiries = before.Left.Sub(before.Left), before.Expired.Add(before.Left), before.Expiries+1`,
			New: `after.Expired, after.Expiries = before.Expired.Add(before.Left), before.Expiries+1
	if before.Expiries > 0 { // or a small grant would be taken from a large total for as long as there is memory
		after.Left = before.Left.Sub(before.Left)
	}`,
		}},
		Faults:   "tamper",
		Problems: []string{"ran into a constraint", "contradict each other"},
	},
	{
		Name:      "grant_returned",
		Mechanism: "A reversal gives back to the grants that its original took from.",
		Edits: []Edit{{
			File: "grant.go",
			Old: `a.parts = alive
	if a = a.change`,
			New: `if alive = nil; false {
	}
	if a = a.change`,
		}},
		Faults:   "tamper",
		Problems: []string{"takes, reserves or gives back"},
	},
	{
		Name:      "grant_stays_expired",
		Mechanism: "What has expired comes back only if a reversal asks for it.",
		Edits: []Edit{{
			File: "grant.go",
			Old:  `case !c.ReturnExpired:`,
			New:  `case false:`,
		}},
		Faults:   "tamper",
		Problems: []string{"the rules say unapplied grant_expired"},
	},
	{
		Name:      "handlers",
		Mechanism: "A run does not end while updates wait for their answers.",
		Edits: []Edit{{
			File: "workflows/wallet_asset.go",
			Old:  `w.queuedBytes() <= maxCarriedBytes && workflow.AllHandlersFinished(ctx)`,
			New:  `w.queuedBytes() <= maxCarriedBytes`,
		}},
		Faults:   "tamper",
		Problems: []string{"was left without an answer"},
	},
	{
		Name:      "holds_in_transaction",
		Mechanism: "The rows of holds are committed together with the journal's entries that change them.",
		Edits: []Edit{{
			File: "activities/apply_groups.go",
			Old: `	if holds := l.holdsToWrite(); len(holds) > 0 {
		last.Queue(rows.UpsertHolds, rows.HoldParameters(holds)...)
	}
`,
			New: ``,
		}, {
			File: "activities/apply_groups.go",
			Old: `	last := &pgx.Batch{}
	if len(l.entries) > 0 {
`,
			New: `	last := &pgx.Batch{}
	if holds := l.holdsToWrite(); len(holds) > 0 {
		last.Queue(rows.UpsertHolds, rows.HoldParameters(holds)...)
		last.Queue(sqlCommit)
		last.Queue("SELECT pg_sleep(0.05)") // time for a crash between them
		last.Queue(sqlBegin)
	}
	if len(l.entries) > 0 {
`,
		}},
		Faults:   "postgres",
		Problems: []string{"the rules say applied", "the row of hold", "nobody placed it", "verify: wallet_holds", "a step ran into a constraint"},
	},
	{
		Name:      "lane_claim",
		Mechanism: "A lane finds out whose the ids of its transactions are, and what the journals have of them.",
		Edits: []Edit{{
			File: "activities/apply_transaction.go",
			Old:  `if c.stored = first[i].hash; !taken[c.ID] {`,
			New:  `if c.stored = c.hash; i < 0 {`,
		}},
		Faults:   "tamper",
		Problems: []string{"a step ran into a constraint"},
	},
	{
		Name:      "lane_lock",
		Mechanism: "A lane locks the rows that it writes to.",
		Edits: []Edit{{
			File: "activities/lock.go",
			Old:  `FOR NO KEY UPDATE SKIP LOCKED) AS asset`,
			New:  `) AS asset`,
		}},
		Faults:   "tamper",
		Problems: []string{"a step ran into a constraint"},
	},
	{
		Name:      "legs_together",
		Mechanism: "All legs of a transaction are committed together.",
		Edits: []Edit{{
			File: "activities/apply_transaction.go",
			Old: `groups := newClaim(of).groups()
	return`,
			New: `groups := newClaim(of).groups()
	if len(groups) > 0 {
		var results []wallet.LegResult
		for i := range groups {
			outcomes, err := a.applyGroups(ctx, groups[i:i+1])
			if err != nil {
				return wallet.ApplyTransactionOutput{}, err
			}
			results = append(results, wallet.LegResult{AssetRef: groups[i].AssetRef, Result: outcomes[0].results[0]})
		}
		return wallet.ApplyTransactionOutput{Result: wallet.NewTransactionResult(of.ID, of.RequestHash(), results)}, nil
	}
	return`,
		}},
		Faults:   "tamper",
		Problems: []string{"are applied"},
	},
	{
		Name:      "lock_order",
		Mechanism: "All transactions lock the rows of wallets in one order.",
		Edits: []Edit{{
			File: "activities/lock.go",
			Old: `FROM unnest($1::text[], $2::text[]) AS wanted (user_id, currency)
		CROSS JOIN LATERAL (
			SELECT ` + "` + rows.AssetColumns + `" + `
			FROM wallet_assets`,
			New: `FROM (SELECT * FROM unnest($1::text[], $2::text[]) AS w (user_id, currency) ORDER BY random()) AS wanted
		CROSS JOIN LATERAL (
			SELECT ` + "` + rows.AssetColumns + `" + `
			FROM wallet_assets`,
		}, {
			File: "activities/lock.go",
			Old:  "`FOR NO KEY UPDATE) AS asset`",
			New:  "`FOR NO KEY UPDATE) AS asset WHERE pg_sleep(0.1)::text = ''`", // time for another transaction
		}},
		Faults:   "tamper",
		Load:     torture.LoadTransfers,
		Problems: []string{"a deadlock"},
	},
	{
		Name:      "not_after",
		Mechanism: "A command that would be recorded after its not_after is refused.",
		Edits: []Edit{{
			File: "condition.go",
			Old:  `!now.After(c.NotAfter) {`,
			New:  `!now.IsZero() {`,
		}},
		Faults:   "tamper",
		Problems: []string{"the rules say unapplied too_late"},
	},
	{
		Name:      "one_transaction",
		Mechanism: "The journal's entries and the balance are committed together.",
		Edits: []Edit{{
			File: "activities/apply_groups.go",
			Old: `last.Queue(sql, parameters...)
	} else {`,
			New: `last.Queue(sqlCommit)
		last.Queue("SELECT pg_sleep(0.05)") // time for a crash between them
		last.Queue(sqlBegin)
		last.Queue(sql, parameters...)
	} else {`,
		}},
		Faults:   "postgres",
		Problems: []string{"a step ran into a constraint", "the balance is total"},
	},
	{
		Name:      "request_hash",
		Mechanism: "A used id returns its answer only for the same content.",
		Edits: []Edit{{
			File: "fold.go",
			Old:  `if rules, known := formats[prior.Format]; known && prior.RequestHash == rules.RequestHash(c) {`,
			New:  `if true {`,
		}},
		Faults:   "tamper",
		Problems: []string{"that is an id_conflict"},
	},
	{
		Name:      "reopened",
		Mechanism: "A create opens a closed wallet again.",
		Edits: []Edit{{
			File: "kind.go",
			Old:  `if a.Exists() && !a.Closed {`,
			New:  `if a.Exists() {`,
		}},
		Faults:   "tamper",
		Problems: []string{"is unapplied already_exists, the rules say applied"},
	},
	{
		Name:      "reversed_before",
		Mechanism: "What was reversed of a command before is not left to reverse.",
		Edits: []Edit{{
			File: "activities/reversal.go",
			Old:  `o.WithLeft(left)`,
			New:  `o`,
		}},
		Faults:   "tamper",
		Problems: []string{"the rules say unapplied reversal_exceeded", "to reverse, the rules say"},
	},
	{
		Name:      "row_lock",
		Mechanism: "A step locks its wallet asset's row, so that two steps never write to one wallet at once.",
		Edits: []Edit{{
			File: "activities/lock.go",
			Old:  `FOR NO KEY UPDATE) AS asset`,
			New:  `) AS asset`,
		}},
		Faults:   "tamper",
		Problems: []string{"a step ran into a constraint"},
	},
	{
		Name:      "run_guard",
		Mechanism: "No line of a run is applied once a pause or a cancel is recorded.",
		Edits: []Edit{{
			File: "activities/apply_run.go",
			Old: `	batch.Queue(sqlLockPart, p.in.RunID, p.in.Part)
	batch.Queue(sqlRunPart`,
			New: `	batch.Queue("SELECT pg_sleep(0.4)") // time for a pause
	batch.Queue(sqlRunPart`,
		}, {
			File: "activities/apply_run.go",
			Old: `		case p.state != wallet.RunRunning:
			return errNotRunning
		case saves != p.saves:`,
			New: `		case saves < 0:`,
		}},
		Faults:   "tamper",
		Problems: []string{"lines were in journals once it was", "was applied after the run was cancelled"},
	},
	{
		Name:      "run_waiting",
		Mechanism: "Lines of a run whose wallet is locked are put aside, and the run is not done without them.",
		Edits: []Edit{
			{
				File: "activities/run_save.go",
				Old:  `sqlMove, moved := sqlInsertWaiting, o.undone`,
				New:  `sqlMove, moved := sqlInsertWaiting, o.undone[:0]`,
			},
			{
				File: "activities/run_state.go",
				Old:  `in.State == wallet.RunDone && undone != 0`,
				New:  `in.State == wallet.RunDone && undone < 0`,
			},
		},
		Faults:   "tamper",
		Problems: []string{"are done and 0 invalid"},
	},
	{
		Name:      "run_lines",
		Mechanism: "Lines are refused unless their run is there and still being staged.",
		Edits: []Edit{{
			File: "migrations/00001_ledger.sql",
			Old:  `WHERE run_id = run AND state = 'staged' AND lines IS NULL FOR SHARE`,
			New:  `WHERE run_id = run FOR SHARE`,
		}},
		Faults:   "tamper",
		Problems: []string{"took a line after it was done"},
	},
	{
		Name:      "salvage",
		Mechanism: "\"wallet salvage\" finds the signals that a run had accepted when the server ended it, and sends them again.",
		Edits: []Edit{{
			File: "workflows/accepted.go",
			Old:  `if signal.GetSignalName() != wallet.SignalCommand {`,
			New:  `if true {`,
		}},
		Faults:   "limit",
		Problems: []string{"was accepted, but is not recorded"},
	},
	{
		Name:      "signals_first",
		Mechanism: "An update is queued behind the signals that were accepted before it.",
		Edits: []Edit{{
			File: "workflows/queue.go",
			Old:  `w.receiveSignals(ctx)`,
			New:  ``,
		}},
		Faults:   "tamper",
		Problems: []string{"and comes before it"},
	},
	{
		Name:      "synchronous",
		Mechanism: "No answer comes before a synchronous standby has what it says.",
		Edits: []Edit{{
			File: "activities/transaction.go",
			Old:  `CASE current_setting('synchronous_commit') WHEN 'off' THEN 'on' ELSE current_setting('synchronous_commit') END, true)`,
			New:  `'local', true)`,
		}},
		Faults:   "promotion",
		Problems: []string{"was answered, but is not recorded", "but is recorded as"},
	},
	{
		Name:      "time_forward",
		Mechanism: "An entry's time is not before that of the last one, wherever Postgres's clock has gone.",
		Edits: []Edit{{
			File: "fold.go",
			Old:  `if now.Before(before.UpdatedAt) {`,
			New:  `if false {`,
		}, {
			File: "activities/lock.go",
			Old:  `if clock.Before(a.UpdatedAt) {`,
			New:  `if false {`,
		}},
		Faults:   "clock",
		Problems: []string{"time runs backwards"},
	},
}
