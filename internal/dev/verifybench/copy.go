package verifybench

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"golang.org/x/sync/errgroup"

	"github.com/valueledger/wallet"
	"github.com/valueledger/wallet/internal/service/rows"
)

// copyChunk is how many entries of a wallet lie next to each other.
const copyChunk = 10

// copier appends the entries that the fold makes by COPY, which is several times as fast as the
// steps. The wallets take turns, so the entries of each are spread over the whole table, and its
// indexes grow as they do under commands.
type copier struct {
	pool     *pgxpool.Pool
	accounts []wallet.Account
	turns    int // that each wallet has had
	began    time.Time
}

// newCopier makes the wallets, without entries.
func newCopier(ctx context.Context, pool *pgxpool.Pool, wallets int) (*copier, error) {
	c := &copier{pool: pool, accounts: make([]wallet.Account, wallets), began: time.Now().UTC().AddDate(-1, 0, 0)}
	users := make([]string, wallets)
	for i := range users {
		users[i] = ref(i).UserID
	}
	if _, err := pool.Exec(ctx, `INSERT INTO wallets SELECT unnest($1::text[])`, users); err != nil {
		return nil, err
	}
	_, err := pool.Exec(ctx, `INSERT INTO wallet_assets (user_id, currency, created_at, updated_at) SELECT unnest($1::text[]), 'USD', $2, $2`, users, c.began)
	return c, err
}

// entries is how many all wallets have.
func (c *copier) entries() int { return c.turns * copyChunk * len(c.accounts) }

// fill gives each wallet so many turns, and then records their events as the service does: the
// feed has a row for each turn of a wallet.
func (c *copier) fill(ctx context.Context, turns int) error {
	if err := c.readAccounts(ctx); err != nil {
		return err
	}
	for range turns {
		if err := c.turn(ctx); err != nil {
			return err
		}
	}
	return nil
}

// readAccounts reads where the wallets are: others may have changed them.
func (c *copier) readAccounts(ctx context.Context) error {
	found, err := c.pool.Query(ctx, `SELECT `+rows.AssetColumns+` FROM wallet_assets WHERE user_id LIKE 'user-%' ORDER BY user_id`)
	if err != nil {
		return err
	}
	assets, err := rows.CollectAssets(found)
	if err != nil {
		return err
	}
	for i := range c.accounts {
		c.accounts[i].Asset = assets[i]
	}
	return nil
}

func (c *copier) turn(ctx context.Context) error {
	at := c.began.Add(time.Duration(c.turns) * time.Hour)
	err := c.inParts(ctx, func(ctx context.Context, conn *pgx.Conn, from, to int) error {
		in, out := io.Pipe()
		go func() { out.CloseWithError(c.writeEntries(out, from, to, at)) }()
		_, err := conn.PgConn().CopyFrom(ctx, in, sqlCopyEntries)
		_ = in.CloseWithError(err) // it returns none; the writer ends
		return err
	})
	if err != nil {
		return err
	}
	c.turns++
	return c.inParts(ctx, func(ctx context.Context, conn *pgx.Conn, from, to int) error {
		for ; from < to; from += wallet.MaxBatch {
			if err := c.finishTurn(ctx, conn, from, min(from+wallet.MaxBatch, to)); err != nil {
				return err
			}
		}
		return nil
	})
}

// inParts calls do for a part of the wallets at a time.
func (c *copier) inParts(ctx context.Context, do func(ctx context.Context, conn *pgx.Conn, from, to int) error) error {
	group, ctx := errgroup.WithContext(ctx)
	for i := range writers {
		group.Go(func() error {
			return c.pool.AcquireFunc(ctx, func(conn *pgxpool.Conn) error {
				return do(ctx, conn.Conn(), i*len(c.accounts)/writers, (i+1)*len(c.accounts)/writers)
			})
		})
	}
	return group.Wait()
}

// writeEntries folds the next commands of each wallet, and writes their entries in the text format of COPY.
func (c *copier) writeEntries(out io.Writer, from, to int, at time.Time) error {
	var text []byte
	for i := from; i < to; i++ {
		commands := make([]wallet.Received, copyChunk)
		for n := range commands {
			commands[n].Command = command(c.turns*copyChunk + n)
		}
		f, err := wallet.Fold(c.accounts[i], nil, commands, at)
		if err != nil {
			return err
		}
		c.accounts[i] = f.Account
		for n := range f.Entries {
			if text, err = appendRow(text, &f.Entries[n]); err != nil {
				return err
			}
		}
		if len(text) > 1<<20 || i == to-1 {
			if _, err := out.Write(text); err != nil {
				return err
			}
			text = text[:0]
		}
	}
	return nil
}

// finishTurn writes the balances of wallets and records their events.
func (c *copier) finishTurn(ctx context.Context, conn *pgx.Conn, from, to int) error {
	updates := make([]rows.AssetUpdate, 0, to-from)
	users, currencies := []string{}, []string{}
	for _, a := range c.accounts[from:to] {
		updates = append(updates, rows.AssetUpdate{Asset: a.Asset})
		users, currencies = append(users, a.UserID), append(currencies, a.Currency)
	}
	if len(updates) == 0 {
		return nil
	}
	sql, parameters := rows.UpdateAssets(updates)
	if _, err := conn.Exec(ctx, sql, parameters...); err != nil {
		return err
	}
	_, err := conn.Exec(ctx, `SELECT wallet_record_events($1::text[], $2::text[])`, users, currencies)
	return err
}

var sqlCopyEntries = func() string {
	names := make([]string, len(wallet.EntryFields))
	for i, f := range wallet.EntryFields {
		names[i] = f.Name
	}
	return `COPY wallet_commands (` + strings.Join(names, ", ") + `) FROM STDIN`
}()

// appendRow appends an entry as a line of COPY. No text of command has a character that has to be
// escaped.
func appendRow(line []byte, e *wallet.Entry) ([]byte, error) {
	const null = `\N`
	for i, f := range wallet.EntryFields {
		if i > 0 {
			line = append(line, '\t')
		}
		start := len(line)
		unset := false
		switch v := f.Of(e).(type) {
		case *string:
			line, unset = append(line, *v...), *v == ""
		case *int64:
			line, unset = strconv.AppendInt(line, *v, 10), *v == 0
		case **int64:
			unset = *v == nil
		case *bool:
			line, unset = strconv.AppendBool(line, *v), !*v
		case *time.Time:
			line, unset = v.AppendFormat(line, time.RFC3339Nano), v.IsZero()
		case *wallet.Amount:
			line, unset = append(line, v.String()...), v.IsZero()
		case *wallet.Hash:
			line = hex.AppendEncode(append(line, `\\x`...), v[:])
		case *map[string]string:
			encoded, err := json.Marshal(*v)
			if err != nil {
				return nil, err
			}
			line, unset = append(line, encoded...), len(*v) == 0
		default:
			return nil, fmt.Errorf("field %s is a %T", f.Name, v)
		}
		if f.Optional && unset {
			line = append(line[:start], null...)
		}
	}
	return append(line, '\n'), nil
}
