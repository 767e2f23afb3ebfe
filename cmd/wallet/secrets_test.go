package main

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"net"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.temporal.io/api/workflowservice/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/valueledger/wallet/internal/test/testenv"
	"github.com/valueledger/wallet/migrations"
)

// secrets are planted in all settings of a service, whose role is that of a deployment.
type secrets struct {
	shell
	planted               map[string]string // by name
	owner, app            *url.URL          // of the database
	password, key, apiKey string            // of the service
	token                 string
}

func plantSecrets(t *testing.T) *secrets {
	p := &secrets{password: rand.Text(), apiKey: "api-" + rand.Text(), token: "token-" + rand.Text()}
	database := testenv.DatabaseURL(t)
	var err error
	p.owner, err = url.Parse(database)
	require.NoError(t, err)
	owners, _ := p.owner.User.Password()
	require.Greater(t, len(owners), 20)
	login := fmt.Sprintf("planted_%d", time.Now().UnixNano())
	pool := testenv.Pool(t, database)
	_, err = pool.Exec(t.Context(), "CREATE ROLE "+login+" LOGIN PASSWORD '"+p.password+"' IN ROLE "+migrations.RoleApp)
	require.NoError(t, err)
	t.Cleanup(func() {
		_, err := pool.Exec(context.Background(), "DROP ROLE "+login)
		require.NoError(t, err)
	})
	app := *p.owner
	app.User = url.UserPassword(login, p.password)
	p.app = &app
	secret := make([]byte, 32)
	rand.Read(secret)
	p.key = base64.StdEncoding.EncodeToString(secret)
	p.planted = map[string]string{"owner's password": owners, "service's password": p.password, "payload key": p.key,
		"payload key as bytes": string(secret), "API key": p.apiKey, "token": p.token}
	p.shell = newShell(t, database).with("WALLET_DATABASE_URL=" + app.String()).with("WALLET_PAYLOAD_KEYS=k1:" + p.key).
		with("TEMPORAL_API_KEY=" + p.apiKey).with("TEMPORAL_TLS=false").with("WALLET_CODEC_TOKEN=" + p.token).with("WALLET_LOG_LEVEL=debug")
	return p
}

// absent looks for every secret in a text.
func (p *secrets) absent(where, text string) {
	p.t.Helper()
	for name, secret := range p.planted {
		require.NotContains(p.t, text, secret, "the %s is in %s", name, where)
	}
}

// TestNoSecretIsShown looks for the secrets in all that is printed.
func TestNoSecretIsShown(t *testing.T) {
	s := plantSecrets(t)
	user := testenv.Unique(t, "u")
	stop := s.startWorker()
	for _, args := range [][]string{
		{"add", user, "USD", "5", "--id", "a"}, {"subtract", user, "USD", "50", "--id", "b"}, {"add", user, "NOPE", "1", "--id", "c"},
		{"balance", user}, {"statement", user, "USD"}, {"commands", user}, {"events", user}, {"receipt", user, "USD", "a"}, {"verify", user},
		{"migrate", "status"}, {"migrate", "up"}, {"currency", "list"}, {"--help"}, {"worker", "--help"}, {"codec-server", "--help"}, {"add", "--help"},
	} {
		out, errs, code := s.run(args...)
		require.Equal(t, map[bool]int{true: exitRefused}[args[0] == "subtract"]+map[bool]int{true: exitInvalid}[len(args) > 2 && args[2] == "NOPE"], code, "%s: %s", args, errs)
		s.absent(strings.Join(args, " "), out+errs)
	}
	log := stop()
	require.Contains(t, log, `"level":"debug"`)
	require.NotContains(t, log, "more rights than it needs")
	s.absent("the worker's log", log)

	// What is wrong is told without its value.
	server, kept := refusingTemporal(t)
	at := func(change func(*url.URL)) string {
		changed := *s.app
		change(&changed)
		return "WALLET_DATABASE_URL=" + changed.String()
	}
	for name, row := range map[string]struct{ setting, message string }{
		"a wrong password":       {at(func(u *url.URL) { u.User = url.UserPassword("nobody", s.password) }), "password authentication failed"},
		"no server":              {at(func(u *url.URL) { u.Host = "127.0.0.1:1" }), "no answer from Postgres"},
		"no such database":       {at(func(u *url.URL) { u.Path = "/nowhere" }), "nowhere"},
		"a wrong port":           {"WALLET_DATABASE_URL=postgres://wallet:" + s.password + "@127.0.0.1:port/wallet", "invalid port"},
		"an @ in the password":   {"WALLET_DATABASE_URL=postgres://wallet:x@" + s.password + "@127.0.0.1:1/wallet", "write it as %40"},
		"a quote without an end": {"WALLET_DATABASE_URL=host=127.0.0.1 password='x " + s.password, "unterminated quoted string"},
		"not a URL at all":       {"WALLET_DATABASE_URL=" + s.password, "is not a connection string"},
		"a key without an id":    {"WALLET_PAYLOAD_KEYS=" + s.key, "key 1 is not id:base64"},
		"a key too short":        {"WALLET_PAYLOAD_KEYS=k1:" + s.key[:40], "AES-256 needs 32"},
		"a refused API key":      {"TEMPORAL_ADDRESS=" + server, "TEMPORAL_API_KEY"},
	} {
		_, errs, code := s.with(row.setting).run("worker")
		require.Equal(t, exitFailed, code, name)
		require.Contains(t, errs, row.message, name)
		s.absent(name, errs)
	}
	require.Equal(t, "Bearer "+s.apiKey, <-kept, "the API key was sent")
	for setting, message := range map[string]string{"WALLET_CODEC_TOKEN=": "WALLET_CODEC_TOKEN is not set", "WALLET_PAYLOAD_KEYS=": "WALLET_PAYLOAD_KEYS is not set"} {
		_, errs, code := s.with(setting).run("codec-server")
		require.Equal(t, exitFailed, code)
		require.Contains(t, errs, message)
		s.absent(setting, errs)
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
