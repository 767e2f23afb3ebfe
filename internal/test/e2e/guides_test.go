package e2e

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/valueledger/wallet"
	"github.com/valueledger/wallet/starter"
	"github.com/valueledger/wallet/trail"
)

// Most functions below are in docs/guides; TestTheGoOfTheGuides runs all of them.

type order struct {
	Number, User, Currency string
	Price                  wallet.Amount
}

var (
	errTooPoor  = errors.New("not enough in the wallet")
	errTooLate  = errors.New("the reservation has expired")
	errPaidBack = errors.New("the order is paid back")
)

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

// refund pays back the value of a return, once per return, and never more than the order cost.
func refund(ctx context.Context, wallets *starter.Client, o order, number string, worth wallet.Amount) error {
	_, err := wallets.Reverse(ctx, starter.Change{
		UserID: o.User, Currency: o.Currency, CommandID: "return-" + number, OriginalID: "order-" + o.Number, Amount: worth,
		Actor: "shop",
	})
	if errors.Is(err, wallet.ReasonReversalExceeded) {
		return errPaidBack
	}
	return err
}

// checkout reserves the price of an order for a week.
func checkout(ctx context.Context, wallets *starter.Client, o order) error {
	_, err := wallets.Hold(ctx, starter.Change{
		UserID: o.User, Currency: o.Currency, CommandID: "order-" + o.Number, Amount: o.Price, ExpiresIn: "7d",
		Description: "order " + o.Number, Actor: "shop",
	})
	if errors.Is(err, wallet.ReasonInsufficientFunds) {
		return errTooPoor
	}
	return err
}

// ship charges a parcel of an order, before it leaves. The last one closes the hold.
func ship(ctx context.Context, wallets *starter.Client, o order, parcel string, worth wallet.Amount, last bool) error {
	_, err := wallets.Capture(ctx, starter.Change{
		UserID: o.User, Currency: o.Currency, CommandID: "order-" + o.Number + "/" + parcel, HoldID: "order-" + o.Number,
		Amount: worth, Partial: !last, Actor: "shop",
	})
	if errors.Is(err, wallet.ReasonHoldExpired) {
		return errTooLate // do not ship: reserve again
	}
	return err
}

func TestTheHoldsOfTheGuides(t *testing.T) {
	w := newWorld(t)
	_, err := w.wallets.Add(t.Context(), w.change("top-up", "100"))
	require.NoError(t, err)
	o := order{Number: "7", User: w.user, Currency: "USD", Price: wallet.MustAmount("80")}
	for range 2 {
		require.NoError(t, checkout(t.Context(), w.wallets, o))
		require.NoError(t, ship(t.Context(), w.wallets, o, "1", wallet.MustAmount("30"), false))
	}
	require.ErrorIs(t, ship(t.Context(), w.wallets, o, "2", wallet.MustAmount("51"), true), wallet.ReasonHoldExceeded)
	require.NoError(t, ship(t.Context(), w.wallets, o, "3", wallet.MustAmount("45"), true))
	require.ErrorIs(t, ship(t.Context(), w.wallets, o, "4", wallet.MustAmount("5"), true), wallet.ReasonHoldClosed)
	require.ErrorIs(t, checkout(t.Context(), w.wallets, order{Number: "8", User: w.user, Currency: "USD", Price: wallet.MustAmount("26")}), errTooPoor)

	o.Number = "9"
	placed, err := w.wallets.Hold(t.Context(), starter.Change{UserID: w.user, Currency: "USD", CommandID: "order-9", Amount: wallet.MustAmount("20"), ExpiresIn: "1s"})
	require.NoError(t, err)
	w.eventually("the hold expires", func() bool {
		holds, err := w.read.Holds(t.Context(), trail.HoldFilter{UserID: w.user, State: wallet.HoldExpired})
		require.NoError(t, err)
		return len(holds) == 1 && holds[0].ID == placed.HoldID
	})
	require.ErrorIs(t, ship(t.Context(), w.wallets, o, "1", wallet.MustAmount("20"), true), errTooLate)
	asset, err := w.read.Asset(t.Context(), w.user, "USD")
	require.NoError(t, err)
	require.Equal(t, "25.00", asset.Available().String())
	w.requireSound()
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
			require.NoError(t, refund(t.Context(), w.wallets, o, fmt.Sprint(number), wallet.MustAmount(worth)))
		}
	}
	require.ErrorIs(t, refund(t.Context(), w.wallets, o, "too much", wallet.MustAmount("6.01")), errPaidBack)
	require.NoError(t, refund(t.Context(), w.wallets, o, "the rest", wallet.Amount{}))
	w.requireSound()
}
