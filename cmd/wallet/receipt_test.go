package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/valueledger/wallet"
	"github.com/valueledger/wallet/activities"
	"github.com/valueledger/wallet/internal/test/testenv"
)

// TestReceiptsCatchWhatAChainMadeAnewHides keeps receipts, then does what only
// somebody with all rights can: cut off the end, or change an amount and compute
// every later hash again. Verify alone holds then; the receipts do not.
func TestReceiptsCatchWhatAChainMadeAnewHides(t *testing.T) {
	apply := func(url, amount string, n int) {
		steps := activities.New(testenv.Pool(t, url))
		ref := wallet.AssetRef{UserID: "u1", Currency: "USD"}
		_, err := steps.EnsureWalletAsset(t.Context(), ref)
		require.NoError(t, err)
		for i, c := range []wallet.Command{
			{ID: "a", Type: wallet.TypeAdd, Amount: wallet.MustAmount(amount)},
			{ID: "refused", Type: wallet.TypeSubtract, Amount: wallet.MustAmount("1000")},
			{ID: "b", Type: wallet.TypeAdd, Amount: wallet.MustAmount("1")},
		}[:n] {
			_, err := steps.ApplyCommands(t.Context(), wallet.ApplyCommandsInput{AssetRef: ref, Commands: []wallet.Received{{Command: c}}})
			require.NoError(t, err, i)
			_, err = steps.RecordEvents(t.Context(), ref)
			require.NoError(t, err)
		}
	}
	honest := testenv.DatabaseURL(t)
	apply(honest, "5", 3)
	s := newShell(t, honest)
	keep := func(name string, args ...string) string {
		out, errs, code := s.run(args...)
		require.Zero(t, code, errs)
		path := filepath.Join(t.TempDir(), name)
		require.NoError(t, os.WriteFile(path, []byte(out), 0o600))
		return path
	}
	applied, refused, heads := keep("a.json", "receipt", "u1", "USD", "a"), keep("refused.json", "receipt", "u1", "USD", "refused"), keep("heads", "head", "--all")
	for flag, path := range map[string]string{"--receipt": refused, "--heads": heads} {
		out, errs, code := s.run("verify", flag, path)
		require.Zero(t, code, errs)
		require.Contains(t, out, "1 receipts match")
	}

	out, errs, code := s.run("verify", "--heads", heads, "-o", "json")
	require.Zero(t, code, errs)
	require.JSONEq(t, `{"receipts": 1, "findings": []}`, out)
	_, errs, code = s.run("verify", "u2", "--heads", heads)
	require.Equal(t, exitInvalid, code, "u2's wallet is not looked at")
	require.Contains(t, errs, `--receipt and --heads check the wallets that the file names: leave out ["u2"]`)

	// The journal goes on: older receipts and heads hold.
	_, err := activities.New(testenv.Pool(t, honest)).ApplyCommands(t.Context(), wallet.ApplyCommandsInput{AssetRef: wallet.AssetRef{UserID: "u1", Currency: "USD"},
		Commands: []wallet.Received{{Command: wallet.Command{ID: "later", Type: wallet.TypeAdd, Amount: wallet.MustAmount("1")}}}})
	require.NoError(t, err)
	_, errs, code = s.run("verify", "--heads", heads)
	require.Zero(t, code, errs)

	for name, row := range map[string]struct {
		amount  string
		n       int
		path    string
		problem string
	}{
		"a chain made anew":             {"6", 3, applied, "it, or one before it, was changed"},
		"a chain made anew, refusal":    {"6", 3, refused, "it, or one before it, was changed"},
		"a chain made anew, by heads":   {"6", 3, heads, "it, or one before it, was changed"},
		"the end is cut off":            {"5", 2, heads, "has no entry at this position any more"},
		"the end is cut off, a receipt": {"5", 1, refused, "has no entry at this position any more"},
	} {
		t.Run(name, func(t *testing.T) {
			url := testenv.DatabaseURL(t)
			apply(url, row.amount, row.n)
			forged := newShell(t, url)
			_, errs, code := forged.run("verify")
			require.Zero(t, code, "verify alone finds nothing: "+errs)
			out, errs, code := forged.run("verify", "--heads", row.path)
			require.Equal(t, exitFailed, code)
			require.Contains(t, errs, "1 of 1 receipts do not match the journal")
			require.Contains(t, out, row.problem)
		})
	}

	db := testenv.Pool(t, honest)
	_, err = db.Exec(t.Context(), `ALTER TABLE wallet_commands DISABLE TRIGGER ALL; UPDATE wallet_commands SET actor = 'me' WHERE command_id = 'a'`, pgx.QueryExecModeSimpleProtocol)
	require.NoError(t, err)
	out, _, code = s.run("verify", "--receipt", applied)
	require.Equal(t, exitFailed, code)
	require.Contains(t, out, "a column of the entry was changed")

	receipt, err := os.ReadFile(applied)
	require.NoError(t, err)
	cutOff := filepath.Join(t.TempDir(), "cut-off")
	require.NoError(t, os.WriteFile(cutOff, append(receipt, receipt[:20]...), 0o600))
	out, errs, code = s.run("verify", "--receipt", cutOff)
	require.Equal(t, exitFailed, code)
	require.Contains(t, out, "a column of the entry was changed", "what was found before the end")
	require.Contains(t, errs, "1 of 1 receipts do not match the journal")
	require.Contains(t, errs, "receipt 2 (counted from 1) cannot be read: unexpected EOF")
	out, _, _ = s.run("verify", "--receipt", cutOff, "-o", "json")
	require.Regexp(t, `^{"receipts":1,"findings":\[{"user_id":"u1",.*}\]}\n$`, out)

	_, errs, code = s.run("receipt", "u1", "USD", "nobody")
	require.Equal(t, exitFailed, code)
	require.Contains(t, errs, `has no command "nobody"`)
	empty := filepath.Join(t.TempDir(), "empty")
	require.NoError(t, os.WriteFile(empty, nil, 0o600))
	_, errs, code = s.run("verify", "--receipt", empty)
	require.Equal(t, exitFailed, code)
	require.Contains(t, errs, "holds no receipt")
	require.NoError(t, os.WriteFile(empty, []byte("{"), 0o600))
	_, errs, _ = s.run("verify", "--receipt", empty)
	require.Contains(t, errs, "receipt 1 (counted from 1) cannot be read")
	_, errs, _ = s.run("head")
	require.Contains(t, errs, "name a user, or export all with --all")
}
