package activities_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/valueledger/wallet"
	"github.com/valueledger/wallet/internal/test/testenv"
	"github.com/valueledger/wallet/trail"
)

// TestAWalletWhoseFirstCommandIsRefusedHasItsEvent: the refused command has created the wallet, in
// each step that applies commands.
func TestAWalletWhoseFirstCommandIsRefusedHasItsEvent(t *testing.T) {
	s := newSteps(t)
	require.Equal(t, wallet.StatusUnapplied, s.lane(inUSD("by-lane", subtract("a", "1")))[0].Status)
	s.laneTransactions(wallet.Transaction{ID: "t-1", Commands: []wallet.Leg{
		{AssetRef: wallet.AssetRef{UserID: "by-transaction", Currency: "USD"}, Command: wallet.Command{Type: wallet.TypeSubtract, Amount: wallet.MustAmount("1")}},
		{AssetRef: wallet.AssetRef{UserID: "other-leg", Currency: "USD"}, Command: wallet.Command{Type: wallet.TypeCreate}},
	}})
	s.stage("r-1", inRun("by-run", `{"type":"subtract","amount":"1"}`))
	require.EqualValues(t, 1, s.run("r-1").Refused)
	_, err := s.ApplyCommands(t.Context(), wallet.ApplyCommandsInput{
		AssetRef: wallet.AssetRef{UserID: "by-step", Currency: "USD"}, Commands: []wallet.Received{subtract("a", "1")}, AndRecord: true,
	})
	require.NoError(t, err)
	report, err := trail.New(s.db).Verify(t.Context(), trail.VerifyOptions{Patience: -1})
	require.NoError(t, err)
	require.EqualValues(t, 5, report.Wallets)
	require.Empty(t, report.Findings)
}

// TestThatEventComesWithARetry has a crash between the commands and their events.
func TestThatEventComesWithARetry(t *testing.T) {
	s := newSteps(t)
	item := inUSD("u1", subtract("a", "1"))
	s.lane(item)
	testenv.Exec(t, s.db.Config().ConnString(), `ALTER TABLE wallet_feed DISABLE TRIGGER append_only_rows`, `ALTER TABLE wallet_asset_events DISABLE TRIGGER append_only_rows`,
		`DELETE FROM wallet_feed`, `DELETE FROM wallet_asset_events`)
	require.True(t, s.lane(item)[0].Replayed)
	require.Equal(t, []string{"1 wallet_asset.created _auto-create 0.00"}, s.events())
}
