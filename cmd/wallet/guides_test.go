package main

import (
	"net"
	"net/url"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.temporal.io/api/workflowservice/v1"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/valueledger/wallet"
	"github.com/valueledger/wallet/internal/dev/devstack"
	"github.com/valueledger/wallet/internal/test/doctest"
	"github.com/valueledger/wallet/internal/test/testenv"
	"github.com/valueledger/wallet/starter"
)

// TestTheGuidesAreTrue runs each command of docs/install.md and docs/guides, on a
// database and a namespace for each page. "go test ./cmd/wallet -run Guides -update"
// writes the outputs anew.
func TestTheGuidesAreTrue(t *testing.T) {
	pages, err := filepath.Glob(docsPath("guides", "*.md"))
	require.NoError(t, err)
	require.NotEmpty(t, pages)
	for _, path := range append(pages, docsPath("install.md")) {
		if filepath.Base(path) == "when.md" { // the index of the pages when-*.md
			continue
		}
		t.Run(strings.TrimSuffix(filepath.Base(path), ".md"), func(t *testing.T) {
			g := newGuide(t)
			if filepath.Base(path) != "install.md" {
				require.NoError(t, starter.RegisterSearchAttributes(t.Context(), g.temporal(), g.namespace))
			}
			g.check(path)
		})
	}
}

// guide is what a page is run with.
type guide struct {
	shell
	namespace string
	ownerURL  string // past the proxy
	postgres  *proxy
	worker    func() (log string) // stops it; nil if none runs
	page      doctest.Page
}

func newGuide(t *testing.T) *guide {
	direct := testenv.DatabaseURL(t)
	owner, err := url.Parse(direct)
	require.NoError(t, err)
	g := &guide{shell: shell{t: t}, ownerURL: direct, postgres: startProxy(t, owner.Host), namespace: testenv.Unique(t, "docs")}
	owner.Host = g.postgres.address
	g.register(g.namespace)
	http := freeAddresses(t, 2)
	app := testenv.AppURL(t, owner.String())
	g.shell = shell{t, append(newShell(t, owner.String()).env,
		"TEMPORAL_NAMESPACE="+g.namespace,
		"WALLET_DATABASE_URL="+app,
		"WALLET_HTTP_ADDRESS="+http[0],
		"WALLET_TASK_QUEUE="+wallet.DefaultTaskQueue)}
	cli, err := devstack.FindTemporalCLI()
	require.NoError(t, err)
	root, err := filepath.Abs(filepath.Join("..", ".."))
	require.NoError(t, err)
	empty := testenv.EmptyDatabaseURL(t)
	g.page = doctest.Page{
		Root: root, Dir: t.TempDir(), Env: withPrograms(g.env, cli), Volatile: true,
		Names: [][2]string{
			{"postgres://owner:secret@db.internal:5432/wallet", empty},
			{"postgres://wallet_app:change-me@db.internal:5432/wallet", testenv.AppURL(t, empty)},
			{"WALLET_APP_PASSWORD=change-me", "WALLET_APP_PASSWORD=" + testenv.AppPassword},
			{"postgres://shop:secret@db.internal:5432/shop", empty},
			{"postgres://top_up:secret@db.internal:5432/wallet", owner.String()},
			{"-C examples/", "-C " + strings.ReplaceAll(filepath.Join(root, "examples"), " ", `\ `) + "/"},
			{"127.0.0.1:5432/wallet", owner.Host + owner.Path},
			{"127.0.0.1:5432", owner.Host},
			{"database=wallet`", "database=" + strings.TrimPrefix(owner.Path, "/") + "`"},
			{"127.0.0.1:9464", http[0]},
			{"127.0.0.1:9465", http[1]},
			{"temporal.internal:7233", testenv.TemporalAddress(t)},
			{"127.0.0.1:7233", testenv.TemporalAddress(t)},
			{"TEMPORAL_NAMESPACE=default", "TEMPORAL_NAMESPACE=" + g.namespace},
			{"accounts", g.namespace + "-2"},
			{`"default"`, `"` + g.namespace + `"`},
		},
		SQL:   g.sql,
		Steps: g.steps(),
	}
	return g
}

func freeAddresses(t *testing.T, n int) (addresses []string) {
	for range n {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		require.NoError(t, err)
		defer listener.Close() // together, so that none is given twice
		addresses = append(addresses, listener.Addr().String())
	}
	return addresses
}

// register makes a namespace, in which user and task queue may have the names that the
// page gives them.
func (g *guide) register(namespace string) {
	_, err := testenv.Temporal(g.t).WorkflowService().RegisterNamespace(g.t.Context(), &workflowservice.RegisterNamespaceRequest{
		Namespace: namespace, WorkflowExecutionRetentionPeriod: durationpb.New(24 * time.Hour),
	})
	require.NoError(g.t, err)
}

func (g *guide) check(path string) {
	defer func() {
		if g.worker != nil {
			g.worker()
		}
	}()
	g.page.Path = path
	doctest.Check(g.t, g.page)
}
