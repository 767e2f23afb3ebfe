package wallet

import (
	"crypto/sha256"
	"encoding/hex"
	"strconv"
	"strings"
)

// Names that Temporal clients in any language use. They are the contract and never change.
const (
	DefaultTaskQueue = "wallet"

	WorkflowWalletAsset  = "WalletAsset"
	WorkflowApplyCommand = "ApplyCommand"
	WorkflowTransaction  = "Transaction"
	// WorkflowLane applies commands of many wallets together, for package starter.
	WorkflowLane = "Lane"
	// WorkflowRun applies the lines of a run.
	WorkflowRun = "Run"

	SignalCommand = "command"
	// SignalRefresh tells a wallet's workflow that its balance was changed by others: it reads it
	// again for those who look. It has no arguments.
	SignalRefresh    = "refresh"
	UpdateApply      = "apply"
	UpdateApplyBatch = "apply_batch"
	// UpdateApplyBrief is apply_batch with Facts as its answer, for callers that can read them,
	// such as package starter.
	UpdateApplyBrief = "apply_batch_brief"
	// UpdateApplyLane is the update of a lane: a list of ApplyCommandInput, answered with
	// LaneAnswers.
	UpdateApplyLane = "apply_lane"
	// UpdatePause, UpdateResume and UpdateCancel are updates of a run. They are answered with its
	// RunStatus, once nothing of it is under way or it is again.
	UpdatePause  = "pause"
	UpdateResume = "resume"
	UpdateCancel = "cancel"
	QueryState   = "state"
	QueryResult  = "result"

	SearchAttributeUserID   = "WalletUserId"
	SearchAttributeCurrency = "WalletCurrency"

	// FailureUnappliedCommand is the failure type of a refusal; its details are the Result, or of
	// a transaction the TransactionResult.
	FailureUnappliedCommand = "UnappliedCommand"
	// FailureInvalidCommand is the failure type of bad input; its details are the InvalidError.
	FailureInvalidCommand = "InvalidCommand"
	// FailureBusy is the failure type of an update that the wallet cannot accept yet: send the
	// same update again later.
	FailureBusy = "Busy"
)

// Names of the activities, for the service's own workflows.
const (
	StepEnsureWalletAsset = "EnsureWalletAsset"
	StepApplyCommands     = "ApplyCommands"
	StepRecordEvents      = "RecordEvents"
	StepApplyTransaction  = "ApplyTransaction"
	// StepRecordTransaction is RecordEvents for the wallets of a transaction.
	StepRecordTransaction = "RecordTransaction"
	StepApplyLane         = "ApplyLane"
	StepBeginRun          = "BeginRun"
	StepApplyRunLines     = "ApplyRunLines"
	StepSetRunState       = "SetRunState"

	// ActivitySendCommand is the one step of ApplyCommand: an update-with-start of the
	// wallet's workflow, which workflow code cannot do itself.
	ActivitySendCommand = "SendCommand"
	// ActivityRefreshWallets signals refresh to wallets' workflows.
	ActivityRefreshWallets = "RefreshWallets"
	// ActivityTakesSearchAttributes tells the WalletAsset workflow whether its namespace has
	// the search attributes it sets.
	ActivityTakesSearchAttributes = "TakesSearchAttributes"
	// ActivityScheduledTime tells ApplyCommand for which scheduled time it runs.
	ActivityScheduledTime = "ScheduledTime"
)

// maxWorkflowIDBytes fits every Temporal store: the SQL stores have VARCHAR(255) for a
// workflow's id, and a start with a longer id is retried forever.
const maxWorkflowIDBytes = 255

const walletAssetPrefix = "wallet-asset"

// WorkflowID is the id of the WalletAsset workflow of a user and currency. There is only
// one: two ids for one wallet asset would be two locks.
func WorkflowID(userID, currency string) string {
	return boundedID(maxWorkflowIDBytes, walletAssetPrefix, currency+"/", userID)
}

// isWalletWorkflow reports whether an id is one that WorkflowID makes.
func isWalletWorkflow(id string) bool {
	return strings.HasPrefix(id, walletAssetPrefix+"/") || strings.HasPrefix(id, walletAssetPrefix+hashedKind+"/")
}

// LaneWorkflowID is the id of a lane of the workers of a task queue.
func LaneWorkflowID(taskQueue string, lane int) string {
	number := "/" + strconv.Itoa(lane)
	if id := "lane/" + taskQueue + number; len(id) <= maxWorkflowIDBytes {
		return id
	}
	return "lane" + hashedKind + "/" + hashOf(taskQueue) + number
}

// ApplyCommandWorkflowID is the id of the short-lived workflow that sends one command, so
// starting it twice with one command id is one execution. Different commands have different
// ids: a slash in the user id is written as %2F, a percent sign as %25.
func ApplyCommandWorkflowID(userID, currency, commandID string) string {
	return boundedID(maxWorkflowIDBytes, "command", currency+"/", escapeSlash.Replace(userID)+"/"+commandID)
}

// TransactionWorkflowID is the id of the workflow that applies a transaction: one at a time for
// each transaction's id.
func TransactionWorkflowID(transactionID string) string {
	return boundedID(maxWorkflowIDBytes, "transaction", "", transactionID)
}

// RunWorkflowID is the id of the workflow of a run: one at a time for each run's id.
func RunWorkflowID(runID string) string {
	return boundedID(maxWorkflowIDBytes, "run", "", runID)
}

// ScheduledWorkflowID is the id that a schedule gives its runs; the server appends a hyphen and
// the time of each run. It is the ApplyCommandWorkflowID of the command "schedule/" plus the
// name, unless the name is so long that the time would not fit.
func ScheduledWorkflowID(userID, currency, name string) string {
	const appended = len("-2026-12-01T00:00:00Z")
	return boundedID(maxWorkflowIDBytes-appended, "command", currency+"/", escapeSlash.Replace(userID)+"/schedule/"+name)
}

// MaxScheduleBytes limits the name of a schedule: the server's own workflow for a schedule is
// called temporal-sys-scheduler: plus the name.
const MaxScheduleBytes = maxWorkflowIDBytes - len("temporal-sys-scheduler:")

const hashedKind = "-sha256"

// boundedID is kind/ and scope and rest or, where that has too many bytes, kind-sha256/ and scope
// and the SHA-256 of rest. The kind differs, so that no rest can be chosen to look like the
// hash of another.
func boundedID(most int, kind, scope, rest string) string {
	if id := kind + "/" + scope + rest; len(id) <= most {
		return id
	}
	return kind + hashedKind + "/" + scope + hashOf(rest)
}

func hashOf(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:])
}

var escapeSlash = strings.NewReplacer("/", "%2F", "%", "%25")
