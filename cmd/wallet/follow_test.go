package main

import (
	"bufio"
	"encoding/json"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/valueledger/wallet/feed"
	"github.com/valueledger/wallet/internal/test/testenv"
)

func TestFollowShowsEventsAsTheyCome(t *testing.T) {
	s := newShell(t, testenv.DatabaseURL(t))
	start := func(args ...string) (*exec.Cmd, func() feed.Event) {
		cmd := exec.Command(binary, append([]string{"events", "--follow", "--output", "json"}, args...)...)
		cmd.Env = s.env
		out, err := cmd.StdoutPipe()
		require.NoError(t, err)
		require.NoError(t, cmd.Start())
		lines := bufio.NewScanner(out)
		return cmd, func() (e feed.Event) {
			require.True(t, lines.Scan())
			require.NoError(t, json.Unmarshal(lines.Bytes(), &e), lines.Text())
			return e
		}
	}
	stop := func(cmd *exec.Cmd) {
		require.NoError(t, cmd.Process.Signal(syscall.SIGINT))
		require.NoError(t, cmd.Wait())
	}
	deposit := func(user, id string) {
		_, errs, code := s.run("add", user, "USD", "1", "--id", id)
		require.Equal(t, 0, code, errs)
	}
	version := func(e feed.Event) string { // its id without the hash
		id, _, _ := strings.Cut(e.ID, "-")
		return id
	}
	stopWorker := s.startWorker()
	defer func() { stopWorker() }()

	deposit("f1", "a")
	all, next := start("--after", "0")
	require.Equal(t, "USD/f1/1", version(next()))
	require.Equal(t, "USD/f1/2", version(next()))
	deposit("f2", "a")
	require.Equal(t, "USD/f2/1", version(next()))
	last := next()
	require.Equal(t, "USD/f2/2", version(last))
	stop(all)

	deposit("f1", "b")
	again, next := start("f1", "USD", "--after", last.Cursor.String())
	e := next()
	require.Equal(t, "USD/f1/3", version(e))
	require.Equal(t, "b", e.CommandID)
	deposit("f2", "b")
	deposit("f1", "c")
	require.Equal(t, "USD/f1/4", version(next()), "f2 is not shown")
	stop(again)

	_, errs, code := s.run("events", "--follow", "--after", "yesterday")
	require.Equal(t, exitInvalid, code)
	require.Contains(t, errs, `"yesterday" is no place in the feed`)
}
