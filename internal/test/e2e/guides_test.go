package e2e

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/valueledger/wallet"
	"github.com/valueledger/wallet/starter"
	"github.com/valueledger/wallet/trail"
)

// The functions below stand in docs/guides; TestTheGoOfTheGuides runs them.

type order struct {
	Number, User, Currency string
	Price                  wallet.Amount
}

var errTooPoor = errors.New("not enough in the wallet")

// charge subtracts the price of an order. After any error but errTooPoor, call it again:
// the command's id contains the order's number, so the order is paid once.
func charge(ctx context.Context, wallets *starter.Client, o order) (wallet.Result, error) {
	result, err := wallets.Subtract(ctx, starter.Change{
		UserID: o.User, Currency: o.Currency, CommandID: "order-" + o.Number, Amount: o.Price,
		Description: "order " + o.Number, Actor: "shop",
	})
	var unapplied *wallet.UnappliedError
	if errors.As(err, &unapplied) && unapplied.Result.Reason == wallet.ReasonInsufficientFunds {
		return result, errTooPoor // final for this id
	}
	return result, err // nil, a bug in the caller, or no answer yet
}

// refund pays back the value of a return, once per return.
func refund(ctx context.Context, wallets *starter.Client, o order, number string, worth wallet.Amount) error {
	_, err := wallets.Add(ctx, starter.Change{
		UserID: o.User, Currency: o.Currency, CommandID: "refund-" + number, Amount: worth,
		Actor: "shop", Metadata: map[string]string{"refund_of": "order-" + o.Number},
	})
	return err
}

// refunded is the total refunded for an order.
func refunded(ctx context.Context, read trail.Reader, o order) (sum wallet.Amount, err error) {
	statement, err := read.Statement(ctx, o.User, o.Currency, time.Time{}, time.Time{})
	if err != nil {
		return sum, err
	}
	for event, err := range statement.Lines(ctx) {
		if err != nil {
			return sum, err
		}
		if event.Metadata["refund_of"] == "order-"+o.Number {
			sum = sum.Add(event.Amount)
		}
	}
	return sum, nil
}

func TestTheGoOfTheGuides(t *testing.T) {
	w := newWorld(t)
	o := order{Number: "7", User: w.user, Currency: "USD", Price: wallet.MustAmount("12.50")}
	result, err := charge(t.Context(), w.wallets, o)
	require.ErrorIs(t, err, errTooPoor)
	require.Equal(t, wallet.ReasonInsufficientFunds, result.Reason)

	_, err = w.wallets.Add(t.Context(), w.change("top-up", "30"))
	require.NoError(t, err)
	_, err = charge(t.Context(), w.wallets, o)
	require.ErrorIs(t, err, errTooPoor, "a refusal is final for its id")
	o.Number = "8"
	for i := range 2 {
		result, err = charge(t.Context(), w.wallets, o)
		require.NoError(t, err)
		require.Equal(t, "17.50", result.TotalAfter.String())
		require.Equal(t, i > 0, result.Replayed)
	}
	dearer := o
	dearer.Price = wallet.MustAmount("13")
	result, err = charge(t.Context(), w.wallets, dearer)
	require.Error(t, err)
	require.NotErrorIs(t, err, errTooPoor)
	require.Equal(t, wallet.ReasonIDConflict, result.Reason)

	for number, worth := range []string{"2.50", "4"} {
		for range 2 {
			err = refund(t.Context(), w.wallets, o, fmt.Sprint(number), wallet.MustAmount(worth))
			require.NoError(t, err)
		}
	}
	sum, err := refunded(t.Context(), w.read, o)
	require.NoError(t, err)
	require.Equal(t, "6.50", sum.String())
	o.Number = "7"
	sum, err = refunded(t.Context(), w.read, o)
	require.NoError(t, err)
	require.True(t, sum.IsZero())
	w.requireSound()
}
