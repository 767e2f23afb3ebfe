package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	commonpb "go.temporal.io/api/common/v1"
	enumspb "go.temporal.io/api/enums/v1"
	visit "go.temporal.io/api/proxy"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"github.com/valueledger/wallet"
	"github.com/valueledger/wallet/codec"
	"github.com/valueledger/wallet/internal/test/testenv"
)

// plantedText is no secret: who has the keys has to find it where a secret could be.
const plantedText = "planted-description"

// readable is a message of Temporal's as who has the keys sees it, payloads as bytes.
func (p *secrets) readable(message proto.Message) string {
	keys, err := codec.Parse("k1:" + p.key)
	require.NoError(p.t, err)
	var text strings.Builder
	opened := proto.Clone(message)
	require.NoError(p.t, visit.VisitPayloads(p.t.Context(), opened, visit.VisitPayloadsOptions{
		Visitor: func(_ *visit.VisitPayloadsContext, payloads []*commonpb.Payload) ([]*commonpb.Payload, error) {
			decoded, err := keys.Decode(payloads)
			for _, payload := range decoded {
				text.Write(payload.Data)
			}
			return decoded, err
		}}))
	return text.String() + opened.(interface{ String() string }).String()
}

// TestTemporalKeepsNoSecret looks for the secrets in a history, and in the failure of a
// step while Postgres is away, both as Temporal has them and decrypted.
func TestTemporalKeepsNoSecret(t *testing.T) {
	p := plantSecrets(t)
	link := startProxy(t, p.app.Host)
	behind := *p.app
	behind.Host = link.address
	p.shell = p.with("WALLET_DATABASE_URL=" + behind.String())
	temporal, user := testenv.Temporal(t), testenv.Unique(t, "u")
	stop := p.startWorker()
	_, errs, code := p.run("add", user, "USD", "5", "--id", "a", "--description", plantedText)
	require.Equal(t, exitDone, code, errs)
	_, errs, code = p.run("subtract", user, "USD", "50", "--id", "b")
	require.Equal(t, exitRefused, code, errs)

	link.stop()
	answered := make(chan string, 1)
	go func() {
		_, errs, _ := p.run("add", user, "USD", "1", "--id", "c", "--timeout", "4m")
		answered <- errs
	}()
	var failure string
	require.Eventually(t, func() bool {
		d, err := temporal.DescribeWorkflowExecution(t.Context(), wallet.WorkflowID(user, "USD"), "")
		require.NoError(t, err)
		for _, pending := range d.PendingActivities {
			if pending.LastFailure != nil {
				p.absent("the failure as Temporal has it", pending.String())
				failure = p.readable(pending)
			}
		}
		return failure != ""
	}, 2*time.Minute, 100*time.Millisecond)
	require.Contains(t, failure, "connection refused", "the search finds what is there")
	p.absent("the failure", failure)
	link.start()
	errs = <-answered
	require.Empty(t, errs, "it waited for Postgres")

	var raw, read strings.Builder
	history := temporal.GetWorkflowHistory(t.Context(), wallet.WorkflowID(user, "USD"), "", false, enumspb.HISTORY_EVENT_FILTER_TYPE_ALL_EVENT)
	for history.HasNext() {
		event, err := history.Next()
		require.NoError(t, err)
		raw.WriteString(event.String())
		read.WriteString(p.readable(event))
	}
	require.NotContains(t, raw.String(), plantedText)
	for _, there := range []string{plantedText, "cannot subtract 50.00 USD", "connection refused"} {
		require.Contains(t, read.String(), there, "the search finds what is there")
	}
	p.absent("the history as Temporal has it", raw.String())
	p.absent("the history", read.String())
	log := stop()
	require.Contains(t, log, "connection refused", "the worker told of the outage")
	p.absent("the worker's log", log)
}

// TestTheCodecServerTellsNoSecret sends it right and wrong tokens, payloads and nonsense,
// and looks for the secrets in its log. What it decrypts is in its answer alone.
func TestTheCodecServerTellsNoSecret(t *testing.T) {
	p := plantSecrets(t)
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, binary, "codec-server", "--listen", "127.0.0.1:0", "--log-format", "json")
	cmd.Env = p.env
	stderr, err := cmd.StderrPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	log := bufio.NewReader(stderr)
	first, err := log.ReadString('\n')
	require.NoError(t, err)
	var started struct{ Msg, Endpoint string }
	require.NoError(t, json.Unmarshal([]byte(first), &started))
	require.Equal(t, "codec server is running", started.Msg)

	keys, err := codec.Parse("k1:" + p.key)
	require.NoError(t, err)
	encrypted, err := keys.Encode([]*commonpb.Payload{{Metadata: map[string][]byte{"encoding": []byte("json/plain")}, Data: []byte(plantedText)}})
	require.NoError(t, err)
	body, err := protojson.Marshal(&commonpb.Payloads{Payloads: encrypted})
	require.NoError(t, err)
	wrong := "token-of-somebody-else"
	p.planted["wrong token"], p.planted["description"] = wrong, plantedText
	for _, row := range []struct {
		path, authorization string
		body                []byte
		status              int
	}{
		{"/decode", "Bearer " + p.token, body, http.StatusOK},
		{"/encode", "Bearer " + p.token, body, http.StatusOK},
		{"/decode", "Bearer " + p.token, []byte(p.key), http.StatusBadRequest},
		{"/decode?token=" + p.token, "Bearer " + wrong, body, http.StatusUnauthorized},
		{"/decode", p.token, body, http.StatusUnauthorized},
		{"/decode", "", body, http.StatusUnauthorized},
	} {
		request, err := http.NewRequestWithContext(ctx, http.MethodPost, started.Endpoint+row.path, bytes.NewReader(row.body))
		require.NoError(t, err)
		request.Header.Set("Authorization", row.authorization)
		response, err := http.DefaultClient.Do(request)
		require.NoError(t, err)
		answer, err := io.ReadAll(response.Body)
		response.Body.Close()
		require.NoError(t, err)
		require.Equal(t, row.status, response.StatusCode, "%s: %s", row.path, answer)
		if row.path == "/decode" && row.status == http.StatusOK {
			var payloads commonpb.Payloads
			require.NoError(t, protojson.Unmarshal(answer, &payloads))
			require.Equal(t, plantedText, string(payloads.Payloads[0].Data))
			continue
		}
		p.absent("an answer of the codec server", string(answer))
	}
	require.NoError(t, cmd.Process.Signal(syscall.SIGTERM))
	rest, err := io.ReadAll(log)
	require.NoError(t, err)
	require.NoError(t, cmd.Wait())
	p.absent("the codec server's log", first+string(rest))
}
