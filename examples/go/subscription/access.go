package main

import (
	"context"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/valueledger/wallet"
	"github.com/valueledger/wallet/feed"
)

const (
	// actor is who sends this module's payments. Over HTTP nobody else can have it: there the actor
	// is the bearer of the token. So no subscriber makes an event that grants access.
	actor    = "subscriptions"
	idPrefix = "sub/"
)

// consume grants and withdraws access by the events of the wallets, until ctx ends. The feed's
// position moves in the transaction that writes the rows, so each event counts exactly once.
func consume(ctx context.Context, db *pgxpool.Pool) error {
	return feed.Consume(ctx, db, feed.Options{Name: "subscriptions"}, func(ctx context.Context, tx pgx.Tx, events []feed.Event) error {
		writes := &pgx.Batch{}
		for _, e := range events {
			switch {
			case e.Actor == actor && e.Leg == 1 && strings.HasPrefix(e.TransactionID, idPrefix):
				m, amount := e.Metadata, decimalOf(e.TotalBefore).Sub(decimalOf(e.TotalAfter))
				writes.Queue(sqlPaid, e.CommandID, m["subscription"], e.UserID, m["plan"], amount.String(), e.Currency, m["paid_until"], m["access_until"], e.Version)
			case strings.HasPrefix(e.OriginalID, wallet.LegPrefix+idPrefix) && e.OriginalLeft.IsZero(): // all of it was given back
				writes.Queue(`INSERT INTO subscription.refunds VALUES ($1) ON CONFLICT DO NOTHING`, e.OriginalID)
			default:
				continue
			}
			writes.Queue(`DELETE FROM subscription.access WHERE subscriber = $1`, e.UserID)
			writes.Queue(sqlGrant, e.UserID)
		}
		return tx.SendBatch(ctx, writes).Close()
	})
}

const (
	sqlPaid = `
		INSERT INTO subscription.payments (command_id, subscription, subscriber, plan, amount, currency, paid_until, access_until, version)
		VALUES ($1, $2, $3, $4, $5::text::numeric, $6, $7::text::timestamptz, $8::text::timestamptz, $9) ON CONFLICT DO NOTHING`
	// Access follows from the payments, so events that come late or twice change nothing.
	sqlGrant = `
		INSERT INTO subscription.access (subscriber, plan, until)
		SELECT subscriber, plan, access_until FROM subscription.payments AS p
		WHERE subscriber = $1 AND NOT EXISTS ( -- its own, or for a change the period's charge
			SELECT FROM subscription.refunds JOIN subscription.payments AS r USING (command_id)
			WHERE r.subscription = p.subscription AND r.paid_until = p.paid_until
				AND (r.command_id = p.command_id OR r.command_id !~ '/change-[0-9]+/1$'))
		ORDER BY paid_until DESC, version DESC LIMIT 1`
)
