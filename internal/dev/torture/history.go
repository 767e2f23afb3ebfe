package torture

import (
	"fmt"
	"math"
	"slices"
	"sync"
	"time"

	"github.com/valueledger/wallet"
)

// attempt is one try of a caller to run one command, and the outcome that the caller saw.
type attempt struct {
	wallet  int
	command wallet.Command
	way     Way
	client  int
	called  time.Duration // since the beginning of the run
	// returned is when the caller got the outcome; open if it never did.
	returned time.Duration
	result   *wallet.Result // the answer, if there was one
	accepted bool           // for a signal: it is stored
	err      error          // instead of either
}

// open is the end of an attempt without any outcome: it may take effect at any time after the
// call.
const open = time.Duration(math.MaxInt64)

func (a attempt) String() string {
	told := "no answer"
	switch {
	case a.result != nil:
		told = describe(*a.result)
	case a.accepted:
		told = "accepted"
	case a.err != nil:
		told = fmt.Sprintf("%.120s", a.err.Error())
	}
	end := "        "
	if a.returned != open {
		end = fmt.Sprintf("%8.3f", a.returned.Seconds())
	}
	return fmt.Sprintf("%8.3f to %s  client %d, %s: %s -> %s", a.called.Seconds(), end, a.client, a.way, asked(a.command), told)
}

// asked shows a command with its hold fields and conditions.
func asked(c wallet.Command) string { return c.String() + ofHold(c) + conditionsOf(c) }

func conditionsOf(c wallet.Command) (text string) {
	if !c.NotAfter.IsZero() {
		text += " not after " + c.NotAfter.Format(time.RFC3339Nano)
	}
	if c.ExpectedVersion != nil {
		text += fmt.Sprintf(" at version %d", *c.ExpectedVersion)
	}
	return text
}

func ofHold(c wallet.Command) (text string) {
	if c.HoldID != "" {
		text += fmt.Sprintf(" of %q", c.HoldID)
	}
	text += c.What + c.Threshold
	if c.OriginalID != "" {
		text += fmt.Sprintf(" of command %q", c.OriginalID)
	}
	if c.ExpiresIn != "" {
		text += " for " + c.ExpiresIn
	}
	if !c.ExpiresAt.IsZero() {
		text += " until " + c.ExpiresAt.Format(time.RFC3339)
	}
	if c.Partial {
		text += ", partial"
	}
	if c.Priority != 0 {
		text += fmt.Sprintf(", priority %d", c.Priority)
	}
	if c.ReturnExpired {
		text += ", also what has expired"
	}
	return text
}

func describe(r wallet.Result) string {
	replayed := ""
	if r.Replayed {
		replayed = ", replayed"
	}
	text := fmt.Sprintf("%s%s, total %s to %s, hold %s to %s, version %d, position %d%s",
		r.Status, map[bool]string{true: " " + string(r.Reason)}[r.Reason != ""], r.TotalBefore, r.TotalAfter, r.HoldBefore, r.HoldAfter, r.Version, r.Position, replayed)
	if r.HoldState != "" {
		text += fmt.Sprintf(", %q is %s, %s left", r.HoldID, r.HoldState, r.HoldLeft)
	}
	if r.OriginalID != "" && r.Status == wallet.StatusApplied {
		text += fmt.Sprintf(", %s of %q left to reverse", r.OriginalLeft, r.OriginalID)
	}
	if r.Crossed != "" {
		text += fmt.Sprintf(", crossed %s", string(r.Crossed))
	}
	if r.Grants != "" {
		text += fmt.Sprintf(", grants %s", r.Grants)
	}
	if !r.GrantExpiresAt.IsZero() {
		text += ", a grant until " + clockTime(r.GrantExpiresAt)
	}
	if !r.HoldExpiresAt.IsZero() {
		text += " until " + clockTime(r.HoldExpiresAt)
	}
	return text
}

// history is everything that callers did and the outcomes they saw.
type history struct {
	start time.Time

	mu         sync.Mutex
	attempts   []attempt
	pending    map[int]attempt // those in progress, by number
	next       int
	runs       []*longRun // that have ended
	answered   int        // attempts, by a result or as accepted
	lastAnswer time.Duration
	silence    time.Duration // the longest time without an answer
	silent     time.Duration // the sum of those longer than silenceCounts
	pace       []int         // answers in each span of paceSpan
}

// paceSpan is the interval in which answers are counted, to show when there were none.
const paceSpan = 5 * time.Second

func newHistory() *history { return &history{start: time.Now(), pending: map[int]attempt{}} }

func (h *history) now() time.Duration { return time.Since(h.start) }

// begin records calls before they are made, so the records exist whatever happens to the
// caller.
func (h *history) begin(client, wallet int, send Send) (numbers []int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	called := h.now()
	for i, command := range send.Commands {
		h.pending[h.next] = attempt{wallet: send.walletOf(i, wallet), command: command, way: send.Way, client: client, called: called, returned: open}
		numbers = append(numbers, h.next)
		h.next++
	}
	return numbers
}

// withdraw forgets calls that were certainly not taken, and are not made again.
func (h *history) withdraw(numbers []int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, number := range numbers {
		delete(h.pending, number)
	}
}

// end records the outcome that the caller saw. results is empty if there was none.
func (h *history) end(numbers []int, results []wallet.Result, accepted bool, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	now := h.now()
	for i, number := range numbers {
		a := h.pending[number]
		delete(h.pending, number)
		if i < len(results) {
			a.result = &results[i]
		}
		a.accepted, a.err = accepted, err
		if a.result != nil || accepted {
			a.returned = now
			h.answered++
			h.hear(now)
			for len(h.pace) <= int(now/paceSpan) {
				h.pace = append(h.pace, 0)
			}
			h.pace[now/paceSpan]++
		}
		h.attempts = append(h.attempts, a)
	}
}

// endRun records the end of a run. Lines of a cancelled one that are in no journal must never be.
func (h *history) endRun(numbers []int, run *longRun) {
	h.mu.Lock()
	h.runs = append(h.runs, run)
	h.mu.Unlock()
	for i, number := range numbers {
		if run.ended.State == wallet.RunCancelled && !slices.Contains(run.recorded, run.commands[i].ID) {
			h.withdraw([]int{number})
		} else {
			h.end([]int{number}, nil, true, nil)
		}
	}
}

// problem records what was wrong with a run before its end.
func (h *history) problem(run *longRun, problem string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	run.problems = append(run.problems, problem)
}

// longRuns are those that have ended.
func (h *history) longRuns() []*longRun {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.runs)
}

// silenceCounts is how long nobody gets an answer before it counts as silence.
const silenceCounts = time.Second

// hear records when an answer came, and how long there was none.
func (h *history) hear(now time.Duration) {
	without := now - h.lastAnswer
	if without > silenceCounts {
		h.silent += without
	}
	h.silence, h.lastAnswer = max(h.silence, without), now
}

// all returns a copy for the check, by wallet. Calls in progress have no answer.
func (h *history) all(wallets int) [][]attempt {
	h.mu.Lock()
	defer h.mu.Unlock()
	byWallet := make([][]attempt, wallets)
	for _, a := range h.attempts {
		byWallet[a.wallet] = append(byWallet[a.wallet], a)
	}
	for _, a := range h.pending {
		byWallet[a.wallet] = append(byWallet[a.wallet], a)
	}
	return byWallet
}

// counts are for the progress line.
func (h *history) counts() (answered, failed int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.answered, len(h.attempts) - h.answered
}
