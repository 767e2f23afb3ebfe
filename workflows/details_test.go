package workflows_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	sdkpb "go.temporal.io/api/sdk/v1"

	"github.com/valueledger/wallet"
	"github.com/valueledger/wallet/workflows"
)

func (e *environment) metadata() *sdkpb.WorkflowMetadata {
	value, err := e.QueryWorkflow("__temporal_workflow_metadata")
	require.NoError(e.t, err)
	metadata := &sdkpb.WorkflowMetadata{}
	require.NoError(e.t, value.Get(metadata))
	return metadata
}

func (e *environment) details() string { return e.metadata().CurrentDetails }

func TestDetailsTellTheStory(t *testing.T) {
	env := newEnvironment(t)
	var before, after string
	env.at(time.Second, func() {
		before = env.details()
		env.signal(command(wallet.TypeAdd, "order-7", "12.5"))
		env.signal(subtract("order-8"))
		env.signal(command(wallet.TypeAdd, "order-7", "12.50"))
		env.signal(map[string]any{"id": "order-9", "type": "add", "amount": 5})
	})
	env.at(time.Minute, func() { after = env.details() })
	require.NoError(t, env.run(idleFor(time.Hour)))
	after = strings.ReplaceAll(after, "\u00a0", " ")
	require.Contains(t, before, "## u1 · USD\n\nThe balance is not known here yet")
	require.Contains(t, after, "## u1 · 12.50 USD available\n")
	require.Contains(t, after, "| 12.50\u2003 | 0.00\u2003 | **12.50**\u2003 | 2\u2003 | 0\u2003 |\n\n"+
		"### Last commands\n\n| command\u2003 | change\u2003 | outcome\u2003 | total after\u2003 | time (UTC)\u2003 |\n")
	require.Contains(t, after, "| order-7\u2003 | add 12.50\u2003 | applied\u2003 | 12.50\u2003 | 01 Jan 2000 00:00\u2003 |\n")
	require.Contains(t, after, "| order-7\u2003 | add 12.50\u2003 | sent again, was applied\u2003 | \u2003 | 01 Jan 2000 00:00\u2003 |\n")
	require.Contains(t, after, "| order-8\u2003 | subtract 1000.00\u2003 | **refused:** insufficient_funds\u2003 |")
	require.Contains(t, after, "| order-9\u2003 | add\u2003 | **refused:** malformed\u2003 |", "not an amount that nobody sent")
	require.Contains(t, after, "Commands since this workflow began: 1 applied, 1 answered before, 2 refused (1 insufficient_funds, 1 malformed).\n")
}

// TestDetailsTellOfTrouble sends commands while a step fails.
func TestDetailsTellOfTrouble(t *testing.T) {
	env := newEnvironment(t)
	env.fail = func(_ string, attempt int) error {
		if attempt < 14 { // the test environment gives up after 10 tries, plus those that fit into the first 2 s
			return errors.New("no answer from <Postgres>")
		}
		return nil
	}
	var start time.Time
	var early, late, after string
	env.at(0, func() { start = env.Now(); env.signal(add("a")) })
	env.at(4*time.Second, func() { early = env.details(); env.signal(add("b")); env.update(add("c")) })
	env.at(6*time.Second, func() { late = env.details() })
	env.at(time.Hour, func() { after = env.details() })
	require.NoError(t, env.run(idleFor(2*time.Hour)))
	require.Contains(t, early, "> ⚠ **In trouble since "+start.UTC().Format(time.DateTime)+" UTC:** the step \"ensure the wallet exists\" fails and is tried again until it works. Nothing is lost, 1 command waits.")
	require.Contains(t, early, "First failure: no answer from &#60;Postgres&#62;.")
	require.Contains(t, late, "3 commands wait")
	require.NotContains(t, after, "trouble")
	require.Equal(t, []string{"_auto-create", "a", "b", "c"}, env.order)
}

// TestDetailsNameRecordingAsTheStepInTrouble makes recording fail, so it becomes its own step.
// The step is named by its summary, which the history has too.
func TestDetailsNameRecordingAsTheStepInTrouble(t *testing.T) {
	env := newEnvironment(t)
	env.fail = func(step string, attempt int) error {
		if step == wallet.StepRecordEvents && attempt < 14 { // as above
			return errors.New("connection refused")
		}
		return nil
	}
	var during string
	env.at(0, func() {
		for i := range 16 {
			env.signal(add(fmt.Sprint("c-", i)))
		}
	})
	env.at(4*time.Second, func() { during = env.details() })
	require.NoError(t, env.run(idleFor(time.Hour)))
	require.Contains(t, during, `the step "record events to v17" fails and is tried again until it works. Nothing is lost, 16 commands wait.`)
	require.Equal(t, int64(17), env.events)
}

func TestDetailsSayWhyNoWalletCanBe(t *testing.T) {
	env := newEnvironment(t)
	env.fail = func(string, int) error { return wallet.UnknownCurrency("USD") }
	env.at(time.Second, func() { env.signal(add("a")) })
	require.NoError(t, env.run(idleFor(time.Hour)))
	require.Contains(t, env.details(), "> ⚠ **This wallet cannot exist:** currency &#34;USD&#34; is not registered")
}

const hostile = "a|b`c<img src=x onerror=alert(1)>[x](https://example.com)**"

func TestDetailsEscapeWhatCallersSend(t *testing.T) {
	env := newEnvironment(t)
	env.asset.UserID = hostile
	env.SetStartWorkflowOptions(startOptions(wallet.WorkflowID(hostile, "USD")))
	env.at(time.Second, func() { env.signal(add(hostile[:20])) })
	require.NoError(t, env.run(workflows.WalletAssetInput{
		AssetRef: wallet.AssetRef{UserID: hostile, Currency: "USD"}, IdleTimeout: wallet.Duration{Duration: time.Hour}}))
	details := env.details()
	require.Contains(t, details, "a&#124;b&#96;c&#60;img src&#61;x on")
	for line := range strings.Lines(details) {
		require.NotContains(t, strings.TrimPrefix(line, "> "), "<")
		require.NotContains(t, line, "`")
		if strings.HasPrefix(line, "| a") {
			require.Equal(t, 6, strings.Count(line, "|"), line)
		}
	}
}

// TestHandlersExplainThemselves checks the descriptions, which the Web UI's forms show.
func TestHandlersExplainThemselves(t *testing.T) {
	env := newEnvironment(t)
	require.NoError(t, env.run(idleFor(time.Hour)))
	d := env.metadata().Definition
	described := map[string]string{}
	for _, list := range [][]*sdkpb.WorkflowInteractionDefinition{d.SignalDefinitions, d.UpdateDefinitions, d.QueryDefinitions} {
		for _, handler := range list {
			described[handler.Name] = handler.Description
		}
	}
	for _, name := range []string{wallet.SignalCommand, wallet.UpdateApply, wallet.UpdateApplyBatch, wallet.UpdateApplyBrief, wallet.QueryState, wallet.QueryResult} {
		require.Greater(t, len(described[name]), 40, "%s: %q", name, described[name])
	}
	for _, name := range []string{wallet.SignalCommand, wallet.UpdateApply, wallet.UpdateApplyBatch} {
		require.Contains(t, described[name], "create (takes no amount), add, subtract", name)
	}
}
