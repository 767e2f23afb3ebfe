package trail_test

import (
	"testing"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/valueledger/wallet"
	"github.com/valueledger/wallet/activities"
	"github.com/valueledger/wallet/internal/test/testenv"
	"github.com/valueledger/wallet/trail"
)

// moves makes a transaction that takes 2 from u0000 and gives them to u0001, the victim.
func moves(id string, amount string) wallet.Transaction {
	t := wallet.Transaction{ID: id, MustBalance: true}
	for i, kind := range []wallet.CommandType{wallet.TypeSubtract, wallet.TypeAdd} {
		ref := wallet.AssetRef{UserID: []string{"u0000", "u0001"}[i], Currency: "USD"}
		t.Commands = append(t.Commands, wallet.Leg{AssetRef: ref, Command: wallet.Command{Type: kind, Amount: wallet.MustAmount(amount)}})
	}
	return t
}

func fillTransactions(t *testing.T, db *pgxpool.Pool) {
	fill(t, db, 3)
	for _, tx := range []wallet.Transaction{moves("t-1", "2"), moves("too-much", "999")} {
		out, err := activities.New(db).ApplyTransaction(t.Context(), tx)
		require.NoError(t, err)
		require.True(t, out.Recorded)
	}
	require.Empty(t, verify(t, db, trail.VerifyOptions{}).Findings)
}

func TestATransactionIsReadWithItsLegs(t *testing.T) {
	db := testenv.Pool(t, testenv.DatabaseURL(t))
	fillTransactions(t, db)
	read := trail.New(db)
	moved, err := read.Transaction(t.Context(), "t-1")
	require.NoError(t, err)
	require.Equal(t, wallet.StatusApplied, moved.Status)
	require.True(t, moved.MustBalance)
	require.Equal(t, moves("t-1", "2").RequestHash(), moved.RequestHash)
	require.Equal(t, "u0001", moved.Results[1].UserID)
	require.Equal(t, "2.00", moved.Results[1].Amount.String())
	refused, err := read.Transaction(t.Context(), "too-much")
	require.NoError(t, err)
	require.Equal(t, wallet.ReasonInsufficientFunds, refused.Reason)
	require.Equal(t, int64(1), refused.RefusedLeg)
	_, err = read.Transaction(t.Context(), "t-2")
	require.ErrorIs(t, err, trail.ErrNoTransaction)
	receipt, err := read.Receipt(t.Context(), "u0001", "USD", wallet.LegID("t-1", 2))
	require.NoError(t, err)
	finding, err := read.CheckReceipt(t.Context(), receipt)
	require.NoError(t, err)
	require.Nil(t, finding, "a leg has a receipt like any command")
}

// TestVerifyFindsATransactionTornApart forges what each chain alone would pass.
func TestVerifyFindsATransactionTornApart(t *testing.T) {
	// again folds the victim's journal anew, with legs as change wants them.
	again := func(t *testing.T, db *pgxpool.Pool, change func(*wallet.Received) (keep bool)) {
		asset, forged := wallet.Asset{UserID: victim.UserID, Currency: victim.Currency, Scale: 2}, []wallet.Entry{}
		for _, e := range journalOf(t, db, victim) {
			received := wallet.Received{Command: e.Command()}
			switch {
			case e.Reason == wallet.ReasonMalformed:
				received.Malformed = e.Message
			case e.Reason == wallet.ReasonTransactionRefused:
				received.Refused = &wallet.Refusal{Reason: e.Reason, Message: e.Message}
			}
			if e.TransactionID != "" && !change(&received) {
				continue
			}
			f, err := wallet.Fold(wallet.Account{Asset: asset}, nil, []wallet.Received{received}, e.RecordedAt)
			require.NoError(t, err)
			asset, forged = f.Account.Asset, append(forged, f.Entries...)
		}
		forge(t, db, forged)
	}
	sql := func(statement string) func(*testing.T, *pgxpool.Pool) {
		return func(t *testing.T, db *pgxpool.Pool) {
			tag, err := db.Exec(t.Context(), statement)
			require.NoError(t, err)
			require.NotZero(t, tag.RowsAffected())
		}
	}
	for name, row := range map[string]struct {
		change  func(*testing.T, *pgxpool.Pool)
		user    string
		problem string
	}{
		"a leg is gone": {func(t *testing.T, db *pgxpool.Pool) {
			again(t, db, func(r *wallet.Received) bool { return r.Command.LegRef.TransactionID != "t-1" })
		}, "u0000", `leg 2 of 2 is not in the journal of the USD wallet of "u0001"`},
		"a leg is not applied": {func(t *testing.T, db *pgxpool.Pool) {
			again(t, db, func(r *wallet.Received) bool {
				r.Refused = &wallet.Refusal{Reason: wallet.ReasonTransactionRefused, Message: "forged"}
				return true
			})
		}, "u0000", "1 of its 2 legs are applied"},
		"a leg of a refused one is applied": {func(t *testing.T, db *pgxpool.Pool) {
			again(t, db, func(r *wallet.Received) bool { r.Refused = nil; return true })
		}, "u0000", "1 of its 2 legs are applied"},
		"a leg gives more": {func(t *testing.T, db *pgxpool.Pool) {
			again(t, db, func(r *wallet.Received) bool {
				if r.Refused == nil {
					r.Command.Amount = wallet.MustAmount("3")
				}
				return true
			})
		}, "u0000", "does not match the content of its legs"},
		"the row is gone":            {sql(`DELETE FROM wallet_transactions WHERE transaction_id = 't-1'`), "u0001", "has no row in wallet_transactions"},
		"the promise is gone":        {sql(`UPDATE wallet_transactions SET must_balance = false WHERE transaction_id = 't-1'`), "u0000", "does not match the content"},
		"the hash is another":        {sql(`UPDATE wallet_transactions SET request_hash = sha256('x') WHERE transaction_id = 't-1'`), "u0000", "does not match the content"},
		"the row is of another user": {sql(`UPDATE wallet_transactions SET users[2] = 'u0002' WHERE transaction_id = 't-1'`), "u0001", "not by its row in wallet_transactions"},
		"a row without legs":         {sql(`INSERT INTO wallet_transactions SELECT 't-2', users, currencies, must_balance, request_hash FROM wallet_transactions WHERE transaction_id = 't-1'`), "u0000", `transaction "t-2": its first leg is not in the journal`},
		"a leg of no place":          {sql(`UPDATE wallet_commands SET leg = 0 WHERE transaction_id = 't-1' AND leg = 2`), "u0001", "not by its row in wallet_transactions"},
		"a row without users":        {sql(`UPDATE wallet_transactions SET users = ARRAY[NULL, NULL]::text[] WHERE transaction_id = 't-1'`), "u0000", "not by its row in wallet_transactions"},
		"a cause that was none":      {sql(`UPDATE wallet_commands SET reason = 'hold_closed' WHERE transaction_id = 'too-much' AND leg = 1`), "u0000", "because of it, for hold_closed, but the rules say insufficient_funds"},
	} {
		t.Run(name, func(t *testing.T) {
			db := testenv.Pool(t, testenv.DatabaseURL(t))
			fillTransactions(t, db)
			openToTampering(t, db)
			row.change(t, db)
			found := ""
			for _, f := range verify(t, db, trail.VerifyOptions{}).Findings {
				if f.UserID == row.user {
					found += f.Problem + "\n"
				}
			}
			require.Contains(t, found, row.problem)
		})
	}
}
