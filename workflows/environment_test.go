package workflows_test

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/log"
	"go.temporal.io/sdk/testsuite"

	"github.com/valueledger/wallet"
	"github.com/valueledger/wallet/internal/service/failure"
	"github.com/valueledger/wallet/workflows"
)

// ledger runs the three steps in memory with the real fold, and records the calls it gets.
type ledger struct {
	asset     wallet.Asset
	holds     map[string]wallet.Hold
	originals map[string]wallet.Original
	grants    map[int64]wallet.Grant

	holdsChanged bool // by the last step

	clock   func() time.Time // nil: it stands still, and no hold expires
	journal map[string]*wallet.Entry
	order   []string // command ids as they were recorded
	batches []int
	events  int64
	ensures int
	fail    func(step string, attempt int) error
	lose    func(step string) error // loses the answer of a step that succeeded
	tries   map[string]int

	forgetful bool // forgets which ids were used: a bug that a test plants
}

// ledgerTime is when everything is recorded, so no hold expires. A moment before it can be the
// not_after of a command.
var ledgerTime = time.Date(2000, 1, 1, 0, 0, 0, 1000, time.UTC)

// nextHolds of a wallet come with each step that changes one.
const nextHolds = 5

func newLedger() *ledger {
	return &ledger{journal: map[string]*wallet.Entry{}, tries: map[string]int{},
		asset: wallet.Asset{UserID: "u1", Currency: "USD", Scale: 2}}
}

func (l *ledger) try(step string) error {
	l.tries[step]++
	if l.fail != nil {
		return l.fail(step, l.tries[step])
	}
	return nil
}

// done ends a step; its answer may be lost.
func (l *ledger) done(step string, err error) error {
	if err == nil && l.lose != nil {
		return l.lose(step)
	}
	return err
}

func (l *ledger) apply(commands []wallet.Received) ([]wallet.Result, error) {
	known := l.journal
	if l.forgetful {
		known = nil
	}
	now := ledgerTime
	if l.clock != nil {
		now = l.clock()
	}
	f, err := wallet.Fold(wallet.Account{Asset: l.asset, Holds: l.holds, Originals: l.originals, Grants: l.grants}, known, commands, now)
	if err != nil {
		return nil, failure.Encode(err)
	}
	l.asset, l.holds, l.originals, l.grants = f.Account.Asset, f.Account.Holds, f.Account.Originals, f.Account.Grants
	l.holdsChanged = len(f.Holds) > 0
	l.asset.NextExpiry = time.Time{}
	for _, h := range l.holds {
		if next := l.asset.NextExpiry; l.clock != nil && h.IsOpen() && !h.ExpiresAt.IsZero() && (next.IsZero() || h.ExpiresAt.Before(next)) {
			l.asset.NextExpiry = h.ExpiresAt
		}
	}
	for _, e := range f.Entries {
		l.journal[e.CommandID] = &e
		l.order = append(l.order, e.CommandID)
	}
	return f.Results, nil
}

// nextHolds are the open holds that expire first.
func (l *ledger) nextHolds() []wallet.Hold {
	open := slices.DeleteFunc(slices.Collect(maps.Values(l.holds)), func(h wallet.Hold) bool { return !h.IsOpen() })
	never := ledgerTime.AddDate(9999, 0, 0)
	slices.SortFunc(open, func(x, y wallet.Hold) int {
		expiry := func(h wallet.Hold) time.Time {
			if h.ExpiresAt.IsZero() {
				return never
			}
			return h.ExpiresAt
		}
		return cmp.Or(expiry(x).Compare(expiry(y)), strings.Compare(x.ID, y.ID))
	})
	return open[:min(len(open), nextHolds)]
}

func (l *ledger) EnsureWalletAsset(context.Context, wallet.AssetRef) (wallet.EnsureWalletAssetOutput, error) {
	if err := l.try(wallet.StepEnsureWalletAsset); err != nil {
		return wallet.EnsureWalletAssetOutput{}, failure.Encode(err)
	}
	l.ensures++
	if !l.asset.Exists() {
		if _, err := l.apply(nil); err != nil {
			return wallet.EnsureWalletAssetOutput{}, err
		}
	}
	return wallet.EnsureWalletAssetOutput{Asset: l.asset}, l.done(wallet.StepEnsureWalletAsset, nil)
}

func (l *ledger) ApplyCommands(ctx context.Context, in wallet.ApplyCommandsInput) (wallet.ApplyCommandsOutput, error) {
	if err := l.try(wallet.StepApplyCommands); err != nil {
		return wallet.ApplyCommandsOutput{}, err
	}
	lost, changedBefore := in.LastSeen.IsLostIn(l.asset), in.LastSeen != l.asset.Head()
	results, err := l.apply(in.Commands)
	if err == nil {
		l.batches = append(l.batches, len(in.Commands))
	}
	out := wallet.ApplyCommandsOutput{Asset: l.asset, LostEntries: lost, Results: wallet.NewFacts(in.Commands, results),
		NeedsRecording: slices.ContainsFunc(results, func(r wallet.Result) bool { return r.Status == wallet.StatusApplied })}
	if l.holdsChanged || changedBefore {
		out.HoldsChanged, out.NextHolds = true, l.nextHolds()
	}
	if err == nil && in.AndRecord && out.NeedsRecording {
		_, recordErr := l.RecordEvents(ctx, in.AssetRef)
		out.Recorded = recordErr == nil
	}
	return out, l.done(wallet.StepApplyCommands, err)
}

func (l *ledger) RecordEvents(context.Context, wallet.AssetRef) (wallet.RecordEventsOutput, error) {
	if err := l.try(wallet.StepRecordEvents); err != nil {
		return wallet.RecordEventsOutput{}, err
	}
	l.events = l.asset.Version
	return wallet.RecordEventsOutput{Version: l.events}, l.done(wallet.StepRecordEvents, nil)
}

type environment struct {
	*testsuite.TestWorkflowEnvironment
	t     require.TestingT
	sent  int
	tasks int // the length of the history, which tells workflow tasks apart
	*ledger
}

func newEnvironment(t require.TestingT) *environment {
	var suite testsuite.WorkflowTestSuite
	suite.SetLogger(log.NewStructuredLogger(slog.New(slog.NewTextHandler(io.Discard, nil))))
	env := &environment{suite.NewTestWorkflowEnvironment(), t, 0, 1000, newLedger()}
	workflows.Register(env)
	for name, step := range map[string]any{
		wallet.StepEnsureWalletAsset: env.EnsureWalletAsset,
		wallet.StepApplyCommands:     env.ApplyCommands,
		wallet.StepRecordEvents:      env.RecordEvents,
	} {
		env.RegisterActivityWithOptions(step, activity.RegisterOptions{Name: name})
	}
	env.SetStartWorkflowOptions(startOptions("wallet-asset/USD/u1"))
	env.SetTestTimeout(time.Minute)
	env.SetCurrentHistorySize(1 << 20)
	env.SetOnTimerFiredListener(func(string) { env.beginTask() })
	return env
}

// beginTask begins a workflow task, as the server does for an event from outside or a timer.
func (e *environment) beginTask() {
	e.tasks++
	e.SetCurrentHistoryLength(e.tasks)
}

func (e *environment) signal(argument any) { e.SignalWorkflow(wallet.SignalCommand, argument) }

// answers collects what an update returned.
type answers struct {
	rejected error
	accepted bool
	value    any
	err      error
	done     bool
}

func (e *environment) update(argument any) *answers {
	a := &answers{}
	e.UpdateWorkflow(wallet.UpdateApply, fmt.Sprint("update-", time.Now().UnixNano()), &testsuite.TestUpdateCallback{
		OnAccept:   func() { a.accepted = true },
		OnReject:   func(err error) { a.rejected = err },
		OnComplete: func(value any, err error) { a.value, a.err, a.done = value, err, true },
	}, argument)
	return a
}

func (e *environment) run(input any) error {
	if input, ok := input.(workflows.WalletAssetInput); ok && input.Carried != nil {
		e.SetContinuedExecutionRunID("the-run-before")
	}
	e.ExecuteWorkflow(wallet.WorkflowWalletAsset, input)
	require.True(e.t, e.IsWorkflowCompleted())
	return e.GetWorkflowError()
}

func (e *environment) at(d time.Duration, do func()) {
	e.RegisterDelayedCallback(func() { e.beginTask(); do() }, d)
}

func command(t wallet.CommandType, id, amount string) wallet.Command {
	c := wallet.Command{ID: id, Type: t}
	if amount != "" {
		c.Amount = wallet.MustAmount(amount)
	}
	return c
}

func subtract(id string) wallet.Command {
	return wallet.Command{ID: id, Type: wallet.TypeSubtract, Amount: wallet.MustAmount("1000")}
}

func add(id string) wallet.Command { return command(wallet.TypeAdd, id, "1") }

// idleFor makes a workflow that completes on its own once the test's commands are done.
func idleFor(d time.Duration) workflows.WalletAssetInput {
	return workflows.WalletAssetInput{AssetRef: wallet.AssetRef{UserID: "u1", Currency: "USD"}, IdleTimeout: wallet.Duration{Duration: d}}
}
