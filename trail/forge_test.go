package trail_test

import (
	"bytes"
	"encoding/json"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/valueledger/wallet"
	"github.com/valueledger/wallet/activities"
	"github.com/valueledger/wallet/internal/service/rows"
	"github.com/valueledger/wallet/internal/test/testenv"
	"github.com/valueledger/wallet/trail"
)

// forge replaces u0001's chain with a forged one: journal, events, feed and balance agree with
// each other. Without entries nothing is left of the wallet.
func forge(t *testing.T, db *pgxpool.Pool, entries []wallet.Entry) {
	ref := wallet.AssetRef{UserID: "u0001", Currency: "USD"}
	batch := &pgx.Batch{}
	batch.Queue(`DELETE FROM wallet_commands WHERE user_id = $1`, ref.UserID)
	batch.Queue(`DELETE FROM wallet_asset_events WHERE user_id = $1`, ref.UserID)
	batch.Queue(`DELETE FROM wallet_feed WHERE user_id = $1`, ref.UserID)
	applied := int64(0)
	for _, e := range entries {
		applied = max(applied, e.Version)
	}
	if len(entries) == 0 {
		batch.Queue(`DELETE FROM wallet_assets WHERE user_id = $1`, ref.UserID)
		batch.Queue(`DELETE FROM wallets WHERE user_id = $1`, ref.UserID)
		require.NoError(t, db.SendBatch(t.Context(), batch).Close())
		return
	}
	sql, parameters, err := rows.InsertEntries(entries)
	require.NoError(t, err)
	batch.Queue(sql, parameters...)
	last := entries[len(entries)-1]
	batch.Queue(`UPDATE wallet_assets SET total_amount = $2::text::numeric, hold_amount = $3::text::numeric, version = $4, position = $5, hash = $6, updated_at = $7 WHERE user_id = $1`,
		ref.UserID, last.TotalAfter.String(), last.HoldAfter.String(), applied, last.Position, last.Hash[:], last.RecordedAt)
	require.NoError(t, db.SendBatch(t.Context(), batch).Close())
	_, err = activities.New(db).RecordEvents(t.Context(), ref)
	require.NoError(t, err)
}

// refold rebuilds a chain with the times of the old one.
func refold(t *testing.T, entries []wallet.Entry) (forged []wallet.Entry) {
	asset := wallet.Asset{UserID: "u0001", Currency: "USD", Scale: 2}
	for _, e := range entries {
		received := wallet.Received{Command: e.Command()}
		if e.Reason == wallet.ReasonMalformed {
			received.Malformed = e.Message
		}
		f, err := wallet.Fold(wallet.Account{Asset: asset}, nil, []wallet.Received{received}, e.RecordedAt)
		require.NoError(t, err)
		asset, forged = f.Account.Asset, append(forged, f.Entries...)
	}
	return forged
}

// victim is the wallet to tamper with.
var victim = wallet.AssetRef{UserID: "u0001", Currency: "USD"}

// TestOnlyReceiptsAndHeadsFindAChainMadeAnew does what a forger with all rights can do: verify
// has nothing to compare the chain with, but receipts that others kept reveal it.
func TestOnlyReceiptsAndHeadsFindAChainMadeAnew(t *testing.T) {
	for name, row := range map[string]struct {
		change  func([]wallet.Entry) []wallet.Entry
		problem string
	}{
		"an amount is changed": {func(entries []wallet.Entry) []wallet.Entry {
			entries[1].Amount = wallet.MustAmount("10000")
			return refold(t, entries)
		}, "it, or one before it, was changed"},
		"the refusal at the end is cut off with what follows": {func(entries []wallet.Entry) []wallet.Entry {
			return entries[:5]
		}, "has no entry at this position any more"},
		"the whole wallet is gone": {func([]wallet.Entry) []wallet.Entry { return nil }, "has no entry at this position any more"},
	} {
		t.Run(name, func(t *testing.T) {
			db := testenv.Pool(t, testenv.DatabaseURL(t))
			fill(t, db, 3)
			read := trail.New(db)
			var heads bytes.Buffer
			require.NoError(t, read.Heads(t.Context(), "", "", func(head trail.Receipt) error { return json.NewEncoder(&heads).Encode(head) }))
			receipt, err := read.Receipt(t.Context(), "u0001", "USD", "e")
			require.NoError(t, err)
			finding, err := read.CheckReceipt(t.Context(), receipt)
			require.NoError(t, err)
			require.Nil(t, finding)

			openToTampering(t, db)
			forge(t, db, row.change(journalOf(t, db, victim)))
			require.Empty(t, verify(t, db, trail.VerifyOptions{}).Findings, "verify alone finds nothing")

			n, findings, err := read.CheckReceipts(t.Context(), &heads)
			require.NoError(t, err)
			require.Equal(t, int64(3), n)
			require.Len(t, findings, 1)
			require.Equal(t, "u0001", findings[0].UserID)
			require.Contains(t, findings[0].Problem, row.problem)
			finding, err = read.CheckReceipt(t.Context(), receipt)
			require.NoError(t, err)
			require.NotNil(t, finding)
			require.Contains(t, finding.Problem, row.problem)
		})
	}
}

// TestVerifyFindsAChainThatNoRuleAllows forges entries with correct hashes whose content the
// service would never have written.
func TestVerifyFindsAChainThatNoRuleAllows(t *testing.T) {
	negative := wallet.MustAmount("0").Sub(wallet.MustAmount("5"))
	for name, row := range map[string]struct {
		change  func(e *wallet.Entry) // of entry 2, "add 10"
		problem string
	}{
		"an unknown type":             {func(e *wallet.Entry) { e.Type = "gift" }, `type "gift" is unknown`},
		"no type":                     {func(e *wallet.Entry) { e.Type = "" }, `type "" is unknown`},
		"a negative amount":           {func(e *wallet.Entry) { e.Amount = negative }, `amount is "-5", which is not a valid amount`},
		"an amount of zero":           {func(e *wallet.Entry) { e.Amount = wallet.Amount{}; e.TotalAfter = e.TotalBefore }, `has no amount`},
		"more than was asked for":     {func(e *wallet.Entry) { e.TotalAfter = wallet.MustAmount("11.00") }, "the rules give another outcome"},
		"a version that jumps":        {func(e *wallet.Entry) { e.Version = 7 }, "the rules give another outcome"},
		"a hold out of nowhere":       {func(e *wallet.Entry) { e.HoldAfter = wallet.MustAmount("1.00") }, "the rules give another outcome"},
		"malformed without a message": {func(e *wallet.Entry) { e.Reason, e.Type, e.Status = wallet.ReasonMalformed, "", wallet.StatusUnapplied }, "malformed but has no message"},
		"a time before the last":      {func(e *wallet.Entry) { e.RecordedAt = e.RecordedAt.Add(-1e9) }, "recorded_at is earlier"},
		"a message where none is":     {func(e *wallet.Entry) { e.Message = "well done" }, `it is applied, and its message is "well done"`},
		"applied after its time":      {func(e *wallet.Entry) { e.NotAfter = e.RecordedAt.Add(-time.Microsecond) }, "the rules give another outcome: unapplied too_late"},
		"applied at another version":  {func(e *wallet.Entry) { e.ExpectedVersion = new(int64(0)) }, "the rules give another outcome: unapplied version_mismatch"},
		"late before its time": {func(e *wallet.Entry) {
			e.NotAfter, e.Status, e.Reason, e.Message, e.Version, e.TotalAfter = e.RecordedAt, wallet.StatusUnapplied, wallet.ReasonTooLate, "late", 0, e.TotalBefore
		}, "the rules give another outcome: applied"},
		"a wrong request hash": {func(e *wallet.Entry) { e.Description = "other" }, "request_hash"},
	} {
		t.Run(name, func(t *testing.T) {
			db := testenv.Pool(t, testenv.DatabaseURL(t))
			fill(t, db, 2)
			openToTampering(t, db)
			entries := journalOf(t, db, victim)[:2]
			e := &entries[1]
			row.change(e)
			if name != "a wrong request hash" {
				e.RequestHash = e.Command().RequestHash()
			}
			e.Hash = e.ComputeHash()
			forge(t, db, entries)
			findings := verify(t, db, trail.VerifyOptions{}).Findings
			require.Len(t, findings, 1)
			require.Equal(t, int64(2), findings[0].Position)
			require.Contains(t, findings[0].Problem, row.problem)
		})
	}
}

// TestVerifyTakesTheWordingOfARefusalFromTheEntry checks that a refusal worded differently by
// an earlier release is not reported.
func TestVerifyTakesTheWordingOfARefusalFromTheEntry(t *testing.T) {
	for name, row := range map[string]struct {
		change  func(e *wallet.Entry) // of entry 4, a refusal
		problem string
	}{
		"another wording":            {func(e *wallet.Entry) { e.Message = "as an earlier release said it"; e.Hash = e.ComputeHash() }, ""},
		"no message":                 {func(e *wallet.Entry) { e.Message = ""; e.Hash = e.ComputeHash() }, `it is unapplied, and its message is ""`},
		"a message that was changed": {func(e *wallet.Entry) { e.Message = "it was you" }, "a column was changed"},
	} {
		t.Run(name, func(t *testing.T) {
			db := testenv.Pool(t, testenv.DatabaseURL(t))
			fill(t, db, 2)
			openToTampering(t, db)
			entries := journalOf(t, db, victim)[:4]
			row.change(&entries[3])
			forge(t, db, entries)
			findings := verify(t, db, trail.VerifyOptions{}).Findings
			if row.problem == "" {
				require.Empty(t, findings)
				return
			}
			require.Len(t, findings, 1)
			require.Contains(t, findings[0].Problem, row.problem)
		})
	}
}

// TestVerifyFindsAReversalThatNoRuleAllows forges reversals of a subtract of 8 with correct hashes,
// as a fold would write them that was told something else of their original.
func TestVerifyFindsAReversalThatNoRuleAllows(t *testing.T) {
	eight := wallet.MustAmount("8.00")
	told := func(a *wallet.Account, change func(*wallet.Original)) {
		o := wallet.Original{ID: "eight", Type: wallet.TypeSubtract, Status: wallet.StatusApplied, Moved: eight, Left: eight}
		change(&o)
		a.KeepOriginal(o)
	}
	for name, row := range map[string]struct {
		before  func(*wallet.Account) // a reversal of 6, after one of 6
		problem string
	}{
		"as it is":                    {func(*wallet.Account) {}, ""},
		"more than the original":      {func(a *wallet.Account) { told(a, func(*wallet.Original) {}) }, "the rules give another outcome: unapplied reversal_exceeded"},
		"of another amount":           {func(a *wallet.Account) { told(a, func(o *wallet.Original) { o.Left = wallet.MustAmount("100.00") }) }, "the rules give another outcome"},
		"of a command that is not":    {func(a *wallet.Account) { a.Originals = nil }, "the rules give another outcome: unapplied reversal_exceeded"},
		"of one that is said to take": {func(a *wallet.Account) { told(a, func(o *wallet.Original) { o.Gave = true }) }, "the rules give another outcome"},
		"of one that was not applied": {func(a *wallet.Account) { told(a, func(o *wallet.Original) { o.Status = wallet.StatusUnapplied }) }, "unapplied reversal_exceeded, total 8.00 to 8.00, version 0 (the row has unapplied original_unapplied"},
	} {
		t.Run(name, func(t *testing.T) {
			db := testenv.Pool(t, testenv.DatabaseURL(t))
			fill(t, db, 2)
			openToTampering(t, db)
			entries := journalOf(t, db, victim)[:2]
			folded := func(a wallet.Account, c wallet.Command) wallet.Account {
				f, err := wallet.Fold(a, nil, []wallet.Received{{Command: c}}, entries[1].RecordedAt)
				require.NoError(t, err)
				entries = append(entries, f.Entries...)
				return f.Account
			}
			account := wallet.Account{Asset: wallet.Asset{UserID: "u0001", Currency: "USD", Scale: 2}.After(entries[0]).After(entries[1])}
			account = folded(account, wallet.Command{ID: "eight", Type: wallet.TypeSubtract, Amount: eight})
			told(&account, func(*wallet.Original) {})
			reverse := wallet.Command{ID: "first", Type: wallet.TypeReverse, OriginalID: "eight", Amount: wallet.MustAmount("6")}
			account = folded(account, reverse)
			reverse.ID = "second"
			row.before(&account)
			folded(account, reverse)
			forge(t, db, entries)
			findings := verify(t, db, trail.VerifyOptions{}).Findings
			if row.problem == "" {
				require.Empty(t, findings)
				return
			}
			require.Len(t, findings, 1)
			require.Equal(t, int64(5), findings[0].Position)
			require.Contains(t, findings[0].Problem, row.problem)
		})
	}
}

// TestVerifyFindsCrossingsThatNoRuleGives forges a subtract of 6 from 10 with a threshold of 5, with
// correct hashes, as a fold would write it that was told other thresholds.
func TestVerifyFindsCrossingsThatNoRuleGives(t *testing.T) {
	for name, row := range map[string]struct {
		set, subtract wallet.Thresholds // that the fold is told before the command; empty for the true ones
		position      int64
	}{
		"as it is":                  {position: 0},
		"a crossing that is hidden": {subtract: `[{"name": "low", "amount": "1.00"}]`, position: 4},
		"a crossing of another":     {subtract: `[{"name": "lower", "amount": "5.00"}]`, position: 4},
		"a crossing of less":        {subtract: `[{"name": "low", "amount": "4.50"}]`, position: 4},
		"one set that nobody set":   {set: `[{"name": "high", "amount": "50.00"}]`, position: 3},
	} {
		t.Run(name, func(t *testing.T) {
			db := testenv.Pool(t, testenv.DatabaseURL(t))
			fill(t, db, 2)
			openToTampering(t, db)
			entries := journalOf(t, db, victim)[:2]
			account := wallet.Account{Asset: wallet.Asset{UserID: "u0001", Currency: "USD", Scale: 2}.After(entries[0]).After(entries[1])}
			for _, step := range []struct {
				told    wallet.Thresholds
				command wallet.Command
			}{
				{row.set, wallet.Command{ID: "set", Type: wallet.TypeSetThreshold, Threshold: "low", Amount: wallet.MustAmount("5")}},
				{row.subtract, wallet.Command{ID: "six", Type: wallet.TypeSubtract, Amount: wallet.MustAmount("6")}},
			} {
				if step.told != "" {
					account.Thresholds = step.told
				}
				f, err := wallet.Fold(account, nil, []wallet.Received{{Command: step.command}}, entries[1].RecordedAt)
				require.NoError(t, err)
				entries, account = append(entries, f.Entries...), f.Account
			}
			forge(t, db, entries)
			_, err := db.Exec(t.Context(), `UPDATE wallet_assets SET thresholds = $2::text::jsonb WHERE user_id = $1`, victim.UserID, string(entries[2].Thresholds))
			require.NoError(t, err)
			findings := verify(t, db, trail.VerifyOptions{}).Findings
			if row.position == 0 {
				require.Empty(t, findings)
				return
			}
			require.Len(t, findings, 1)
			require.Equal(t, row.position, findings[0].Position)
			require.Contains(t, findings[0].Problem, "the rules give another outcome")
		})
	}
}
