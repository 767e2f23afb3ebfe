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

// step is a call of one of the three steps for the test's wallet.
type step struct {
	name      string
	andRecord bool
	commands  []model.Command
}

// TestTheStepsAreTheModel calls the steps in any order, repeated, concurrently and cut short,
// with ids already used, and compares every answer and all rows with the model.
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
		if rapid.IntRange(0, 2).Draw(t, "funded") > 0 { // otherwise most holds find nothing to reserve
			for _, w := range wallets[:3] {
				w.one(t, step{name: wallet.StepApplyCommands, commands: []model.Command{{ID: "funds", Type: "add", Amount: "100"}}})
			}
		}
		draw := func(t *rapid.T) *walletUnderTest { return wallets[min(rapid.IntRange(0, 5).Draw(t, "wallet"), 3)] }
		t.Repeat(map[string]func(*rapid.T){
			"one": func(t *rapid.T) { draw(t).one(t, anyStep.Draw(t, "step")) },
			"retried at once": func(t *rapid.T) {
				same := anyStep.Draw(t, "step")
				draw(t).together(t, []step{same, same, same})
			},
			"together": func(t *rapid.T) { draw(t).together(t, rapid.SliceOfN(anyStep, 2, 3).Draw(t, "steps")) },
			"wait": func(t *rapid.T) { // for a hold to expire, if one will soon
				patience := rapid.SampledFrom([]time.Duration{100 * time.Millisecond, 100 * time.Millisecond, 100 * time.Millisecond, time.Second}).Draw(t, "patience")
				w := draw(t).model
				for _, next := range []time.Time{w.NextExpiry(), w.NextGrantExpiry()} {
					if !next.IsZero() && time.Until(next) < patience {
						s.awaitClock(next)
					}
				}
			},
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
	for _, finding := range report.Findings { // a missing event may never have been requested
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
		if rapid.Bool().Draw(t, "on a hold") {
			c.ID, c.Type = anyHold.Draw(t, "id")+rapid.SampledFrom([]string{"", "", "", "-1", "-2", "-3", "-4", "-5", "-6"}).Draw(t, "which"), "hold"
			if strings.Contains(c.ID, "-") {
				c.Type, c.HoldID = rapid.SampledFrom([]string{"hold", "capture", "capture", "release"}).Draw(t, "type"), anyHold.Draw(t, "hold id")
			}
		}
		if rapid.IntRange(0, 4).Draw(t, "reverses") == 4 {
			c.ID, c.Type = rapid.SampledFrom([]string{"r1", "r2", "r3", "r4", "r5"}).Draw(t, "id"), "reverse"
			c.HoldID = ""
			c.OriginalID = rapid.SampledFrom([]string{"a", "b", "c", "d", "h-1", "i-2", "funds", "r1", "nobody"}).Draw(t, "original")
		}
		if rapid.IntRange(0, 9).Draw(t, "stops") == 9 {
			c.HoldID, c.OriginalID, c.Type = "", "", rapid.SampledFrom([]string{"freeze", "unfreeze", "unfreeze", "close", "create", "set_credit_limit", "set_credit_limit"}).Draw(t, "type")
			c.ID = rapid.SampledFrom([]string{"s1", "s2", "s3", "s4", "s5", "s6"}).Draw(t, "id")
			if c.Type == "set_credit_limit" {
				c.Amount = rapid.SampledFrom([]string{"", "0", "5", "40", "0.005", "99999999999999999999999999999999999999"}).Draw(t, "limit")
			}
			if c.Type == "freeze" {
				c.What = rapid.SampledFrom([]string{"debits", "credits", "all"}).Draw(t, "what")
				if c.ExpiresIn = rapid.SampledFrom([]string{"", "", "1s", "2h"}).Draw(t, "frozen for"); c.ExpiresIn == "" {
					c.ExpiresAt = anySoon.Draw(t, "frozen until")
				}
			}
		} else if c.Type != "create" {
			if c.Type == "add" && rapid.Bool().Draw(t, "as a grant") {
				c.Priority = rapid.SampledFrom([]int{0, 1, 50, 100}).Draw(t, "priority")
				c.ExpiresIn = rapid.SampledFrom([]string{"", "1s", "2h"}).Draw(t, "grant expires in")
				if c.ExpiresIn == "" {
					c.ExpiresAt = anySoon.Draw(t, "grant expires at")
				}
			}
			c.ReturnExpired = c.Type == "reverse" && rapid.Bool().Draw(t, "return expired")
			c.Amount = rapid.SampledFrom([]string{"1", "1.00", "2.5", "2.50", "40", "0.01", "0.005", "99999999999999999999999999999999999999"}).Draw(t, "amount")
			if c.Type != "add" && c.Type != "subtract" && rapid.IntRange(0, 4).Draw(t, "fits") > 0 {
				c.Amount = rapid.SampledFrom([]string{"1", "3", "10"}).Draw(t, "small amount")
			}
		}
		switch c.Type {
		case "capture":
			c.Partial = rapid.Bool().Draw(t, "partial")
			fallthrough
		case "release", "reverse":
			if rapid.Bool().Draw(t, "all of it") {
				c.Amount = ""
			}
		case "hold":
			c.ExpiresIn = rapid.SampledFrom([]string{"", "1s", "2h", "72h"}).Draw(t, "expires in")
			if c.ExpiresIn == "" {
				c.ExpiresAt = anySoon.Draw(t, "expires at")
			}
			if c.HoldID != "" && (c.ExpiresIn != "" || !c.ExpiresAt.IsZero()) && rapid.Bool().Draw(t, "only extend") {
				c.Amount = ""
			}
		}
		if rapid.IntRange(0, 5).Draw(t, "on a threshold") == 5 {
			c = model.Command{ID: rapid.SampledFrom([]string{"w1", "w2", "w3", "w4", "w5", "w6"}).Draw(t, "id"), Content: c.Content, Type: "remove_threshold", Threshold: rapid.SampledFrom([]string{"low", "high", "-"}).Draw(t, "threshold")}
			if rapid.IntRange(0, 3).Draw(t, "removes") > 0 {
				c.Type, c.Amount = "set_threshold", rapid.SampledFrom([]string{"1", "2.5", "40", "39.99", "100", "0.005"}).Draw(t, "amount")
			}
		}
		if rapid.IntRange(0, 5).Draw(t, "with a time") == 5 {
			c.NotAfter = anySoon.Draw(t, "not after")
		}
		if rapid.IntRange(0, 5).Draw(t, "with a version") == 5 {
			c.ExpectedVersion = new(rapid.Int64Range(0, 8).Draw(t, "expected version"))
		}
		if rapid.IntRange(0, 9).Draw(t, "malformed") == 9 {
			c = model.Command{ID: wallet.MalformedID([]byte(c.ID), ""), Type: c.Type, Content: c.Content, Malformed: true}
		}
		return c
	})
	anyHold = rapid.SampledFrom([]string{"h", "i", "j"})
	// anySoon is either no time, or one that comes or passes during the test.
	anySoon = rapid.Custom(func(t *rapid.T) time.Time {
		in := rapid.SampledFrom([]time.Duration{0, -time.Second, 10 * time.Millisecond, 30 * time.Millisecond, 100 * time.Millisecond, 300 * time.Millisecond}).Draw(t, "in")
		if in == 0 {
			return time.Time{}
		}
		return time.Now().UTC().Add(in).Truncate(time.Microsecond)
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

// do calls a step as the workflow does, and returns its outcome as text.
func (w *walletUnderTest) do(ctx context.Context, s step) string {
	switch s.name {
	case wallet.StepEnsureWalletAsset:
		out, err := w.steps.EnsureWalletAsset(ctx, w.ref)
		return told(nil, out.Asset, err)
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
		_, err = w.steps.RecordEvents(ctx, w.ref) // the step had too little time for it
	}
	answers := make([]model.Answer, len(results))
	for i, r := range results {
		answers[i] = answerOf(r)
	}
	return told(answers, out.Asset, err)
}

func crossedIn(r wallet.Result) string {
	var crossed []string
	for _, c := range r.Crossed.List() {
		crossed = append(crossed, string(c.Direction)+" "+c.Name)
	}
	return strings.Join(crossed, ", ")
}

func thresholdsIn(thresholds wallet.Thresholds) string {
	var set []string
	for _, t := range thresholds.List() {
		set = append(set, t.Name+" "+t.Amount.String())
	}
	return strings.Join(set, ", ")
}

// answerOf converts a result to the model's form.
func answerOf(r wallet.Result) model.Answer {
	a := model.Answer{ID: r.CommandID, Status: string(r.Status), Reason: string(r.Reason),
		Before: r.TotalBefore.String(), After: r.TotalAfter.String(), HoldBefore: r.HoldBefore.String(), HoldAfter: r.HoldAfter.String(),
		Version: r.Version, Position: r.Position, Replayed: r.Replayed, Frozen: wallet.FrozenText(r.Frozen, r.FreezeEnds, model.Time), Closed: r.Closed, CreditLimit: limitText(r.CreditLimit), Crossed: crossedIn(r), Thresholds: thresholdsIn(r.Thresholds)}
	if r.HoldState != "" {
		a.Hold, a.State, a.Expires = r.HoldID, string(r.HoldState), model.Time(r.HoldExpiresAt)
	}
	if r.HoldState == wallet.HoldOpen {
		a.Left = r.HoldLeft.String()
	}
	if r.Status == wallet.StatusApplied {
		a.Original = r.OriginalID
	}
	if !r.OriginalLeft.IsZero() {
		a.OriginalLeft = r.OriginalLeft.String()
	}
	a.GrantExpires, a.Grants = model.Time(r.GrantExpiresAt), r.Grants
	return a
}

// expect runs the step on the model and returns the outcome.
func expect(m *model.Wallet, s step) string {
	asset := func() wallet.Asset {
		return wallet.Asset{Total: signed(m.Total()), Hold: wallet.MustAmount(m.Held()), OpenHolds: m.Open(), NextExpiry: m.NextExpiry(),
			OpenGrants: m.OpenGrants(), Granted: wallet.MustAmount(m.Granted()), NextGrantExpiry: m.NextGrantExpiry(),
			Version: m.Version(), Position: m.Position()}
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
		answer.Grants = "" // which is in the entries alone
		fmt.Fprintf(&b, "%+v\n", answer)
	}
	if a.OpenGrants > 0 {
		fmt.Fprintf(&b, "%d open grants, %s left, next expiry %q, ", a.OpenGrants, a.Granted, model.Time(a.NextGrantExpiry))
	}
	fmt.Fprintf(&b, "total %s hold %s open %d next expiry %q version %d position %d", a.Total, a.Hold, a.OpenHolds, model.Time(a.NextExpiry), a.Version, a.Position)
	return b.String()
}

func received(c model.Command) wallet.Received {
	r := wallet.Received{Command: wallet.Command{ID: c.ID, Type: wallet.CommandType(c.Type), Description: c.Content,
		HoldID: c.HoldID, ExpiresIn: c.ExpiresIn, ExpiresAt: c.ExpiresAt, Partial: c.Partial, OriginalID: c.OriginalID, What: c.What, Priority: int64(c.Priority), ReturnExpired: c.ReturnExpired, Threshold: c.Threshold, NotAfter: c.NotAfter, ExpectedVersion: c.ExpectedVersion}}
	if c.Amount != "" {
		r.Command.Amount = wallet.MustAmount(c.Amount)
	}
	if c.Malformed {
		r.Malformed = "cannot be understood"
	}
	return r
}

func (w *walletUnderTest) one(t *rapid.T, s step) {
	before := w.clock(t)
	got := []string{w.do(context.Background(), s)}
	w.anyOf(t, before, got, []step{s}, [][]int{{0}})
	w.compareEvents(t, w.model.Recorded)
}

// together calls steps concurrently. Their outcomes must match the model's when it runs them
// one after the other in some order.
func (w *walletUnderTest) together(t *rapid.T, all []step) {
	before, got := w.clock(t), make([]string, len(all))
	var group sync.WaitGroup
	for i, s := range all {
		group.Go(func() { got[i] = w.do(context.Background(), s) })
	}
	group.Wait()
	w.anyOf(t, before, got, all, orders(len(all)))
}

// cutShort cancels a step's context while it runs, so nobody knows whether it was done, and
// calls it again.
func (w *walletUnderTest) cutShort(t *rapid.T, s step, after time.Duration) {
	before := w.clock(t)
	ctx, cancel := context.WithTimeout(context.Background(), after)
	defer cancel()
	_ = w.do(ctx, s)
	w.anyOf(t, before, []string{w.do(context.Background(), s), ""}, []step{s, s}, [][]int{{0}, {1, 0}})
}

// clock returns Postgres's time.
func (w *walletUnderTest) clock(t *rapid.T) (now time.Time) {
	require.NoError(t, w.steps.db.QueryRow(context.Background(), `SELECT clock_timestamp()`).Scan(&now))
	return now.UTC()
}

// anyOf looks for an order of the steps that makes the model produce the same outcomes, and
// keeps the model's state after it. began is a time before any of them. The outcome of a step
// that was cut short is not compared.
func (w *walletUnderTest) anyOf(t *rapid.T, began time.Time, got []string, all []step, possible [][]int) {
	search := &search{got: got, steps: all, journal: w.journal(), began: began, ended: w.clock(t)}
	for _, order := range possible {
		recorded := w.model.Recorded
		if m := search.follow(w.model, order); m != nil { // the order alone does not decide which events were recorded
			w.model = m
			m.Recorded = w.compareEvents(t, recorded)
			return
		}
	}
	require.FailNow(t, "no order of the steps gives these answers",
		"steps: %+v\ngot:\n%s\nthe model, by order:\n%s", all, strings.Join(got, "\n"), strings.Join(search.wanted, "\n"))
}

// search compares the outcomes of steps with the model.
type search struct {
	got     []string
	steps   []step
	journal []wallet.Entry // after all of them
	began   time.Time
	ended   time.Time
	wanted  []string // the model's outcomes so far
}

// follow returns the model after the steps in this order, or nil if an outcome differs. A
// step's time is that of its next journal entry, or, if it recorded nothing, the time before it
// was called, or after all were: what it says of a freeze may end in between.
func (s *search) follow(m *model.Wallet, order []int) *model.Wallet {
	if len(order) == 0 {
		return m
	}
	clocks := []time.Time{s.began, s.ended}
	if next := int(m.Position()); next < len(s.journal) {
		clocks = append(clocks, s.journal[next].RecordedAt)
	}
	for _, now := range clocks {
		after, i := m.Clone(), order[0]
		after.Now = now
		want := expect(after, s.steps[i])
		s.wanted = append(s.wanted, fmt.Sprint("step ", i, " at ", model.Time(now), ": ", want))
		if s.got[i] != "" && s.got[i] != want {
			continue
		}
		if after.Position() > int64(len(s.journal)) || after.Position() > m.Position() && (now.Equal(s.began) || now.Equal(s.ended)) {
			continue // it recorded something, and not at that time
		}
		if end := s.follow(after, order[1:]); end != nil {
			return end
		}
	}
	return nil
}

// orders returns all orders of n things.
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

// compareEvents checks that the trail is a prefix of what was applied, with at least that many
// events, and returns how many there are. There may be more, because a RecordEvents that was
// cut short may still be running in Postgres.
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

// compareRows checks the balance, journal and events.
func (w *walletUnderTest) compareRows(t *rapid.T) {
	w.compareEvents(t, w.model.Recorded)
	read := w.clock(t)
	asset, err := trail.New(w.steps.db).Asset(context.Background(), w.ref.UserID, w.ref.Currency)
	if !w.model.Exists() {
		require.ErrorIs(t, err, trail.ErrNoWallet)
		require.Empty(t, w.journal())
		return
	}
	require.NoError(t, err)
	require.Equal(t, w.model.Total(), asset.Total.String())
	require.Equal(t, w.model.Held(), asset.Hold.String())
	require.Equal(t, w.model.Version(), asset.Version)
	require.Contains(t, []string{w.model.FrozenAt(read), w.model.FrozenAt(w.clock(t))}, wallet.FrozenText(asset.Frozen, asset.FreezeEnds, model.Time))
	require.Equal(t, []any{w.model.Closed, w.model.CreditLimit()}, []any{asset.Closed, limitText(asset.CreditLimit)})
	require.Equal(t, w.model.Thresholds(), thresholdsIn(asset.Thresholds))
	journal, prev := []model.Answer{}, wallet.Hash{}
	for _, e := range w.journal() {
		require.Equal(t, prev, e.PrevHash)
		require.Equal(t, e.Hash, e.ComputeHash())
		prev = e.Hash
		journal = append(journal, answerOf(e.Result()))
	}
	require.Equal(t, w.model.Journal, journal)
	require.Equal(t, prev, asset.Hash)
	holds := map[string]model.Hold{}
	for id, h := range w.ofWallet().holds() {
		holds[id] = model.Hold{State: string(h.State), Amount: h.Amount.String(), Captured: h.Captured.String(), Released: h.Released.String(), Grants: h.Grants.String(),
			Expires: model.Time(h.ExpiresAt), Placed: model.Time(h.PlacedAt), Updated: model.Time(h.UpdatedAt), Position: h.Position}
	}
	require.Equal(t, w.model.Holds(), holds)
	grants := map[int64]model.Grant{}
	for n, g := range w.ofWallet().grants() {
		grants[n] = model.Grant{ID: g.ID, State: string(g.State), Priority: int(g.Priority), Amount: g.Amount.String(), Left: g.Left.String(), Held: g.Held.String(), Used: g.Used.String(),
			Expired: g.Expired.String(), Expires: model.Time(g.ExpiresAt), Added: model.Time(g.AddedAt), Updated: model.Time(g.UpdatedAt), Position: g.Position, Expiries: int(g.Expiries)}
	}
	require.Equal(t, w.model.Grants(), grants)
}

func (w *walletUnderTest) journal() []wallet.Entry { return w.ofWallet().journal() }

// ofWallet returns the steps for this wallet.
func (w *walletUnderTest) ofWallet() steps {
	of := w.steps
	of.ref = w.ref
	return of
}

// limitText is how the model writes a credit limit.
func limitText(limit wallet.Amount) string {
	if limit.IsZero() {
		return ""
	}
	return limit.String()
}

func signed(total string) wallet.Amount {
	amount, err := wallet.ParseSigned(total)
	if err != nil {
		panic(err)
	}
	return amount
}
