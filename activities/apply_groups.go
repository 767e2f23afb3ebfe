package activities

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/valueledger/wallet"
	"github.com/valueledger/wallet/internal/service/counts"
	"github.com/valueledger/wallet/internal/service/rows"
)

// group is the commands of one wallet asset in a transaction. One without commands makes sure
// that the asset exists, and that holds that are due have expired.
type group struct {
	wallet.AssetRef
	commands []wallet.Received
	lastSeen wallet.Head // of the asset, by whoever sends the commands; zero if unknown
}

// outcome is what became of a group.
type outcome struct {
	asset        wallet.Asset // after its commands
	results      []wallet.Result
	expired      int           // holds
	holdsChanged bool          // some were placed or changed, or may have been since lastSeen
	nextHolds    []wallet.Hold // then those that are open, the next to expire first
	// The same for grants.
	expiredGrants int
	grantsChanged bool
	nextGrants    []wallet.Grant
	lostEntries   bool  // the journal ends before what lastSeen says, or differently
	err           error // nothing of the group can be decided
}

// firstRefused is the position of a refused command that has created its wallet: behind the entry
// of the creation, which has an event.
const firstRefused = 2

// needsRecording reports whether an outcome calls for RecordEvents: see ApplyCommandsOutput.
func (o outcome) needsRecording() bool {
	return o.expired > 0 || o.expiredGrants > 0 || slices.ContainsFunc(o.results, func(r wallet.Result) bool {
		return r.Status == wallet.StatusApplied || r.Position == firstRefused
	})
}

// applyGroups applies the commands of several groups in one transaction: all of it or
// nothing. Wallet assets that are missing are created. It returns an outcome for each group,
// in their order, or an *wallet.InvalidError if a currency is not registered.
func (a *Activities) applyGroups(ctx context.Context, groups []group) ([]outcome, error) {
	return inTransaction(ctx, a, func(t transaction) ([]outcome, error) { return t.applyGroups(ctx, groups) })
}

func (t transaction) applyGroups(ctx context.Context, groups []group) ([]outcome, error) {
	l, err := t.lockAndRead(ctx, groups, nil)
	if err != nil {
		return nil, err
	}
	outcomes, err := t.fold(ctx, l, groups)
	if err != nil {
		return nil, err
	}
	for _, o := range outcomes {
		if o.err != nil {
			return nil, o.err
		}
	}
	if err := t.write(ctx, l); err != nil {
		return nil, err
	}
	for i, g := range groups {
		asset := l.of(g.AssetRef)
		outcomes[i].asset.NextExpiry, outcomes[i].nextHolds = asset.NextExpiry, asset.nextHolds
		outcomes[i].asset.NextGrantExpiry, outcomes[i].nextGrants = asset.NextGrantExpiry, asset.grants.next
	}
	return outcomes, nil
}

// lockAndRead begins a transaction of Postgres, locks the assets of the groups, which are created
// if they are missing, and reads what the fold has to know. c is nil unless the groups are the
// legs of a wallet.Transaction: its id is claimed after the locks, and if it has a conflict,
// nothing is created.
func (t transaction) lockAndRead(ctx context.Context, groups []group, c *claim) (*lockedAssets, error) {
	l, err := t.lock(ctx, groups, c)
	if err != nil || c != nil && c.hasConflict() {
		return l, err
	}
	if l.lacksSome() {
		// Rows are made and locked in one order, so those that are locked already have
		// to be let go first.
		if err := t.rollback(ctx); err != nil {
			return nil, err
		}
		if l, err = t.createAndLock(ctx, groups, c); err != nil {
			return nil, err
		}
	}
	return l, t.readMissing(ctx, l, groups)
}

// fold applies the commands of the groups in the order given. If one cannot be decided, its
// outcome has an error, and nothing may be written. It reads more grants if the commands need them.
func (t transaction) fold(ctx context.Context, l *lockedAssets, groups []group) ([]outcome, error) {
	outcomes := make([]outcome, len(groups))
	for i, g := range groups {
		a := l.of(g.AssetRef)
		lost, changedBefore := g.lastSeen.IsLostIn(a.Asset), g.lastSeen != a.Asset.Head()
		a.changedBefore = a.changedBefore || changedBefore
		f, err := withGrants(ctx, t, l, func() (wallet.Folded, error) { return wallet.Fold(a.account(), a.prior, g.commands, l.now) })
		if err != nil && !isDecided(err) {
			return nil, err
		}
		if err != nil {
			outcomes[i].err = fmt.Errorf("the %s wallet of %q: %w", g.Currency, g.UserID, err)
			continue
		}
		outcomes[i] = outcome{asset: f.Account.Asset, results: f.Results, holdsChanged: len(f.Holds) > 0 || changedBefore, lostEntries: lost}
		outcomes[i].grantsChanged = len(f.Grants) > 0 || changedBefore
		outcomes[i].expired, outcomes[i].expiredGrants = l.take(a, f)
	}
	return outcomes, nil
}

// isDecided reports whether an error of a fold says that the wallet cannot be decided on.
func isDecided(err error) bool {
	var format *wallet.UnknownFormatError
	var inconsistent *wallet.InconsistentError
	return errors.As(err, &format) || errors.As(err, &inconsistent)
}

// take takes over what commands did to an asset, and returns how many holds have expired, and how many
// times something of a grant.
func (l *lockedAssets) take(a *lockedAsset, f wallet.Folded) (expired, expiredGrants int) {
	for n := range f.Entries {
		e := &f.Entries[n]
		a.prior[e.CommandID] = e
		if e.Type == wallet.TypeExpire {
			expired++
		}
		if e.Type == wallet.TypeExpireGrant {
			expiredGrants++
		}
	}
	if len(f.Entries) > 0 {
		a.Asset, a.holds, a.originals, a.changed = f.Account.Asset, f.Account.Holds, f.Account.Originals, true
		if l.entries == nil {
			l.entries = f.Entries // no copy for one group
		} else {
			l.entries = append(l.entries, f.Entries...)
		}
	}
	for _, h := range f.Holds {
		a.holdsToWrite[h.ID] = h
	}
	a.takeGrants(f)
	return expired, expiredGrants
}

const (
	// The holds that the Web UI shows, earliest expiry first: NULL, for never, sorts last.
	sqlNextHolds = `SELECT ` + rows.HoldColumns + `
		FROM unnest($1::text[], $2::text[]) AS wanted (u, c)
		CROSS JOIN LATERAL (
			SELECT *
			FROM wallet_holds
			WHERE user_id = wanted.u AND currency = wanted.c AND state = 'open'
			ORDER BY expires_at, hold_id
			LIMIT 5) AS h`
)

// write appends the new entries to the journal, writes holds and balances and commits.
func (t transaction) write(ctx context.Context, l *lockedAssets) error {
	last := &pgx.Batch{}
	if len(l.entries) > 0 {
		sql, parameters, err := rows.InsertEntries(l.entries)
		if err != nil {
			return err
		}
		last.Queue(sql, parameters...)
	}
	if holds := l.holdsToWrite(); len(holds) > 0 {
		last.Queue(rows.UpsertHolds, rows.HoldParameters(holds)...)
	}
	grants, lost := l.grantsToWrite()
	if len(grants) > 0 {
		last.Queue(rows.UpsertGrants, rows.GrantParameters(grants)...)
	}
	if len(lost) > 0 {
		last.Queue(sqlInsertLostGrants, rows.GrantParameters(lost)...)
	}
	if changed := l.where(func(a *lockedAsset) bool { return a.changed }); len(changed) > 0 {
		sql, parameters := rows.UpdateAssets(updatesOf(changed))
		last.Queue(sql, parameters...)
	} else {
		last.Queue(sqlAwaitDurability)
	}
	if shown := l.where((*lockedAsset).showsHolds); len(shown) > 0 {
		users, currencies := columns(shown)
		for _, a := range shown {
			a.NextExpiry = time.Time{}
		}
		last.Queue(sqlNextHolds, users, currencies).Query(l.readNextHolds)
	}
	if shown := l.where((*lockedAsset).showsGrants); len(shown) > 0 {
		users, currencies := columns(shown)
		for _, a := range shown {
			a.NextGrantExpiry = time.Time{}
		}
		last.Queue(sqlNextGrants, users, currencies).Query(l.readNextGrants)
	}
	if err := t.commit(ctx, last); err != nil {
		return err
	}
	for _, a := range l.all {
		counts.NoteLatest(ctx, a.UpdatedAt, a.Position)
	}
	return nil
}

func updatesOf(assets []*lockedAsset) []rows.AssetUpdate {
	updates := make([]rows.AssetUpdate, len(assets))
	for i, a := range assets {
		updates[i] = rows.AssetUpdate{Asset: a.Asset, HoldsChanged: a.holdsChanged(), GrantsChanged: a.grantsChanged()}
	}
	return updates
}

// readNextHolds reads the holds that are open after the transaction.
func (l *lockedAssets) readNextHolds(found pgx.Rows) error {
	holds, err := rows.CollectHolds(found)
	if err != nil {
		return err
	}
	for _, h := range holds {
		a := l.of(h.AssetRef)
		if len(a.nextHolds) == 0 {
			a.NextExpiry = h.ExpiresAt
		}
		a.nextHolds = append(a.nextHolds, h.Hold)
	}
	return nil
}
