package main

import (
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/valueledger/wallet"
	"github.com/valueledger/wallet/activities"
	"github.com/valueledger/wallet/internal/testenv"
)

func sorted(lines string) string {
	list := strings.SplitAfter(lines, "\n")
	slices.Sort(list)
	return strings.Join(list, "")
}

func TestRepairAppendsMissingEventsAndNothingElse(t *testing.T) {
	url := testenv.DatabaseURL(t)
	s, db := newShell(t, url), testenv.Pool(t, url)
	tamper := func(sql string) { // as a superuser
		_, err := db.Exec(t.Context(), `SET session_replication_role = replica; ALTER TABLE wallet_asset_events DISABLE TRIGGER ALL; `+sql+`; ALTER TABLE wallet_asset_events ENABLE ALWAYS TRIGGER append_only_rows`, pgx.QueryExecModeSimpleProtocol)
		require.NoError(t, err)
	}
	steps := activities.New(db)
	for _, user := range []string{"u1", "u2", "u3"} {
		ref := wallet.AssetRef{UserID: user, Currency: "USD"}
		_, err := steps.EnsureWalletAsset(t.Context(), ref)
		require.NoError(t, err)
		for _, id := range []string{"a", "b", "c"} {
			_, err = steps.ApplyCommands(t.Context(), wallet.ApplyCommandsInput{AssetRef: ref, Commands: []wallet.Received{{
				Command: wallet.Command{ID: id, Type: wallet.TypeAdd, Amount: wallet.MustAmount("1")},
			}}})
			require.NoError(t, err)
		}
		if user != "u2" { // a crash before the events
			_, err = steps.RecordEvents(t.Context(), ref)
			require.NoError(t, err)
		}
	}
	tamper(`DELETE FROM wallet_asset_events WHERE user_id = 'u3' AND version = 2`) // a hole in the middle

	out, errs, code := s.run("verify")
	require.Equal(t, exitError, code)
	require.Contains(t, errs, "2 of 3 wallets do not hold")
	require.Contains(t, out, `has no event: run`)

	out, errs, code = s.run("repair", "-o", "json")
	require.Zero(t, code, errs)
	require.Equal(t, `{"user_id":"u2","currency":"USD","events_appended":3}`+"\n"+`{"user_id":"u3","currency":"USD","events_appended":1}`+"\n", sorted(out))
	out, _, code = s.run("verify")
	require.Zero(t, code, out)
	out, _, code = s.run("repair", "-o", "json")
	require.Zero(t, code)
	require.Empty(t, out, "nothing is left to do")

	tamper(`DELETE FROM wallet_asset_events WHERE user_id = 'u1' AND version = 2; UPDATE wallet_assets SET total_amount = 99 WHERE user_id = 'u1'`)
	out, errs, code = s.run("repair")
	require.Equal(t, exitError, code)
	require.Contains(t, errs, "nothing was repaired: 1 wallets are wrong in more than missing events")
	require.Contains(t, out, "total 99 and hold 0.00 are not those of the journal (3.00, 0.00)")
	var events int
	require.NoError(t, db.QueryRow(t.Context(), `SELECT count(*) FROM wallet_asset_events WHERE user_id = 'u1'`).Scan(&events))
	require.Equal(t, 3, events, "untouched")
}
