// Command topup tops wallets up that fall below a threshold. It reads the feed of events from the
// wallets' Postgres at WALLET_DATABASE_URL, with the rights of wallet_consumer, and connects to
// Temporal according to TEMPORAL_ADDRESS and its other variables.
package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log"
	"log/slog"
	"os"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/contrib/envconfig"
	temporallog "go.temporal.io/sdk/log"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/worker"

	"github.com/valueledger/wallet"
	"github.com/valueledger/wallet/feed"
	"github.com/valueledger/wallet/starter"
)

// taskQueue is that of this program's own worker.
const taskQueue = "top-up"

func main() {
	if err := run(context.Background(), os.Stdout); err != nil {
		log.Fatal(err)
	}
}

func run(ctx context.Context, out io.Writer) error {
	ctx, stop := context.WithTimeout(ctx, 2*time.Minute)
	defer stop()
	options := envconfig.MustLoadDefaultClientOptions()
	options.Logger = temporallog.NewStructuredLogger(slog.New(slog.DiscardHandler))
	connection, err := client.DialContext(ctx, options)
	if err != nil {
		return err
	}
	defer connection.Close()
	db, err := pgxpool.New(ctx, os.Getenv("WALLET_DATABASE_URL"))
	if err != nil {
		return err
	}
	defer db.Close()
	wallets, err := starter.New(connection, starter.Options{TaskQueue: os.Getenv("WALLET_TASK_QUEUE")})
	if err != nil {
		return err
	}
	w := newWorker(connection, taskQueue, &Activities{wallets, accepting{}})
	if err := w.Start(); err != nil {
		return err
	}
	defer w.Stop()
	policy := Policy{Currency: "USD", Threshold: "low", Target: wallet.MustAmount("50.00"), DailyCap: wallet.MustAmount("60.00")}
	consuming := make(chan error, 1)
	go func() { consuming <- consume(ctx, db, connection, taskQueue, policy) }()
	if err := spend(ctx, connection, wallets, out); err != nil {
		return err
	}
	stop()
	return <-consuming
}

func newWorker(connection client.Client, queue string, a *Activities) worker.Worker {
	w := worker.New(connection, queue, worker.Options{})
	w.RegisterWorkflow(TopUp)
	w.RegisterActivity(a)
	return w
}

// consume passes crossings on to the workflows of their wallets, which it starts. A notice may be
// passed on twice: the workflow knows the wallet's version. A new consumer begins with new events.
func consume(ctx context.Context, db *pgxpool.Pool, connection client.Client, queue string, policy Policy) error {
	return feed.Consume(ctx, db, feed.Options{Name: "top-up", FromEnd: true}, func(ctx context.Context, _ pgx.Tx, events []feed.Event) error {
		for _, e := range events {
			n, concerns := noticeOf(e, policy)
			if !concerns {
				continue
			}
			in := Input{AssetRef: wallet.AssetRef{UserID: e.UserID, Currency: e.Currency}}
			id := workflowID(in.AssetRef)
			if _, err := connection.SignalWithStartWorkflow(ctx, id, signalNotice, n, client.StartWorkflowOptions{ID: id, TaskQueue: queue}, TopUp, in); err != nil {
				return err // the same events come again
			}
		}
		return nil
	})
}

func workflowID(ref wallet.AssetRef) string { return "top-up/" + ref.Currency + "/" + ref.UserID }

// noticeOf is what an event says of the policy's threshold, if it crossed, set or removed it. Setting
// one crosses nothing, but the wallet may be below it already.
func noticeOf(e feed.Event, policy Policy) (n Notice, concerns bool) {
	if e.Currency != policy.Currency { // other thresholds may have the same name
		return n, false
	}
	n = Notice{Version: e.Version, Available: e.TotalAfter.Sub(e.HoldAfter).Add(e.CreditLimit), Policy: policy}
	for _, c := range e.Crossed.List() {
		if c.Name == policy.Threshold {
			n.Threshold, concerns = c.Amount, true
		}
	}
	if e.Threshold == policy.Threshold {
		concerns = true
		for _, t := range e.Thresholds.List() {
			if t.Name == policy.Threshold {
				n.Threshold = t.Amount
			}
		}
	}
	return n, concerns
}

// Payment is asked for, and credited, under one id: once, however often it is tried.
type Payment struct {
	ID string `json:"id"`
	wallet.AssetRef
	Amount wallet.Amount `json:"amount"`
}

// Payments is whoever takes the money from the customer. Both calls may be repeated with the same id.
type Payments interface {
	Pay(context.Context, Payment) error // errDeclined, or an error that means that nobody knows
	Refund(context.Context, Payment) error
}

var errDeclined = errors.New("declined")

// accepting pretends to be paid.
type accepting struct{}

func (accepting) Pay(context.Context, Payment) error    { return nil }
func (accepting) Refund(context.Context, Payment) error { return nil }

// Activities are tried again until they have an answer.
type Activities struct {
	wallets  *starter.Client
	payments Payments
}

// Pay fails for good only if the payment is declined.
func (a *Activities) Pay(ctx context.Context, p Payment) error {
	err := a.payments.Pay(ctx, p)
	if errors.Is(err, errDeclined) {
		return temporal.NewNonRetryableApplicationError("declined", "declined", err)
	}
	return err
}

// Refund gives a payment back.
func (a *Activities) Refund(ctx context.Context, p Payment) error { return a.payments.Refund(ctx, p) }

// Credit adds what was paid. A refusal is an answer too. A deployment that changes what is sent under
// an id, such as the description, makes it an id_conflict for credits whose first answer was lost.
func (a *Activities) Credit(ctx context.Context, p Payment) (wallet.Result, error) {
	r, err := a.wallets.Add(ctx, starter.Change{UserID: p.UserID, Currency: p.Currency, CommandID: p.ID, Amount: p.Amount, Description: "automatic top-up", Actor: "top-up"})
	var unapplied *wallet.UnappliedError
	if errors.As(err, &unapplied) {
		return unapplied.Result, nil
	}
	return r, err
}

// spend has a new customer with 25.00 spend 6.00, and 40.00 after the top-up. It prints what becomes
// of it.
func spend(ctx context.Context, connection client.Client, wallets *starter.Client, out io.Writer) error {
	user := "customer-" + rand.Text()
	change := func(id, amount string) starter.Change {
		return starter.Change{UserID: user, Currency: "USD", CommandID: id, Amount: wallet.MustAmount(amount)}
	}
	state := func() (s State, err error) {
		value, err := connection.QueryWorkflow(ctx, workflowID(wallet.AssetRef{UserID: user, Currency: "USD"}), "", "state")
		if err == nil {
			err = value.Get(&s)
		}
		return s, err
	}
	await := func(is func(State) bool) (s State, err error) {
		for {
			if s, err = state(); err == nil && is(s) {
				return s, nil
			}
			select {
			case <-ctx.Done():
				return s, errors.Join(ctx.Err(), err)
			case <-time.After(50 * time.Millisecond):
			}
		}
	}
	if _, err := wallets.Add(ctx, change("funds", "25.00")); err != nil {
		return err
	}
	watch := change("watch", "20.00")
	watch.Threshold = "low"
	if _, err := wallets.SetThreshold(ctx, watch); err != nil {
		return err
	}
	if _, err := wallets.Subtract(ctx, change("first", "6.00")); err != nil {
		return err
	}
	s, err := await(func(s State) bool { return s.TopUps == 1 && s.Available.Cmp(s.Threshold) > 0 })
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "spent to 19.00: topped up by %s to %s\n", s.Paid, s.Available)
	if _, err := wallets.Subtract(ctx, change("second", "40.00")); err != nil {
		return err
	}
	if s, err = await(func(s State) bool { return s.Stopped != "" }); err != nil {
		return err
	}
	fmt.Fprintf(out, "spent to %s: stopped, %s\n", s.Available, s.Stopped)
	return nil
}
