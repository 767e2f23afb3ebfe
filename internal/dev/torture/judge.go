package torture

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/converter"

	"github.com/valueledger/wallet"
	"github.com/valueledger/wallet/internal/service/rows"
	"github.com/valueledger/wallet/trail"
)

// judge reads everything back, checks it, and counts what happened.
func (r *Report) judge(ctx context.Context, w *world, h *history) error {
	attempts := h.all(len(w.plan.Wallets))
	checks := map[wallet.AssetRef]*walletCheck{}
	var added, taken, owned wallet.Amount // over all wallets
	legs := map[string][]wallet.Entry{}   // of each transaction
	for i := range w.plan.Wallets {
		of := r.wallet(i)
		record, err := w.recordOf(ctx, of)
		if err != nil {
			return err
		}
		record.healed = r.clockRight
		check := newWalletCheck(h.start, of, attempts[i], record)
		r.Violations = append(r.Violations, check.check()...)
		checks[of.AssetRef] = check
		for _, e := range record.journal {
			if e.TransactionID != "" {
				legs[e.TransactionID] = append(legs[e.TransactionID], e)
			}
			switch {
			case e.Status != wallet.StatusApplied:
				r.Refusals[string(e.Reason)]++
				continue
			case e.Type == wallet.TypeAdd:
				added = added.Add(e.Amount)
			case e.Type == wallet.TypeSubtract, e.Type == wallet.TypeExpireGrant:
				taken = taken.Add(e.Amount)
			case e.Type == wallet.TypeReverse && e.TotalAfter.Cmp(e.TotalBefore) > 0:
				added = added.Add(e.TotalAfter.Sub(e.TotalBefore))
			case e.Type == wallet.TypeReverse:
				taken = taken.Add(e.TotalBefore.Sub(e.TotalAfter))
			}
			r.Applied[string(e.Type)]++
		}
		for _, h := range record.holds { // by the rows, not by the entries that they come from
			taken = taken.Add(h.Captured)
		}
		r.Effects[aheadOfTime] += check.aheadOfTime()
		r.Entries += len(record.journal)
		r.Events += len(record.events)
		if record.asset != nil {
			owned = owned.Add(record.asset.Total)
		}
		r.count(attempts[i])
		if of.Handling == Untouched {
			r.ownEvents = max(r.ownEvents, eventsOf(attempts[i]))
		}
	}
	if owned.Cmp(added.Sub(taken)) != 0 {
		r.violate("all wallets together have %s, and were given %s less %s", owned, added, taken)
	}
	r.checkTransactions(legs)
	for _, f := range r.Faults {
		if f.Kind == KillAtExpiry && f.Missed == "" {
			r.Effects[f.Expiry.outcome(checks[f.Expiry.of])]++
		}
	}
	r.LongestSilence, r.Silent, r.Pace = h.silence, h.silent, h.pace
	err := errors.Join(r.verify(ctx, w, checks), r.readLogs(w), r.countRuns(ctx, w), r.checkRuns(ctx, w, h, checks), r.countPromotions(ctx, w))
	r.checkEffects()
	slices.SortStableFunc(r.Violations, byTime)
	return err
}

// wallet is a wallet of the plan; its handling excuses only what was really done to it.
func (r *Report) wallet(i int) Wallet {
	of := r.Plan.Wallets[i]
	tried := slices.ContainsFunc(r.Faults, func(f Inflicted) bool {
		return f.Wallet == i && (f.Kind == Terminate || f.Kind == Rewind || f.Kind == Overfill)
	})
	if !tried {
		of.Handling = Untouched
	}
	return of
}

func (r *Report) violate(format string, args ...any) {
	r.violateAt(time.Time{}, format, args...)
}

func (r *Report) violateAt(at time.Time, format string, args ...any) {
	r.Violations = append(r.Violations, Violation{At: at, Problem: fmt.Sprintf(format, args...)})
}

// verify is what "wallet verify" does.
func (r *Report) verify(ctx context.Context, w *world, checks map[wallet.AssetRef]*walletCheck) error {
	verified, err := w.read.Verify(ctx, trail.VerifyOptions{})
	for _, f := range verified.Findings {
		r.Violations = append(r.Violations, checks[wallet.AssetRef{UserID: f.UserID, Currency: f.Currency}].found(f))
	}
	return err
}

// found turns a finding of "wallet verify" into a violation. Its wallet may not be in the plan.
func (c *walletCheck) found(f trail.Finding) Violation {
	if c == nil {
		c = newWalletCheck(time.Time{}, Wallet{AssetRef: wallet.AssetRef{UserID: f.UserID, Currency: f.Currency}}, nil, record{})
	}
	c.violate(f.Position, nil, "verify: %s at position %d: %s", f.Table, f.Position, f.Problem)
	return c.violations[len(c.violations)-1]
}

// recordOf reads what is recorded of one wallet.
func (w *world) recordOf(ctx context.Context, of Wallet) (r record, err error) {
	if r.journal, err = w.journal(ctx, of); err != nil {
		return r, err
	}
	filter := trail.EventFilter{UserID: of.UserID, Currency: of.Currency}
	for {
		page, err := w.read.Events(ctx, filter)
		if err != nil {
			return r, err
		}
		if r.events = append(r.events, page...); len(page) < trail.MaxPage {
			break
		}
		filter.AfterVersion = page[len(page)-1].Version
	}
	if r.holds, err = w.holds(ctx, of); err != nil {
		return r, err
	}
	if r.grants, err = w.grants(ctx, of); err != nil {
		return r, err
	}
	r.read = time.Now()
	asset, err := w.read.Asset(ctx, of.UserID, of.Currency)
	if errors.Is(err, trail.ErrNoWallet) {
		return r, nil
	}
	r.asset = &asset
	return r, err
}

// holds returns the rows of a wallet's holds as stored, while package trail counts due ones as
// expired.
func (w *world) holds(ctx context.Context, of Wallet) (holds []wallet.Hold, err error) {
	found, err := w.owner.Query(ctx, `SELECT `+rows.HoldColumns+` FROM wallet_holds WHERE user_id = $1 AND currency = $2`, of.UserID, of.Currency)
	if err != nil {
		return nil, err
	}
	stored, err := rows.CollectHolds(found)
	for _, h := range stored {
		holds = append(holds, h.Hold)
	}
	return holds, err
}

func (w *world) grants(ctx context.Context, of Wallet) (grants []wallet.Grant, err error) {
	found, err := w.owner.Query(ctx, `SELECT `+rows.GrantColumns+` FROM wallet_grants WHERE user_id = $1 AND currency = $2`, of.UserID, of.Currency)
	if err != nil {
		return nil, err
	}
	stored, err := rows.CollectGrants(found)
	for _, g := range stored {
		grants = append(grants, g.Grant)
	}
	return grants, err
}

func (w *world) journal(ctx context.Context, of Wallet) (journal []wallet.Entry, err error) {
	filter := trail.CommandFilter{UserID: of.UserID, Currency: of.Currency}
	for {
		page, err := w.read.Commands(ctx, filter)
		if err != nil {
			return nil, err
		}
		if journal = append(journal, page...); len(page) < trail.MaxPage {
			return journal, nil
		}
		filter.AfterPosition = page[len(page)-1].Position
	}
}

// constraintBroken matches what Postgres logs if a step would have written something illegal.
// Temporal's own tables have other names.
var constraintBroken = regexp.MustCompile(`ERROR:.*(violates \w+ constraint "wallet|violates foreign key)`)

// nameDatabase has Postgres's log name the database: Temporal may have deadlocks of its own. Postgres
// counts them too, but forgets the count when it is killed.
const nameDatabase = "log_line_prefix=%m [%p] %d "

var (
	deadlocked  = " " + database + " ERROR:  deadlock detected"
	lockTimeout = " " + database + " ERROR:  canceling statement due to lock timeout"
)

// fallback is what a worker logs when a step becomes a regular activity.
const fallback = "going on as a regular activity"

// recovered is what Postgres logs when it starts after a crash.
const recovered = "database system was not properly shut down"

func (r *Report) readLogs(w *world) error {
	read := func(line string) {
		if constraintBroken.MatchString(line) {
			r.violateAt(timeOfLine(line), "a step ran into a constraint, so that it did not have the wallet to itself: %s", line)
		}
		switch {
		case strings.Contains(line, deadlocked):
			r.violateAt(timeOfLine(line), "a deadlock, so two transactions lock in different orders: %s", line)
		case strings.Contains(line, lockTimeout):
			r.Effects["lock timeouts"]++
		}
		if strings.Contains(line, recovered) {
			r.Effects[recoveries]++
		}
	}
	err := eachLine(w.stack.Postgres.LogPath(), read)
	for _, p := range w.retired {
		err = errors.Join(err, eachLine(p.LogPath(), read))
	}
	for i := range w.plan.Options.Workers {
		err = errors.Join(err, eachLine(w.workerLog(i), func(line string) {
			if strings.Contains(line, fallback) {
				r.Effects["steps as regular activities"]++
			}
			if strings.Contains(line, "nondeterministic") || strings.Contains(line, "panic") || strings.Contains(line, "contradict each other") {
				r.violateAt(timeOfLine(line), "%s logged: %.600s", workerTarget(i), line)
			}
		}))
	}
	for name, s := range w.servers {
		launches, crashes := s.past()
		r.Effects["starts of "+name] = launches
		if len(crashes) > 0 {
			r.Effects["ends by itself of "+name] = len(crashes)
		}
		if !isServer(name) {
			r.checkCrashes(name, crashes)
		}
	}
	return err
}

// countRuns counts how the runs of the wallets' workflows ended.
func (r *Report) countRuns(ctx context.Context, w *world) error {
	counted, err := w.direct.CountWorkflow(ctx, &workflowservice.CountWorkflowExecutionsRequest{
		Namespace: client.DefaultNamespace, Query: "WorkflowType = '" + wallet.WorkflowWalletAsset + "' GROUP BY ExecutionStatus",
	})
	if err != nil {
		return err
	}
	for _, group := range counted.GetGroups() {
		var status string
		if err := converter.GetDefaultDataConverter().FromPayload(group.GetGroupValues()[0], &status); err != nil {
			return err
		}
		r.Effects[runsThat+status] = int(group.GetCount())
	}
	return nil
}
