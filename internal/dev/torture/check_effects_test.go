package torture

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/valueledger/wallet"
)

// busy is the report of a run in which everything happened and had an effect.
func busy() *Report {
	p := Plan{Options: Options{Workers: 1}}
	faults := []Fault{
		{Kind: Kill, Target: postgresTarget}, {Kind: Kill, Target: workerTarget(0)}, {Kind: Kill, Target: temporalTarget},
		{Kind: Terminate}, {Kind: Tamper, Target: "trail"}, {Kind: Cut, Target: callerTarget, For: 1},
	}
	for range enoughPlanned {
		p.Faults = append(p.Faults, faults...)
	}
	r := newReport(p)
	for _, f := range p.Faults {
		r.Faults = append(r.Faults, Inflicted{Fault: f})
	}
	r.countFaults()
	r.Commands, r.ownEvents = 100, 200
	r.Effects = map[string]int{recoveries: 3, "starts of worker-0": 4, "starts of temporal": 3, "runs Terminated": 3, "runs ContinuedAsNew": 2, transactionsApplied: 1, transactionsRefused: 1}
	return r
}

func TestARunThatProvesNothingIsAViolation(t *testing.T) {
	for name, c := range map[string]struct {
		doctor func(*Report)
		want   string // none if it is empty
	}{
		"a busy run":  {func(*Report) {}, ""},
		"no commands": {func(r *Report) { r.Commands = 0 }, "nobody sent a command"},
		"no hold expires": {func(r *Report) {
			r.Commands = enoughCommands
			r.Applied = map[string]int{"hold": 9, "capture": 3, "release": 2, "reverse": 1, "expire_grant": 1}
		}, "no expire was applied"},
		"nothing is reversed": {func(r *Report) {
			r.Commands = enoughCommands
			r.Applied = map[string]int{"hold": 9, "capture": 3, "release": 2, "expire": 1, "expire_grant": 1}
		}, "no reverse was applied"},
		"transfers reverse nothing, and their money does not expire": {func(r *Report) {
			r.Commands, r.Plan.Options.Load = enoughCommands, LoadTransfers
			r.Applied = map[string]int{"hold": 9, "capture": 3, "release": 2, "expire": 1}
		}, ""},
		"no hold of transfers expires": {func(r *Report) {
			r.Commands, r.Plan.Options.Load = enoughCommands, LoadTransfers
			r.Applied = map[string]int{"hold": 9, "capture": 3, "release": 2}
		}, "no expire was applied"},
		"no recovery":                  {func(r *Report) { r.Effects[recoveries] = 0 }, "never recovered"},
		"Temporal stays up":            {func(r *Report) { r.Effects["starts of temporal"] = 0 }, "Temporal was killed, and not started"},
		"the first start is the last":  {func(r *Report) { r.Effects["starts of worker-0"] = 1 }, "none was started again"},
		"no run is terminated":         {func(r *Report) { r.Effects["runs Terminated"] = 0 }, "3 workflows were terminated, and only 0"},
		"resets terminate runs too":    {func(r *Report) { r.Effects["runs Terminated"] = 9 }, ""},
		"no run continues as new":      {func(r *Report) { r.Effects["runs ContinuedAsNew"] = 0 }, "none continued as new"},
		"too short to continue as new": {func(r *Report) { r.Effects["runs ContinuedAsNew"], r.ownEvents = 0, eventsOfARun }, ""},
		"the clock never goes ahead":   {func(r *Report) { r.FaultsByKind[string(Jump)] = enoughJumps }, "no entry is ahead of its time"},
		"the clock goes ahead": {func(r *Report) {
			r.FaultsByKind[string(Jump)], r.Effects[aheadOfTime] = enoughJumps, 1
		}, ""},
		"no standby takes over": {func(r *Report) {
			r.FaultsByKind[string(Promote)], r.Effects[promotions] = 2, 1
		}, "2 standbys were promoted, and only 1 have written"},
		"all kills at expiries come late": {func(r *Report) {
			r.FaultsByKind["kill worker at expiry"], r.Effects[expiredBefore] = enoughAimed, enoughAimed
		}, "10 kills were aimed at expiries, and all of these were recorded before"},
		"no transaction is refused": {func(r *Report) {
			r.Commands, r.Effects[transactionsRefused] = enoughCommands, 0
			for _, of := range []wallet.CommandType{wallet.TypeHold, wallet.TypeCapture, wallet.TypeRelease, wallet.TypeExpire, wallet.TypeReverse, wallet.TypeExpireGrant} {
				r.Applied[string(of)] = 1
			}
		}, "1 transactions applied, 0 refused: the run says nothing of transactions"},
		"a kill comes before an expiry is recorded": {func(r *Report) {
			r.FaultsByKind["kill worker at expiry"], r.Effects[expiredAfter] = enoughAimed, 1
		}, ""},
		"ended runs had accepted nothing": {func(r *Report) {
			r.FaultsByKind[string(Overfill)], r.Effects["runs Terminated"] = 3, 6
		}, "3 runs were ended at a limit, and none had accepted a command"},
		"salvage had something to do": {func(r *Report) {
			r.FaultsByKind[string(Overfill)], r.Effects["runs Terminated"], r.Effects[salvaged] = 2, 5, 1
		}, ""},
		"no run was ended at a limit": {func(r *Report) {
			r.FaultsByKind[string(Overfill)], r.Effects[salvaged] = 2, 1
		}, "5 workflows were terminated, and only 3"},
		"a kind of fault is missed": {func(r *Report) { missAll(r, Tamper) }, `at least 3 faults of the kind "tamper" were planned, and none was inflicted: not there`},
		"no expiry comes":           {func(r *Report) { missExpiries(r, enoughCommands) }, `"kill worker at expiry" were planned, and none was inflicted`},
		"no expiry without load":    {func(r *Report) { missExpiries(r, enoughCommands-1) }, ""},
		"a connection's are missed": {func(r *Report) { missAll(r, Cut) }, `"cut connection"`},
		"cold wallets are missed": {func(r *Report) {
			for i, f := range r.Plan.Faults {
				if f.Kind == Terminate {
					r.Plan.Faults[i].Wallet = hotWallets
				}
			}
			missAll(r, Terminate)
		}, ""},
		"few are missed": {func(r *Report) {
			missAll(r, Tamper)
			r.Plan.Faults = r.Plan.Faults[:2*len(r.Plan.Faults)/enoughPlanned]
		}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			r := busy()
			c.doctor(r)
			r.checkEffects()
			if c.want == "" {
				require.Empty(t, r.Violations)
				return
			}
			require.Len(t, r.Violations, 1)
			require.Contains(t, r.Violations[0].Problem, c.want)
		})
	}
}

// missExpiries adds kills at expiries, of which none comes.
func missExpiries(r *Report, commands int) {
	r.Commands, r.Applied = commands, map[string]int{"hold": 9, "capture": 3, "release": 2, "expire": 1, "reverse": 1, "expire_grant": 1}
	for range enoughPlanned {
		f := Fault{Kind: KillAtExpiry, Target: workerTarget(0)}
		r.Plan.Faults, r.Faults = append(r.Plan.Faults, f), append(r.Faults, Inflicted{Fault: f, Missed: "not there"})
	}
}

// missAll makes all faults of a kind miss their targets.
func missAll(r *Report, kind Kind) {
	for i := range r.Faults {
		if r.Faults[i].Kind == kind {
			r.Faults[i].Missed = "not there"
		}
	}
	r.FaultsByKind = map[string]int{}
	r.countFaults()
}

func TestASnapshotThatContradictsItselfIsAViolation(t *testing.T) {
	r := newReport(Plan{})
	r.Faults = []Inflicted{
		{Fault: Fault{Kind: Snapshot}, Snapshots: []time.Duration{9 * time.Second, 2 * time.Second}},
		{Fault: Fault{Kind: Snapshot}, Inconsistent: "2 balances are not those of their journal"},
	}
	r.countFaults()
	require.Len(t, r.Violations, 1)
	require.Contains(t, r.Violations[0].Problem, "2 balances")
	require.Equal(t, 11, r.Effects[snapshotSeconds])
	require.Equal(t, 9, r.Effects[longestSnapshot])
}

func TestAKillAtAnExpiryIsCountedByWhatTheServiceHadDone(t *testing.T) {
	due := storyBegan.Add(time.Minute)
	check := newWalletCheck(storyBegan, Wallet{}, nil, record{})
	aimed := expiry{holdID: "h", due: due, killed: due.Add(20 * time.Millisecond)}
	require.Equal(t, notExpired, aimed.outcome(check), "it was captured")
	for recorded, want := range map[time.Time]string{due: expiredBefore, aimed.killed.Add(time.Millisecond): expiredAfter} {
		check.entries["_expire/h"] = wallet.Entry{HoldExpiresAt: due, RecordedAt: recorded}
		require.Equal(t, want, aimed.outcome(check))
	}
	check.entries["_expire/h"] = wallet.Entry{HoldExpiresAt: due.Add(time.Hour), RecordedAt: due.Add(time.Hour)}
	require.Equal(t, notExpired, aimed.outcome(check), "it was prolonged")
}

func TestATamperingThatSucceedsIsAViolationHoweverItEnds(t *testing.T) {
	r := newReport(Plan{})
	r.Faults = []Inflicted{{Fault: Fault{Kind: Tamper}, Succeeded: []string{"DELETE"}, Missed: "Postgres went away"}, {Fault: Fault{Kind: Tamper}}}
	r.countFaults()
	require.Len(t, r.Violations, 1)
	require.Contains(t, r.Violations[0].Problem, "nothing stopped it: DELETE")
}

func TestAWorkerEndsByItselfOnlyWhereItCannotStart(t *testing.T) {
	for crash, excused := range map[string]bool{
		"worker-0 ended (exit status 1); the end of w.log:\n{}\nwallet: no answer from Postgres at ...":                         true,
		"worker-0 ended (exit status 1); the end of w.log:\nwallet: no answer from Postgres at ...\nhint: close connections":    true,
		"worker-0 ended (exit status 1); the end of w.log:\nwallet: no answer from Postgres\nwallet: the worker ended: unknown": false,
		"worker-0 ended (exit status 2); the end of w.log:\nwallet: no answer from Postgres\ngoroutine 1 [running]:":            false,
		"worker-0 ended (signal: killed); the end of w.log:\nwallet: no answer from Postgres":                                   false,
		"worker-0 ended (<nil>); the end of w.log:\n":                                                                           false,
	} {
		r := newReport(Plan{})
		r.checkCrashes("worker-0", []string{crash})
		require.Equal(t, excused, len(r.Violations) == 0, crash)
	}
}

func TestSignalsAndBareUpdatesHaveAnEventEach(t *testing.T) {
	require.Equal(t, 3, eventsOf([]attempt{
		{way: Signal, accepted: true}, {way: Signal}, {way: Garbage, accepted: true},
		{way: BareUpdate, result: &wallet.Result{}}, {way: BareUpdate}, {way: Update, result: &wallet.Result{}},
	}))
}

func TestAFaultWaitsForSomethingToHit(t *testing.T) {
	tries, away := 0, errors.New("not there")
	require.NoError(t, untilHit(t.Context(), func() error {
		if tries++; tries < 3 {
			return away
		}
		return nil
	}))
	require.Equal(t, 3, tries)
	ended, end := context.WithCancel(t.Context())
	end()
	require.Equal(t, away, untilHit(ended, func() error { return away }))
}
