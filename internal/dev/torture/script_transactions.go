package torture

import (
	"fmt"

	"github.com/valueledger/wallet"
)

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

// transferStep is transactionStep between wallets of which all are as busy, and with money in them.
func (s *Script) transferStep(step Step) Step {
	step.Wallet = s.r.IntN(s.wallets)
	if s.steps%20 == 1 {
		c := wallet.Command{ID: s.id(0), Type: wallet.TypeAdd, Amount: wallet.MustAmount("1000")}
		step.Sends = []Send{{Way: Update, Commands: []wallet.Command{c}}}
		return step
	}
	return s.transactionStep(step)
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
		if s.transfers && len(t.Commands) > 17 {
			break // 20 legs at most
		}
		to := s.wallet()
		for s.all[to].Currency != s.all[from].Currency {
			to = s.wallet()
		}
		take := wallet.Command{Type: wallet.TypeSubtract, Amount: s.amount()}
		if s.r.IntN(4) == 0 && s.mayFail(s.hasHoldIn(from)) {
			take.Type, take.HoldID, take.Partial = wallet.TypeCapture, s.holdIn(from), s.r.IntN(2) == 0
		}
		add(from, take)
		give := wallet.Command{Type: wallet.TypeAdd, Amount: take.Amount}
		if s.r.IntN(4) == 0 {
			s.conditions(&give)
		}
		if !s.transfers && s.r.IntN(4) == 0 { // transfers would run out of money
			s.granted(&give)
		}
		add(to, give)
		switch n := s.r.IntN(12); {
		case n < 3:
			place := wallet.Command{Type: wallet.TypeHold, Amount: s.amount()}
			s.expires(&place)
			add(to, place)
		case n < 5 && s.mayFail(s.hasHoldIn(to)):
			add(to, wallet.Command{Type: wallet.TypeRelease, HoldID: s.holdIn(to)})
		case n == 5 && s.mayFail(s.hasHoldIn(to)):
			add(to, wallet.Command{Type: wallet.TypeHold, HoldID: s.holdIn(to), Amount: s.amount()})
		case n == 6 && s.mayFail(false): // mostly refused: the wallet exists
			t.Commands, wallets = append([]wallet.Leg{{AssetRef: s.all[from].AssetRef, Command: wallet.Command{Type: wallet.TypeCreate}}}, t.Commands...), append([]int{from}, wallets...)
		}
		from = s.wallet()
	}
	send := transactionSend(t, wallets)
	for i, c := range send.Commands {
		if c.Type == wallet.TypeHold && c.HoldID == "" {
			s.rememberHold(wallets[i], c)
		}
	}
	return send
}

func transactionSend(t wallet.Transaction, wallets []int) Send {
	send := Send{Way: Transaction, Transaction: t, Wallets: wallets}
	for _, leg := range t.Legs() {
		send.Commands = append(send.Commands, leg.Command)
	}
	return send
}
