package main

import (
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/client"

	"github.com/valueledger/wallet"
	"github.com/valueledger/wallet/internal/test/testenv"
)

// steps are what happens between the commands of a page.
func (g *guide) steps() map[string]func() {
	return map[string]func(){
		"a worker runs": func() { g.worker = g.startWorker() },
		"no worker runs": func() {
			g.worker()
			g.worker = nil
		},
		"wallets run": func() {
			g.worker = g.startWorker()
			for _, user := range []string{"anna", "ben"} {
				_, errs, code := g.run("add", user, "USD", "20", "--id", "top-up-1")
				require.Zero(g.t, code, errs)
			}
			g.awaitListed(2)
		},
		"gina was refused, and topped up": func() {
			for _, args := range [][]string{{"add", "20", "top-up-1"}, {"subtract", "25", "order-7"}, {"add", "30", "top-up-2"}} {
				_, errs, _ := g.run(args[0], "gina", "USD", args[1], "--id", args[2])
				require.Empty(g.t, errs)
			}
		},
		"accounts is a new namespace": func() { g.register(g.namespace + "-2") },
		"Postgres is down":            g.postgres.stop,
		"Postgres is up again":        g.postgres.start,
		"the step is pending":         func() { g.awaitPending("finn") },
		"the signal was handled":      g.awaitMalformed,
		"the database is one version behind": func() {
			g.exec(`DELETE FROM goose_db_version WHERE version_id = (SELECT max(version_id) FROM goose_db_version)`)
		},
		"the last event is not written":     func() { g.tamper(sqlLoseLastEvent) },
		"an amount is changed":              func() { g.tamper(sqlSetAmount, "99") },
		"its row is restored":               func() { g.tamper(sqlSetAmount, "20.00") },
		"the database is that of yesterday": func() { g.tamper(sqlCutOff) },
	}
}

const (
	// As a crash between the two steps leaves it.
	sqlLoseLastEvent = `
		WITH last AS (DELETE FROM wallet_asset_events WHERE version = (SELECT max(version) FROM wallet_asset_events) RETURNING version)
		DELETE FROM wallet_feed USING last WHERE first_version = version`

	sqlSetAmount = `UPDATE wallet_commands SET amount = $1::text::numeric WHERE version = 2`

	sqlCutOff = `
		WITH feed AS (DELETE FROM wallet_feed WHERE last_version > 2),
			events AS (DELETE FROM wallet_asset_events WHERE version > 2),
			commands AS (DELETE FROM wallet_commands WHERE position > 2)
		UPDATE wallet_assets a
		SET (total_amount, version, position, hash, format, updated_at) = (c.total_after, c.version, c.position, c.hash, c.format, c.recorded_at)
		FROM wallet_commands c WHERE c.position = 2`
)

// exec runs statements as the owner of the tables.
func (g *guide) exec(statements ...string) {
	db := testenv.Pool(g.t, g.ownerURL)
	for _, statement := range statements {
		_, err := db.Exec(g.t.Context(), statement)
		require.NoError(g.t, err, statement)
	}
}

// tamper does what only who may switch the triggers off can do.
func (g *guide) tamper(statement string, args ...any) {
	tables := []string{"wallet_commands", "wallet_asset_events", "wallet_feed"}
	for _, table := range tables {
		g.exec(`ALTER TABLE ` + table + ` DISABLE TRIGGER append_only_rows`)
	}
	_, err := testenv.Pool(g.t, g.ownerURL).Exec(g.t.Context(), statement, args...)
	require.NoError(g.t, err)
	for _, table := range tables {
		g.exec(`ALTER TABLE ` + table + ` ENABLE ALWAYS TRIGGER append_only_rows`)
	}
}

// temporal is the page's client.
func (g *guide) temporal() client.Client {
	c, err := client.NewClientFromExisting(testenv.Temporal(g.t), client.Options{Namespace: g.namespace})
	require.NoError(g.t, err)
	return c
}

// sql runs a statement as the service's role.
func (g *guide) sql(statement string) {
	_, err := testenv.Pool(g.t, testenv.AppURL(g.t, g.ownerURL)).Exec(g.t.Context(), statement)
	require.NoError(g.t, err, statement)
}

const soon = time.Minute

func (g *guide) awaitPending(user string) {
	c := g.temporal()
	require.Eventually(g.t, func() bool {
		described, err := c.DescribeWorkflowExecution(g.t.Context(), wallet.WorkflowID(user, "USD"), "")
		return err == nil && len(described.PendingActivities) > 0 && described.PendingActivities[0].LastFailure != nil
	}, soon, 50*time.Millisecond)
}

func (g *guide) awaitListed(wallets int64) {
	c := g.temporal()
	require.Eventually(g.t, func() bool {
		counted, err := c.CountWorkflow(g.t.Context(), &workflowservice.CountWorkflowExecutionsRequest{Query: "ExecutionStatus = 'Running'"})
		return err == nil && counted.Count == wallets
	}, soon, 50*time.Millisecond)
}

func (g *guide) awaitMalformed() {
	db := testenv.Pool(g.t, g.ownerURL)
	require.Eventually(g.t, func() bool {
		var n int
		err := db.QueryRow(g.t.Context(), `SELECT count(*) FROM wallet_commands WHERE reason = 'malformed'`).Scan(&n)
		return err == nil && n > 0
	}, soon, 50*time.Millisecond)
}

// proxy stands before Postgres, and can be stopped as it could be.
type proxy struct {
	t               *testing.T
	address, target string

	mu       sync.Mutex
	listener net.Listener
	open     []net.Conn
}

func startProxy(t *testing.T, target string) *proxy {
	p := &proxy{t: t, address: "127.0.0.1:0", target: target}
	p.start()
	t.Cleanup(p.stop)
	return p
}

func (p *proxy) start() {
	listener, err := net.Listen("tcp", p.address)
	require.NoError(p.t, err)
	p.listener, p.address = listener, listener.Addr().String()
	go func() {
		for {
			in, err := listener.Accept()
			if err != nil {
				return
			}
			out, err := net.Dial("tcp", p.target)
			if err != nil {
				in.Close()
				continue
			}
			p.mu.Lock()
			p.open = append(p.open, in, out)
			p.mu.Unlock()
			go pipe(in, out)
			go pipe(out, in)
		}
	}()
}

func pipe(to, from net.Conn) {
	io.Copy(to, from)
	to.Close()
}

func (p *proxy) stop() {
	p.listener.Close()
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range p.open {
		c.Close()
	}
	p.open = nil
}
