package contract

import (
	"encoding/json"
	"flag"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	historypb "go.temporal.io/api/history/v1"
	"google.golang.org/protobuf/encoding/protojson"
	"pgregory.net/rapid"

	"github.com/valueledger/wallet"
)

var update = flag.Bool("update", false, "write docs/schemas anew")

const root, schemas = "../../..", "../../../docs/schemas"

func checker(t *testing.T) *Checker {
	c, err := NewChecker(schemas)
	require.NoError(t, err)
	return c
}

// TestTheSchemasAreThoseOfTheTypes: "go test ./internal/test/contract -update" rewrites them.
func TestTheSchemasAreThoseOfTheTypes(t *testing.T) {
	generated, err := Generate(root)
	require.NoError(t, err)
	for _, file := range Files(generated) {
		path := filepath.Join(schemas, file)
		if *update {
			require.NoError(t, os.WriteFile(path, generated[file], 0o644))
		}
		written, err := os.ReadFile(path)
		require.NoError(t, err)
		require.Equal(t, string(generated[file]), string(written))
	}
}

// TestTheRecordedHistoriesFitTheSchemas reads what was really sent, in each version.
func TestTheRecordedHistoriesFitTheSchemas(t *testing.T) {
	files, err := filepath.Glob(filepath.Join(root, "workflows", "testdata", "*.json"))
	require.NoError(t, err)
	require.NotEmpty(t, files)
	c := checker(t)
	for _, file := range files {
		if strings.Contains(file, "scheduled") { // its command has no id, which is only allowed from a schedule
			continue
		}
		if name := filepath.Base(file); strings.HasPrefix(name, "lane_") || strings.HasPrefix(name, "run_") { // which no other language sends
			continue
		}
		data, err := os.ReadFile(file)
		require.NoError(t, err)
		var history historypb.History
		require.NoError(t, protojson.Unmarshal(data, &history))
		require.NoError(t, c.History(history.Events), file)
	}
	for _, schema := range []string{Command, Commands, Result, WalletInput, ApplyInput} {
		require.Positive(t, c.Checked[schema], schema)
	}
}

// TestSchemaAndServiceAgreeOnCommands tries commands on both sides of every rule that a schema
// can express.
func TestSchemaAndServiceAgreeOnCommands(t *testing.T) {
	c := checker(t)
	part := func(t *rapid.T, field string, texts ...string) string {
		return rapid.OneOf(rapid.SampledFrom(texts), rapid.StringN(0, 140, -1)).Draw(t, field)
	}
	amount := rapid.OneOf(
		rapid.StringMatching(`0{0,3}[0-9]{0,40}(\.[0-9]{0,40})?0{0,3}`),
		rapid.StringMatching(`0{0,2}[0-9]{37,39}(\.0{0,2})?`),
		rapid.StringMatching(`0?[1-9][0-9]{0,36}\.[0-9]{0,37}`),
		rapid.StringMatching(`0\.[0-9]{36,39}`),
		rapid.SampledFrom([]string{"1", "12.50", "0.01", "1000"}),
		rapid.SampledFrom([]string{"", "0", "0.00", ".", "1.", ".5", "-1", "+1", "1e2", " 1", "1,5", "NaN", "٣"}),
	)
	expiresIn := rapid.OneOf(
		rapid.StringMatching(`([0-9]{1,3}d)?([0-9]{1,3}h)?([0-9]{1,3}m)?([0-9]{1,8}s)?`),
		rapid.StringMatching(`[0-9]{0,3}[dhms]?[0-9]{0,3}[dhms]?`),
		rapid.SampledFrom([]string{"", "15m", "1d12h", "0s", "0d0h", "3650d", "1234567890s", "1s1d", "1m1m", "1.5h", "-1m", " 1m", "1m\n", "1M", "100ms", "١m"}),
	)
	expiresAt := rapid.OneOf(
		rapid.StringMatching(`(1999|20[12][0-9]|9998)-[01][0-9]-[0-3][0-9]T[0-2][0-9]:[0-6][0-9]:[0-6][0-9](\.[0-9]{0,8})?(Z|z|[+-][0-2][0-9]:[0-6][0-9])?`),
		rapid.StringMatching(`2026-0[1-9]-1[0-9]T1[0-9]:[0-5][0-9]:[0-5][0-9](\.[0-9]{1,6}0{0,4})?(Z|[+-]0[0-9]:[0-5][0-9])`),
		rapid.SampledFrom([]string{"", "2026-01-31T12:00:00Z", "2000-01-01T00:00:00Z", "9999-12-31T23:59:59.999999Z", "1999-12-31T23:59:59Z", "0001-01-01T00:00:00Z", "10000-01-01T00:00:00Z",
			"2028-02-29T00:00:00Z", "2027-02-29T00:00:00Z", "2026-12-31T23:59:60Z", "2026-01-31", "2026-01-31 12:00:00Z", "2026-01-31t12:00:00Z", "2026-01-31T12:00:00,5Z", "2026-01-31T12:00:00.Z",
			"2026-01-31T24:00:00Z", "2026-01-31T1:00:00Z", "2026-01-31T12:00:00+00:60", "tomorrow"}),
	)
	version := rapid.OneOf(
		rapid.Map(rapid.Int64Range(-3, 1000), func(n int64) any { return n }),
		rapid.SampledFrom([]any{int64(math.MaxInt64), uint64(math.MaxInt64) + 1, json.RawMessage("-9223372036854775809"), 1.5, "5", true, []int{}}),
	)
	taken, refused := map[string]int{}, map[string]int{}
	check := func(t *rapid.T) {
		kind := rapid.SampledFrom(append(wallet.CallersKinds(), wallet.Kind{Type: "ADD"}, wallet.Kind{Type: "expire"}, wallet.Kind{})).Draw(t, "type")
		fields := map[string]any{"id": part(t, "id", "a", "_a", "order-7"), "type": string(kind.Type)}
		for _, field := range []string{"amount", "hold_id", "original_id", "what", "threshold", "expires_in", "expires_at", "partial", "priority", "return_expired", "not_after", "expected_version", "actor", "description", "metadata", "reply_to", "extra"} {
			tenths := 1
			switch {
			case field == "not_after" || field == "expected_version" || field == "actor" || field == "description" || field == "metadata" || field == "reply_to":
				tenths = 3
			case slices.Contains(kind.Required, field):
				tenths = 9
			case slices.Contains(kind.Optional, field):
				tenths = 5
			}
			of := 10
			if field == "priority" || field == "return_expired" {
				of = 20 // few types take them
			}
			if rapid.IntRange(1, of).Draw(t, "with "+field) > tenths {
				continue
			}
			switch field {
			case "hold_id", "original_id":
				fields[field] = part(t, field, "order-7", "", "a\nb")
			case "threshold":
				fields[field] = part(t, field, "low", "low", "LOW_2.b-c", "", "lö", strings.Repeat("x", 32), strings.Repeat("x", 33))
			case "what":
				fields[field] = part(t, field, "debits", "debits", "credits", "credits", "all", "all", "", "Debits")
			case "expires_in":
				fields[field] = expiresIn.Draw(t, field)
			case "expected_version":
				fields[field] = version.Draw(t, field)
			case "expires_at", "not_after":
				fields[field] = expiresAt.Draw(t, field)
			case "priority":
				fields[field] = rapid.SampledFrom([]any{1, 50, 100, 0, -1, 101, 1.5, "1", true}).Draw(t, field)
			case "partial", "return_expired":
				fields[field] = rapid.SampledFrom([]any{true, true, false, "true", 1}).Draw(t, field)
			case "amount":
				fields[field] = amount.Draw(t, field)
			case "actor":
				fields[field] = part(t, field, "me")
			case "description":
				fields[field] = part(t, field, strings.Repeat("é", 256), strings.Repeat("é", 257), "\x00")
			case "metadata":
				fields[field] = map[string]any{part(t, "key", "k"): rapid.OneOf(rapid.Just[any](7), rapid.Just[any]("v"), rapid.Just[any]("\x00")).Draw(t, "value")}
			case "reply_to":
				fields[field] = map[string]any{"workflow_id": part(t, "workflow_id", "", "wallet-asset/USD/u1", "wallet-asset-sha256/USD/0", "my-wallet-asset/1"), "signal": part(t, "signal", "")}
			case "extra":
				fields[field] = 1
			}
		}
		data, err := json.Marshal(fields)
		require.NoError(t, err)
		_, invalid := wallet.DecodeCommand(data)
		unfit := c.JSON(Command, data)
		if unfit == nil && invalid != nil && strings.Contains(invalid.Error(), "of at most 3650 days") {
			return // which no pattern can express
		}
		require.Equal(t, invalid == nil, unfit == nil, "service: %v\nschema: %v", invalid, unfit)
		if invalid == nil {
			taken[string(kind.Type)]++
		} else {
			refused[string(kind.Type)]++
		}
	}
	for range 300 { // rapid tries 100 each time, and hits some rules rarely
		rapid.Check(t, check)
	}
	for _, kind := range wallet.CallersKinds() {
		require.Positive(t, taken[string(kind.Type)], kind.Type)
		require.Positive(t, refused[string(kind.Type)], kind.Type)
	}
}

// TestTheContractHasEachType compares the table in docs/contract.md with the table of kinds.
func TestTheContractHasEachType(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(root, "docs", "contract.md"))
	require.NoError(t, err)
	for _, kind := range wallet.Kinds() {
		var rows string
		for _, line := range strings.Split(string(text), "\n") {
			if strings.HasPrefix(line, "| `"+string(kind.Type)+"`") {
				rows += strings.ReplaceAll(line, "as `capture`", "`hold_exceeded` `hold_not_found` `hold_closed` `hold_expired`")
			}
		}
		want := []string{kind.Event}
		for _, reason := range kind.Refuses {
			want = append(want, string(reason))
		}
		if !kind.Service {
			want = slices.Concat(want, kind.Required, kind.Optional)
		}
		for _, name := range want {
			require.Contains(t, rows, "`"+name+"`", kind.Type)
		}
	}
}
