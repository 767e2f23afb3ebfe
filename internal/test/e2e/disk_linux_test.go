package e2e

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/prometheus/procfs"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/valueledger/wallet"
	"github.com/valueledger/wallet/internal/dev/devstack"
)

// TestThePostgresTablesCannotGrow takes away what Postgres loses first on a full disk: room for
// its tables to grow. A limit on file size needs no privileges and no extra disk. The limit is
// the size of a log segment, so the log keeps working.
func TestThePostgresTablesCannotGrow(t *testing.T) {
	if _, err := exec.LookPath("prlimit"); err != nil {
		t.Skip("needs prlimit (Debian: util-linux)")
	}
	w := newOwnWorld(t, devstack.Options{})
	w.limitFiles("16777216")
	w.fillUntilTroubled(func() { w.awaitTrouble("could not extend file") }, func() { w.limitFiles("unlimited") })
}

// limitFiles limits the size of files that Postgres may write, including its running backends.
func (w *ownWorld) limitFiles(limit string) {
	limitFilesOf(w.t, w.stack.Postgres.PID(), limit)
	all, err := procfs.AllProcs()
	require.NoError(w.t, err)
	for _, process := range all {
		if stat, err := process.Stat(); err == nil && stat.PPID == w.stack.Postgres.PID() {
			limitFilesOf(w.t, process.PID, limit)
		}
	}
}

// limitFilesOf runs as the process's own user, who may do this; root without CAP_SYS_RESOURCE
// may not.
func limitFilesOf(t *testing.T, pid int, limit string) {
	var owner unix.Stat_t
	if unix.Stat(fmt.Sprint("/proc/", pid), &owner) != nil {
		return // it has ended
	}
	cmd := exec.Command("prlimit", "--pid", fmt.Sprint(pid), "--fsize="+limit+":") // the soft limit
	if os.Geteuid() == 0 {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: owner.Uid, Gid: owner.Gid}}
	}
	out, err := cmd.CombinedOutput()
	require.True(t, err == nil || unix.Kill(pid, 0) != nil, "%s", out)
}

// envNeedDisk forbids skipping the test that mounts a disk.
const envNeedDisk = "WALLET_NEED_TMPFS"

// TestThePostgresDiskIsFull puts Postgres, including its log, on a disk of 160 MB: it may stop,
// and comes back when there is room.
func TestThePostgresDiskIsFull(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.Chmod(dir, 0o755))
	disk := filepath.Join(dir, "postgres")
	require.NoError(t, os.Mkdir(disk, 0o755))
	if err := unix.Mount("tmpfs", disk, "tmpfs", 0, "size=160m,mode=755"); err != nil {
		require.Empty(t, os.Getenv(envNeedDisk), "%s forbids to skip this: %v", envNeedDisk, err)
		t.Skipf("needs the right to mount a small disk (%v): TestThePostgresTablesCannotGrow runs without", err)
	}
	t.Cleanup(func() { require.NoError(t, unix.Unmount(disk, unix.MNT_DETACH)) })
	w := newOwnWorld(t, devstack.Options{Dir: dir, PostgresSettings: []string{"min_wal_size=32MB", "max_wal_size=32MB"}})
	ballast := filepath.Join(disk, "ballast")
	file, err := os.Create(ballast)
	require.NoError(t, err)
	defer file.Close()
	var free syscall.Statfs_t
	require.NoError(t, syscall.Statfs(disk, &free))
	require.NoError(t, syscall.Fallocate(int(file.Fd()), 0, 0, int64(free.Bavail)*free.Bsize-(2<<20)))
	troubled := func() { // whatever the error: Postgres may be gone
		w.eventually("Postgres's log to tell of a full disk", func() bool {
			log, err := os.ReadFile(w.stack.Postgres.LogPath())
			require.NoError(t, err)
			return strings.Contains(string(log), "No space left on device")
		})
		w.awaitTrouble("")
	}
	w.fillUntilTroubled(troubled, func() {
		require.NoError(t, os.Remove(ballast))
		require.NoError(t, file.Close())
		_ = w.stack.Postgres.Stop()
		require.NoError(t, w.stack.Postgres.Start(t.Context()))
	})
}

// fillUntilTroubled sends commands with as much metadata as allowed until Postgres runs out of
// room, which troubled waits for. It keeps sending, then calls room to make room.
func (w *ownWorld) fillUntilTroubled(troubled, room func()) {
	var batches [][]wallet.Command
	_, err := w.wallets.Create(w.t.Context(), w.change("open", ""))
	require.NoError(w.t, err)
	filling, full := context.WithCancel(w.t.Context())
	filled := make(chan error, 1)
	go func() {
		for {
			batches = append(batches, fat(fmt.Sprint("b", len(batches)), 200))
			if _, err := w.wallets.ApplyBatch(filling, w.user, "USD", batches[len(batches)-1]); err != nil {
				filled <- err
				return
			}
		}
	}()
	troubled()
	signals := fat("s", 20)
	for _, command := range signals {
		require.NoError(w.t, w.wallets.Send(w.t.Context(), w.user, "USD", command))
	}
	full()
	require.ErrorIs(w.t, <-filled, context.Canceled)
	room()
	var ids []string
	for _, batch := range append(batches, signals) { // send everything again, answered or not
		_, err := w.wallets.ApplyBatch(w.t.Context(), w.user, "USD", batch)
		require.NoError(w.t, err)
		for _, command := range batch {
			ids = append(ids, command.ID)
		}
	}
	w.t.Log(len(ids), "commands")
	w.requireUnharmed(append(ids, "open")...)
}

// fat makes commands with as much incompressible metadata as allowed.
func fat(prefix string, n int) []wallet.Command {
	commands := make([]wallet.Command, n)
	for i, id := range numbered(prefix, n) {
		noise := make([]byte, (wallet.MaxMetadataBytes-100)/2)
		_, _ = rand.Read(noise)
		commands[i] = add(id, "1")
		commands[i].Metadata = map[string]string{"noise": hex.EncodeToString(noise)}
	}
	return commands
}
