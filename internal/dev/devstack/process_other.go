//go:build !linux

package devstack

import (
	"errors"
	"os"
	"os/exec"
	"syscall"
)

// dieWithParent has no kernel support here: after kill -9 of this program its servers keep
// running, and the next start reports the one that holds the data.
func dieWithParent(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
}

func asServerUser(*exec.Cmd, string) error {
	if os.Geteuid() == 0 {
		return errors.New("root may not run Postgres: run this command as an ordinary user")
	}
	return nil
}

// childrenOf cannot find any without /proc.
func childrenOf(int) []int { return nil }
