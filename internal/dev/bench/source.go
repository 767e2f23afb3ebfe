package bench

import (
	"fmt"
	"math/rand/v2"

	"github.com/valueledger/wallet"
)

// zipfExponent gives the first of 1,000 wallets about a fifth of the commands.
const zipfExponent = 1.1

// opening is each wallet's balance before the load, so that most subtractions have enough
// funds.
var opening = wallet.Command{ID: "open", Type: wallet.TypeAdd, Amount: wallet.MustAmount("1000.00")}

// source makes the commands of one caller.
type source struct {
	spec   Spec
	caller int
	made   int
	random *rand.Rand
	zipf   *rand.Zipf // nil unless mixed
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
	commandType := wallet.TypeAdd
	if s.random.IntN(100) < s.spec.SubtractPercent {
		commandType = wallet.TypeSubtract
	}
	cents := 1 + s.random.IntN(10_000)
	return wallet.Command{
		ID:     fmt.Sprintf("c%d-%d", s.caller, s.made),
		Type:   commandType,
		Amount: wallet.MustAmount(fmt.Sprintf("%d.%02d", cents/100, cents%100)),
	}
}
