package torture

import (
	"fmt"
	"io"
	"math/rand/v2"
	"time"

	"github.com/valueledger/wallet"
)

// Plan is everything that a run does, and a pure function of its options: the same seed gives
// the same plan. How far each client gets in its script, and what a fault hits, depends on the
// machine.
type Plan struct {
	Options Options
	Wallets []Wallet
	Faults  []Fault // in the order of their time
}

// Wallet is one wallet asset of a run.
type Wallet struct {
	wallet.AssetRef
	Handling Handling
}

// Handling is what is done to a wallet's workflow, in addition to the faults of servers.
type Handling int

// A terminated workflow may lose signals that were not applied yet, as documented; their sender
// must send them again. So may one whose run the server has ended at its limit, until "wallet
// salvage" sends them again. The others may lose none.
const (
	Untouched Handling = iota
	Reset
	Terminated
	Limited
	handlings
)

func (h Handling) String() string {
	return [...]string{"untouched", "reset", "terminated", "ended at a limit"}[h]
}

// losesSignals reports whether accepted signals may be lost until somebody sends them again.
func (h Handling) losesSignals() bool { return h == Terminated || h == Limited }

// hotWallets are the first wallets, one for each handling; they get half of all commands.
const hotWallets = int(handlings)

// NewPlan makes the plan of a run.
func NewPlan(o Options) Plan {
	p := Plan{Options: o}
	currencies := []string{"USD", "USD", "USD", "JPY", "BHD"}
	if o.Load == LoadTransfers { // between any two
		currencies = currencies[:1]
	}
	for i := range o.Wallets {
		p.Wallets = append(p.Wallets, Wallet{
			AssetRef: wallet.AssetRef{UserID: fmt.Sprintf("torture-%d-%d", o.Seed, i), Currency: currencies[i%len(currencies)]},
			Handling: Handling(i % int(handlings)),
		})
	}
	p.Faults = planFaults(o, random(o.Seed, 0))
	return p
}

// random returns a separate stream for each part of a plan, so that a part does not depend on
// how far another is read.
func random(seed uint64, stream uint64) *rand.Rand { return rand.New(rand.NewPCG(seed, stream)) }

// stepsShown is how many steps of each script are printed; a script has no end.
const stepsShown = 20

// Write prints the plan for people.
func (p Plan) Write(w io.Writer) {
	fmt.Fprintf(w, "seed %d, %s, %d workers, %d clients, %d wallets, Temporal on %s\n",
		p.Options.Seed, p.Options.Duration, p.Options.Workers, p.Options.Clients, len(p.Wallets), p.Options.TemporalStore)
	fmt.Fprintf(w, "\n%d faults\n", len(p.Faults))
	for _, f := range p.Faults {
		fmt.Fprintln(w, " ", f)
	}
	for client := range p.Options.Clients {
		script := p.Script(client)
		fmt.Fprintf(w, "\nclient %d, its first %d steps\n", client, stepsShown)
		for range stepsShown {
			fmt.Fprintln(w, " ", script.Next())
		}
	}
}

// between returns a random duration in milliseconds.
func between(r *rand.Rand, least, most time.Duration) time.Duration {
	return least + time.Duration(r.Int64N(int64((most-least)/time.Millisecond)+1))*time.Millisecond
}

// pick chooses one of the alternatives by weight.
func pick[T any](r *rand.Rand, alternatives []weighted[T]) T {
	sum := 0
	for _, a := range alternatives {
		sum += a.weight
	}
	n := r.IntN(sum)
	for _, a := range alternatives {
		if n -= a.weight; n < 0 {
			return a.value
		}
	}
	panic("unreachable")
}

type weighted[T any] struct {
	weight int
	value  T
}
