package main

import (
	"time"

	"github.com/shopspring/decimal"

	"github.com/valueledger/wallet"
)

// Plan is a row of subscription.plans, as it is when a period begins.
type Plan struct {
	ID         string          `json:"id"`
	Price      wallet.Amount   `json:"price"`
	Currency   string          `json:"currency"`
	Scale      int32           `json:"scale"` // decimals of the currency
	Credits    wallet.Amount   `json:"credits"`
	Payee      string          `json:"payee"`
	Grace      time.Duration   `json:"grace"`
	RetryAfter []time.Duration `json:"retry_after"`
}

// Period is a month of a subscription, on its terms.
type Period struct {
	Number int       `json:"number"` // from 0
	From   time.Time `json:"from"`
	Until  time.Time `json:"until"`
	Plan   Plan      `json:"plan"`
}

// periodAt is the period with a number, or if that is over the one at the time: nobody pays for a
// month in which everything was down.
func periodAt(started time.Time, number int, now time.Time) (p Period) {
	for p.Number = number; !now.Before(monthsAfter(started, p.Number+1)); p.Number++ {
	}
	p.From, p.Until = monthsAfter(started, p.Number), monthsAfter(started, p.Number+1)
	return p
}

// monthsAfter is the same day and time of day n months later, in the location of t, or the last day
// of a shorter month. It counts from the beginning: January 31st, February 28th, March 31st.
func monthsAfter(t time.Time, n int) time.Time {
	year, month, day := t.Date()
	hour, minute, second := t.Clock()
	last := time.Date(year, month+time.Month(n)+1, 0, 0, 0, 0, 0, time.UTC).Day()
	return time.Date(year, month+time.Month(n), min(day, last), hour, minute, second, 0, t.Location())
}

// nextRetry is when a refused charge is tried again, at once if the answer came later; zero if it is not.
func (p Period) nextRetry(first, asked time.Time) time.Time {
	for _, after := range p.Plan.RetryAfter {
		if at := first.Add(after); at.After(asked) && at.Before(p.Until) {
			return at
		}
	}
	return time.Time{}
}

// prorate is what it costs to change from one amount a month to another for the rest of the period,
// negative if it becomes less. It has to be rounded.
func (p Period) prorate(from, to wallet.Amount, now time.Time) decimal.Decimal {
	left, whole := decimal.NewFromInt(int64(p.Until.Sub(now))), decimal.NewFromInt(int64(p.Until.Sub(p.From)))
	return decimalOf(to).Sub(decimalOf(from)).Mul(left).DivRound(whole, 30)
}

func decimalOf(a wallet.Amount) decimal.Decimal { return decimal.RequireFromString(a.String()) }

// Clock is a test clock: time runs Speed times as fast for the subscription, which sees Shown at the
// time Real. The zero Clock is the real time. Whatever others see is in real time: the expiry of
// credits, the end of access.
type Clock struct {
	Real  time.Time `json:"real,omitzero"`
	Shown time.Time `json:"shown,omitzero"`
	Speed int64     `json:"speed,omitempty"`
}

func (c Clock) show(real time.Time) time.Time {
	if c.Speed == 0 {
		return real
	}
	return c.Shown.Add(real.Sub(c.Real) * time.Duration(c.Speed))
}

// real is when the clock shows t, in whole microseconds, as Postgres has them.
func (c Clock) real(t time.Time) time.Time {
	if c.Speed != 0 {
		t = c.Real.Add(t.Sub(c.Shown)/time.Duration(c.Speed) + time.Microsecond)
	}
	return t.UTC().Truncate(time.Microsecond)
}
