package activities

import (
	"errors"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/jackc/pgx/v5"

	"github.com/valueledger/wallet"
)

// runLine is a line, and the index of its command in its group.
type runLine struct {
	wallet.RunLine
	number  int64
	invalid *wallet.InvalidError
	group   *laneGroup // nil if it is invalid, or earlier lines of its wallet wait
	place   int
}

// result returns nil unless the line's command was applied or refused.
func (l *runLine) result() *wallet.Result {
	if l.group == nil || l.group.done == nil {
		return nil
	}
	return &l.group.done.results[l.place]
}

func (l *runLine) isDone() bool { return l.invalid != nil || l.result() != nil }

func (p *runPart) readLines(into *[]*runLine) func(pgx.Rows) error {
	return func(found pgx.Rows) error {
		for found.Next() {
			l, ref, command := &runLine{}, wallet.AssetRef{}, []byte(nil)
			if err := found.Scan(&l.number, &ref.UserID, &ref.Currency, &command); err != nil {
				return err
			}
			var err error
			if l.RunLine, err = wallet.DecodeStagedLine(ref, command, p.in.RunID, l.number); err == nil && !p.currencies[ref.Currency] {
				err = wallet.UnknownCurrency(ref.Currency)
			}
			if err != nil && !errors.As(err, &l.invalid) {
				return err
			}
			*into = append(*into, l)
		}
		return found.Err()
	}
}

// groups groups the commands of lines by wallet, without invalid lines and those of waiting wallets.
func (p *runPart) groups(lines []*runLine, waiting map[wallet.AssetRef]bool) (groups []*laneGroup) {
	byRef := map[wallet.AssetRef]*laneGroup{}
	for _, l := range lines {
		if l.invalid != nil || waiting[l.AssetRef] {
			continue
		}
		g := byRef[l.AssetRef]
		if g == nil {
			g = &laneGroup{group: group{AssetRef: l.AssetRef}}
			byRef[l.AssetRef], groups = g, append(groups, g)
		}
		l.group, l.place = g, len(g.commands)
		g.commands = append(g.commands, wallet.Received{Command: l.Command})
	}
	return groups
}

// failureColumns are the parameters of sqlInsertFailures.
func failureColumns(lines []*runLine) []any {
	var numbers []int64
	var statuses, users, currencies, types, amounts, ids, reasons, messages []string
	for _, l := range lines {
		status, reason, message := "invalid", wallet.Reason(""), ""
		if l.invalid != nil {
			reason, message = l.invalid.Reason, l.invalid.Message
		} else {
			r := l.result()
			status, reason, message = "refused", r.Reason, r.Message
		}
		amount := ""
		if !l.Amount.IsZero() {
			amount = l.Amount.String()
		}
		numbers, statuses = append(numbers, l.number), append(statuses, status)
		users, currencies = append(users, printable(l.UserID)), append(currencies, printable(l.Currency))
		types, amounts, ids = append(types, printable(string(l.Type))), append(amounts, amount), append(ids, printable(l.ID))
		reasons, messages = append(reasons, string(reason)), append(messages, message)
	}
	return []any{numbers, statuses, users, currencies, types, amounts, ids, reasons, messages}
}

// maxFailureBytes is as long as the longest valid text of a line.
const maxFailureBytes = utf8.UTFMax * wallet.MaxIDCharacters

// printable makes a text of an invalid line storable, and harmless to a terminal: short, valid UTF-8,
// no control characters.
func printable(text string) string {
	text = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return unicode.ReplacementChar
		}
		return r
	}, strings.ToValidUTF8(text, string(unicode.ReplacementChar)))
	if len(text) > maxFailureBytes {
		text = strings.ToValidUTF8(text[:maxFailureBytes], "")
	}
	return text
}

func lineColumns(lines []*runLine) []any {
	var numbers []int64
	var users, currencies []string
	for _, l := range lines {
		numbers, users, currencies = append(numbers, l.number), append(users, l.UserID), append(currencies, l.Currency)
	}
	return []any{numbers, users, currencies}
}
