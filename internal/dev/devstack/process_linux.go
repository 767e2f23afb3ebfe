package devstack

import (
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// dieWithParent makes the kernel end the process if this program dies without being able to do
// so itself (kill -9). SIGINT is a fast, clean shutdown for Postgres and a clean one for
// Temporal.
func dieWithParent(cmd *exec.Cmd) {
	attributes(cmd).Setpgid = true
	attributes(cmd).Pdeathsig = syscall.SIGINT
}

func attributes(cmd *exec.Cmd) *syscall.SysProcAttr {
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	return cmd.SysProcAttr
}

// asServerUser runs cmd as an ordinary user, because Postgres refuses root, and makes that user
// the owner of owned. It does nothing if this program is not root. If that user cannot enter a
// folder above owned (root's home, for example), the process also gets the capability to do so.
func asServerUser(cmd *exec.Cmd, owned string) error {
	if os.Geteuid() != 0 {
		return nil
	}
	account, err := user.Lookup("postgres")
	if err != nil {
		if account, err = user.Lookup("nobody"); err != nil {
			return err
		}
	}
	uid, err := strconv.Atoi(account.Uid)
	if err != nil {
		return err
	}
	gid, err := strconv.Atoi(account.Gid)
	if err != nil {
		return err
	}
	if err := os.Chown(owned, uid, gid); err != nil {
		return err
	}
	attributes(cmd).Credential = &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
	if !reachableByAll(owned) || !reachableByAll(cmd.Path) {
		attributes(cmd).AmbientCaps = []uintptr{unix.CAP_DAC_OVERRIDE}
	}
	return nil
}

// reachableByAll reports whether everybody may enter all folders above path.
func reachableByAll(path string) bool {
	for dir := filepath.Dir(path); ; dir = filepath.Dir(dir) {
		info, err := os.Stat(dir)
		if err != nil || info.Mode().Perm()&0o001 == 0 {
			return false
		}
		if dir == filepath.Dir(dir) {
			return true
		}
	}
}

// childrenOf lists the running processes that a process has started.
func childrenOf(pid int) (children []int) {
	lists, _ := filepath.Glob(filepath.Join("/proc", strconv.Itoa(pid), "task", "*", "children"))
	for _, list := range lists { // one for each thread
		text, err := os.ReadFile(list)
		if err != nil {
			continue
		}
		for _, field := range strings.Fields(string(text)) {
			if child, err := strconv.Atoi(field); err == nil {
				children = append(children, child)
			}
		}
	}
	return children
}
