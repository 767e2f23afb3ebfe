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
	if scenario == Plain || scenario == Holds {
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

// next returns the next call: commands for one wallet.
func (s *source) next() (walletIndex int, commands []wallet.Command) {
	switch {
	case s.zipf != nil:
		walletIndex = int(s.zipf.Uint64())
	case s.spec.Wallets > 1:
		walletIndex = s.random.IntN(s.spec.Wallets)
	}
	commands = make([]wallet.Command, s.spec.PerCall)
	for i := range commands {
		commands[i] = s.command()
	}
	return walletIndex, commands
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
