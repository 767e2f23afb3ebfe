package bench

import (
	"context"
	"fmt"

	"github.com/valueledger/wallet"
)

// target is what takes commands.
type target interface {
	// send carries commands for one wallet and returns their results, or none where
	// nobody answers. When it returns nil the commands are accepted.
	send(ctx context.Context, caller, walletIndex int, commands []wallet.Command) ([]wallet.Result, error)
	// settled tells how many commands have taken effect.
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
	answered bool // else result is empty
	result   wallet.Result
}

// target makes what a spec measures, with wallets of its own.
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
