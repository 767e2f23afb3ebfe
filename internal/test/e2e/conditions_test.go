package e2e

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/client"

	"github.com/valueledger/wallet"
	"github.com/valueledger/wallet/starter"
)

// TestACommandWhoseCallerGaveUpIsTooLate: no worker runs until the time is over. Then the
// commands are refused, on record, however they came.
func TestACommandWhoseCallerGaveUpIsTooLate(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	_, err := w.wallets.Add(t.Context(), w.change("funds", "10"))
	require.NoError(t, err)
	w.worker.Stop()

	notAfter := time.Now().Add(2 * time.Second).Truncate(time.Microsecond)
	signal := subtract("by-signal", "1")
	signal.NotAfter = notAfter
	require.NoError(t, w.wallets.Send(t.Context(), w.user, "USD", signal))
	update := w.change("by-update", "2")
	update.NotAfter = notAfter
	impatient, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	_, err = w.wallets.Subtract(impatient, update)
	var none *starter.NoAnswerError
	require.ErrorAs(t, err, &none)
	w.awaitClock(notAfter)

	w.startWorker(w.db)
	_, err = w.wallets.Subtract(t.Context(), update)
	require.ErrorIs(t, err, wallet.ReasonTooLate)
	require.ErrorContains(t, err, "later than not_after "+notAfter.UTC().Format(time.RFC3339Nano))
	_, entries := w.requireSound()
	reasons := map[string]wallet.Reason{}
	for _, e := range entries {
		reasons[e.CommandID] = e.Reason
	}
	require.Equal(t, wallet.ReasonTooLate, reasons["by-signal"])
	require.Equal(t, wallet.ReasonTooLate, reasons["by-update"])
	asset, err := w.read.Asset(t.Context(), w.user, "USD")
	require.NoError(t, err)
	require.Equal(t, "10.00", asset.Total.String())
}

// TestOneOfTwoCallersWithOneVersionWins: both have read version 2.
func TestOneOfTwoCallersWithOneVersionWins(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	_, err := w.wallets.Add(t.Context(), w.change("funds", "10"))
	require.NoError(t, err)
	read, err := w.read.Asset(t.Context(), w.user, "USD")
	require.NoError(t, err)
	errs := make([]error, 2)
	var group sync.WaitGroup
	for i := range errs {
		change := w.change([]string{"one", "two"}[i], "3")
		change.ExpectedVersion = &read.Version
		group.Go(func() { _, errs[i] = w.wallets.Subtract(t.Context(), change) })
	}
	group.Wait()
	if errs[0] != nil {
		errs[0], errs[1] = errs[1], errs[0]
	}
	require.NoError(t, errs[0])
	require.ErrorIs(t, errs[1], wallet.ReasonVersionMismatch)
	w.requireSound()
}

// TestASchedulesCommandTakesNoConditions: neither by this service, nor by a schedule that was
// made without it.
func TestASchedulesCommandTakesNoConditions(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	s := w.schedule(add("", "10"), client.ScheduleSpec{CronExpressions: []string{"0 0 1 * *"}})
	command := add("", "10")
	command.NotAfter = time.Date(2099, 12, 31, 0, 0, 0, 0, time.UTC)
	in := wallet.ApplyCommandInput{AssetRef: wallet.AssetRef{UserID: w.user, Currency: "USD"}, Command: command}
	require.ErrorContains(t, s.c.Create(t.Context(), s.name+"-2", in, client.ScheduleSpec{CronExpressions: []string{"0 0 1 * *"}}, ""), "it takes no not_after")
	require.NoError(t, s.Update(t.Context(), client.ScheduleUpdateOptions{DoUpdate: func(u client.ScheduleUpdateInput) (*client.ScheduleUpdate, error) {
		u.Description.Schedule.Action.(*client.ScheduleWorkflowAction).Args = []any{in}
		return &client.ScheduleUpdate{Schedule: &u.Description.Schedule}, nil
	}}))
	s.backfill(span(at("2025-01-01T00:00:00Z"), at("2025-01-02T00:00:00Z")))
	_, failures := s.ran(1)
	require.Len(t, failures, 1)
	var invalid *wallet.InvalidError
	require.ErrorAs(t, failures[0], &invalid)
	require.Equal(t, "not_after", invalid.Field)
	require.Zero(t, w.position())
}
