package workflows_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/converter"
	"go.temporal.io/sdk/testsuite"
	"go.temporal.io/sdk/workflow"
	"pgregory.net/rapid"

	"github.com/valueledger/wallet"
	"github.com/valueledger/wallet/internal/service/failure"
	"github.com/valueledger/wallet/internal/test/model"
	"github.com/valueledger/wallet/internal/test/testenv"
	"github.com/valueledger/wallet/workflows"
)

// arrival is what happens at one time: a message to the wallet, or a fault.
type arrival struct {
	wait     time.Duration // since the previous one
	by       string        // signal, apply, apply_batch, apply_batch_brief or "" for none
	commands []model.Command
	// How many of the next steps fail, and how many succeed but lose their answer.
	failing, losing int
	continueAsNew   bool
}

// TestTheWorkflowIsTheModel sends messages of all kinds while steps fail, answers get lost and
// runs continue as new. Every answer, and the journal, must match what the model gives for the
// commands in the order they were sent.
func TestTheWorkflowIsTheModel(t *testing.T) {
	testenv.FewCases(t, 60)
	rapid.Check(t, func(rt *rapid.T) { follow(rt, anyPlan(rt), newLedger()) })
}

// TestTheRetryOfAConflictSeesTheFreeze behind it in the same batch.
func TestTheRetryOfAConflictSeesTheFreeze(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		follow(rt, []arrival{
			{by: wallet.UpdateApplyBatch, commands: []model.Command{{ID: "g", Type: "add", Amount: "1"}}},
			{wait: time.Second, losing: 3},
			{by: wallet.UpdateApplyBatch, commands: []model.Command{{ID: "g", Type: "create"}, {ID: "b", Type: "freeze", What: "all"}}},
		}, newLedger())
	})
}

// anyPlan draws a plan of arrivals.
func anyPlan(rt *rapid.T) (plan []arrival) {
	rt.Repeat(map[string]func(*rapid.T){
		"message": func(rt *rapid.T) {
			a := arrival{wait: anyWait.Draw(rt, "wait"), by: rapid.SampledFrom([]string{wallet.SignalCommand, wallet.SignalCommand,
				wallet.UpdateApply, wallet.UpdateApplyBatch, wallet.UpdateApplyBrief}).Draw(rt, "by")}
			a.commands = rapid.SliceOfN(anyCommand, 1, 1).Draw(rt, "command")
			if a.by == wallet.UpdateApplyBatch || a.by == wallet.UpdateApplyBrief {
				a.commands = rapid.SliceOfN(anyCommand, 1, 6).Draw(rt, "commands")
			}
			plan = append(plan, a)
		},
		"trouble": func(rt *rapid.T) {
			a := arrival{wait: anyWait.Draw(rt, "wait"), failing: rapid.IntRange(0, 8).Draw(rt, "failing")}
			if a.failing == 0 {
				a.losing = rapid.IntRange(1, 8).Draw(rt, "losing")
			}
			plan = append(plan, a)
		},
		"continue as new": func(rt *rapid.T) { plan = append(plan, arrival{continueAsNew: true}) },
	})
	return plan
}

var (
	anyWait    = rapid.SampledFrom([]time.Duration{0, 0, time.Millisecond, time.Second, time.Minute})
	anyCommand = rapid.Custom(func(t *rapid.T) model.Command {
		c := model.Command{
			ID:      rapid.SampledFrom([]string{"a", "b", "c", "d", "e", "f", "g", "h"}).Draw(t, "id"),
			Type:    rapid.SampledFrom([]string{"add", "add", "subtract", "create"}).Draw(t, "type"),
			Content: rapid.SampledFrom([]string{"", "", "note"}).Draw(t, "content"),
		}
		if rapid.IntRange(0, 2).Draw(t, "on a hold") == 2 {
			c.Type = rapid.SampledFrom([]string{"hold", "hold", "capture", "capture", "release"}).Draw(t, "type")
		}
		if rapid.IntRange(0, 4).Draw(t, "reverses") == 4 {
			c.Type, c.OriginalID = "reverse", rapid.SampledFrom([]string{"a", "b", "c", "d", "nobody"}).Draw(t, "original")
		}
		if rapid.IntRange(0, 9).Draw(t, "stops") == 9 {
			c.OriginalID, c.Type = "", rapid.SampledFrom([]string{"freeze", "unfreeze", "close", "create", "set_credit_limit"}).Draw(t, "type")
			if c.Type == "set_credit_limit" {
				c.Amount = rapid.SampledFrom([]string{"", "0", "5", "40"}).Draw(t, "limit")
			}
			if c.Type == "freeze" {
				c.What = rapid.SampledFrom([]string{"debits", "credits", "all"}).Draw(t, "what")
				c.ExpiresIn = rapid.SampledFrom([]string{"", "", "1h", "2h"}).Draw(t, "frozen for")
			}
		} else if c.Type != "create" {
			c.Amount = rapid.SampledFrom([]string{"1", "1.00", "2.5", "40", "0.005"}).Draw(t, "amount")
		}
		if c.Type == "add" && rapid.IntRange(0, 2).Draw(t, "as a grant") == 2 {
			c.Priority = rapid.SampledFrom([]int{0, 1, 50}).Draw(t, "priority")
			c.ExpiresIn = rapid.SampledFrom([]string{"", "1h", "2h"}).Draw(t, "grant expires in")
		}
		c.ReturnExpired = c.Type == "reverse" && rapid.Bool().Draw(t, "return expired")
		switch c.Type {
		case "hold":
			c.ExpiresIn = rapid.SampledFrom([]string{"", "1h", "2h"}).Draw(t, "expires in")
			c.HoldID = rapid.SampledFrom([]string{"", "", "a", "b"}).Draw(t, "raises")
		case "capture", "release":
			c.HoldID = rapid.SampledFrom([]string{"a", "b", "c", "d"}).Draw(t, "hold")
			c.Partial = c.Type == "capture" && rapid.Bool().Draw(t, "partial")
			if rapid.Bool().Draw(t, "all of it") {
				c.Amount = ""
			}
		}
		if c.Type == "reverse" && rapid.Bool().Draw(t, "all of it") {
			c.Amount = ""
		}
		if rapid.IntRange(0, 5).Draw(t, "on a threshold") == 5 {
			c = model.Command{ID: c.ID, Content: c.Content, Type: "remove_threshold", Threshold: rapid.SampledFrom([]string{"low", "high"}).Draw(t, "threshold")}
			if rapid.IntRange(0, 3).Draw(t, "removes") > 0 {
				c.Type, c.Amount = "set_threshold", rapid.SampledFrom([]string{"1", "2.5", "40"}).Draw(t, "amount")
			}
		}
		c.Malformed = rapid.IntRange(0, 9).Draw(t, "malformed") == 9
		if !c.Malformed && rapid.IntRange(0, 2).Draw(t, "with conditions") == 2 {
			c.NotAfter = rapid.SampledFrom([]time.Time{{}, ledgerTime, ledgerTime.Add(-time.Microsecond)}).Draw(t, "not after")
			c.ExpectedVersion = rapid.SampledFrom([]*int64{nil, new(int64(0)), new(int64(1)), new(int64(2)), new(int64(3))}).Draw(t, "expected version")
		}
		return c
	})
)

// follow runs the plan alongside the model, over as many runs of the workflow as it takes.
func follow(rt *rapid.T, plan []arrival, kept *ledger) {
	m := model.New(2)
	m.Now = ledgerTime
	input := workflows.WalletAssetInput{AssetRef: wallet.AssetRef{UserID: "u1", Currency: "USD"}}
	for len(plan) > 0 {
		env := newEnvironment(rt)
		*env.ledger = *kept
		run := &modelledRun{environment: env, rt: rt, model: m, inARow: map[string]int{}}
		env.fail = func(step string, _ int) error { return run.trouble(&run.failing, step) }
		env.lose = func(step string) error {
			err := run.trouble(&run.losing, step)
			run.mu.Lock()
			defer run.mu.Unlock()
			if err == nil {
				run.inARow[step] = 0
			}
			run.lost = run.lost || err != nil
			return err
		}
		at, last := time.Duration(0), false
		for len(plan) > 0 && !last {
			n := together(plan)
			group := plan[:n]
			plan, last = plan[n:], group[n-1].continueAsNew
			at += time.Millisecond + group[0].wait
			env.at(at, func() {
				for _, a := range group {
					run.receive(a)
				}
			})
		}
		if !last {
			input.IdleTimeout = wallet.Duration{Duration: 24 * time.Hour}
		}
		err := env.run(input)
		for _, waiting := range run.waiting {
			waiting()
		}
		kept = env.ledger
		if !last {
			require.NoError(rt, err)
			break
		}
		var next *workflow.ContinueAsNewError
		require.ErrorAs(rt, err, &next)
		input = workflows.WalletAssetInput{}
		require.NoError(rt, converter.GetDefaultDataConverter().FromPayloads(next.Input, &input))
		if len(plan) == 0 { // a last run handles what was carried
			plan = []arrival{{}}
		}
	}
	require.Len(rt, kept.order, len(m.Journal))
	for i, want := range m.Journal {
		e := kept.journal[kept.order[i]]
		require.Equal(rt, want, told(e.Result()), "entry %d", i+1)
	}
	require.Equal(rt, m.Version(), kept.events)
}

// together counts the arrivals at the time of the first one. The suggestion to continue as new
// comes later: the test environment drops what arrives after a run's end.
func together(plan []arrival) int {
	for i, a := range plan {
		if i > 0 && (a.wait > 0 || a.continueAsNew || plan[0].continueAsNew) {
			return i
		}
	}
	return len(plan)
}

// modelledRun is one run of the workflow, and the model that gets the same messages.
type modelledRun struct {
	*environment
	rt      *rapid.T
	model   *model.Wallet
	waiting []func() // compare the updates' answers

	mu              sync.Mutex // steps run while messages arrive
	failing, losing int
	lost            bool           // a step's answer was lost
	inARow          map[string]int // failed tries of a step
}

// mostInARow is less than the 10 tries after which the test environment gives up.
const mostInARow = 8

// trouble decides whether the next step fails.
func (r *modelledRun) trouble(left *int, step string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if *left == 0 || r.inARow[step] == mostInARow {
		return nil
	}
	*left--
	r.inARow[step]++
	return errors.New("connection refused")
}

func (r *modelledRun) receive(a arrival) {
	switch {
	case a.continueAsNew:
		r.SetContinueAsNewSuggested(true)
	case a.failing > 0 || a.losing > 0:
		r.mu.Lock()
		r.failing, r.losing = a.failing, a.losing
		r.mu.Unlock()
	case a.by == wallet.SignalCommand:
		r.signal(sent(a.commands[0]))
		r.expect(a.commands)
	case a.by != "":
		r.sendUpdate(a)
	}
}

// expect runs the commands on the model, with the steps that the workflow takes for them.
func (r *modelledRun) expect(commands []model.Command) []model.Answer {
	commands = slices.Clone(commands)
	for i, c := range commands {
		if c.Malformed { // its content is what could not be read
			commands[i] = model.Command{ID: malformedID(r.rt, c), Type: c.Type, Malformed: true, Content: malformedContent(c)}
		}
	}
	if commands[0].Type != "create" || commands[0].Malformed {
		r.model.Ensure()
	}
	answers := r.model.Apply(commands)
	r.model.Record()
	return answers
}

func (r *modelledRun) sendUpdate(a arrival) {
	commands, wellFormed := make([]any, len(a.commands)), true
	for i, c := range a.commands {
		commands[i] = sent(c)
		wellFormed = wellFormed && !c.Malformed
	}
	var argument any = commands
	if a.by == wallet.UpdateApply {
		argument = commands[0]
	}
	var wants []model.Answer
	if wellFormed {
		wants = r.expect(a.commands)
	}
	got := &answers{}
	r.UpdateWorkflow(a.by, fmt.Sprint("update-", time.Now().UnixNano()), &testsuite.TestUpdateCallback{
		OnAccept:   func() { got.accepted = true },
		OnReject:   func(err error) { got.rejected = err },
		OnComplete: func(value any, err error) { got.value, got.err, got.done = value, err, true },
	}, argument)
	r.waiting = append(r.waiting, func() {
		if !wellFormed {
			var invalid *wallet.InvalidError
			require.ErrorAs(r.rt, failure.Decode(got.rejected), &invalid)
			return
		}
		require.NoError(r.rt, got.rejected)
		require.True(r.rt, got.done, "%s is answered before the run ends", a.by)
		for i, result := range r.results(got, a) {
			require.Equal(r.rt, wants[i].ID, result.CommandID)
			answer := told(result)
			if r.lost { // the answer comes from a retry, which finds the command done
				answer.Replayed = wants[i].Replayed
				if wants[i].Reason == "id_conflict" { // it has the current balance, and what stops the wallet
					wants[i].Frozen, wants[i].Closed, wants[i].CreditLimit = answer.Frozen, answer.Closed, answer.CreditLimit
					wants[i].Before, wants[i].After, wants[i].HoldBefore, wants[i].HoldAfter = answer.Before, answer.After, answer.HoldBefore, answer.HoldAfter
				}
			}
			wants[i].Grants, answer.Grants = "", "" // which are in the entries alone
			require.Equal(r.rt, wants[i], answer, "%s, command %d", a.by, i)
		}
	})
}

// results returns an update's results, whichever update it was.
func (r *modelledRun) results(got *answers, a arrival) []wallet.Result {
	switch value := got.value.(type) {
	case []wallet.Result:
		require.NoError(r.rt, got.err)
		require.Len(r.rt, value, len(a.commands))
		return value
	case []byte:
		require.NoError(r.rt, got.err)
		commands := make([]wallet.Command, len(a.commands))
		for i, c := range a.commands {
			commands[i] = sent(c).(wallet.Command)
		}
		results, err := wallet.Facts(value).ResultsFor(commands)
		require.NoError(r.rt, err)
		require.Len(r.rt, results, len(commands))
		return results
	}
	var unapplied *wallet.UnappliedError
	if errors.As(failure.Decode(got.err), &unapplied) {
		return []wallet.Result{unapplied.Result}
	}
	require.NoError(r.rt, got.err)
	return []wallet.Result{got.value.(wallet.Result)}
}

// malformedID is the id that a malformed command is recorded under.
func malformedID(t require.TestingT, c model.Command) string {
	payload, err := converter.GetDefaultDataConverter().ToPayload(sent(c))
	require.NoError(t, err)
	return wallet.MalformedID(payload.GetData(), converter.MetadataEncodingJSON)
}

// malformedContent is all that a malformed command says, in one text.
func malformedContent(c model.Command) string {
	return fmt.Sprint("malformed", c.Amount, c.HoldID, c.ExpiresIn, c.Partial, c.OriginalID, c.What, c.Threshold, c.Priority, c.ReturnExpired, c.Content)
}

// sent returns a command as a caller sends it; a malformed one has a number as its amount.
func sent(c model.Command) any {
	if c.Malformed {
		return map[string]any{"id": c.ID, "type": c.Type, "amount": 1, "description": malformedContent(c)}
	}
	command := wallet.Command{ID: c.ID, Type: wallet.CommandType(c.Type), HoldID: c.HoldID, ExpiresIn: c.ExpiresIn, Partial: c.Partial, OriginalID: c.OriginalID, What: c.What, Threshold: c.Threshold, Priority: int64(c.Priority), ReturnExpired: c.ReturnExpired, NotAfter: c.NotAfter, ExpectedVersion: c.ExpectedVersion, Description: c.Content}
	if c.Amount != "" {
		command.Amount = wallet.MustAmount(c.Amount)
	}
	return command
}

func told(r wallet.Result) model.Answer {
	a := model.Answer{ID: r.CommandID, Status: string(r.Status), Reason: string(r.Reason), Before: r.TotalBefore.String(),
		After: r.TotalAfter.String(), HoldBefore: r.HoldBefore.String(), HoldAfter: r.HoldAfter.String(),
		Version: r.Version, Position: r.Position, Replayed: r.Replayed, Frozen: wallet.FrozenText(r.Frozen, r.FreezeEnds, model.Time), Closed: r.Closed, CreditLimit: limitText(r.CreditLimit)}
	var crossed, set []string
	for _, c := range r.Crossed.List() {
		crossed = append(crossed, string(c.Direction)+" "+c.Name)
	}
	for _, t := range r.Thresholds.List() {
		set = append(set, t.Name+" "+t.Amount.String())
	}
	a.GrantExpires, a.Grants = model.Time(r.GrantExpiresAt), r.Grants
	a.Crossed, a.Thresholds = strings.Join(crossed, ", "), strings.Join(set, ", ")
	if r.HoldState != "" {
		a.Hold, a.State, a.Expires = r.HoldID, string(r.HoldState), model.Time(r.HoldExpiresAt)
	}
	if r.Status == wallet.StatusApplied {
		a.Original = r.OriginalID
	}
	if !r.OriginalLeft.IsZero() {
		a.OriginalLeft = r.OriginalLeft.String()
	}
	if r.HoldState == wallet.HoldOpen {
		a.Left = r.HoldLeft.String()
	}
	return a
}

// limitText is how the model writes a credit limit.
func limitText(limit wallet.Amount) string {
	if limit.IsZero() {
		return ""
	}
	return limit.String()
}
