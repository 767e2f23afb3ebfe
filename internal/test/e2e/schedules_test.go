package e2e

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/converter"

	"github.com/valueledger/wallet"
	"github.com/valueledger/wallet/internal/service/failure"
	"github.com/valueledger/wallet/internal/service/schedules"
	"github.com/valueledger/wallet/internal/test/testenv"
)

// schedule is a schedule that a test has made.
type schedule struct {
	*world
	client.ScheduleHandle
	c    schedules.Client
	name string
}

func (w *world) schedule(command wallet.Command, spec client.ScheduleSpec) *schedule {
	command.ID = ""
	return w.scheduleOf(wallet.ApplyCommandInput{AssetRef: wallet.AssetRef{UserID: w.user, Currency: "USD"}, Command: command}, spec)
}

func (w *world) scheduleOf(in wallet.ApplyCommandInput, spec client.ScheduleSpec) *schedule {
	s := &schedule{world: w, name: testenv.Unique(w.t, "s")}
	s.c = schedules.Client{
		Times:     schedules.Times{Temporal: w.temporal, Namespace: client.DefaultNamespace},
		TaskQueue: w.queue, Converter: converter.GetDefaultDataConverter(),
	}
	require.NoError(w.t, s.c.Create(context.Background(), s.name, in, spec, ""))
	s.ScheduleHandle = w.temporal.ScheduleClient().GetHandle(context.Background(), s.name)
	w.t.Cleanup(func() { _ = s.Delete(context.Background()) }) // the test may have deleted it already
	return s
}

// backfill runs the times of spans again, in one request: if several requests reach a schedule
// together, the server applies only the last.
func (s *schedule) backfill(spans ...client.ScheduleBackfill) {
	require.NoError(s.t, s.Backfill(context.Background(), client.ScheduleBackfillOptions{Backfill: spans}))
}

func span(from, to time.Time) client.ScheduleBackfill {
	return client.ScheduleBackfill{Start: from, End: to, Overlap: enumspb.SCHEDULE_OVERLAP_POLICY_ALLOW_ALL}
}

// info describes the schedule. It polls slowly: each time is a query to the server's own
// workflow for the schedule, and too many delay it and are refused.
func (s *schedule) info() client.ScheduleInfo {
	for {
		time.Sleep(300 * time.Millisecond)
		if description, err := s.Describe(context.Background()); err == nil {
			return description.Info
		}
		require.False(s.t, s.t.Context().Err() != nil)
	}
}

// ran waits until the schedule has started that many runs and all have ended, and returns the
// answers of the last ten, and their failures.
func (s *schedule) ran(runs int) (results []wallet.Result, failures []error) {
	var info client.ScheduleInfo
	s.eventually("the runs of the schedule", func() bool {
		info = s.info()
		return info.NumActions >= runs
	})
	for _, action := range info.RecentActions {
		var result wallet.Result
		started := action.StartWorkflowResult
		if err := s.temporal.GetWorkflow(context.Background(), started.WorkflowID, started.FirstExecutionRunID).Get(context.Background(), &result); err != nil {
			failures = append(failures, failure.Decode(err))
			continue
		}
		results = append(results, result)
	}
	return results, failures
}

// paid returns the scheduled times in the journal.
func (s *schedule) paid() (times []string) {
	_, journal := s.requireSound()
	for _, entry := range journal {
		if at, ok := strings.CutPrefix(entry.CommandID, "schedule/"+s.name+"/"); ok {
			times = append(times, at)
		}
	}
	return times
}

func at(text string) time.Time {
	parsed, err := time.Parse(time.RFC3339, text)
	if err != nil {
		panic(err)
	}
	return parsed
}

func TestEachScheduledTimeIsPaidOnce(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct {
		spec  client.ScheduleSpec
		times []string // from January to April 2025
	}{
		"cron": {client.ScheduleSpec{CronExpressions: []string{"0 0 1 * *"}},
			[]string{"2025-01-01T00:00:00Z", "2025-02-01T00:00:00Z", "2025-03-01T00:00:00Z", "2025-04-01T00:00:00Z"}},
		"cron in a time zone": {client.ScheduleSpec{CronExpressions: []string{"0 0 1 * *"}, TimeZoneName: "Europe/Berlin"},
			[]string{"2025-01-31T23:00:00Z", "2025-02-28T23:00:00Z", "2025-03-31T22:00:00Z"}},
		"interval": {client.ScheduleSpec{Intervals: []client.ScheduleIntervalSpec{{Every: 60 * 24 * time.Hour, Offset: 6 * time.Hour}}},
			[]string{"2025-01-12T06:00:00Z", "2025-03-13T06:00:00Z"}},
		"calendar": {client.ScheduleSpec{Calendars: []client.ScheduleCalendarSpec{{Month: []client.ScheduleRange{{Start: 2, End: 3}}, DayOfMonth: []client.ScheduleRange{{Start: 28}}, Hour: []client.ScheduleRange{{Start: 9}}}}},
			[]string{"2025-02-28T09:00:00Z", "2025-03-28T09:00:00Z"}},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			s := w.schedule(add("", "10"), row.spec)
			from, to := at("2025-01-01T00:00:00Z"), at("2025-04-30T00:00:00Z")
			s.backfill(span(from, to))
			s.ran(len(row.times))
			s.backfill(span(from, to))
			results, failures := s.ran(2 * len(row.times))
			require.Empty(t, failures)
			require.Len(t, results, 2*len(row.times))
			require.ElementsMatch(t, row.times, s.paid(), "each time once")
		})
	}
}

// TestARunByHandPaysTheLastTime: the Web UI's Trigger button, whose time is the click, "wallet
// schedule run" and a backfill of the last time all stand for that one time.
func TestARunByHandPaysTheLastTime(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	s := w.schedule(add("", "10"), client.ScheduleSpec{CronExpressions: []string{"0 0 1 1 *"}})
	now := time.Now()
	last := time.Date(now.UTC().Year(), 1, 1, 0, 0, 0, 0, time.UTC)
	for i := range 2 {
		require.NoError(t, s.Trigger(t.Context(), client.ScheduleTriggerOptions{Overlap: enumspb.SCHEDULE_OVERLAP_POLICY_ALLOW_ALL}))
		s.ran(i + 1)
	}
	s.backfill(span(last, last))
	s.ran(3)
	due, err := s.c.Due(t.Context(), s.name, now)
	require.NoError(t, err)
	result, err := w.wallets.Apply(t.Context(), due.UserID, due.Currency, due.Command)
	require.NoError(t, err)
	require.True(t, result.Replayed)

	results, failures := s.ran(3)
	require.Empty(t, failures)
	require.Len(t, results, 3)
	require.Equal(t, []string{last.Format(time.RFC3339)}, s.paid())
}

// TestAutomaticRunsOverlapAndCatchUp makes runs wait for an absent worker.
func TestAutomaticRunsOverlapAndCatchUp(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	_, err := w.wallets.Create(t.Context(), w.change("open", ""))
	require.NoError(t, err)
	w.worker.Stop()
	s := w.schedule(add("", "10"), client.ScheduleSpec{Intervals: []client.ScheduleIntervalSpec{{Every: time.Second}}})
	s.eventually("some runs", func() bool { return s.info().NumActions >= 4 })
	require.NoError(t, s.Pause(t.Context(), client.SchedulePauseOptions{}))
	info := s.info()
	w.startWorker(w.db)
	runs := info.NumActions
	w.eventually("all payments", func() bool { return w.position() >= int64(1+runs) })
	results, failures := s.ran(runs)
	require.Empty(t, failures)
	for _, r := range results {
		require.False(t, r.Replayed)
	}
	// Run the last ones again; those that the pause skipped were never paid.
	var again []client.ScheduleBackfill
	for _, action := range info.RecentActions {
		again = append(again, span(action.ScheduleTime, action.ScheduleTime))
	}
	s.backfill(again...)
	s.ran(runs + len(again))
	paid := s.paid()
	require.Len(t, paid, runs, "one payment for each scheduled time")
	slices.Sort(paid)
	for i, text := range paid {
		require.Equal(t, at(paid[0]).Add(time.Duration(i)*time.Second), at(text), "no time is left out")
	}
}

// TestAPauseIsNotLost: if several requests reach a schedule together, the server applies only
// the last, so a pause among others is often dropped.
func TestAPauseIsNotLost(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	s := w.schedule(add("", "10"), client.ScheduleSpec{CronExpressions: []string{"0 0 1 1 *"}})
	for i := range 10 {
		others := make(chan struct{})
		go func() {
			defer close(others)
			for range 5 { // each can cost the pause one try
				s.backfill(span(at("2025-02-01T00:00:00Z"), at("2025-02-02T00:00:00Z"))) // this span has no times
			}
		}()
		change, paused := s.c.Pause, i%2 == 0
		if !paused {
			change = s.c.Resume
		}
		require.NoError(t, change(t.Context(), s.name))
		<-others
		description, err := s.Describe(t.Context())
		require.NoError(t, err)
		require.Equal(t, paused, description.Schedule.State.Paused)
	}
}

func TestARefusedTimeStopsNoOther(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	s := w.schedule(subtract("", "10"), client.ScheduleSpec{CronExpressions: []string{"0 0 1 * *"}})
	s.backfill(span(at("2025-01-01T00:00:00Z"), at("2025-02-01T00:00:00Z")))
	_, failures := s.ran(2)
	require.Len(t, failures, 2)
	for _, err := range failures {
		var unapplied *wallet.UnappliedError
		require.ErrorAs(t, err, &unapplied)
		require.Equal(t, wallet.ReasonInsufficientFunds, unapplied.Result.Reason)
	}
	_, err := w.wallets.Add(t.Context(), w.change("a", "100"))
	require.NoError(t, err)
	s.backfill(span(at("2025-02-01T00:00:00Z"), at("2025-03-01T00:00:00Z")))
	results, failures := s.ran(4)
	require.Len(t, failures, 3, "a refusal is final for its time")
	require.Equal(t, "90.00", results[0].TotalAfter.String())
	description, err := s.Describe(t.Context())
	require.NoError(t, err)
	require.False(t, description.Schedule.State.Paused)
}

// TestSchedulesAreListed: for one user, whatever the user's name, and with upcoming times.
func TestSchedulesAreListed(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.user += `'s "\ %_Zoë`
	w.schedule(add("", "10"), client.ScheduleSpec{CronExpressions: []string{"0 0 1 * *"}})
	paused := w.schedule(subtract("", "2.5"), client.ScheduleSpec{Intervals: []client.ScheduleIntervalSpec{{Every: time.Hour}}})
	require.NoError(t, paused.c.Pause(t.Context(), paused.name))
	var listed []schedules.Entry
	w.eventually("both in the list", func() (both bool) { // the list lags behind
		var err error
		listed, err = paused.c.List(t.Context(), w.user)
		require.NoError(t, err)
		return len(listed) == 2 && listed[0].Paused != listed[1].Paused
	})
	for _, entry := range listed {
		require.Equal(t, w.user, entry.UserID)
		require.Equal(t, "USD", entry.Currency)
		require.Equal(t, entry.Name == paused.name, entry.Paused)
		if entry.Paused {
			require.Equal(t, wallet.TypeSubtract, entry.Type)
			require.Equal(t, "2.5", entry.Amount.String())
			require.Zero(t, entry.Next)
			continue
		}
		require.Equal(t, 1, entry.Next.Day())
		require.True(t, entry.Next.After(time.Now()))
	}
	all, err := paused.c.List(t.Context(), "")
	require.NoError(t, err)
	require.GreaterOrEqual(t, len(all), 2)
	for _, nobody := range []string{"nobody' OR WalletCurrency = 'USD", w.user + `\`} {
		none, err := paused.c.List(t.Context(), nobody)
		require.NoError(t, err)
		require.Empty(t, none)
	}
}

func TestATimeThatCannotBeToldIsNotPaid(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	jitter := w.schedule(add("", "10"), client.ScheduleSpec{CronExpressions: []string{"0 0 1 * *"}, Jitter: time.Minute})
	never := w.schedule(add("", "10"), client.ScheduleSpec{CronExpressions: []string{"0 0 1 * *"}, StartAt: time.Now().Add(time.Hour)})
	local := w.schedule(add("", "10"), client.ScheduleSpec{CronExpressions: []string{"CRON_TZ=Local 0 0 1 * *"}})
	for s, message := range map[*schedule]string{
		jitter: "has a jitter of 1m0s", never: "has no time up to", local: `time zone "Local" is another on each machine`,
	} {
		require.NoError(t, s.Trigger(t.Context(), client.ScheduleTriggerOptions{}))
		_, failures := s.ran(1)
		require.Len(t, failures, 1)
		var invalid *wallet.InvalidError
		require.ErrorAs(t, failures[0], &invalid)
		require.Contains(t, invalid.Message, message)
	}
	_, err := jitter.c.For(t.Context(), wallet.ScheduledRun{ScheduleID: "none", At: time.Now()})
	require.ErrorContains(t, err, `there is no schedule "none"`)

	run, err := w.temporal.ExecuteWorkflow(t.Context(), client.StartWorkflowOptions{TaskQueue: w.queue}, wallet.WorkflowApplyCommand,
		map[string]any{"user_id": w.user, "currency": "USD", "command": map[string]string{"type": "add", "amount": "1"}})
	require.NoError(t, err)
	require.ErrorContains(t, run.Get(t.Context(), nil), "id is empty", "no schedule, no id")
	require.Zero(t, w.position())
}

// TestCreditsEndAsTheNextCome has a schedule that makes grants, each until its next time, whoever
// starts the run.
func TestCreditsEndAsTheNextCome(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	s := w.scheduleOf(wallet.ApplyCommandInput{AssetRef: wallet.AssetRef{UserID: w.user, Currency: "USD"}, Command: add("", "10"), ExpiresAtNext: true},
		client.ScheduleSpec{CronExpressions: []string{"0 0 1 1 *"}})
	require.NoError(t, s.Trigger(t.Context(), client.ScheduleTriggerOptions{}))
	results, failures := s.ran(1)
	require.Empty(t, failures)
	next := time.Date(time.Now().UTC().Year()+1, 1, 1, 0, 0, 0, 0, time.UTC)
	require.Equal(t, next, results[0].GrantExpiresAt.UTC())
	due, err := s.c.Due(t.Context(), s.name, time.Now())
	require.NoError(t, err)
	again, err := w.wallets.Apply(t.Context(), due.UserID, due.Currency, due.Command)
	require.NoError(t, err)
	require.True(t, again.Replayed)

	run, err := w.temporal.ExecuteWorkflow(t.Context(), client.StartWorkflowOptions{TaskQueue: w.queue}, wallet.WorkflowApplyCommand,
		map[string]any{"user_id": w.user, "currency": "USD", "expires_at_next": true, "command": add("by-hand", "10")})
	require.NoError(t, err)
	require.ErrorContains(t, run.Get(t.Context(), nil), "only it has a next time", "no schedule, no next time")
	require.EqualValues(t, 2, w.position())
}

// TestTheNextTimeIsTheServers has a change of the clock, many times, and none.
func TestTheNextTimeIsTheServers(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, row := range []struct {
		spec     client.ScheduleSpec
		at, next string
	}{
		{client.ScheduleSpec{CronExpressions: []string{"0 0 1 * *"}, TimeZoneName: "Europe/Berlin"}, "2027-02-28T23:00:00Z", "2027-03-31T22:00:00Z"},
		{client.ScheduleSpec{CronExpressions: []string{"30 2 * * *"}, TimeZoneName: "Europe/Berlin"}, "2026-10-24T00:30:00Z", "2026-10-25T01:30:00Z"},
		{client.ScheduleSpec{Intervals: []client.ScheduleIntervalSpec{{Every: time.Second}}}, "2026-10-24T00:30:00Z", "2026-10-24T00:30:01Z"},
		{client.ScheduleSpec{Intervals: []client.ScheduleIntervalSpec{{Every: 10 * 365 * 24 * time.Hour}}}, "2019-12-20T00:00:00Z", "2029-12-17T00:00:00Z"},
		{client.ScheduleSpec{CronExpressions: []string{"0 0 1 * *"}, EndAt: at("2027-01-01T00:00:00Z")}, "2027-01-01T00:00:00Z", ""},
	} {
		s := w.schedule(add("", "10"), row.spec)
		run, err := s.c.For(t.Context(), wallet.ScheduledRun{ScheduleID: s.name, At: at(row.at), WithNext: true})
		if row.next == "" {
			require.ErrorContains(t, err, "has no time after 2027-01-01T00:00:00Z")
			continue
		}
		require.NoError(t, err)
		require.Equal(t, []time.Time{at(row.at), at(row.next)}, []time.Time{run.At.UTC(), run.Next.UTC()})
	}
}

// TestTheLastTimeIsFoundAmongMany has more times in between than the server lists at once.
func TestTheLastTimeIsFoundAmongMany(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	s := w.schedule(add("", "10"), client.ScheduleSpec{
		CronExpressions: []string{"* * * * *"}, EndAt: at("2025-01-01T12:00:00Z"),
	})
	run, err := s.c.For(t.Context(), wallet.ScheduledRun{ScheduleID: s.name, At: at("2026-05-01T00:00:00Z")})
	require.NoError(t, err)
	require.Equal(t, at("2025-01-01T12:00:00Z"), run.At)
}
