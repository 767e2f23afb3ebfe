package service

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	"go.uber.org/zap"

	"github.com/valueledger/wallet/internal/service/postgres"
	"github.com/valueledger/wallet/internal/service/telemetry"
	"github.com/valueledger/wallet/migrations"
)

const (
	// defaultPoolSize is the number of connections unless the database URL sets pool_max_conns:
	// steps are short, so this many connections serve far more wallets.
	defaultPoolSize = 16
	// hostTimeout is how long a connection tries one of several servers before the next,
	// unless the URL sets connect_timeout. pgx's default of two minutes would outlast a
	// failover.
	hostTimeout = 3 * time.Second
)

// Database is a Postgres, and the setting that its URL comes from, to name it in errors.
type Database struct{ URL, Setting string }

// OpenPool connects to Postgres for writing, and checks that it answers and is migrated. If the
// URL lists several servers it uses the one that accepts writes, whatever target_session_attrs
// says. It traces if traces are on.
func OpenPool(ctx context.Context, database Database) (*pgxpool.Pool, error) {
	config, err := database.config()
	if err != nil {
		return nil, err
	}
	config.ConnConfig.ValidateConnect = postgres.PrepareToWrite
	return database.open(ctx, config)
}

// OpenReadPool is OpenPool for reading only. If the URL lists several servers it uses the
// primary, if that answers, because a standby lags behind; target_session_attrs can ask for
// another one.
func OpenReadPool(ctx context.Context, database Database) (*pgxpool.Pool, error) {
	config, err := database.config()
	if err != nil {
		return nil, err
	}
	if len(servers(config)) == 1 || database.says("target_session_attrs", "PGTARGETSESSIONATTRS") {
		return database.open(ctx, config)
	}
	anyServer := config.Copy()
	config.ConnConfig.ValidateConnect = pgconn.ValidateConnectTargetSessionAttrsPrimary
	if pool, err := database.open(ctx, config); err == nil {
		return pool, nil
	}
	return database.open(ctx, anyServer)
}

// OpenReads is a pool for reads alone, of a database that may be a standby: the first of the servers
// in the URL that answers. It does not connect yet, so that nothing else fails with it. Reads whose
// context has no view are of the view other, if that is not nil.
func OpenReads(ctx context.Context, database Database, other *postgres.View) (*postgres.Reads, error) {
	config, err := database.config()
	if err != nil {
		return nil, err
	}
	return postgres.NewReads(ctx, config, other)
}

// says reports whether a parameter is set in the URL or its environment variable.
func (d Database) says(parameter, variable string) bool {
	return strings.Contains(d.URL, parameter) || os.Getenv(variable) != "" // of a URL or of key=value pairs
}

func (d Database) config() (*pgxpool.Config, error) {
	if d.URL == "" {
		return nil, fmt.Errorf("%s is not set: give it the Postgres to use, such as postgres://user:password@host:5432/wallet", d.Setting)
	}
	config, err := pgxpool.ParseConfig(d.URL)
	if err != nil {
		return nil, fmt.Errorf("%s is not a connection string: %s", d.Setting, withoutURL(err))
	}
	if strings.Contains(config.ConnConfig.Host, "@") {
		return nil, fmt.Errorf("%s has an @ in its password: write it as %%40", d.Setting)
	}
	if !d.says("pool_max_conns", "") {
		config.MaxConns = defaultPoolSize
	}
	if len(servers(config)) > 1 && !d.says("connect_timeout", "PGCONNECT_TIMEOUT") {
		config.ConnConfig.ConnectTimeout = hostTimeout
	}
	telemetry.TracePool(config)
	return config, nil
}

func (d Database) open(ctx context.Context, config *pgxpool.Config) (*pgxpool.Pool, error) {
	pool, err := pgxpool.NewWithConfig(ctx, config)
	if err != nil {
		return nil, err
	}
	if err := d.Check(ctx, pool); err != nil {
		pool.Close()
		return nil, err
	}
	return pool, nil
}

// Check returns an error unless a pool of the database answers, and is migrated.
func (d Database) Check(ctx context.Context, pool *pgxpool.Pool) error {
	ctx, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	config := pool.Config()
	where := strings.Join(servers(config), ",") + "/" + config.ConnConfig.Database
	if err := pool.Ping(ctx); err != nil {
		var notWritable *postgres.NotWritableError
		if errors.As(err, &notWritable) {
			return fmt.Errorf("no Postgres to write to at %s (%s): %w", where, d.Setting, err)
		}
		return fmt.Errorf("no answer from Postgres at %s (%s; %s): %w", where, d.Setting, remedy(postgresHints, err), err)
	}
	if err := migrations.Check(ctx, pool); err != nil {
		return fmt.Errorf("check Postgres at %s (%s): %w", where, d.Setting, err)
	}
	return nil
}

// servers returns the addresses in a URL, in order.
func servers(config *pgxpool.Config) []string {
	list := []string{address(config.ConnConfig.Host, config.ConnConfig.Port)}
	for _, f := range config.ConnConfig.Fallbacks { // contains addresses twice if TLS is optional
		if a := address(f.Host, f.Port); !slices.Contains(list, a) {
			list = append(list, a)
		}
	}
	return list
}

func address(host string, port uint16) string {
	return net.JoinHostPort(host, strconv.Itoa(int(port)))
}

// withoutURL returns only pgx's reason. pgx repeats the connection string, and hides the
// password only if it recognizes one.
func withoutURL(err error) string {
	text := err.Error()
	if end := strings.LastIndex(text, "`: "); end >= 0 {
		return text[end+len("`: "):]
	}
	return text
}

// checkPostgres returns an error unless a worker can use the server behind a connection of the
// pool. It closes a connection that cannot be used: the next may lead to another server.
func checkPostgres(ctx context.Context, pool *pgxpool.Pool) error {
	conn, err := pool.Acquire(ctx)
	if err != nil {
		return err
	}
	defer conn.Release()
	err = checkConnection(ctx, conn)
	if err != nil {
		_ = conn.Conn().Close(ctx)
	}
	return err
}

func checkConnection(ctx context.Context, conn *pgxpool.Conn) error {
	if err := postgres.CheckWritable(ctx, conn.Conn()); err != nil {
		return err
	}
	if err := migrations.Check(ctx, conn); err != nil {
		return err
	}
	config := conn.Conn().Config()
	missing, err := migrations.MissingRights(ctx, conn)
	if err != nil {
		return fmt.Errorf("look up the rights of the role %s: %w", config.User, err)
	}
	if len(missing) > 0 {
		return fmt.Errorf("the role %s on the server %s lacks rights that a worker needs (%s): connect as %s or a member of it, or as the owner of the tables GRANT them", config.User, postgres.Server(conn.Conn().PgConn()), strings.Join(missing, ", "), migrations.RoleApp)
	}
	return nil
}

const sqlRisks = `SELECT name FROM pg_settings WHERE name IN ('fsync', 'full_page_writes') AND setting = 'off' ORDER BY name`

// warnOfPostgres logs risky settings that a worker can still run with.
func warnOfPostgres(ctx context.Context, o Options) error {
	rows, err := o.Pool.Query(ctx, sqlRisks)
	if err != nil {
		return fmt.Errorf("look up the settings of Postgres: %w", err)
	}
	off, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return fmt.Errorf("look up the settings of Postgres: %w", err)
	}
	if len(off) > 0 {
		o.Logger.Warn("Postgres can lose or damage committed data when its machine crashes: set these to on", zap.Strings("off", off))
	}
	if risk := postgres.TransportRisk(o.Pool.Config().ConnConfig); risk != "" {
		o.Logger.Warn("the connection to Postgres can be read or hijacked: set sslmode=verify-full and sslrootcert in the URL", zap.String("risk", risk))
	}
	return nil
}
