package e2e

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	commonpb "go.temporal.io/api/common/v1"
	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/converter"
	"go.temporal.io/sdk/temporal"

	"github.com/valueledger/wallet"
)

var update = flag.Bool("update", false, "write the measured tables in testdata/answers.md and docs/deploy.md anew")

const (
	// answersFile has the answer to every message; the contract shows those that a newcomer meets.
	answersFile = "testdata/answers.md"
)

// message is what a client that does not know the contract may send. ID in its data stands for
// a fresh command id.
type message struct {
	name     string
	encoding string // json/plain if empty
	data     string
}

var messages = []message{
	{"fields in another order, with spaces", "", `{ "amount": "1", "type": "add", "id": "ID" }`},
	{"an unknown field", "", `{"id":"ID","type":"add","amount":"1","urgency":5}`},
	{"fields with a capital letter", "", `{"Id":"ID","Type":"add","Amount":"1"}`},
	{"a field in camelCase", "", `{"id":"ID","type":"add","amount":"1","replyTo":{"workflow_id":"w","signal":"s"}}`},
	{"a field twice", "", `{"id":"ID","type":"add","amount":"99","amount":"1"}`},
	{"`null` for optional fields", "", `{"id":"ID","type":"add","amount":"1","description":null,"metadata":null,"reply_to":null}`},
	{"zeros at both ends of the amount", "", `{"id":"ID","type":"add","amount":"01.0000"}`},
	{"the amount as a number", "", `{"id":"ID","type":"add","amount":1.5}`},
	{"the amount with an exponent", "", `{"id":"ID","type":"add","amount":"1e2"}`},
	{"the amount with a comma", "", `{"id":"ID","type":"add","amount":"1,50"}`},
	{"the amount with a sign", "", `{"id":"ID","type":"add","amount":"-1"}`},
	{"the amount `null`", "", `{"id":"ID","type":"add","amount":null}`},
	{"no amount", "", `{"id":"ID","type":"add"}`},
	{"no id", "", `{"type":"add","amount":"1"}`},
	{"no type", "", `{"id":"ID","amount":"1"}`},
	{"the type in capitals", "", `{"id":"ID","type":"ADD","amount":"1"}`},
	{"the id as a number", "", `{"id":7,"type":"add","amount":"1"}`},
	{"an id reserved for the service", "", `{"id":"_mine","type":"add","amount":"1"}`},
	{"a number in the metadata", "", `{"id":"ID","type":"add","amount":"1","metadata":{"order":7}}`},
	{"JSON in a JSON string", "", `"{\"id\":\"ID\",\"type\":\"add\",\"amount\":\"1\"}"`},
	{"an array of one command", "", `[{"id":"ID","type":"add","amount":"1"}]`},
	{"not JSON", "", `{id: "ID", type: "add", amount: "1"}`},
	{"more after the JSON", "", `{"id":"ID","type":"add","amount":"1"} {}`},
	{"a byte order mark", "", "\ufeff" + `{"id":"ID","type":"add","amount":"1"}`},
	{"Latin-1", "", "{\"id\":\"ID\",\"type\":\"add\",\"amount\":\"1\",\"description\":\"caf\xe9\"}"},
	{"`null`", "", `null`},
	{"nothing", "", ``},
	{"an SDK's null", "binary/null", ``},
	{"bytes", "binary/plain", `{"id":"ID","type":"add","amount":"1"}`},
	{"a protobuf message as JSON", "json/protobuf", `{"id":"ID","type":"add","amount":"1"}`},
	{"compressed by a codec that the worker lacks", "binary/zlib", "x\x9c\xab"},
	{"a payload without an encoding", "-", `{"id":"ID","type":"add","amount":"1"}`},
}

// TestUnknownClientsGetTheDocumentedAnswer sends each message and compares the answers with
// testdata/answers.md: "go test ./internal/test/e2e -run UnknownClients -update" rewrites it.
func TestUnknownClientsGetTheDocumentedAnswer(t *testing.T) {
	w := newWorld(t)
	_, err := w.wallets.Create(t.Context(), w.change("open", ""))
	require.NoError(t, err)
	var all strings.Builder
	all.WriteString("| sent | update `apply` | signal `command` |\n|---|---|---|\n")
	for i, m := range messages {
		updated := w.updateRaw(fmt.Sprint("u-", i), m.payload(fmt.Sprint("u-", i)))
		signalled := w.signalRaw(fmt.Sprint("s-", i), m.payload(fmt.Sprint("s-", i)))
		fmt.Fprintf(&all, "| %s: %s | %s | %s |\n", m.name, m.shown(), updated, signalled)
	}
	// The number of arguments is not part of the payload.
	good := message{data: `{"id":"ID","type":"add","amount":"1"}`}
	fmt.Fprintf(&all, "| no argument | %s | %s |\n", w.updateRaw("u-none"), w.signalRaw("s-none"))
	fmt.Fprintf(&all, "| a second argument, which is ignored | %s | %s |\n",
		w.updateRaw("u-two", good.payload("u-two"), good.payload("x")), w.signalRaw("s-two", good.payload("s-two"), good.payload("x")))
	w.requireSound()

	if *update {
		require.NoError(t, os.WriteFile(answersFile, []byte(all.String()), 0o644))
		return
	}
	answers, err := os.ReadFile(answersFile)
	require.NoError(t, err)
	require.Equal(t, string(answers), all.String())
}

func (m message) payload(id string) *commonpb.Payload {
	p := &commonpb.Payload{Data: []byte(strings.ReplaceAll(m.data, "ID", id)), Metadata: map[string][]byte{}}
	switch m.encoding {
	case "":
		p.Metadata[converter.MetadataEncoding] = []byte(converter.MetadataEncodingJSON)
	case "-":
	default:
		p.Metadata[converter.MetadataEncoding] = []byte(m.encoding)
	}
	return p
}

// shown returns the data for a table cell.
func (m message) shown() string {
	text := strings.NewReplacer("ID", "a", "|", `\|`, "\ufeff", "", "\xe9", "\ufffd", "x\x9c\xab", "...").Replace(m.data)
	if text == "" {
		text = " "
	}
	if m.encoding != "" && m.encoding != "-" {
		return fmt.Sprintf("`%s`, encoding `%s`", text, m.encoding)
	}
	return "`" + text + "`"
}

func arguments(payloads []*commonpb.Payload) []any {
	args := []any{}
	for _, p := range payloads {
		args = append(args, converter.NewRawValue(p))
	}
	return args
}

// updateRaw returns the answer in words.
func (w *world) updateRaw(id string, payloads ...*commonpb.Payload) string {
	handle, err := w.temporal.UpdateWorkflow(w.t.Context(), client.UpdateWorkflowOptions{
		WorkflowID: w.workflowID(), UpdateName: wallet.UpdateApply, Args: arguments(payloads), WaitForStage: client.WorkflowUpdateStageCompleted,
	})
	var result wallet.Result
	if err == nil {
		err = handle.Get(w.t.Context(), &result)
	}
	if err == nil {
		require.Equal(w.t, wallet.StatusApplied, result.Status)
		require.Equal(w.t, "1.00", result.Amount.String())
		return "applied"
	}
	var failure *temporal.ApplicationError
	require.ErrorAs(w.t, err, &failure)
	problem, remedy, _ := strings.Cut(failure.Message(), ": ")
	require.NotEmpty(w.t, remedy, "what to do about it, which the table leaves out: %s", failure.Message())
	text := strings.NewReplacer(id, "a", "|", `\|`, "<", "&lt;").Replace(problem)
	return fmt.Sprintf("`%s`: %s", failure.Type(), text)
}

// signalRaw describes what was recorded of the signal.
func (w *world) signalRaw(id string, payloads ...*commonpb.Payload) string {
	before := w.position()
	_, err := w.temporal.WorkflowService().SignalWorkflowExecution(w.t.Context(), &workflowservice.SignalWorkflowExecutionRequest{
		Namespace: client.DefaultNamespace, WorkflowExecution: &commonpb.WorkflowExecution{WorkflowId: w.workflowID()},
		SignalName: wallet.SignalCommand, Input: &commonpb.Payloads{Payloads: payloads},
	})
	require.NoError(w.t, err)
	w.settled(before + 1)
	_, journal := w.requireSound()
	last := journal[len(journal)-1]
	switch {
	case last.Status == wallet.StatusApplied:
		require.Equal(w.t, id, last.CommandID)
		require.Equal(w.t, "1.00", last.Amount.String())
		return "applied"
	case last.Result().SentID == id:
		require.True(w.t, strings.HasPrefix(last.CommandID, "_malformed-"), last.CommandID)
		return fmt.Sprintf("`%s`, with `sent_id`", last.Reason)
	default:
		require.True(w.t, strings.HasPrefix(last.CommandID, "_malformed-"), last.CommandID)
		return fmt.Sprintf("`%s`", last.Reason)
	}
}
