package main

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/valueledger/wallet"
)

func TestMonthsAreCountedFromTheFirstDay(t *testing.T) {
	zone, err := time.LoadLocation("Europe/Berlin")
	require.NoError(t, err)
	for _, row := range []struct {
		started string
		months  int
		want    string
	}{
		{"2027-01-31T10:00:00+01:00", 1, "2027-02-28T10:00:00+01:00"},
		{"2027-01-31T10:00:00+01:00", 2, "2027-03-31T10:00:00+02:00"}, // summer time
		{"2027-01-31T10:00:00+01:00", 3, "2027-04-30T10:00:00+02:00"},
		{"2027-12-31T23:30:00+01:00", 2, "2028-02-29T23:30:00+01:00"}, // the 1st in UTC+8, a leap year
		{"2028-02-29T00:00:00+01:00", 12, "2029-02-28T00:00:00+01:00"},
		{"2027-02-28T02:30:00+01:00", 1, "2027-03-28T03:30:00+02:00"}, // there is no 02:30 on that day
	} {
		started, err := time.Parse(time.RFC3339, row.started)
		require.NoError(t, err)
		require.Equal(t, row.want, monthsAfter(started.In(zone), row.months).Format(time.RFC3339))
	}
}

func TestAPeriodThatIsOverIsLeftOut(t *testing.T) {
	started := time.Date(2027, 1, 31, 0, 0, 0, 0, time.UTC)
	require.Equal(t, 1, periodAt(started, 1, started).Number)
	p := periodAt(started, 1, started.AddDate(0, 5, 0)) // July 1st
	require.Equal(t, []any{5, 30, 31}, []any{p.Number, p.From.Day(), p.Until.Day()})
	require.Equal(t, 6, periodAt(started, 1, p.Until).Number, "the end is the next one's beginning")
}

func TestADifferenceIsProratedByTheTimeThatIsLeft(t *testing.T) {
	from := time.Date(2027, 4, 1, 0, 0, 0, 0, time.UTC)
	p := Period{From: from, Until: from.AddDate(0, 1, 0)}
	ten, thirty := wallet.MustAmount("10.00"), wallet.MustAmount("30.00")
	for days, want := range map[int]string{0: "20", 15: "10", 1: "19.34", 29: "0.67"} {
		require.Equal(t, want, p.prorate(ten, thirty, from.AddDate(0, 0, days)).RoundCeil(2).String())
	}
	require.Equal(t, "-19.33", p.prorate(thirty, ten, from.AddDate(0, 0, 1)).RoundCeil(2).String())
	require.Equal(t, "0", p.prorate(thirty, ten, p.Until.Add(-time.Second)).RoundCeil(2).String())
}

func TestATestClockIsNeverEarly(t *testing.T) {
	real := time.Date(2026, 11, 30, 14, 0, 0, 123456789, time.UTC)
	c := Clock{Real: real, Shown: time.Date(2027, 1, 31, 0, 0, 0, 0, time.UTC), Speed: 657_000}
	for i := range 1000 {
		at := c.Shown.Add(time.Duration(i) * 86_399_999_999_999)
		require.False(t, c.show(c.real(at)).Before(at))
		require.Less(t, c.show(c.real(at)).Sub(at), 2*time.Second)
	}
	require.Equal(t, real, Clock{}.show(real))
	require.Equal(t, real.Truncate(time.Microsecond), Clock{}.real(real))
}
