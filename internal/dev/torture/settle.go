package torture

import (
	"context"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/valueledger/wallet"
)

// settlers is how many wallets are settled concurrently.
const settlers = 8

// settle gets every command answered after healing. It sends a probe to each wallet, behind
// everything in its queue; it sends again what a terminated workflow has lost by then, as its
// callers are told to do, and lets "wallet salvage" do so where the server has ended runs. Anything unfinished when the patience ends shows as a command without
// an answer.
func (r *Report) settle(ctx context.Context, w *world, h *history) error {
	ctx, cancel := context.WithTimeout(ctx, w.plan.Options.Patience)
	defer cancel()
	callers, closeConnections, err := newCallers(w.plan.Options.Clients, 1, w, h)
	if err != nil {
		return err
	}
	defer closeConnections()
	c := callers[0]
	attempts := h.all(len(w.plan.Wallets))
	var group errgroup.Group
	group.SetLimit(settlers)
	for i := range w.plan.Wallets {
		of := r.wallet(i)
		if len(attempts[i]) == 0 {
			continue
		}
		group.Go(func() error {
			if of.Handling == Limited {
				n, err := w.salvage(ctx, of, r.overfilled(i))
				if err != nil {
					return err
				}
				r.salvaged.Add(int64(n))
			}
			probe := wallet.Command{ID: fmt.Sprint("probe-", i), Type: wallet.TypeAdd, Amount: wallet.MustAmount("1")}
			c.insist(ctx, i, Send{Way: Update, Commands: []wallet.Command{probe}}, w.plan.Options.Patience)
			for _, unsure := range unconfirmed(attempts[i]) {
				c.insist(ctx, i, Send{Way: Update, Commands: []wallet.Command{unsure}}, w.plan.Options.Patience)
			}
			if of.Handling != Terminated || ctx.Err() != nil {
				return nil
			}
			journal, err := w.journal(ctx, of)
			if err != nil {
				return err
			}
			for _, lost := range missing(attempts[i], journal) {
				r.resent.Add(1)
				c.insist(ctx, i, Send{Way: Update, Commands: []wallet.Command{lost}}, w.plan.Options.Patience)
			}
			return nil
		})
	}
	return group.Wait()
}

const (
	sqlStillOpen = `SELECT count(*)
		FROM wallet_holds
		WHERE state = 'open' AND expires_at < clock_timestamp() + interval '1 minute' AND greatest(expires_at, $1) > clock_timestamp() - $2::interval`

	sqlUnrecorded = `SELECT count(*)
		FROM wallet_assets AS a
		WHERE version > coalesce((SELECT max(version) FROM wallet_asset_events AS e WHERE e.user_id = a.user_id AND e.currency = a.currency), 0)`
)

// recordPatience is how long an expiry may have no event.
const recordPatience = 5 * time.Second

// awaitExpiries waits until the holds that expire soon have expired, with their events, or
// their time for that is over.
func (w *world) awaitExpiries(ctx context.Context, healed time.Time) error {
	ctx, cancel := context.WithTimeout(ctx, w.plan.Options.Patience)
	defer cancel()
	await := func(patience time.Duration, sql string, args ...any) (err error) {
		left := 1
		for begun := time.Now(); left > 0 && err == nil && time.Since(begun) < patience && sleep(ctx, retryPause); {
			err = w.owner.QueryRow(ctx, sql, args...).Scan(&left)
		}
		if ctx.Err() != nil {
			return nil
		}
		return err
	}
	if err := await(w.plan.Options.Patience, sqlStillOpen, healed, expiryPatience); err != nil {
		return err
	}
	return await(recordPatience, sqlUnrecorded)
}

// unconfirmed are the signals of faults that may have been accepted or not: a fault does not
// insist, as callers do.
func unconfirmed(attempts []attempt) (commands []wallet.Command) {
	confirmed := map[string]bool{}
	for _, a := range attempts {
		confirmed[a.command.ID] = confirmed[a.command.ID] || a.accepted || a.client != overfillClient
	}
	for _, a := range attempts {
		if !confirmed[a.command.ID] {
			confirmed[a.command.ID] = true
			commands = append(commands, a.command)
		}
	}
	return commands
}

// missing returns the accepted signals that are not in the journal.
func missing(attempts []attempt, journal []wallet.Entry) (commands []wallet.Command) {
	known := map[string]bool{}
	for _, e := range journal {
		known[e.CommandID] = true
	}
	for _, a := range attempts {
		if a.accepted && a.way == Signal && !known[a.command.ID] {
			known[a.command.ID] = true
			commands = append(commands, a.command)
		}
	}
	return commands
}
