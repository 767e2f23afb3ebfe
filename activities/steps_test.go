package activities_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/temporal"
	"golang.org/x/sync/errgroup"

	"github.com/valueledger/wallet"
	"github.com/valueledger/wallet/activities"
	"github.com/valueledger/wallet/internal/service/rows"
	"github.com/valueledger/wallet/internal/test/testenv"
	"github.com/valueledger/wallet/trail"
)

type steps struct {
	*activities.Activities
	t   *testing.T
	db  *pgxpool.Pool
	ref wallet.AssetRef
}

func newSteps(t *testing.T) steps {
	url := testenv.DatabaseURL(t)
	return steps{activities.New(testenv.Pool(t, testenv.AppURL(t, url))), t, testenv.Pool(t, url), wallet.AssetRef{UserID: "u1", Currency: "USD"}}
}

func add(id, amount string) wallet.Received {
	return wallet.Received{Command: wallet.Command{ID: id, Type: wallet.TypeAdd, Amount: wallet.MustAmount(amount)}}
}

func subtract(id, amount string) wallet.Received {
	return wallet.Received{Command: wallet.Command{ID: id, Type: wallet.TypeSubtract, Amount: wallet.MustAmount(amount)}}
}

func create(id string) wallet.Received {
	return wallet.Received{Command: wallet.Command{ID: id, Type: wallet.TypeCreate}}
}

func (s steps) apply(commands ...wallet.Received) []wallet.Result {
	out, err := s.ApplyCommands(context.Background(), wallet.ApplyCommandsInput{AssetRef: s.ref, Commands: commands})
	require.NoError(s.t, err)
	results, err := out.Results.Results(commands)
	require.NoError(s.t, err)
	return results
}

func (s steps) ensure() wallet.Asset {
	out, err := s.EnsureWalletAsset(context.Background(), s.ref)
	require.NoError(s.t, err)
	return out.Asset
}

func (s steps) record() int64 {
	out, err := s.RecordEvents(context.Background(), s.ref)
	require.NoError(s.t, err)
	return out.Version
}

func (s steps) journal() []wallet.Entry {
	found, err := s.db.Query(context.Background(), `SELECT `+rows.EntryColumns+` FROM wallet_commands WHERE user_id = $1 AND currency = $2 ORDER BY position`, s.ref.UserID, s.ref.Currency)
	require.NoError(s.t, err)
	entries, err := rows.CollectEntries(found)
	require.NoError(s.t, err)
	return entries
}

// events lists "version type command total_after", oldest first.
func (s steps) events() []string {
	events, err := trail.New(s.db).Events(context.Background(), trail.EventFilter{UserID: s.ref.UserID, Currency: s.ref.Currency})
	require.NoError(s.t, err)
	list := []string{}
	for _, e := range events {
		list = append(list, fmt.Sprint(e.Version, " ", e.EventType, " ", e.CommandID, " ", e.TotalAfter))
	}
	return list
}

func failureType(err error) string {
	var application *temporal.ApplicationError
	if ok := errors.As(err, &application); ok {
		return application.Type()
	}
	return ""
}

func TestEnsureCreatesOnceWithItsEvent(t *testing.T) {
	s := newSteps(t)
	first := s.ensure()
	require.Equal(t, first, s.ensure(), "the second time finds what the first made")
	require.Equal(t, int64(1), first.Version)
	require.Equal(t, "0.00", first.Total.String())
	require.Equal(t, []string{"1 wallet_asset.created _auto-create 0.00"}, s.events())
	require.Len(t, s.journal(), 1)
}

// TestABareRowIsOpenedLikeAMissingOne has a row that somebody inserted by hand, without an entry.
func TestABareRowIsOpenedLikeAMissingOne(t *testing.T) {
	for name, open := range map[string]func(steps){
		"by the step that ensures": func(s steps) { s.ensure() },
		"by a command":             func(s steps) { s.apply(add("a", "1")) },
		"in a lane":                func(s steps) { s.lane(inUSD("u1", add("a", "1"))) },
	} {
		t.Run(name, func(t *testing.T) {
			s := newSteps(t)
			s.exec(`INSERT INTO wallets (user_id) VALUES ('u1')`)
			s.exec(`INSERT INTO wallet_assets (user_id, currency, created_at, updated_at) VALUES ('u1', 'USD', now(), now())`)
			open(s)
			s.record()
			require.Equal(t, "_auto-create", s.journal()[0].CommandID)
			require.Equal(t, "1 wallet_asset.created _auto-create 0.00", s.events()[0])
			s.verified()
		})
	}
}

func TestEnsureTwoAtOnce(t *testing.T) {
	s := newSteps(t)
	var group sync.WaitGroup
	for range 16 {
		group.Go(func() {
			_, err := s.EnsureWalletAsset(context.Background(), s.ref)
			require.NoError(t, err)
		})
	}
	group.Wait()
	require.Equal(t, []string{"1 wallet_asset.created _auto-create 0.00"}, s.events())
}

func TestUnregisteredCurrencyIsFinalAndLeavesNothing(t *testing.T) {
	s := newSteps(t)
	s.ref.Currency = "NOPE"
	_, err := s.EnsureWalletAsset(context.Background(), s.ref)
	require.Equal(t, wallet.FailureInvalidCommand, failureType(err))
	require.ErrorContains(t, err, `currency "NOPE" is not registered: use one that is, or have it added with "wallet currency add NOPE --scale N"`)
	_, err = s.ApplyCommands(context.Background(), wallet.ApplyCommandsInput{AssetRef: s.ref, Commands: []wallet.Received{create("c")}})
	require.Equal(t, wallet.FailureInvalidCommand, failureType(err))
	var wallets int
	require.NoError(t, s.db.QueryRow(t.Context(), `SELECT count(*) FROM wallets`).Scan(&wallets))
	require.Zero(t, wallets)
}

func TestApplyTwiceCountsOnce(t *testing.T) {
	s := newSteps(t)
	batch := []wallet.Received{create("open"), add("a", "10"), subtract("b", "2.5"), subtract("c", "100"), add("a", "10.00"), add("a", "11")}
	first := s.apply(batch...)
	require.Equal(t, "7.50", first[2].TotalAfter.String())
	require.Equal(t, wallet.ReasonInsufficientFunds, first[3].Reason)
	require.True(t, first[4].Replayed)
	require.Equal(t, wallet.ReasonIDConflict, first[5].Reason)

	second := s.apply(batch...)
	for i := range batch[:4] {
		want := first[i]
		want.Replayed = true
		require.Equal(t, want, second[i], "the first answer again, to the last field")
	}
	require.Equal(t, wallet.ReasonIDConflict, second[5].Reason)
	require.Len(t, s.journal(), 4)
}

func TestApplyTwoWorkersAtOnce(t *testing.T) {
	s := newSteps(t)
	s.ensure()
	var group sync.WaitGroup
	for worker := range 8 {
		group.Go(func() {
			for i := range 20 {
				s.apply(add(fmt.Sprint("shared-", i), "1"), add(fmt.Sprint("own-", worker, "-", i), "0.01"))
				s.record()
			}
		})
	}
	group.Wait()
	asset, err := trail.New(s.db).Asset(t.Context(), s.ref.UserID, s.ref.Currency)
	require.NoError(t, err)
	require.Equal(t, "21.60", asset.Total.String(), "20 shared once, 160 of 0.01")
	requireSoundChain(t, s.journal(), asset)
	require.Len(t, s.events(), 1+20+160)
}

func requireSoundChain(t *testing.T, journal []wallet.Entry, asset wallet.Asset) {
	prev, version, total := wallet.Hash{}, int64(0), wallet.Amount{}
	for i, e := range journal {
		require.Equal(t, int64(i+1), e.Position)
		require.Equal(t, prev, e.PrevHash)
		require.Equal(t, e.Hash, e.ComputeHash(), "the hash can be computed again from the row: %+v", e)
		require.Zero(t, e.TotalBefore.Cmp(total))
		if e.Status == wallet.StatusApplied {
			version++
			require.Equal(t, version, e.Version)
			total = e.TotalAfter
		}
		prev = e.Hash
	}
	require.Equal(t, asset.Hash, prev)
	require.Zero(t, asset.Total.Cmp(total))
	require.Equal(t, asset.Version, version)
	require.Equal(t, asset.Position, int64(len(journal)))
}

func TestApplyCreatesWhatIsMissing(t *testing.T) {
	s := newSteps(t)
	require.Equal(t, int64(2), s.apply(add("a", "1"))[0].Version)
	require.Equal(t, "_auto-create", s.journal()[0].CommandID)

	unknown := s
	unknown.ref = wallet.AssetRef{UserID: "u2", Currency: "NOPE"}
	_, err := unknown.ApplyCommands(context.Background(), wallet.ApplyCommandsInput{AssetRef: unknown.ref, Commands: []wallet.Received{add("a", "1")}})
	require.Equal(t, wallet.FailureInvalidCommand, failureType(err))
	var users int
	require.NoError(t, s.db.QueryRow(t.Context(), `SELECT count(*) FROM wallets WHERE user_id = 'u2'`).Scan(&users))
	require.Zero(t, users, "nothing is left of a wallet that cannot be")
}

func TestCreateIsTheFirstEntryOrRefused(t *testing.T) {
	s := newSteps(t)
	require.Equal(t, int64(1), s.apply(create("open"))[0].Version)
	again := s.apply(create("open"))[0]
	require.True(t, again.Replayed)
	require.Equal(t, wallet.StatusApplied, again.Status)
	require.Equal(t, wallet.ReasonAlreadyExists, s.apply(create("open-2"))[0].Reason)
	s.record()
	require.Equal(t, []string{"1 wallet_asset.created open 0.00"}, s.events())
}

func TestCrashBetweenStepsHealsWithTheNextRecord(t *testing.T) {
	s := newSteps(t)
	s.apply(create("open"), add("a", "1"))
	s.apply(add("b", "2"), subtract("x", "100")) // a crash: no events yet
	require.Empty(t, s.events())
	s.apply(add("c", "3"))
	require.Equal(t, int64(4), s.record())
	require.Equal(t, int64(4), s.record(), "again: nothing to do")
	require.Equal(t, []string{
		"1 wallet_asset.created open 0.00",
		"2 wallet_asset.added a 1.00",
		"3 wallet_asset.added b 3.00",
		"4 wallet_asset.added c 6.00",
	}, s.events())
}

func TestRecordTwoAtOnceLeavesNoGap(t *testing.T) {
	s := newSteps(t)
	s.apply(create("open"))
	var group sync.WaitGroup
	for range 4 {
		group.Go(func() {
			for range 25 {
				s.record()
			}
		})
	}
	for i := range 50 {
		s.apply(add(fmt.Sprint("a", i), "1"), add(fmt.Sprint("b", i), "1"))
	}
	group.Wait()
	require.Equal(t, int64(101), s.record())
	events, err := trail.New(s.db).Events(t.Context(), trail.EventFilter{UserID: "u1", Currency: "USD"})
	require.NoError(t, err)
	for i, e := range events {
		require.Equal(t, int64(i+1), e.Version)
	}
	require.Len(t, events, 101)
}

// TestRepairAtOnceAppendsOnce repairs a wallet whose ranges are missing from the feed, with and
// without its events, while more events are recorded.
func TestRepairAtOnceAppendsOnce(t *testing.T) {
	s := newSteps(t)
	s.apply(create("open"), add("a", "1"), add("b", "1"), add("c", "1"))
	s.record()
	s.exec(`ALTER TABLE wallet_feed DISABLE TRIGGER append_only_rows`)
	s.exec(`ALTER TABLE wallet_asset_events DISABLE TRIGGER append_only_rows`)
	for round := range 20 {
		s.exec(`DELETE FROM wallet_feed`)
		if round%2 == 1 {
			s.exec(`DELETE FROM wallet_asset_events WHERE version = 2`)
		}
		var repaired [4]activities.Repaired
		group := &errgroup.Group{}
		for i := range repaired {
			group.Go(func() (err error) {
				repaired[i], err = s.RepairEvents(context.Background(), s.ref)
				return err
			})
		}
		s.apply(add(fmt.Sprint("more-", round), "1"))
		recorded := s.record()
		require.NoError(t, group.Wait())
		rows, err := s.db.Query(t.Context(), `SELECT v FROM wallet_feed, generate_series(first_version, last_version) AS v ORDER BY v`)
		require.NoError(t, err)
		versions, err := pgx.CollectRows(rows, pgx.RowTo[int64])
		require.NoError(t, err)
		require.Len(t, versions, int(recorded), "each once")
		for i, version := range versions {
			require.Equal(t, int64(i+1), version)
		}
		ranges := int64(0)
		for _, r := range repaired {
			ranges += r.Ranges
		}
		// One repair finds what is missing. Another may record the new command's event before
		// the step does.
		require.Contains(t, []int64{1, 2}, ranges)
	}
}

func TestEveryTextIsStoredVerbatim(t *testing.T) {
	s := newSteps(t)
	text := "O'Hara \"x\" %s $1 \\ ../ 💶 \u202e\n\t'); DROP TABLE wallets;--"
	s.ref.UserID = "u'\"%s/../💶"
	command := add("id'\"%s💶", "1").Command
	command.Description, command.Actor, command.Metadata = text, "act'or", map[string]string{text: text, "b": "", "a": "1"}
	s.apply(create("open"), wallet.Received{Command: command})
	s.record()
	e := s.journal()[1]
	require.Equal(t, text, e.Description)
	require.Equal(t, command.Metadata, e.Metadata)
	require.Equal(t, e.Hash, e.ComputeHash())
	events, err := trail.New(s.db).Events(t.Context(), trail.EventFilter{UserID: s.ref.UserID})
	require.NoError(t, err)
	require.Equal(t, text, events[1].Description)
	require.Equal(t, command.Metadata, events[1].Metadata)
}

func TestMalformedIsRecordedWithItsPayload(t *testing.T) {
	s := newSteps(t)
	s.ensure()
	payload := []byte("{\"id\":\"m\",\"amount\":1}\x00\xff")
	readable, err := wallet.DecodeCommand(payload)
	require.Error(t, err)
	malformed := wallet.Malformed(payload, "json/plain", readable, err)
	require.Equal(t, wallet.ReasonMalformed, s.apply(malformed)[0].Reason)
	require.True(t, s.apply(malformed)[0].Replayed)
	e := s.journal()[1]
	require.Equal(t, wallet.MalformedID(payload, "json/plain"), e.CommandID)
	require.Equal(t, wallet.StatusApplied, s.apply(add("m", "1"))[0].Status, "the corrected command has its own id")
	require.Equal(t, wallet.CommandType(""), e.Type)
	require.Equal(t, e.Hash, e.ComputeHash())
}

func TestTheLargestAmountsAddUp(t *testing.T) {
	s := newSteps(t)
	nines := "99999999999999999999999999999999999999"
	s.apply(create("open"), add("a", nines), add("b", nines))
	e := s.journal()[2]
	require.Equal(t, "199999999999999999999999999999999999998.00", e.TotalAfter.String())
	require.Equal(t, e.Hash, e.ComputeHash())
}

func TestTheTrailIsAppendOnlyForItsOwner(t *testing.T) {
	s := newSteps(t)
	s.ensure()
	for _, sql := range []string{
		`UPDATE wallet_commands SET message = 'x'`, `DELETE FROM wallet_commands`, `TRUNCATE wallet_commands`,
		`UPDATE wallet_asset_events SET actor = 'x'`, `DELETE FROM wallet_asset_events`, `TRUNCATE wallet_asset_events`,
		`UPDATE wallet_feed SET last_version = 9`, `DELETE FROM wallet_feed`, `TRUNCATE wallet_feed`,
		`SET session_replication_role = replica; DELETE FROM wallet_commands`,
	} {
		_, err := s.db.Exec(t.Context(), sql, pgx.QueryExecModeSimpleProtocol)
		require.ErrorContains(t, err, "append-only", sql)
	}
	_, err := s.db.Exec(t.Context(), `UPDATE currencies SET scale = 3 WHERE code = 'USD'`)
	require.ErrorContains(t, err, "never changes")
	_, err = s.db.Exec(t.Context(), `DELETE FROM currencies WHERE code = 'USD'`)
	require.ErrorContains(t, err, "foreign key")
	for _, bad := range []string{"-1", "'NaN'", "'Infinity'"} {
		_, err = s.db.Exec(t.Context(), `UPDATE wallet_assets SET total_amount = `+bad)
		require.ErrorContains(t, err, "check constraint", bad)
	}
}
