package verifybench

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5/pgxpool"
	"golang.org/x/sync/errgroup"

	"github.com/valueledger/wallet"
	"github.com/valueledger/wallet/activities"
)

// Fill writes the entries with the steps, one batch after the other for each wallet.
func Fill(ctx context.Context, o Options, databaseURL string) error {
	pool, err := pgxpool.New(ctx, databaseURL)
	if err != nil {
		return err
	}
	defer pool.Close()
	steps := activities.New(pool)
	group, filling := errgroup.WithContext(ctx)
	group.SetLimit(4)
	for i := range o.Wallets {
		ref := wallet.AssetRef{UserID: fmt.Sprintf("user-%07d", i), Currency: "USD"}
		entries := (i+1)*o.Entries/o.Wallets - i*o.Entries/o.Wallets
		group.Go(func() error { return fillWallet(filling, steps, ref, entries) })
	}
	if err := group.Wait(); err != nil {
		return err
	}
	// Autovacuum would soon do the same.
	_, err = pool.Exec(ctx, `VACUUM ANALYZE`)
	return err
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
