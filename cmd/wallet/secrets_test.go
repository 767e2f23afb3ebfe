package main

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"net"
	"net/url"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/api/workflowservice/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/valueledger/wallet"
	"github.com/valueledger/wallet/internal/testenv"
)

// TestNoSecretIsShown plants a password, a payload key, an API key and a token, and looks
// for them in all that is printed, and in Temporal's histories.
func TestNoSecretIsShown(t *testing.T) {
	database := testenv.DatabaseURL(t)
	owner, err := url.Parse(database)
	require.NoError(t, err)
	password, _ := owner.User.Password()
	require.Greater(t, len(password), 20)
	secret := make([]byte, 32)
	rand.Read(secret)
	key, apiKey, token := base64.StdEncoding.EncodeToString(secret), "api-"+rand.Text(), "token-"+rand.Text()
	planted := map[string]string{"password": password, "payload key": key, "payload key as bytes": string(secret), "API key": apiKey, "token": token}
	shown := func(where, text string) {
		for name, secret := range planted {
			require.NotContains(t, text, secret, "the %s is in %s", name, where)
		}
	}
	s := newShell(t, database).with("WALLET_DATABASE_URL=" + database).with("WALLET_PAYLOAD_KEYS=k1:" + key).
		with("TEMPORAL_API_KEY=" + apiKey).with("TEMPORAL_TLS=false").with("WALLET_CODEC_TOKEN=" + token).with("WALLET_LOG_LEVEL=debug")

	user := testenv.Unique(t, "u")
	stop := s.startWorker()
	for _, args := range [][]string{
		{"add", user, "USD", "5", "--id", "a"}, {"subtract", user, "USD", "50", "--id", "b"}, {"add", user, "NOPE", "1", "--id", "c"},
		{"balance", user}, {"statement", user, "USD"}, {"commands", user}, {"events", user}, {"receipt", user, "USD", "a"}, {"verify", user},
		{"migrate", "status"}, {"migrate", "up"}, {"currency", "list"}, {"--help"}, {"worker", "--help"}, {"codec-server", "--help"}, {"add", "--help"},
	} {
		out, errs, code := s.run(args...)
		require.Equal(t, map[bool]int{true: exitUnapplied}[args[0] == "subtract"]+map[bool]int{true: exitError}[len(args) > 2 && args[2] == "NOPE"], code, "%s: %s", args, errs)
		shown(strings.Join(args, " "), out+errs)
	}
	log := stop()
	require.Contains(t, log, `"level":"debug"`)
	shown("the worker's log", log)
	history := testenv.Temporal(t).GetWorkflowHistory(t.Context(), wallet.WorkflowID(user, "USD"), "", false, enumspb.HISTORY_EVENT_FILTER_TYPE_ALL_EVENT)
	for history.HasNext() {
		event, err := history.Next()
		require.NoError(t, err)
		shown("the history", event.String())
	}

	// What is wrong is told without its value.
	server, kept := refusingTemporal(t)
	at := func(change func(*url.URL)) string {
		changed := *owner
		change(&changed)
		return "WALLET_DATABASE_URL=" + changed.String()
	}
	for name, row := range map[string]struct{ setting, message string }{
		"a wrong password":       {at(func(u *url.URL) { u.User = url.UserPassword("nobody", password) }), "password authentication failed"},
		"no server":              {at(func(u *url.URL) { u.Host = "127.0.0.1:1" }), "no answer from Postgres"},
		"no such database":       {at(func(u *url.URL) { u.Path = "/nowhere" }), "nowhere"},
		"a wrong port":           {"WALLET_DATABASE_URL=postgres://wallet:" + password + "@127.0.0.1:port/wallet", "invalid port"},
		"an @ in the password":   {"WALLET_DATABASE_URL=postgres://wallet:x@" + password + "@127.0.0.1:1/wallet", "write it as %40"},
		"a quote without an end": {"WALLET_DATABASE_URL=host=127.0.0.1 password='x " + password, "unterminated quoted string"},
		"not a URL at all":       {"WALLET_DATABASE_URL=" + password, "is not a connection string"},
		"a key without an id":    {"WALLET_PAYLOAD_KEYS=" + key, "key 1 is not id:base64"},
		"a key too short":        {"WALLET_PAYLOAD_KEYS=k1:" + key[:40], "AES-256 needs 32"},
		"a refused API key":      {"TEMPORAL_ADDRESS=" + server, "TEMPORAL_API_KEY"},
	} {
		_, errs, code := s.with(row.setting).run("worker")
		require.Equal(t, exitError, code, name)
		require.Contains(t, errs, row.message, name)
		shown(name, errs)
	}
	require.Equal(t, "Bearer "+apiKey, <-kept, "the API key was sent")

	// The codec server says where it is, and nothing of what it knows.
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, binary, "codec-server", "--listen", "127.0.0.1:0")
	cmd.Env = s.env
	stderr, err := cmd.StderrPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	line := make([]byte, 4096)
	n, err := stderr.Read(line)
	require.NoError(t, err)
	require.Contains(t, string(line[:n]), "codec server is running")
	shown("the codec server's log", string(line[:n]))
	require.NoError(t, cmd.Process.Kill())
	_ = cmd.Wait() // it was killed
	for setting, message := range map[string]string{"WALLET_CODEC_TOKEN=": "WALLET_CODEC_TOKEN is not set", "WALLET_PAYLOAD_KEYS=": "WALLET_PAYLOAD_KEYS is not set"} {
		_, errs, code := s.with(setting).run("codec-server")
		require.Equal(t, exitError, code)
		require.Contains(t, errs, message)
		shown(setting, errs)
	}
}

// refusingTemporal takes no API key. It tells the first that it was sent.
func refusingTemporal(t *testing.T) (address string, kept <-chan string) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	sent := make(chan string, 1)
	server := grpc.NewServer(grpc.UnaryInterceptor(func(ctx context.Context, _ any, _ *grpc.UnaryServerInfo, _ grpc.UnaryHandler) (any, error) {
		headers, _ := metadata.FromIncomingContext(ctx)
		select {
		case sent <- strings.Join(headers.Get("authorization"), ","):
		default:
		}
		return nil, status.Error(codes.Unauthenticated, "invalid credentials")
	}))
	workflowservice.RegisterWorkflowServiceServer(server, workflowservice.UnimplementedWorkflowServiceServer{})
	go func() { _ = server.Serve(listener) }() // until Stop
	t.Cleanup(server.Stop)
	return listener.Addr().String(), sent
}
