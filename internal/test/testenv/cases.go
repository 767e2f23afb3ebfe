package testenv

import (
	"flag"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"
)

// FewCases makes rapid try n cases instead of 100 until the end of the test, for cases that
// take long. -rapid.checks on the command line overrides it.
func FewCases(t testing.TB, n int) {
	const name = "rapid.checks"
	given := false
	flag.Visit(func(f *flag.Flag) { given = given || f.Name == name })
	if given {
		return
	}
	before := flag.Lookup(name).Value.String()
	require.NoError(t, flag.Set(name, strconv.Itoa(n)))
	t.Cleanup(func() { require.NoError(t, flag.Set(name, before)) })
}
