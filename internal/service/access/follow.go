package access

import (
	"os"
	"sync"
	"time"
)

// lookEvery is how long what is no longer in a file may still be accepted.
const lookEvery = time.Second

// followed is what a file says. It is read again when the file has changed, so that a token or a key
// can be revoked without a restart.
type followed[T any] struct {
	path  string
	parse func(content []byte) (T, error)

	mu      sync.Mutex
	value   T
	looked  time.Time // when the file was looked at last
	changed time.Time // the file's time, as of then
	size    int64
}

// follow fails if the file cannot be read.
func follow[T any](path string, parse func([]byte) (T, error)) (*followed[T], error) {
	f := &followed[T]{path: path, parse: parse}
	_, err := f.current(time.Now())
	return f, err
}

// current returns what the file says. One that cannot be read says nothing: what is in memory may
// have been revoked.
func (f *followed[T]) current(now time.Time) (none T, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.looked.IsZero() && now.Sub(f.looked) < lookEvery && now.After(f.looked) {
		return f.value, nil
	}
	info, err := os.Stat(f.path)
	if err != nil {
		return none, err
	}
	if f.looked.IsZero() || !info.ModTime().Equal(f.changed) || info.Size() != f.size {
		content, err := os.ReadFile(f.path)
		if err != nil {
			return none, err
		}
		value, err := f.parse(content)
		if err != nil {
			return none, err
		}
		f.value, f.changed, f.size = value, info.ModTime(), info.Size()
	}
	f.looked = now
	return f.value, nil
}
