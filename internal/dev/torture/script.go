package torture

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"go.temporal.io/sdk/converter"

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
		for _, c := range send.Commands {
			text += " " + asked(c)
		}
		sends = append(sends, text)
	}
	return fmt.Sprintf("+%s wallet %d: %s", s.Pause, s.Wallet, strings.Join(sends, " | "))
}

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
}

type sentBefore struct {
	wallet  int
	command wallet.Command
}

// Script returns a client's steps from the first on.
func (p Plan) Script(client int) *Script {
	return &Script{client: client, wallets: len(p.Wallets), all: p.Wallets, r: random(p.Options.Seed, uint64(1+client))}
}

// rememberedCommands is how many commands of a client may be sent again.
const rememberedCommands = 50

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
	case n < 54 && len(s.sent) > 0: // a command of before is reversed, sometimes in parts at once
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
	case n < 57: // frozen or closed for about as long as the step takes
		stop := wallet.Command{ID: s.id(0), Type: wallet.TypeFreeze, What: pick(s.r, []weighted[string]{{1, "debits"}, {1, "credits"}, {1, "all"}})}
		resume := wallet.Command{ID: s.id(1), Type: wallet.TypeUnfreeze}
		if s.r.IntN(3) == 0 {
			stop, resume = wallet.Command{ID: s.id(0), Type: wallet.TypeClose}, wallet.Command{ID: s.id(1), Type: wallet.TypeCreate}
		}
		step.Sends = []Send{{Way: Batch, Commands: []wallet.Command{stop, s.command(step.Wallet, 2), s.command(step.Wallet, 3)}}, {Way: Update, Commands: []wallet.Command{resume}}}
		for i := range s.r.IntN(3) { // it stays so only rarely
			resume.ID = s.id(4 + i)
			step.Sends = append(step.Sends, Send{Way: s.way(), Commands: []wallet.Command{resume}})
		}
	case n < 59: // in debt for about as long as the step takes; what is used of the limit cannot be ended
		commands := []wallet.Command{
			{ID: s.id(0), Type: wallet.TypeSetCreditLimit, Amount: wallet.MustAmount("100000")},
			{ID: s.id(1), Type: wallet.TypeSubtract, Amount: wallet.MustAmount("50000")},
			s.command(step.Wallet, 2),
			{ID: s.id(3), Type: wallet.TypeSetCreditLimit, Amount: s.amount()},
			{ID: s.id(4), Type: wallet.TypeAdd, Amount: wallet.MustAmount("50000")},
			{ID: s.id(5), Type: wallet.TypeSetCreditLimit},
		}
		step.Sends = []Send{{Way: Batch, Commands: commands}}
	case n < 64 && len(s.holds) > 0: // commands on a hold, sometimes several on the same
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

// rememberedTransactions is how many transactions of a client may be sent again.
const rememberedTransactions = 20

// transactionStep sends a transaction: a new one, sometimes twice at once, one of before, or
// another one under the id of one of before.
func (s *Script) transactionStep(step Step) Step {
	var send Send
	switch n := s.r.IntN(100); {
	case n < 15 && len(s.transactions) > 0:
		send = s.transactions[s.r.IntN(len(s.transactions))]
	case n < 30 && len(s.transactions) > 0:
		before := s.transactions[s.r.IntN(len(s.transactions))]
		t := before.Transaction
		t.Description = fmt.Sprint("other content, ", s.steps)
		send = transactionSend(t, before.Wallets)
	default:
		send = s.transaction(step.Wallet)
		s.transactions = append(s.transactions, send)
		s.transactions = s.transactions[max(0, len(s.transactions)-rememberedTransactions):]
	}
	step.Wallet, step.Sends = send.Wallets[0], []Send{s.anyWay(send)}
	if s.r.IntN(5) == 0 {
		step.Sends = append(step.Sends, s.anyWay(send))
	}
	return step
}

func (s *Script) anyWay(transaction Send) Send {
	transaction.Way = pick(s.r, []weighted[Way]{{1, Transaction}, {2, TransactionInLane}})
	return transaction
}

// transaction makes a new one that balances. Its legs come in pairs: what one wallet gives, or a
// hold in it, another gets, which may be the same one. Some legs move nothing.
func (s *Script) transaction(first int) Send {
	t := wallet.Transaction{ID: fmt.Sprintf("t%d-%d", s.client, s.steps), MustBalance: true}
	var wallets []int
	add := func(in int, c wallet.Command) {
		t.Commands, wallets = append(t.Commands, wallet.Leg{AssetRef: s.all[in].AssetRef, Command: c}), append(wallets, in)
	}
	from := first
	for range pick(s.r, []weighted[int]{{60, 1}, {25, 2}, {10, 4}, {5, 10}}) {
		to := s.wallet()
		for s.all[to].Currency != s.all[from].Currency {
			to = s.wallet()
		}
		take := wallet.Command{Type: wallet.TypeSubtract, Amount: s.amount()}
		if s.r.IntN(4) == 0 {
			take.Type, take.HoldID, take.Partial = wallet.TypeCapture, s.holdIn(from), s.r.IntN(2) == 0
		}
		add(from, take)
		give := wallet.Command{Type: wallet.TypeAdd, Amount: take.Amount}
		if s.r.IntN(4) == 0 {
			s.conditions(&give)
		}
		add(to, give)
		switch s.r.IntN(12) {
		case 0, 1, 2:
			place := wallet.Command{Type: wallet.TypeHold, Amount: s.amount()}
			s.expires(&place)
			add(to, place)
		case 3:
			add(to, wallet.Command{Type: wallet.TypeRelease, HoldID: s.holdIn(to)})
		case 4:
			add(to, wallet.Command{Type: wallet.TypeHold, HoldID: s.holdIn(to), Amount: s.amount()})
		case 5: // mostly refused: the wallet exists
			t.Commands, wallets = append([]wallet.Leg{{AssetRef: s.all[from].AssetRef, Command: wallet.Command{Type: wallet.TypeCreate}}}, t.Commands...), append([]int{from}, wallets...)
		}
		from = s.wallet()
	}
	return transactionSend(t, wallets)
}

func transactionSend(t wallet.Transaction, wallets []int) Send {
	send := Send{Way: Transaction, Transaction: t, Wallets: wallets}
	for _, leg := range t.Legs() {
		send.Commands = append(send.Commands, leg.Command)
	}
	return send
}

// wallet returns a hot wallet half of the time, and rarely a cold one.
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
	return pick(s.r, []weighted[Way]{{30, Update}, {30, Signal}, {10, ApplyCommand}, {25, BareUpdate}, {5, Batch}, {6, StrayStep}, {20, InLane}, {4, InRun}})
}

// wayOfOther excludes ApplyCommand: its workflow's id is the command's, so Temporal gives a
// second one the first one's answer, whatever its content.
func (s *Script) wayOfOther() Way {
	return pick(s.r, []weighted[Way]{{30, Update}, {25, Signal}, {25, BareUpdate}, {10, Batch}, {10, StrayStep}, {15, InLane}, {4, InRun}})
}

// id returns the id of the step's command number i.
func (s *Script) id(i int) string { return fmt.Sprintf("c%d-%d-%d", s.client, s.steps, i) }

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
			{4, wallet.TypeCreate}, {42, wallet.TypeAdd}, {32, wallet.TypeSubtract}, {14, wallet.TypeHold}, {6, wallet.TypeCapture},
			{3, wallet.TypeSetCreditLimit},
		}),
	}
	switch c.Type {
	case wallet.TypeCreate:
	case wallet.TypeSetCreditLimit: // small, so that it is used up; sometimes none
		if s.r.IntN(3) > 0 {
			c.Amount = s.amount()
		}
	case wallet.TypeHold:
		c.Amount = s.amount()
		s.expires(&c)
		s.holds = append(s.holds, sentBefore{of, c})
		s.holds = s.holds[max(0, len(s.holds)-rememberedHolds):]
	case wallet.TypeCapture: // or another command on a hold
		return s.ofHold(s.holdIn(of), i)
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
	return c
}

// amount has 0 to 4 decimals, of which JPY takes none, USD two and BHD three.
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
	return wallet.Command{ID: c.ID, Type: wallet.TypeAdd, Amount: wallet.MustAmount(fmt.Sprint(100 + s.r.IntN(100))), Description: c.Description}
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

// garbagePayload is a signal whose id can be read and nothing else.
func garbagePayload(id string) json.RawMessage {
	return json.RawMessage(fmt.Sprintf(`{"id":%q,"type":"nonsense","amount":"much"}`, id))
}

// garbage stands for a malformed signal under the id that its record has. Description is the
// id that is sent.
func garbage(id string) wallet.Command {
	return wallet.Command{ID: wallet.MalformedID(garbagePayload(id), converter.MetadataEncodingJSON), Type: wallet.TypeAdd, Description: id}
}
