package torture

import (
	"context"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/valueledger/wallet/internal/dev/devstack"
)

// server is a process that faults hit. While no fault keeps it down it is started
// again whenever it has ended, as a service manager would.
type server struct {
	name       string
	haltSignal syscall.Signal
	launch     func(context.Context) (*devstack.Process, error)

	mu       sync.Mutex
	process  *devstack.Process
	down     bool // by a fault
	noted    bool // its end is, as a fault's doing or as a crash
	launches int
	crashes  []string // ends by itself, and the end of the log
}

const (
	superviseEvery = 100 * time.Millisecond
	restartPause   = 500 * time.Millisecond // after an end by itself
	launchPatience = 3 * time.Second
	haltPatience   = 2 * time.Second // then it is killed
)

// supervise starts the process when it has ended, until ctx does.
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

// begin brings the fault upon the process; end takes it away.
func (s *server) begin(kind Kind) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch kind {
	case Kill:
		s.down, s.noted = true, true
		s.process.Kill()
	case Halt:
		s.down, s.noted = true, true
		_ = s.process.Stop(s.haltSignal, haltPatience) // it says only that it had to be killed
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

// past is how often the process was started, and how it ended by itself.
func (s *server) past() (launches int, crashes []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.launches, slices.Clone(s.crashes)
}

// finish ends the process for good. Nobody supervises it any more.
func (s *server) finish() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.process != nil {
		s.process.Kill()
	}
}
