package workflows

import (
	"fmt"
	"strings"

	"go.temporal.io/sdk/workflow"
)

// maxShown commands are listed in the details.
const maxShown = 5

var markdownEscapes = strings.NewReplacer("|", `\|`, "\n", " ", "\r", " ", "<", "&lt;", "`", "'")

// showDetails sets what the Web UI shows of the wallet, as Markdown. It costs no
// history. It has to be set anew in each run.
func (w *walletAsset) showDetails(ctx workflow.Context) {
	a := w.carried.Asset
	var b strings.Builder
	fmt.Fprintf(&b, "**%s · %s**\n\n", markdownEscapes.Replace(w.ref.UserID), w.ref.Currency)
	if w.trouble != "" {
		fmt.Fprintf(&b, "**In trouble:** %s\n\n", markdownEscapes.Replace(w.trouble))
	}
	fmt.Fprintf(&b, "| total | hold | available | version | position | queue |\n|--:|--:|--:|--:|--:|--:|\n| %s | %s | %s | %d | %d | %d |\n",
		a.Total, a.Hold, a.Available(), a.Version, a.Position, len(w.queue))
	for i, r := range latest(w.carried.Recent, maxShown) {
		if i == 0 {
			b.WriteString("\n| last commands | type | amount | status | total |\n|---|---|--:|---|--:|\n")
		}
		status := string(r.Status)
		if r.Reason != "" {
			status = string(r.Reason)
		}
		fmt.Fprintf(&b, "| %s | %s | %s | %s | %s |\n", markdownEscapes.Replace(r.CommandID), r.Type, r.Amount, status, r.TotalAfter)
	}
	workflow.SetCurrentDetails(ctx, b.String())
}

// latest gives the last n of a list, newest first.
func latest[T any](list []T, n int) []T {
	newest := make([]T, 0, n)
	for i := len(list) - 1; i >= 0 && len(newest) < n; i-- {
		newest = append(newest, list[i])
	}
	return newest
}
