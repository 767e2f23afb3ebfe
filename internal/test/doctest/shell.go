package doctest

import (
	"bufio"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// patience is how long a command in a document may take on a busy machine.
const patience = 3 * time.Minute

// shell is one bash for all commands of a document: they share variables, the working directory
// and background processes. Background processes must write elsewhere.
type shell struct {
	t   *testing.T
	cmd *exec.Cmd
	in  io.WriteCloser
	out *bufio.Reader
}

// end runs after each command, and keeps "$?" for the next.
const end = `__end() { local code=$?; printf '\001%d\n' $code; return $code; }` + "\n"

func startShell(t *testing.T, dir string, env []string) *shell {
	cmd := exec.Command("bash", "--norc", "--noprofile")
	cmd.Dir, cmd.Env = dir, env
	in, err := cmd.StdinPipe()
	require.NoError(t, err)
	read, write, err := os.Pipe()
	require.NoError(t, err)
	t.Cleanup(func() { read.Close() })
	cmd.Stdout, cmd.Stderr = write, write
	require.NoError(t, cmd.Start())
	require.NoError(t, write.Close())
	_, err = io.WriteString(in, end)
	require.NoError(t, err)
	return &shell{t, cmd, in, bufio.NewReader(read)}
}

// run returns what the commands print on both streams, and the exit code of the last.
func (s *shell) run(commands string) (out string, code int) {
	late := time.AfterFunc(patience, func() { s.cmd.Process.Kill() })
	defer late.Stop()
	// Do not read from the shell's own input, which a program could consume.
	_, err := io.WriteString(s.in, "{ "+strings.TrimSuffix(commands, "\n")+"\n} </dev/null; __end\n")
	require.NoError(s.t, err)
	out, err = s.out.ReadString('\001')
	require.NoError(s.t, err, "%s ended the shell, or took over %s: %s", commands, patience, out)
	number, err := s.out.ReadString('\n')
	require.NoError(s.t, err)
	code, err = strconv.Atoi(strings.TrimSpace(number))
	require.NoError(s.t, err)
	return strings.TrimSuffix(out, "\001"), code
}

// stop ends background processes, then the shell.
func (s *shell) stop() {
	s.run(`kill $(jobs -p) 2>/dev/null; wait; true`)
	require.NoError(s.t, s.in.Close())
	require.NoError(s.t, s.cmd.Wait())
}
