package workflows

import (
	"fmt"

	"go.temporal.io/sdk/converter"

	"github.com/valueledger/wallet"
)

const (
	// maxBytesUnderWay limits all updates in progress together, including their results. A
	// worker sends back every update that it accepts, and all those of a workflow task in one
	// message. The server takes 4 MB per message: a larger one fails, as does every retry, and
	// the wallet would answer nobody. The message may also contain a step's input of 1 MB.
	maxBytesUnderWay = 5 << 19
	// resultBytes is the usual size of a Result as JSON.
	resultBytes = 1 << 9
)

// sizeOf is how much of maxBytesUnderWay an update uses.
func sizeOf(payload converter.RawValue, commands int) int {
	return len(payload.Payload().GetData()) + commands*resultBytes
}

// checkBytes refuses an update that is too large, before decoding it. Like checkRoom it is for
// validators only: an update that was accepted must be accepted on replay too.
func checkBytes(payload converter.RawValue) error {
	if n := len(payload.Payload().GetData()); n > wallet.MaxUpdateBytes {
		return wallet.TooManyBytes(n)
	}
	return nil
}

// checkRoom refuses an update that is too large at the moment.
func (w *walletAsset) checkRoom(payload converter.RawValue, commands int) error {
	if size := sizeOf(payload, commands); w.updateBytes > 0 && w.updateBytes+size > maxBytesUnderWay {
		return fmt.Errorf("%w: updates of %d bytes, with their answers, are under way, and %d more would be over %d: send it again in a moment",
			wallet.ErrBusy, w.updateBytes, size, maxBytesUnderWay)
	}
	return nil
}
