package e2e

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
	commonpb "go.temporal.io/api/common/v1"
	"go.temporal.io/api/serviceerror"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/converter"
	"go.temporal.io/sdk/temporal"
	"golang.org/x/sync/errgroup"

	"github.com/valueledger/wallet"
	"github.com/valueledger/wallet/internal/service/failure"
)

// TestThousandsOfRandomPayloads sends what nobody should. Afterwards each wallet must answer at
// once, and each payload that reached it as a signal must be recorded.
func TestThousandsOfRandomPayloads(t *testing.T) {
	t.Parallel()
	const (
		wallets = 6
		senders = 3 // per wallet: eight would keep Temporal from its tasks
		seed    = 7
	)
	payloads := size(10_008, 3_006, 600) // each sender has as many
	w := newWorld(t)
	all := make([]*flooded, wallets)
	for i := range all {
		one := *w
		one.user = fmt.Sprint(w.user, "-", i)
		all[i] = &flooded{world: &one}
		_, err := w.wallets.Create(t.Context(), one.change("open", ""))
		require.NoError(t, err)
	}
	var group errgroup.Group
	for sender := range wallets * senders {
		group.Go(func() error {
			random := rand.New(rand.NewPCG(seed, uint64(sender)))
			for i := range payloads / (wallets * senders) {
				payload := randomPayload(random, fmt.Sprint("p-", sender, "-", i))
				if err := all[sender%wallets].send(random, payload); err != nil {
					return fmt.Errorf("sender %d, payload %d (%v): %w", sender, i, payload, err)
				}
			}
			return nil
		})
	}
	require.NoError(t, group.Wait())
	for _, one := range all {
		_, err := w.wallets.Add(t.Context(), one.change("after", "1"))
		require.NoError(t, err)
		one.requireRecorded()
	}
}

// flooded is a wallet, and what was sent to it.
type flooded struct {
	*world
	mu       sync.Mutex
	signals  []*commonpb.Payload
	accepted atomic.Int64 // commands in updates that were not rejected
}

// send signals the payload or, one time in ten, updates with it.
func (f *flooded) send(random *rand.Rand, payload *commonpb.Payload) error {
	if random.IntN(10) > 0 {
		err := f.temporal.SignalWorkflow(context.Background(), f.workflowID(), "", wallet.SignalCommand, converter.NewRawValue(payload))
		if err != nil {
			return err
		}
		f.mu.Lock()
		defer f.mu.Unlock()
		f.signals = append(f.signals, payload)
		return nil
	}
	return f.update([]string{wallet.UpdateApply, wallet.UpdateApplyBatch, wallet.UpdateApplyBrief}[random.IntN(3)], payload)
}

func (f *flooded) update(name string, payload *commonpb.Payload) error {
	ctx := context.Background()
	handle, err := f.temporal.UpdateWorkflow(ctx, client.UpdateWorkflowOptions{
		WorkflowID: f.workflowID(), UpdateName: name, Args: []any{converter.NewRawValue(payload)}, WaitForStage: client.WorkflowUpdateStageCompleted,
	})
	if err == nil {
		err = handle.Get(ctx, nil)
	}
	switch refused := failure.Decode(err).(type) {
	case *serviceerror.NotFound, *serviceerror.Aborted, *serviceerror.WorkflowNotReady, *serviceerror.ResourceExhausted:
		return f.update(name, payload) // it arrived between two runs
	case nil, *wallet.UnappliedError:
		if commands, err := wallet.DecodeBatch(payload.Data); err == nil && name != wallet.UpdateApply {
			f.accepted.Add(int64(len(commands)))
		} else {
			f.accepted.Add(1)
		}
		return nil
	case *wallet.InvalidError:
		if refused.Field == "" || refused.Message == "" {
			return fmt.Errorf("refused without a reason: %+v", refused)
		}
		return nil
	case *temporal.ApplicationError:
		if refused.Type() == "UnreadableError" { // only for an update; such a signal is malformed
			return nil
		}
		return err
	default:
		return err
	}
}

// requireRecorded finds each signal in the journal: by its command's id, or by the hash of what
// could not be understood. A signal whose id was already used has no entry, but is counted.
func (f *flooded) requireRecorded() {
	_, journal := f.requireSound()
	ids, hashes := map[string]bool{}, map[string]bool{}
	for _, e := range journal {
		ids[e.CommandID], hashes[e.Metadata["payload_sha256"]] = true, true
	}
	for _, payload := range f.signals {
		sum := sha256.Sum256(payload.GetData())
		command, err := wallet.DecodeCommand(payload.GetData())
		if hashes[hex.EncodeToString(sum[:])] {
			continue
		}
		require.True(f.t, ids[command.ID], "neither %q nor its hash is in the journal (%v): %v", command.ID, err, payload)
	}
	state, err := f.wallets.State(context.Background(), f.user, "USD")
	require.NoError(f.t, err)
	answered := state.Counts.Applied + state.Counts.Replayed
	for _, n := range state.Counts.Unapplied {
		answered += n
	}
	require.Equal(f.t, int64(len(f.signals))+f.accepted.Load()+2, answered, "each that reached the wallet was answered once")
	require.Zero(f.t, state.Queue)
}

// randomPayload returns a valid command that was damaged, or something that never was a
// command.
func randomPayload(random *rand.Rand, id string) *commonpb.Payload {
	of := func(texts ...string) string { return texts[random.IntN(len(texts))] }
	data := []byte(fmt.Sprintf(`{"id":"%s","type":"%s","amount":%s,"description":"%s","metadata":%s%s}`,
		id, of("add", "subtract", "create", "transfer", ""), of(`"1.50"`, `"0.005"`, `12.5`, `"1e9"`, `"-1"`, `null`, `"`+strings.Repeat("9", 60)+`"`, `{"a":[]}`),
		of("", "d", `\u0000`, `\ud800`, strings.Repeat("é", 300)), of(`{}`, `{"k":"v"}`, `{"k":1}`, `[]`, `{"k":"`+strings.Repeat("v", 5000)+`"}`),
		of("", "", `,"reply_to":{"workflow_id":"nobody","signal":"s"}`, `,"reply_to":{"workflow_id":""}`, `,"reply_to":7`)))
	switch random.IntN(8) {
	case 0: // good
		data = []byte(fmt.Sprintf(`{"id":%q,"type":"add","amount":"0.01"}`, id))
	case 1:
		data = []byte(fmt.Sprintf(`[{"id":%q,"type":"add","amount":"0.01"},{"id":"%s-2","type":"subtract","amount":"0.01"}]`, id, id))
	case 2: // some bytes are changed
		for range 1 + random.IntN(5) {
			data[random.IntN(len(data))] = byte(random.Uint32())
		}
	case 3:
		data = data[:random.IntN(len(data))]
	case 4:
		data = make([]byte, random.IntN(300))
		for i := range data {
			data[i] = byte(random.Uint32())
		}
	case 5:
		times := 1 + random.IntN(500)
		if random.IntN(20) == 0 {
			times = 12_000 // deeper than encoding/json goes
		}
		data = bytes.Repeat([]byte(of("[", `{"a":`, "\x00", "9", " ")), times)
	}
	payload := &commonpb.Payload{Data: data, Metadata: map[string][]byte{}}
	for range random.IntN(4) {
		payload.Metadata[of("encoding", "messageType", "", "\x01", "encryption-key-id", "type")] = []byte(of("", "binary/unheard-of", "wallet.Command", strings.Repeat("m", 2000)))
	}
	if random.IntN(3) > 0 {
		payload.Metadata[converter.MetadataEncoding] = []byte(converter.MetadataEncodingJSON)
	} else if random.IntN(4) > 0 {
		payload.Metadata[converter.MetadataEncoding] = []byte(of("binary/null", "binary/plain", "binary/encrypted", "json/protobuf", "binary/protobuf", "JSON/plain", "\xff\x00"))
	}
	return payload
}
