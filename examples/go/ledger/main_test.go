package main

import (
	"bytes"
	"context"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/url"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/valueledger/wallet"
	"github.com/valueledger/wallet/starter"
	"github.com/valueledger/wallet/trail"
	"github.com/valueledger/wallet/wallettest"
)

// envBooker makes the test binary a ledger that books, to be killed.
const envBooker = "LEDGER_TEST_BOOKER"

func TestMain(m *testing.M) {
	if os.Getenv(envBooker) != "" {
		go func() { // a test that is killed itself leaves none behind
			_, _ = io.Copy(io.Discard, os.Stdin)
			os.Exit(1)
		}()
		panic(run(context.Background(), os.Stdout, nil))
	}
	wallettest.Main(m)
}

// books is a ledger beside a worker, on a database of its own.
type books struct {
	t       *testing.T
	owner   *pgxpool.Pool
	wallets *wallettest.Wallets
	read    trail.Reader
	prefix  string // of users and transactions: all tests share one Temporal
}

func newBooks(t *testing.T) *books {
	w := wallettest.Start(t)
	t.Setenv("WALLET_OWNER_DATABASE_URL", w.OwnerURL)
	t.Setenv("LEDGER_DATABASE_URL", "")
	owner, err := pgxpool.New(t.Context(), w.OwnerURL)
	require.NoError(t, err)
	t.Cleanup(owner.Close)
	return &books{t, owner, w, trail.New(owner), wallettest.Name(t, "p") + "-"}
}

// starts books until the end of the test.
func (b *books) starts() {
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- run(ctx, io.Discard, nil) }()
	b.t.Cleanup(func() {
		stop()
		require.NoError(b.t, <-ended)
	})
}

// runs returns what a command prints.
func (b *books) runs(arguments ...string) (string, error) {
	var out bytes.Buffer
	err := run(b.t.Context(), &out, arguments)
	return out.String(), err
}

func (b *books) apply(user, currency string, command wallet.Command) wallet.Result {
	result, err := b.wallets.Apply(b.t.Context(), b.prefix+user, currency, command)
	require.NoError(b.t, err)
	return result
}

func (b *books) add(user, amount, id string) {
	b.apply(user, "USD", wallet.Command{ID: id, Type: wallet.TypeAdd, Amount: wallet.MustAmount(amount)})
}

func (b *books) exec(sql string, arguments ...any) {
	_, err := b.owner.Exec(b.t.Context(), sql, arguments...)
	require.NoError(b.t, err, sql)
}

// caughtUp waits until there are n lines, and returns them.
func (b *books) caughtUp(n int) (lines []Line) {
	b.t.Helper()
	require.Eventually(b.t, func() bool {
		rows, _ := b.owner.Query(b.t.Context(), sqlLines+`ORDER BY line`)
		var err error
		lines, err = pgx.CollectRows(rows, pgx.RowToStructByName[Line])
		return err == nil && len(lines) >= n
	}, time.Minute, 20*time.Millisecond)
	require.Len(b.t, lines, n)
	return lines
}

// accounts is a line as a bookkeeper reads it.
func (l Line) accounts() string {
	var text []string
	for _, p := range []struct {
		account string
		amount  wallet.Amount
	}{{"available", l.Available}, {"held", l.Held}, {"outside", l.Outside}, {"transactions", l.Transactions}, {"expired", l.Expired}} {
		if !p.amount.IsZero() {
			text = append(text, p.account+" "+p.amount.String())
		}
	}
	return l.UserID[strings.LastIndexByte(l.UserID, '-')+1:] + " " + l.Currency + ": " + strings.Join(text, ", ")
}

func accountsOf(lines []Line) (all []string) {
	for _, l := range lines {
		all = append(all, l.accounts())
	}
	return all
}

func TestEachMovementIsADoubleEntry(t *testing.T) {
	b := newBooks(t)
	b.wallets.SetClock(-time.Hour)
	amount := wallet.MustAmount
	b.apply("u1", "USD", wallet.Command{ID: "1", Type: wallet.TypeAdd, Amount: amount("100"), Description: "=1+1"})
	b.apply("u1", "USD", wallet.Command{ID: "2", Type: wallet.TypeSubtract, Amount: amount("10.5"), Description: "'quoted'"})
	b.apply("u1", "USD", wallet.Command{ID: "3", Type: wallet.TypeReverse, OriginalID: "2", Amount: amount("0.5")})
	b.apply("u1", "USD", wallet.Command{ID: "4", Type: wallet.TypeHold, Amount: amount("30")})
	b.apply("u1", "USD", wallet.Command{ID: "5", Type: wallet.TypeCapture, HoldID: "4", Amount: amount("10"), Partial: true})
	b.apply("u1", "USD", wallet.Command{ID: "6", Type: wallet.TypeCapture, HoldID: "4", Amount: amount("15")}) // 5 are released
	b.apply("u1", "USD", wallet.Command{ID: "7", Type: wallet.TypeFreeze, What: "debits"})                     // moves nothing
	b.apply("u1", "USD", wallet.Command{ID: "8", Type: wallet.TypeUnfreeze})
	_, err := b.wallets.Apply(t.Context(), b.prefix+"u1", "USD", wallet.Command{ID: "9", Type: wallet.TypeSubtract, Amount: amount("1000")})
	require.Error(t, err) // refused
	b.apply("u1", "USD", wallet.Command{ID: "10", Type: wallet.TypeHold, Amount: amount("20"), ExpiresIn: "30m"})
	b.wallets.SetClock(0)
	b.apply("u1", "USD", wallet.Command{ID: "11", Type: wallet.TypeAdd, Amount: amount("1")}) // the hold expires before
	_, err = b.wallets.Transfer(t.Context(), starter.Transfer{ID: b.prefix + "t1", FromUserID: b.prefix + "u1", ToUserID: b.prefix + "shop", Currency: "USD", Amount: amount("7")})
	require.NoError(t, err)
	leg := func(user, currency string, kind wallet.CommandType, of string) wallet.Leg {
		return wallet.Leg{AssetRef: wallet.AssetRef{UserID: b.prefix + user, Currency: currency}, Command: wallet.Command{Type: kind, Amount: amount(of)}}
	}
	_, err = b.wallets.Transaction(t.Context(), wallet.Transaction{ID: b.prefix + "exchange", Commands: []wallet.Leg{
		leg("u1", "USD", wallet.TypeSubtract, "10"), leg("u1", "EUR", wallet.TypeAdd, "9"),
	}})
	require.NoError(t, err)
	b.starts()
	lines := b.caughtUp(13)
	byUser := map[string][]Line{}
	for i, l := range lines {
		require.Equal(t, int64(i+1), l.Line)
		byUser[l.UserID+l.Currency] = append(byUser[l.UserID+l.Currency], l)
	}
	require.Equal(t, []string{
		"u1 USD: available 100.00, outside -100.00",
		"u1 USD: available -10.50, outside 10.50",
		"u1 USD: available 0.50, outside -0.50",
		"u1 USD: available -30.00, held 30.00",
		"u1 USD: held -10.00, outside 10.00",
		"u1 USD: available 5.00, held -20.00, outside 15.00",
		"u1 USD: available -20.00, held 20.00",
		"u1 USD: available 20.00, held -20.00",
		"u1 USD: available 1.00, outside -1.00",
		"u1 USD: available -7.00, transactions 7.00",
		"u1 USD: available -10.00, transactions 10.00",
	}, accountsOf(byUser[b.prefix+"u1USD"]))
	require.Equal(t, []string{"shop USD: available 7.00, transactions -7.00"}, accountsOf(byUser[b.prefix+"shopUSD"]))
	require.Equal(t, []string{"u1 EUR: available 9.00, transactions -9.00"}, accountsOf(byUser[b.prefix+"u1EUR"]))

	detail := func(l Line) (d struct {
		Parties []map[string]string
		Related []int64
		Receipt trail.Receipt
	}) {
		out, err := b.runs("line", fmt.Sprint(l.Line))
		require.NoError(t, err)
		require.NoError(t, json.Unmarshal([]byte(out), &d))
		return d
	}
	u1 := byUser[b.prefix+"u1USD"]
	require.Equal(t, []int64{u1[4].Line, u1[5].Line}, detail(u1[3]).Related, "the captures of a hold")
	require.Equal(t, []int64{u1[2].Line}, detail(u1[1]).Related, "the reversal")
	require.Equal(t, b.prefix+"shop", detail(u1[9]).Parties[0]["user_id"])
	require.Equal(t, b.prefix+"u1", detail(byUser[b.prefix+"shopUSD"][0]).Parties[0]["user_id"])
	require.Equal(t, "EUR", detail(u1[10]).Parties[0]["currency"])
	receipt, err := b.read.Receipt(t.Context(), b.prefix+"u1", "USD", "2")
	require.NoError(t, err)
	require.Equal(t, receipt, detail(u1[1]).Receipt)

	totals, err := b.runs("totals")
	require.NoError(t, err, totals)
	require.Regexp(t, `USD +56.00 +0.00 +56.00 +0 +56.00`, totals)
	for _, l := range lines {
		out, err := b.runs("prove", fmt.Sprint(l.Line))
		require.NoError(t, err, out)
	}
	b.requireExport(lines)
}

func (b *books) requireExport(lines []Line) {
	t := b.t
	csvOf := func(month string) [][]string {
		out, err := b.runs("export", month)
		require.NoError(t, err)
		rows, err := csv.NewReader(strings.NewReader(out)).ReadAll()
		require.NoError(t, err)
		return rows
	}
	all := csvOf("")
	require.Len(t, all, len(lines)+1)
	require.Contains(t, all[1], "'=1+1")
	require.Contains(t, all[2], "''quoted'")
	moved := lines[0]
	b.exec(`UPDATE value_ledger.lines SET month = '2000-01' WHERE line = $1`, moved.Line) // so that not all are of one month
	require.Equal(t, []string{fmt.Sprint(moved.Line), "2000-01"}, csvOf("2000-01")[1][:2])
	require.Len(t, csvOf("2000-01"), 2)
	require.Len(t, csvOf("1999-12"), 1)
	_, err := b.runs("export", "2026-11' OR true --")
	require.Error(t, err)
}

// TestExpiredCreditsAndDebts has credits expire, some of them once a hold gives them back, and a total
// below 0.
func TestExpiredCreditsAndDebts(t *testing.T) {
	b := newBooks(t)
	b.wallets.SetClock(-time.Hour)
	amount := wallet.MustAmount
	b.apply("u1", "USD", wallet.Command{ID: "1", Type: wallet.TypeAdd, Amount: amount("10"), ExpiresIn: "30m"})
	b.apply("u1", "USD", wallet.Command{ID: "2", Type: wallet.TypeHold, Amount: amount("4")})
	b.apply("u1", "USD", wallet.Command{ID: "3", Type: wallet.TypeSubtract, Amount: amount("1")})
	b.wallets.SetClock(0)
	b.apply("u1", "USD", wallet.Command{ID: "4", Type: wallet.TypeSetCreditLimit, Amount: amount("100")}) // the grant has expired
	b.apply("u1", "USD", wallet.Command{ID: "5", Type: wallet.TypeRelease, HoldID: "2"})
	b.apply("u1", "USD", wallet.Command{ID: "6", Type: wallet.TypeSubtract, Amount: amount("70")})
	b.starts()
	lines := b.caughtUp(7)
	require.Equal(t, []string{
		"u1 USD: available 10.00, outside -10.00",
		"u1 USD: available -4.00, held 4.00",
		"u1 USD: available -1.00, outside 1.00",
		"u1 USD: available -5.00, expired 5.00",
		"u1 USD: available 4.00, held -4.00",
		"u1 USD: available -4.00, expired 4.00",
		"u1 USD: available -70.00, outside 70.00",
	}, accountsOf(lines))
	require.Equal(t, "-70.00", lines[6].RunningTotal.String())
	out, err := b.runs("totals")
	require.NoError(t, err, out)
	require.Regexp(t, `USD +-70.00 +0.00 +-70.00 +0 +-70.00`, out)
	require.Regexp(t, `USD +expired .* 9.00\s`, out)
	all, err := b.read.Totals(t.Context(), "USD", time.Time{}, time.Time{})
	require.NoError(t, err)
	require.Equal(t, []string{"-70.00", "9.00"}, []string{all[0].Closing.String(), all[0].Expired.Sum.String()})
	for _, l := range lines {
		out, err := b.runs("prove", fmt.Sprint(l.Line))
		require.NoError(t, err, out)
		_, err = b.runs("line", fmt.Sprint(l.Line))
		require.NoError(t, err)
	}
}

// TestAmountsAreThoseOfTheWallet adds the largest that it takes, with the most decimals.
func TestAmountsAreThoseOfTheWallet(t *testing.T) {
	b := newBooks(t)
	b.exec(`INSERT INTO currencies (code, scale) VALUES ('TINY', 24), ('WHOLE', 0)`)
	largest := map[string]string{"TINY": "99999999999999.999999999999999999999999", "WHOLE": "99999999999999999999999999999999999999"}
	for _, currency := range []string{"TINY", "WHOLE"} {
		for id := range 3 {
			b.apply("u1", currency, wallet.Command{ID: fmt.Sprint(id), Type: wallet.TypeAdd, Amount: wallet.MustAmount(largest[currency])})
		}
	}
	b.starts()
	for _, l := range b.caughtUp(6) {
		require.Equal(t, largest[l.Currency], l.Available.String())
	}
	out, err := b.runs("totals")
	require.NoError(t, err, out)
	require.Contains(t, out, " 299999999999999.999999999999999999999997 ")
	require.Contains(t, out, " 299999999999999999999999999999999999997 ")
}

// TestTotalsAreTheWalletsAtEveryMoment asks while wallets change and ledgers are killed.
func TestTotalsAreTheWalletsAtEveryMoment(t *testing.T) {
	b := newBooks(t)
	done := make(chan struct{})
	var busy sync.WaitGroup
	for i := range 4 {
		busy.Go(func() {
			for n := 0; ; n++ {
				select {
				case <-done:
					return
				default:
				}
				b.move(fmt.Sprintf("%d-%d", i, n))
			}
		})
	}
	asked := 0
	for range 12 {
		for range 2 { // two beside each other
			busy.Go(func() { b.bookAndKill(rand.N(1500 * time.Millisecond)) })
		}
		for until := time.Now().Add(time.Second); time.Now().Before(until); asked++ {
			out, err := b.runs("totals")
			require.NoError(t, err, out)
		}
	}
	close(done)
	busy.Wait()
	killed, moved := 0, 0
	require.NoError(t, b.owner.QueryRow(t.Context(), `SELECT count(*) FROM value_ledger.lines`).Scan(&killed))
	require.Positive(t, killed, "nothing was booked before the last was killed")
	b.starts()
	require.Eventually(t, func() bool {
		var expiring bool
		require.NoError(t, b.owner.QueryRow(t.Context(), `SELECT EXISTS (SELECT FROM wallet_holds WHERE state = 'open' AND expires_at IS NOT NULL)
			OR EXISTS (SELECT FROM wallet_grants WHERE state IN ('open', 'held') AND expires_at IS NOT NULL)`).Scan(&expiring))
		if expiring {
			return false
		}
		all, err := b.read.Totals(t.Context(), "", time.Time{}, time.Time{})
		require.NoError(t, err)
		for _, total := range all {
			var running wallet.Amount
			require.NoError(t, b.owner.QueryRow(t.Context(), `SELECT running_total::text FROM value_ledger.lines WHERE currency = $1 ORDER BY line DESC LIMIT 1`, total.Currency).Scan(&running))
			if running.Cmp(total.Closing) != 0 {
				return false
			}
		}
		var last int
		require.NoError(t, b.owner.QueryRow(t.Context(), `SELECT (SELECT count(*) FROM wallet_asset_events WHERE (total_before, hold_before) <> (total_after, hold_after)),
			(SELECT max(line) FROM value_ledger.lines)`).Scan(&moved, &last))
		return moved == last
	}, time.Minute, 100*time.Millisecond)
	out, err := b.runs("totals")
	require.NoError(t, err, out)
	b.caughtUp(moved)
	t.Logf("asked %d times, %d lines, %d of them by ledgers that were killed", asked, moved, killed)
}

// move does something at random. It may be refused, and on a slow machine get no answer.
func (b *books) move(id string) {
	users, currencies := []string{"u1", "u2", "u3"}, []string{"USD", "EUR"}
	user, currency := b.prefix+users[rand.IntN(3)], currencies[rand.IntN(2)]
	amount := wallet.MustAmount(fmt.Sprintf("%d.%02d", 1+rand.IntN(20), rand.IntN(100)))
	ctx, stop := context.WithTimeout(context.Background(), 20*time.Second)
	defer stop()
	switch rand.IntN(6) {
	case 0:
		_, _ = b.wallets.Apply(ctx, user, currency, wallet.Command{ID: id, Type: wallet.TypeSubtract, Amount: amount})
	case 1:
		_, _ = b.wallets.Apply(ctx, user, currency, wallet.Command{ID: id, Type: wallet.TypeHold, Amount: amount, ExpiresIn: "1s"})
	case 2:
		_, _ = b.wallets.Transfer(ctx, starter.Transfer{ID: b.prefix + id, FromUserID: user, ToUserID: b.prefix + "shop", Currency: currency, Amount: amount})
	case 3:
		_, _ = b.wallets.Apply(ctx, user, currency, wallet.Command{ID: id, Type: wallet.TypeAdd, Amount: amount, ExpiresIn: "1s"})
	default:
		_, _ = b.wallets.Apply(ctx, user, currency, wallet.Command{ID: id, Type: wallet.TypeAdd, Amount: amount})
	}
}

// bookAndKill starts a process that books, and kills it after it has run for so long.
func (b *books) bookAndKill(after time.Duration) {
	booker := exec.Command(os.Args[0])
	booker.Env, booker.Stderr = append(os.Environ(), envBooker+"=1"), os.Stderr
	out, err := booker.StdoutPipe()
	require.NoError(b.t, err)
	_, err = booker.StdinPipe()
	require.NoError(b.t, err)
	require.NoError(b.t, booker.Start())
	_, err = out.Read(make([]byte, 1)) // it books now
	require.NoError(b.t, err)
	time.Sleep(after)
	require.NoError(b.t, booker.Process.Kill())
	_ = booker.Wait() // "signal: killed"
}

const wrongSeal = "not those that it was closed with"

func TestAMonthIsClosedForGood(t *testing.T) {
	b := newBooks(t)
	now := time.Now().UTC()
	this := time.Date(now.Year(), now.Month(), 1, 0, 0, 0, 0, time.UTC)
	second, first := this.AddDate(0, -1, 0), this.AddDate(0, -2, 0)
	b.wallets.SetClock(first.Add(time.Hour).Sub(now))
	b.add("u1", "100", "1")
	b.apply("u1", "USD", wallet.Command{ID: "2", Type: wallet.TypeHold, Amount: wallet.MustAmount("30")})
	b.wallets.SetClock(time.Until(second.Add(-time.Hour)))
	late := b.apply("late", "USD", wallet.Command{ID: "1", Type: wallet.TypeAdd, Amount: wallet.MustAmount("5")})
	// As if its row of the feed had been lost, until "wallet repair" restores it.
	b.exec(`ALTER TABLE wallet_feed DISABLE TRIGGER USER`)
	b.exec(`DELETE FROM wallet_feed WHERE user_id = $1`, b.prefix+"late")
	b.wallets.SetClock(time.Until(second.Add(2 * time.Hour)))
	b.apply("u1", "USD", wallet.Command{ID: "2/release", Type: wallet.TypeRelease, HoldID: "2"})
	b.apply("u1", "USD", wallet.Command{ID: "3", Type: wallet.TypeSubtract, Amount: wallet.MustAmount("60")})
	b.wallets.SetClock(0)
	b.add("u1", "1", "4")
	_, err := b.runs("close", month(first))
	require.ErrorContains(t, err, "it was never started")
	b.starts()
	b.caughtUp(5)

	_, err = b.runs("close", month(this))
	require.ErrorContains(t, err, "is not over yet")
	_, err = b.runs("close", month(second))
	require.ErrorContains(t, err, `the month to close is "`+month(first)+`"`)
	_, err = b.runs("close", month(first))
	require.ErrorContains(t, err, "1 entries from before the end of "+month(first)+" are not booked yet")
	// Its event is not there for the wallets' totals either, until somebody repairs it; the close goes on
	// with what was restored.
	require.Equal(t, wallet.StatusApplied, late.Status)
	b.exec(`SELECT wallet_repair_events($1, 'USD')`, b.prefix+"late")
	lines := b.caughtUp(6)
	require.Equal(t, month(first), lines[5].Month)
	b.exec(`UPDATE value_ledger.lines SET month = $1 WHERE line = 1`, month(second))
	_, err = b.runs("close", month(first))
	require.ErrorContains(t, err, "month of lines [1]")
	b.exec(`UPDATE value_ledger.lines SET month = $1 WHERE line = 1`, month(first))
	out, err := b.runs("close", month(first))
	require.NoError(t, err, out)
	require.Regexp(t, `USD +available +0 +30.00 +105.00 +75.00\s`, out)
	require.Regexp(t, `USD +held +0 +0 +30.00 +30.00\s`, out)
	require.Regexp(t, `USD +outside +0 +105.00 +0 +-105.00\s`, out)
	b.requireTotals(out, time.Time{}, second)

	out, err = b.runs("close", month(second))
	require.NoError(t, err, out)
	require.Regexp(t, `USD +available +75.00 +60.00 +30.00 +45.00\s`, out)
	require.Regexp(t, `USD +held +30.00 +30.00 +0 +0.00\s`, out)
	b.requireTotals(out, second, this)
	again, err := b.runs("close", month(second))
	require.NoError(t, err)
	require.Equal(t, out, again)

	// What comes later is booked in the month that is open.
	b.wallets.SetClock(time.Until(second.Add(3 * time.Hour)))
	b.add("later", "2", "1")
	b.wallets.SetClock(0)
	lines = b.caughtUp(7)
	require.Equal(t, []string{month(this), month(second)}, []string{lines[6].Month, month(lines[6].OccurredAt)})
	out, err = b.runs("prove", "7")
	require.NoError(t, err, out)
	require.Contains(t, out, "its month, "+month(this)+", is not closed")
	b.exec(`UPDATE value_ledger.lines SET month = '2999-12' WHERE line = 7`)
	_, err = b.runs("prove", "7")
	require.ErrorContains(t, err, "month is 2999-12, and should be "+month(this))
	b.exec(`UPDATE value_ledger.lines SET month = $1 WHERE line = 7`, month(this))

	b.exec(`CREATE TABLE closes AS SELECT * FROM value_ledger.closes`)
	for _, forge := range []string{
		`DELETE FROM value_ledger.closes WHERE month = $1`,
		`UPDATE value_ledger.closes SET seal = '' WHERE month = $1`,
		`UPDATE value_ledger.closes SET last_line = 5 WHERE month = $1`,
	} {
		b.exec(forge, month(first))
		_, err = b.runs("close", month(first))
		require.Error(t, err, forge)
		_, err = b.runs("prove", "6")
		require.ErrorContains(t, err, wrongSeal, forge)
		b.exec(`DELETE FROM value_ledger.closes`)
		b.exec(`INSERT INTO value_ledger.closes SELECT * FROM closes`)
	}
	out, err = b.runs("prove", "6")
	require.NoError(t, err, out)

	b.exec(`UPDATE value_ledger.lines SET event = event || '{"description": "forged"}' WHERE line = 1`)
	_, err = b.runs("close", month(first))
	require.ErrorContains(t, err, wrongSeal)
	out, err = b.runs("prove", "6") // another line of the month
	require.ErrorContains(t, err, wrongSeal, out)
}

// requireTotals compares the closing in a trial balance with that of "wallet totals".
func (b *books) requireTotals(out string, from, to time.Time) {
	all, err := b.read.Totals(b.t.Context(), "USD", from, to)
	require.NoError(b.t, err)
	require.Regexp(b.t, `USD +`+all[0].Closing.String()+` `, out)
}

// TestAMemberClosesWhatAnotherBooks has two people with roles of their own, and a hold that expires
// in the month after the one that is closed.
func TestAMemberClosesWhatAnotherBooks(t *testing.T) {
	b := newBooks(t)
	now := time.Now().UTC()
	first := time.Date(now.Year(), now.Month()-2, 1, 0, 0, 0, 0, time.UTC)
	b.wallets.SetClock(time.Until(first.Add(time.Hour)))
	b.add("u1", "1", "1")
	b.apply("u1", "USD", wallet.Command{ID: "2", Type: wallet.TypeHold, Amount: wallet.MustAmount("1"), ExpiresIn: "960h"})
	b.wallets.SetClock(0)
	b.apply("u1", "USD", wallet.Command{ID: "3", Type: wallet.TypeFreeze, What: "debits"}) // the hold expires before
	_, err := b.runs("totals")                                                             // makes the schema
	require.NoError(t, err)
	parsed, err := url.Parse(os.Getenv("WALLET_OWNER_DATABASE_URL"))
	require.NoError(t, err)
	var roles, urls []string
	for _, who := range []string{"service", "accountant"} {
		role := fmt.Sprint(who, time.Now().UnixNano())
		b.exec(`CREATE ROLE ` + role + ` LOGIN PASSWORD 'x' IN ROLE value_ledger`)
		t.Cleanup(func() { _, err := b.owner.Exec(context.Background(), `DROP ROLE `+role); require.NoError(t, err) })
		parsed.User = url.UserPassword(role, "x")
		roles, urls = append(roles, role), append(urls, parsed.String())
	}
	t.Setenv("LEDGER_DATABASE_URL", urls[0])
	b.starts()
	b.caughtUp(3)
	t.Setenv("LEDGER_DATABASE_URL", urls[1])
	b.exec(`UPDATE wallet_feed_consumers SET role = $1`, roles[0])
	_, err = b.runs("close", month(first))
	require.ErrorContains(t, err, "another role owns the place")
	b.exec(`UPDATE wallet_feed_consumers SET role = 'value_ledger'`)
	out, err := b.runs("close", month(first))
	require.NoError(t, err, out)
}

// TestWhatTheFeedSetsAsideIsNotLost takes a line away as if it had never been booked.
func TestWhatTheFeedSetsAsideIsNotLost(t *testing.T) {
	b := newBooks(t)
	b.add("u1", "1", "a")
	b.add("u1", "2", "b")
	b.starts()
	b.caughtUp(2)
	b.exec(`DELETE FROM value_ledger.lines WHERE version = 3`)
	_, err := b.runs("totals")
	require.ErrorContains(t, err, "differs from the wallets")
	for table, row := range map[string]string{
		"wallet_feed_skipped": `(consumer, user_id, currency, version, actor, reason) SELECT 'value-ledger', user_id, currency, 3, 'me', 'a test' FROM wallet_assets`,
		"wallet_feed_parked": `(consumer, user_id, currency, from_id, from_version, failures, parked, last_error, retry_at)
			SELECT 'value-ledger', user_id, currency, 1, 3, 1, true, 'a test', 'infinity' FROM wallet_assets`,
	} {
		b.exec(`INSERT INTO ` + table + row)
		out, err := b.runs("totals")
		require.NoError(t, err, table)
		require.Regexp(t, `USD +1.00 +0.00 +1.00 +2.00 +3.00`, out)
		b.exec(`DELETE FROM ` + table)
	}
	_, err = b.runs("totals")
	require.ErrorContains(t, err, "differs from the wallets")
}

// TestALineThatDoesNotAddUpIsWrong has somebody with all rights take the database's check away.
func TestALineThatDoesNotAddUpIsWrong(t *testing.T) {
	b := newBooks(t)
	b.add("u1", "1", "a")
	b.starts()
	b.caughtUp(1)
	b.exec(`ALTER TABLE value_ledger.lines DROP CONSTRAINT lines_check`)
	b.exec(`UPDATE value_ledger.lines SET outside = outside - 1`)
	_, err := b.runs("totals")
	require.ErrorContains(t, err, "lines [1]")
}

// TestALineOnAForgedRunningTotalIsWrong forges the one that the next line builds on.
func TestALineOnAForgedRunningTotalIsWrong(t *testing.T) {
	b := newBooks(t)
	b.add("u1", "1", "a")
	b.starts()
	b.caughtUp(1)
	b.exec(`UPDATE value_ledger.lines SET running_total = running_total + 1`)
	b.add("u1", "2", "b")
	b.caughtUp(2)
	_, err := b.runs("prove", "2")
	require.ErrorContains(t, err, "running_total is 4.00, and should be 3.00")
	_, err = b.runs("totals")
	require.ErrorContains(t, err, "lines [1 2]")
}

func TestAForgedRowIsFound(t *testing.T) {
	b := newBooks(t)
	b.starts()
	lines := 0
	for name, row := range map[string]struct {
		forge        string // of $1, a wallet with three lines; the second is proven
		wrong        string // with it; nothing if another line is
		totalsDiffer bool
	}{
		"an amount of the line":       {`UPDATE value_ledger.lines SET available = available + 1, outside = outside - 1 WHERE user_id = $1 AND version = 3`, "available is 3.00, and should be 2.00", true},
		"a description of the line":   {`UPDATE value_ledger.lines SET event = event || '{"description": "x"}' WHERE user_id = $1 AND version = 3`, "event is ", false},
		"the line's running total":    {`UPDATE value_ledger.lines SET running_total = running_total + 1 WHERE user_id = $1 AND version = 3`, "running_total is ", true},
		"the newest running total":    {`UPDATE value_ledger.lines SET running_total = running_total + 1 WHERE user_id = $1 AND version = 4`, "", true},
		"the line's month":            {`UPDATE value_ledger.lines SET month = '2999-12' WHERE user_id = $1 AND version = 3`, "month is 2999-12, and should be ", true},
		"the line's time":             {`UPDATE value_ledger.lines SET occurred_at = occurred_at - interval '1 us' WHERE user_id = $1 AND version = 3`, "occurred_at is ", false},
		"the newest line is gone":     {`DELETE FROM value_ledger.lines WHERE user_id = $1 AND version = 4`, "", true},
		"all its lines are gone":      {`DELETE FROM value_ledger.lines WHERE user_id = $1`, "no such line", true},
		"the line's receipt":          {`UPDATE value_ledger.lines SET event = event || jsonb_build_object('hash', repeat('00', 32)) WHERE user_id = $1 AND version = 3`, "differs from the receipt's", false},
		"whose line it is":            {`UPDATE value_ledger.lines SET user_id = $1 || '-other' WHERE user_id = $1 AND version = 3`, "no such command", true},
		"a line more":                 {`UPDATE value_ledger.lines SET event = event || '{"command_id": "none"}' WHERE user_id = $1 AND version = 3`, "no such command", false},
		"an amount of the journal":    {`UPDATE wallet_commands SET total_after = total_after + 1, amount = amount + 1 WHERE user_id = $1 AND version = 3`, "a column of the entry was changed", true},
		"another entry of the wallet": {`UPDATE wallet_commands SET description = 'x' WHERE user_id = $1 AND version = 2`, "wallet_commands, position 2", false},
		"the event":                   {`UPDATE wallet_asset_events SET actor = 'x' WHERE user_id = $1 AND version = 3`, "wallet_asset_events, position 3", false},
		"the balance":                 {`UPDATE wallet_assets SET total_amount = total_amount + 1 WHERE user_id = $1`, "wallet_assets, position ", true},
		"the entry is gone":           {`DELETE FROM wallet_commands WHERE user_id = $1 AND version >= 3`, "no such command", true},
		"the chain was made anew":     {"", "it, or one before it, was changed", false},
		"and this line as well":       {"line", "it, or one before it, was changed", false},
	} {
		t.Run(name, func(t *testing.T) {
			name := fmt.Sprint("u", lines)
			user := b.prefix + name
			b.add(name, "1", "a")
			b.add(name, "2", "b")
			b.add(name, "3", "c")
			lines += 3
			all := b.caughtUp(lines)
			number := fmt.Sprint(all[lines-2].Line)
			out, err := b.runs("prove", number)
			require.NoError(t, err, out)
			out, err = b.runs("totals")
			require.NoError(t, err, out)
			restore := b.backUp(user)
			defer restore()
			switch row.forge {
			case "", "line":
				b.makeChainAnew(user, row.forge != "")
				require.Empty(t, b.verify(user), "the chain by itself is whole")
			default:
				b.exec(row.forge, user)
			}
			out, err = b.runs("prove", number)
			if row.wrong == "" {
				require.NoError(t, err, out)
			} else {
				require.ErrorContains(t, err, row.wrong, out)
			}
			_, err = b.runs("totals")
			require.Equal(t, row.totalsDiffer, err != nil, "%v", err)
		})
	}
}

func (b *books) verify(user string) []trail.Finding {
	report, err := b.read.Verify(b.t.Context(), trail.VerifyOptions{UserID: user})
	require.NoError(b.t, err)
	return report.Findings
}

// backUp lets somebody with all rights forge a wallet's rows, and returns what undoes it.
func (b *books) backUp(user string) (restore func()) {
	tables := []string{"wallet_assets", "wallet_commands", "wallet_asset_events", "value_ledger.lines"}
	for _, table := range tables {
		b.exec(`ALTER TABLE ` + table + ` DISABLE TRIGGER USER`)
		b.exec(`CREATE TABLE IF NOT EXISTS backup_` + strings.ReplaceAll(table, ".", "_") + ` AS SELECT * FROM ` + table + ` LIMIT 0`)
		b.exec(`INSERT INTO backup_`+strings.ReplaceAll(table, ".", "_")+` SELECT * FROM `+table+` WHERE user_id = $1`, user)
	}
	return func() {
		for _, table := range tables {
			b.exec(`DELETE FROM `+table+` WHERE user_id LIKE $1 || '%'`, user)
			b.exec(`INSERT INTO `+table+` SELECT * FROM backup_`+strings.ReplaceAll(table, ".", "_")+` WHERE user_id = $1`, user)
		}
	}
}

// makeChainAnew forges the description of the third entry, and all hashes from there on, in the wallet
// and, if wanted, in its line.
func (b *books) makeChainAnew(user string, line bool) {
	entries, err := b.read.Commands(b.t.Context(), trail.CommandFilter{UserID: user, Currency: "USD"})
	require.NoError(b.t, err)
	entries[2].Description = "forged"
	for i := 2; i < len(entries); i++ {
		e := &entries[i]
		e.RequestHash, e.PrevHash = e.Command().RequestHash(), entries[i-1].Hash
		e.Hash = e.ComputeHash()
		b.exec(`UPDATE wallet_commands SET description = nullif($3, ''), prev_hash = $4, hash = $5, request_hash = $6 WHERE user_id = $1 AND position = $2`, user, e.Position, e.Description, e.PrevHash[:], e.Hash[:], e.RequestHash[:])
		b.exec(`UPDATE wallet_asset_events SET description = nullif($3, ''), hash = $4 WHERE user_id = $1 AND position = $2`, user, e.Position, e.Description, e.Hash[:])
		b.exec(`UPDATE wallet_assets SET hash = $2 WHERE user_id = $1`, user, e.Hash[:])
	}
	if line {
		b.exec(`UPDATE value_ledger.lines SET event = event || jsonb_build_object('description', 'forged', 'hash', $2::text) WHERE user_id = $1 AND version = 3`, user, entries[2].Hash.String())
	}
}
