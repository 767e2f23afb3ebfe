package runs_test

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/valueledger/wallet"
	"github.com/valueledger/wallet/runs"
)

// readAll returns the lines as "number: command" or "number: error".
func readAll(text string) (lines []runs.Line, err error) {
	err = runs.ReadFile(strings.NewReader(text), "march", func(l runs.Line) error {
		lines = append(lines, l)
		return nil
	})
	return lines, err
}

func TestCSVAndJSONLinesAreTheSameCommands(t *testing.T) {
	fromCSV, err := readAll("\ufeffuser_id,currency,type,amount,id,hold_id,expires_in,partial,expected_version,description,metadata.invoice,metadata.empty\r\n" +
		"u1,USD,add,12.50,order-7,,,,0,\"two\nlines, \"\"quoted\"\"\",7,\r\n" +
		"\n" +
		"ü,USD,hold,5,,,15m,,,,,\n" +
		"u1,USD,capture,,c,order-7,,true,,,,\n")
	require.NoError(t, err)
	fromJSON, err := readAll(strings.ReplaceAll(`{"user_id":"u1","currency":"USD","type":"add","amount":"12.50","id":"order-7","expected_version":0,"description":"two\nlines, \"quoted\"","metadata":{"invoice":"7"}}


		{"user_id":"ü","currency":"USD","type":"hold","amount":"5","expires_in":"15m","id":"_"}
{"type":"capture","currency":"USD","user_id":"u1","partial":true,"id":"c","hold_id":"order-7"}`, `,"id":"_"`, ""))
	require.NoError(t, err)
	require.Equal(t, []int64{2, 5, 6}, []int64{fromCSV[0].Number, fromCSV[1].Number, fromCSV[2].Number})
	require.Equal(t, "_run/march/5", fromCSV[1].ID)
	require.Equal(t, "_run/march/4", fromJSON[1].ID)
	fromCSV[1].ID = fromJSON[1].ID
	for i := range fromCSV {
		require.Nil(t, fromCSV[i].Err)
		require.Equal(t, fromJSON[i].RunLine, fromCSV[i].RunLine)
		encoded, err := json.Marshal(fromCSV[i].Command)
		require.NoError(t, err)
		require.NotContains(t, string(encoded), "user_id")
	}
}

func TestLinesOfCSVThatAreNoCommands(t *testing.T) {
	const header = "user_id,currency,type,amount,partial,expected_version,metadata\n"
	for record, message := range map[string]string{
		"u1,USD,add,1,,":               "the line has 6 fields, and the header 7",
		"u1,USD,add,1,,,,":             "the line has 8 fields",
		"u1,USD,add,\"1,00\",,,":       "amount",
		"u1,USD,add,-1,,,":             "amount",
		"u1,USD,add,,,,":               "has no amount",
		",USD,add,1,,,":                "user_id is empty or missing",
		"u1,usd,add,1,,,":              "is not a currency code",
		"u1,USD,capture,1,yes,,":       `partial is "yes": send true or false`,
		"u1,USD,add,1,,5.0,":           `expected_version is "5.0"`,
		"u1,USD,add,1,,5}{,":           "expected_version",
		"u1,USD,add,1,,,x":             "metadata is",
		`u1,USD,add,1,,,"{""a"":1}"`:   "metadata",
		`u1,USD,add,1,,,"{},""id"":1"`: "metadata is",
		"u1,USD,add,1,,,\"{},\n\"\"reply_to\"\":{\"\"workflow_id\"\":\"\"w\"\",\"\"signal\"\":\"\"s\"\"}\"": "metadata is",
		"u\x001,USD,add,1,,,": "control character",
		"u\xff,USD,add,1,,,":  "UTF-8",
		"=1+1,USD,mint,1,,,":  "type \"mint\" is unknown",
	} {
		lines, err := readAll(header + record + "\nu2,USD,add,1,,,\n")
		require.NoError(t, err, record)
		require.Len(t, lines, 2, record)
		require.NotNil(t, lines[0].Err, record)
		require.ErrorContains(t, lines[0].Err, message, record)
		require.Nil(t, lines[1].Err, "the next line does not suffer")
	}
}

func TestFilesThatCannotBeRead(t *testing.T) {
	for text, message := range map[string]string{
		"":                               "the file is empty",
		"\ufeff":                         "the file is empty",
		"user_id,currency,amount\n":      "the header has no column type",
		"user_id,currency,type,amonut\n": `unknown column "amonut": the columns are user_id, `,
		"user_id,currency,type,type\n":   `the column "type" twice`,
		"user_id,currency,type,metadata,metadata.a\n":                                            "use one of them",
		"user_id,currency,type,metadata.\n":                                                      "unknown column",
		"user_id,currency,type,reply_to\n":                                                       "unknown column",
		"user_id,currency,type,description\nu1,USD,create,a \"b\"\n":                             "line 2, column 17 is not CSV",
		"user_id,currency,type\nu1,USD,\"create\nu2,USD,create\n":                                "is not CSV",
		"user_id,currency,type\nu1,USD,create\nu1,USD,\"" + strings.Repeat("x\n", 1<<20):         "the record at line 3 has more than 1048576 bytes",
		strings.Repeat("x", 1<<21):                                                               "has more than",
		`{"user_id":"u1","currency":"USD","type":"create"}` + "\n{" + strings.Repeat(" ", 1<<21): "line 2 has more than",
		"[\n": "unknown column",
	} {
		_, err := readAll(text)
		require.ErrorAs(t, err, new(*runs.FileError), "%.80q", text)
		require.ErrorContains(t, err, message, "%.80q", text)
	}
	enough := errors.New("enough")
	require.ErrorIs(t, runs.ReadFile(strings.NewReader("user_id,currency,type\nu1,USD,create\n"), "x", func(runs.Line) error { return enough }), enough)
}

// FuzzReadFile wants that whatever a file has, each line is a valid command or says why it is none.
func FuzzReadFile(f *testing.F) {
	f.Add("user_id,currency,type,amount,metadata.a\nu1,USD,add,1,x\n,,,,\n")
	f.Add("{\"user_id\":\"u1\",\"currency\":\"USD\",\"type\":\"add\",\"amount\":\"1\"}\n{}\n")
	f.Add("user_id,currency,type,partial,expected_version,metadata\nu1,USD,add,true,1,\"{}\"\n")
	f.Fuzz(func(t *testing.T, text string) {
		last := int64(0)
		_ = runs.ReadFile(strings.NewReader(text), "march", func(l runs.Line) error {
			require.Greater(t, l.Number, last)
			last = l.Number
			if l.Err != nil {
				require.NotEmpty(t, l.Err.Message)
				return nil
			}
			command, err := json.Marshal(l.Command)
			require.NoError(t, err)
			again, err := wallet.DecodeStagedLine(l.AssetRef, command, "march", l.Number)
			if !wallet.IsRunLineID(l.ID) {
				require.NoError(t, err, "what is staged is what was checked")
				require.Equal(t, l.Command.RequestHash(), again.Command.RequestHash())
			}
			return nil
		})
	})
}
