package wallet

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json/jsontext"
)

// A run applies a list of commands for many wallets, such as the lines of a file: each by itself,
// those of one wallet in the order of their lines. The lines are staged in Postgres first. A
// command counts once by its id, so a run can be interrupted anywhere and go on.

// MaxRunIDCharacters is less than for a command: the ids of commands without one are made of it.
const MaxRunIDCharacters = 100

// RunParts is how many parts a run has, and so how many can be applied at once.
const RunParts = 16

// RunState says what a run is doing.
type RunState string

// States of a run. A cancelled run can be resumed; nothing else starts it again.
const (
	RunStaged    RunState = "staged" // its workflow has not begun
	RunRunning   RunState = "running"
	RunPaused    RunState = "paused"
	RunCancelled RunState = "cancelled"
	RunDone      RunState = "done"
)

// RunInput is what the workflow Run is started with.
type RunInput struct {
	RunID string `json:"run_id"`
	// Parallel is how many transactions are under way at once, 1 to 16; absent for 4.
	Parallel int `json:"parallel,omitempty"`
	// Resume asks to go on if the run was cancelled.
	Resume bool `json:"resume,omitempty"`
}

// RunStatus is how far a run has come. It is also the result of the workflow Run.
type RunStatus struct {
	RunID string   `json:"run_id"`
	State RunState `json:"state"`
	Lines int64    `json:"lines"`
	// Applied counts the lines whose command is applied.
	Applied int64 `json:"applied"`
	// Refused counts the lines whose command was refused. They are among the run's failures.
	Refused int64 `json:"refused"`
	// Invalid counts the lines that hold no valid command. They are among the run's failures too.
	Invalid int64 `json:"invalid"`
	// Replayed counts the applied and refused lines whose command had been answered before: it was
	// sent in another way, is in two lines, or a try of the run was interrupted.
	Replayed int64 `json:"replayed"`
	// Waiting counts the lines that were passed over, because their wallet was locked or could not
	// be read. They are tried again until they are done.
	Waiting int64 `json:"waiting,omitempty"`
	// File and SHA256 are of the file that was staged; absent if lines were staged by SQL.
	File      string    `json:"file,omitempty"`
	SHA256    Hash      `json:"sha256,omitzero"`
	CreatedAt time.Time `json:"created_at,omitzero"`
	UpdatedAt time.Time `json:"updated_at,omitzero"`
}

// Done counts the lines that are done, whatever became of them.
func (s RunStatus) Done() int64 { return s.Applied + s.Refused + s.Invalid }

// Failed counts the lines that are among the run's failures.
func (s RunStatus) Failed() int64 { return s.Refused + s.Invalid }

// BeginRunOutput is a run that has begun, and its parts that have lines left.
type BeginRunOutput struct {
	Status RunStatus `json:"status"`
	Parts  []int     `json:"parts"`
}

// SetRunStateInput asks for a state of a run: running, paused, cancelled, or done.
type SetRunStateInput struct {
	RunID string   `json:"run_id"`
	State RunState `json:"state"`
}

// ApplyRunLinesInput names a part of a run.
type ApplyRunLinesInput struct {
	RunID string `json:"run_id"`
	Part  int    `json:"part"`
}

// ApplyRunLinesOutput is how far a part has come. Its lines are in Postgres, never in a history.
type ApplyRunLinesOutput struct {
	Status RunStatus `json:"status"` // of the whole run
	Done   bool      `json:"done"`   // no line of the part is left
	// Blocked says that no line of the part can be applied now, because of locked or unreadable
	// wallets. Cause says why one of them cannot.
	Blocked bool   `json:"blocked,omitempty"`
	Cause   string `json:"cause,omitempty"`
}

// RunPrefix begins the id of a command whose line has none.
const RunPrefix = "_run/"

// RunLineID is the id of the command of a line that has none.
func RunLineID(runID string, line int64) string {
	return RunPrefix + runID + "/" + strconv.FormatInt(line, 10)
}

// IsRunLineID reports whether an id is one that RunLineID makes.
func IsRunLineID(id string) bool {
	rest, found := strings.CutPrefix(id, RunPrefix)
	slash := strings.LastIndexByte(rest, '/')
	if !found || slash < 0 || ValidateRunID(rest[:slash]) != nil {
		return false
	}
	line, err := strconv.ParseInt(rest[slash+1:], 10, 64)
	return err == nil && line > 0 && id == RunLineID(rest[:slash], line)
}

// ValidateRunID accepts 1 to 100 characters, none of them a control character.
func ValidateRunID(id string) error { return validatePartOfIDs("run id", id, MaxRunIDCharacters) }

// DecodeRunInput reads the input of the workflow Run and validates it.
func DecodeRunInput(data []byte) (in RunInput, err error) {
	if err := DecodeInput(data, &in); err != nil {
		return in, err
	}
	return in, in.Validate()
}

// Validate checks a caller's input.
func (in RunInput) Validate() error {
	if err := ValidateRunID(in.RunID); err != nil {
		return err
	}
	if in.Parallel < 0 || in.Parallel > RunParts {
		return invalid("parallel", fmt.Sprint(in.Parallel), "parallel %d is out of range: send 1 to %d, or none for the default", in.Parallel, RunParts)
	}
	return nil
}

// RunLine is a line of a run: a command, and the wallet that it is for.
type RunLine struct {
	AssetRef
	Command
}

// DecodeRunLine reads a line with all its fields in one object, {"user_id", "currency", "type", ...},
// and validates it. A command without an id gets that of the line.
func DecodeRunLine(data []byte, runID string, line int64) (RunLine, error) {
	var l RunLine
	if err := decodeJSON(data, "line", &l); err != nil {
		return l, err
	}
	if err := refuseEmpty(data); err != nil {
		return l, err
	}
	return l, l.validate(runID, line)
}

// DecodeStagedLine reads a line as it is staged, with its command apart, and validates it. A
// command without an id gets that of the line.
func DecodeStagedLine(ref AssetRef, command []byte, runID string, line int64) (RunLine, error) {
	l := RunLine{AssetRef: ref}
	if err := decodeJSON(jsontext.Value(command), "command", &l.Command); err != nil {
		return l, err
	}
	if err := refuseEmpty(command); err != nil {
		return l, err
	}
	return l, l.validate(runID, line)
}

func (l *RunLine) validate(runID string, line int64) error {
	if err := ValidateWallet(l.UserID, l.Currency); err != nil {
		return err
	}
	if l.ReplyTo != nil {
		return invalid("reply_to", l.ReplyTo.WorkflowID, "a line of a run takes no reply_to, got %s: leave it out, the run's failures say what was refused", quote(l.ReplyTo.WorkflowID))
	}
	if l.ID != "" {
		return l.Command.Validate()
	}
	l.ID = RunLineID(runID, line)
	return l.validateContent()
}
