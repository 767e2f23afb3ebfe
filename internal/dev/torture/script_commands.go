package torture

import (
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"go.temporal.io/sdk/converter"

	"github.com/valueledger/wallet"
)

// command makes a new command for a wallet. About a quarter are refused.
func (s *Script) command(of, i int) wallet.Command {
	c := s.anyCommand(of, i)
	if s.r.IntN(4) == 0 {
		c.Actor, c.Description = fmt.Sprintf("client %d", s.client), "größer, 更大, bigger | \"quoted\""
		c.Metadata = map[string]string{"step": fmt.Sprint(s.steps), "": "an empty key"}
	}
	s.conditions(&c)
	return c
}

// conditions draws a time that is far away or has passed, or a version that some wallets have
// early in a run.
func (s *Script) conditions(c *wallet.Command) {
	switch n := s.r.IntN(100); {
	case n < 4:
		c.NotAfter = time.Date(2099, 12, 31, 23, 59, 59, 0, time.UTC)
	case n < 7:
		c.NotAfter = time.Date(2001, 2, 3, 4, 5, 6, 7000, time.UTC)
	case n < 12:
		c.ExpectedVersion = new(int64(s.r.IntN(25)))
	}
}

func (s *Script) anyCommand(of, i int) wallet.Command {
	c := wallet.Command{
		ID: s.id(i),
		Type: pick(s.r, []weighted[wallet.CommandType]{
			{4, wallet.TypeCreate}, {42, wallet.TypeAdd}, {31, wallet.TypeSubtract}, {14, wallet.TypeHold}, {6, wallet.TypeCapture},
			{2, wallet.TypeSetThreshold}, {1, wallet.TypeRemoveThreshold}, {3, wallet.TypeSetCreditLimit},
		}),
	}
	switch c.Type {
	case wallet.TypeCreate:
	case wallet.TypeSetThreshold, wallet.TypeRemoveThreshold: // more names than a wallet can have
		c.Threshold = fmt.Sprint("t", s.r.IntN(20))
		if c.Type == wallet.TypeSetThreshold {
			c.Amount = s.amount()
		}
	case wallet.TypeSetCreditLimit: // small, so that it is used up; sometimes none
		if s.r.IntN(3) > 0 {
			c.Amount = s.amount()
		}
	case wallet.TypeHold:
		c.Amount = s.amount()
		s.expires(&c)
		s.rememberHold(of, c)
	case wallet.TypeCapture: // or another command on a hold
		return s.ofHold(s.holdIn(of), i)
	case wallet.TypeAdd:
		c.Amount = s.amount()
		if s.r.IntN(3) == 0 {
			s.granted(&c)
		}
	default:
		c.Amount = s.amount()
	}
	return c
}

// expires draws when a hold expires: mostly soon.
func (s *Script) expires(c *wallet.Command) {
	switch n := s.r.IntN(100); {
	case n < 83:
		c.ExpiresIn = fmt.Sprintf("%ds", 1+s.r.IntN(20))
	case n < 88:
		c.ExpiresAt = time.Date(2099, 12, 31, 23, 59, 59, 0, time.UTC)
	case n < 90: // already in the past
		c.ExpiresAt = time.Date(2001, 2, 3, 4, 5, 6, 7000, time.UTC)
	}
}

// granted makes a grant of an add: one that expires soon, or not, with or without a priority.
func (s *Script) granted(c *wallet.Command) {
	s.expires(c)
	if s.r.IntN(2) == 0 {
		c.Priority = pick(s.r, []weighted[int64]{{3, 1}, {2, 49}, {2, 50}, {1, 100}})
	}
}

// holdIn returns a hold placed in a wallet. Sometimes it belongs to another wallet, or does not
// exist.
func (s *Script) holdIn(of int) string {
	if s.r.IntN(10) > 0 {
		for _, h := range slices.Backward(s.holds) {
			if h.wallet == of {
				return h.command.ID
			}
		}
	}
	if len(s.holds) > 0 && s.r.IntN(3) > 0 {
		return s.holds[s.r.IntN(len(s.holds))].command.ID
	}
	return "nobody placed this"
}

// ofHold captures, releases, raises or extends a hold, all or part of it.
func (s *Script) ofHold(holdID string, i int) wallet.Command {
	c := wallet.Command{ID: s.id(i), HoldID: holdID, Type: pick(s.r, []weighted[wallet.CommandType]{{50, wallet.TypeCapture}, {25, wallet.TypeRelease}, {25, wallet.TypeHold}})}
	if s.r.IntN(3) > 0 {
		c.Amount = wallet.MustAmount(fmt.Sprint(1 + s.r.IntN(15)))
	}
	switch c.Type {
	case wallet.TypeCapture:
		c.Partial = s.r.IntN(2) == 0
	case wallet.TypeHold:
		if c.Amount == (wallet.Amount{}) || s.r.IntN(2) == 0 {
			c.ExpiresIn = fmt.Sprintf("%ds", 1+s.r.IntN(20))
		}
	}
	return c
}

// reversal reverses a command, all or part of it.
func (s *Script) reversal(originalID string, i int) wallet.Command {
	c := wallet.Command{ID: s.id(i), Type: wallet.TypeReverse, OriginalID: originalID}
	if s.r.IntN(3) > 0 {
		c.Amount = wallet.MustAmount(fmt.Sprint(1 + s.r.IntN(10)))
	}
	c.ReturnExpired = s.r.IntN(2) == 0
	return c
}

// amount has 0 to 4 decimals, of which JPY takes none, USD two and BHD three.
func (s *Script) amount() wallet.Amount {
	decimals := pick(s.r, []weighted[int]{{60, 0}, {10, 1}, {20, 2}, {8, 3}, {2, 4}})
	if decimals > 2 && !s.mayFail(false) {
		decimals = 2
	}
	text := fmt.Sprint(1 + s.r.IntN(40))
	if decimals > 0 {
		text += fmt.Sprintf(".%0*d", decimals, s.r.IntN([]int{1, 10, 100, 1000, 10000}[decimals]))
	}
	return wallet.MustAmount(text)
}

// other is another command under the same id.
func (s *Script) other(c wallet.Command) wallet.Command {
	return wallet.Command{ID: c.ID, Type: wallet.TypeAdd, Amount: wallet.MustAmount(fmt.Sprint(100 + s.r.IntN(100))), Description: c.Description}
}

// garbagePayload is a signal whose id can be read and nothing else.
func garbagePayload(id string) json.RawMessage {
	return json.RawMessage(fmt.Sprintf(`{"id":%q,"type":"nonsense","amount":"much"}`, id))
}

// garbage stands for a malformed signal under the id that its record has. Description is the
// id that is sent.
func garbage(id string) wallet.Command {
	return wallet.Command{ID: wallet.MalformedID(garbagePayload(id), converter.MetadataEncodingJSON), Type: wallet.TypeAdd, Description: id}
}
