package main

import (
	"encoding/csv"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/valueledger/wallet"
	"github.com/valueledger/wallet/activities"
	"github.com/valueledger/wallet/internal/service/rows"
	"github.com/valueledger/wallet/internal/service/statement"
	"github.com/valueledger/wallet/internal/test/testenv"
)

// recorded is a command and when it came.
type recorded struct {
	at      string
	command wallet.Command
}

// writeJournal writes a journal whose times, and so its hashes, are fixed; a journal
// that the steps write has Postgres's. The steps restore the balance from it and
// record the events.
func writeJournal(t *testing.T, db *pgxpool.Pool, userID, currency string, commands ...recorded) {
	ref := wallet.AssetRef{UserID: userID, Currency: currency}
	account := wallet.Account{Asset: wallet.Asset{UserID: userID, Currency: currency, Scale: 2}}
	for _, c := range commands {
		at, err := time.Parse(time.DateTime, c.at)
		require.NoError(t, err)
		f, err := wallet.Fold(account, nil, []wallet.Received{{Command: c.command}}, at)
		require.NoError(t, err)
		sql, parameters, err := rows.InsertEntries(f.Entries)
		require.NoError(t, err)
		_, err = db.Exec(t.Context(), sql, parameters...)
		require.NoError(t, err)
		for _, h := range f.Holds {
			_, err = db.Exec(t.Context(), rows.UpsertHolds, rows.HoldParameters([]rows.Hold{{AssetRef: ref, Hold: h}})...)
			require.NoError(t, err)
		}
		account = f.Account
	}
	steps := activities.New(db)
	restored, err := steps.EnsureWalletAsset(t.Context(), ref)
	require.NoError(t, err)
	require.Equal(t, account.Hash, restored.Asset.Hash)
	_, err = steps.RecordEvents(t.Context(), ref)
	require.NoError(t, err)
}

// newPastShell has the wallets of docs/reads.md: January and February of three users.
func newPastShell(t *testing.T) shell {
	url := testenv.DatabaseURL(t)
	db := testenv.Pool(t, url)
	add := func(at, id, amount, description string) recorded {
		return recorded{at, wallet.Command{ID: id, Type: wallet.TypeAdd, Amount: wallet.MustAmount(amount), Description: description}}
	}
	subtract := func(at, id, amount, description string) recorded {
		r := add(at, id, amount, description)
		r.command.Type = wallet.TypeSubtract
		return r
	}
	payout := subtract("2026-02-03 08:15:00", "payout-1", "60", `to "Anna", monthly`)
	payout.command.Actor, payout.command.Metadata = "payouts", map[string]string{"invoice": "2026-02/7"}
	writeJournal(t, db, "u1", "USD",
		recorded{"2026-01-10 09:00:00", wallet.AutoCreate()},
		add("2026-01-10 09:00:00", "order-7", "12.50", "refund"),
		subtract("2026-01-20 12:00:00", "order-8", "20", ""),
		add("2026-01-31 18:30:00", "top-up-1", "100", "=1+1"),
		payout)
	writeJournal(t, db, "u1", "EUR", recorded{"2026-02-05 10:00:00", wallet.Command{ID: "open", Type: wallet.TypeCreate}})
	writeJournal(t, db, "u2", "USD",
		recorded{"2026-01-15 07:00:00", wallet.AutoCreate()},
		add("2026-01-15 07:00:00", "bonus-1", "5", "welcome"),
		subtract("2026-01-16 07:00:00", "order-1", "5.01", ""))
	hold := func(at, id, amount, expiresAt string) recorded {
		r := add(at, id, amount, "")
		r.command.Type = wallet.TypeHold
		if expiresAt != "" {
			r.command.ExpiresAt, _ = time.Parse(time.DateTime, expiresAt)
		}
		return r
	}
	capture := add("2026-02-09 16:00:00", "order-1/parcel-1", "30", "")
	capture.command.Type, capture.command.HoldID, capture.command.Partial = wallet.TypeCapture, "order-1", true
	last := recorded{"2026-02-11 10:30:00", wallet.Command{ID: "order-1/parcel-2", Type: wallet.TypeCapture, HoldID: "order-1", Amount: wallet.MustAmount("45")}}
	writeJournal(t, db, "u3", "USD",
		recorded{"2026-02-01 08:00:00", wallet.AutoCreate()},
		add("2026-02-01 08:00:00", "top-up-1", "200", ""),
		hold("2026-02-08 20:15:00", "order-1", "80", "2026-02-15 20:15:00"),
		capture, last,
		hold("2026-02-12 09:00:00", "order-2", "25", "2026-02-19 09:00:00"),
		hold("2026-02-20 14:45:00", "deposit", "50", ""))
	s := newShell(t, url)
	out, errs, code := s.run("verify")
	require.Zero(t, code, out+errs)
	return s
}

func (s shell) reads(args ...string) string {
	out, errs, code := s.run(args...)
	require.Zero(s.t, code, errs)
	return out
}

func TestBalanceAtATimeAndAtAVersion(t *testing.T) {
	s := newPastShell(t)
	for _, row := range []struct {
		args []string
		want string
	}{
		{[]string{"--at", "2026-01-31"}, `"total":"12.50","hold":"0.00","available":"12.50","version":2,"position":3,`},
		{[]string{"--at", "2026-01-31T18:29:59.999999Z"}, `"total":"12.50"`},
		{[]string{"--at", "2026-01-31T19:30:00+01:00"}, `"total":"112.50","hold":"0.00","available":"112.50","version":3,"position":4,`},
		{[]string{"--at", "2099-01-01"}, `"total":"52.50"`},
		{[]string{"--version", "1"}, `"total":"0.00","hold":"0.00","available":"0.00","version":1,"position":1,`},
		{[]string{"--version", "4"}, `"total":"52.50","hold":"0.00","available":"52.50","version":4,"position":5,`},
	} {
		require.Contains(t, s.reads(append([]string{"balance", "u1", "USD", "-o", "json"}, row.args...)...), row.want, row.args)
	}
	require.Equal(t, s.reads("balance", "u1", "USD"), s.reads("balance", "u1", "USD", "--at", "2099-01-01"), "the future is the current state")
	require.NotContains(t, s.reads("balance", "u1", "--at", "2026-02-05T09:59:59Z"), "EUR")
	require.Contains(t, s.reads("balance", "u1", "--at", "2026-02-05T10:00:00Z"), "EUR")
}

func TestStatementAsCSVReadsBackVerbatim(t *testing.T) {
	s := newPastShell(t)
	out := s.reads("statement", "u1", "USD", "--from", "2026-01-31", "--to", "2026-02-05", "-o", "csv")
	rows, err := csv.NewReader(strings.NewReader(out)).ReadAll()
	require.NoError(t, err)
	require.Equal(t, [][]string{
		{"kind", "user_id", "currency", "at", "version", "event_type", "command_id", "hold_id", "added", "subtracted", "changes_total", "total", "hold", "description", "actor", "metadata", "added_count", "subtracted_count", "original_id", "reversed"},
		{"opening", "u1", "USD", "2026-01-31T00:00:00Z", "2", "", "", "", "", "", "", "12.50", "0.00", "", "", "", "", "", "", ""},
		{"line", "u1", "USD", "2026-01-31T18:30:00Z", "3", "wallet_asset.added", "top-up-1", "", "100.00", "", "true", "112.50", "0.00", "=1+1", "", "", "", "", "", ""},
		{"line", "u1", "USD", "2026-02-03T08:15:00Z", "4", "wallet_asset.subtracted", "payout-1", "", "", "60.00", "true", "52.50", "0.00", `to "Anna", monthly`, "payouts", `{"invoice":"2026-02/7"}`, "", "", "", ""},
		{"closing", "u1", "USD", "2026-02-05T00:00:00Z", "4", "", "", "", "100.00", "60.00", "", "52.50", "0.00", "", "", "", "1", "1", "", ""},
	}, rows)
	sheet := s.reads("statement", "u1", "USD", "--from", "2026-01-31", "--to", "2026-02-05", "--spreadsheet")
	require.Equal(t, statement.ByteOrderMark+strings.Replace(out, "=1+1", "'=1+1", 1), sheet)
	_, errs, code := s.run("statement", "u1", "USD", "--spreadsheet", "-o", "json")
	require.Equal(t, exitInvalid, code)
	require.Contains(t, errs, "--spreadsheet is for CSV")
}

func TestStatementAsJSONLines(t *testing.T) {
	s := newPastShell(t)
	var kinds []string
	var changes []any
	var first, last map[string]any
	for _, line := range strings.Split(strings.TrimSpace(s.reads("statement", "u1", "USD", "-o", "json")), "\n") {
		last = nil
		require.NoError(t, json.Unmarshal([]byte(line), &last))
		if first == nil {
			first = last
		}
		kinds = append(kinds, last["kind"].(string))
		changes = append(changes, last["changes_total"])
	}
	require.Equal(t, []string{"opening", "line", "line", "line", "line", "closing"}, kinds)
	require.Equal(t, []any{nil, false, true, true, true, nil}, changes, "the first line opens the wallet")
	require.Equal(t, "0.00", first["total"])
	require.Equal(t, "2026-01-10T09:00:00Z", first["from"], "the wallet's beginning")
	require.NotContains(t, first, "updated_at")
	require.Equal(t, "52.50", last["total"])
	require.Equal(t, map[string]any{"count": 2.0, "sum": "112.50"}, last["added"])
	require.Equal(t, map[string]any{"count": 1.0, "sum": "60.00"}, last["subtracted"])
}

func TestListsOfAllWalletsGoOnAfterARow(t *testing.T) {
	s := newPastShell(t)
	ids := func(args ...string) (list []string) {
		for _, line := range strings.Split(strings.TrimSpace(s.reads(append(args, "-o", "json")...)), "\n") {
			var row struct {
				UserID    string `json:"user_id"`
				CommandID string `json:"command_id"`
			}
			require.NoError(t, json.Unmarshal([]byte(line), &row))
			list = append(list, row.UserID+" "+row.CommandID)
		}
		return list
	}
	all := []string{"u1 open", "u1 _auto-create", "u1 order-7", "u1 top-up-1", "u1 payout-1", "u2 _auto-create", "u2 bonus-1",
		"u3 _auto-create", "u3 top-up-1", "u3 order-1", "u3 order-1/parcel-1", "u3 order-1/parcel-2", "u3 order-2", "u3 _expire/order-2", "u3 deposit"}
	require.Equal(t, all, ids("events"))
	require.Equal(t, all[:3], ids("events", "--limit", "3"))
	require.Equal(t, all[3:], ids("events", "--after", "u1/USD/2"))
	require.Equal(t, all[3:5], ids("events", "u1", "--after", "USD/2"))
	require.Equal(t, all[4:5], ids("events", "u1", "USD", "--after", "3"))
	require.Equal(t, []string{"u1 order-8", "u2 order-1"}, ids("commands", "--status", "unapplied"))
	require.Equal(t, []string{"u2 order-1"}, ids("commands", "--status", "unapplied", "--after", "u1/USD/3"))
	require.Equal(t, []string{"u1 payout-1", "u2 _auto-create"}, ids("commands", "--after", "u1/USD/4", "--limit", "2"))
}

func TestAListOfAWalletMayBeEmpty(t *testing.T) {
	s := newPastShell(t)
	require.Equal(t, "no events of u1 in USD after 99\n", s.reads("events", "u1", "USD", "--after", "99"))
	require.Equal(t, "no unapplied commands of u1 in EUR\n", s.reads("commands", "u1", "EUR", "--status", "unapplied"))
	_, note, _ := s.run("commands", "u1", "EUR", "--status", "unapplied", "-o", "json")
	require.JSONEq(t, `{"note": "no unapplied commands of u1 in EUR"}`, note)
	require.Equal(t, "nothing is missing, nothing was repaired\n", s.reads("repair"))
	require.Equal(t, "no events\n", newShell(t, testenv.DatabaseURL(t)).reads("events"))
	require.Empty(t, s.reads("events", "u9", "USD", "--after", "0", "-o", "json"), "no page is there")
	require.Empty(t, s.reads("commands", "u1", "EUR", "--status", "unapplied", "-o", "json"))
	require.NotEmpty(t, s.reads("verify", "--parallel", "0"))
}

func TestListsLongerThanAPageAreWhole(t *testing.T) {
	url := testenv.DatabaseURL(t)
	steps, ref := activities.New(testenv.Pool(t, url)), wallet.AssetRef{UserID: "u1", Currency: "USD"}
	_, err := steps.EnsureWalletAsset(t.Context(), ref)
	require.NoError(t, err)
	for i := range 5 {
		batch := make([]wallet.Received, wallet.MaxBatch)
		for j := range batch {
			batch[j].Command = wallet.Command{ID: fmt.Sprint(i, "-", j), Type: wallet.TypeAdd, Amount: wallet.MustAmount("1")}
		}
		_, err := steps.ApplyCommands(t.Context(), wallet.ApplyCommandsInput{AssetRef: ref, Commands: batch})
		require.NoError(t, err)
	}
	_, err = steps.RecordEvents(t.Context(), ref)
	require.NoError(t, err)
	s := newShell(t, url)
	lines := func(args ...string) int { return strings.Count(s.reads(args...), "\n") }
	require.Equal(t, 2501, lines("events", "-o", "json"))
	require.Equal(t, 2501, lines("commands", "u1", "USD", "-o", "json"))
	require.Equal(t, 1500, lines("events", "u1", "--limit", "1500", "-o", "json"))
	require.Equal(t, 2501+2, lines("statement", "u1", "USD", "-o", "json"))
	require.Equal(t, 2501+3, lines("statement", "u1", "USD", "-o", "csv"), "with a header")
	const bordersOfTable = 4 // three, and the header
	require.Equal(t, 2501+3*bordersOfTable, lines("events"), "in three tables")
	require.Equal(t, 2501+2+3*bordersOfTable+1, lines("statement", "u1", "USD"))
}

func TestReadsOfBadInputNameTheValue(t *testing.T) {
	s := newPastShell(t)
	for _, row := range []struct {
		args    []string
		message string
	}{
		{[]string{"balance", "u1", "--at", "yesterday"}, `invalid argument "yesterday" for "--at" flag: not a time such as 2026-01-31T18:30:00Z, or a date such as 2026-01-31`},
		{[]string{"balance", "u1", "--at", "2026-02-30"}, `"2026-02-30"`},
		{[]string{"balance", "u1", "--at", ""}, `invalid argument "" for "--at" flag`},
		{[]string{"balance", "u1", "--at", "2026-01-01"}, `user "u1" owned nothing at 2026-01-01T00:00:00Z, but since 2026-01-10T09:00:00Z: no such wallet`},
		{[]string{"balance", "u1", "EUR", "--at", "2026-02-01"}, `user "u1" owned nothing in EUR at 2026-02-01T00:00:00Z, but since 2026-02-05T10:00:00Z: no such wallet`},
		{[]string{"balance", "u1", "--version", "2"}, `--version needs a currency`},
		{[]string{"balance", "u1", "USD", "--version", "5"}, `version 5 of the USD wallet of user "u1": no such version: its versions are 1 to 4`},
		{[]string{"balance", "u1", "USD", "--version", "0"}, `its versions are 1 to 4`},
		{[]string{"balance", "u1", "USD", "--version", "2", "--at", "2026-02-01"}, `[at version]`},
		{[]string{"balance", "nobody", "USD", "--version", "1"}, `user "nobody" owns nothing in USD`},
		{[]string{"balance", "u1", "-o", "csv"}, `--output "csv" is unknown to "wallet balance": use table or json`},
		{[]string{"statement", "u1", "USD", "-o", "yaml"}, `--output "yaml" is unknown to "wallet statement": use table, json or csv`},
		{[]string{"statement", "u1", "USD", "--from", "2026-02-01", "--to", "2026-01-31"}, `a statement from 2026-02-01T00:00:00Z to 2026-01-31T00:00:00Z: it cannot end before it begins`},
		{[]string{"statement", "u1", "USD", "--from", "2999-01-01"}, `it cannot end before it begins`},
		{[]string{"statement", "u1", "USD", "--to", "2026-01-01"}, `but since 2026-01-10T09:00:00Z: no such wallet`},
		{[]string{"statement", "u1"}, `CURRENCY is missing: wallet statement USER CURRENCY`},
		{[]string{"events", "u1", "USD", "--after", "USD/2"}, `--after "USD/2" is no place in this list: use VERSION, such as 17`},
		{[]string{"events", "u1", "--after", "2"}, `use CURRENCY/VERSION, such as USD/17`},
		{[]string{"events", "--after", "USD/2"}, `use USER/CURRENCY/VERSION, such as u1/USD/17`},
		{[]string{"commands", "--after", "u1/USD/-2"}, `use USER/CURRENCY/POSITION, such as u1/USD/17`},
		{[]string{"events", "", "USD"}, `user_id is empty`},
		{[]string{"events", "--limit", "-5"}, `--limit -5 is negative: use 0 for all`},
		{[]string{"commands", "u1", "USD", "--limit", "-1"}, `--limit -1 is negative`},
		{[]string{"events", "--follow", "--limit", "1", "--after", "x"}, `[follow limit]`},
		{[]string{"verify", "--parallel", "-3"}, `--parallel -3 is negative`},
		{[]string{"events", "u9", "USD"}, `user "u9" owns nothing in USD: no such wallet`},
		{[]string{"events", "u9"}, `user "u9": no such wallet`},
		{[]string{"commands", "u1", "JPY"}, `user "u1" owns nothing in JPY: no such wallet`},
		{[]string{"commands", "u9", "USD", "--status", "applied"}, `user "u9" owns nothing in USD: no such wallet`},
	} {
		_, errs, code := s.run(row.args...)
		require.Equal(t, codeOf(row.message), code, row.args)
		require.Contains(t, errs, row.message, row.args)
	}
}

// TestATimeInTheFutureIsSaid has a wallet whose second command came while Postgres's clock was
// ahead.
func TestATimeInTheFutureIsSaid(t *testing.T) {
	url := testenv.DatabaseURL(t)
	s, db := newShell(t, url), testenv.Pool(t, url)
	add := func(at, id string) recorded {
		return recorded{at, wallet.Command{ID: id, Type: wallet.TypeAdd, Amount: wallet.MustAmount("1")}}
	}
	writeJournal(t, db, "u1", "USD", add("2026-01-01 00:00:00", "a"), add("2226-01-01 00:00:00", "b"))
	writeJournal(t, db, "u1", "EUR", add("2026-01-01 00:00:00", "a"))
	now := time.Now().UTC().Format(time.RFC3339)
	for _, past := range [][]string{nil, {"--at", now}, {"--at", "2227-01-01"}} {
		out, errs, code := s.run(append([]string{"balance", "u1"}, past...)...)
		require.Zero(t, code, errs)
		require.Regexp(t, `(?m)^the last entry of the USD wallet has the time 2226-01-01 00:00:00.000000Z, \d+h\d+m\d+s ahead of Postgres's clock: --at counts it from then on`, out)
		require.NotContains(t, out, "the last entry of the EUR")
	}
	out, errs, code := s.run("balance", "u1", "-o", "json", "--at", now)
	require.Zero(t, code, errs)
	require.Regexp(t, `"currency":"USD","total":"1.00".*"ahead":"\d+h\d+m\d+s"`, out)
	require.Equal(t, 1, strings.Count(out, `"ahead"`))
	out, errs, code = s.run("verify", "u1")
	require.Zero(t, code, "a note is no finding: %s", errs)
	require.Contains(t, out, `entry \"b\" has a time that is`)
	require.Regexp(t, `(?m)^verified 2 wallets, 5 journal entries, 5 events: 0 findings, 1 note$`, out)
}
