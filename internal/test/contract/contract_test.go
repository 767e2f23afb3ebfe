package contract

import (
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
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

// TestTheSchemasAreThoseOfTheTypes: "go test ./internal/test/contract -update" writes them
// anew.
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

// TestTheRecordedHistoriesFitTheSchemas reads what really travelled, in each version.
func TestTheRecordedHistoriesFitTheSchemas(t *testing.T) {
	files, err := filepath.Glob(filepath.Join(root, "workflows", "testdata", "*.json"))
	require.NoError(t, err)
	require.NotEmpty(t, files)
	c := checker(t)
	for _, file := range files {
		if strings.Contains(file, "scheduled") { // its command has no id, which only a schedule's may lack
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

// TestSchemaAndServiceAgreeOnCommands tries commands on both sides of every rule that a
// schema can express.
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
		rapid.SampledFrom([]string{"", "0", "0.00", ".", "1.", ".5", "-1", "+1", "1e2", " 1", "1,5", "NaN", "٣"}),
	)
	taken, refused := 0, 0
	rapid.Check(t, func(t *rapid.T) {
		fields := map[string]any{"id": part(t, "id", "a", "_a", "order-7"), "type": rapid.SampledFrom([]string{"create", "add", "subtract", "ADD", ""}).Draw(t, "type")}
		for _, field := range []string{"amount", "actor", "description", "metadata", "reply_to", "extra"} {
			if !rapid.Bool().Draw(t, "with "+field) {
				continue
			}
			switch field {
			case "amount":
				fields[field] = amount.Draw(t, field)
			case "actor":
				fields[field] = part(t, field, "me")
			case "description":
				fields[field] = part(t, field, strings.Repeat("é", 256), strings.Repeat("é", 257), "\x00")
			case "metadata":
				fields[field] = map[string]any{part(t, "key", "k"): rapid.OneOf(rapid.Just[any](7), rapid.Just[any]("v"), rapid.Just[any]("\x00")).Draw(t, "value")}
			case "reply_to":
				fields[field] = map[string]any{"workflow_id": part(t, "workflow_id", ""), "signal": part(t, "signal", "")}
			case "extra":
				fields[field] = 1
			}
		}
		data, err := json.Marshal(fields)
		require.NoError(t, err)
		_, invalid := wallet.DecodeCommand(data)
		unfit := c.JSON(Command, data)
		require.Equal(t, invalid == nil, unfit == nil, "service: %v\nschema: %v", invalid, unfit)
		if invalid == nil {
			taken++
		} else {
			refused++
		}
	})
	require.Positive(t, taken)
	require.Positive(t, refused)
}
