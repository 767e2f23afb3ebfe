package torture

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/valueledger/wallet"
)

// Way is how a command is sent.
type Way string

// The ways of the contract. A bare update is what a caller in another language sends:
// no package starter, no retries behind its back.
const (
	Signal       Way = "signal"
	Update       Way = "update"
	Batch        Way = "batch"
	ApplyCommand Way = "ApplyCommand"
	BareUpdate   Way = "bare update"
	Garbage      Way = "garbage signal" // not a command, though its id can be read
	// StrayStep does the workflow's steps beside it, as a worker does that was thought
	// dead. It waits in no queue.
	StrayStep Way = "stray step"
)

// Send is one call: commands for one wallet, several only by Batch.
type Send struct {
	Way      Way
	Commands []wallet.Command
}

// Step is what a client does next: its sends go at the same time, each until it has its
// answer, and then the client goes on.
type Step struct {
	Pause   time.Duration // before it
	Wallet  int
	Sends   []Send
	Patient time.Duration // how long one attempt of a send waits
}

func (s Step) String() string {
	var sends []string
	for _, send := range s.Sends {
		text := string(send.Way)
		for _, c := range send.Commands {
			text += " " + c.String()
		}
		sends = append(sends, text)
	}
	return fmt.Sprintf("+%s wallet %d: %s", s.Pause, s.Wallet, strings.Join(sends, " | "))
}

// Script is the endless list of a client's steps.
type Script struct {
	client  int
	wallets int
	r       *rand.Rand
	steps   int
	sent    []sentBefore // some of what came before, to send it again
}

type sentBefore struct {
	wallet  int
	command wallet.Command
}

// Script gives the steps of a client, from the first.
func (p Plan) Script(client int) *Script {
	return &Script{client: client, wallets: len(p.Wallets), r: random(p.Options.Seed, uint64(1+client))}
}

// rememberedCommands of a client may come again.
const rememberedCommands = 50

// Next is the client's next step.
func (s *Script) Next() Step {
	s.steps++
	step := Step{
		Pause:   between(s.r, 0, 40*time.Millisecond),
		Patient: between(s.r, 500*time.Millisecond, 8*time.Second),
		Wallet:  s.wallet(),
	}
	switch n := s.r.IntN(100); {
	case n < 8 && len(s.sent) > 0: // again, long after its answer
		before := s.sent[s.r.IntN(len(s.sent))]
		step.Wallet = before.wallet
		step.Sends = []Send{{s.way(), []wallet.Command{before.command}}}
	case n < 13 && len(s.sent) > 0: // its id with other content
		before := s.sent[s.r.IntN(len(s.sent))]
		step.Wallet = before.wallet
		step.Sends = []Send{{s.wayOfOther(), []wallet.Command{s.other(before.command)}}}
	case n < 15:
		step.Sends = []Send{{Garbage, []wallet.Command{s.command(0)}}}
	case n < 27:
		send := Send{Way: Batch}
		for i := range 2 + s.r.IntN(24) {
			send.Commands = append(send.Commands, s.command(i))
		}
		step.Sends = []Send{send}
	case n < 40: // several at once: duplicates, sometimes with other content
		command := s.command(0)
		step.Sends = []Send{{s.way(), []wallet.Command{command}}}
		for range 1 + s.r.IntN(3) {
			if s.r.IntN(4) == 0 {
				step.Sends = append(step.Sends, Send{s.wayOfOther(), []wallet.Command{s.other(command)}})
				continue
			}
			step.Sends = append(step.Sends, Send{s.way(), []wallet.Command{command}})
		}
	case n < 43: // stray steps that all want the same row
		for i := range 2 + s.r.IntN(5) {
			step.Sends = append(step.Sends, Send{StrayStep, []wallet.Command{s.command(i)}})
		}
	default:
		step.Sends = []Send{{s.way(), []wallet.Command{s.command(0)}}}
	}
	if step.Sends[0].Way != Garbage {
		s.remember(step)
	}
	return step
}

// wallet is a hot one in half of the cases, and seldom a cold one.
func (s *Script) wallet() int {
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
	return pick(s.r, []weighted[Way]{{30, Update}, {30, Signal}, {10, ApplyCommand}, {25, BareUpdate}, {5, Batch}, {6, StrayStep}})
}

// wayOfOther leaves out ApplyCommand: its workflow's id is the command's, so that
// Temporal gives a second one the answer of the first, whatever its content is.
func (s *Script) wayOfOther() Way {
	return pick(s.r, []weighted[Way]{{30, Update}, {25, Signal}, {25, BareUpdate}, {10, Batch}, {10, StrayStep}})
}

// command is a new one. About every fourth is refused.
func (s *Script) command(i int) wallet.Command {
	c := wallet.Command{
		ID:   fmt.Sprintf("c%d-%d-%d", s.client, s.steps, i),
		Type: pick(s.r, []weighted[wallet.CommandType]{{4, wallet.TypeCreate}, {52, wallet.TypeAdd}, {44, wallet.TypeSubtract}}),
	}
	if c.Type != wallet.TypeCreate {
		c.Amount = s.amount()
	}
	if s.r.IntN(4) == 0 {
		c.Actor, c.Description = fmt.Sprintf("client %d", s.client), "größer, 更大, bigger | \"quoted\""
		c.Metadata = map[string]string{"step": fmt.Sprint(s.steps), "": "an empty key"}
	}
	return c
}

// amount has 0 to 4 decimals; of which JPY takes none, USD two and BHD three.
func (s *Script) amount() wallet.Amount {
	decimals := pick(s.r, []weighted[int]{{60, 0}, {10, 1}, {20, 2}, {8, 3}, {2, 4}})
	text := fmt.Sprint(1 + s.r.IntN(40))
	if decimals > 0 {
		text += fmt.Sprintf(".%0*d", decimals, s.r.IntN([]int{1, 10, 100, 1000, 10000}[decimals]))
	}
	return wallet.MustAmount(text)
}

// other is another command under the same id.
func (s *Script) other(c wallet.Command) wallet.Command {
	c.Type, c.Amount = wallet.TypeAdd, wallet.MustAmount(fmt.Sprint(100+s.r.IntN(100)))
	return c
}

func (s *Script) remember(step Step) {
	for _, c := range step.Sends[0].Commands {
		if len(s.sent) < rememberedCommands {
			s.sent = append(s.sent, sentBefore{step.Wallet, c})
		} else {
			s.sent[s.r.IntN(rememberedCommands)] = sentBefore{step.Wallet, c}
		}
	}
}
