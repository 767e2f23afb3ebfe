package bench

import (
	"fmt"
	"math/rand/v2"

	"github.com/valueledger/wallet"
)

// zipfExponent gives the first of 1,000 wallets about a fifth of the commands.
const zipfExponent = 1.1

// opening is what each wallet has before the load, so that most subtractions find
// something to take from, and all where nothing is added: a refusal costs less.
func opening(scenario Scenario) wallet.Command {
	c := wallet.Command{ID: "open", Type: wallet.TypeAdd, Amount: wallet.MustAmount("1000.00")}
	if scenario == Plain || scenario == Holds || scenario.moves() {
		c.Amount = wallet.MustAmount("1000000000000.00")
	}
	return c
}

// holdsExpireIn is longer than any run: the holds are captured, and their wallet's timer runs.
const holdsExpireIn = "1h"

// source makes the commands of one caller.
type source struct {
	spec   Spec
	caller int
	made   int
	random *rand.Rand
	zipf   *rand.Zipf     // nil unless mixed
	placed wallet.Command // the hold that is captured next; without an id if there is none
}

// newSource always makes the same commands for the same spec and caller.
func newSource(spec Spec, caller int) *source {
	s := &source{spec: spec, caller: caller, random: rand.New(rand.NewPCG(1, uint64(caller)))}
	if spec.Scenario == Mixed {
		s.zipf = rand.NewZipf(s.random, zipfExponent, 1, uint64(spec.Wallets-1))
	}
	return s
}

// request is a call: commands for one wallet, or a transfer between two.
type request struct {
	commands []wallet.Command
	wallet   int    // of the commands; of a transfer, the one that gives
	to       int    // of a transfer, the one that gets
	transfer string // its id; empty for commands
}

// wallets are those of the commands.
func (r request) wallets() []int {
	if r.transfer != "" {
		return []int{r.wallet, r.to}
	}
	wallets := make([]int, len(r.commands))
	for i := range wallets {
		wallets[i] = r.wallet
	}
	return wallets
}

// counts is how many commands a call counts as.
func (r request) counts() int {
	if r.transfer != "" {
		return 1
	}
	return len(r.commands)
}

// next returns the next call.
func (s *source) next() (r request) {
	if s.spec.Scenario.moves() {
		return s.nextTransfer()
	}
	switch {
	case s.zipf != nil:
		r.wallet = int(s.zipf.Uint64())
	case s.spec.Wallets > 1:
		r.wallet = s.random.IntN(s.spec.Wallets)
	}
	r.commands = make([]wallet.Command, s.spec.PerCall)
	for i := range r.commands {
		r.commands[i] = s.command()
	}
	return r
}

// nextTransfer is between two different wallets; all are into the first if they are collected.
func (s *source) nextTransfer() request {
	c := s.command()
	r := request{transfer: c.ID, wallet: s.random.IntN(s.spec.Wallets - 1)}
	if s.spec.Scenario == Transfer {
		r.to = s.random.IntN(s.spec.Wallets)
	}
	if r.wallet >= r.to {
		r.wallet++
	}
	r.commands = []wallet.Command{{ID: c.ID, Type: wallet.TypeSubtract, Amount: c.Amount}, {ID: c.ID, Type: wallet.TypeAdd, Amount: c.Amount}}
	return r
}

func (s *source) command() wallet.Command {
	s.made++
	id := fmt.Sprintf("c%d-%d", s.caller, s.made)
	if s.placed.ID != "" {
		capture := wallet.Command{ID: id, Type: wallet.TypeCapture, HoldID: s.placed.ID, Amount: s.placed.Amount}
		s.placed = wallet.Command{}
		return capture
	}
	commandType := wallet.TypeAdd
	if s.random.IntN(100) < s.spec.SubtractPercent {
		commandType = wallet.TypeSubtract
	}
	cents := 1 + s.random.IntN(10_000)
	c := wallet.Command{ID: id, Type: commandType, Amount: wallet.MustAmount(fmt.Sprintf("%d.%02d", cents/100, cents%100))}
	if s.spec.Scenario == Holds {
		c.Type, c.ExpiresIn = wallet.TypeHold, holdsExpireIn
		s.placed = c
	}
	return c
}
