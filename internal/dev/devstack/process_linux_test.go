package devstack

import (
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestAPausedProcessLeavesNoPausedChildren has a child that ends when its input does, as Postgres's
// do: a paused one could not.
func TestAPausedProcessLeavesNoPausedChildren(t *testing.T) {
	for name, end := range map[string]func(*Process){
		"killed":  (*Process).Kill,
		"stopped": func(p *Process) { require.NoError(t, p.Stop(syscall.SIGTERM, 10*time.Second)) },
	} {
		t.Run(name, func(t *testing.T) {
			childReads, input, err := os.Pipe()
			require.NoError(t, err)
			output, childWrites, err := os.Pipe()
			require.NoError(t, err)
			cmd := exec.Command("sh", "-c", "cat <&3 >&4 & wait")
			cmd.ExtraFiles = []*os.File{childReads, childWrites}
			p, err := StartProcess(name, cmd, filepath.Join(t.TempDir(), "log"))
			require.NoError(t, err)
			childReads.Close()
			childWrites.Close()
			require.Eventually(t, func() bool { return len(childrenOf(cmd.Process.Pid)) == 1 }, time.Minute, time.Millisecond)

			p.Pause()
			end(p)
			input.Close()
			ended := make(chan error)
			go func() { _, err := io.ReadAll(output); ended <- err }()
			select {
			case err := <-ended:
				require.NoError(t, err)
			case <-time.After(10 * time.Second):
				t.Fatal("the child is still there")
			}
		})
	}
}
