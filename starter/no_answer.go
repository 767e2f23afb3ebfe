package starter

import (
	"context"
	"errors"
	"fmt"

	"github.com/valueledger/wallet"
)

// NoAnswerError says that a command has no answer yet: it may have been applied, may still be,
// or may not have arrived. Sending exactly the same again, with the same id, is always safe.
type NoAnswerError struct {
	CommandID string
	TaskQueue string // of this client
	TimedOut  bool   // or else the caller gave up
	Cause     error  // why the context ended
}

func (e *NoAnswerError) Error() string {
	text := fmt.Sprintf("command %q has no answer yet, it may still be applied: send it again with the same id: %v", e.CommandID, e.Cause)
	if e.TimedOut {
		text += fmt.Sprintf(" (is a worker running on task queue %q?)", e.TaskQueue)
	}
	return text
}

func (e *NoAnswerError) Unwrap() error { return e.Cause }

// noAnswer is the error of a call whose context ended.
func (c *Client) noAnswer(ctx context.Context, commandID string) error {
	return &NoAnswerError{CommandID: commandID, TaskQueue: c.options.TaskQueue, TimedOut: errors.Is(ctx.Err(), context.DeadlineExceeded), Cause: context.Cause(ctx)}
}

// isFinal tells an answer that another try would get again.
func isFinal(err error) bool {
	var unapplied *wallet.UnappliedError
	var invalid *wallet.InvalidError
	return errors.As(err, &unapplied) || errors.As(err, &invalid)
}
