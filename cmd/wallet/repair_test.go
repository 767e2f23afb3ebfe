package main

import (
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/valueledger/wallet"
	"github.com/valueledger/wallet/activities"
	"github.com/valueledger/wallet/internal/test/testenv"
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
		_, err := db.Exec(t.Context(), `ALTER TABLE wallet_asset_events DISABLE TRIGGER append_only_rows; `+sql+`; ALTER TABLE wallet_asset_events ENABLE ALWAYS TRIGGER append_only_rows`, pgx.QueryExecModeSimpleProtocol)
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
	require.Equal(t, exitFailed, code)
	require.Contains(t, errs, "2 of 3 wallets failed verification")
	require.Contains(t, out, `has no event: run`)

	out, errs, code = s.run("repair", "-o", "json")
	require.Zero(t, code, errs)
	require.Equal(t, `{"user_id":"u2","currency":"USD","events_appended":3,"ranges_appended":1,"holds_restored":0,"grants_restored":0}`+"\n"+`{"user_id":"u3","currency":"USD","events_appended":1,"ranges_appended":0,"holds_restored":0,"grants_restored":0}`+"\n", sorted(out))
	out, _, code = s.run("verify")
	require.Zero(t, code, out)
	out, _, code = s.run("repair", "-o", "json")
	require.Zero(t, code)
	require.Empty(t, out, "nothing is left to do")

	tamper(`DELETE FROM wallet_asset_events WHERE user_id = 'u1' AND version = 2; UPDATE wallet_assets SET total_amount = 99 WHERE user_id = 'u1'`)
	out, errs, code = s.run("repair")
	require.Equal(t, exitFailed, code)
	require.Contains(t, errs, "nothing was repaired: 1 wallets are wrong in more than what is missing")
	require.Contains(t, out, "total 99 and hold 0.00 are not those of the journal (3.00, 0.00)")
	var events int
	require.NoError(t, db.QueryRow(t.Context(), `SELECT count(*) FROM wallet_asset_events WHERE user_id = 'u1'`).Scan(&events))
	require.Equal(t, 3, events, "untouched")
}

func TestRepairPutsIntoTheFeedWhatItLacks(t *testing.T) {
	url := testenv.DatabaseURL(t)
	s, db := newShell(t, url), testenv.Pool(t, url)
	fillWallet(t, url, 3, "") // u1
	steps := activities.New(db)
	add := func(ref wallet.AssetRef, id string) {
		_, err := steps.ApplyCommands(t.Context(), wallet.ApplyCommandsInput{AssetRef: ref, Commands: []wallet.Received{{
			Command: wallet.Command{ID: id, Type: wallet.TypeAdd, Amount: wallet.MustAmount("1")},
		}}})
		require.NoError(t, err)
	}
	u2 := wallet.AssetRef{UserID: "u2", Currency: "USD"}
	_, err := steps.EnsureWalletAsset(t.Context(), u2)
	require.NoError(t, err)
	_, err = steps.RecordEvents(t.Context(), u2)
	require.NoError(t, err)
	for _, id := range []string{"a", "b", "c", "d"} {
		add(u2, id)
		_, err = steps.RecordEvents(t.Context(), u2)
		require.NoError(t, err)
	}
	_, err = db.Exec(t.Context(), `ALTER TABLE wallet_feed DISABLE TRIGGER ALL; DELETE FROM wallet_feed WHERE user_id = 'u1' OR first_version IN (2, 4)`, pgx.QueryExecModeSimpleProtocol)
	require.NoError(t, err)

	out, errs, code := s.run("verify", "-o", "json")
	require.Equal(t, exitFailed, code)
	require.Contains(t, errs, "2 of 2 wallets failed verification")
	require.Equal(t, 2, strings.Count(out, `"missing_range":true`))
	out, errs, code = s.run("repair", "-o", "json")
	require.Zero(t, code, errs)
	require.Equal(t, `{"user_id":"u1","currency":"USD","events_appended":0,"ranges_appended":1,"holds_restored":0,"grants_restored":0}`+"\n"+`{"user_id":"u2","currency":"USD","events_appended":0,"ranges_appended":2,"holds_restored":0,"grants_restored":0}`+"\n", sorted(out))
	rows, err := db.Query(t.Context(), `SELECT concat_ws(' ', user_id, first_version, last_version) FROM wallet_feed ORDER BY user_id, id`)
	require.NoError(t, err)
	ranges, err := pgx.CollectRows(rows, pgx.RowTo[string])
	require.NoError(t, err)
	require.Equal(t, []string{"u1 1 3", "u2 1 1", "u2 3 3", "u2 5 5", "u2 2 2", "u2 4 4"}, ranges)
	out, _, code = s.run("verify")
	require.Zero(t, code, out)
}

func TestRepairSaysWhatItDidBeforeItFailed(t *testing.T) {
	url := testenv.DatabaseURL(t)
	s, db := newShell(t, url), testenv.Pool(t, url)
	for _, user := range []string{"u1", "u2"} {
		_, err := activities.New(db).ApplyCommands(t.Context(), wallet.ApplyCommandsInput{AssetRef: wallet.AssetRef{UserID: user, Currency: "USD"},
			Commands: []wallet.Received{{Command: wallet.Command{ID: "open", Type: wallet.TypeCreate}}}})
		require.NoError(t, err)
	}
	// The second who is repaired fails.
	_, err := db.Exec(t.Context(), `
		CREATE FUNCTION only_one() RETURNS trigger LANGUAGE plpgsql AS $$
			BEGIN IF EXISTS (SELECT FROM wallet_asset_events) THEN RAISE 'the disk is full'; END IF; RETURN NEW; END $$;
		CREATE TRIGGER only_one BEFORE INSERT ON wallet_asset_events FOR EACH ROW EXECUTE FUNCTION only_one()`, pgx.QueryExecModeSimpleProtocol)
	require.NoError(t, err)
	out, errs, code := s.run("repair", "-o", "json")
	require.Equal(t, exitFailed, code)
	require.Contains(t, errs, "the disk is full")
	require.Regexp(t, `^{"user_id":"u[12]","currency":"USD","events_appended":1,"ranges_appended":1,"holds_restored":0,"grants_restored":0}\n$`, out)
}
