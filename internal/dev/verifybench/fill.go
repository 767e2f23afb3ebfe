package verifybench

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/jackc/pgx/v5/pgxpool"
	"golang.org/x/sync/errgroup"

	"github.com/valueledger/wallet"
	"github.com/valueledger/wallet/activities"
)

// Fill writes the entries with the steps: one batch after the other for each wallet, or, scattered,
// one entry for each wallet in turn, as a lane does.
func Fill(ctx context.Context, o Options, databaseURL string) error {
	pool, err := pgxpool.New(ctx, databaseURL)
	if err != nil {
		return err
	}
	defer pool.Close()
	steps := activities.New(pool)
	fill := fillWallets
	if o.Scattered {
		fill = fillInTurns
	}
	if err := fill(ctx, o, steps); err != nil {
		return err
	}
	// Autovacuum would soon do the same.
	_, err = pool.Exec(ctx, `VACUUM ANALYZE`)
	return err
}

// writers is how many steps run at the same time.
const writers = 4

// ref is the i-th wallet, from 0.
func ref(i int) wallet.AssetRef {
	return wallet.AssetRef{UserID: fmt.Sprintf("user-%07d", i), Currency: "USD"}
}

// entriesOf is how many entries the i-th wallet gets.
func (o Options) entriesOf(i int) int { return (i+1)*o.Entries/o.Wallets - i*o.Entries/o.Wallets }

func fillWallets(ctx context.Context, o Options, steps *activities.Activities) error {
	group, filling := errgroup.WithContext(ctx)
	group.SetLimit(writers)
	for i := range o.Wallets {
		group.Go(func() error { return fillWallet(filling, steps, ref(i), o.entriesOf(i)) })
	}
	return group.Wait()
}

func fillWallet(ctx context.Context, steps *activities.Activities, ref wallet.AssetRef, entries int) error {
	for done := 0; done < entries; {
		batch := make([]wallet.Received, 0, wallet.MaxBatch)
		for ; done < entries && len(batch) < wallet.MaxBatch; done++ {
			batch = append(batch, wallet.Received{Command: command(done)})
		}
		if _, err := steps.ApplyCommands(ctx, wallet.ApplyCommandsInput{AssetRef: ref, Commands: batch}); err != nil {
			return err
		}
		if _, err := steps.RecordEvents(ctx, ref); err != nil {
			return err
		}
	}
	return nil
}

func fillInTurns(ctx context.Context, o Options, steps *activities.Activities) error {
	for n := range o.entriesOf(o.Wallets - 1) { // none has more
		group, filling := errgroup.WithContext(ctx)
		group.SetLimit(writers)
		for from := 0; from < o.Wallets; from += wallet.MaxBatch {
			group.Go(func() error { return fillRow(filling, o, steps, from, n) })
		}
		if err := group.Wait(); err != nil {
			return err
		}
	}
	return nil
}

// fillRow applies the n-th command of up to 500 wallets.
func fillRow(ctx context.Context, o Options, steps *activities.Activities, from, n int) error {
	var wallets []int
	for i := from; i < min(from+wallet.MaxBatch, o.Wallets); i++ {
		if n < o.entriesOf(i) {
			wallets = append(wallets, i)
		}
	}
	return applyToEach(ctx, steps, len(wallets), func(i int) (wallet.AssetRef, wallet.Command) { return ref(wallets[i]), command(n) })
}

// applyToEach applies commands of different wallets in one step, as a lane does.
func applyToEach(ctx context.Context, steps *activities.Activities, commands int, of func(i int) (wallet.AssetRef, wallet.Command)) error {
	if commands == 0 {
		return nil
	}
	var in wallet.ApplyLaneInput
	for i := range commands {
		ref, command := of(i)
		item, err := json.Marshal(wallet.ApplyCommandInput{AssetRef: ref, Command: command})
		if err != nil {
			return err
		}
		in.Items = append(in.Items, item)
	}
	out, err := steps.ApplyLane(ctx, in)
	if err != nil {
		return err
	}
	answers, err := wallet.SplitLaneAnswers(out, len(in.Items))
	if err != nil {
		return err
	}
	if slices.ContainsFunc(answers, wallet.IsReturned) {
		return fmt.Errorf("some of %d commands were not applied", len(in.Items))
	}
	return nil
}

// command returns a wallet's n-th command: the creation, then two deposits for each withdrawal,
// and one refusal in ten.
func command(n int) wallet.Command {
	c := wallet.Command{
		ID: fmt.Sprintf("order-%08d", n), Type: wallet.TypeAdd, Amount: wallet.MustAmount(fmt.Sprintf("%d.%02d", 10+n%90, n%100)),
		Description: "an order of the benchmark", Actor: "verifybench", Metadata: map[string]string{"order": fmt.Sprint(n), "channel": "web"},
	}
	switch {
	case n == 0:
		c.Type, c.Amount = wallet.TypeCreate, wallet.Amount{}
	case n%10 == 9:
		c.Type, c.Amount = wallet.TypeSubtract, wallet.MustAmount("1000000000.00")
	case n%3 == 2:
		c.Type = wallet.TypeSubtract
	}
	return c
}
