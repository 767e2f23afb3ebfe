package bench

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"

	"github.com/valyala/fasthttp"
	"go.uber.org/zap"

	"github.com/valueledger/wallet"
	"github.com/valueledger/wallet/internal/service"
	"github.com/valueledger/wallet/internal/service/access"
	"github.com/valueledger/wallet/internal/service/httpserver"
)

// overHTTP sends commands to the HTTP API, as "wallet serve" has it, over loopback. The server's
// own calls go in lanes.
type overHTTP struct {
	*wallets
	token   string
	client  *fasthttp.HostClient // light: what is measured is the server
	stop    context.CancelFunc
	stopped chan error
	dir     string
}

func (b *bench) newHTTP(ctx context.Context, l ledger, spec Spec) (_ *overHTTP, err error) {
	w, err := newWallets(l, spec, b.queue)
	if err != nil {
		return nil, err
	}
	h := &overHTTP{wallets: w, stopped: make(chan error, 1)}
	if h.dir, err = os.MkdirTemp("", "wallet-bench-"); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			os.RemoveAll(h.dir)
		}
	}()
	tokens := filepath.Join(h.dir, "tokens.json")
	h.token, err = access.WriteTokensFile(tokens, access.StaticToken{Subject: "bench", Scopes: []access.Scope{access.Write}, Users: []string{access.Everyone}})
	if err != nil {
		return nil, err
	}
	auth, err := access.New(ctx, access.Options{TokensFile: tokens})
	if err != nil {
		return nil, err
	}
	probe, err := service.NewProbe(b.pool, b.environment.Temporal)
	if err != nil {
		return nil, err
	}
	o := httpserver.Options{Wallets: w.clients[0], Pool: b.pool, Auth: auth, Logger: zap.NewNop(), Checks: probe.Checks(), AnswerTimeout: mostLatency}
	if m := b.environment.Metrics; m != nil {
		o.Wrap = m.HTTP
	}
	server, err := httpserver.New(o)
	if err != nil {
		return nil, err
	}
	listener, err := server.Listen("127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	h.client = &fasthttp.HostClient{Addr: listener.Addr().String(), MaxConns: spec.Clients, ReadTimeout: mostLatency, WriteTimeout: mostLatency}
	running, stop := context.WithCancel(context.WithoutCancel(ctx))
	h.stop = stop
	go func() {
		defer probe.Close()
		h.stopped <- server.Serve(running, listener, nil)
	}()
	return h, nil
}

func (h *overHTTP) send(_ context.Context, _ int, r request) ([]wallet.Result, error) {
	path, sent := "commands", any(r.commands[0])
	if len(r.commands) > 1 {
		path, sent = "batches", r.commands
	}
	body, err := json.Marshal(sent)
	if err != nil {
		return nil, err
	}
	request, answer := fasthttp.AcquireRequest(), fasthttp.AcquireResponse()
	defer fasthttp.ReleaseRequest(request)
	defer fasthttp.ReleaseResponse(answer)
	request.Header.SetMethod(http.MethodPost)
	request.SetRequestURI("http://" + h.client.Addr + "/v1/wallets/" + h.users[r.wallet] + "/" + currency + "/" + path)
	request.Header.Set("Authorization", "Bearer "+h.token)
	request.Header.SetContentType("application/json")
	request.SetBodyRaw(body)
	if err := h.client.Do(request, answer); err != nil {
		return nil, err
	}
	results := make([]wallet.Result, 1)
	switch {
	case answer.StatusCode() == http.StatusOK && len(r.commands) > 1:
		err = json.Unmarshal(answer.Body(), &results)
	case answer.StatusCode() == http.StatusOK:
		err = json.Unmarshal(answer.Body(), &results[0])
	case answer.StatusCode() == http.StatusUnprocessableEntity: // a refusal is an answer
		err = json.Unmarshal(answer.Body(), &struct{ Result *wallet.Result }{&results[0]})
	default:
		err = fmt.Errorf("%d: %s", answer.StatusCode(), answer.Body())
	}
	return results, err
}

func (h *overHTTP) close() {
	h.client.CloseIdleConnections()
	h.stop()
	<-h.stopped
	os.RemoveAll(h.dir)
	h.wallets.close()
}
