//go:build mutations

package mutate

import (
	"fmt"
	"os"
	"slices"
	"strings"
)

// Variable names the mechanism to take away; none if it is empty.
const Variable = "WALLET_MUTATION"

var without = func() Mechanism {
	m := Mechanism(os.Getenv(Variable))
	if m != "" && !slices.Contains(Mechanisms, m) {
		panic(fmt.Sprintf("%s=%s is unknown: use one of %s", Variable, m, Mechanisms))
	}
	return m
}()

// Without reports whether a mechanism is taken away.
func Without(m Mechanism) bool { return m == without }

func swap(text, part, by string) string {
	if !strings.Contains(text, part) {
		panic(fmt.Sprintf("mutation of %q, which has no %q", text, part))
	}
	return strings.Replace(text, part, by, 1)
}
