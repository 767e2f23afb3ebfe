package torture

import (
	"bytes"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/valueledger/wallet"
	"github.com/valueledger/wallet/internal/dev/devstack"
)

func options(seed uint64) Options {
	return Options{Seed: seed, Duration: 10 * time.Minute, TemporalStore: devstack.StoreSQLite, Workers: 3, Clients: 4, Wallets: 20}
}

func TestTheSameSeedMakesTheSamePlan(t *testing.T) {
	one, two, other := NewPlan(options(7)), NewPlan(options(7)), NewPlan(options(8))
	require.Equal(t, one, two)
	require.NotEqual(t, one.Faults, other.Faults)
	for client := range one.Options.Clients {
		a, b, c := one.Script(client), two.Script(client), other.Script(client)
		same := true
		for range 500 {
			step := a.Next()
			require.Equal(t, step, b.Next())
			same = same && step.String() == c.Next().String()
		}
		require.False(t, same, "another seed, another script")
	}
	var first, second bytes.Buffer
	one.Write(&first)
	two.Write(&second)
	require.Equal(t, first.String(), second.String())
}

func TestALongPlanHasEverything(t *testing.T) {
	p := NewPlan(options(7))
	faults := map[Kind]bool{}
	targets, aimed := map[string]bool{}, map[string]bool{}
	for _, f := range p.Faults {
		faults[f.Kind], targets[f.Target] = true, true
		switch f.Kind {
		case Terminate:
			require.Equal(t, Terminated, p.Wallets[f.Wallet].Handling)
		case Rewind:
			require.Equal(t, Reset, p.Wallets[f.Wallet].Handling)
		case Overfill:
			require.Equal(t, Limited, p.Wallets[f.Wallet].Handling)
		case KillAtExpiry:
			aimed[f.class()] = true
			require.Greater(t, f.For, aimPatience, "time to find an expiry, and then to stay down")
		case Snapshot:
			require.GreaterOrEqual(t, f.For, 10*time.Second)
		}
	}
	var ahead, back bool
	for _, f := range p.Faults {
		require.Equal(t, f.Kind == Jump, f.Ahead != 0)
		ahead, back = ahead || f.Ahead > 30*time.Second, back || f.Ahead < 0
	}
	require.True(t, ahead && back, "clocks go both ways")
	for _, kind := range []Kind{Kill, Halt, Pause, Cut, Delay, Silence, Sever, Slice, Terminate, Rewind, Tamper, Jump, KillAtExpiry, Snapshot, Overfill} {
		require.True(t, faults[kind], kind)
	}
	require.Equal(t, map[string]bool{"kill worker at expiry": true, "kill postgres at expiry": true}, aimed)
	for _, target := range []string{postgresTarget, temporalTarget, callerTarget, workerTarget(2), linkTarget(0, postgresTarget), linkTarget(1, temporalTarget)} {
		require.True(t, targets[target], target)
	}

	ways, conflicting, reused, conflicts, atOnce := map[Way]bool{}, map[Way]bool{}, 0, 0, 0
	script, hashes := p.Script(0), map[string]string{}
	times, versions := map[int]int{}, 0
	soon, soonGrants, legs := 0, 0, map[int]int{}
	types, ofOwn, placed := map[wallet.CommandType]int{}, 0, map[string]int{}
	for range 2000 {
		step := script.Next()
		if len(step.Sends) > 1 {
			atOnce++
		}
		for _, send := range step.Sends {
			ways[send.Way] = true
			if send.Way.isTransaction() {
				require.NoError(t, send.Transaction.Validate())
				require.Len(t, send.Wallets, len(send.Commands))
				legs[len(send.Commands)]++
			}
			for _, c := range send.Commands {
				if send.Way == Garbage {
					_, err := wallet.DecodeCommand(garbagePayload(c.Description))
					require.Error(t, err)
					continue
				}
				if !send.Way.isTransaction() {
					require.NoError(t, c.Validate())
				}
				types[c.Type]++
				if !c.NotAfter.IsZero() {
					times[c.NotAfter.Year()]++
				}
				if c.ExpectedVersion != nil {
					versions++
				}
				if in, err := time.ParseDuration(c.ExpiresIn); err == nil && in <= 20*time.Second {
					if c.Type == wallet.TypeAdd {
						soonGrants++
					} else {
						soon++
					}
				}
				if at, known := placed[c.HoldID]; known && at == step.Wallet {
					ofOwn++
				}
				if c.Type == wallet.TypeHold && c.HoldID == "" {
					placed[c.ID] = step.Wallet
				}
				hash := c.RequestHash().String()
				if before, known := hashes[c.ID]; known && before == hash {
					reused++
				} else if known {
					conflicts++
					conflicting[send.Way] = true
				}
				hashes[c.ID] = hash
			}
		}
	}
	require.Len(t, ways, 12)
	require.Greater(t, len(legs), 5, "transactions of many sizes")
	for _, way := range []Way{Signal, Update, BareUpdate, Batch, StrayStep, Transaction, TransactionInLane, InLane, InRun} {
		require.True(t, conflicting[way], "%s with an id that has other content", way)
	}
	for _, of := range []wallet.CommandType{wallet.TypeHold, wallet.TypeCapture, wallet.TypeRelease} {
		require.Greater(t, types[of], 100, of)
	}
	require.Greater(t, soon, 200, "holds that expire within the run, for the kills at expiries")
	require.Greater(t, soonGrants, 200, "grants that expire within the run")
	require.Greater(t, ofOwn, 300, "commands on holds of the same wallet")
	require.Greater(t, min(times[2099], times[2001], versions), 50, "commands with conditions")
	require.Positive(t, reused)
	require.Positive(t, conflicts)
	require.Positive(t, atOnce)
}

// TestTransfersAreTransactionsBetweenAllWallets: many of them may be applied, and some use the holds of
// others.
func TestTransfersAreTransactionsBetweenAllWallets(t *testing.T) {
	o := options(7)
	o.Load, o.Wallets = LoadTransfers, 8
	require.NoError(t, o.Check())
	script := NewPlan(o).Script(0)
	sizes, pairs, placed, used := map[int]bool{}, map[[2]int]bool{}, map[string]int{}, 0
	for range 2000 {
		for _, send := range script.Next().Sends {
			if !send.Way.isTransaction() {
				require.Equal(t, wallet.TypeAdd, send.Commands[0].Type, "money for transfers")
				continue
			}
			require.NoError(t, send.Transaction.Validate())
			sizes[len(send.Commands)] = true
			pairs[[2]int(send.Wallets[:2])] = true
			for i, c := range send.Commands {
				switch of, known := placed[c.HoldID]; {
				case c.Type == wallet.TypeHold && c.HoldID == "":
					placed[c.ID] = send.Wallets[i]
				case known && of == send.Wallets[i]:
					used++
				}
			}
		}
	}
	require.True(t, sizes[2] && sizes[20] && !sizes[21])
	require.Greater(t, len(pairs), 60, "of 64, in both directions")
	require.Greater(t, used, 200)
	o.Load = "some"
	require.ErrorContains(t, o.Check(), `load "some" is unknown: use all or transfers`)
}

// TestPromotionsNeedAStandby: with one, the other faults of Postgres go on, and leave a promotion
// its time.
func TestPromotionsNeedAStandby(t *testing.T) {
	o := options(7)
	kinds := func(of Kind) (n int) {
		for _, f := range NewPlan(o).Faults {
			if f.Kind == of && f.Target == postgresTarget {
				n++
			}
		}
		return n
	}
	require.Zero(t, kinds(Promote))
	o.Standby = true
	require.Greater(t, kinds(Promote), enoughPlanned)
	require.Greater(t, kinds(Kill), enoughPlanned)
	var until time.Duration
	for _, f := range NewPlan(o).Faults {
		if f.Target != postgresTarget {
			continue
		}
		require.GreaterOrEqual(t, f.At, until, f)
		if f.Kind == Promote {
			until = f.At + f.For
		}
	}
	o.Faults = []string{promotionClass}
	require.NoError(t, o.Check())
	o.Standby = false
	require.ErrorContains(t, o.Check(), "add --standby")
	o.Faults = []string{"weather"}
	require.ErrorContains(t, o.Check(), `"weather" are unknown: use worker, postgres,`)
}

func TestOneTargetHasOneFaultAtATime(t *testing.T) {
	faults := NewPlan(options(7)).Faults
	for i, f := range faults {
		for _, other := range faults[:i] {
			if f.For > 0 && other.For > 0 && f.Target == other.Target {
				require.False(t, f.overlaps(other), "%s and %s", f, other)
			}
		}
	}
}
