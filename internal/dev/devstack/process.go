package devstack

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"
)

// Process is a program that this one started and that must not outlive it.
type Process struct {
	name    string
	logPath string
	cmd     *exec.Cmd
	done    chan struct{} // closed when the process has ended and err is set
	err     error
}

// StartProcess starts cmd with its output appended to a log file. The process gets its own
// group, so Ctrl-C reaches only this program, which then stops its servers in order.
func StartProcess(name string, cmd *exec.Cmd, logPath string) (*Process, error) {
	if err := os.MkdirAll(filepath.Dir(logPath), 0o755); err != nil {
		return nil, err
	}
	logFile, err := os.OpenFile(logPath, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, err
	}
	cmd.Stdout, cmd.Stderr = logFile, logFile
	dieWithParent(cmd)
	p := &Process{name: name, logPath: logPath, cmd: cmd, done: make(chan struct{})}
	started := make(chan error)
	go func() {
		// Linux sends the parent-death signal when the thread that started the process ends, so
		// this thread must live as long as the process.
		runtime.LockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			p.err = cmd.Wait()
		}
		logFile.Close()
		close(p.done)
	}()
	if err := <-started; err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	return p, nil
}

// Stop sends a signal, waits, and kills a process that does not stop. A paused one goes on first.
func (p *Process) Stop(signal os.Signal, patience time.Duration) error {
	if p == nil {
		return nil
	}
	p.Resume()
	_ = p.cmd.Process.Signal(signal) // it may have ended already
	select {
	case <-p.done:
		return nil
	case <-time.After(patience):
		_ = p.cmd.Process.Kill()
		<-p.done
		return fmt.Errorf("%s did not stop within %s and was killed", p.name, patience)
	}
}

// Ended reports an unexpected end, with the last lines of the log, which show the reason.
func (p *Process) Ended() error {
	select {
	case <-p.done:
		return fmt.Errorf("%s ended (%v); the end of %s:\n%s", p.name, p.err, p.logPath, tail(p.logPath, 15))
	default:
		return nil
	}
}

// WaitAll returns nil when ctx ends, or the reason why one of the processes has ended.
func WaitAll(ctx context.Context, processes ...*Process) error {
	ended := make(chan error, len(processes))
	for _, p := range processes {
		go func() {
			select {
			case <-ctx.Done():
			case <-p.done:
				ended <- p.Ended()
			}
		}()
	}
	select {
	case <-ctx.Done():
		return nil
	case err := <-ended:
		return err
	}
}

func tail(path string, lines int) string {
	content, err := os.ReadFile(path)
	if err != nil {
		return err.Error()
	}
	all := strings.Split(string(bytes.TrimSpace(content)), "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}

// Running reports whether the process has not ended yet. A paused process is running.
func (p *Process) Running() bool {
	select {
	case <-p.done:
		return false
	default:
		return true
	}
}

// Kill ends the process at once, paused or not, and waits for its end. Its children have to
// notice that on their own, as after a crash: paused ones go on, or they would stay for good.
func (p *Process) Kill() {
	var children []int
	if p.Running() {
		children = childrenOf(p.cmd.Process.Pid)
	}
	_ = p.cmd.Process.Kill() // it may have ended already
	<-p.done
	for _, child := range children {
		_ = syscall.Kill(child, syscall.SIGCONT)
	}
}

// Pause freezes the process and its children until Resume.
func (p *Process) Pause() { p.signalAll(syscall.SIGSTOP) }

// Resume continues a paused process.
func (p *Process) Resume() { p.signalAll(syscall.SIGCONT) }

func (p *Process) signalAll(signal syscall.Signal) {
	if !p.Running() {
		return
	}
	_ = p.cmd.Process.Signal(signal)
	for _, child := range childrenOf(p.cmd.Process.Pid) {
		_ = syscall.Kill(child, signal) // it may have ended already
	}
}
