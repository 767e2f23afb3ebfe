package runs

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/valueledger/wallet"
)

const (
	// linesPerFile is about how many lines are in a file, some 100 MB in memory. All lines of a wallet
	// are in one file, so a file can have more.
	linesPerFile = 200_000
	// maxFiles limits how many files are open at once.
	maxFiles = 200
	// bytesPerLine is the size of a short line, to estimate how many lines a file has.
	bytesPerLine = 40
)

// fileLine is a line as a temporary file has it.
type fileLine struct {
	Number   int64           `json:"n"`
	UserID   string          `json:"u"`
	Currency string          `json:"c"`
	Original string          `json:"o,omitempty"` // that it reverses
	Command  json.RawMessage `json:"m"`
}

func (l fileLine) assetRef() wallet.AssetRef {
	return wallet.AssetRef{UserID: l.UserID, Currency: l.Currency}
}

// lineFiles are temporary files, each with all lines of some wallets.
type lineFiles struct {
	dir       string
	files     []*os.File
	buffers   []*bufio.Writer
	reversals bool // some lines reverse others
}

func newLineFiles(n int) (*lineFiles, error) {
	dir, err := os.MkdirTemp("", "wallet-run-check-")
	if err != nil {
		return nil, err
	}
	f := &lineFiles{dir: dir}
	for i := range n {
		file, err := os.Create(filepath.Join(dir, fmt.Sprint(i)))
		if err != nil {
			return nil, errors.Join(err, f.remove())
		}
		f.files, f.buffers = append(f.files, file), append(f.buffers, bufio.NewWriterSize(file, 1<<16))
	}
	return f, nil
}

func (f *lineFiles) remove() (err error) {
	for _, file := range f.files {
		err = errors.Join(err, file.Close())
	}
	return errors.Join(err, os.RemoveAll(f.dir))
}

func (f *lineFiles) add(runID string, l Line) error {
	command, err := stagedCommand(runID, l)
	if err != nil {
		return err
	}
	f.reversals = f.reversals || l.OriginalID != ""
	return json.NewEncoder(f.buffers[l.Partition(len(f.files))]).Encode(fileLine{l.Number, l.UserID, l.Currency, l.OriginalID, command})
}

// read calls do with the lines of a file, up to MaxBatch at a time.
func (f *lineFiles) read(i int, do func([]fileLine) error) error {
	if err := f.buffers[i].Flush(); err != nil {
		return err
	}
	if _, err := f.files[i].Seek(0, io.SeekStart); err != nil {
		return err
	}
	in := json.NewDecoder(bufio.NewReaderSize(f.files[i], 1<<16))
	var lines []fileLine
	for {
		var l fileLine
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
