package mutations

// Tested lists mutations that torture cannot see, because it has no part in them: a test must fail
// without them.
var Tested = []struct {
	Mutation
	Package, Test string
}{
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
}
