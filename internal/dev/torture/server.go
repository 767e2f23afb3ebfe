package torture

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/valueledger/wallet/internal/dev/devstack"
)

// server is a process that faults hit. Unless a fault keeps it down, it is restarted whenever
// it ends, as by a service manager.
type server struct {
	name       string
	haltSignal syscall.Signal
	launch     func(context.Context) (*devstack.Process, error)

	mu       sync.Mutex
	process  *devstack.Process
	down     bool // down because of a fault
	noted    bool // its end is recorded, as caused by a fault or as a crash
	launches int
	crashes  []string // unexpected ends, with the end of the log
}

const (
	superviseEvery = 100 * time.Millisecond
	restartPause   = 500 * time.Millisecond // after an unexpected end
	launchPatience = 3 * time.Second
	haltPatience   = 2 * time.Second // after that it is killed
)

// supervise restarts the process whenever it has ended, until ctx ends.
func (s *server) supervise(ctx context.Context) {
	for ctx.Err() == nil {
		s.mu.Lock()
		if s.process != nil && !s.process.Running() && !s.noted {
			s.crashes = append(s.crashes, s.process.Ended().Error())
			s.noted = true
			sleep(ctx, restartPause)
		}
		if !s.down && (s.process == nil || !s.process.Running()) {
			attempt, cancel := context.WithTimeout(ctx, launchPatience)
			process, err := s.launch(attempt)
			cancel()
			if err == nil {
				s.process, s.noted = process, false
				s.launches++
			}
		}
		s.mu.Unlock()
		select {
		case <-ctx.Done():
		case <-time.After(superviseEvery):
		}
	}
}

// begin applies the fault to the process; end removes it.
func (s *server) begin(kind Kind) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch kind {
	case Kill:
		s.down, s.noted = true, true
		s.process.Kill()
	case Halt:
		s.down, s.noted = true, true
		_ = s.process.Stop(s.haltSignal, haltPatience) // the error only says that it had to be killed
	case Pause:
		s.process.Pause()
	}
}

func (s *server) end() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.down = false
	s.process.Resume()
}

// kill kills the process, and returns when; it fails if it does not run. end removes the fault.
func (s *server) kill() (at time.Time, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.down || !s.process.Running() {
		return at, fmt.Errorf("%s does not run", s.name)
	}
	s.down, s.noted = true, true
	at = time.Now()
	s.process.Kill()
	return at, nil
}

// freeze pauses the process until thaw is called. No other fault ends, and nothing is started,
// in between.
func (s *server) freeze() (thaw func()) {
	s.mu.Lock()
	s.process.Pause()
	return func() {
		s.process.Resume()
		s.mu.Unlock()
	}
}

// past returns how often the process was started, and its unexpected ends.
func (s *server) past() (launches int, crashes []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.launches, slices.Clone(s.crashes)
}

// finish stops the process for good. Nothing supervises it any more.
func (s *server) finish() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.process != nil {
		s.process.Kill()
	}
}
