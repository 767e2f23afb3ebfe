package torture

import (
	"fmt"
	"strings"
	"time"

	"github.com/valueledger/wallet"
)

// Way is how a command is sent.
type Way string

// The ways of the contract. A bare update is what a caller in another language sends: without
// package starter and its retries.
const (
	Signal       Way = "signal"
	Update       Way = "update"
	Batch        Way = "batch"
	ApplyCommand Way = "ApplyCommand"
	BareUpdate   Way = "bare update"
	Garbage      Way = "garbage signal" // not a command, though its id can be read
	// StrayStep runs the workflow's steps outside the workflow, like a worker that was presumed
	// dead. It does not go through the queue.
	StrayStep Way = "stray step"
	// Transaction sends commands for several wallets, of which all are applied or none is. It does
	// not go through their queues.
	Transaction Way = "transaction"
	// TransactionInLane is a transaction by package starter with lanes.
	TransactionInLane Way = "transaction in a lane"
	// InLane is an update by package starter with lanes: it too does not go through the queue.
	InLane Way = "lane"
	// InRun stages commands as lines of a run, and waits until it is done. It has no answers, and
	// does not go through the queue.
	InRun Way = "run"
	// LongRun is a run of hundreds of lines for several wallets, which is interrupted.
	LongRun Way = "long run"
)

// isTransaction reports whether the commands are the legs of one.
func (w Way) isTransaction() bool { return w == Transaction || w == TransactionInLane }

// Send is one call: commands for one wallet, several only by Batch or InRun; or a transaction.
type Send struct {
	Way      Way
	Commands []wallet.Command
	// Of a transaction, whose legs Commands are: itself, and the wallet of each leg.
	Transaction wallet.Transaction
	Wallets     []int
	Run         *longRun // of LongRun, for the lines' Wallets
}

// walletOf is the wallet of a command.
func (s Send) walletOf(i, otherwise int) int {
	if s.Wallets == nil {
		return otherwise
	}
	return s.Wallets[i]
}

// Step is what a client does next: it sends concurrently, each send until it has its answer,
// and then continues.
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
		if send.Run != nil {
			text += fmt.Sprintf(" %s of %d lines, %v, cancelled: %t", send.Run.ID, len(send.Commands), send.Run.Interruptions, send.Run.Cancelled)
			sends = append(sends, text)
			continue
		}
		for _, c := range send.Commands {
			text += " " + asked(c)
		}
		sends = append(sends, text)
	}
	return fmt.Sprintf("+%s wallet %d: %s", s.Pause, s.Wallet, strings.Join(sends, " | "))
}
