package activities_test

import (
	"context"
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/valueledger/wallet"
	"github.com/valueledger/wallet/activities"
	"github.com/valueledger/wallet/internal/test/model"
	"github.com/valueledger/wallet/internal/test/testenv"
)

// contents is a digest of each table, with the marks that a write or a row lock leaves.
func contents(t require.TestingT, db *pgxpool.Pool) (digests []string) {
	found, err := db.Query(context.Background(), `SELECT relname FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace ORDER BY relname`)
	require.NoError(t, err)
	names, err := pgx.CollectRows(found, pgx.RowTo[string])
	require.NoError(t, err)
	require.Contains(t, names, "wallet_commands")
	for i, name := range names {
		names[i] = fmt.Sprintf(`SELECT '%s ' || count(*) || ' ' || coalesce(sum(hashtextextended(concat_ws(' ', r.ctid, r.xmin, r.xmax, r), 0)), 0) FROM %s AS r`,
			name, pgx.Identifier{name}.Sanitize())
	}
	found, err = db.Query(context.Background(), strings.Join(names, " UNION ALL "))
	require.NoError(t, err)
	digests, err = pgx.CollectRows(found, pgx.RowTo[string])
	require.NoError(t, err)
	return digests
}

// readerPool is the pool of a role that may only read.
func (s steps) readerPool() *pgxpool.Pool {
	config := s.db.Config()
	config.AfterConnect = func(ctx context.Context, conn *pgx.Conn) error {
		_, err := conn.Exec(ctx, `SET SESSION AUTHORIZATION wallet_reader`)
		return err
	}
	pool, err := pgxpool.NewWithConfig(context.Background(), config)
	require.NoError(s.t, err)
	s.t.Cleanup(pool.Close)
	return pool
}

var timeInMessage = regexp.MustCompile(`\d{4}-\d\d-\d\dT[0-9:.]+Z`)

// alike leaves out what the two answers cannot have in common: the time and hash of the entry, and
// times that count from it.
func alike(r wallet.Result) string {
	for _, until := range []*time.Time{&r.DebitsFrozenUntil, &r.CreditsFrozenUntil} {
		if !until.IsZero() {
			*until = time.Unix(1, 0)
		}
	}
	r.RecordedAt, r.Hash, r.HoldExpiresAt, r.GrantExpiresAt, r.Grants, r.Message = time.Time{}, wallet.Hash{}, time.Time{}, time.Time{}, "", timeInMessage.ReplaceAllString(r.Message, "TIME")
	return fmt.Sprintf("%+v", r)
}

func alikeTransaction(r wallet.TransactionResult) string {
	results := r.Results
	r.Results, r.RecordedAt, r.Message = nil, time.Time{}, timeInMessage.ReplaceAllString(r.Message, "TIME")
	text := fmt.Sprintf("%+v", r)
	for _, leg := range results {
		text += fmt.Sprintf("\n%+v %s", leg.AssetRef, alike(leg.Result))
	}
	return text
}

func requireUnknownCurrency(t require.TestingT, err error) {
	var invalid *wallet.InvalidError
	require.ErrorAs(t, err, &invalid)
	require.Equal(t, wallet.ReasonUnknownCurrency, invalid.Reason)
}

// anyFixed is a command whose outcome does not depend on when within the test it is decided.
var anyFixed = rapid.Custom(func(t *rapid.T) wallet.Command {
	c := anyCommand.Filter(func(c model.Command) bool { return !c.Malformed }).Draw(t, "command")
	w := received(c).Command
	if !w.NotAfter.IsZero() {
		w.NotAfter = rapid.SampledFrom([]time.Time{time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC), time.Date(2099, 1, 1, 0, 0, 0, 0, time.UTC)}).Draw(t, "not after")
	}
	if !w.ExpiresAt.IsZero() {
		w.ExpiresAt = rapid.SampledFrom([]time.Time{time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC), time.Date(2099, 1, 1, 0, 0, 0, 0, time.UTC)}).Draw(t, "expires at")
	}
	if w.ExpiresIn == "1s" {
		w.ExpiresIn = "1h"
	}
	return w
})

// TestADryRunSaysWhatFollows compares dry runs of any commands, batches and transactions with what the
// same get right after, and the tables before and after each dry run.
func TestADryRunSaysWhatFollows(t *testing.T) {
	testenv.FewCases(t, 20)
	s := newSteps(t)
	dry := activities.NewDryRun(s.readerPool())
	cases := 0
	seen := map[string]int{}
	rapid.Check(t, func(t *rapid.T) {
		cases++
		refs := []wallet.AssetRef{
			{UserID: fmt.Sprint("u", cases), Currency: "USD"}, {UserID: fmt.Sprint("u", cases), Currency: "JPY"},
			{UserID: fmt.Sprint("v", cases), Currency: "USD"}, {UserID: fmt.Sprint("u", cases), Currency: "NOPE"},
		}
		draw := func(t *rapid.T) wallet.AssetRef { return refs[min(rapid.IntRange(0, 9).Draw(t, "wallet"), 3)] }
		unchanged := func(do func()) {
			before := contents(t, s.db)
			do()
			require.Equal(t, before, contents(t, s.db), "a dry run has changed something")
		}
		t.Repeat(map[string]func(*rapid.T){
			"batch": func(t *rapid.T) {
				ref, commands := draw(t), rapid.SliceOfN(anyFixed, 1, 5).Draw(t, "commands")
				var want []wallet.DryRunResult
				var wantErr error
				unchanged(func() { want, wantErr = dry.ApplyBatch(context.Background(), ref.UserID, ref.Currency, commands) })
				for _, c := range commands {
					if err := c.Validate(); err != nil {
						require.Equal(t, err, wantErr)
						return
					}
				}
				all := make([]wallet.Received, len(commands))
				for i, c := range commands {
					all[i].Command = c
				}
				out, err := s.ApplyCommands(context.Background(), wallet.ApplyCommandsInput{AssetRef: ref, Commands: all})
				if err != nil {
					require.Equal(t, "InvalidCommand", failureType(err))
					requireUnknownCurrency(t, wantErr)
					seen["unknown currency"]++
					return
				}
				require.NoError(t, wantErr)
				is, err := out.Results.Results(all)
				require.NoError(t, err)
				for i := range is {
					require.True(t, want[i].DryRun.DryRun)
					require.Equal(t, alike(is[i]), alike(want[i].Result))
					seen[string(is[i].Status)+" "+string(is[i].Reason)]++
				}
			},
			"transaction": func(t *rapid.T) {
				of := wallet.Transaction{ID: fmt.Sprint("t", cases, "-", rapid.IntRange(0, 4).Draw(t, "id")), MustBalance: rapid.IntRange(0, 3).Draw(t, "balances") == 0}
				for range rapid.IntRange(2, 4).Draw(t, "legs") {
					c := anyFixed.Draw(t, "leg")
					c.ID, c.ReplyTo = "", nil
					of.Commands = append(of.Commands, wallet.Leg{AssetRef: draw(t), Command: c})
				}
				var want wallet.DryRunTransactionResult
				var wantErr error
				unchanged(func() { want, wantErr = dry.Transaction(context.Background(), of) })
				if err := of.Validate(); err != nil {
					require.Equal(t, err, wantErr)
					return
				}
				out, err := s.ApplyTransaction(context.Background(), of)
				if err != nil {
					require.Equal(t, "InvalidCommand", failureType(err))
					requireUnknownCurrency(t, wantErr)
					return
				}
				require.Equal(t, alikeTransaction(out.Result), alikeTransaction(want.TransactionResult))
				require.Equal(t, out.Result.Err() == nil, wantErr == nil)
				seen["transaction "+string(out.Result.Status)]++
			},
			"expire": func(t *rapid.T) { // in the rows: the fold reads only those
				_, err := s.db.Exec(context.Background(), `UPDATE wallet_holds SET expires_at = clock_timestamp() - interval '1 second' WHERE user_id = $1 AND state = 'open' AND expires_at < '2090-01-01'`, refs[0].UserID)
				require.NoError(t, err)
				_, err = s.db.Exec(context.Background(), `UPDATE wallet_assets SET next_expiry = clock_timestamp() - interval '1 second' WHERE user_id = $1 AND next_expiry IS NOT NULL`, refs[0].UserID)
				require.NoError(t, err)
			},
			"lose the row": func(t *rapid.T) {
				_, err := s.db.Exec(context.Background(), `DELETE FROM wallet_assets WHERE user_id = $1 AND currency = 'USD'`, refs[2].UserID)
				require.NoError(t, err)
			},
		})
	})
	for _, kind := range []string{"applied ", "unapplied id_conflict", "unapplied insufficient_funds", "unapplied too_late", "unknown currency", "transaction unapplied"} {
		require.Positive(t, seen[kind], "%s: %v", kind, seen)
	}
}

func TestADryRunCountsDueHoldsAsExpired(t *testing.T) {
	s := newSteps(t)
	s.apply(add("funds", "10"), hold("h", "10", "1h"))
	s.makeOverdue(time.Minute)
	dry := activities.NewDryRun(s.readerPool())
	before := contents(t, s.db)
	r, err := dry.Apply(t.Context(), "u1", "USD", subtract("s", "10").Command)
	require.NoError(t, err)
	require.Equal(t, int64(5), r.Position, "behind the entry of the expiry")
	require.Equal(t, "0.00", r.HoldBefore.String())
	require.Zero(t, r.Hash)
	require.Equal(t, before, contents(t, s.db))
	require.Equal(t, alike(s.apply(subtract("s", "10"))[0]), alike(r.Result))

	recorded := s.journal()[4]
	r, err = dry.Apply(t.Context(), "u1", "USD", subtract("s", "10").Command)
	require.NoError(t, err)
	require.True(t, r.Replayed)
	require.Equal(t, recorded.Hash, r.Hash, "of an entry that exists")
}

// TestALockedWalletStallsNoDryRun, and a dry run locks none.
func TestALockedWalletStallsNoDryRun(t *testing.T) {
	s := newSteps(t)
	s.apply(add("funds", "10"))
	s.lock()
	dry := activities.NewDryRun(s.readerPool())
	r, err := dry.Apply(bounded(t), "u1", "USD", subtract("s", "4").Command)
	require.NoError(t, err)
	require.Equal(t, "6.00", r.TotalAfter.String())
	moved, err := dry.Transaction(bounded(t), transfer("t", "u1", "new", "4"))
	require.NoError(t, err)
	require.Equal(t, "4.00", moved.Results[1].TotalAfter.String())
}

func TestCommandsOfADryRunSeeThoseBefore(t *testing.T) {
	s := newSteps(t)
	dry := activities.NewDryRun(s.readerPool())
	results, err := dry.ApplyBatch(t.Context(), "new", "USD", []wallet.Command{add("a", "5").Command, subtract("b", "3").Command, subtract("c", "3").Command, add("a", "5").Command})
	require.NoError(t, err)
	require.Equal(t, []string{"5.00", "2.00", "2.00", "5.00"}, []string{results[0].TotalAfter.String(), results[1].TotalAfter.String(), results[2].TotalAfter.String(), results[3].TotalAfter.String()})
	require.Equal(t, wallet.ReasonInsufficientFunds, results[2].Reason)
	require.True(t, results[3].Replayed)
	require.Zero(t, results[3].Hash, "nothing is recorded of it either")
	require.Equal(t, results[0].RecordedAt, results[1].RecordedAt)
	require.Equal(t, wallet.DryRunNote, results[0].Note)
	require.Zero(t, s.count(`SELECT count(*) FROM wallets WHERE user_id = 'new'`))
}
