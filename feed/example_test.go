package feed_test

import (
	"context"
	"log"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/valueledger/wallet/feed"
)

// A module that grants access by what a user owns. Its table is in the same database, so each
// event takes effect exactly once.
func Example() {
	const sqlGrantAccess = `INSERT INTO access (user_id, paid) VALUES ($1, $2::text::numeric)
		ON CONFLICT (user_id) DO UPDATE SET paid = EXCLUDED.paid`

	ctx := context.Background()
	pool, err := pgxpool.New(ctx, "postgres://subscriptions@127.0.0.1/wallet")
	if err != nil {
		log.Fatal(err)
	}
	err = feed.Consume(ctx, pool, feed.Options{Name: "subscriptions"},
		func(ctx context.Context, tx pgx.Tx, events []feed.Event) error {
			for _, e := range events {
				if _, err := tx.Exec(ctx, sqlGrantAccess, e.UserID, e.TotalAfter.String()); err != nil {
					return err // the same events come again after a pause
				}
			}
			return nil
		})
	if err != nil {
		log.Fatal(err)
	}
}
