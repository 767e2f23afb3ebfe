package trail_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/valueledger/wallet"
	"github.com/valueledger/wallet/activities"
	"github.com/valueledger/wallet/internal/test/testenv"
	"github.com/valueledger/wallet/trail"
)

// TestATimeAheadOfTheClockIsNoted has Postgres's clock a year ahead for one command.
func TestATimeAheadOfTheClockIsNoted(t *testing.T) {
	url := testenv.DatabaseURL(t)
	db := testenv.Pool(t, url)
	clock := testenv.NewClock(t, url)
	steps, ref := activities.New(testenv.Pool(t, clock.URL)), wallet.AssetRef{UserID: "u1", Currency: "USD"}
	apply := func(ref wallet.AssetRef, id string) {
		command := wallet.Received{Command: wallet.Command{ID: id, Type: wallet.TypeAdd, Amount: wallet.MustAmount("1")}}
		_, err := steps.ApplyCommands(t.Context(), wallet.ApplyCommandsInput{AssetRef: ref, Commands: []wallet.Received{command}, AndRecord: true})
		require.NoError(t, err)
	}
	apply(ref, "before")
	apply(wallet.AssetRef{UserID: "u2", Currency: "USD"}, "of another")
	read := trail.New(db)
	ahead, err := read.Ahead(t.Context(), "u1", "")
	require.NoError(t, err)
	require.Empty(t, ahead)
	require.Empty(t, verify(t, db, trail.VerifyOptions{}).Notes)

	clock.Set(4 * time.Second)
	apply(ref, "within the tolerance")
	require.Empty(t, verify(t, db, trail.VerifyOptions{}).Notes)
	clock.Set(365 * 24 * time.Hour)
	apply(ref, "in a year")
	clock.Set(0)
	apply(ref, "after")

	asset, err := read.Asset(t.Context(), "u1", "USD")
	require.NoError(t, err)
	require.Equal(t, "4.00", asset.Total.String())
	ahead, err = read.Ahead(t.Context(), "u1", "")
	require.NoError(t, err)
	require.Len(t, ahead, 1)
	require.Equal(t, ref, ahead[0].AssetRef)
	require.Equal(t, asset.UpdatedAt, ahead[0].UpdatedAt)
	require.InDelta(t, 365*24, ahead[0].By.Hours(), 1)
	past, err := read.AssetAt(t.Context(), "u1", "USD", time.Now().Add(time.Minute))
	require.NoError(t, err)
	require.Equal(t, "2.00", past.Total.String(), "reads of the past go by the entries' times")

	report := verify(t, db, trail.VerifyOptions{})
	require.Empty(t, report.Findings)
	require.Len(t, report.Notes, 1)
	note := report.Notes[0]
	require.Regexp(t, `^entry "in a year" has a time that is 8(759h59m\d\ds|760h0m0s) ahead of Postgres's clock`, note.Note)
	note.Note = ""
	require.Equal(t, trail.Note{UserID: "u1", Currency: "USD", Position: 4, Version: 4, RecordedAt: asset.UpdatedAt}, note)
}
