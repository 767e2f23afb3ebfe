package bench

import (
	"bufio"
	"os/exec"
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"
)

// Postgres has a process for each connection: ended processes count too.
func TestCPUTimeIncludesChildrenThatHaveEnded(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("CPU time of other processes is read from /proc")
	}
	const burn = `i=0; while [ $i -lt 300000 ]; do i=$((i+1)); done`
	cmd := exec.Command("sh", "-c", `sh -c '`+burn+`'; echo ended; read _`)
	stdin, err := cmd.StdinPipe()
	require.NoError(t, err)
	stdout, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	line, err := bufio.NewReader(stdout).ReadString('\n')
	require.NoError(t, err)
	require.Equal(t, "ended\n", line)

	used, err := treeTime(cmd.Process.Pid)
	require.NoError(t, err)
	require.Positive(t, used)

	require.NoError(t, stdin.Close())
	_ = cmd.Wait() // read fails at the end of the input
	_, err = treeTime(cmd.Process.Pid)
	require.Error(t, err, "a server that has ended is not one that needs no time")
}
