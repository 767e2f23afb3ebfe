package feed

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/valueledger/wallet"
)

// By version, as sqlWaiting is. The start of a range may be far before the first version.
const sqlOfWallet = `SELECT id, user_id, currency, first_version, last_version
	FROM wallet_feed
	WHERE user_id = $1 AND currency = $2 AND last_version >= $3 AND first_version <= $4
		AND first_version >= coalesce((
			SELECT first_version
			FROM wallet_feed
			WHERE user_id = $1 AND currency = $2 AND first_version <= $3
			ORDER BY first_version DESC
			LIMIT 1), 1)
	ORDER BY first_version
	LIMIT $5`

// OfWallet reads at most limit events of one wallet, of the versions from first to last. With
// ErrEventMissing it returns those before the missing one.
func OfWallet(ctx context.Context, db *pgxpool.Pool, ref wallet.AssetRef, first, last int64, limit int) ([]Event, error) {
	return ofWallet(ctx, db, ref, first, last, limit)
}

func ofWallet(ctx context.Context, db querier, ref wallet.AssetRef, first, last int64, limit int) ([]Event, error) {
	found, err := db.Query(ctx, sqlOfWallet, ref.UserID, ref.Currency, first, last, limit)
	if err != nil {
		return nil, err
	}
	ranges, err := pgx.CollectRows(found, pgx.RowToStructByPos[versions])
	if err != nil {
		return nil, err
	}
	wanted, count := ranges[:0], 0
	for _, r := range ranges {
		r.First, r.Last = max(r.First, first), min(r.Last, last)
		r.Last = min(r.Last, r.First+int64(limit-count)-1)
		if r.First > r.Last {
			continue
		}
		if r.First != first {
			break
		}
		count += int(r.Last - r.First + 1)
		first = r.Last + 1
		wanted = append(wanted, r)
	}
	events, err := load(ctx, db, wanted, count)
	if err == nil && len(events) == 0 {
		err = fmt.Errorf("version %d of the %s wallet of %q: %w", first, ref.Currency, ref.UserID, ErrEventMissing)
	}
	return events, err
}
