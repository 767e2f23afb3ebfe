package httpserver

import (
	"context"
	"errors"
	"io"
	"net/http"
	"os"
	"sync"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"go.uber.org/zap"

	"github.com/valueledger/wallet/internal/service/access"
	"github.com/valueledger/wallet/internal/service/outcome"
)

const (
	jsonType = "application/json"
	csvType  = "text/csv"
	sseType  = "text/event-stream"
)

// streamed is an answer that is written bit by bit.
type streamed struct {
	ContentType string `header:"Content-Type" hidden:"true"`
	Body        func(huma.Context)
}

// streamOf makes such an answer. An error that comes after the first byte can only be told by
// cutting the answer off.
func (s *Server) streamOf(contentType string, write func(context.Context, *output) error) *streamed {
	return &streamed{contentType, func(c huma.Context) {
		if contentType == sseType {
			c.SetHeader("X-Accel-Buffering", "no") // or nginx would keep events back
		}
		ctx := c.Context()
		out := &output{c.BodyWriter(), connectionOf(ctx).ResponseController}
		if err := write(ctx, out); err != nil {
			if ctx.Err() == nil && !errors.Is(err, os.ErrDeadlineExceeded) && outcome.Of(err) != outcome.Unavailable {
				s.logger.Error("an answer was cut off", zap.Error(err))
			}
			panic(http.ErrAbortHandler)
		}
	}}
}

// output is where a stream is written to. Each write has its time, the whole has none.
type output struct {
	io.Writer
	connection *http.ResponseController
}

func (o *output) Write(p []byte) (int, error) {
	o.keepOpen()
	return o.Writer.Write(p)
}

func (o *output) keepOpen() {
	now := time.Now()
	_, _ = o.connection.SetWriteDeadline(now.Add(writeMargin)), o.connection.SetReadDeadline(now.Add(writeMargin+heartbeat))
}

// slots limits requests that last: all, and those of each token.
type slots struct {
	most, mostOfToken int

	mu  sync.Mutex
	all int
	of  map[string]int
}

// A stream takes about 100 KB while it sends.
const (
	maxStreams        = 1000
	maxStreamsOfToken = 100
)

func (s *slots) begin(key string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.all >= s.most || s.of[key] >= s.mostOfToken {
		return false
	}
	if s.of == nil {
		s.of = map[string]int{}
	}
	s.all++
	s.of[key]++
	return true
}

func (s *slots) end(key string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.all--
	if s.of[key]--; s.of[key] == 0 {
		delete(s.of, key)
	}
}

// fileTypes are the types of files of commands. A page of another site cannot send them without
// asking.
var fileTypes = []string{csvType, "application/x-ndjson"}

// maxFileBytes is some ten million short lines.
var maxFileBytes int64 = 1 << 30

// uploadTimeout is how long a file may take: it holds a transaction open.
const uploadTimeout = 15 * time.Minute

// uploadPatience is how long the server waits for a sender in all; each minUploadBytes give it
// bodyTimeout more, up to that again. A byte now and then would keep a slot for uploadTimeout.
var uploadPatience = time.Minute

const minUploadBytes = 64 << 10

// fileBody describes the body of a route that takes a file.
func fileBody() *huma.RequestBody {
	content := map[string]*huma.MediaType{}
	for _, t := range fileTypes {
		content[t] = &huma.MediaType{Schema: &huma.Schema{Type: huma.TypeString, Description: "CSV with a header, or JSON objects, one per line: a command, with user_id and currency"}}
	}
	return &huma.RequestBody{Required: true, Content: content}
}

// upload is the body of a request as a file. A body that is too slow or too large ends with a Problem.
type upload struct {
	body       io.Reader
	connection *connection
	until      time.Time
	patience   time.Duration // that is left
	tooLarge   *Problem
	close      func()
	failed     error // of the last Read
}

// openUpload lets few files be read at a time, and one of a token.
func openUpload(ctx context.Context, of *slots, maxBytes int64, tooLarge *Problem) (*upload, error) {
	key := access.From(ctx).Key
	if !of.begin(key) {
		return nil, problem(tooMany, "%d files are being read already, or one of the token", of.most).with("Retry-After", retryAfter)
	}
	c := connectionOf(ctx)
	return &upload{
		body: http.MaxBytesReader(nil, c.body, maxBytes), connection: c, until: time.Now().Add(uploadTimeout), patience: uploadPatience,
		tooLarge: tooLarge, close: func() { of.end(key) },
	}, nil
}

func (u *upload) Read(p []byte) (int, error) {
	begun := time.Now()
	until := begun.Add(min(bodyTimeout, u.patience))
	if until.After(u.until) {
		until = u.until
	}
	_ = u.connection.SetReadDeadline(until)
	n, err := u.body.Read(p)
	u.patience = min(uploadPatience, u.patience-time.Since(begun)+time.Duration(n)*bodyTimeout/minUploadBytes)
	if err == nil && u.patience <= 0 {
		err = os.ErrDeadlineExceeded
	}
	switch {
	case err == nil:
		return n, nil
	case errors.Is(err, io.EOF): // net/http would end the request at that time
		_ = u.connection.SetReadDeadline(u.until.Add(writeMargin))
		return n, err
	case errors.As(err, new(*http.MaxBytesError)):
		err = u.tooLarge
	case errors.Is(err, os.ErrDeadlineExceeded):
		err = problem(tooSlow, "the file did not arrive in time: send at least %d KB in %s, and all in %s", minUploadBytes>>10, bodyTimeout, uploadTimeout)
	default:
		err = badInput("body", "", "the body ended early")
	}
	u.failed = err
	return n, err
}
