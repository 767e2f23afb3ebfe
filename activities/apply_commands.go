package activities

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/valueledger/wallet"
	"github.com/valueledger/wallet/internal/service/failure"
)

// andRecordPatience is how long ApplyCommands waits for RecordEvents after its own work. It
// must be less than what remains of the step's own time, or the step's answer would be lost
// too.
const andRecordPatience = 500 * time.Millisecond

// ApplyCommands applies at most 500 commands, in order, in one transaction: lock the row, look
// up which ids are already used, fold, append to the journal, write the balance. A refused
// command is a result like any other. A missing asset is created. It fails for good with
// InvalidCommand if the currency is not registered; any other failure can be retried.
// RecordEvents may follow: see AndRecord.
func (a *Activities) ApplyCommands(ctx context.Context, in wallet.ApplyCommandsInput) (wallet.ApplyCommandsOutput, error) {
	in.Commands = checked(in.Commands)
	outcomes, err := a.applyGroups(ctx, []group{{in.AssetRef, in.Commands, in.LastSeen}})
	if err != nil {
		return wallet.ApplyCommandsOutput{}, failure.Encode(fmt.Errorf("apply commands to the %s wallet of %q: %w", in.Currency, in.UserID, err))
	}
	done := outcomes[0]
	out := wallet.ApplyCommandsOutput{
		Asset: done.asset, Results: wallet.NewFacts(in.Commands, done.results), NeedsRecording: done.needsRecording(),
		HoldsChanged: done.holdsChanged, NextHolds: done.nextHolds, Expired: done.expired,
		GrantsChanged: done.grantsChanged, NextGrants: done.nextGrants, ExpiredGrants: done.expiredGrants, LostEntries: done.lostEntries,
	}
	if in.AndRecord && out.NeedsRecording {
		out.Recorded = a.recordSoon(ctx, in.AssetRef)
	}
	return out, nil
}

// recordSoon runs RecordEvents for a step that has done its own work. It reports whether it
// succeeded; if not, the workflow runs it.
func (a *Activities) recordSoon(ctx context.Context, refs ...wallet.AssetRef) bool {
	ctx, cancel := context.WithTimeout(ctx, andRecordPatience)
	defer cancel()
	_, err := a.recordEvents(ctx, refs)
	return err == nil
}

// checked are commands of which those that no caller may send are recorded as malformed. The
// workflow has checked what it takes; a step is not to depend on who calls it.
func checked(commands []wallet.Received) []wallet.Received {
	good := commands
	for i := range commands {
		received := &commands[i]
		if err := received.Validate(); err != nil {
			if &good[0] == &commands[0] {
				good = slices.Clone(commands)
			}
			payload, encodingErr := json.Marshal(received)
			if encodingErr != nil {
				payload = []byte(encodingErr.Error())
			}
			good[i] = wallet.Malformed(payload, "json/plain", received.Command, err)
		}
	}
	return good
}
