package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"sync"
	"sync/atomic"
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

var kills = flag.Int("kills", 200, "how often drainers are killed")

// envDrainer makes the test binary a drainer, to be killed.
const envDrainer = "OUTBOX_TEST_DRAINER"

func TestMain(m *testing.M) {
	if os.Getenv(envDrainer) != "" {
		db, wallets, err := connect(context.Background())
		if err != nil {
			panic(err)
		}
		fmt.Println("draining")
		go func() { // a test that is killed itself leaves no drainer behind
			_, _ = io.Copy(io.Discard, os.Stdin)
			os.Exit(1)
		}()
		go drain(context.Background(), db, wallets)
		drain(context.Background(), db, wallets)
	}
	wallettest.Main(m)
}

// shop is an outbox in its own database, and a worker for the wallets with another.
type shop struct {
	t       *testing.T
	db      *pgxpool.Pool
	wallets *starter.Client
	read    trail.Reader
	owner   *pgxpool.Pool // of the wallets' database
}

func newShop(t *testing.T) *shop {
	w := wallettest.Start(t)
	t.Setenv("SHOP_DATABASE_URL", wallettest.DatabaseURL(t))
	t.Setenv("TEMPORAL_ADDRESS", w.TemporalAddress)
	t.Setenv("WALLET_TASK_QUEUE", w.TaskQueue)
	db, wallets, err := connect(t.Context())
	require.NoError(t, err)
	t.Cleanup(db.Close)
	owner, err := pgxpool.New(t.Context(), w.OwnerURL)
	require.NoError(t, err)
	t.Cleanup(owner.Close)
	return &shop{t, db, wallets, trail.New(owner), owner}
}

// do runs a transaction of the shop.
func (s *shop) do(do func(pgx.Tx) error) error { return pgx.BeginFunc(context.Background(), s.db, do) }

func (s *shop) enqueue(user, currency string, command wallet.Command) {
	require.NoError(s.t, s.do(func(tx pgx.Tx) error { return enqueue(context.Background(), tx, user, currency, command) }))
}

func (s *shop) order(user, price string) order {
	return order{ID: fmt.Sprint(rand.Uint64()), User: user, Currency: "USD", Price: wallet.MustAmount(price)}
}

func (s *shop) drainAll() {
	var err error
	for err == nil {
		err = drainNext(s.t.Context(), s.db, s.wallets)
	}
	require.ErrorIs(s.t, err, pgx.ErrNoRows)
}

func (s *shop) count(where string, args ...any) (n int) {
	require.NoError(s.t, s.db.QueryRow(context.Background(), `SELECT count(*) FROM wallet_outbox WHERE `+where, args...).Scan(&n))
	return n
}

func TestTheShopSells(t *testing.T) {
	newShop(t)
	var out bytes.Buffer
	require.NoError(t, run(t.Context(), &out, nil))
	require.Equal(t, "add 20.00: applied, balance 20.00\nsubtract 12.50: applied, balance 7.50\nsubtract 9.00: insufficient_funds, balance 7.50\n", out.String())
}

// TestDrainersSendOneCommandOfAWalletAtATime keeps a row locked as a drainer does while it waits
// for an answer.
func TestDrainersSendOneCommandOfAWalletAtATime(t *testing.T) {
	s := newShop(t)
	for _, user := range []string{"a", "a", "b"} {
		require.NoError(t, s.do(func(tx pgx.Tx) error { return placeOrder(t.Context(), tx, s.order(user, "1")) }))
	}
	var locked []string
	var lock func() error
	lock = func() error {
		return s.do(func(tx pgx.Tx) error {
			r, err := lockNext(t.Context(), tx)
			if err != nil {
				return err
			}
			locked = append(locked, r.user)
			return lock()
		})
	}
	require.ErrorIs(t, lock(), pgx.ErrNoRows)
	require.Equal(t, []string{"a", "b"}, locked)
}

func TestACommandWithoutAnAnswerStopsItsWalletAndNoOther(t *testing.T) {
	s := newShop(t)
	user := wallettest.Name(t, "u")
	add := wallet.Command{ID: "1", Type: wallet.TypeAdd, Amount: wallet.MustAmount("1")}
	s.enqueue(user, "LATER", add)
	add.ID = "2"
	s.enqueue(user, "LATER", add)
	s.enqueue(user, "USD", add)
	s.drainAll()
	require.Equal(t, 1, s.count(`currency = 'LATER' AND failed_at IS NOT NULL AND error LIKE '%is not registered%'`))
	require.Equal(t, 1, s.count(`currency = 'LATER' AND failed_at IS NULL AND done_at IS NULL`))
	require.Equal(t, 1, s.count(`currency = 'USD' AND result->>'status' = 'applied'`))

	_, err := s.owner.Exec(t.Context(), `INSERT INTO currencies (code, scale) VALUES ('LATER', 2)`)
	require.NoError(t, err)
	// As if the clock had been an hour ahead.
	_, err = s.db.Exec(t.Context(), `UPDATE wallet_outbox SET failed_at = now() + interval '1 hour' WHERE failed_at IS NOT NULL`)
	require.NoError(t, err)
	s.drainAll()
	require.Equal(t, 3, s.count(`result->>'status' = 'applied' AND error IS NULL AND failed_at IS NULL`))
}

// TestAFieldOfANewerVersionIsNotDropped has a newer program write a command, and an older one
// send it.
func TestAFieldOfANewerVersionIsNotDropped(t *testing.T) {
	s := newShop(t)
	_, err := s.db.Exec(t.Context(), `INSERT INTO wallet_outbox (user_id, currency, command) VALUES ($1, 'USD', '{"id": "1", "type": "add", "amount": "1", "only_if": "rain"}')`, wallettest.Name(t, "u"))
	require.NoError(t, err)
	s.drainAll()
	require.Equal(t, 1, s.count(`done_at IS NULL AND error LIKE '%only_if%'`))
}

func TestAnOrderThatNoWalletAcceptsIsNotPlaced(t *testing.T) {
	s := newShop(t)
	for _, o := range []order{s.order("", "1"), s.order("u", "0"), {ID: string(make([]byte, 200)), User: "u", Currency: "USD", Price: wallet.MustAmount("1")}} {
		require.Error(t, s.do(func(tx pgx.Tx) error { return placeOrder(t.Context(), tx, o) }))
	}
	require.Zero(t, s.count("true"))
}

// TestACommandIDIsEnqueuedOnce enqueues an id again, before and after its answer.
func TestACommandIDIsEnqueuedOnce(t *testing.T) {
	s := newShop(t)
	user := wallettest.Name(t, "u")
	add := wallet.Command{ID: "1", Type: wallet.TypeAdd, Amount: wallet.MustAmount("1")}
	s.enqueue(user, "USD", add)
	again := func(tx pgx.Tx) error { return enqueue(t.Context(), tx, user, "USD", add) }
	require.ErrorIs(t, s.do(again), errCommandID)
	s.drainAll()
	add.Amount = wallet.MustAmount("2")
	require.ErrorIs(t, s.do(again), errCommandID, "once it has an answer")
	s.enqueue(user, "EUR", add)
	s.enqueue(user+"-other", "USD", add)
	require.Equal(t, 3, s.count("true"))
}

// TestAnOutboxOfBeforeGetsTheIndex has tables without it.
func TestAnOutboxOfBeforeGetsTheIndex(t *testing.T) {
	s := newShop(t)
	_, err := s.db.Exec(t.Context(), `DROP INDEX wallet_outbox_command`)
	require.NoError(t, err)
	db, err := openDatabase(t.Context())
	require.NoError(t, err)
	defer db.Close()
	add := wallet.Command{ID: "1", Type: wallet.TypeAdd, Amount: wallet.MustAmount("1")}
	s.enqueue("u", "USD", add)
	require.ErrorIs(t, s.do(func(tx pgx.Tx) error { return enqueue(t.Context(), tx, "u", "USD", add) }), errCommandID)
}

// TestAKilledDrainerChargesEachOrderOnce places orders while drainers are killed again and again.
// Of each wallet the journal must be what its committed rows say, in their order.
func TestAKilledDrainerChargesEachOrderOnce(t *testing.T) {
	s := newShop(t)
	var users []string
	for i := range 6 {
		users = append(users, fmt.Sprint(wallettest.Name(t, "u"), "-", i))
	}
	var rolledBack sync.Map // command ids
	var writers, killers sync.WaitGroup
	done := make(chan struct{})
	for _, user := range users {
		writers.Go(func() { s.placeOrders(user, &rolledBack, done) })
	}
	var left atomic.Int64
	left.Store(int64(*kills))
	for range 4 {
		killers.Go(func() {
			for left.Add(-1) >= 0 {
				most := 150 * time.Millisecond
				if rand.IntN(16) == 0 { // a slow machine sends something too
					most = time.Second
				}
				s.drainAndKill(rand.N(most))
			}
		})
	}
	killers.Wait()
	close(done)
	writers.Wait()
	for s.count("done_at IS NULL") > 0 { // one that got no answer waits for 10 s
		s.drainAll()
		time.Sleep(100 * time.Millisecond)
	}

	replayed, refused := s.count("(result->>'replayed')::boolean"), s.count("result->>'status' = 'unapplied'")
	for _, user := range users {
		s.requireJournalOf(user, &rolledBack)
	}
	undone := 0
	rolledBack.Range(func(any, any) bool { undone++; return true })
	t.Logf("%d kills, %d commands, %d refused, %d sent again after they had an answer; %d rolled back", *kills, s.count("true"), refused, replayed, undone)
	require.Positive(t, refused)
	require.Positive(t, undone)
	require.Positive(t, replayed, "no drainer was killed between answer and commit")
	report, err := s.read.Verify(t.Context(), trail.VerifyOptions{})
	require.NoError(t, err)
	require.Empty(t, report.Findings)
}

// drainAndKill starts a drainer and kills it after it has run for so long.
func (s *shop) drainAndKill(after time.Duration) {
	drainer := exec.Command(os.Args[0])
	drainer.Env, drainer.Stderr = append(os.Environ(), envDrainer+"=1"), os.Stderr
	out, err := drainer.StdoutPipe()
	require.NoError(s.t, err)
	_, err = drainer.StdinPipe()
	require.NoError(s.t, err)
	require.NoError(s.t, drainer.Start())
	_, err = out.Read(make([]byte, 1)) // it drains now
	require.NoError(s.t, err)
	time.Sleep(after)
	require.NoError(s.t, drainer.Process.Kill())
	_ = drainer.Wait() // "signal: killed"
}

var errRolledBack = errors.New("rolled back")

// placeOrders tops a wallet up and spends from it, in random amounts; some of it is rolled back.
// Few commands wait at a time, so that new ones come between kills.
func (s *shop) placeOrders(user string, rolledBack *sync.Map, done <-chan struct{}) {
	for {
		select {
		case <-done:
			return
		case <-time.After(5 * time.Millisecond):
		}
		if s.count("user_id = $1 AND done_at IS NULL", user) > 3 {
			continue
		}
		o := s.order(user, fmt.Sprint(1+rand.IntN(9)))
		err := s.do(func(tx pgx.Tx) error {
			err := placeOrder(context.Background(), tx, o)
			if err == nil && rand.IntN(2) == 0 {
				err = enqueue(context.Background(), tx, user, "USD", wallet.Command{ID: "top-up-" + o.ID, Type: wallet.TypeAdd, Amount: wallet.MustAmount(fmt.Sprint(1 + rand.IntN(9)))})
			}
			if err == nil && rand.IntN(4) == 0 {
				rolledBack.Store("order-"+o.ID, nil)
				err = errRolledBack
			}
			return err
		})
		if !errors.Is(err, errRolledBack) {
			require.NoError(s.t, err)
		}
	}
}

// requireJournalOf compares a wallet's journal with the committed rows: each once, in order, with
// the outcome that follows from the ones before it, and the result in its row.
func (s *shop) requireJournalOf(user string, rolledBack *sync.Map) {
	t := s.t
	rows, err := s.db.Query(t.Context(), `SELECT command, result FROM wallet_outbox WHERE user_id = $1 ORDER BY id`, user)
	require.NoError(t, err)
	type sent struct {
		Command wallet.Command
		Result  wallet.Result
	}
	commands, err := pgx.CollectRows(rows, pgx.RowToStructByPos[sent])
	require.NoError(t, err)
	journal := s.journal(user)
	require.Len(t, journal, len(commands))
	var balance wallet.Amount
	for i, entry := range journal {
		command, result := commands[i].Command, commands[i].Result
		require.Equal(t, command.ID, entry.CommandID)
		_, undone := rolledBack.Load(entry.CommandID)
		require.False(t, undone, entry.CommandID)
		change := command.Amount
		status := wallet.StatusApplied
		if command.Type == wallet.TypeSubtract {
			change = wallet.Amount{}.Sub(change)
		}
		if balance.Add(change).IsNegative() {
			change, status = wallet.Amount{}, wallet.StatusUnapplied
		}
		balance = balance.Add(change)
		require.Equal(t, status, entry.Status)
		require.Equal(t, []any{entry.Status, entry.Position, entry.Hash}, []any{result.Status, result.Position, result.Hash})
	}
	asset, err := s.read.Asset(t.Context(), user, "USD")
	require.NoError(t, err)
	require.Zero(t, asset.Total.Cmp(balance), "%s is not %s", asset.Total, balance)
}

// journal is all of a wallet's but its first entry, which created it.
func (s *shop) journal(user string) (all []wallet.Entry) {
	filter := trail.CommandFilter{UserID: user, Currency: "USD", AfterPosition: 1}
	for {
		page, err := s.read.Commands(s.t.Context(), filter)
		require.NoError(s.t, err)
		if len(page) == 0 {
			return all
		}
		all, filter.AfterPosition = append(all, page...), page[len(page)-1].Position
	}
}
