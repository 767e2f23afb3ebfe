package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/valueledger/wallet"
	"github.com/valueledger/wallet/internal/test/testenv"
)

// openTerminal makes a terminal: what a program writes to terminal can be read
// from screen.
func openTerminal(t *testing.T) (screen, terminal *os.File) {
	screen, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	require.NoError(t, err)
	t.Cleanup(func() { screen.Close() })
	fd := int(screen.Fd())
	require.NoError(t, unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0))
	n, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	require.NoError(t, err)
	terminal, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	require.NoError(t, err)
	require.NoError(t, unix.IoctlSetWinsize(int(terminal.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Row: 24, Col: 80}))
	return screen, terminal
}

func TestVerifyShowsItsProgressToPeopleAlone(t *testing.T) {
	url := testenv.DatabaseURL(t)
	s, db := newShell(t, url), testenv.Pool(t, url)
	fillWallet(t, url, 10, "")
	start := func(args ...string) (cmd *exec.Cmd, screen *os.File, stdout *bytes.Buffer) {
		screen, terminal := openTerminal(t)
		defer terminal.Close()
		stdout = &bytes.Buffer{}
		cmd = exec.Command(binary, args...)
		cmd.Env, cmd.Stdout, cmd.Stderr = s.env, stdout, terminal
		require.NoError(t, cmd.Start())
		return cmd, screen, stdout
	}

	// The journal is locked until the bar has been seen.
	lock, err := db.Begin(t.Context())
	require.NoError(t, err)
	_, err = lock.Exec(t.Context(), `LOCK TABLE wallet_commands`)
	require.NoError(t, err)
	cmd, screen, out := start("verify")
	seen, part := "", make([]byte, 4096)
	for !strings.Contains(seen, "journal entries") {
		n, err := screen.Read(part)
		require.NoError(t, err)
		seen += string(part[:n])
	}
	require.Empty(t, out.String())
	require.NoError(t, lock.Rollback(t.Context()))
	rest, _ := io.ReadAll(screen) // ends with EIO when nobody has the terminal open any more
	require.NoError(t, cmd.Wait())
	require.Contains(t, out.String(), "verified 1 wallets, 10 journal entries")
	require.Contains(t, string(rest), "\x1b[A\x1b[K", "it is drawn over")
	require.Regexp(t, `journal entries \.\.\. done! \[10 in [^\n]*\n$`, string(rest))

	cmd, screen, _ = start("verify", "--output", "json")
	rest, _ = io.ReadAll(screen)
	require.NoError(t, cmd.Wait())
	require.Empty(t, rest)
	_, errs, _ := s.run("verify")
	require.Empty(t, errs, "stderr is no terminal")
}

// TestOnATerminalAnIDIsMadeUp says what to repeat when no answer came.
func TestOnATerminalAnIDIsMadeUp(t *testing.T) {
	s, user := newShell(t, testenv.DatabaseURL(t)), testenv.Unique(t, "user")
	screen, terminal := openTerminal(t)
	cmd := exec.Command(binary, "add", user, "USD", "5", "--description", "two words", "--timeout", "1s")
	cmd.Env, cmd.Stdin, cmd.Stdout, cmd.Stderr = s.env, terminal, terminal, terminal
	require.NoError(t, cmd.Start())
	require.NoError(t, terminal.Close())
	seen, _ := io.ReadAll(screen)
	require.Error(t, cmd.Wait())
	require.Equal(t, exitNoAnswer, cmd.ProcessState.ExitCode())
	id := regexp.MustCompile(`id (cli-[A-Z0-9]+) \(to try again`).FindStringSubmatch(string(seen))
	require.NotNil(t, id, string(seen))
	require.Contains(t, string(seen), "to ask again: wallet add "+user+" USD 5 --description 'two words' --timeout 1s --id "+id[1])
	require.NoError(t, testenv.Temporal(t).TerminateWorkflow(t.Context(), wallet.WorkflowID(user, "USD"), "", "test"))
}

func TestTablesFitTheTerminal(t *testing.T) {
	s := newPastShell(t)
	for _, args := range [][]string{{"events"}, {"commands"}, {"commands", "u1", "USD"}, {"statement", "u1", "USD"}, {"holds", "u3"}, {"balance", "u1"}, {"currency", "list"}, {"migrate", "status"}} {
		screen, terminal := openTerminal(t)
		cmd := exec.Command(binary, args...)
		cmd.Env, cmd.Stdout = s.env, terminal
		require.NoError(t, cmd.Start())
		require.NoError(t, terminal.Close())
		seen, _ := io.ReadAll(screen)
		require.NoError(t, cmd.Wait())
		for _, line := range strings.Split(string(seen), "\n") {
			require.LessOrEqual(t, utf8.RuneCountInString(strings.TrimRight(line, "\r")), 80, "%s:\n%s", args, seen)
		}
	}
}
