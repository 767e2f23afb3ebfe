package runs

import (
	"context"
	"errors"
	"os"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/valueledger/wallet"
)

// Check predicts what would become of each line of a file, without writing anything to Postgres.
type Check struct {
	File
	Failed func(Failure) error // called for each line that is invalid or would be refused
	// MaxLines, if not 0, ends the check of a file with more by ErrTooManyLines: the ids of all lines
	// of a temporary file are in memory.
	MaxLines int64
}

// ErrTooManyLines says that a file has more lines than a check takes.
var ErrTooManyLines = errors.New("the file has too many lines to check")

// CheckReport is what a check found.
type CheckReport struct {
	Lines    int64 `json:"lines"`
	Invalid  int64 `json:"invalid"`
	Decided  bool  `json:"decided"` // whether valid lines were checked against Postgres, and counted below
	Applied  int64 `json:"applied"`
	Refused  int64 `json:"refused"`
	Replayed int64 `json:"replayed"`
}

// Run reads the file and, unless db is nil, decides each line by what Postgres has now, the lines of
// a wallet in file order. To keep only some of the lines in memory, it first distributes them over
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
	files, err := newLineFiles(int(min(info.Size()/bytesPerLine/linesPerFile+1, maxFiles)))
	if err != nil {
		return report, err
	}
	defer func() { err = errors.Join(err, files.remove()) }()
	err = ReadFile(countingReader{file, c.Read}, c.ID, func(l Line) error {
		if report.Lines++; c.MaxLines > 0 && report.Lines > c.MaxLines {
			return ErrTooManyLines
		}
		if _, known := scales[l.Currency]; l.Err == nil && db != nil && !known {
			errors.As(wallet.UnknownCurrency(l.Currency), &l.Err)
		}
		if l.Err == nil {
			l.Err = c.setActor(&l.RunLine)
		}
		switch {
		case l.Err != nil:
			report.Invalid++
			return c.Failed(Failure{Line: l.Number, Status: "invalid", Reason: l.Err.Reason, Message: l.Err.Message})
		case db == nil:
			return ctx.Err()
		default:
			return files.add(c.ID, l)
		}
	})
	if err != nil || db == nil {
		return report, err
	}
	report.Decided = true
	for i := range files.files {
		d := decision{Check: c, report: &report, scales: scales, reversed: map[wallet.AssetRef]map[idKey]bool{}, wallets: map[wallet.AssetRef]*checkedWallet{}}
		if files.reversals {
			if err := files.read(i, d.noteReversed); err != nil {
				return report, err
			}
		}
		if err := files.read(i, func(lines []fileLine) error { return d.decide(ctx, db, lines) }); err != nil {
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
