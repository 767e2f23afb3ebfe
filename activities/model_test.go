package activities_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/valueledger/wallet"
	"github.com/valueledger/wallet/internal/test/model"
	"github.com/valueledger/wallet/internal/test/testenv"
	"github.com/valueledger/wallet/trail"
)

// step is a call of one of the three steps, for a wallet of the test.
type step struct {
	name      string
	andRecord bool
	commands  []model.Command
}

// TestTheStepsAreTheModel calls the steps in any order, repeated, at the same time and
// cut short, with ids that were used, and compares every answer and all rows with the
// model.
func TestTheStepsAreTheModel(t *testing.T) {
	testenv.FewCases(t, 20)
	s := newSteps(t)
	cases := 0
	rapid.Check(t, func(t *rapid.T) {
		cases++
		user := fmt.Sprint("u", cases)
		wallets := []*walletUnderTest{
			{s, wallet.AssetRef{UserID: user, Currency: "USD"}, model.New(2)},
			{s, wallet.AssetRef{UserID: user, Currency: "JPY"}, model.New(0)},
			{s, wallet.AssetRef{UserID: user + "'s %s", Currency: "USD"}, model.New(2)},
			{s, wallet.AssetRef{UserID: user, Currency: "NOPE"}, &model.Wallet{Unknown: true}},
		}
		draw := func(t *rapid.T) *walletUnderTest { return wallets[min(rapid.IntRange(0, 5).Draw(t, "wallet"), 3)] }
		t.Repeat(map[string]func(*rapid.T){
			"one": func(t *rapid.T) { draw(t).one(t, anyStep.Draw(t, "step")) },
			"retried at once": func(t *rapid.T) {
				same := anyStep.Draw(t, "step")
				draw(t).together(t, []step{same, same, same})
			},
			"together": func(t *rapid.T) { draw(t).together(t, rapid.SliceOfN(anyStep, 2, 3).Draw(t, "steps")) },
			"cut short": func(t *rapid.T) {
				draw(t).cutShort(t, anyStep.Draw(t, "step"), time.Duration(rapid.IntRange(0, 4000).Draw(t, "microseconds"))*time.Microsecond)
			},
		})
		for _, w := range wallets {
			w.compareRows(t)
		}
	})
	report, err := trail.New(s.db).Verify(context.Background(), trail.VerifyOptions{Parallel: 1})
	require.NoError(t, err)
	for _, finding := range report.Findings { // a missing event was never asked for
		require.Equal(t, "wallet_asset_events", finding.Table, finding.Problem)
	}
}

var (
	anyCommand = rapid.Custom(func(t *rapid.T) model.Command {
		c := model.Command{
			ID:      rapid.SampledFrom([]string{"a", "b", "c", "d", "e", "f", "'; --", "%s\u202e"}).Draw(t, "id"),
			Type:    rapid.SampledFrom([]string{"add", "add", "subtract", "create"}).Draw(t, "type"),
			Content: rapid.SampledFrom([]string{"", "", "note"}).Draw(t, "content"),
		}
		if c.Type != "create" {
			c.Amount = rapid.SampledFrom([]string{"1", "1.00", "2.5", "2.50", "40", "0.01", "0.005", "99999999999999999999999999999999999999"}).Draw(t, "amount")
		}
		if rapid.IntRange(0, 9).Draw(t, "malformed") == 9 {
			c.Amount, c.Malformed = "", true
		}
		return c
	})
	anyStep = rapid.Custom(func(t *rapid.T) step {
		s := step{name: rapid.SampledFrom([]string{wallet.StepApplyCommands, wallet.StepApplyCommands, wallet.StepEnsureWalletAsset, wallet.StepRecordEvents}).Draw(t, "name")}
		if s.name == wallet.StepApplyCommands {
			s.andRecord = rapid.Bool().Draw(t, "and record")
			s.commands = rapid.SliceOfN(anyCommand, 0, 5).Draw(t, "commands")
		}
		return s
	})
)

type walletUnderTest struct {
	steps steps
	ref   wallet.AssetRef
	model *model.Wallet
}

// do calls a step as the workflow does, and tells what came of it.
func (w *walletUnderTest) do(ctx context.Context, s step) string {
	switch s.name {
	case wallet.StepEnsureWalletAsset:
		asset, err := w.steps.EnsureWalletAsset(ctx, w.ref)
		return told(nil, asset, err)
	case wallet.StepRecordEvents:
		_, err := w.steps.RecordEvents(ctx, w.ref)
		return told(nil, wallet.Asset{}, err)
	}
	commands := make([]wallet.Received, len(s.commands))
	for i, c := range s.commands {
		commands[i] = received(c)
	}
	out, err := w.steps.ApplyCommands(ctx, wallet.ApplyCommandsInput{AssetRef: w.ref, Commands: commands, AndRecord: s.andRecord})
	var results []wallet.Result
	if err == nil {
		results, err = out.Results.Results(commands)
	}
	if err == nil && s.andRecord && !out.Recorded && out.NeedsRecording {
		_, err = w.steps.RecordEvents(ctx, w.ref) // it had too little time
	}
	answers := make([]model.Answer, len(results))
	for i, r := range results {
		answers[i] = model.Answer{ID: r.CommandID, Status: string(r.Status), Reason: string(r.Reason),
			Before: r.TotalBefore.String(), After: r.TotalAfter.String(), Version: r.Version, Position: r.Position, Replayed: r.Replayed}
	}
	return told(answers, out.Asset, err)
}

// expect is what the model says of the same; it goes on from there.
func expect(m *model.Wallet, s step) string {
	asset := func() wallet.Asset {
		return wallet.Asset{Total: wallet.MustAmount(m.Total()), Version: m.Version(), Position: m.Position()}
	}
	switch {
	case s.name == wallet.StepRecordEvents:
		m.Record()
		return told(nil, wallet.Asset{}, nil)
	case m.Unknown:
		return "fails with " + wallet.FailureInvalidCommand
	case s.name == wallet.StepEnsureWalletAsset:
		m.Ensure()
		return told(nil, asset(), nil)
	}
	answers := m.Apply(s.commands)
	if s.andRecord && slices.ContainsFunc(answers, func(a model.Answer) bool { return a.Status == "applied" }) {
		m.Record()
	}
	return told(answers, asset(), nil)
}

func told(answers []model.Answer, a wallet.Asset, err error) string {
	if err != nil && failureType(err) != "" {
		return "fails with " + failureType(err)
	}
	if err != nil {
		return "fails: " + err.Error()
	}
	var b strings.Builder
	for _, answer := range answers {
		fmt.Fprintf(&b, "%+v\n", answer)
	}
	fmt.Fprintf(&b, "total %s version %d position %d", a.Total, a.Version, a.Position)
	return b.String()
}

func received(c model.Command) wallet.Received {
	r := wallet.Received{Command: wallet.Command{ID: c.ID, Type: wallet.CommandType(c.Type), Description: c.Content}}
	if c.Amount != "" {
		r.Command.Amount = wallet.MustAmount(c.Amount)
	}
	if c.Malformed {
		r.Malformed = "cannot be understood"
	}
	return r
}

func (w *walletUnderTest) one(t *rapid.T, s step) {
	got, want := w.do(context.Background(), s), expect(w.model, s)
	require.Equal(t, want, got, "%+v", s)
	w.compareEvents(t, w.model.Recorded)
}

// together calls steps at the same time. What they tell has to be what the model says
// of them one after the other, in some order.
func (w *walletUnderTest) together(t *rapid.T, all []step) {
	got := make([]string, len(all))
	var group sync.WaitGroup
	for i, s := range all {
		group.Go(func() { got[i] = w.do(context.Background(), s) })
	}
	group.Wait()
	w.anyOf(t, got, all, orders(len(all)))
}

// cutShort ends a step's context while it is under way, so that nobody knows whether it
// was done, and calls it again.
func (w *walletUnderTest) cutShort(t *rapid.T, s step, after time.Duration) {
	ctx, cancel := context.WithTimeout(context.Background(), after)
	defer cancel()
	_ = w.do(ctx, s)
	w.anyOf(t, []string{w.do(context.Background(), s), ""}, []step{s, s}, [][]int{{0}, {1, 0}})
}

// anyOf looks for an order of steps in which the model tells the same, and goes on from
// there. What is told of a step that was cut short is not compared.
func (w *walletUnderTest) anyOf(t *rapid.T, got []string, all []step, possible [][]int) {
	var wanted []string
	for _, order := range possible {
		m, recorded, same := w.model.Clone(), w.model.Recorded, true
		for _, i := range order {
			want := expect(m, all[i])
			same = same && (got[i] == "" || got[i] == want)
			wanted = append(wanted, fmt.Sprint(order, " step ", i, ": ", want))
		}
		if same { // which of the events were recorded depends on more than the order
			w.model = m
			m.Recorded = w.compareEvents(t, recorded)
			return
		}
	}
	require.FailNow(t, "no order of the steps gives these answers",
		"steps: %+v\ngot:\n%s\nthe model, by order:\n%s", all, strings.Join(got, "\n"), strings.Join(wanted, "\n"))
}

// orders are all of n things.
func orders(n int) [][]int {
	if n == 0 {
		return [][]int{{}}
	}
	var all [][]int
	for _, fewer := range orders(n - 1) {
		for at := range n {
			all = append(all, slices.Insert(slices.Clone(fewer), at, n-1))
		}
	}
	return all
}

// compareEvents checks that the trail is the beginning of what was applied, with at
// least so many events, and returns how many there are. There may be more, since a
// RecordEvents that was cut short may still be under way in Postgres.
func (w *walletUnderTest) compareEvents(t *rapid.T, least int64) int64 {
	rows, err := w.steps.db.Query(context.Background(), `SELECT command_id FROM wallet_asset_events WHERE user_id = $1 AND currency = $2 ORDER BY version`, w.ref.UserID, w.ref.Currency)
	require.NoError(t, err)
	events, err := pgx.CollectRows(rows, pgx.RowTo[string])
	require.NoError(t, err)
	var applied []string
	for _, answer := range w.model.Journal {
		if answer.Status == "applied" {
			applied = append(applied, answer.ID)
		}
	}
	require.LessOrEqual(t, len(events), len(applied))
	require.Empty(t, slices.Compare(events, applied[:len(events)]), "events %q of %q", events, applied)
	require.GreaterOrEqual(t, int64(len(events)), least, "events %q of %q", events, applied)
	return int64(len(events))
}

// compareRows checks balance, journal and events.
func (w *walletUnderTest) compareRows(t *rapid.T) {
	w.compareEvents(t, w.model.Recorded)
	asset, err := trail.New(w.steps.db).Asset(context.Background(), w.ref.UserID, w.ref.Currency)
	if !w.model.Exists() {
		require.ErrorIs(t, err, trail.ErrNoWallet)
		require.Empty(t, w.journal())
		return
	}
	require.NoError(t, err)
	require.Equal(t, w.model.Total(), asset.Total.String())
	require.Equal(t, w.model.Version(), asset.Version)
	journal, prev := []model.Answer{}, wallet.Hash{}
	for _, e := range w.journal() {
		require.Equal(t, prev, e.PrevHash)
		require.Equal(t, e.Hash, e.ComputeHash())
		prev = e.Hash
		journal = append(journal, model.Answer{ID: e.CommandID, Status: string(e.Status), Reason: string(e.Reason),
			Before: e.TotalBefore.String(), After: e.TotalAfter.String(), Version: e.Version, Position: e.Position})
	}
	require.Equal(t, w.model.Journal, journal)
	require.Equal(t, prev, asset.Hash)
}

func (w *walletUnderTest) journal() []wallet.Entry {
	of := w.steps
	of.ref = w.ref
	return of.journal()
}
