package runs

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/valueledger/wallet"
	"github.com/valueledger/wallet/internal/service/postgres"
	"github.com/valueledger/wallet/internal/service/rows"
)

// Check predicts what would become of each line of a file, without writing anything to Postgres.
type Check struct {
	File
	Failed func(Failure) error // called for each line that is invalid or would be refused
}

// CheckReport is what a check found.
type CheckReport struct {
	Lines    int64 `json:"lines"`
	Invalid  int64 `json:"invalid"`
	Decided  bool  `json:"decided"` // whether valid lines were checked against Postgres, and counted below
	Applied  int64 `json:"applied"`
	Refused  int64 `json:"refused"`
	Replayed int64 `json:"replayed"`
}

const (
	// linesPerPart is about how many lines are in a part, some 100 MB in memory. All lines of a wallet
	// are in one part, so a part can have more.
	linesPerPart = 200_000
	// maxParts limits how many files are open at once.
	maxParts = 200
	// bytesPerLine is the size of a short line, to estimate how many lines a file has.
	bytesPerLine = 40
)

// Run reads the file and, unless db is nil, decides each line by what Postgres has now, the lines of
// a wallet in file order. To keep only a part of the lines in memory, it first distributes them over
// temporary files by wallet.
func (c Check) Run(ctx context.Context, db *pgxpool.Pool) (report CheckReport, err error) {
	file, err := os.Open(c.Path)
	if err != nil {
		return report, &FileError{err.Error()}
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return report, err
	}
	var scales map[string]int32
	if db != nil {
		if scales, err = readScales(ctx, db); err != nil {
			return report, err
		}
	}
	parts, err := newPartFiles(int(min(info.Size()/bytesPerLine/linesPerPart+1, maxParts)))
	if err != nil {
		return report, err
	}
	defer func() { err = errors.Join(err, parts.remove()) }()
	err = ReadFile(countingReader{file, c.Read}, c.ID, func(l Line) error {
		report.Lines++
		if _, known := scales[l.Currency]; l.Err == nil && db != nil && !known {
			errors.As(wallet.UnknownCurrency(l.Currency), &l.Err)
		}
		switch {
		case l.Err != nil:
			report.Invalid++
			return c.Failed(Failure{Line: l.Number, Status: "invalid", Reason: l.Err.Reason, Message: l.Err.Message})
		case db == nil:
			return ctx.Err()
		default:
			return parts.add(c.ID, l)
		}
	})
	if err != nil || db == nil {
		return report, err
	}
	report.Decided = true
	for i := range parts.files {
		d := decision{Check: c, report: &report, scales: scales, wallets: map[wallet.AssetRef]*checkedWallet{}}
		if err := parts.read(i, func(lines []partLine) error { return d.decide(ctx, db, lines) }); err != nil {
			return report, err
		}
	}
	return report, nil
}

// readScales reads the registered currencies and how many decimals they have.
func readScales(ctx context.Context, db querier) (map[string]int32, error) {
	found, err := db.Query(ctx, `SELECT code, scale FROM currencies`)
	if err != nil {
		return nil, err
	}
	scales := map[string]int32{}
	var code string
	var scale int32
	_, err = pgx.ForEachRow(found, []any{&code, &scale}, func() error {
		scales[code] = scale
		return nil
	})
	return scales, err
}

type querier interface {
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
}

// partLine is a line as a temporary file has it.
type partLine struct {
	Number   int64           `json:"n"`
	UserID   string          `json:"u"`
	Currency string          `json:"c"`
	Command  json.RawMessage `json:"m"`
}

// partFiles are temporary files, each with all lines of some wallets.
type partFiles struct {
	dir     string
	files   []*os.File
	buffers []*bufio.Writer
}

func newPartFiles(n int) (*partFiles, error) {
	dir, err := os.MkdirTemp("", "wallet-run-check-")
	if err != nil {
		return nil, err
	}
	p := &partFiles{dir: dir}
	for i := range n {
		file, err := os.Create(filepath.Join(dir, fmt.Sprint(i)))
		if err != nil {
			return nil, errors.Join(err, p.remove())
		}
		p.files, p.buffers = append(p.files, file), append(p.buffers, bufio.NewWriterSize(file, 1<<16))
	}
	return p, nil
}

func (p *partFiles) remove() (err error) {
	for _, file := range p.files {
		err = errors.Join(err, file.Close())
	}
	return errors.Join(err, os.RemoveAll(p.dir))
}

func (p *partFiles) add(runID string, l Line) error {
	command, err := stagedCommand(runID, l)
	if err != nil {
		return err
	}
	return json.NewEncoder(p.buffers[l.Partition(len(p.files))]).Encode(partLine{l.Number, l.UserID, l.Currency, command})
}

// read calls do with the lines of a file, up to MaxBatch at a time.
func (p *partFiles) read(i int, do func([]partLine) error) error {
	if err := p.buffers[i].Flush(); err != nil {
		return err
	}
	if _, err := p.files[i].Seek(0, io.SeekStart); err != nil {
		return err
	}
	in := json.NewDecoder(bufio.NewReaderSize(p.files[i], 1<<16))
	var lines []partLine
	for {
		var l partLine
		err := in.Decode(&l)
		if err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		if err == nil {
			lines = append(lines, l)
		}
		if len(lines) == wallet.MaxBatch || err != nil && len(lines) > 0 {
			if err := do(lines); err != nil {
				return err
			}
			lines = nil
		}
		if err != nil {
			return nil
		}
	}
}

// seenID is what is kept of a line's command, to answer a later line with the same id.
type seenID struct {
	request wallet.Hash
	refused *wallet.Refusal
}

// checkedWallet is the state of a wallet after the lines decided so far.
type checkedWallet struct {
	account wallet.Account
	seen    map[[16]byte]seenID
}

// decision decides the lines of a temporary file.
type decision struct {
	Check
	report  *CheckReport
	scales  map[string]int32 // of the currencies
	wallets map[wallet.AssetRef]*checkedWallet
	now     time.Time
}

const (
	sqlCheckSettings = `SELECT clock_timestamp(), ARRAY[` + postgres.PlanByIndex + `]`

	sqlCheckAssets = `SELECT a.*
		FROM unnest($1::text[], $2::text[]) AS wanted (u, c)
		CROSS JOIN LATERAL (
			SELECT ` + rows.AssetColumns + `
			FROM wallet_assets AS a
			WHERE a.user_id = u AND a.currency = c
			OFFSET 0) AS a`

	sqlCheckHolds = `SELECT ` + rows.HoldColumns + `
		FROM unnest($1::text[], $2::text[]) AS wanted (u, c)
		CROSS JOIN LATERAL (
			SELECT *
			FROM wallet_holds
			WHERE user_id = u AND currency = c AND state = 'open'
			ORDER BY expires_at, hold_id
			OFFSET 0) AS h`

	// All of a wallet: a line may reverse what used one up.
	sqlCheckGrants = `SELECT ` + rows.GrantColumns + `
		FROM unnest($1::text[], $2::text[]) AS wanted (u, c)
		CROSS JOIN LATERAL (
			SELECT *
			FROM wallet_grants
			WHERE user_id = u AND currency = c
			OFFSET 0) AS g`

	sqlCheckNamedHolds = `SELECT ` + rows.HoldColumns + `
		FROM unnest($1::text[], $2::text[], $3::text[]) AS wanted (u, c, id)
		CROSS JOIN LATERAL (
			SELECT *
			FROM wallet_holds
			WHERE user_id = u AND currency = c AND hold_id = id
			OFFSET 0) AS h`
)

func (d *decision) decide(ctx context.Context, db *pgxpool.Pool, lines []partLine) error {
	decoded := make([]wallet.RunLine, len(lines))
	for i, l := range lines {
		var err error
		if decoded[i], err = wallet.DecodeStagedLine(wallet.AssetRef{UserID: l.UserID, Currency: l.Currency}, l.Command, d.ID, l.Number); err != nil {
			return err
		}
	}
	prior := map[wallet.AssetRef]map[string]*wallet.Entry{}
	if err := pgx.BeginTxFunc(ctx, db, pgx.TxOptions{AccessMode: pgx.ReadOnly}, func(tx pgx.Tx) error {
		if err := tx.QueryRow(ctx, sqlCheckSettings).Scan(&d.now, nil); err != nil {
			return err
		}
		return errors.Join(d.readWallets(ctx, tx, decoded), d.readEntries(ctx, tx, decoded, prior))
	}); err != nil {
		return err
	}
	for i, l := range decoded {
		if err := d.decideLine(lines[i].Number, l, prior[l.AssetRef]); err != nil {
			return err
		}
	}
	return nil
}

// readWallets reads the wallets that have not appeared in an earlier batch.
func (d *decision) readWallets(ctx context.Context, tx pgx.Tx, lines []wallet.RunLine) error {
	var users, currencies []string
	for _, l := range lines {
		if d.wallets[l.AssetRef] == nil {
			d.wallets[l.AssetRef] = &checkedWallet{
				account: wallet.Account{Asset: wallet.Asset{UserID: l.UserID, Currency: l.Currency, Scale: d.scales[l.Currency]}, Holds: map[string]wallet.Hold{}},
				seen:    map[[16]byte]seenID{},
			}
			users, currencies = append(users, l.UserID), append(currencies, l.Currency)
		}
	}
	if len(users) == 0 {
		return nil
	}
	found, err := tx.Query(ctx, sqlCheckAssets, users, currencies)
	if err != nil {
		return err
	}
	assets, err := rows.CollectAssets(found)
	if err != nil {
		return err
	}
	for _, a := range assets {
		d.wallets[wallet.AssetRef{UserID: a.UserID, Currency: a.Currency}].account.Asset = a
	}
	if err := d.readGrants(ctx, tx, users, currencies); err != nil {
		return err
	}
	return d.readHolds(ctx, tx, sqlCheckHolds, users, currencies)
}

func (d *decision) readGrants(ctx context.Context, tx pgx.Tx, users, currencies []string) error {
	found, err := tx.Query(ctx, sqlCheckGrants, users, currencies)
	if err != nil {
		return err
	}
	grants, err := rows.CollectGrants(found)
	for _, g := range grants {
		d.wallets[g.AssetRef].account.KeepGrant(g.Grant)
	}
	return err
}

func (d *decision) readHolds(ctx context.Context, tx pgx.Tx, sql string, parameters ...any) error {
	found, err := tx.Query(ctx, sql, parameters...)
	if err != nil {
		return err
	}
	holds, err := rows.CollectHolds(found)
	for _, h := range holds {
		if w := d.wallets[h.AssetRef]; w.account.Holds[h.ID].ID == "" { // else keep it as earlier lines left it
			w.account.Keep(h.Hold)
		}
	}
	return err
}

// readEntries reads the journal's entries under the lines' ids, and the holds that lines name.
func (d *decision) readEntries(ctx context.Context, tx pgx.Tx, lines []wallet.RunLine, prior map[wallet.AssetRef]map[string]*wallet.Entry) error {
	var users, currencies, ids, holdUsers, holdCurrencies, holds []string
	var reversals []wallet.RunLine
	for _, l := range lines {
		users, currencies, ids = append(users, l.UserID), append(currencies, l.Currency), append(ids, l.ID)
		if l.HoldID != "" {
			holdUsers, holdCurrencies, holds = append(holdUsers, l.UserID), append(holdCurrencies, l.Currency), append(holds, l.HoldID)
		}
		if l.OriginalID != "" {
			reversals = append(reversals, l)
			users, currencies, ids = append(users, l.UserID), append(currencies, l.Currency), append(ids, l.OriginalID)
		}
	}
	found, err := tx.Query(ctx, rows.EntriesByID, users, currencies, ids)
	if err != nil {
		return err
	}
	entries, err := rows.CollectEntries(found)
	if err != nil {
		return err
	}
	for i := range entries {
		ref := wallet.AssetRef{UserID: entries[i].UserID, Currency: entries[i].Currency}
		if prior[ref] == nil {
			prior[ref] = map[string]*wallet.Entry{}
		}
		prior[ref][entries[i].CommandID] = &entries[i]
	}
	if err := d.readOriginals(ctx, tx, reversals, prior); err != nil || len(holds) == 0 {
		return err
	}
	return d.readHolds(ctx, tx, sqlCheckNamedHolds, holdUsers, holdCurrencies, holds)
}

// readOriginals reads what is left of the commands that lines reverse. One that is itself a line,
// and not in the journal yet, is not known here.
func (d *decision) readOriginals(ctx context.Context, tx pgx.Tx, reversals []wallet.RunLine, prior map[wallet.AssetRef]map[string]*wallet.Entry) error {
	var users, currencies, ids []string
	for _, l := range reversals {
		account := &d.wallets[l.AssetRef].account
		if _, known := account.Originals[l.OriginalID]; known {
			continue // a line has reversed some of it
		}
		if e, recorded := prior[l.AssetRef][l.OriginalID]; recorded {
			account.KeepOriginal(wallet.OriginalOf(*e))
			users, currencies, ids = append(users, l.UserID), append(currencies, l.Currency), append(ids, l.OriginalID)
		}
	}
	if len(ids) == 0 {
		return nil
	}
	found, err := tx.Query(ctx, rows.LastReversals, users, currencies, ids)
	if err != nil {
		return err
	}
	var ref wallet.AssetRef
	var id string
	var left wallet.Amount
	_, err = pgx.ForEachRow(found, []any{&ref.UserID, &ref.Currency, &id, &left}, func() error {
		account := &d.wallets[ref].account
		o := account.Originals[id]
		o.Left = o.Moved.Sub(o.Moved).Add(left) // with the currency's decimals
		account.KeepOriginal(o)
		return nil
	})
	return err
}

func (d *decision) decideLine(number int64, l wallet.RunLine, prior map[string]*wallet.Entry) error {
	w := d.wallets[l.AssetRef]
	sum := sha256.Sum256([]byte(l.ID))
	key := [16]byte(sum[:16])
	request := l.Command.RequestHash()
	refused := (*wallet.Refusal)(nil)
	seen, again := w.seen[key]
	switch {
	case again && seen.request == request:
		refused = seen.refused
		d.report.Replayed++
	case again:
		refused = &wallet.Refusal{Reason: wallet.ReasonIDConflict, Message: fmt.Sprintf("id %q was used by an earlier line with different content: give this line another id", l.ID)}
	default:
		f, err := wallet.Fold(w.account, prior, []wallet.Received{{Command: l.Command}}, d.now)
		if err != nil {
			return fmt.Errorf("line %d: the %s wallet of %q: %w", number, l.Currency, l.UserID, err)
		}
		r := f.Results[0]
		if r.Status != wallet.StatusApplied {
			refused = &wallet.Refusal{Reason: r.Reason, Message: r.Message}
		}
		if r.Replayed {
			d.report.Replayed++
		} else if r.Reason != wallet.ReasonIDConflict {
			w.seen[key] = seenID{request, refused}
		}
		w.account = f.Account
	}
	if refused == nil {
		d.report.Applied++
		return nil
	}
	d.report.Refused++
	amount := ""
	if !l.Amount.IsZero() {
		amount = l.Amount.String()
	}
	return d.Failed(Failure{Line: number, Status: "refused", UserID: l.UserID, Currency: l.Currency, Type: string(l.Type), Amount: amount,
		CommandID: l.ID, Reason: refused.Reason, Message: refused.Message})
}
