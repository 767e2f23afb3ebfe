package contract

import (
	"bytes"
	"fmt"
	"path/filepath"

	commonpb "go.temporal.io/api/common/v1"
	enumspb "go.temporal.io/api/enums/v1"
	failurepb "go.temporal.io/api/failure/v1"
	historypb "go.temporal.io/api/history/v1"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/valueledger/wallet"
)

// Checker checks payloads against the schemas in a folder.
type Checker struct {
	schemas map[string]*jsonschema.Schema
	Checked map[string]int // number of payloads, by schema
}

// NewChecker reads docs/schemas.
func NewChecker(folder string) (*Checker, error) {
	c := &Checker{schemas: map[string]*jsonschema.Schema{}, Checked: map[string]int{}}
	compiler := jsonschema.NewCompiler()
	compiler.AssertFormat()
	for _, file := range []string{Command, Commands, Result, Results, State, Invalid, WalletInput, ApplyInput, Transaction, TransactionResult} {
		schema, err := compiler.Compile(filepath.Join(folder, file))
		if err != nil {
			return nil, err
		}
		c.schemas[file] = schema
	}
	return c, nil
}

// JSON checks one document.
func (c *Checker) JSON(schema string, data []byte) error {
	document, err := jsonschema.UnmarshalJSON(bytes.NewReader(data))
	if err == nil {
		err = c.schemas[schema].Validate(document)
	}
	if err != nil {
		return fmt.Errorf("%s does not fit %s: %w", data, schema, err)
	}
	c.Checked[schema]++
	return nil
}

// History checks what a wallet's or an ApplyCommand workflow was sent and what it answered. It
// ignores signals that the wallet could not read.
func (c *Checker) History(events []*historypb.HistoryEvent) error {
	h := historyChecker{Checker: c, updates: map[int64]string{}}
	for _, event := range events {
		if err := h.event(event); err != nil {
			return fmt.Errorf("event %d: %w", event.EventId, err)
		}
	}
	return nil
}

type historyChecker struct {
	*Checker
	workflow string
	updates  map[int64]string // names, by the event that accepted them
}

func (h *historyChecker) event(event *historypb.HistoryEvent) error {
	switch event.EventType {
	case enumspb.EVENT_TYPE_WORKFLOW_EXECUTION_STARTED:
		started := event.GetWorkflowExecutionStartedEventAttributes()
		h.workflow = started.WorkflowType.Name
		return h.payloads(map[string]string{wallet.WorkflowWalletAsset: WalletInput, wallet.WorkflowApplyCommand: ApplyInput}[h.workflow], started.Input)
	case enumspb.EVENT_TYPE_WORKFLOW_EXECUTION_UPDATE_ACCEPTED:
		input := event.GetWorkflowExecutionUpdateAcceptedEventAttributes().AcceptedRequest.Input
		h.updates[event.EventId] = input.Name
		schema := Command
		if input.Name != wallet.UpdateApply {
			schema = Commands
		}
		return h.payloads(schema, input.Args)
	case enumspb.EVENT_TYPE_WORKFLOW_EXECUTION_UPDATE_COMPLETED:
		completed := event.GetWorkflowExecutionUpdateCompletedEventAttributes()
		if failure := completed.Outcome.GetFailure(); failure != nil {
			return h.failure(failure)
		}
		switch h.updates[completed.AcceptedEventId] {
		case wallet.UpdateApply:
			return h.payloads(Result, completed.Outcome.GetSuccess())
		case wallet.UpdateApplyBatch:
			return h.payloads(Results, completed.Outcome.GetSuccess())
		}
	case enumspb.EVENT_TYPE_SIGNAL_EXTERNAL_WORKFLOW_EXECUTION_INITIATED:
		return h.payloads(Result, event.GetSignalExternalWorkflowExecutionInitiatedEventAttributes().Input)
	case enumspb.EVENT_TYPE_WORKFLOW_EXECUTION_COMPLETED:
		if h.workflow == wallet.WorkflowApplyCommand {
			return h.payloads(Result, event.GetWorkflowExecutionCompletedEventAttributes().Result)
		}
	case enumspb.EVENT_TYPE_WORKFLOW_EXECUTION_FAILED:
		return h.failure(event.GetWorkflowExecutionFailedEventAttributes().Failure)
	}
	return nil
}

func (h *historyChecker) failure(failure *failurepb.Failure) error {
	info := failure.GetApplicationFailureInfo()
	switch info.GetType() {
	case wallet.FailureUnappliedCommand:
		return h.payloads(Result, info.Details)
	case wallet.FailureInvalidCommand:
		return h.payloads(Invalid, info.Details)
	}
	return fmt.Errorf("a failure of type %q is not of the contract", info.GetType())
}

func (h *historyChecker) payloads(schema string, payloads *commonpb.Payloads) error {
	if len(payloads.GetPayloads()) != 1 {
		return fmt.Errorf("%d payloads for %s, not 1", len(payloads.GetPayloads()), schema)
	}
	return h.JSON(schema, payloads.Payloads[0].Data)
}
