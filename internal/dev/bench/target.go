package bench

import (
	"context"
	"fmt"

	"github.com/valueledger/wallet"
)

// target receives the commands.
type target interface {
	// send makes a call and returns the results of its commands, or none if the mode has no
	// answers. If it returns no error, the commands are accepted.
	send(ctx context.Context, caller int, r request) ([]wallet.Result, error)
	// settled returns how many commands have taken effect.
	settled(ctx context.Context) (int64, error)
	// check compares what was accepted with what is stored.
	check(ctx context.Context, of accepted) (Checked, error)
	// historyEvents counts what Temporal has stored for all wallets so far.
	historyEvents(ctx context.Context) (int64, error)
	close()
}

// outcome is an accepted command.
type outcome struct {
	wallet   int
	command  wallet.Command
	answered bool // otherwise result is empty
	result   wallet.Result
}

// accepted is all that a run has accepted.
type accepted struct {
	commands int
	total    wallet.Amount // what they add, minus what they subtract
	// outcomes are theirs, behind pointers: a slice of values would be copied as it grows, at 1 KB
	// each. The floor's are not kept: a minute of it has a million, and nobody answers them.
	outcomes []*outcome
}

func (a *accepted) add(o outcome, keep bool) {
	a.commands++
	if o.command.Type == wallet.TypeSubtract {
		a.total = a.total.Sub(o.command.Amount)
	} else {
		a.total = a.total.Add(o.command.Amount)
	}
	if keep {
		kept := o // only this copy is on the heap
		a.outcomes = append(a.outcomes, &kept)
	}
}

func (a *accepted) join(other accepted) {
	a.commands, a.total, a.outcomes = a.commands+other.commands, a.total.Add(other.total), append(a.outcomes, other.outcomes...)
}

// target makes what a spec measures, with its own wallets.
func (b *bench) target(ctx context.Context, n int, spec Spec) (target, error) {
	if spec.Mode == Floor {
		return newFloor(ctx, b.environment.DatabaseURL, spec)
	}
	l := ledger{temporal: b.environment.Temporal, pool: b.pool}
	for i := range spec.Wallets {
		l.users = append(l.users, fmt.Sprintf("%s-%d-%d", b.name, n, i))
	}
	if spec.Mode == Textbook {
		return newTextbook(ctx, l, b.textbook)
	}
	if spec.Mode == HTTP {
		return b.newHTTP(ctx, l, spec)
	}
	return newWallets(l, spec, b.queue)
}
