package mutations

// Tested lists mutations that torture cannot see, because it has no part in them, or sees only in
// long runs: a test must fail without them.
var Tested = []struct {
	Mutation
	Package, Test string
}{
	{Mutation{
		Name:      "salvage_lanes",
		Mechanism: "What a lane has answered is looked for after a failover.",
		Edits: []Edit{{
			File: "workflows/answered.go",
			Old:  `if answer.Facts == nil {`,
			New:  `if answer.Facts != nil {`,
		}},
	}, "./workflows", "TestWhatWasAnsweredIsInTheHistories"},
	{Mutation{
		Name:      "salvage_refused",
		Mechanism: "What was never to have an entry is not looked for after a failover.",
		Edits: []Edit{{
			File: "workflows/answered.go",
			Old:  `return f == nil || f.GetApplicationFailureInfo().GetType() == wallet.FailureUnappliedCommand`,
			New:  `return true`,
		}},
	}, "./workflows", "TestWhatWasAnsweredIsInTheHistories"},
	{Mutation{
		Name:      "standby_age",
		Mechanism: "An answer from a standby is as old as what the standby has, not as what the primary has.",
		Edits: []Edit{{
			File: "internal/service/postgres/reads.go",
			Old:  `if m.wal <= standby.WAL {`,
			New:  `if m.wal >= 0 {`,
		}},
	}, "./internal/service/httpserver", "TestReadsComeFromTheStandby"},
	{Mutation{
		Name:      "standby_version",
		Mechanism: "A read that demands a version does not get an older one.",
		Edits: []Edit{{
			File: "internal/service/httpserver/reads.go",
			Old:  `case err == nil && a.Version >= version:`,
			New:  `case err == nil && a.Version >= 0:`,
		}},
	}, "./internal/service/httpserver", "TestReadsComeFromTheStandby"},
	{Mutation{
		Name:      "standby_view",
		Mechanism: "Later reads of a request are not older than earlier ones, whatever standby they come from.",
		Edits: []Edit{{
			File: "internal/service/postgres/reads.go",
			Old:  `if standby != nil && standby.WAL < v.wal {`,
			New:  `if false {`,
		}},
	}, "./internal/service/httpserver", "TestLaterReadsOfARequestAreNotOlder"},
	{Mutation{
		Name:      "run_actor",
		Mechanism: "The lines of a file that came over HTTP name no other actor than its sender.",
		Edits: []Edit{{
			File: "runs/stage.go",
			Old:  `case f.OnlyActor && l.Actor != f.Actor:`,
			New:  `case false:`,
		}},
	}, "./internal/service/httpserver", "TestABadFileStagesNothing"},
	{Mutation{
		Name:      "check_lines",
		Mechanism: "A file that is checked over HTTP has only so many lines.",
		Edits: []Edit{{
			File: "runs/check.go",
			Old:  `c.MaxLines > 0 && report.Lines > c.MaxLines`,
			New:  `false`,
		}},
	}, "./internal/service/httpserver", "TestACheckIsBounded"},
	{Mutation{
		Name:      "upload_of_token",
		Mechanism: "A token has one file staged at a time, so that others can.",
		Edits: []Edit{{
			File: "internal/service/httpserver/server.go",
			Old:  `stages: slots{most: maxStages, mostOfToken: 1}`,
			New:  `stages: slots{most: maxStages, mostOfToken: maxStages}`,
		}},
	}, "./internal/service/httpserver", "TestUploadsLeaveRoomForOthers"},
	{Mutation{
		Name:      "upload_rate",
		Mechanism: "A file that comes a byte at a time is cut off.",
		Edits: []Edit{{
			File: "internal/service/httpserver/streams.go",
			Old:  `u.patience-time.Since(begun)+`,
			New:  `u.patience+`,
		}},
	}, "./internal/service/httpserver", "TestAnUploadOfAByteNowAndThenIsCutOff"},
	{Mutation{
		Name:      "catch_up",
		Mechanism: "Streams that catch up leave connections of the pool to requests.",
		Edits: []Edit{{
			File: "internal/service/httpserver/server.go",
			Old:  `maxCatchUp = 2`,
			New:  `maxCatchUp = 1000`,
		}},
	}, "./internal/service/httpserver", "TestStreamsThatCatchUpLeaveConnectionsToRequests"},
	{Mutation{
		Name:      "lost_grants",
		Mechanism: "Where all open grants were read, a lost one comes back before it changes the order.",
		Edits: []Edit{{
			File: "activities/grants.go",
			Old:  `return granted.Cmp(a.Granted) != 0 ||`,
			New:  `return granted.Cmp(granted) != 0 ||`,
		}},
	}, "./activities", "TestALostGrantDoesNotChangeTheOrder"},
	{Mutation{
		Name:      "grants_with_balance",
		Mechanism: "Grants that are lost with their balance do not become money that never expires.",
		Edits: []Edit{{
			File: "activities/grants.go",
			Old:  `if !a.restored && !a.lacksGrants() {`,
			New:  `if !a.lacksGrants() {`,
		}},
	}, "./activities", "TestGrantsThatAreLostWithTheBalance"},
	{Mutation{
		Name:      "keys_time",
		Mechanism: "A fetch of keys has its own time, however long the token that asks for them has waited.",
		Edits: []Edit{{
			File: "internal/service/access/jwt.go",
			Old:  `context.WithTimeout(context.WithoutCancel(r.Context()), keysPatience)`,
			New:  `context.WithTimeout(r.Context(), keysPatience)`,
		}},
	}, "./internal/service/access", "TestStrangersDoNotKeepNewKeysOut"},
	{Mutation{
		Name:      "stream_token",
		Mechanism: "A stream ends when its token is no longer valid.",
		Edits: []Edit{{
			File: "internal/service/httpserver/events.go",
			Old:  `if time.Since(checked) >= heartbeat {`,
			New:  `if time.Since(checked) >= 24*time.Hour {`,
		}},
	}, "./internal/service/httpserver", "TestAStreamEndsWithItsTokenAndAtAStop"},
	{Mutation{
		Name:      "stream_reach",
		Mechanism: "A stream has only what its token reaches.",
		Edits: []Edit{{
			File: "internal/service/httpserver/events.go",
			Old:  `feed.Page(ctx, s.options.Pool, at, streamPage, bearer.Reaches)`,
			New:  `feed.Page(ctx, s.options.Pool, at, streamPage, func(wallet.AssetRef) bool { return true })`,
		}},
	}, "./internal/service/httpserver", "TestAStreamGoesOnAfterTheLastEvent"},
	{Mutation{
		Name:      "stream_behind",
		Mechanism: "A stream that is further behind than memory reads Postgres.",
		Edits: []Edit{{
			File: "internal/service/httpserver/tail.go",
			Old:  `behind: at.Compare(t.begin) < 0,`,
			New:  `behind: false,`,
		}},
	}, "./internal/service/httpserver", "TestAStreamThatFallsBehindMissesNothing"},
	{Mutation{
		Name:      "cut_off",
		Mechanism: "An answer that fails half way is cut off.",
		Edits: []Edit{{
			File: "internal/service/httpserver/streams.go",
			Old:  `panic(http.ErrAbortHandler)`,
			New:  `_ = http.ErrAbortHandler`,
		}},
	}, "./internal/service/httpserver", "TestAStatementThatFailsHalfWayIsCutOff"},
	{Mutation{
		Name:      "another_site",
		Mechanism: "Without tokens, a page of another site changes nothing.",
		Edits: []Edit{{
			File: "internal/service/httpserver/server.go",
			Old:  `if s.auth.IsOff() && s.origins.Check(r) != nil {`,
			New:  `if s.auth.IsOff() && false {`,
		}},
	}, "./internal/service/httpserver", "TestAnotherSiteSendsNothing"},
	{Mutation{
		Name:      "http_documented",
		Mechanism: "The OpenAPI document has no answer that never comes.",
		Edits: []Edit{{
			File: "internal/service/httpserver/routes.go",
			Old:  `if !slices.Contains(r.errors, http.StatusUnprocessableEntity) {`,
			New:  `if r.answers == nil && !slices.Contains(r.errors, http.StatusUnprocessableEntity) {`,
		}},
	}, "./internal/service/httpserver", "TestEachDocumentedAnswerIsSeen"},
	{Mutation{
		Name:      "http_undocumented",
		Mechanism: "The OpenAPI document has every answer that comes, also to a body where none is taken.",
		Edits: []Edit{{
			File: "internal/service/httpserver/routes.go",
			Old:  `if r.method == http.MethodPost || r.method == http.MethodPut {`,
			New:  `if r.body != nil {`,
		}},
	}, "./internal/service/httpserver", "TestEachAnswerIsDocumented"},
	{Mutation{
		Name:      "http_500",
		Mechanism: "What a caller asks for in vain is no failure of the server.",
		Edits: []Edit{{
			File: "internal/service/outcome/outcome.go",
			Old:  `errors.Is(err, trail.ErrNoCommand), errors.Is`,
			New:  `errors.Is`,
		}},
	}, "./internal/service/httpserver", "TestEachAnswerIsDocumented"},
	{Mutation{
		Name:      "webhook_signature",
		Mechanism: "Webhooks are signed with each valid secret.",
		Edits: []Edit{{
			File: "internal/service/webhooks/send.go",
			Old:  `signatures = append(signatures, signature)`,
			New:  `_ = signature`,
		}},
	}, "./internal/service/webhooks", "TestWebhooksAreSignedAndFiltered"},
	{Mutation{
		Name:      "webhook_order",
		Mechanism: "A wallet waits while its event is tried again.",
		Edits: []Edit{{
			File: "internal/service/webhooks/wallet.go",
			Old:  `return d.release(ctx, c, c.failures, a.reason, d.pause(c.failures-1))`,
			New:  `return d.park(ctx, c, a.reason)`,
		}},
	}, "./internal/service/webhooks", "TestAWalletWaitsWhileItsEventIsTriedAgain"},
	{Mutation{
		Name:      "webhook_parked",
		Mechanism: "An event that is passed is parked, not forgotten.",
		Edits: []Edit{{
			File: "internal/service/webhooks/queue.go",
			Old:  `if _, err := tx.Exec(ctx, sqlPark, c.endpoint, c.UserID, c.Currency, c.next, c.failures, reason); err != nil {`,
			New:  `if _, err := tx.Exec(ctx, "SELECT"); err != nil {`,
		}},
	}, "./internal/service/webhooks", "TestABadEventIsParkedAndStopsNoOther"},
	{Mutation{
		Name:      "webhook_lease",
		Mechanism: "A process whose lease has ended notes nothing.",
		Edits: []Edit{{
			File: "internal/service/webhooks/queue.go",
			Old:  `AND lease = $4 AND next_version = $5`,
			New:  `AND $4 <> '' AND next_version = $5`,
		}},
	}, "./internal/service/webhooks", "TestAProcessWhoseLeaseHasEndedNotesNothing"},
	{Mutation{
		Name:      "webhook_address",
		Mechanism: "Each connection is checked, not only the URL.",
		Edits: []Edit{{
			File: "internal/service/webhooks/address.go",
			Old:  `return g.checkAddress(network, address, encrypted)`,
			New:  `return nil`,
		}},
	}, "./internal/service/webhooks", "TestTheConnectionIsChecked"},
	{Mutation{
		Name:      "repair_lock",
		Mechanism: "No command comes between what a repair of holds and grants reads and writes.",
		Edits: []Edit{{
			File: "activities/repair_events.go",
			Old:  `AND currency = $2 FOR NO KEY UPDATE`,
			New:  `AND currency = $2`,
		}},
	}, "./activities", "TestNoCommandComesBetweenWhatRepairReadsAndWrites"},
	{Mutation{
		Name:      "feed_node_writers",
		Mechanism: "A gap in the feed is passed only once nobody can fill it, on no node either.",
		Edits: []Edit{{
			File: "feed/feed.go",
			Old:  `[]string{sqlWriters, sqlNodeWriters}`,
			New:  `[]string{sqlWriters}`,
		}},
	}, "./feed", "TestAGapWaitsForWritersOnTheNodes"},
	{Mutation{
		Name:      "feed_redeliver",
		Mechanism: "A skipped event that a person asks for is handed out again, once.",
		Edits: []Edit{{
			File: "feed/redeliver.go",
			Old:  `SET redeliver_at = NULL, ended_at = clock_timestamp()`,
			New:  `SET redeliver_at = NULL`,
		}},
	}, "./feed", "TestASkippedEventIsRedelivered"},
	{Mutation{
		Name:      "webhook_past",
		Mechanism: "What the queue has gone past does not start it again.",
		Edits: []Edit{{
			File: "internal/service/webhooks/enqueue.go",
			Old:  `SET last_version = greatest(`,
			New:  `SET next_version = least(q.next_version, EXCLUDED.next_version), last_version = greatest(`,
		}},
	}, "./internal/service/webhooks", "TestAnOldEventDoesNotStartTheQueueAgain"},
	{Mutation{
		Name:      "webhook_redelivered",
		Mechanism: "An event that is redelivered gets no row of the queue.",
		Edits: []Edit{{
			File: "internal/service/webhooks/enqueue.go",
			Old:  `if e.Redelivered {`,
			New:  `if false {`,
		}},
	}, "./internal/service/webhooks", "TestASkippedEventIsSentOnlyOnceItIsRedelivered"},
	{Mutation{
		Name:      "webhook_skipped",
		Mechanism: "A skipped event is not sent with its wallet.",
		Edits: []Edit{{
			File: "internal/service/webhooks/wallet.go",
			Old:  `&& !slices.Contains(c.skipped, e.Version)`,
			New:  `&& !slices.Contains(c.skipped, 0)`,
		}},
	}, "./internal/service/webhooks", "TestASkippedEventIsSentOnlyOnceItIsRedelivered"},
	{Mutation{
		Name:      "webhook_any_filter",
		Mechanism: "A single event is sent whatever the filter says.",
		Edits: []Edit{{
			File: "internal/service/webhooks/events.go",
			Old:  `AND (cardinality(events) = 0 OR e.event_type = ANY (events)) AND NOT `,
			New:  `AND NOT `,
		}},
	}, "./internal/service/webhooks", "TestAnEventIsSentAgainWhateverTheFilterSays"},
	{Mutation{
		Name:      "grant_due",
		Mechanism: "What is given back to a grant whose time is over expires at once.",
		Edits: []Edit{{
			File: "fold.go",
			Old:  `if err := f.expire(nil, dueOf(f.Account.changedGrants, now)); err != nil {`,
			New:  `if err := f.expire(nil, nil); err != nil {`,
		}},
	}, ".", "TestWhatIsHeldKeepsItsGrants"},
	{Mutation{
		Name:      "grant_taken_back",
		Mechanism: "The reversal of an add takes only what is left of its grant.",
		Edits: []Edit{{
			File: "grant.go",
			Old:  `if amount.Cmp(g.Left) > 0 {`,
			New:  `if amount.Cmp(g.Left.Add(g.Used)) > 0 {`,
		}},
	}, ".", "TestReversalsAndGrants"},
	{Mutation{
		Name:      "grant_sweep",
		Mechanism: "The sweep lets grants expire whose wallet has no workflow.",
		Edits: []Edit{{
			File: "activities/sweep.go",
			Old: `FROM wallet_grants
			WHERE state = 'open' AND`,
			New: `FROM wallet_grants
			WHERE false AND`,
		}},
	}, "./activities", "TestTheSweepLetsGrantsExpire"},
	{Mutation{
		Name:      "grant_pages",
		Mechanism: "A command that needs more grants than were read gets them.",
		Edits: []Edit{{
			File: "grant.go",
			Old:  `if !enough {`,
			New:  `if false && !enough {`,
		}},
	}, "./activities", "TestAThousandGrantsAreUsedUp"},
	{Mutation{
		Name:      "feed_redelivery",
		Mechanism: "Only the handler uses up a redelivery.",
		Edits: []Edit{{
			File: "feed/redeliver.go",
			Old:  `SET redeliver_at = clock_timestamp() + interval '1 minute'`,
			New:  `SET redeliver_at = NULL`,
		}},
	}, "./feed", "TestARedeliveryIsNotUsedUpByTheDatabase"},
	{Mutation{
		Name:      "reversal_bound",
		Mechanism: "All reversals of a command come to at most what it did.",
		Edits: []Edit{{
			File: "reversal.go",
			Old:  `case amount.Cmp(o.Left) > 0:`,
			New:  `case false:`,
		}},
	}, ".", "TestReversalsNeverExceedTheirOriginal"},
	{Mutation{
		Name:      "crossed_in_hash",
		Mechanism: "The hash of an entry covers the thresholds that it crossed.",
		Edits: []Edit{{
			File: "field.go",
			Old:  `f.Name != "format" && f.Name != "hash" }`,
			New:  `f.Name != "format" && f.Name != "hash" && f.Name != "crossed" }`,
		}},
	}, ".", "TestEveryFieldIsInTheHash"},
	{Mutation{
		Name:      "thresholds_derived",
		Mechanism: "Verification derives the thresholds of entries, set and crossed, from the commands.",
		Edits: []Edit{{
			File: "trail/chain.go",
			Old:  `want := rules.NewEntry(`,
			New: `result.Thresholds, result.Crossed = e.Thresholds, e.Crossed
	want := rules.NewEntry(`,
		}},
	}, "./trail", "TestVerifyFindsCrossingsThatNoRuleGives"},
	{Mutation{
		Name:      "thresholds_in_row",
		Mechanism: "Verification compares a wallet's thresholds with those of its journal.",
		Edits: []Edit{{
			File: "trail/chain.go",
			Old:  `case have.Thresholds != want.Thresholds:`,
			New:  `case false:`,
		}},
	}, "./activities", "TestVerifyFindsThresholdsThatSomebodyChanged"},
	{Mutation{
		Name:      "freeze_ends_in_row",
		Mechanism: "Verification compares when a wallet's freezes end with its journal.",
		Edits: []Edit{{
			File: "trail/chain.go",
			Old:  `have.FreezeEnds != want.FreezeEnds || `,
			New:  ``,
		}},
	}, "./activities", "TestVerifyFindsAFreezeThatSomebodyCutShort"},
	{Mutation{
		Name:      "oidc_state",
		Mechanism: "A login at the provider is finished only in the browser that began it.",
		Edits: []Edit{{
			File: "internal/service/console/oidc.go",
			Old:  `subtle.ConstantTimeCompare([]byte(query.Get("state")), []byte(a.State)) != 1`,
			New:  `false`,
		}},
	}, "./internal/service/console", "TestALoginThatIsNotThePersonsOwnIsRefused"},
	{Mutation{
		Name:      "oidc_nonce",
		Mechanism: "An ID token is of the login that is finished.",
		Edits: []Edit{{
			File: "internal/service/console/oidc.go",
			Old:  `subtle.ConstantTimeCompare([]byte(id.Nonce), []byte(a.Nonce)) != 1`,
			New:  `false`,
		}},
	}, "./internal/service/console", "TestALoginThatIsNotThePersonsOwnIsRefused"},
	{Mutation{
		Name:      "oidc_pkce",
		Mechanism: "The provider's code is for whoever asked for it.",
		Edits: []Edit{{
			File: "internal/service/console/oidc.go",
			Old:  `, oauth2.S256ChallengeOption(a.Verifier)`,
			New:  ``,
		}},
	}, "./internal/service/console", "TestALoginByTheProvider"},
	{Mutation{
		Name:      "oidc_subject",
		Mechanism: "The token of a session is of the person who logged in.",
		Edits: []Edit{{
			File: "internal/service/console/oidc.go",
			Old:  `who.Subject == id.Subject`,
			New:  `who.Subject != ""`,
		}},
	}, "./internal/service/console", "TestALoginThatIsNotThePersonsOwnIsRefused"},
	{Mutation{
		Name:      "console_scope",
		Mechanism: "A page of the console is for bearers with its scope.",
		Edits: []Edit{{
			File: "internal/service/console/console.go",
			Old:  `if !r.who.Has(scope) {`,
			New:  `if false {`,
		}},
	}, "./internal/service/console", "TestAReadTokenChangesNothing"},
	{Mutation{
		Name:      "console_reach",
		Mechanism: "A page of the console is for bearers who reach its wallets.",
		Edits: []Edit{{
			File: "internal/service/console/console.go",
			Old:  `if !r.who.Reaches(ref) {`,
			New:  `if _ = ref; false {`,
		}},
	}, "./internal/service/console", "TestATokenSeesOnlyWhatItIsBoundTo"},
	{Mutation{
		Name:      "console_transaction",
		Mechanism: "The console shows no transaction with a leg that the bearer does not reach.",
		Edits: []Edit{{
			File: "internal/service/console/pages.go",
			Old:  `if !r.who.Reaches(leg.AssetRef) {`,
			New:  `if _ = leg; false {`,
		}},
	}, "./internal/service/console", "TestATokenSeesOnlyWhatItIsBoundTo"},
	{Mutation{
		Name:      "console_cross_origin",
		Mechanism: "The console refuses forms of other sites.",
		Edits: []Edit{{
			File: "internal/service/console/console.go",
			Old:  `crossOrigin.Handler(http.HandlerFunc(`,
			New:  `http.Handler(http.HandlerFunc(`,
		}},
	}, "./internal/service/console", "TestAFormOfAnotherSiteIsRefused"},
	{Mutation{
		Name:      "console_once",
		Mechanism: "The id of a confirmed command is that of its form.",
		Edits: []Edit{{
			File: "internal/service/console/change.go",
			Old:  `if v.Command.ID = r.get("id");`,
			New:  `if v.Command.ID = idPrefix + rand.Text();`,
		}},
	}, "./internal/service/console", "TestAChangeIsReviewedAndAppliedOnce"},
	{Mutation{
		Name:      "console_actor",
		Mechanism: "A command of the console has the name of who is logged in.",
		Edits: []Edit{{
			File: "internal/service/console/change.go",
			Old:  `Actor: r.who.Subject}`,
			New:  `Actor: r.get("actor")}`,
		}},
	}, "./internal/service/console", "TestAChangeIsReviewedAndAppliedOnce"},
	{Mutation{
		Name:      "console_session",
		Mechanism: "Each request of a session has its token examined anew.",
		Edits: []Edit{{
			File: "internal/service/console/session.go",
			Old:  `who, err := c.Auth.Authenticate(r.Context(), one.Token)`,
			New:  `who, err := access.Anybody(), error(nil)`,
		}},
	}, "./internal/service/console", "TestASession"},
	{Mutation{
		Name:      "jwt_keys_renewed",
		Mechanism: "A caller who leaves does not end the request for new keys.",
		Edits: []Edit{{
			File: "internal/service/access/jwt.go",
			Old:  `keys.KeyfuncCtx(context.WithoutCancel(ctx))`,
			New:  `keys.KeyfuncCtx(ctx)`,
		}},
	}, "./internal/service/access", "TestNewKeysAreFetchedWhoeverAsksFirst"},
	{Mutation{
		Name:      "jwt_keys_file",
		Mechanism: "A changed file of keys or tokens is read again.",
		Edits: []Edit{{
			File: "internal/service/access/follow.go",
			Old:  `!info.ModTime().Equal(f.changed) || info.Size() != f.size`,
			New:  `false`,
		}},
	}, "./internal/service/access", "TestKeysFollowTheirFile"},
	{Mutation{
		Name:      "jwt_keys_address",
		Mechanism: "Keys come only from where nobody on the way can replace them.",
		Edits: []Edit{{
			File: "internal/service/access/jwt.go",
			Old:  `return checkKeysURL(to.URL)`,
			New:  `return nil`,
		}},
	}, "./internal/service/access", "TestKeysComeOnlyFromWhereNobodyCanReplaceThem"},
	{Mutation{
		Name:      "subscription_id",
		Mechanism: "However often a payment of a subscription is tried, it has one id.",
		Edits: []Edit{{
			File: "examples/go/subscription/activities.go",
			Old:  `result, err := a.wallets.Transaction(ctx, t)`,
			New: `t.ID += fmt.Sprint("/", time.Now().UnixNano())
	result, err := a.wallets.Transaction(ctx, t)`,
		}},
	}, "./examples/go/subscription", "TestAPaymentIsMadeOnceHoweverOftenItIsTried"},
	{Mutation{
		Name:      "subscription_retry",
		Mechanism: "A charge that was refused is tried again.",
		Edits: []Edit{{
			File: "examples/go/subscription/period.go",
			Old:  `at.After(asked) && at.Before(p.Until)`,
			New:  `at.Before(asked)`,
		}},
	}, "./examples/go/subscription", "TestARefusedChargeIsTriedAgainUntilItEnds"},
	{Mutation{
		Name:      "subscription_late_retry",
		Mechanism: "A retry is made even if its time passed before the last answer came.",
		Edits: []Edit{{
			File: "examples/go/subscription/workflow.go",
			Old:  `s.Period.nextRetry(s.RefusedAt, asked)`,
			New:  `s.Period.nextRetry(s.RefusedAt, s.now(ctx))`,
		}},
	}, "./examples/go/subscription", "TestARetryWhoseTimePassedIsMade"},
	{Mutation{
		Name:      "subscription_plan",
		Mechanism: "Who waits for a plan that was deleted can choose another.",
		Edits: []Edit{{
			File: "examples/go/subscription/workflow.go",
			Old:  `quoted.IsReady() || changed()`,
			New:  `quoted.IsReady()`,
		}},
	}, "./examples/go/subscription", "TestAPlanThatIsGoneHoldsNoChangeUp"},
	{Mutation{
		Name:      "subscription_update",
		Mechanism: "What is paid is in the workflow's history before.",
		Edits: []Edit{{
			File: "examples/go/subscription/workflow.go",
			Old:  `workflow.Sleep(ctx, time.Millisecond)`,
			New:  `workflow.Sleep(ctx, 0)`,
		}},
	}, "./examples/go/subscription", "TestAChangeIsInTheHistoryBeforeItIsPaid"},
	{Mutation{
		Name:      "ledger_zero",
		Mechanism: "A line of the ledger that does not add up to 0 is found.",
		Edits: []Edit{{
			File: "examples/go/ledger/balance.go",
			Old:  `AND available + held + outside + transactions + expired = 0 AS consistent`,
			New:  `AS consistent`,
		}},
	}, "./examples/go/ledger", "TestALineThatDoesNotAddUpIsWrong"},
	{Mutation{
		Name:      "outbox_order",
		Mechanism: "Of each wallet, drainers of the outbox send only the oldest command.",
		Edits: []Edit{{
			File: "examples/go/outbox/main.go",
			Old:  `earlier.id < o.id`,
			New:  `false`,
		}},
	}, "./examples/go/outbox", "TestDrainersSendOneCommandOfAWalletAtATime"},
}
