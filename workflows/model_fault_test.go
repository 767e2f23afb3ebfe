package workflows_test

import (
	"flag"
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// TestTheModelFindsAFaultInFewMessages plants one. What is left of the plan that found it
// must be short enough to be understood.
func TestTheModelFindsAFaultInFewMessages(t *testing.T) {
	require.NoError(t, flag.Set("rapid.nofailfile", "true"))
	defer func() { require.NoError(t, flag.Set("rapid.nofailfile", "false")) }()
	var last []arrival
	found := &failures{T: t}
	done := make(chan struct{})
	go func() { // which FailNow ends
		defer close(done)
		rapid.Check(found, func(rt *rapid.T) {
			last = anyPlan(rt)
			ledger := newLedger()
			ledger.forgetful = true
			follow(rt, last, ledger)
		})
	}()
	<-done
	require.True(t, found.failed, "a ledger that forgets which ids were used is found")
	require.NotEmpty(t, last)
	require.LessOrEqual(t, len(last), 3, "%+v", last)
}

// failures is a test that may fail.
type failures struct {
	*testing.T
	failed bool
}

func (f *failures) Logf(string, ...any)   {}
func (f *failures) Log(...any)            {}
func (f *failures) Errorf(string, ...any) { f.failed = true }
func (f *failures) Error(...any)          { f.failed = true }
func (f *failures) Fail()                 { f.failed = true }
func (f *failures) Fatalf(string, ...any) { f.FailNow() }
func (f *failures) Fatal(...any)          { f.FailNow() }
func (f *failures) FailNow()              { f.failed = true; runtime.Goexit() }
func (f *failures) Failed() bool          { return f.failed }
