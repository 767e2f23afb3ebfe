package feed

import (
	"context"
	"errors"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/valueledger/wallet"
	"github.com/valueledger/wallet/internal/service/postgres"
)

// FollowOptions say where to begin and which events to show.
type FollowOptions struct {
	After            Cursor // see End
	UserID, Currency string // empty for all
}

// Follow calls show for each event after a cursor, once and in order, as they arrive, until ctx
// ends (which is not an error) or show fails. If the database is unavailable, it waits and
// continues where it was. It only needs SELECT.
func Follow(ctx context.Context, db *pgxpool.Pool, o FollowOptions, show func(Event) error) error {
	keep := func(r versions) bool {
		return (o.UserID == "" || o.UserID == r.UserID) && (o.Currency == "" || o.Currency == r.Currency)
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	if err := onPrimary(ctx, db); err != nil && !passing(err) {
		return err
	}
	wake := newWaker(ctx, db, time.Second)
	pause := backoff.NewExponentialBackOff()
	for after := o.After; ctx.Err() == nil; {
		events, next, err := page(ctx, db, after, MaxBatch, keep)
		switch {
		case ctx.Err() != nil:
		case err != nil && !passing(err):
			return err
		case err != nil:
			sleep(ctx, pause.NextBackOff())
		case next == after:
			pause.Reset()
			wake.wait(ctx)
		default:
			pause.Reset()
			for _, e := range events {
				if err := show(e); err != nil {
					return err
				}
			}
			after = next
		}
	}
	return nil
}

// pagesPerCall bounds what a call of Page looks at, where few events are wanted.
const pagesPerCall = 10

// Page reads at most limit events after a cursor, of the wallets that keep wants, and returns the
// cursor to go on from: it moves past what keep does not want, and is the same at the end of the
// feed. It waits for nothing but for transactions that may still fill a gap. It only needs SELECT.
func Page(ctx context.Context, db *pgxpool.Pool, after Cursor, limit int, keep func(wallet.AssetRef) bool) ([]Event, Cursor, error) {
	if err := onPrimary(ctx, db); err != nil {
		return nil, after, err
	}
	for range pagesPerCall {
		events, next, err := page(ctx, db, after, limit, func(r versions) bool { return keep(r.ref()) })
		if err != nil || len(events) > 0 || next == after {
			return events, next, err
		}
		after = next
	}
	return nil, after, nil
}

// passing reports whether a failure concerns the connection or the server as a whole, and not
// the query.
func passing(err error) bool {
	var refused *pgconn.PgError
	if errors.As(err, &refused) {
		return postgres.IsPassing(refused)
	}
	return !errors.Is(err, ErrEventMissing) && !errors.Is(err, ErrStandby)
}
