package torture

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"time"
)

// Kind is what a fault does to its target.
type Kind string

// Faults of processes, of connections and of workflows.
const (
	Kill  Kind = "kill"  // SIGKILL, restarted after a while
	Halt  Kind = "halt"  // stopped as a hasty operator would, then restarted
	Pause Kind = "pause" // SIGSTOP, then SIGCONT
	// Promote kills Postgres for good, and its standby takes over.
	Promote Kind = "promotion"
	// KillAtExpiry kills a process within milliseconds of the moment at which a hold expires.
	KillAtExpiry Kind = "kill at expiry"

	Cut     Kind = "cut"     // connections close, new ones are refused
	Delay   Kind = "delay"   // every packet is delayed
	Silence Kind = "silence" // packets vanish without an error
	Sever   Kind = "sever"   // connections are reset when they are used
	Slice   Kind = "slice"   // packets arrive in small pieces

	Terminate Kind = "terminate workflow"
	Rewind    Kind = "reset workflow" // to a random earlier task
	// Overfill brings a workflow's history over the server's limit while no worker runs: the
	// server terminates it, with accepted signals inside.
	Overfill Kind = "history over its limit"
	Tamper   Kind = "tamper" // somebody tries to change what is written

	Jump Kind = "clock jump" // Postgres's clock goes ahead or back, and is right again after a while
	// Snapshot keeps a transaction open that reads one state of the tables, so that Postgres
	// keeps every later version of their rows.
	Snapshot Kind = "long snapshot"
)

// Fault is one thing that goes wrong.
type Fault struct {
	At, For time.Duration
	Kind    Kind
	Target  string // for processes and connections
	Wallet  int    // for workflows
	// Upstream is the direction of a connection's fault: towards the server.
	Upstream bool
	// Strength is between 0 and 1: how long a delay, how small the pieces, how far back.
	Strength float64
	Ahead    time.Duration // of a clock; negative for back
}

func (f Fault) String() string {
	switch f.Kind {
	case Terminate, Rewind, Overfill:
		return fmt.Sprintf("%7.3fs  %s of wallet %d", f.At.Seconds(), f.Kind, f.Wallet)
	case Tamper:
		return fmt.Sprintf("%7.3fs  %s with the %s", f.At.Seconds(), f.Kind, f.Target)
	case Jump:
		return fmt.Sprintf("%7.3fs  %s of Postgres by %s for %s", f.At.Seconds(), f.Kind, f.Ahead, f.For)
	}
	direction := ""
	if f.Kind.ofOneDirection() {
		direction = " downstream"
		if f.Upstream {
			direction = " upstream"
		}
	}
	return fmt.Sprintf("%7.3fs  %s %s%s for %s", f.At.Seconds(), f.Kind, f.Target, direction, f.For)
}

// class is what faults are counted by.
func (f Fault) class() string {
	switch {
	case f.Kind == Jump || f.Kind == Snapshot || f.Kind == Promote:
		return string(f.Kind)
	case f.Kind == KillAtExpiry && isServer(f.Target):
		return "kill " + f.Target + " at expiry"
	case f.Kind == KillAtExpiry:
		return "kill worker at expiry"
	case f.Kind != Kill && f.Kind != Halt && f.Kind != Pause && f.For > 0:
		return string(f.Kind) + " connection"
	case f.Kind != Kill && f.Kind != Halt && f.Kind != Pause:
		return string(f.Kind)
	case isServer(f.Target):
		return string(f.Kind) + " " + f.Target
	default:
		return string(f.Kind) + " worker"
	}
}

func (k Kind) ofOneDirection() bool {
	return k == Delay || k == Silence || k == Sever || k == Slice
}

// The targets' names in a plan.
const (
	postgresTarget = "postgres"
	temporalTarget = "temporal"
	callerTarget   = "caller->temporal"
	clockTarget    = "clock" // of Postgres
	snapshotTarget = "snapshot"
)

func workerTarget(i int) string           { return fmt.Sprintf("worker-%d", i) }
func linkTarget(i int, to string) string  { return workerTarget(i) + "->" + to }
func isServer(target string) bool         { return target == postgresTarget || target == temporalTarget }
func (f Fault) overlaps(other Fault) bool { return f.At < other.At+other.For && other.At < f.At+f.For }

// Temporal on Postgres needs about 5 seconds to recover: server outages are at least this far
// apart, or nothing would ever get done.
const betweenOutages = 6 * time.Second

// planFaults spreads faults over a run: single ones, and two or three at the same moment.
func planFaults(o Options, r *rand.Rand) (faults []Fault) {
	var lastOutage = map[string]time.Duration{}
	at := 2 * time.Second // let the targets start first
	for at < o.Duration-time.Second {
		together := pick(r, []weighted[int]{{7, 1}, {2, 2}, {1, 3}})
		for range together {
			f := planFault(o, r, at)
			_, was := lastOutage[f.Target]
			if isServer(f.Target) && was && at-lastOutage[f.Target] < betweenOutages {
				continue
			}
			if slices.ContainsFunc(faults, func(other Fault) bool { return f.For > 0 && other.Target == f.Target && f.overlaps(other) }) {
				continue // one fault at a time per target
			}
			if isServer(f.Target) {
				lastOutage[f.Target] = at
				if f.Kind == Promote {
					lastOutage[f.Target] += f.For
				}
			}
			faults = append(faults, f)
		}
		at += between(r, 100*time.Millisecond, 2*time.Second)
	}
	return faults
}

// What faults hit, as named by "wallet-dev torture --faults". Each server is its own class.
const (
	workerClass   = "worker"
	linkClass     = "link" // of workers
	callerClass   = "caller"
	workflowClass = "workflow"
	tamperClass   = "tamper"
	clockClass    = "clock"
	expiryClass   = "expiry"
	snapshotClass = "snapshot"
	limitClass    = "limit"
	// promotionClass needs a standby.
	promotionClass = "promotion"
)

var classes = []weighted[string]{
	{28, workerClass}, {12, postgresTarget}, {8, temporalTarget}, {32, linkClass}, {4, callerClass}, {16, workflowClass},
	{4, tamperClass}, {4, clockClass}, {12, expiryClass}, {2, snapshotClass}, {2, limitClass}, {4, promotionClass},
}

// Classes are the names of all classes of faults.
func Classes() (names []string) {
	for _, c := range classes {
		names = append(names, c.value)
	}
	return names
}

// classes returns the classes of the run, all that it can have if none is named.
func (o Options) classes() []weighted[string] {
	return slices.DeleteFunc(slices.Clone(classes), func(c weighted[string]) bool {
		return c.value == promotionClass && !o.Standby || len(o.Faults) > 0 && !slices.Contains(o.Faults, c.value)
	})
}

// furthestJump of a clock; most are of seconds. A wallet whose time has gone ahead waits for
// the others to catch up: none of its holds expires meanwhile.
const furthestJump = 2 * time.Minute

func planFault(o Options, r *rand.Rand, at time.Duration) Fault {
	f := Fault{At: at, Upstream: r.IntN(2) == 0, Strength: r.Float64()}
	process := []weighted[Kind]{{5, Kill}, {2, Halt}, {3, Pause}}
	link := []weighted[Kind]{{3, Cut}, {3, Delay}, {3, Silence}, {3, Sever}, {1, Slice}}
	worker := r.IntN(o.Workers)
	switch pick(r, o.classes()) {
	case workerClass:
		f.Target, f.Kind, f.For = workerTarget(worker), pick(r, process), between(r, 100*time.Millisecond, 3*time.Second)
	case postgresTarget:
		f.Target, f.Kind, f.For = postgresTarget, pick(r, process), between(r, 100*time.Millisecond, 3*time.Second)
	case temporalTarget:
		f.Target, f.Kind, f.For = temporalTarget, pick(r, process), between(r, 100*time.Millisecond, 3*time.Second)
	case linkClass:
		f.Target = linkTarget(worker, pick(r, []weighted[string]{{2, postgresTarget}, {1, temporalTarget}}))
		f.Kind, f.For = pick(r, link), between(r, 100*time.Millisecond, 4*time.Second)
	case callerClass:
		f.Target, f.Kind, f.For = callerTarget, pick(r, link), between(r, 100*time.Millisecond, 2*time.Second)
	case workflowClass:
		f.Kind = pick(r, []weighted[Kind]{{1, Terminate}, {1, Rewind}})
		f.Wallet = walletOf(r, o.Wallets, map[Kind]Handling{Terminate: Terminated, Rewind: Reset}[f.Kind])
	case tamperClass:
		f.Kind, f.Target = Tamper, "trail"
	case expiryClass:
		f.Kind, f.Target = KillAtExpiry, pick(r, []weighted[string]{{3, workerTarget(worker)}, {2, postgresTarget}})
		f.For = aimPatience + between(r, 100*time.Millisecond, 3*time.Second)
	case snapshotClass:
		f.Kind, f.Target, f.For = Snapshot, snapshotTarget, between(r, 10*time.Second, time.Minute)
	case promotionClass:
		f.Kind, f.Target, f.For = Promote, postgresTarget, promotionTakes
	case limitClass:
		f.Kind, f.Wallet = Overfill, walletOf(r, o.Wallets, Limited)
	case clockClass:
		f.Kind, f.Target, f.For = Jump, clockTarget, between(r, 100*time.Millisecond, 8*time.Second)
		f.Ahead = time.Duration(math.Pow(furthestJump.Seconds(), f.Strength) * float64(time.Second)).Round(time.Millisecond)
		if r.IntN(3) == 0 {
			f.Ahead = -f.Ahead
		}
	}
	return f
}

// walletOf returns a wallet with this handling, the hot one half of the time.
func walletOf(r *rand.Rand, wallets int, handling Handling) int {
	of := (wallets - int(handling) + int(handlings) - 1) / int(handlings)
	if n := r.IntN(2 * of); n < of {
		return n*int(handlings) + int(handling)
	}
	return int(handling)
}
