package mutations

// All are the mutations, by name. No Problem is "no final answer", since a run with
// little patience reports that by itself.
var All = []Mutation{
	{
		Name:      "append_only",
		Mechanism: "Triggers refuse to change or delete what was recorded, to the owner of the tables too.",
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
		Mechanism: "What open holds reserve is not available to others.",
		Edits: []Edit{{
			File: "fold.go",
			Old:  `return a.Total.Sub(a.Reserved())`,
			New:  `return a.Total`,
		}},
		Faults:   "tamper",
		Problems: []string{"panic"},
	},
	{
		Name:      "closed_holds",
		Mechanism: "A hold that was captured or released is not captured again.",
		Edits: []Edit{{
			File: "hold.go",
			Old:  `case !h.IsOpen():`,
			New:  `case false:`,
		}},
		Faults:   "tamper",
		Problems: []string{"the rules say unapplied hold_closed"},
	},
	{
		Name:      "dedupe",
		Mechanism: "A step looks up which of its commands' ids the journal already has.",
		Edits: []Edit{{
			File: "activities/groups.go",
			Old: `for _, e := range prior {
		b.know(e)
	}`,
			New: `_ = prior`,
		}},
		Faults:   "tamper",
		Problems: []string{"a step ran into a constraint"},
	},
	{
		Name:      "drain",
		Mechanism: "Before a run ends, it takes the signals that have arrived into its queue.",
		Edits: []Edit{{
			File: "workflows/wallet_asset.go",
			Old: `w.noticeEnd(ctx)
		w.receiveSignals(ctx)`,
			New: `w.noticeEnd(ctx)
		if !w.mustContinueAsNew(ctx) {
			w.receiveSignals(ctx)
		}`,
		}},
		Faults:   "tamper",
		Problems: []string{"was accepted, but is not recorded"},
	},
	{
		Name:      "events_of_all",
		Mechanism: "Events are recorded of all applied entries that have none, however old they are.",
		Edits: []Edit{{
			File: "migrations/00002_roles_and_feed.sql",
			Old:  `AND version > recorded`,
			New:  `AND occurred_at > clock_timestamp() - interval '0.5s' AND version > recorded`,
		}, {
			File: "migrations/00002_roles_and_feed.sql",
			Old: `range_from := NULL;
        -- All`,
			New: `range_from := NULL;
        PERFORM pg_sleep(0.05);  -- time for a crash
        -- All`,
		}},
		Faults:   "postgres",
		Problems: []string{"has no event", "its event is version"},
	},
	{
		Name:      "expire_first",
		Mechanism: "Holds that are due expire in the fold, before the first command, whoever sends it.",
		Edits: []Edit{{
			File: "fold.go",
			Old: `for _, h := range f.Account.dueHolds(now) {
		f.record(Received{Command: ExpireCommand(h.ID)})
	}`,
			New: `if len(commands) == 0 { // only the timer's step
		for _, h := range f.Account.dueHolds(now) {
			f.record(Received{Command: ExpireCommand(h.ID)})
		}
	}`,
		}},
		Faults:   "tamper",
		Problems: []string{"first it has to expire"},
	},
	{
		Name:      "fallback",
		Mechanism: "A step that does not succeed quickly goes on as a regular activity, until it does.",
		Edits: []Edit{{
			File: "workflows/policies.go",
			Old:  `if err == nil || isFinal(err) {`,
			New:  `if true {`,
		}},
		Faults:   "postgres",
		Problems: []string{"the Go client gave up", "was accepted, but is not recorded"},
	},
	{
		Name:      "handlers",
		Mechanism: "A run does not end while updates wait for their answers.",
		Edits: []Edit{{
			File: "workflows/wallet_asset.go",
			Old:  `w.queueSize() <= maxCarriedBytes && workflow.AllHandlersFinished(ctx)`,
			New:  `w.queueSize() <= maxCarriedBytes`,
		}},
		Faults:   "tamper",
		Problems: []string{"was left without an answer"},
	},
	{
		Name:      "holds_in_transaction",
		Mechanism: "The rows of holds are committed together with the journal's entries that change them.",
		Edits: []Edit{{
			File: "activities/groups.go",
			Old: `	if holds := b.changedHolds(); len(holds) > 0 {
		last.Queue(rows.UpsertHolds, rows.HoldParameters(holds)...)
	}
`,
			New: ``,
		}, {
			File: "activities/groups.go",
			Old: `	last := &pgx.Batch{}
	if len(b.entries) > 0 {
`,
			New: `	last := &pgx.Batch{}
	if holds := b.changedHolds(); len(holds) > 0 {
		last.Queue(rows.UpsertHolds, rows.HoldParameters(holds)...)
		last.Queue(sqlCommit)
		last.Queue("SELECT pg_sleep(0.05)") // time for a crash between them
		last.Queue(sqlBegin)
	}
	if len(b.entries) > 0 {
`,
		}},
		Faults:   "postgres",
		Problems: []string{"the rules say applied", "the row of hold", "nobody placed it"},
	},
	{
		Name:      "one_transaction",
		Mechanism: "The journal's entries and the balance are committed together.",
		Edits: []Edit{{
			File: "activities/groups.go",
			Old:  `last.Queue(sqlUpdateAssets, b.balances()...)`,
			New: `last.Queue(sqlCommit)
		last.Queue("SELECT pg_sleep(0.05)") // time for a crash between them
		last.Queue(sqlBegin)
		before += 3
		last.Queue(sqlUpdateAssets, b.balances()...)`,
		}},
		Faults:   "postgres",
		Problems: []string{"a step ran into a constraint", "the balance is total"},
	},
	{
		Name:      "request_hash",
		Mechanism: "An id that is taken gives its answer to the same content only.",
		Edits: []Edit{{
			File: "fold.go",
			Old:  `if rules, known := formats[prior.Format]; known && prior.RequestHash == rules.RequestHash(c) {`,
			New:  `if true {`,
		}},
		Faults:   "tamper",
		Problems: []string{"that is an id_conflict"},
	},
	{
		Name:      "row_lock",
		Mechanism: "A step locks the row of its wallet asset, so that no two write to one wallet at once.",
		Edits: []Edit{{
			File: "activities/groups.go",
			Old:  `FOR NO KEY UPDATE) AS asset`,
			New:  `) AS asset`,
		}},
		Faults:   "tamper",
		Problems: []string{"a step ran into a constraint"},
	},
	{
		Name:      "signals_first",
		Mechanism: "An update takes its place behind the signals that were accepted before it.",
		Edits: []Edit{{
			File: "workflows/queue.go",
			Old:  `w.receiveSignals(ctx)`,
			New:  ``,
		}},
		Faults:   "tamper",
		Problems: []string{"and comes before it"},
	},
	{
		Name:      "time_forward",
		Mechanism: "An entry's time is not before that of the last one, wherever Postgres's clock has gone.",
		Edits: []Edit{{
			File: "fold.go",
			Old:  `if now.Before(before.UpdatedAt) {`,
			New:  `if false {`,
		}, {
			File: "activities/groups.go",
			Old:  `if b.now.Before(asset.UpdatedAt) {`,
			New:  `if false {`,
		}},
		Faults:   "clock",
		Problems: []string{"time runs backwards"},
	},
}
