package wallet

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Limits of thresholds. Together they keep a row of wallet_assets in its page.
const (
	MaxThresholds              = 8
	MaxThresholdNameCharacters = 32
)

// Threshold is an amount that is watched.
type Threshold struct {
	Name   string `json:"name"`
	Amount Amount `json:"amount"`
}

// Direction is which way a threshold was crossed.
type Direction string

// The directions.
const (
	Below Direction = "below" // from the amount or more to less
	Above Direction = "above" // from less to the amount or more
)

// Crossing is a threshold that was crossed.
type Crossing struct {
	Name      string    `json:"name"`
	Amount    Amount    `json:"amount"`
	Direction Direction `json:"direction"`
}

// Thresholds are those of a wallet asset, by name; empty if it has none. The text is their JSON,
// exactly as Postgres writes jsonb, so that each content has one form. In JSON they are a list.
type Thresholds string

// Crossed are the thresholds that an entry crossed, by name, in the same form.
type Crossed string

// List returns the thresholds, by name.
func (t Thresholds) List() []Threshold { return listOf[Threshold](string(t)) }

// List returns the crossings, by name.
func (c Crossed) List() []Crossing { return listOf[Crossing](string(c)) }

// MarshalJSON writes a list.
func (t Thresholds) MarshalJSON() ([]byte, error) { return orEmptyList(string(t)), nil }

// MarshalJSON writes a list.
func (c Crossed) MarshalJSON() ([]byte, error) { return orEmptyList(string(c)), nil }

// UnmarshalJSON reads a list.
func (t *Thresholds) UnmarshalJSON(data []byte) error {
	var list []Threshold
	if err := json.Unmarshal(data, &list); err != nil {
		return err
	}
	*t = thresholdsOf(list)
	return nil
}

// UnmarshalJSON reads a list.
func (c *Crossed) UnmarshalJSON(data []byte) error {
	var list []Crossing
	if err := json.Unmarshal(data, &list); err != nil {
		return err
	}
	*c = crossedOf(list)
	return nil
}

func listOf[T any](text string) (list []T) {
	if text != "" {
		_ = json.Unmarshal([]byte(text), &list) // what is stored was written by thresholdsOf or crossedOf
	}
	return list
}

func orEmptyList(text string) []byte {
	if text == "" {
		return []byte("[]")
	}
	return []byte(text)
}

// thresholdsOf writes a list as jsonb is written: short names of fields first, a space behind
// each colon and comma. Names of thresholds have nothing to escape.
func thresholdsOf(list []Threshold) Thresholds {
	items := make([]string, len(list))
	for i, t := range list {
		items[i] = fmt.Sprintf(`{"name": "%s", "amount": "%s"}`, t.Name, t.Amount)
	}
	return Thresholds(jsonList(items))
}

func crossedOf(list []Crossing) Crossed {
	items := make([]string, len(list))
	for i, c := range list {
		items[i] = fmt.Sprintf(`{"name": "%s", "amount": "%s", "direction": "%s"}`, c.Name, c.Amount, c.Direction)
	}
	return Crossed(jsonList(items))
}

func jsonList(items []string) string {
	if len(items) == 0 {
		return ""
	}
	return "[" + strings.Join(items, ", ") + "]"
}

// watched reads the thresholds of an asset. What was not written by this service is an
// *InconsistentError: nobody may be told, or not told, because of it.
func (a Asset) watched() ([]Threshold, error) {
	if a.Thresholds == "" {
		return nil, nil
	}
	list := a.Thresholds.List()
	sorted := slices.IsSortedFunc(list, func(a, b Threshold) int { return strings.Compare(a.Name, b.Name) })
	if thresholdsOf(list) != a.Thresholds || !sorted || len(list) > MaxThresholds {
		return nil, a.inconsistent("its thresholds are %s", quote(string(a.Thresholds)))
	}
	return list, nil
}

// crossed returns the thresholds that a change of the available amount crosses.
func crossed(watched []Threshold, before, after Amount) Crossed {
	var crossed []Crossing
	for _, t := range watched {
		switch wasBelow, isBelow := before.Cmp(t.Amount) < 0, after.Cmp(t.Amount) < 0; {
		case !wasBelow && isBelow:
			crossed = append(crossed, Crossing{t.Name, t.Amount, Below})
		case wasBelow && !isBelow:
			crossed = append(crossed, Crossing{t.Name, t.Amount, Above})
		}
	}
	return crossedOf(crossed)
}

// setThreshold adds a threshold or changes its amount. It crosses nothing: the available amount
// stays as it is.
func setThreshold(a Account, c Command, _ time.Time) (Account, *Refusal) {
	list := a.Thresholds.List()
	at, found := findThreshold(list, c.Threshold)
	set := Threshold{c.Threshold, c.Amount}
	switch {
	case found:
		list[at] = set
	case len(list) >= MaxThresholds:
		return a, refuse(ReasonTooManyThresholds, "the wallet has %d thresholds already: remove one first, and send this again under a new id", len(list))
	default:
		list = slices.Insert(list, at, set)
	}
	a.Thresholds = thresholdsOf(list)
	return a, nil
}

func removeThreshold(a Account, c Command, _ time.Time) (Account, *Refusal) {
	list := a.Thresholds.List()
	at, found := findThreshold(list, c.Threshold)
	if !found {
		return a, refuse(ReasonThresholdNotFound, "the wallet has no threshold %s", quote(c.Threshold))
	}
	a.Thresholds = thresholdsOf(slices.Delete(list, at, at+1))
	return a, nil
}

func findThreshold(list []Threshold, name string) (at int, found bool) {
	return slices.BinarySearchFunc(list, name, func(t Threshold, name string) int { return strings.Compare(t.Name, name) })
}

// validateThreshold accepts names that are the same in every form: in JSON, in an URL, in a
// label of a dashboard.
func (c *Command) validateThreshold() error {
	if len(c.Threshold) > MaxThresholdNameCharacters || strings.ContainsFunc(c.Threshold, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && !strings.ContainsRune("._-", r)
	}) {
		return invalid("threshold", c.Threshold, "threshold %s is not a name of one: send 1 to %d of a-z, A-Z, 0-9, '.', '_' and '-', such as low",
			quote(c.Threshold), MaxThresholdNameCharacters)
	}
	return nil
}
