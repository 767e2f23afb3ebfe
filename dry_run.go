package wallet

import "fmt"

// DryRunNote is what every answer of a dry run says.
const DryRunNote = "nothing was recorded, and this is no promise: commands that are waiting, or arrive before this one is sent, may change the outcome"

// DryRun marks an answer that nothing was done for.
type DryRun struct {
	DryRun bool   `json:"dry_run"` // always true
	Note   string `json:"note"`    // DryRunNote
}

// DryRunResult is what a command would get if it were applied now. Its position and version are
// those that it would have, RecordedAt is the time of the dry run, by Postgres's clock, and there
// is no Hash: that is of an entry. If Replayed is true, the id has been answered, and this is that
// answer.
type DryRunResult struct {
	DryRun
	Result
}

// NewDryRunResult makes the answer of a dry run from what a step would have answered on a wallet
// with so many recorded entries.
func NewDryRunResult(r Result, recorded int64) DryRunResult {
	if r.Position > recorded {
		r.Hash = Hash{}
	}
	return DryRunResult{dryRun(), r}
}

// DryRunTransactionResult is what a transaction would get if it were applied now: see
// DryRunResult.
type DryRunTransactionResult struct {
	DryRun
	TransactionResult
}

// NewDryRunTransactionResult makes the answer of a dry run from what a step would have answered.
func NewDryRunTransactionResult(r TransactionResult) DryRunTransactionResult {
	for i := range r.Results {
		if !r.Replayed {
			r.Results[i].Hash = Hash{}
		}
	}
	return DryRunTransactionResult{dryRun(), r}
}

func dryRun() DryRun { return DryRun{true, DryRunNote} }

// ValidateCommands checks a caller's commands for one wallet: one, or a batch.
func ValidateCommands(userID, currency string, commands []Command) error {
	if n := len(commands); n == 0 || n > MaxBatch {
		return invalid("batch", fmt.Sprint(n), "the batch has %d commands: send 1 to %d", n, MaxBatch)
	}
	if err := ValidateWallet(userID, currency); err != nil {
		return err
	}
	for i := range commands {
		if err := commands[i].Validate(); err != nil {
			return err
		}
	}
	return nil
}
