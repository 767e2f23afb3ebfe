package bench

import (
	"context"
	"fmt"

	"github.com/valueledger/wallet"
)

// target receives the commands.
type target interface {
	// send sends commands for one wallet and returns their results, or none if the mode has no
	// answers. If it returns nil, the commands are accepted.
	send(ctx context.Context, caller, walletIndex int, commands []wallet.Command) ([]wallet.Result, error)
	// settled returns how many commands have taken effect.
	settled(ctx context.Context) (int64, error)
	// check compares what was accepted with what is stored.
	check(ctx context.Context, accepted []outcome) (Checked, error)
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
	return newWallets(l, spec, b.queue)
}
