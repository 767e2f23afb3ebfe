package activities_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/valueledger/wallet"
	"github.com/valueledger/wallet/internal/service/rows"
	"github.com/valueledger/wallet/trail"
)

func (s steps) grants() map[int64]wallet.Grant {
	found, err := s.db.Query(context.Background(), `SELECT `+rows.GrantColumns+` FROM wallet_grants WHERE user_id = $1 AND currency = $2`, s.ref.UserID, s.ref.Currency)
	require.NoError(s.t, err)
	grants, err := rows.CollectGrants(found)
	require.NoError(s.t, err)
	byNumber := map[int64]wallet.Grant{}
	for _, g := range grants {
		byNumber[g.Number] = g.Grant
	}
	return byNumber
}

// lastGrants are those of the last entry.
func (s steps) lastGrants() string {
	journal := s.journal()
	return journal[len(journal)-1].Grants
}

func grant(id, amount, in string) wallet.Command {
	return wallet.Command{ID: id, Type: wallet.TypeAdd, Amount: wallet.MustAmount(amount), ExpiresIn: in}
}

func take(id, amount string) wallet.Command {
	return wallet.Command{ID: id, Type: wallet.TypeSubtract, Amount: wallet.MustAmount(amount)}
}

// TestAThousandGrantsAreUsedUp uses more grants than are read at first, and only those.
func TestAThousandGrantsAreUsedUp(t *testing.T) {
	s := newSteps(t)
	for range 2 {
		var all []wallet.Command
		for range wallet.MaxBatch {
			all = append(all, grant(fmt.Sprint("g", len(s.journal()), "-", len(all)), "0.01", "1d"))
		}
		s.do(all...)
	}
	require.Len(t, s.grants(), 1000)
	r := s.do(take("one", "0.01"), take("twenty", "0.20"), take("the rest", "9.79"), take("too much", "0.01"))
	for i, want := range []wallet.Status{wallet.StatusApplied, wallet.StatusApplied, wallet.StatusApplied, wallet.StatusUnapplied} {
		require.Equal(t, want, r[i].Status, r[i].Message)
	}
	asset := s.ensure()
	require.Zero(t, asset.OpenGrants)
	require.Zero(t, asset.NextGrantExpiry)
	s.verified()
}

func TestLostGrantsComeBackFromTheJournal(t *testing.T) {
	s := newSteps(t)
	s.do(grant("a", "3", "1d"), grant("b", "4", "2d"), wallet.Command{ID: "h", Type: wallet.TypeHold, Amount: wallet.MustAmount("5")}, take("s", "1"))
	want := s.grants()
	for _, lost := range []string{`DELETE FROM wallet_grants`, `DELETE FROM wallet_grants WHERE grant_number = 2`, `DELETE FROM wallet_grants; DELETE FROM wallet_assets`} {
		s.exec(lost)
		r := s.do(wallet.Command{ID: lost, Type: wallet.TypeHold, Amount: wallet.MustAmount("1")}, wallet.Command{ID: lost + " 2", Type: wallet.TypeRelease, HoldID: "h", Amount: wallet.MustAmount("0.01")})
		require.Equal(t, wallet.StatusApplied, r[0].Status, r[0].Message)
		require.Equal(t, wallet.StatusApplied, r[1].Status, r[1].Message)
		require.Equal(t, wallet.StatusApplied, s.do(wallet.Command{ID: lost + " 3", Type: wallet.TypeRelease, HoldID: lost}, wallet.Command{ID: lost + " 4", Type: wallet.TypeHold, HoldID: "h", Amount: wallet.MustAmount("0.01")})[0].Status)
		require.Len(t, s.grants(), len(want))
		s.verified()
	}
}

// TestALostGrantDoesNotChangeTheOrder: the rows that are left would do for the command.
func TestALostGrantDoesNotChangeTheOrder(t *testing.T) {
	s := newSteps(t)
	s.do(grant("used up", "1", "1h"), grant("first", "5", "1d"), grant("second", "5", "2d"), take("one", "1"))
	written := func() (xmin string) {
		require.NoError(t, s.db.QueryRow(t.Context(), `SELECT xmin::text FROM wallet_grants WHERE command_id = 'used up'`).Scan(&xmin))
		return xmin
	}
	before := written()
	s.exec(`DELETE FROM wallet_grants WHERE command_id = 'first'`)
	s.do(take("three", "3"))
	require.Equal(t, "3:3.00", s.lastGrants())
	require.Equal(t, before, written(), "a row that is there is not written again")
	s.verified()
	s.exec(`UPDATE wallet_assets SET granted_amount = granted_amount - 1`)
	err := s.try(t.Context(), wallet.Received{Command: take("no journal says so", "1")})
	require.ErrorContains(t, err, "wallet_grants is not what wallet_assets or wallet_holds say")
	_, err = s.RepairEvents(t.Context(), s.ref)
	require.NoError(t, err)
	s.do(take("repaired", "1"))
	s.verified()
}

// TestALostGrantExpires without a command.
func TestALostGrantExpires(t *testing.T) {
	s := newSteps(t)
	s.do(wallet.Command{ID: "own", Type: wallet.TypeAdd, Amount: wallet.MustAmount("1")}, grant("short", "5", "1s"), grant("long", "3", "1d"))
	at := s.grants()[3].ExpiresAt
	s.exec(`DELETE FROM wallet_grants WHERE command_id = 'short'`)
	s.awaitClock(at)
	require.Equal(t, "4.00", s.ensure().Total.String())
	s.verified()
}

// TestGrantsThatAreLostWithTheBalance do not become money that never expires, whatever command is
// next.
func TestGrantsThatAreLostWithTheBalance(t *testing.T) {
	const lose = `DELETE FROM wallet_grants; DELETE FROM wallet_assets`
	s := newSteps(t)
	s.do(grant("first", "5", "1d"), grant("second", "5", "2d"))
	s.exec(lose)
	s.do(take("three", "3"))
	require.Equal(t, "2:3.00", s.lastGrants())
	s.verified()
	s.exec(lose)
	require.Equal(t, "7.00", s.ensure().Granted.String())
	s.verified()

	s = newSteps(t)
	s.do(wallet.Command{ID: "own", Type: wallet.TypeAdd, Amount: wallet.MustAmount("1")}, grant("short", "5", "1s"))
	at := s.grants()[3].ExpiresAt
	s.exec(lose)
	s.awaitClock(at)
	require.Equal(t, "1.00", s.ensure().Total.String())
	s.verified()
}

func TestAGrantExpiresByTheStep(t *testing.T) {
	s := newSteps(t)
	s.do(grant("short", "3", "1s"), grant("long", "4", "1d"), wallet.Command{ID: "h", Type: wallet.TypeHold, Amount: wallet.MustAmount("1")})
	require.Equal(t, s.grants()[2].ExpiresAt, s.ensure().NextGrantExpiry)
	s.awaitClock(s.grants()[2].ExpiresAt)
	out, err := s.ApplyCommands(t.Context(), wallet.ApplyCommandsInput{AssetRef: s.ref})
	require.NoError(t, err)
	require.Equal(t, 1, out.ExpiredGrants)
	require.True(t, out.NeedsRecording)
	require.Equal(t, "5.00", out.Asset.Total.String())
	require.Equal(t, s.grants()[3].ExpiresAt, out.Asset.NextGrantExpiry)
	r := s.do(wallet.Command{ID: "c", Type: wallet.TypeCapture, HoldID: "h", Amount: wallet.MustAmount("0.40")})
	require.Equal(t, "4.60", r[0].TotalAfter.String())
	require.Equal(t, "4.00", s.ensure().Total.String(), "what was given back has expired")
	require.EqualValues(t, 2, s.grants()[2].Expiries)
	s.verified()
}

func TestAWalletWithoutGrantsPaysNothingForThem(t *testing.T) {
	s := newSteps(t)
	s.do(wallet.Command{ID: "a", Type: wallet.TypeAdd, Amount: wallet.MustAmount("5")})
	s.exec(`ALTER TABLE wallet_grants RENAME TO elsewhere;
		CREATE FUNCTION must_not_run() RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'wallet_grants was read'; END $$;
		CREATE VIEW wallet_grants AS SELECT elsewhere.* FROM (SELECT must_not_run() OFFSET 0) AS read LEFT JOIN elsewhere ON true;
		GRANT SELECT, INSERT, UPDATE ON wallet_grants TO PUBLIC`)
	defer s.exec(`DROP VIEW wallet_grants; DROP FUNCTION must_not_run(); ALTER TABLE elsewhere RENAME TO wallet_grants`)
	require.ErrorContains(t, s.db.QueryRow(t.Context(), `SELECT count(*) FROM wallet_grants`).Scan(new(int)), "wallet_grants was read")
	r := s.do(take("b", "1"), wallet.Command{ID: "h", Type: wallet.TypeHold, Amount: wallet.MustAmount("1")}, wallet.Command{ID: "r", Type: wallet.TypeReverse, OriginalID: "b"})
	for i := range r {
		require.Equal(t, wallet.StatusApplied, r[i].Status, r[i].Message)
	}
}

// do applies commands.
func (s steps) do(commands ...wallet.Command) []wallet.Result {
	s.t.Helper()
	received := make([]wallet.Received, len(commands))
	for i, c := range commands {
		received[i].Command = c
	}
	return s.apply(received...)
}

// TestVerifyFindsChangedGrants changes rows in ways that no constraint refuses.
func TestVerifyFindsChangedGrants(t *testing.T) {
	for _, row := range []struct{ change, problem string }{
		{`UPDATE wallet_grants SET unused = unused - 0.50, used = used + 0.50 WHERE grant_number = 2`, "it is not what the journal makes of it"},
		{`UPDATE wallet_grants SET held = held - 1, used = used + 1 WHERE held >= 1`, "it is not what the journal makes of it"},
		{`UPDATE wallet_grants SET expires_at = expires_at + interval '1 day'`, "it is not what the journal makes of it"},
		{`UPDATE wallet_grants SET priority = 1`, "it is not what the journal makes of it"},
		{`UPDATE wallet_grants SET command_id = 'b'`, "it is not what the journal makes of it"},
		{`UPDATE wallet_grants SET position = position + 1 WHERE grant_number = 3`, "it is not what the journal makes of it"},
		{`DELETE FROM wallet_grants WHERE grant_number = 3`, `grant 3 has no row: run "wallet repair"`},
		{`INSERT INTO wallet_grants (user_id, currency, grant_number, command_id, state, priority, amount, unused, held, used, expired, added_at, updated_at, position)
			SELECT user_id, currency, 4, 'x', 'open', 1, 5, 5, 0, 0, 0, added_at, updated_at, 4 FROM wallet_grants LIMIT 1`, "it is not what the journal makes of it"},
		{`UPDATE wallet_holds SET grants = '3:2.00'`, "is not what the journal makes of it"},
		{`UPDATE wallet_assets SET granted_amount = 0`, "granted_amount is 0"},
		{`UPDATE wallet_assets SET open_grants = 1`, "open_grants is 1"},
		{`UPDATE wallet_assets SET next_grant_expiry = NULL`, "next_grant_expiry is not that"},
	} {
		s := newSteps(t)
		s.do(grant("a", "3", "1d"), grant("b", "4", "2d"), wallet.Command{ID: "h", Type: wallet.TypeHold, Amount: wallet.MustAmount("2")})
		s.verified()
		s.exec(row.change)
		report, err := trail.New(s.db).Verify(t.Context(), trail.VerifyOptions{})
		require.NoError(t, err)
		require.Len(t, report.Findings, 1, row.change)
		require.Contains(t, report.Findings[0].Problem, row.problem, row.change)
		if report.Findings[0].MissingGrant {
			repaired, err := s.RepairEvents(t.Context(), s.ref)
			require.NoError(t, err)
			require.EqualValues(t, 1, repaired.Grants)
			s.verified()
		}
	}
}

// TestTheSweepLetsGrantsExpire makes a grant overdue in a wallet without a workflow. Reads count it
// as expired before.
func TestTheSweepLetsGrantsExpire(t *testing.T) {
	s := newSteps(t)
	s.do(wallet.Command{ID: "own", Type: wallet.TypeAdd, Amount: wallet.MustAmount("1")}, grant("a", "3", "1d"))
	s.exec(`UPDATE wallet_grants SET expires_at = clock_timestamp() - interval '1 minute'`)
	s.exec(`UPDATE wallet_assets SET next_grant_expiry = (SELECT expires_at FROM wallet_grants)`)
	asset, err := trail.New(s.db).Asset(t.Context(), s.ref.UserID, s.ref.Currency)
	require.NoError(t, err)
	require.Equal(t, []string{"1.00", "1.00", "3.00"}, []string{asset.Owned().String(), asset.Available().String(), asset.DueGrants.String()})
	require.Equal(t, 1, s.sweep(t.Context(), ""))
	require.Equal(t, wallet.GrantExpired, s.grants()[3].State)
	require.Equal(t, "1.00", s.ensure().Total.String())
	require.Contains(t, s.events(), "4 wallet_asset.grant_expired _expire_grant/3/1 1.00")
}

// TestReadsOfGrantsCountWhatIsDue: a hold that has expired gives back, before a grant expires.
func TestReadsOfGrantsCountWhatIsDue(t *testing.T) {
	s := newSteps(t)
	s.do(wallet.Command{ID: "own", Type: wallet.TypeAdd, Amount: wallet.MustAmount("1")}, grant("short", "2", "1s"), grant("long", "10", "30d"),
		wallet.Command{ID: "h", Type: wallet.TypeHold, Amount: wallet.MustAmount("7"), ExpiresIn: "1s"}, wallet.Command{ID: "stays", Type: wallet.TypeHold, Amount: wallet.MustAmount("1")})
	s.awaitClock(s.grants()[3].ExpiresAt)
	s.awaitClock(s.holds()["h"].ExpiresAt)
	before, err := trail.New(s.db).Grants(t.Context(), trail.GrantFilter{UserID: s.ref.UserID, All: true})
	require.NoError(t, err)
	require.Equal(t, []string{"2.00", "0.00", "9.00", "1.00"}, []string{before[0].Expired.String(), before[0].Held.String(), before[1].Left.String(), before[1].Held.String()})
	open, err := trail.New(s.db).Grants(t.Context(), trail.GrantFilter{UserID: s.ref.UserID})
	require.NoError(t, err)
	require.Len(t, open, 1)
	s.ensure()
	after, err := trail.New(s.db).Grants(t.Context(), trail.GrantFilter{UserID: s.ref.UserID, All: true})
	require.NoError(t, err)
	for i := range before {
		before[i].Expiries, before[i].UpdatedAt, before[i].Position = after[i].Expiries, after[i].UpdatedAt, after[i].Position
	}
	require.Equal(t, fmt.Sprint(after), fmt.Sprint(before), "as if its entries were there")
}

// between calls do once, before the first query that reads grants.
type between struct{ do func() }

func (b *between) TraceQueryStart(ctx context.Context, _ *pgx.Conn, q pgx.TraceQueryStartData) context.Context {
	if do := b.do; do != nil && strings.Contains(q.SQL, "FROM (SELECT * FROM wallet_grants") {
		b.do = nil
		do()
	}
	return ctx
}

func (*between) TraceQueryEnd(context.Context, *pgx.Conn, pgx.TraceQueryEndData) {}

// TestABalanceAndItsGrantsAreOfOneSnapshot uses up a grant between the two.
func TestABalanceAndItsGrantsAreOfOneSnapshot(t *testing.T) {
	s := newSteps(t)
	s.do(wallet.Command{ID: "own", Type: wallet.TypeAdd, Amount: wallet.MustAmount("1")}, grant("g", "5", "1d"))
	tracer := &between{func() { s.do(take("all", "6")) }}
	config := s.db.Config().Copy()
	config.ConnConfig.Tracer = tracer
	db, err := pgxpool.NewWithConfig(t.Context(), config)
	require.NoError(t, err)
	defer db.Close()
	assets, err := trail.New(db).GrantedAssets(t.Context(), s.ref.UserID, s.ref.Currency)
	require.NoError(t, err)
	require.Nil(t, tracer.do)
	require.Equal(t, "6.00", assets[0].Available().String())
	require.Len(t, assets[0].Grants, 1)
	require.Equal(t, "5.00", assets[0].Grants[0].Left.String())
	assets, err = trail.New(db).GrantedAssets(t.Context(), s.ref.UserID, "")
	require.NoError(t, err)
	require.Empty(t, assets[0].Grants)
	_, err = trail.New(db).GrantedAssets(t.Context(), s.ref.UserID, "EUR")
	require.ErrorIs(t, err, trail.ErrNoWallet)
}

// TestARefusedLegSeesWhatTheLegsBeforeDidToGrants: what a capture gives back to a grant whose time is over
// has expired for the next leg, and none of it has happened.
func TestARefusedLegSeesWhatTheLegsBeforeDidToGrants(t *testing.T) {
	s := newSteps(t)
	s.do(grant("a", "3", "1s"), wallet.Command{ID: "h", Type: wallet.TypeHold, Amount: wallet.MustAmount("3")})
	s.awaitClock(s.grants()[2].ExpiresAt)
	capture := leg("u1", wallet.TypeCapture, "1")
	capture.HoldID = "h"
	refused := s.transaction(wallet.Transaction{ID: "t1", Commands: []wallet.Leg{capture, leg("u1", wallet.TypeSubtract, "1")}})
	require.Equal(t, wallet.ReasonInsufficientFunds, refused.Results[1].Reason)
	require.Equal(t, wallet.GrantHeld, s.grants()[2].State)
	s.verified()
	reverse := wallet.Leg{AssetRef: s.ref, Command: wallet.Command{Type: wallet.TypeReverse, OriginalID: "out"}}
	s.do(grant("b", "5", "1d"), take("out", "5"))
	refused = s.transaction(wallet.Transaction{ID: "t2", Commands: []wallet.Leg{reverse, leg("u1", wallet.TypeSubtract, "4"), leg("u1", wallet.TypeSubtract, "2")}})
	require.Equal(t, wallet.ReasonInsufficientFunds, refused.Results[2].Reason)
	s.verified()
}

// TestAGrantThatIsReversedTwiceVerifies: the first reversal opens it again.
func TestAGrantThatIsReversedTwiceVerifies(t *testing.T) {
	s := newSteps(t)
	s.do(grant("g", "3", "1d"), take("s", "3"))
	for _, c := range []wallet.Command{
		{ID: "r1", Type: wallet.TypeReverse, OriginalID: "s", Amount: wallet.MustAmount("1")},
		{ID: "r2", Type: wallet.TypeReverse, OriginalID: "s", Amount: wallet.MustAmount("9")}, // refused
		{ID: "r3", Type: wallet.TypeReverse, OriginalID: "s", Amount: wallet.MustAmount("1")},
		take("s2", "2"),
		{ID: "r4", Type: wallet.TypeReverse, OriginalID: "s2"},
	} {
		s.do(c)
		s.verified()
	}
	require.Equal(t, "2.00", s.grants()[2].Left.String())
}
