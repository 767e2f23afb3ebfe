package wallet

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func TestHoldCommandsThatAreRefusedBeforeTheyLeaveATrace(t *testing.T) {
	long := strings.Repeat("x", 129)
	for name, row := range map[string]struct{ json, message string }{
		"hold without amount":      {`{"id":"a","type":"hold"}`, `command "a" has no amount: send it as a string, such as "12.50"`},
		"hold of zero":             {`{"id":"a","type":"hold","amount":"0"}`, `amount "0" of command "a" is not above 0: send the amount to hold`},
		"a raise of nothing":       {`{"id":"a","type":"hold","hold_id":"h"}`, `command "a" neither raises hold "h" nor extends it: send amount, or expires_in or expires_at, or both`},
		"capture without a hold":   {`{"id":"a","type":"capture"}`, `command "a" has no hold_id: send the id of the command that placed the hold`},
		"release without a hold":   {`{"id":"a","type":"release","amount":"1"}`, `command "a" has no hold_id`},
		"capture of zero":          {`{"id":"a","type":"capture","hold_id":"h","amount":"0.00"}`, `amount "0.00" of command "a" is not above 0: send the amount to capture`},
		"release of 40 digits":     {`{"id":"a","type":"release","hold_id":"h","amount":"` + strings.Repeat("9", 40) + `"}`, `has 40 digits: at most 38`},
		"hold id of 129":           {`{"id":"a","type":"capture","hold_id":"` + long + `"}`, `has 129 characters: at most 128`},
		"hold id with newline":     {`{"id":"a","type":"capture","hold_id":"a\nb"}`, `hold_id "a\nb" contains a control character`},
		"hold id is a number":      {`{"id":"a","type":"capture","hold_id":7}`, `hold_id of command must not be a JSON number: send a string`},
		"an empty hold id":         {`{"id":"a","type":"hold","amount":"1","hold_id":""}`, `hold_id is empty: send the id of the command that placed the hold, or leave it out`},
		"an empty duration":        {`{"id":"a","type":"hold","amount":"1","expires_in":""}`, `expires_in is empty: send a duration such as "15m", or leave it out`},
		"a duration as a number":   {`{"id":"a","type":"hold","amount":"1","expires_in":900}`, `expires_in of command must not be a JSON number: send a string`},
		"two expiries":             {`{"id":"a","type":"hold","amount":"1","expires_in":"1m","expires_at":"2026-01-31T12:00:00Z"}`, `command "a" has both expires_in and expires_at: send one of them`},
		"a time with nanoseconds":  {`{"id":"a","type":"hold","amount":"1","expires_at":"2026-01-31T12:00:00.0000001Z"}`, `expires_at 2026-01-31T12:00:00.0000001Z has more than 6 decimals of a second`},
		"a time of long ago":       {`{"id":"a","type":"hold","amount":"1","expires_at":"1999-12-31T23:59:59Z"}`, `is out of range: send a time between the years 2000 and 9999`},
		"a time after year 9999":   {`{"id":"a","type":"hold","amount":"1","expires_at":"9999-12-31T23:59:59-01:00"}`, `is out of range: send a time between the years 2000 and 9999`},
		"the first of all times":   {`{"id":"a","type":"hold","amount":"1","expires_at":"0001-01-01T00:00:00Z"}`, `expires_at is "0001-01-01T00:00:00Z": send a time such as 2026-01-31T12:00:00Z`},
		"a time without a zone":    {`{"id":"a","type":"hold","amount":"1","expires_at":"2026-01-31T12:00:00"}`, `expires_at is "2026-01-31T12:00:00": send a time such as 2026-01-31T12:00:00Z`},
		"a time as a number":       {`{"id":"a","type":"hold","amount":"1","expires_at":1769860800}`, `expires_at is 1769860800: send a time such as 2026-01-31T12:00:00Z`},
		"no time":                  {`{"id":"a","type":"hold","amount":"1","expires_at":"tomorrow"}`, `expires_at is "tomorrow": send a time such as 2026-01-31T12:00:00Z`},
		"an empty time":            {`{"id":"a","type":"hold","amount":"1","expires_at":""}`, `expires_at is "": send a time`},
		"partial as a text":        {`{"id":"a","type":"capture","hold_id":"h","partial":"true"}`, `partial of command must not be a JSON string: send true or false`},
		"an expiry of a capture":   {`{"id":"a","type":"capture","hold_id":"h","expires_in":"15m"}`, `capture takes no expires_in, got "15m": leave it out`},
		"an expiry of a subtract":  {`{"id":"a","type":"subtract","amount":"1","expires_at":"2026-01-31T12:00:00Z"}`, `subtract takes no expires_at, got "2026-01-31T12:00:00Z": leave it out`},
		"a priority of 101":        {`{"id":"a","type":"add","amount":"1","priority":101}`, `priority 101 is out of range: send 1 (used up first) to 100`},
		"a priority below 1":       {`{"id":"a","type":"add","amount":"1","priority":-1}`, `priority -1 is out of range`},
		"a priority of 0":          {`{"id":"a","type":"add","amount":"1","priority":0}`, `priority is 0: send 1, which is used up first, to 100, or leave it out`},
		"a priority as a text":     {`{"id":"a","type":"add","amount":"1","priority":"1"}`, `priority`},
		"a priority of a hold":     {`{"id":"a","type":"hold","amount":"1","priority":1}`, `hold takes no priority`},
		"two expiries of an add":   {`{"id":"a","type":"add","amount":"1","expires_in":"1m","expires_at":"2026-01-31T12:00:00Z"}`, `has both expires_in and expires_at`},
		"return_expired of an add": {`{"id":"a","type":"add","amount":"1","return_expired":true}`, `add takes no return_expired`},
		"a partial release":        {`{"id":"a","type":"release","hold_id":"h","partial":true}`, `release takes no partial, got "true": leave it out`},
		"a partial hold":           {`{"id":"a","type":"hold","amount":"1","partial":true}`, `hold takes no partial`},
		"a subtract from a hold":   {`{"id":"a","type":"subtract","amount":"1","hold_id":"h"}`, `subtract takes no hold_id, got "h": leave it out`},
		"the service's own type":   {`{"id":"a","type":"expire","hold_id":"h"}`, `type "expire" is unknown: send one of create, add, subtract, hold, capture, release, reverse, freeze, unfreeze, close, set_credit_limit, set_threshold, remove_threshold`},
		"decimals with a comma":    {`{"id":"a","type":"hold","amount":"1","expires_at":"2026-01-31T12:00:00,5Z"}`, `send a time`},
		"a null expiry":            {`{"id":"a","type":"hold","amount":"1","expires_in":null}`, `expires_in is null: send `},
		"a null time":              {`{"id":"a","type":"hold","amount":"1","expires_at":null}`, `expires_at is null: send `},
		"a null hold":              {`{"id":"a","type":"hold","amount":"1","hold_id":null}`, `hold_id is null: send `},
		"a misspelt field":         {`{"id":"a","type":"hold","amount":"1","expiresIn":"15m"}`, `command has no field "expiresIn"`},
		"a duration within a name": {`{"id":"a","type":"hold","amount":"1","expires_in":"15m\n"}`, `is not a duration`},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := DecodeCommand([]byte(row.json))
			require.ErrorContains(t, err, row.message)
			require.IsType(t, &InvalidError{}, err)
		})
	}
	for _, json := range []string{
		`{"id":"a","type":"hold","amount":"1","description":"","reply_to":null,"metadata":{"hold_id":"","expires_in":""}}`,
		`{"id":"a","type":"hold","hold_id":"h","expires_at":"2026-01-31T13:00:00.123456+01:00"}`,
		`{"id":"a","type":"capture","hold_id":"h","partial":false}`,
		`{"id":"a","type":"hold","amount":"1","expires_at":"9999-12-31T23:59:59Z"}`,
	} {
		_, err := DecodeCommand([]byte(json))
		require.NoError(t, err, json)
	}
}

func TestDurationsOfHolds(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"1s": time.Second, "90s": 90 * time.Second, "15m": 15 * time.Minute, "24h": 24 * time.Hour, "7d": 7 * 24 * time.Hour,
		"1d12h": 36 * time.Hour, "1h0m30s": time.Hour + 30*time.Second, "007m": 7 * time.Minute, "3650d": 3650 * 24 * time.Hour, "87600h": 3650 * 24 * time.Hour,
	} {
		d, err := parseHoldDuration(text)
		require.NoError(t, err, text)
		require.Equal(t, want, d, text)
	}
	for _, text := range []string{
		"", "0s", "0d0h", "15", "m", "15M", "15 m", " 15m", "15m ", "-15m", "+15m", "1.5h", "1e3s", "100ms", "5us", "1w", "1h1d", "30s1m", "1m1m", "1d1d", "١m",
		"3651d", "3650d1s", "87601h", "9999999999s", "999999999d", "315360001s", "15m\n",
	} {
		_, err := parseHoldDuration(text)
		require.ErrorContains(t, err, `send one such as "90s", "15m", "24h", "7d" or "1d12h"`, text)
	}
}

// TestAHoldExpiresAtItsVeryMoment decides a capture one microsecond before the expiry, and
// exactly at it.
func TestAHoldExpiresAtItsVeryMoment(t *testing.T) {
	placed, err := Fold(Account{Asset: dollars()}, nil, good(
		Command{ID: "funds", Type: TypeAdd, Amount: MustAmount("100")},
		Command{ID: "h", Type: TypeHold, Amount: MustAmount("80"), ExpiresIn: "15m"}), noon)
	require.NoError(t, err)
	at := placed.Results[1].HoldExpiresAt
	require.Equal(t, noon.Add(15*time.Minute), at)
	capture := Command{ID: "c", Type: TypeCapture, HoldID: "h"}

	before, err := Fold(placed.Account, nil, good(capture), at.Add(-time.Microsecond))
	require.NoError(t, err)
	require.Equal(t, StatusApplied, before.Results[0].Status)
	require.Len(t, before.Entries, 1)

	then, err := Fold(placed.Account, nil, good(capture, Command{ID: "s", Type: TypeSubtract, Amount: MustAmount("100")}), at)
	require.NoError(t, err)
	require.Equal(t, ReasonHoldExpired, then.Results[0].Reason)
	require.Equal(t, StatusApplied, then.Results[1].Status, "it blocks nothing")
	require.Equal(t, []string{"_expire/h", "c", "s"}, []string{then.Entries[0].CommandID, then.Entries[1].CommandID, then.Entries[2].CommandID})
	require.Equal(t, HoldExpired, then.Holds[0].State)

	// A hold whose expiry has passed when it is placed is refused, not placed and then expired.
	for _, row := range []struct {
		at     time.Time
		reason Reason
	}{{noon, ReasonHoldExpired}, {noon.Add(time.Microsecond), ""}} {
		f, err := Fold(placed.Account, nil, good(Command{ID: "late", Type: TypeHold, Amount: MustAmount("1"), ExpiresAt: row.at}), noon)
		require.NoError(t, err)
		require.Equal(t, row.reason, f.Results[0].Reason)
	}
}

// modelHold is a hold, in cents and in microseconds after noon.
type modelHold struct {
	amount, captured, released int64
	state                      HoldState
	expires                    int64 // 0 for never
}

func (h modelHold) left() int64 { return h.amount - h.captured - h.released }

func (h *modelHold) end(state HoldState) { h.released, h.state = h.amount-h.captured, state }

// modelWallet implements the rules of holds a second time, in whole numbers.
type modelWallet struct {
	total int64
	holds map[string]*modelHold
}

func (m *modelWallet) hold() (sum int64) {
	for _, h := range m.holds {
		sum += h.left()
	}
	return sum
}

// ids returns the ids of the holds, open ones first.
func (m *modelWallet) ids() []string {
	return slices.SortedFunc(maps.Keys(m.holds), func(a, b string) int {
		return cmp.Or(-cmp.Compare(m.holds[a].left(), m.holds[b].left()), cmp.Compare(a, b))
	})
}

func (m *modelWallet) expire(now int64) {
	for _, h := range m.holds {
		if h.state == HoldOpen && h.expires != 0 && h.expires <= now {
			h.end(HoldExpired)
		}
	}
}

// modelCommand is a command in the model's numbers; 0 means not sent.
type modelCommand struct {
	kind             CommandType
	id, holdID       string
	amount           int64
	lasts, expiresAt int64 // expiresAt is a time, possibly before noon
	partial          bool
}

// apply returns the reason for a refusal, or an empty string.
func (m *modelWallet) apply(c modelCommand, now int64) Reason {
	available := m.total - m.hold()
	expires := c.expiresAt
	if c.lasts != 0 {
		expires = now + c.lasts
	}
	switch c.kind {
	case TypeAdd:
		m.total += c.amount
		return ""
	case TypeSubtract:
		if c.amount > available {
			return ReasonInsufficientFunds
		}
		m.total -= c.amount
		return ""
	}
	if c.kind == TypeHold && c.holdID == "" {
		switch {
		case expires != 0 && expires <= now:
			return ReasonHoldExpired
		case c.amount > available:
			return ReasonInsufficientFunds
		}
		m.holds[c.id] = &modelHold{amount: c.amount, state: HoldOpen, expires: expires}
		return ""
	}
	h := m.holds[c.holdID]
	switch {
	case h == nil:
		return ReasonHoldNotFound
	case h.state == HoldExpired:
		return ReasonHoldExpired
	case h.state != HoldOpen:
		return ReasonHoldClosed
	case c.kind == TypeHold && expires != 0 && (h.expires == 0 || expires <= h.expires):
		return ReasonExpiryNotLater
	case c.kind == TypeHold && c.amount > available:
		return ReasonInsufficientFunds
	case c.kind != TypeHold && c.amount > h.left():
		return ReasonHoldExceeded
	}
	part := c.amount
	if part == 0 {
		part = h.left()
	}
	switch c.kind {
	case TypeHold:
		h.amount += c.amount
		if expires != 0 {
			h.expires = expires
		}
	case TypeCapture:
		m.total -= part
		if h.captured += part; h.left() == 0 || !c.partial {
			h.end(HoldCaptured)
		}
	case TypeRelease:
		if h.released += part; h.left() == 0 {
			h.state = HoldReleased
		}
	}
	return ""
}

func cents(n int64) Amount {
	if n == 0 {
		return Amount{}
	}
	return MustAmount(fmt.Sprintf("%d.%02d", n/100, n%100))
}

func micros(n int64) time.Time { return noon.Add(time.Duration(n) * time.Microsecond) }

func (c modelCommand) command() Command {
	command := Command{ID: c.id, Type: c.kind, HoldID: c.holdID, Amount: cents(c.amount), Partial: c.partial}
	if c.lasts != 0 {
		command.ExpiresIn = fmt.Sprint(c.lasts/1e6, "s")
	}
	if c.expiresAt != 0 {
		command.ExpiresAt = micros(c.expiresAt)
	}
	return command
}

// drawHoldCommand makes a valid command, mostly on an existing hold, with amounts and expiries
// close to the limits.
func (m *modelWallet) drawHoldCommand(t *rapid.T, id string, now int64) modelCommand {
	c := modelCommand{id: id, kind: rapid.SampledFrom([]CommandType{TypeAdd, TypeSubtract, TypeHold, TypeHold, TypeHold, TypeCapture, TypeCapture, TypeRelease}).Draw(t, "type")}
	amounts, expiries := []int64{1, 100, 2500, m.total - m.hold(), m.total - m.hold() + 1}, []int64{now - 1, now, now + 1, now + 2, now + 1_000_000, now + 2_500_000}
	if c.kind == TypeCapture || c.kind == TypeRelease || c.kind == TypeHold && rapid.Bool().Draw(t, "of another hold") {
		c.holdID = rapid.SampledFrom(append(m.ids(), "nothing", "funds", id)).Draw(t, "hold")
		if h := m.holds[c.holdID]; h != nil {
			amounts = append([]int64{h.left() + 1, h.left(), h.left() - 1, h.left() / 2}, amounts...)
			expiries = append([]int64{h.expires, h.expires + 1, h.expires - 1}, expiries...)
		}
	}
	if c.kind == TypeAdd || c.kind == TypeSubtract || c.holdID == "" || rapid.Bool().Draw(t, "with amount") {
		c.amount = max(1, rapid.SampledFrom(amounts).Draw(t, "amount"))
	}
	switch c.kind {
	case TypeCapture:
		c.partial = rapid.Bool().Draw(t, "partial")
	case TypeHold:
		switch how := rapid.IntRange(0, 2).Draw(t, "expiry"); {
		case how == 0:
			c.expiresAt = rapid.SampledFrom(expiries).Draw(t, "expires")
		case how == 1 || c.amount == 0:
			c.lasts = rapid.SampledFrom([]int64{1, 2, 3, 3600}).Draw(t, "seconds") * 1e6
		}
		if c.amount == 0 && c.lasts == 0 && c.expiresAt == 0 {
			c.expiresAt = 1
		}
	}
	return c
}

// TestHoldsKeepTheirPromises runs random commands, with repeated ids, on a clock that hits
// expiries to the microsecond. The fold gets only the holds that a step would read for it.
func TestHoldsKeepTheirPromises(t *testing.T) {
	applied, reasons := map[CommandType]int{}, map[Reason]int{}
	rapid.Check(t, func(t *rapid.T) {
		opened, err := Fold(Account{Asset: dollars()}, nil, good(Command{ID: "funds", Type: TypeAdd, Amount: MustAmount("100")}), noon)
		require.NoError(t, err)
		asset, journal := opened.Account.Asset, opened.Entries
		model := modelWallet{total: 10_000, holds: map[string]*modelHold{}}
		holds, prior, sent := map[string]Hold{}, map[string]*Entry{}, map[string]Command{}
		for now := int64(0); len(journal) < 30; {
			now += rapid.SampledFrom([]int64{0, 0, 0, 1, 1, 2, 499_999, 1_000_000}).Draw(t, "clock")
			model.expire(now)
			account := Account{Asset: asset}
			var commands []Command
			var want []Reason
			for range rapid.IntRange(1, 4).Draw(t, "batch") {
				id := fmt.Sprint("c", len(sent))
				if len(sent) > 0 && rapid.IntRange(0, 9).Draw(t, "again") == 9 {
					id = fmt.Sprint("c", rapid.IntRange(0, len(sent)-1).Draw(t, "id"))
				}
				c := model.drawHoldCommand(t, id, now)
				command, again := sent[id]
				if !again {
					command = c.command()
					require.NoError(t, command.Validate())
					sent[id] = command
					want = append(want, model.apply(c, now))
				} else {
					want = append(want, "the first answer")
				}
				commands = append(commands, command)
				if h, known := holds[command.HoldID]; known {
					account.Keep(h)
				}
			}
			for _, h := range holds {
				if h.IsDue(micros(now)) {
					account.Keep(h)
				}
			}
			folded, err := Fold(account, prior, good(commands...), micros(now))
			require.NoError(t, err)
			for i, reason := range want {
				r := folded.Results[i]
				if reason == "the first answer" {
					require.True(t, r.Replayed)
					continue
				}
				require.Equal(t, reason, r.Reason, "%+v: %s", commands[i], r.Message)
				if reasons[reason]++; reason == "" {
					applied[commands[i].Type]++
				}
			}

			// The outcome matches the model.
			asset, journal = folded.Account.Asset, append(journal, folded.Entries...)
			for _, h := range folded.Holds {
				if before, known := holds[h.ID]; known {
					require.True(t, before.IsOpen(), "a hold that was %s has changed", before.State)
				}
				holds[h.ID] = h
			}
			require.Len(t, holds, len(model.holds))
			open, left := int64(0), Amount{}
			for id, m := range model.holds {
				h := holds[id]
				require.Equal(t, m.state, h.State, id)
				for what, pair := range map[string][2]Amount{"amount": {cents(m.amount), h.Amount}, "captured": {cents(m.captured), h.Captured}, "released": {cents(m.released), h.Released}, "left": {cents(m.left()), h.Left()}} {
					require.Zero(t, pair[0].Cmp(pair[1]), "%s of hold %s: %s in the model, %s", what, id, pair[0], pair[1])
				}
				require.Equal(t, m.expires != 0, !h.ExpiresAt.IsZero())
				if m.expires != 0 {
					require.True(t, h.ExpiresAt.Equal(micros(m.expires)))
				}
				require.Equal(t, h.IsOpen(), !h.Left().IsZero(), "it is open as long as some of it is left")
				if h.IsOpen() {
					open++
				}
				left = left.Add(h.Left())
			}
			require.Zero(t, asset.Total.Cmp(cents(model.total)))
			require.Zero(t, asset.Hold.Cmp(left), "what is left of the holds comes to the balance's hold")
			require.Equal(t, open, asset.OpenHolds)
			require.False(t, asset.Hold.IsNegative() || asset.Available().IsNegative())

			// Sending the same again gives the same answers.
			for _, e := range folded.Entries {
				prior[e.CommandID] = &e
			}
			again, err := Fold(Account{Asset: asset, Holds: holds}, prior, good(commands...), micros(now))
			require.NoError(t, err)
			require.Empty(t, again.Entries)
			for i, r := range folded.Results {
				r.Replayed = true
				require.Equal(t, r, again.Results[i])
			}
		}

		// Each hold can be rebuilt from its entries.
		for id, h := range holds {
			derived, placed := HoldOf(id, journal)
			require.True(t, placed)
			require.Equal(t, h.State, derived.State)
			require.Equal(t, h.Position, derived.Position)
			require.Zero(t, h.Captured.Cmp(derived.Captured))
			require.Zero(t, h.Released.Cmp(derived.Released))
			require.Zero(t, h.Amount.Cmp(derived.Amount))
			require.True(t, h.ExpiresAt.Equal(derived.ExpiresAt) && h.PlacedAt.Equal(derived.PlacedAt) && h.UpdatedAt.Equal(derived.UpdatedAt))
		}
		expiries := slices.DeleteFunc(slices.Clone(journal), func(e Entry) bool { return e.Type != TypeExpire })
		expired := 0
		for _, h := range model.holds {
			if h.state == HoldExpired {
				expired++
			}
		}
		require.Len(t, expiries, expired, "each expiry once")
	})
	for _, kind := range CallersKinds() {
		if kind.Type == TypeAdd || kind.Type == TypeReverse || kind.allows("what") || kind.allows("threshold") || kind.Type == TypeUnfreeze || kind.Type == TypeClose || kind.Type == TypeSetCreditLimit {
			continue // they have tests of their own
		}
		for _, reason := range kind.Refuses {
			if reason != ReasonAlreadyExists && reason != ReasonTooManyHolds {
				require.Positive(t, reasons[reason], reason)
			}
		}
		if kind.Type != TypeCreate {
			require.Positive(t, applied[kind.Type], kind.Type)
		}
	}
}
