package trail

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/valueledger/wallet"
)

const (
	// One pass over the journal. An index on recorded_at would cost every command.
	sqlMovements = `SELECT currency, type, transaction_id IS NOT NULL,
			coalesce($1::timestamptz > recorded_at, false), total_after > total_before, count(*), sum(abs(total_after - total_before))::text
		FROM wallet_commands
		WHERE version IS NOT NULL AND total_after <> total_before
			AND ($2::timestamptz IS NULL OR recorded_at < $2) AND ($3 = '' OR currency = $3)
		GROUP BY 1, 2, 3, 4, 5`

	// Of all currencies only those in which there are wallets.
	sqlSumOfBalances = `SELECT code, scale, coalesce(sum(total_amount), 0)::text
		FROM currencies
		LEFT JOIN wallet_assets ON currency = code
		WHERE $1 = '' AND currency IS NOT NULL OR code = $1
		GROUP BY code, scale
		ORDER BY code`
)

// Totals sum up a currency over all wallets in a period: Opening plus what came in minus what went out
// equals Closing.
type Totals struct {
	Currency string        `json:"currency"`
	From     time.Time     `json:"from,omitzero"` // inclusive; zero is the beginning
	To       time.Time     `json:"to,omitzero"`   // exclusive; zero is now
	Opening  wallet.Amount `json:"opening"`
	// Commands outside transactions, by type.
	Added      Turnover `json:"added"`
	Subtracted Turnover `json:"subtracted"`
	Captured   Turnover `json:"captured"`
	// Reversals by themselves: of what was taken, and of what was added.
	ReversedIn  Turnover `json:"reversed_in"`
	ReversedOut Turnover `json:"reversed_out"`
	Expired     Turnover `json:"expired"` // of grants
	// Legs of transactions of any type. If all transactions are transfers, both sums are equal.
	TransferredIn  Turnover      `json:"transferred_in"`
	TransferredOut Turnover      `json:"transferred_out"`
	Closing        wallet.Amount `json:"closing"`
}

// UnequalTotalsError says that the journal and the balances of a currency differ.
type UnequalTotalsError struct {
	Currency          string
	Journal, Balances wallet.Amount
}

func (e *UnequalTotalsError) Error() string {
	return fmt.Sprintf(`the journal adds up to %s %s, but the balances to %s: run "wallet verify" to find out where`, e.Journal, e.Currency, e.Balances)
}

// Totals reads what became of each currency that wallets have, or of one, in a period, from the journal and in one
// snapshot. It takes one pass over the whole journal, in constant memory. Without an end the
// closing totals are those of now, and compared with the balances: if they differ it returns an
// *UnequalTotalsError. A currency that is not registered is an *wallet.InvalidError.
func (r Reader) Totals(ctx context.Context, currency string, from, to time.Time) (all []Totals, err error) {
	if !from.IsZero() && !to.IsZero() && from.After(to) {
		return nil, &wallet.InvalidError{Reason: wallet.ReasonMalformed, Field: "to", Value: rfc3339(to),
			Message: fmt.Sprintf("totals from %s to %s: the end is before the start", rfc3339(from), rfc3339(to))}
	}
	err = pgx.BeginTxFunc(ctx, r.db, snapshotOptions, func(tx pgx.Tx) error {
		registered, err := tx.Query(ctx, sqlSumOfBalances, currency)
		if err != nil {
			return err
		}
		balances, err := pgx.CollectRows(registered, pgx.RowToStructByPos[sumOfBalances])
		if err != nil {
			return err
		}
		if len(balances) == 0 && currency != "" {
			return wallet.UnknownCurrency(currency)
		}
		moved, err := tx.Query(ctx, sqlMovements, orNull(from), orNull(to), currency)
		if err != nil {
			return err
		}
		movements, err := pgx.CollectRows(moved, pgx.RowToStructByPos[movement])
		if err != nil {
			return err
		}
		all, err = totalsOf(balances, movements, from, to)
		return err
	})
	return all, err
}

// sumOfBalances is the sum of all balances of a currency now.
type sumOfBalances struct {
	Currency string
	Scale    int32
	Sum      wallet.Amount
}

// movement sums up the applied commands of one type that changed totals in one direction.
type movement struct {
	Currency string
	Type     wallet.CommandType
	Legs     bool // legs of transactions, or commands outside them
	Before   bool // before the period
	In       bool // they raised the totals
	Count    int64
	Sum      wallet.Amount
}

func totalsOf(balances []sumOfBalances, movements []movement, from, to time.Time) ([]Totals, error) {
	all := make([]Totals, len(balances))
	at := map[string]*Totals{}
	for i, b := range balances {
		all[i] = Totals{Currency: b.Currency, From: from, To: to}
		at[b.Currency] = &all[i]
	}
	for _, m := range movements {
		t := at[m.Currency]
		if t == nil {
			return nil, fmt.Errorf(`the journal has %d commands in %s, but no wallet is left in it: run "wallet verify" to find out where`, m.Count, m.Currency)
		}
		if err := t.count(m); err != nil {
			return nil, err
		}
	}
	for i, b := range balances {
		t := &all[i]
		for _, amount := range t.amounts() {
			*amount, _ = amount.AtScale(b.Scale) // an empty sum has no decimals
		}
		if sum, _ := b.Sum.AtScale(b.Scale); to.IsZero() && t.Closing.Cmp(sum) != 0 {
			return nil, &UnequalTotalsError{Currency: b.Currency, Journal: t.Closing, Balances: sum}
		}
	}
	return all, nil
}

func (t *Totals) count(m movement) error {
	sum := m.Sum
	if !m.In {
		sum = wallet.Amount{}.Sub(sum)
	}
	t.Closing = t.Closing.Add(sum)
	if m.Before {
		t.Opening = t.Opening.Add(sum)
		return nil
	}
	of := t.turnover(m)
	if of == nil {
		return fmt.Errorf("the journal has %d commands of type %s in %s that this version cannot total: use the version of wallet that wrote them", m.Count, m.Type, m.Currency)
	}
	of.Count, of.Sum = of.Count+m.Count, of.Sum.Add(m.Sum)
	return nil
}

// turnover returns the field that a movement belongs to; nil if there is none.
func (t *Totals) turnover(m movement) *Turnover {
	switch {
	case m.Legs && m.In:
		return &t.TransferredIn
	case m.Legs:
		return &t.TransferredOut
	case m.Type == wallet.TypeAdd && m.In:
		return &t.Added
	case m.Type == wallet.TypeSubtract && !m.In:
		return &t.Subtracted
	case m.Type == wallet.TypeCapture && !m.In:
		return &t.Captured
	case m.Type == wallet.TypeExpireGrant && !m.In:
		return &t.Expired
	case m.Type == wallet.TypeReverse && m.In:
		return &t.ReversedIn
	case m.Type == wallet.TypeReverse:
		return &t.ReversedOut
	}
	return nil
}

func (t *Totals) amounts() []*wallet.Amount {
	return []*wallet.Amount{&t.Opening, &t.Added.Sum, &t.Subtracted.Sum, &t.Captured.Sum, &t.ReversedIn.Sum, &t.ReversedOut.Sum, &t.Expired.Sum, &t.TransferredIn.Sum, &t.TransferredOut.Sum, &t.Closing}
}

func orNull(t time.Time) any {
	if t.IsZero() {
		return nil
	}
	return t
}
