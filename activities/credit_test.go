package activities_test

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/valueledger/wallet"
	"github.com/valueledger/wallet/trail"
)

func creditLimit(id, amount string) wallet.Received {
	return wallet.Received{Command: wallet.Command{ID: id, Type: wallet.TypeSetCreditLimit, Amount: wallet.MustAmount(amount)}}
}

// TestACreditLimitStays in the row, in reads of the past, and in a row that was lost, with a total below 0.
func TestACreditLimitStays(t *testing.T) {
	s := newSteps(t)
	s.apply(creditLimit("limit", "10"), subtract("out", "7"), creditLimit("lower", "6"))
	asset := s.ensure()
	require.Equal(t, []string{"-7.00", "10.00", "3.00"}, []string{asset.Total.String(), asset.CreditLimit.String(), asset.Available().String()})
	s.verified()
	_, err := s.db.Exec(t.Context(), `DELETE FROM wallet_assets WHERE user_id = $1`, s.ref.UserID)
	require.NoError(t, err)
	require.Equal(t, wallet.ReasonInsufficientFunds, s.apply(subtract("too much", "3.01"))[0].Reason)
	require.Equal(t, wallet.StatusApplied, s.apply(add("back", "7"), creditLimit("none", "0"))[1].Status)
	then, err := trail.New(s.db).AssetAtVersion(t.Context(), s.ref.UserID, s.ref.Currency, 3)
	require.NoError(t, err)
	require.Equal(t, []string{"-7.00", "10.00"}, []string{then.Total.String(), then.CreditLimit.String()})
	require.Equal(t, wallet.Amount{}, s.balance(s.ref.UserID).CreditLimit)
	s.verified()
}

// TestVerifyFindsACreditLimitThatSomebodyRaised in the row alone.
func TestVerifyFindsACreditLimitThatSomebodyRaised(t *testing.T) {
	for _, change := range []string{`credit_limit = 11`, `credit_limit = 10`, `credit_limit = NULL, total_amount = 0`} {
		s := newSteps(t)
		s.apply(creditLimit("limit", "10"), subtract("out", "7"))
		s.verified()
		_, err := s.db.Exec(t.Context(), `UPDATE wallet_assets SET `+change+` WHERE user_id = $1`, s.ref.UserID)
		require.NoError(t, err)
		report, err := trail.New(s.db).Verify(context.Background(), trail.VerifyOptions{})
		require.NoError(t, err)
		require.Len(t, report.Findings, 1, change)
	}
}
