package bench

import (
	"fmt"
	"os"
	"time"

	"github.com/prometheus/procfs"
)

// tick is the unit of CPU times in /proc: Linux reports them in hundredths of a second on all
// platforms.
const tick = 10 * time.Millisecond

// treeTime is the CPU time of a process and all its descendants, including ended ones, whose
// time their parents inherit.
func treeTime(root int) (time.Duration, error) {
	processes, err := procfs.AllProcs()
	if err != nil {
		return 0, err
	}
	stats, children := map[int]procfs.ProcStat{}, map[int][]int{}
	for _, process := range processes {
		stat, err := process.Stat()
		if err != nil {
			continue // it has ended meanwhile
		}
		stats[process.PID] = stat
		children[stat.PPID] = append(children[stat.PPID], process.PID)
	}
	if _, running := stats[root]; !running {
		return 0, fmt.Errorf("no process %d", root)
	}
	var ticks int64
	for tree := []int{root}; len(tree) > 0; tree = tree[1:] {
		stat := stats[tree[0]]
		ticks += int64(stat.UTime+stat.STime) + int64(stat.CUTime) + int64(stat.CSTime)
		tree = append(tree, children[tree[0]]...)
	}
	return time.Duration(ticks) * tick, nil
}

// machineTime is the CPU time of everything on the machine, plus what a virtual machine's host
// has taken away (steal time).
func machineTime() (time.Duration, error) {
	fs, err := procfs.NewDefaultFS()
	if err != nil {
		return 0, err
	}
	stat, err := fs.Stat()
	if err != nil {
		return 0, err
	}
	t := stat.CPUTotal
	return time.Duration((t.User + t.Nice + t.System + t.IRQ + t.SoftIRQ + t.Steal) * float64(time.Second)), nil
}

// hardware returns the processor's model and the memory in bytes.
func hardware() (cpu string, memory uint64) {
	fs, err := procfs.NewDefaultFS()
	if err != nil {
		return "", 0
	}
	if cpus, err := fs.CPUInfo(); err == nil && len(cpus) > 0 {
		cpu = cpus[0].ModelName
	}
	if info, err := fs.Meminfo(); err == nil && info.MemTotalBytes != nil {
		memory = *info.MemTotalBytes
	}
	return cpu, memory
}

// residentMiB is the memory of a process, or of this one for 0.
func residentMiB(pid int) (float64, error) {
	if pid == 0 {
		pid = os.Getpid()
	}
	process, err := procfs.NewProc(pid)
	if err != nil {
		return 0, err
	}
	stat, err := process.Stat()
	if err != nil {
		return 0, err
	}
	return float64(stat.ResidentMemory()) / (1 << 20), nil
}
