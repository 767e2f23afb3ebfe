package workflows

import (
	"fmt"

	"go.temporal.io/sdk/converter"

	"github.com/valueledger/wallet"
)

const (
	// maxBytesUnderWay of all updates under way together, with their results. A worker
	// sends back every update that it accepts, and all of a workflow task in one
	// message, of which the server takes 4 MB: a larger one fails, and so does each
	// retry, so that the wallet would answer nobody. A step's input of 1 MB may be in it.
	maxBytesUnderWay = 5 << 19
	// resultBytes is what a Result as JSON usually takes.
	resultBytes = 1 << 9
)

// sizeOf is what an update takes of maxBytesUnderWay.
func sizeOf(payload converter.RawValue, commands int) int {
	return len(payload.Payload().GetData()) + commands*resultBytes
}

// checkBytes refuses an update that is too large, before anything is made of it. Only
// validators ask, as for checkRoom: what was accepted is accepted on replay.
func checkBytes(payload converter.RawValue) error {
	if n := len(payload.Payload().GetData()); n > wallet.MaxUpdateBytes {
		return wallet.TooManyBytes(n)
	}
	return nil
}

// checkRoom refuses an update that is too large for now.
func (w *walletAsset) checkRoom(payload converter.RawValue, commands int) error {
	if size := sizeOf(payload, commands); w.updateBytes > 0 && w.updateBytes+size > maxBytesUnderWay {
		return fmt.Errorf("%w: updates of %d bytes, with their answers, are under way, and %d more would be over %d: send it again in a moment",
			wallet.ErrBusy, w.updateBytes, size, maxBytesUnderWay)
	}
	return nil
}
