package trail_test

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/valueledger/wallet"
	"github.com/valueledger/wallet/activities"
	"github.com/valueledger/wallet/internal/test/testenv"
	"github.com/valueledger/wallet/trail"
)

// TestTotalsEqualTheSumOfAllStatements has random commands of all types in several wallets, and
// transfers between them.
func TestTotalsEqualTheSumOfAllStatements(t *testing.T) {
	db := testenv.Pool(t, testenv.DatabaseURL(t))
	steps, read := activities.New(db), trail.New(db)
	random := rand.New(rand.NewPCG(15, 8))
	var users []string
	var times []time.Time
	for i := range 6 {
		users = append(users, fmt.Sprintf("u%d", i))
	}
	held := ""
	for n := range 120 {
		user, amount := users[random.IntN(len(users))], wallet.MustAmount(fmt.Sprint(1+random.IntN(40)))
		if n%5 == 0 {
			out, err := steps.ApplyTransaction(t.Context(), wallet.Transaction{ID: fmt.Sprint("t", n), Commands: []wallet.Leg{
				{AssetRef: wallet.AssetRef{UserID: user, Currency: "USD"}, Command: wallet.Command{Type: wallet.TypeSubtract, Amount: amount}},
				{AssetRef: wallet.AssetRef{UserID: users[n%len(users)], Currency: "USD"}, Command: wallet.Command{Type: wallet.TypeAdd, Amount: amount}},
			}})
			require.NoError(t, err)
			times = append(times, out.Result.RecordedAt)
			continue
		}
		c := wallet.Command{ID: fmt.Sprint("c", n), Type: wallet.TypeAdd, Amount: amount}
		switch n % 5 {
		case 2:
			c.Type = wallet.TypeSubtract
		case 3:
			c.Type, held = wallet.TypeHold, user
		case 4:
			user, c.Type, c.HoldID = held, wallet.TypeCapture, fmt.Sprint("c", n-1)
			c.Amount = wallet.Amount{}
		}
		currency := "USD"
		if n%7 == 1 {
			currency = "EUR"
		}
		out, err := steps.ApplyCommands(t.Context(), wallet.ApplyCommandsInput{
			AssetRef: wallet.AssetRef{UserID: user, Currency: currency}, Commands: []wallet.Received{{Command: c},
				{Command: wallet.Command{ID: "reverse " + c.ID, Type: wallet.TypeReverse, OriginalID: c.ID, Amount: wallet.MustAmount("1")}}},
		})
		require.NoError(t, err)
		times = append(times, out.Asset.UpdatedAt)
	}
	for _, span := range [][2]time.Time{{}, {times[30], times[90]}, {times[60], {}}, {{}, times[0]}} {
		all, err := read.Totals(t.Context(), "", span[0], span[1])
		require.NoError(t, err)
		for _, total := range all {
			opening, in, out, closing := wallet.Amount{}, wallet.Amount{}, wallet.Amount{}, wallet.Amount{}
			for _, user := range users {
				s, err := read.Statement(t.Context(), user, total.Currency, span[0], span[1])
				if err != nil {
					require.ErrorIs(t, err, trail.ErrNoWallet)
					continue
				}
				opening, closing = opening.Add(s.Opening.Total), closing.Add(s.Closing.Total)
				in, out = in.Add(s.Added.Sum), out.Add(s.Subtracted.Sum)
			}
			what := fmt.Sprint(total.Currency, " ", span)
			require.Zero(t, opening.Cmp(total.Opening), "%s: opening %s, not %s", what, total.Opening, opening)
			require.Zero(t, closing.Cmp(total.Closing), "%s: closing %s, not %s", what, total.Closing, closing)
			require.Zero(t, in.Cmp(total.Added.Sum.Add(total.ReversedIn.Sum).Add(total.TransferredIn.Sum)), what)
			require.Zero(t, out.Cmp(total.Subtracted.Sum.Add(total.Captured.Sum).Add(total.ReversedOut.Sum).Add(total.TransferredOut.Sum)), what)
			require.Zero(t, closing.Cmp(opening.Add(in).Sub(out)), what)
		}
	}
	all, err := read.Totals(t.Context(), "USD", time.Time{}, time.Time{})
	require.NoError(t, err)
	require.Len(t, all, 1)
	for name, turnover := range map[string]trail.Turnover{
		"added": all[0].Added, "subtracted": all[0].Subtracted, "captured": all[0].Captured, "reversed in": all[0].ReversedIn, "reversed out": all[0].ReversedOut, "in": all[0].TransferredIn, "out": all[0].TransferredOut,
	} {
		require.Positive(t, turnover.Count, "the test has none %s", name)
	}
	require.Equal(t, all[0].TransferredIn, all[0].TransferredOut)
}

func TestTotalsThatAreNotTheBalancesAreNoAnswer(t *testing.T) {
	db := testenv.Pool(t, testenv.DatabaseURL(t))
	fill(t, db, 3)
	_, err := db.Exec(t.Context(), `UPDATE wallet_assets SET total_amount = total_amount + 1 WHERE user_id = 'u0001' AND currency = 'USD'`)
	require.NoError(t, err)
	_, err = trail.New(db).Totals(t.Context(), "", time.Time{}, time.Time{})
	var unequal *trail.UnequalTotalsError
	require.ErrorAs(t, err, &unequal)
	require.Equal(t, "USD", unequal.Currency)
	require.Equal(t, "1.00", unequal.Balances.Sub(unequal.Journal).String())
	_, err = trail.New(db).Totals(t.Context(), "", time.Time{}, time.Now())
	require.NoError(t, err, "it was so at a past time")
	all, err := trail.New(db).Totals(t.Context(), "JPY", time.Time{}, time.Time{})
	require.NoError(t, err)
	require.Len(t, all, 1)
	require.Equal(t, "0", all[0].Closing.String(), "there are no wallets in it")
	var invalid *wallet.InvalidError
	_, err = trail.New(db).Totals(t.Context(), "XYZ", time.Time{}, time.Time{})
	require.ErrorAs(t, err, &invalid)
	_, err = trail.New(db).Totals(t.Context(), "", time.Now(), time.Now().Add(-time.Hour))
	require.ErrorAs(t, err, &invalid)
}
