package torture

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/valueledger/wallet"
)

// Effects of transactions.
const (
	transactionsApplied = "transactions applied"
	transactionsRefused = "transactions refused"
)

// checkTransactions compares the legs of each transaction: all of them are there, with one
// fate, one of them is the cause of a refusal, and no value was made or lost.
func (r *Report) checkTransactions(all map[string][]wallet.Entry) {
	for _, id := range slices.Sorted(maps.Keys(all)) {
		legs := all[id]
		applied, causes, places := 0, 0, map[int64]bool{}
		change := map[string]wallet.Amount{}
		for _, leg := range legs {
			places[leg.Leg] = true
			change[leg.Currency] = change[leg.Currency].Add(leg.TotalAfter).Sub(leg.TotalBefore)
			switch {
			case leg.Status == wallet.StatusApplied:
				applied++
			case leg.Reason != wallet.ReasonTransactionRefused:
				causes++
			}
		}
		if n := int(legs[0].Legs); len(legs) != n || len(places) != n {
			r.violateAt(legs[0].RecordedAt, "transaction %q has %d legs, and the journals have %d entries of it", id, n, len(legs))
		}
		switch {
		case applied == len(legs):
			r.Effects[transactionsApplied]++
		case applied > 0:
			r.violateAt(legs[0].RecordedAt, "of %d legs of transaction %q only %d are applied", len(legs), id, applied)
		case causes != 1:
			r.violateAt(legs[0].RecordedAt, "transaction %q is refused, and %d of its legs are the cause", id, causes)
		default:
			r.Effects[transactionsRefused]++
		}
		for currency, sum := range change {
			if !sum.IsZero() {
				r.violateAt(legs[0].RecordedAt, "transaction %q has changed what there is in %s by %s", id, currency, sum)
			}
		}
	}
}

// refuse is a refused leg of a transaction, which nothing in its wallet may explain.
func (b balance) refuse(c wallet.Command, reason wallet.Reason, at time.Time) (balance, outcome) {
	total, held := decimalOf(b.total), b.held()
	b.position++
	b.recorded = &recorded{before: b.recorded, id: c.ID, kind: c.Type}
	return b, outcome{status: wallet.StatusUnapplied, reason: reason, before: total, after: total, holdBefore: held, holdAfter: held, at: at}
}

// refusedLegs follows the legs of a refused transaction in one wallet: the first that does not
// fit, after those before it, is the cause.
type refusedLegs struct {
	id    string
	tried balance
	unfit bool // a leg of before
}

func (l *refusedLegs) next(b balance, e wallet.Entry, scale int32) (problem string) {
	if l.id != e.TransactionID {
		*l = refusedLegs{id: e.TransactionID, tried: b}
		if e.Position == 2 && e.Type == wallet.TypeCreate && e.Reason != wallet.ReasonAlreadyExists {
			l.tried.exists, l.tried.version = false, 0 // the refused transaction itself has created the wallet
		}
	}
	l.tried = l.tried.afterExpiries(e.RecordedAt, scale) // of what the legs before gave back
	after, o := l.tried.apply(e.Command(), false, e.RecordedAt, scale)
	switch isCause := e.Reason != wallet.ReasonTransactionRefused; {
	case isCause && l.unfit:
		return "is said to be the cause, and one before it does not fit"
	case isCause && o.reason != e.Reason:
		return fmt.Sprintf("is the cause for %s, and the rules say %q", e.Reason, o.reason)
	case o.reason != "":
		l.unfit = true
	default:
		l.tried = after
	}
	return ""
}
