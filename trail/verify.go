package trail

import (
	"context"
	"fmt"
	"math"
	"slices"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"golang.org/x/sync/errgroup"

	"github.com/valueledger/wallet"
)

// Finding is the first problem found in a wallet asset.
type Finding struct {
	UserID   string `json:"user_id"`
	Currency string `json:"currency"`
	Table    string `json:"table"` // wallet_commands, wallet_asset_events, wallet_feed, wallet_holds, wallet_grants, wallet_transactions or wallet_assets
	// Position of the bad row in the journal, or of the entry that it should match; 0 if there
	// is none.
	Position int64  `json:"position,omitempty"`
	Problem  string `json:"problem"`
	// MissingEvent is true if an applied entry only lacks its event, which "wallet repair"
	// appends.
	MissingEvent bool `json:"missing_event,omitempty"`
	// MissingHold is true if a hold only lacks its row, which "wallet repair" restores.
	MissingHold bool `json:"missing_hold,omitempty"`
	// MissingGrant is the same for a grant.
	MissingGrant bool `json:"missing_grant,omitempty"`
	// MissingRange is true if an event is only missing from the ranges of the feed, so no
	// consumer ever sees it. "wallet repair" appends one.
	MissingRange bool `json:"missing_range,omitempty"`
}

// Report says what a verification has read and found.
type Report struct {
	Wallets  int64     `json:"wallets"`
	Entries  int64     `json:"entries"`
	Events   int64     `json:"events"`
	Findings []Finding `json:"findings"`
	Notes    []Note    `json:"notes,omitempty"`
}

// VerifyOptions restrict a verification to a user, or to one wallet asset.
type VerifyOptions struct {
	UserID, Currency string
	// WithoutMissing ignores events, ranges of the feed and holds that are only missing, to
	// reveal other problems behind them.
	WithoutMissing bool
	// Patience is how long to wait for an entry's event to be recorded; 2 seconds if 0, not at
	// all if negative.
	Patience time.Duration
	Parallel int           // ranges at a time, on three connections each; what the pool allows if 0
	Entries  *atomic.Int64 // counts along for a progress bar; may be nil
}

// Only an estimate, clamped so that no balance can make it fail.
const sqlExpectedEntries = `SELECT least(greatest(coalesce(sum(position), 0), 0), 9223372036854775807)::bigint
		FROM wallet_assets
		WHERE ($1 = '' OR user_id = $1) AND ($2 = '' OR currency = $2)`

// ExpectedEntries is how many journal entries a verification will read, if the balances are
// correct.
func (r Reader) ExpectedEntries(ctx context.Context, userID, currency string) (n int64, err error) {
	err = r.db.QueryRow(ctx, sqlExpectedEntries, userID, currency).Scan(&n)
	return n, err
}

// connectionsPerRange is those for its journal, its events and its holds.
const connectionsPerRange = 3

// defaultPatience is far longer than the step that records events takes.
const defaultPatience = 2 * time.Second

// Verify recomputes everything from the rows, without writing: the hash chain and positions of
// each journal, its request hashes, each entry as the fold would have made it from the previous
// one (totals, holds, versions, refusals), one matching event for each applied entry, each event
// in the feed, and the balance against the end of the journal. It reports the first bad row of
// each wallet asset; a bad row never stops it from reading the others.
//
// The service keeps running meanwhile. Each range of wallets is read in a snapshot of its own,
// and nothing that is checked concerns wallets of two ranges. One snapshot for all would keep
// Postgres from removing the old versions of busy rows for as long as a verification takes.
// An entry is committed before its event: if a wallet only lacks events, Verify checks it again
// once they have come, and reports it only if they do not.
//
// Memory does not grow with the number of rows: journal, events, holds and grants of a range of
// wallets are read side by side on three connections. Of the wallet that is read, the id and
// the state of each hold are kept, and each grant, which a reversal may open again.
func (r Reader) Verify(ctx context.Context, o VerifyOptions) (Report, error) {
	if o.Entries == nil {
		o.Entries = &atomic.Int64{}
	}
	if o.Patience == 0 {
		o.Patience = defaultPatience
	}
	most := (int(r.db.Config().MaxConns) - 1) / connectionsPerRange
	if most < 1 {
		return Report{}, fmt.Errorf("verify needs a pool of at least %d connections, this one has %d: raise pool_max_conns", 1+connectionsPerRange, r.db.Config().MaxConns)
	}
	if o.Parallel <= 0 || o.Parallel > most {
		o.Parallel = most
	}
	first, err := r.look(ctx, o, []scope{{key{o.UserID, o.Currency}, math.MaxInt64, o.WithoutMissing}})
	if err != nil {
		return first.report, err
	}
	recorded, err := r.awaitEvents(ctx, o.Patience, first.waiting)
	if err != nil || len(recorded) == 0 {
		return first.reportWith(first.waiting), err
	}
	again := make([]scope, 0, len(recorded))
	for at := range recorded {
		again = append(again, scope{at, first.waiting[at].known, false})
		delete(first.waiting, at)
	}
	o.Entries = &atomic.Int64{} // these were counted already
	second, err := r.look(ctx, o, again)
	first.report.Findings = append(first.report.Findings, second.reportWith(second.waiting).Findings...)
	return first.reportWith(first.waiting), err
}

// VerifyWallet verifies one wallet on as few connections as that takes. It returns ErrNoWallet if
// there is none.
func (r Reader) VerifyWallet(ctx context.Context, ref wallet.AssetRef) (Report, error) {
	report, err := r.Verify(ctx, VerifyOptions{UserID: ref.UserID, Currency: ref.Currency, Parallel: 1})
	if err == nil && report.Wallets == 0 {
		err = noWallet(ref.UserID, ref.Currency)
	}
	return report, err
}

// look checks scopes, each range of them in one snapshot.
func (r Reader) look(ctx context.Context, o VerifyOptions, scopes []scope) (*verification, error) {
	v := &verification{entries: o.Entries, report: Report{Findings: []Finding{}}, waiting: map[key]waiting{}}
	if len(scopes) > 1 || scopes[0].currency != "" {
		o.Parallel = min(o.Parallel, len(scopes)) // each scope is one range
	}
	err := r.withConnections(ctx, 1+connectionsPerRange*o.Parallel, func(connections []*pgxpool.Conn) error {
		whole := ctx
		group, ctx := errgroup.WithContext(ctx)
		ranges := make(chan keyRange)
		legs := &legChecker{conn: connections[0], all: len(scopes) > 1 || scopes[0].key != (key{})}
		group.Go(func() error {
			defer close(ranges)
			for _, s := range scopes {
				if err := cut(ctx, legs, s, ranges); err != nil {
					return err
				}
			}
			return nil
		})
		for own := range slices.Chunk(connections[1:], connectionsPerRange) {
			group.Go(func() error {
				for next := range ranges {
					err := inSnapshot(ctx, own, func(txs []pgx.Tx) error { return v.check(ctx, legs, txs[0], txs[1], txs[2], next) })
					if err != nil {
						return err
					}
				}
				return nil
			})
		}
		err := group.Wait()
		if err == nil && scopes[0].key == (key{}) {
			var findings []Finding
			findings, err = legs.withoutLegs(whole)
			v.report.Findings = append(v.report.Findings, findings...)
		}
		return err
	})
	v.report.Entries = o.Entries.Load()
	return v, err
}
