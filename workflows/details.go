package workflows

import (
	"cmp"
	"errors"
	"fmt"
	"strings"
	"time"

	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	"github.com/valueledger/wallet"
	"github.com/valueledger/wallet/internal/service/markdown"
)

const (
	// maxShown is how many commands the details list.
	maxShown = 5
	// maxShownID is how many characters of a command's id they show, to fit the table on the
	// screen. The query "result" and the journal have the full id.
	maxShownID = 40
	// maxShownCause is how many characters of an error they show.
	maxShownCause = 300

	timeOfTrouble = "2006-01-02 15:04:05"
	timeOfCommand = "02 Jan 2006 15:04"
)

// trouble is what stops a wallet from making progress, for people to read.
type trouble struct {
	since      time.Time
	step       string // retried until it succeeds
	cause      error  // of its first failure
	impossible bool   // the wallet can never exist
}

// showDetails sets what the Web UI shows of the wallet, as Markdown: in each run, after each
// batch of any size, and while a step fails. It adds no history event and is cheap compared
// with a step (BenchmarkDetails), so there is no need to wait until somebody looks.
func (w *walletAsset) showDetails(ctx workflow.Context) {
	workflow.SetCurrentDetails(ctx, w.details(workflow.Now(ctx)))
}

func (w *walletAsset) details(now time.Time) string {
	var b strings.Builder
	w.writeTrouble(&b)
	w.writeBalance(&b, w.assetAt(now))
	w.writeHolds(&b)
	w.writeGrants(&b)
	w.writeRecent(&b)
	w.writeCounts(&b)
	return b.String()
}

// showUntil keeps the details up to date while a step is pending, because commands still
// arrive.
func (s *stepper) showUntil(ctx workflow.Context, done workflow.Future) error {
	for !done.IsReady() {
		waiting := s.of.waiting()
		s.of.showDetails(ctx)
		if err := workflow.Await(ctx, func() bool { return done.IsReady() || s.of.waiting() != waiting }); err != nil {
			return err
		}
	}
	return nil
}

// waiting counts the commands without an answer.
func (w *walletAsset) waiting() int { return w.commandsInSteps + len(w.queue) + w.signals.Len() }

func (w *walletAsset) writeTrouble(b *strings.Builder) {
	if lost := w.carried.Lost; lost != nil {
		fmt.Fprintf(b, "> ⚠ **Postgres has lost entries of this wallet** (noticed %s UTC): position %d was answered, and the journal went on at %d. Commands that were answered before may be missing: send them again under their ids.\n\n",
			lost.At.UTC().Format(timeOfTrouble), lost.Seen.Position, lost.Found.Position)
	}
	if w.ignored != "" {
		fmt.Fprintf(b, "> ⚠ **Start input:** %s\n\n", markdown.Escape(w.ignored))
	}
	if w.trouble == nil {
		return
	}
	if w.trouble.impossible {
		fmt.Fprintf(b, "> ⚠ **This wallet cannot exist:** %s\n\n", w.trouble.shownCause())
		return
	}
	w.trouble.writeStep(b, w.waiting())
}

func (t *trouble) shownCause() string {
	return markdown.Escape(markdown.Shorten(causeOf(t.cause), maxShownCause))
}

// writeStep writes which step fails.
func (t *trouble) writeStep(b *strings.Builder, waiting int) {
	fmt.Fprintf(b, "> ⚠ **In trouble since %s UTC:** the step \"%s\" fails and is tried again until it works. Nothing is lost, %s. First failure: %s. The latest is under Pending Activities.\n\n",
		t.since.UTC().Format(timeOfTrouble), t.step, count(waiting, "command waits", "commands wait"), t.shownCause())
}

// causeOf returns the root error's text, without its wrappers.
func causeOf(err error) string {
	var activity *temporal.ActivityError
	if errors.As(err, &activity) {
		err = activity.Unwrap()
	}
	var application *temporal.ApplicationError
	if errors.As(err, &application) {
		return application.Message()
	}
	return err.Error()
}

func (w *walletAsset) writeBalance(b *strings.Builder, a wallet.Asset) {
	user := markdown.Escape(w.ref.UserID)
	currency := markdown.Escape(w.ref.Currency)
	if !a.Exists() {
		fmt.Fprintf(b, "## %s · %s\n\nThe balance is not known here yet. The first command, a signal or an update, looks it up.\n\n", user, currency)
		return
	}
	fmt.Fprintf(b, "## %s · %s %s available\n\n", user, a.Available(), currency)
	if a.Closed {
		fmt.Fprintf(b, "> **Closed.** A create opens it again.\n\n")
	}
	if a.Frozen != "" {
		fmt.Fprintf(b, "> **Frozen:** %s.\n\n", wallet.FrozenText(a.Frozen, a.FreezeEnds, func(t time.Time) string { return t.UTC().Format(timeOfTrouble) + " UTC" }))
	}
	if !a.CreditLimit.IsZero() {
		fmt.Fprintf(b, "> **Credit limit:** %s %s.\n\n", a.CreditLimit, currency)
	}
	if thresholds := a.Thresholds.List(); len(thresholds) > 0 {
		var texts []string
		for _, t := range thresholds {
			text := fmt.Sprintf("%s %s", markdown.Escape(t.Name), t.Amount)
			if a.Available().Cmp(t.Amount) < 0 {
				text += " (below it)"
			}
			texts = append(texts, text)
		}
		fmt.Fprintf(b, "Thresholds: %s.\n\n", strings.Join(texts, ", "))
	}
	writeTable(b, []column{{"total", right}, {"hold", right}, {"available", right}, {"version", right}, {"in queue", right}},
		[]string{a.Owned().String(), a.Reserved().String(), "**" + a.Available().String() + "**", fmt.Sprint(a.Version), fmt.Sprint(w.waiting())})
}

// writeHolds shows the open holds that expire first. Every run knows how many are open, but
// which ones only once a hold has changed in it.
func (w *walletAsset) writeHolds(b *strings.Builder) {
	a := w.carried.Asset
	if a.OpenHolds == 0 {
		return
	}
	fmt.Fprintf(b, "### %s\n\n", count(int(a.OpenHolds), "open hold", "open holds"))
	if !a.NextExpiry.IsZero() {
		fmt.Fprintf(b, "The next one expires at %s UTC.\n\n", a.NextExpiry.UTC().Format(timeOfTrouble))
	}
	var rows [][]string
	for _, h := range w.carried.NextHolds {
		expires := "never"
		if !h.ExpiresAt.IsZero() {
			expires = h.ExpiresAt.UTC().Format(timeOfTrouble)
		}
		rows = append(rows, []string{
			markdown.Escape(markdown.Shorten(h.ID, maxShownID)), h.Left().String(), h.Captured.String(),
			oneLine(h.PlacedAt.UTC().Format(timeOfCommand)), oneLine(expires),
		})
	}
	if rows != nil {
		writeTable(b, []column{{"hold", left}, {"left", right}, {"captured", right}, {"placed (UTC)", left}, {"expires (UTC)", left}}, rows...)
	}
}

// writeGrants shows how many grants are open, and those of which something expires first.
func (w *walletAsset) writeGrants(b *strings.Builder) {
	a := w.carried.Asset
	if a.OpenGrants == 0 {
		return
	}
	fmt.Fprintf(b, "### %s\n\n%s left of what is granted.\n\n", count(int(a.OpenGrants), "open grant", "open grants"), a.Granted)
	var rows [][]string
	for _, g := range w.carried.NextGrants {
		rows = append(rows, []string{
			markdown.Escape(markdown.Shorten(g.ID, maxShownID)), g.Left.String(), g.Held.String(), fmt.Sprint(g.Priority), oneLine(g.ExpiresAt.UTC().Format(timeOfTrouble)),
		})
	}
	if rows != nil {
		writeTable(b, []column{{"grant", left}, {"left", right}, {"held", right}, {"priority", right}, {"expires (UTC)", left}}, rows...)
	}
}

func (w *walletAsset) writeRecent(b *strings.Builder) {
	var rows [][]string
	for _, r := range latest(w.carried.Recent, maxShown) {
		total := r.TotalAfter.String()
		if r.Replayed { // the balance of its first answer would be out of order here
			total = ""
		}
		rows = append(rows, []string{
			markdown.Escape(markdown.Shorten(cmp.Or(r.SentID, r.CommandID), maxShownID)), oneLine(change(r.Type, r.Amount)), outcome(r), total, oneLine(r.RecordedAt.UTC().Format(timeOfCommand)),
		})
	}
	if rows != nil {
		// The heading keeps the table apart from the one above.
		b.WriteString("### Last commands\n\n")
		writeTable(b, []column{{"command", left}, {"change", right}, {"outcome", left}, {oneLine("total after"), right}, {"time (UTC)", left}}, rows...)
	}
}

// change returns "add 12.50", or only the type if there is no amount.
func change(t wallet.CommandType, amount wallet.Amount) string {
	if amount.IsZero() {
		return string(t)
	}
	return string(t) + " " + amount.String()
}

// oneLine stops a cell from wrapping.
func oneLine(text string) string { return strings.ReplaceAll(text, " ", "\u00a0") }

func outcome(r wallet.Result) string {
	text := string(r.Status)
	if r.Status != wallet.StatusApplied {
		text = "**refused:** " + markdown.Escape(string(r.Reason))
	}
	if r.Replayed {
		text = "sent again, was " + text
	}
	return text
}

func (w *walletAsset) writeCounts(b *strings.Builder) {
	counts := w.carried.Counts
	var refused int64
	var reasons []string
	for _, reason := range workflow.DeterministicKeys(counts.Unapplied) {
		refused += counts.Unapplied[reason]
		reasons = append(reasons, fmt.Sprintf("%d %s", counts.Unapplied[reason], markdown.Escape(string(reason))))
	}
	fmt.Fprintf(b, "Commands since this workflow began: %d applied, %d answered before, %d refused", counts.Applied, counts.Replayed, refused)
	if refused > 0 {
		fmt.Fprintf(b, " (%s)", strings.Join(reasons, ", "))
	}
	// The Web UI makes the frame slightly too short for its content. Give it an extra line to
	// cut off.
	b.WriteString(".\n\n\u00a0\n")
}

type column struct{ title, align string }

const left, right = ":--", "--:"

// gap separates the columns: the Web UI's tables have no space between them.
const gap = "\u2003"

func writeTable(b *strings.Builder, columns []column, rows ...[]string) {
	for _, c := range columns {
		writeCell(b, c.title)
	}
	b.WriteString("|\n")
	for _, c := range columns {
		b.WriteString("|")
		b.WriteString(c.align)
	}
	b.WriteString("|\n")
	for _, row := range rows {
		for _, cell := range row {
			writeCell(b, cell)
		}
		b.WriteString("|\n")
	}
	b.WriteString("\n")
}

func writeCell(b *strings.Builder, text string) {
	b.WriteString("| ")
	b.WriteString(text)
	b.WriteString(gap)
	b.WriteString(" ")
}

// latest returns the last n of a list, newest first.
func latest[T any](list []T, n int) []T {
	newest := make([]T, 0, n)
	for i := len(list) - 1; i >= 0 && len(newest) < n; i-- {
		newest = append(newest, list[i])
	}
	return newest
}
