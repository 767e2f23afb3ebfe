package wallet

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func TestAmountRefusesAllButPlainDecimals(t *testing.T) {
	for _, text := range []string{
		"", " ", "1e9", "1E9", "NaN", "nan", "Infinity", "-Infinity", "-1", "+1", "-0", ".5", "5.", ".", "1.2.3",
		"1,000", "1_000", "0x10", " 1", "1 ", "1\n", "٣", "1٫5", "$1", "one", "1/2", "1\x00",
	} {
		_, err := ParseAmount(text)
		require.Error(t, err, text)
		require.IsType(t, &InvalidError{}, err)
		require.Contains(t, err.Error(), quote(text), "the message names the value")
	}
	_, err := ParseAmount(strings.Repeat("9", 1_000_000))
	require.ErrorContains(t, err, "has 1000000 digits: at most 38")
}

func TestAmountKeepsItsDecimals(t *testing.T) {
	for _, text := range []string{"0", "0.00", "12.50", "12.5", "100", "0.000000000000000001", strings.Repeat("9", 38),
		"0.5", "0.05", "1.05", "999999999999999999", "1000000000000000000", "9999999999999999.99", "10000000000000000.00", "9223372036854775808",
		"0.000000000000000000000001", "0.000000000000000000000000", "12345678901234.123456789012345678901234"} {
		require.Equal(t, text, MustAmount(text).String())
	}
	require.Equal(t, "7.50", MustAmount("007.50").String())
	require.Equal(t, "0", Amount{}.String())
	require.Equal(t, "-0.50", MustAmount("1").Sub(MustAmount("1.50")).String())
}

func TestAmountsAreTheSameOnlyWithTheSameDecimals(t *testing.T) {
	require.True(t, MustAmount("1.50").Same(MustAmount("1.50")))
	require.True(t, Amount{}.Same(MustAmount("0")))
	require.False(t, MustAmount("1.50").Same(MustAmount("1.5")))
	require.False(t, MustAmount("1.50").Same(MustAmount("1.51")))
}

func TestAmountHasOneCanonicalForm(t *testing.T) {
	for text, want := range map[string]string{"12.50": "12.5", "12.500": "12.5", "12.00": "12", "100": "100", "0.00": "0", "0010": "10", "0.010": "0.01"} {
		require.Equal(t, want, MustAmount(text).Canonical().String(), text)
	}
}

func TestAmountIsNeverRoundedToAScale(t *testing.T) {
	for _, row := range []struct {
		text  string
		scale int32
		want  string
		fits  bool
	}{
		{"12.5", 2, "12.50", true},
		{"12.500", 2, "12.50", true}, // a trailing zero adds nothing
		{"1.005", 2, "1.005", false},
		{"1.5", 0, "1.5", false},
		{"1.0", 0, "1", true},
		{"7", 3, "7.000", true},
		{"0", 2, "0.00", true},
		{"100", 0, "100", true},
	} {
		got, fits := MustAmount(row.text).AtScale(row.scale)
		require.Equal(t, row.fits, fits, row)
		require.Equal(t, row.want, got.String(), row)
	}
}

func TestAmountInJSONIsAString(t *testing.T) {
	data, err := json.Marshal(MustAmount("12.50"))
	require.NoError(t, err)
	require.Equal(t, `"12.50"`, string(data))

	for _, number := range []string{"12.5", "0", "1e9", "-1", "true", "{}", "[]"} {
		var a Amount
		err := json.Unmarshal([]byte(number), &a)
		require.ErrorContains(t, err, "amount "+number+" is not a JSON string")
	}
}

func TestAmountRoundTripsThroughJSON(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.StringMatching(`(0|[1-9][0-9]{0,18})(\.[0-9]{1,18})?`).Draw(t, "text")
		data, err := json.Marshal(MustAmount(text))
		require.NoError(t, err)
		var back Amount
		require.NoError(t, json.Unmarshal(data, &back))
		require.Equal(t, text, back.String())
		require.Zero(t, back.Cmp(MustAmount(text).Canonical()))
	})
}

// TestSumsKeepTheLargerNumberOfDecimals, whichever is 0.
func TestSumsKeepTheLargerNumberOfDecimals(t *testing.T) {
	for _, row := range [][4]string{ // a, b, a + b, a - b
		{"1.50", "0.25", "1.75", "1.25"}, {"1.50", "0", "1.50", "1.50"}, {"1.5", "0.00", "1.50", "1.50"}, {"1", "0.00", "1.00", "1.00"},
		{"0", "1.50", "1.50", "-1.50"}, {"0.00", "1.5", "1.50", "-1.50"}, {"0.00", "0", "0.00", "0.00"}, {"0", "0.00", "0.00", "0.00"}, {"0.0", "1", "1.0", "-1.0"},
	} {
		a, b := MustAmount(row[0]), MustAmount(row[1])
		require.Equal(t, row[2:], []string{a.Add(b).String(), a.Sub(b).String()}, "%s and %s", a, b)
	}
	require.Equal(t, "0.00", Amount{}.Add(MustAmount("0.00")).String())
	require.Equal(t, "5.00", MustAmount("5.00").Sub(Amount{}).String())
}
