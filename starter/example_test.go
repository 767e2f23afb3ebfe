package starter_test

import (
	"context"
	"errors"
	"log"

	"go.temporal.io/sdk/client"

	"github.com/valueledger/wallet"
	"github.com/valueledger/wallet/starter"
)

// The README's first command. It is compiled but not run: the end-to-end tests do the same on
// real servers.
func Example() {
	ctx := context.Background()
	temporalClient, err := client.Dial(client.Options{})
	if err != nil {
		log.Fatal(err)
	}
	c, err := starter.New(temporalClient, starter.Options{})
	if err != nil {
		log.Fatal(err)
	}
	res, err := c.Add(ctx, starter.Change{
		UserID: "u1", Currency: "USD", CommandID: "order-7", Amount: wallet.MustAmount("12.50"),
	})
	var unapplied *wallet.UnappliedError
	if errors.As(err, &unapplied) { // insufficient_funds, already_exists, ...
		log.Print(unapplied.Result.Reason)
	}
	log.Print(res.TotalAfter)
	command := wallet.Command{ID: "order-8", Type: wallet.TypeSubtract, Amount: wallet.MustAmount("1.50")}
	if err := c.Send(ctx, "u1", "USD", command); err != nil { // a signal: durable, no answer
		log.Fatal(err)
	}
}

// An order is reserved at checkout and charged when its parcels ship. What never ships becomes
// available again after a week.
func ExampleClient_Hold() {
	ctx := context.Background()
	temporalClient, err := client.Dial(client.Options{})
	if err != nil {
		log.Fatal(err)
	}
	c, err := starter.New(temporalClient, starter.Options{})
	if err != nil {
		log.Fatal(err)
	}
	_, err = c.Hold(ctx, starter.Change{
		UserID: "u1", Currency: "USD", CommandID: "order-7", Amount: wallet.MustAmount("80"), ExpiresIn: "7d",
	})
	if errors.Is(err, wallet.ReasonInsufficientFunds) {
		log.Print("not enough for this order")
	}
	parcel, err := c.Capture(ctx, starter.Change{
		UserID: "u1", Currency: "USD", CommandID: "order-7/parcel-1", HoldID: "order-7", Amount: wallet.MustAmount("30"), Partial: true,
	})
	switch {
	case errors.Is(err, wallet.ReasonHoldExpired): // too late: place another hold
	case err != nil:
		log.Fatal(err)
	default:
		log.Printf("%s left of the hold until %s", parcel.HoldLeft, parcel.HoldExpiresAt)
	}
	// The rest will not be shipped.
	if _, err := c.Release(ctx, starter.Change{UserID: "u1", Currency: "USD", CommandID: "order-7/cancel", HoldID: "order-7"}); err != nil {
		log.Fatal(err)
	}
}
