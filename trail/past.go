package trail

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/valueledger/wallet"
	"github.com/valueledger/wallet/internal/service/rows"
)

// ErrNoVersion says that a wallet has not reached a version yet, or that the number cannot be a
// version.
var ErrNoVersion = errors.New("no such version")

const (
	// thresholdsThen are those of the wallet $1, $2 after an entry e.
	thresholdsThen = `(
				SELECT t.thresholds::text
				FROM wallet_commands AS t
				WHERE t.user_id = $1 AND t.currency = $2 AND t.threshold IS NOT NULL AND t.version IS NOT NULL AND -t.position >= -e.position
				ORDER BY -t.position
				LIMIT 1) AS thresholds`

	// sqlAssetAt finds the last entry at or before a time, and the last applied one, by
	// bisection: positions and versions have no gaps, and time never runs backwards along a
	// chain. A journal of a million entries needs 20 index lookups for each, and no index on
	// recorded_at, which every command would pay for. It does not search backwards from the
	// last entry for the last applied one, because a million refusals may lie between.
	//
	// In both searches, low is recorded at or before the time (0 is before the journal) and
	// high after it or not at all; they close in until they are adjacent. LIMIT 1 keeps the
	// planner from turning lookups into a join that reads the whole journal.
	sqlAssetAt = `WITH RECURSIVE
		entry (low, high) AS (
			SELECT 0::bigint, (SELECT coalesce(max(position), 0) + 1 FROM wallet_commands WHERE user_id = $1 AND currency = $2)
			UNION ALL
			SELECT CASE WHEN past THEN middle ELSE low    END,
			       CASE WHEN past THEN high   ELSE middle END
			FROM entry
			CROSS JOIN LATERAL (
				SELECT position AS middle, recorded_at <= $3 AS past
				FROM wallet_commands
				WHERE user_id = $1 AND currency = $2 AND position = (low + high) / 2
				LIMIT 1
			) AS probe
			WHERE high - low > 1
		),
		applied (low, high) AS (
			SELECT 0::bigint, (SELECT coalesce(max(version), 0) + 1 FROM wallet_commands WHERE user_id = $1 AND currency = $2)
			UNION ALL
			SELECT CASE WHEN past THEN middle ELSE low    END,
			       CASE WHEN past THEN high   ELSE middle END
			FROM applied
			CROSS JOIN LATERAL (
				SELECT version AS middle, recorded_at <= $3 AS past
				FROM wallet_commands
				WHERE user_id = $1 AND currency = $2 AND version = (low + high) / 2
				LIMIT 1
			) AS probe
			WHERE high - low > 1
		)
		SELECT user_id, currency, total_after::text AS total_amount, hold_after::text AS hold_amount, applied.low AS version, position, hash, format,
			0 AS open_holds, NULL::timestamptz AS next_expiry, 0 AS open_grants, '0' AS granted_amount, NULL::timestamptz AS next_grant_expiry, frozen, debits_frozen_until, credits_frozen_until, coalesce(closed, false) AS closed, credit_limit::text, recorded_at AS updated_at, ` + thresholdsThen + `, (SELECT scale FROM currencies WHERE code = currency) AS scale
		FROM wallet_commands AS e
		JOIN applied ON applied.high - applied.low = 1
		WHERE user_id = $1 AND currency = $2
			AND position = (SELECT low FROM entry WHERE high - low = 1)`

	sqlAssetAtVersion = `SELECT user_id, currency, total_after::text AS total_amount, hold_after::text AS hold_amount, version, position, hash, format,
			0 AS open_holds, NULL::timestamptz AS next_expiry, 0 AS open_grants, '0' AS granted_amount, NULL::timestamptz AS next_grant_expiry, frozen, debits_frozen_until, credits_frozen_until, coalesce(closed, false) AS closed, credit_limit::text, recorded_at AS updated_at, ` + thresholdsThen + `, (SELECT scale FROM currencies WHERE code = currency) AS scale
		FROM wallet_commands AS e
		WHERE user_id = $1 AND currency = $2 AND version = $3`

	sqlNewestVersion = `SELECT coalesce(max(version), 0) FROM wallet_commands WHERE user_id = $1 AND currency = $2`

	// sqlJournals lists the currencies in which a user has a journal, and when each began. It
	// jumps from one currency to the next without reading the entries in between.
	sqlJournals = `WITH RECURSIVE journal (currency) AS (
			SELECT min(currency) FROM wallet_commands WHERE user_id = $1
			UNION ALL
			SELECT (SELECT min(c.currency) FROM wallet_commands AS c WHERE c.user_id = $1 AND c.currency > journal.currency)
			FROM journal
			WHERE currency IS NOT NULL
		)
		SELECT currency,
			(SELECT recorded_at FROM wallet_commands AS c WHERE c.user_id = $1 AND c.currency = journal.currency ORDER BY position LIMIT 1)
		FROM journal
		WHERE currency IS NOT NULL
		ORDER BY currency`
)

// AssetAt reads a balance at a given time, and the head of its chain then, from the journal: it
// includes all entries with recorded_at at or before the time, and UpdatedAt is that of the
// last one. It returns ErrNoWallet if the wallet did not exist yet.
//
// The answer for a past time never changes once the transactions running at that time have
// ended: an entry's time is when its transaction locked the wallet, and the entry becomes
// visible at its commit, normally milliseconds later.
func (r Reader) AssetAt(ctx context.Context, userID, currency string, at time.Time) (asset wallet.Asset, err error) {
	err = pgx.BeginTxFunc(ctx, r.db, snapshotOptions, func(tx pgx.Tx) error {
		asset, err = assetAt(ctx, tx, userID, currency, at)
		return err
	})
	return asset, err
}

// AssetsAt reads all balances that a user had at a given time, by currency, like AssetAt. It
// returns ErrNoWallet if there was none yet.
func (r Reader) AssetsAt(ctx context.Context, userID string, at time.Time) (assets []wallet.Asset, err error) {
	err = pgx.BeginTxFunc(ctx, r.db, snapshotOptions, func(tx pgx.Tx) error {
		journals, err := readJournals(ctx, tx, userID)
		if err != nil {
			return err
		}
		for _, j := range journals {
			if j.since.After(at) {
				continue
			}
			asset, err := assetAt(ctx, tx, userID, j.currency, at)
			if err != nil {
				return err
			}
			assets = append(assets, asset)
		}
		if len(assets) == 0 {
			return notYet(userID, "", at, journals)
		}
		return nil
	})
	return assets, err
}

// AssetAtVersion reads a balance right after the applied command with that version, and the
// head of its chain then. It returns ErrNoVersion if there is no such version, ErrNoWallet if
// the wallet was never created.
func (r Reader) AssetAtVersion(ctx context.Context, userID, currency string, version int64) (wallet.Asset, error) {
	found, err := r.db.Query(ctx, sqlAssetAtVersion, userID, currency, version)
	if err != nil {
		return wallet.Asset{}, err
	}
	asset, err := pgx.CollectExactlyOneRow(found, rows.ScanAsset)
	if !errors.Is(err, pgx.ErrNoRows) {
		return asset, err
	}
	var newest int64
	if err := r.db.QueryRow(ctx, sqlNewestVersion, userID, currency).Scan(&newest); err != nil {
		return asset, err
	}
	if newest == 0 {
		return asset, noWallet(userID, currency)
	}
	return asset, fmt.Errorf("version %d of the %s wallet of user %q: %w: its versions are 1 to %d", version, currency, userID, ErrNoVersion, newest)
}

// assetAt is AssetAt within the caller's snapshot.
func assetAt(ctx context.Context, tx pgx.Tx, userID, currency string, at time.Time) (wallet.Asset, error) {
	found, err := tx.Query(ctx, sqlAssetAt, userID, currency, at)
	if err != nil {
		return wallet.Asset{}, err
	}
	asset, err := pgx.CollectExactlyOneRow(found, rows.ScanAsset)
	if !errors.Is(err, pgx.ErrNoRows) {
		return asset.Thawed(at), err
	}
	journals, err := readJournals(ctx, tx, userID)
	if err != nil {
		return asset, err
	}
	return asset, notYet(userID, currency, at, journals)
}

// journal is what a user owns in a currency, and since when.
type journal struct {
	currency string
	since    time.Time
}

func readJournals(ctx context.Context, tx pgx.Tx, userID string) ([]journal, error) {
	found, err := tx.Query(ctx, sqlJournals, userID)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(found, func(row pgx.CollectableRow) (j journal, err error) {
		err = row.Scan(&j.currency, &j.since)
		j.since = j.since.UTC()
		return j, err
	})
}

// notYet says why there is no balance at a time, in one currency or in any.
func notYet(userID, currency string, at time.Time, journals []journal) error {
	var since time.Time
	for _, j := range journals {
		if (currency == "" || j.currency == currency) && (since.IsZero() || j.since.Before(since)) {
			since = j.since
		}
	}
	switch {
	case since.IsZero():
		return noWallet(userID, currency)
	case since.After(at):
		return fmt.Errorf("user %q owned nothing%s at %s, but since %s: %w", userID, in(currency), rfc3339(at), rfc3339(since), ErrNoWallet)
	default:
		return gaps(userID, currency)
	}
}

// gaps is the error for a lookup that finds nothing where something must exist.
func gaps(userID, currency string) error {
	return fmt.Errorf("the journal of the %s wallet of user %q has gaps: run \"wallet verify\"", currency, userID)
}

func noWallet(userID, currency string) error {
	return fmt.Errorf("user %q owns nothing%s: %w", userID, in(currency), ErrNoWallet)
}

func in(currency string) string {
	if currency == "" {
		return ""
	}
	return " in " + currency
}

func rfc3339(t time.Time) string { return t.UTC().Format(time.RFC3339Nano) }
