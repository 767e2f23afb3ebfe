package runs

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"golang.org/x/sync/errgroup"

	"github.com/valueledger/wallet"
)

// File is a file to stage as a run.
type File struct {
	ID   string // of the run
	Path string
	// SkipInvalid leaves out invalid lines and lists them among the run's failures.
	SkipInvalid bool
	// Read, if not nil, counts the bytes read from the file.
	Read *atomic.Int64
	// Actor, if not empty, is that of lines that name none.
	Actor string
	// OnlyActor makes lines invalid that name another actor.
	OnlyActor bool
}

// maxSkipped is how many invalid lines can be left out: they stay in memory until the valid ones
// are staged.
const maxSkipped = 100_000

// maxShownLines is how many invalid lines an error names.
const maxShownLines = 20

// InvalidLinesError says which lines of a file are invalid. Nothing was staged.
type InvalidLinesError struct {
	Path    string
	Lines   int64 // of the file
	Invalid int64
	First   []Line // the first of them, up to 20
}

func (e *InvalidLinesError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d of the %d lines of %s are invalid: correct them, or leave them out with --skip-invalid; nothing was staged", e.Invalid, e.Lines, e.Path)
	for _, l := range e.First {
		fmt.Fprintf(&b, "\n  line %d: %s", l.Number, l.Err.Message)
	}
	if more := e.Invalid - int64(len(e.First)); more > 0 {
		fmt.Fprintf(&b, "\n  and %d more", more)
	}
	return b.String()
}

// OtherFileError says that a run's id belongs to a different file.
type OtherFileError struct {
	Staged wallet.RunStatus
	Path   string
	SHA256 wallet.Hash
}

func (e *OtherFileError) Error() string {
	staged := fmt.Sprintf("file %s (SHA-256 %s)", e.Staged.File, e.Staged.SHA256)
	if e.Staged.SHA256.IsZero() {
		staged = "SQL"
	}
	return fmt.Sprintf("run %q was staged from %s, not from %s (SHA-256 %s): start this file under another --id", e.Staged.RunID, staged, e.Path, e.SHA256)
}

// StageFile stages the lines of a file, all or none. If the same file is already staged under the
// id, it returns that run's status; a different file is an *OtherFileError.
func StageFile(ctx context.Context, db *pgxpool.Pool, f File) (wallet.RunStatus, error) {
	file, err := os.Open(f.Path)
	if err != nil {
		return wallet.RunStatus{}, &FileError{err.Error()}
	}
	defer file.Close()
	return Stage(ctx, db, f, file)
}

// Stage is StageFile for what a reader has: the Path only names it.
func Stage(ctx context.Context, db *pgxpool.Pool, f File, file io.Reader) (wallet.RunStatus, error) {
	if err := wallet.ValidateRunID(f.ID); err != nil {
		return wallet.RunStatus{}, err
	}
	s := staging{File: f, sum: sha256.New()}
	err := pgx.BeginFunc(ctx, db, func(tx pgx.Tx) error { return s.stage(ctx, tx, file) })
	var taken *takenError
	if errors.As(err, &taken) { // before anything was read
		return s.compare(ctx, db, file)
	}
	if err != nil {
		return wallet.RunStatus{}, fmt.Errorf("stage %s: %w", f.Path, err)
	}
	return Status(ctx, db, f.ID)
}

// takenError says that a run is already staged under the id.
type takenError struct{ error }

type staging struct {
	File
	sum interface {
		io.Writer
		Sum([]byte) []byte
	}
	scales  map[string]int32 // of the currencies
	lines   int64
	invalid int64
	skipped []Line
}

// stage inserts the run first, so that another session that stages the same id waits for this one.
func (s *staging) stage(ctx context.Context, tx pgx.Tx, file io.Reader) error {
	tag, err := tx.Exec(ctx, `INSERT INTO wallet_runs (run_id, file) VALUES ($1, $2) ON CONFLICT DO NOTHING`, s.ID, strings.ToValidUTF8(filepath.Base(s.Path), "\ufffd"))
	if err != nil {
		return err
	}
	if tag.RowsAffected() == 0 {
		return &takenError{errors.New("taken")}
	}
	if s.scales, err = readScales(ctx, tx); err != nil {
		return err
	}
	if err := s.copy(ctx, tx, file); err != nil {
		return err
	}
	if s.invalid > 0 && !s.SkipInvalid {
		return &InvalidLinesError{s.Path, s.lines, s.invalid, s.skipped[:min(len(s.skipped), maxShownLines)]}
	}
	if s.lines == 0 {
		return fileErrorf("%s has no lines", s.Path)
	}
	if err := s.insertSkipped(ctx, tx); err != nil {
		return err
	}
	_, err = tx.Exec(ctx, `UPDATE wallet_runs SET lines = $2, skipped = $3, sha256 = $4 WHERE run_id = $1`, s.ID, s.lines, s.invalid, s.sum.Sum(nil))
	return err
}

// copiedLine is a row of wallet_run_lines.
type copiedLine struct {
	number         int64
	user, currency string
	command        []byte
}

// copy streams the lines to Postgres while it reads the file. After an invalid line without
// SkipInvalid, it only checks the rest.
func (s *staging) copy(ctx context.Context, tx pgx.Tx, file io.Reader) error {
	batches := make(chan []copiedLine, 4)
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error {
		defer close(batches)
		return s.read(ctx, file, batches)
	})
	group.Go(func() error {
		_, err := tx.CopyFrom(ctx, pgx.Identifier{"wallet_run_lines"}, []string{"run_id", "line", "user_id", "currency", "command"}, &copySource{id: s.ID, batches: batches})
		return err
	})
	return group.Wait()
}

func (s *staging) read(ctx context.Context, file io.Reader, batches chan<- []copiedLine) error {
	const size = 256
	var batch []copiedLine
	send := func() error {
		select {
		case batches <- batch:
			batch = make([]copiedLine, 0, size)
			return nil
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	hashed := io.TeeReader(countingReader{file, s.Read}, s.sum)
	err := ReadFile(hashed, s.ID, func(l Line) error {
		s.lines++
		if _, known := s.scales[l.Currency]; l.Err == nil && !known {
			errors.As(wallet.UnknownCurrency(l.Currency), &l.Err)
		}
		if l.Err == nil {
			l.Err = s.setActor(&l.RunLine)
		}
		if l.Err != nil {
			s.invalid++
			if len(s.skipped) < maxShownLines || s.SkipInvalid {
				// A command, or a field that there is none of, can be large.
				s.skipped = append(s.skipped, Line{Number: l.Number, Err: &wallet.InvalidError{Reason: l.Err.Reason, Message: l.Err.Message}})
			}
			if s.SkipInvalid && s.invalid > maxSkipped {
				return fileErrorf("more than %d lines are invalid: correct the file", maxSkipped)
			}
			return nil
		}
		if s.invalid > 0 && !s.SkipInvalid {
			return nil
		}
		command, err := stagedCommand(s.ID, l)
		if err != nil {
			return err
		}
		if batch = append(batch, copiedLine{l.Number, l.UserID, l.Currency, command}); len(batch) == size {
			return send()
		}
		return nil
	})
	if err == nil {
		err = send()
	}
	return err
}

// setActor sets the actor of a line that has none, and refuses another one if only one may be.
func (f File) setActor(l *wallet.RunLine) *wallet.InvalidError {
	switch {
	case l.Actor == "":
		l.Actor = f.Actor
	case f.OnlyActor && l.Actor != f.Actor:
		return &wallet.InvalidError{Reason: wallet.ReasonMalformed, Field: "actor", Value: l.Actor,
			Message: fmt.Sprintf("the actor is %.60q, and the file is sent by another, %.60q: leave it out", l.Actor, f.Actor)}
	}
	return nil
}

// stagedCommand is the command of a line as JSON. It leaves out an id that RunLineID made: reading
// makes it again.
func stagedCommand(runID string, l Line) ([]byte, error) {
	if l.ID == wallet.RunLineID(runID, l.Number) {
		l.ID = ""
	}
	return json.Marshal(l.Command)
}

// copySource is what CopyFrom reads.
type copySource struct {
	id      string
	batches <-chan []copiedLine
	batch   []copiedLine
}

// Next moves to the next line; it reports false at the end.
func (c *copySource) Next() bool {
	if len(c.batch) > 0 {
		c.batch = c.batch[1:]
	}
	for len(c.batch) == 0 {
		var open bool
		if c.batch, open = <-c.batches; !open {
			return false
		}
	}
	return true
}

// Values are the columns of a row.
func (c *copySource) Values() ([]any, error) {
	l := c.batch[0]
	return []any{c.id, l.number, l.user, l.currency, l.command}, nil
}

// Err is nil: an error in the file cancels the context of the copy.
func (c *copySource) Err() error { return nil }

func (s *staging) insertSkipped(ctx context.Context, tx pgx.Tx) error {
	_, err := tx.CopyFrom(ctx, pgx.Identifier{"wallet_run_failures"},
		[]string{"run_id", "part", "line", "status", "user_id", "currency", "type", "amount", "command_id", "reason", "message"},
		pgx.CopyFromSlice(len(s.skipped), func(i int) ([]any, error) {
			l := s.skipped[i]
			return []any{s.ID, 0, l.Number, "invalid", "", "", "", "", "", string(l.Err.Reason), l.Err.Message}, nil
		}))
	return err
}

// compare hashes a file whose run id is taken, and compares it with the staged file.
func (s *staging) compare(ctx context.Context, db *pgxpool.Pool, file io.Reader) (wallet.RunStatus, error) {
	staged, err := Status(ctx, db, s.ID)
	if err != nil {
		return staged, err
	}
	sum := sha256.New()
	if _, err := io.Copy(sum, countingReader{file, s.Read}); err != nil {
		return staged, err
	}
	if hash := wallet.Hash(sum.Sum(nil)); hash != staged.SHA256 {
		return staged, &OtherFileError{staged, s.Path, hash}
	}
	return staged, nil
}

type countingReader struct {
	io.Reader
	count *atomic.Int64
}

func (c countingReader) Read(p []byte) (int, error) {
	n, err := c.Reader.Read(p)
	if c.count != nil {
		c.count.Add(int64(n))
	}
	return n, err
}
