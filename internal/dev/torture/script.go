package torture

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/valueledger/wallet"
)

// Script is the endless list of a client's steps.
type Script struct {
	client  int
	wallets int
	all     []Wallet
	r       *rand.Rand
	steps   int
	sent    []sentBefore // some earlier commands, to send again
	holds   []sentBefore // the holds placed last, for later commands to use

	transactions []Send // the last ones
	transfers    bool   // LoadTransfers
}

type sentBefore struct {
	wallet  int
	command wallet.Command
}

// Script returns a client's steps from the first on.
func (p Plan) Script(client int) *Script {
	return &Script{client: client, wallets: len(p.Wallets), all: p.Wallets, transfers: p.Options.Load == LoadTransfers, r: random(p.Options.Seed, uint64(1+client))}
}

// rememberedCommands is how many commands of a client may be sent again.
const rememberedCommands = 50

// stepsPerLongRun keeps long runs from being most of the load.
const stepsPerLongRun = 40

// rememberedHolds is how many holds may be captured, released and raised: about as many as a
// client places while one of them is open.
const rememberedHolds = 12

// Next returns the client's next step.
func (s *Script) Next() Step {
	s.steps++
	step := Step{
		Pause:   between(s.r, 0, 40*time.Millisecond),
		Patient: between(s.r, 500*time.Millisecond, 8*time.Second),
		Wallet:  s.wallet(),
	}
	if s.transfers {
		return s.transferStep(step)
	}
	if s.steps == 1 { // the only time when wallets are surely empty
		step.Wallet = s.client % s.wallets
		step.Sends = []Send{s.closeAndReopen(step.Wallet)}
		return step
	}
	if s.r.IntN(stepsPerLongRun) == 0 {
		step.Sends = []Send{s.longRun()}
		step.Wallet = step.Sends[0].Wallets[0]
		return step
	}
	switch n := s.r.IntN(100); {
	case n < 8 && len(s.sent) > 0: // again, long after its answer
		before := s.sent[s.r.IntN(len(s.sent))]
		step.Wallet = before.wallet
		step.Sends = []Send{{Way: s.way(), Commands: []wallet.Command{before.command}}}
	case n < 13 && len(s.sent) > 0: // its id with different content
		before := s.sent[s.r.IntN(len(s.sent))]
		step.Wallet = before.wallet
		step.Sends = []Send{{Way: s.wayOfOther(), Commands: []wallet.Command{s.other(before.command)}}}
	case n < 15:
		step.Sends = []Send{{Way: Garbage, Commands: []wallet.Command{garbage(s.id(0))}}}
	case n < 27:
		send := Send{Way: pick(s.r, []weighted[Way]{{75, Batch}, {25, InRun}})}
		for i := range 2 + s.r.IntN(24) {
			send.Commands = append(send.Commands, s.command(step.Wallet, i))
		}
		step.Sends = []Send{send}
	case n < 40: // several at once: duplicates, sometimes with different content
		command := s.command(step.Wallet, 0)
		step.Sends = []Send{{Way: s.way(), Commands: []wallet.Command{command}}}
		for range 1 + s.r.IntN(3) {
			if s.r.IntN(4) == 0 {
				step.Sends = append(step.Sends, Send{Way: s.wayOfOther(), Commands: []wallet.Command{s.other(command)}})
				continue
			}
			step.Sends = append(step.Sends, Send{Way: s.way(), Commands: []wallet.Command{command}})
		}
	case n < 43: // stray steps that all want the same row
		for i := range 2 + s.r.IntN(5) {
			step.Sends = append(step.Sends, Send{Way: StrayStep, Commands: []wallet.Command{s.command(step.Wallet, i)}})
		}
	case n < 51:
		return s.transactionStep(step)
	case n < 54 && len(s.sent) > 0:
		s.reversals(&step)
	case n < 57:
		step.Sends = s.freezeOrClose(step.Wallet)
	case n < 59:
		step.Sends = []Send{{Way: Batch, Commands: s.debt(step.Wallet)}}
	case n < 62:
		step.Sends = []Send{{Way: Batch, Commands: s.useGrants(step.Wallet)}}
	case n < 67 && len(s.holds) > 0: // commands on a hold, sometimes several on the same
		of := s.holds[s.r.IntN(len(s.holds))]
		step.Wallet = of.wallet
		for i := range pick(s.r, []weighted[int]{{70, 1}, {15, 2}, {15, 4}}) {
			step.Sends = append(step.Sends, Send{Way: s.way(), Commands: []wallet.Command{s.ofHold(of.command.ID, i)}})
		}
	default:
		step.Sends = []Send{{Way: s.way(), Commands: []wallet.Command{s.command(step.Wallet, 0)}}}
	}
	if step.Sends[0].Way != Garbage {
		s.remember(step)
	}
	return step
}

// reversals reverses a command of before, sometimes in parts at once.
func (s *Script) reversals(step *Step) {
	of := s.sent[s.r.IntN(len(s.sent))]
	if len(s.transactions) > 0 && s.r.IntN(5) == 0 { // a leg alone
		t := s.transactions[s.r.IntN(len(s.transactions))]
		leg := s.r.IntN(len(t.Commands))
		of = sentBefore{t.Wallets[leg], t.Commands[leg]}
	}
	step.Wallet = of.wallet
	for i := range pick(s.r, []weighted[int]{{70, 1}, {15, 2}, {15, 4}}) {
		step.Sends = append(step.Sends, Send{Way: s.way(), Commands: []wallet.Command{s.reversal(of.command.ID, i)}})
	}
}

// freezeOrClose freezes, sometimes twice, or closes a wallet for about as long as the step takes.
func (s *Script) freezeOrClose(of int) []Send {
	stop := []wallet.Command{s.freeze(0)}
	resume := wallet.Command{ID: s.id(1), Type: wallet.TypeUnfreeze}
	switch s.r.IntN(3) {
	case 0:
		stop[0], resume = wallet.Command{ID: s.id(0), Type: wallet.TypeClose}, wallet.Command{ID: s.id(1), Type: wallet.TypeCreate}
	case 1:
		stop = append(stop, s.freeze(10))
	}
	sends := []Send{{Way: Batch, Commands: append(stop, s.command(of, 2), s.command(of, 3))}, {Way: Update, Commands: []wallet.Command{resume}}}
	for i := range s.r.IntN(3) { // it stays so only rarely
		resume.ID = s.id(4 + i)
		sends = append(sends, Send{Way: s.way(), Commands: []wallet.Command{resume}})
	}
	return sends
}

func (s *Script) freeze(i int) wallet.Command {
	c := wallet.Command{ID: s.id(i), Type: wallet.TypeFreeze, What: pick(s.r, []weighted[string]{{1, "debits"}, {1, "credits"}, {1, "all"}})}
	if s.r.IntN(2) == 0 {
		s.expires(&c)
		if s.r.IntN(2) == 0 { // so soon that other steps come after it
			c.ExpiresIn, c.ExpiresAt = "1s", time.Time{}
		}
	}
	return c
}

// closeAndReopen closes a wallet that is still empty, and opens it again.
func (s *Script) closeAndReopen(of int) Send {
	return Send{Way: Batch, Commands: []wallet.Command{
		{ID: s.id(0), Type: wallet.TypeClose}, s.command(of, 1), {ID: s.id(2), Type: wallet.TypeCreate}, s.command(of, 3),
	}}
}

// debt puts a wallet in debt for about as long as the step takes. What is used of a limit cannot be ended.
func (s *Script) debt(of int) []wallet.Command {
	return []wallet.Command{
		{ID: s.id(0), Type: wallet.TypeSetCreditLimit, Amount: wallet.MustAmount("100000")},
		{ID: s.id(1), Type: wallet.TypeSubtract, Amount: wallet.MustAmount("50000")},
		s.command(of, 2),
		{ID: s.id(3), Type: wallet.TypeSetCreditLimit, Amount: s.amount()},
		{ID: s.id(4), Type: wallet.TypeAdd, Amount: wallet.MustAmount("50000")},
		{ID: s.id(5), Type: wallet.TypeSetCreditLimit},
	}
}

// useGrants uses two grants up and reverses that, or holds them. Other reversals of these commands, and
// other commands on the hold, come once the first grant has expired.
func (s *Script) useGrants(of int) []wallet.Command {
	first := wallet.Command{ID: s.id(0), Type: wallet.TypeAdd, Amount: wallet.MustAmount("20"), ExpiresIn: "1s", Priority: 1}
	second := wallet.Command{ID: s.id(1), Type: wallet.TypeAdd, Amount: wallet.MustAmount("20"), Priority: 1}
	s.expires(&second)
	if s.r.IntN(2) == 0 {
		hold := wallet.Command{ID: s.id(2), Type: wallet.TypeHold, Amount: wallet.MustAmount("30")}
		s.expires(&hold)
		s.rememberHold(of, hold)
		return []wallet.Command{first, second, hold}
	}
	return []wallet.Command{first, second, {ID: s.id(2), Type: wallet.TypeSubtract, Amount: wallet.MustAmount("30")}, s.reversal(s.id(2), 3)}
}

// mayFail reports whether to send something though it is mostly refused: rarely in LoadTransfers, where
// one refused leg of twenty refuses all.
func (s *Script) mayFail(good bool) bool { return good || !s.transfers || s.r.IntN(30) == 0 }

func (s *Script) hasHoldIn(of int) bool {
	return slices.ContainsFunc(s.holds, func(h sentBefore) bool { return h.wallet == of })
}

func (s *Script) rememberHold(of int, c wallet.Command) {
	s.holds = append(s.holds, sentBefore{of, c})
	s.holds = s.holds[max(0, len(s.holds)-rememberedHolds):]
}

// wallet returns a hot wallet half of the time, and rarely a cold one.
func (s *Script) wallet() int {
	if s.transfers {
		return s.r.IntN(s.wallets)
	}
	switch n := s.r.IntN(100); {
	case n < 50:
		return s.r.IntN(min(hotWallets, s.wallets))
	case n < 80:
		return s.r.IntN(min(4*hotWallets, s.wallets))
	default:
		return s.r.IntN(s.wallets)
	}
}

func (s *Script) way() Way {
	return pick(s.r, []weighted[Way]{{30, Update}, {30, Signal}, {10, ApplyCommand}, {25, BareUpdate}, {5, Batch}, {6, StrayStep}, {20, InLane}, {4, InRun}})
}

// wayOfOther excludes ApplyCommand: its workflow's id is the command's, so Temporal gives a
// second one the first one's answer, whatever its content.
func (s *Script) wayOfOther() Way {
	return pick(s.r, []weighted[Way]{{30, Update}, {25, Signal}, {25, BareUpdate}, {10, Batch}, {10, StrayStep}, {15, InLane}, {4, InRun}})
}

// id returns the id of the step's command number i.
func (s *Script) id(i int) string { return fmt.Sprintf("c%d-%d-%d", s.client, s.steps, i) }

func (s *Script) remember(step Step) {
	for _, c := range step.Sends[0].Commands {
		if len(s.sent) < rememberedCommands {
			s.sent = append(s.sent, sentBefore{step.Wallet, c})
		} else {
			s.sent[s.r.IntN(rememberedCommands)] = sentBefore{step.Wallet, c}
		}
	}
}
