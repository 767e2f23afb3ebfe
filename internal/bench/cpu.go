package bench

import (
	"fmt"
	"time"

	"github.com/prometheus/procfs"
	"golang.org/x/sys/unix"
)

// Processes whose CPU time is accounted, by process id; 0 where it is not known.
type Processes struct{ Temporal, Postgres int }

// cpuTimes is the CPU time that each has used so far, user and system.
type cpuTimes struct{ client, temporal, postgres time.Duration }

func (c cpuTimes) sub(before cpuTimes) cpuTimes {
	return cpuTimes{c.client - before.client, c.temporal - before.temporal, c.postgres - before.postgres}
}

// cpu reads the time of this process (the callers and the worker) without its
// children, which the servers may be, and of the servers with theirs.
func (p Processes) cpu() (c cpuTimes, err error) {
	var self unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &self); err != nil {
		return c, err
	}
	c.client = time.Duration(self.Utime.Nano() + self.Stime.Nano())
	if p == (Processes{}) {
		return c, nil
	}
	if c.temporal, err = treeTime(p.Temporal); err != nil {
		return c, fmt.Errorf("CPU time of Temporal: %w", err)
	}
	if c.postgres, err = treeTime(p.Postgres); err != nil {
		return c, fmt.Errorf("CPU time of Postgres: %w", err)
	}
	return c, nil
}

// tick is the unit of CPU times in /proc: Linux reports them to programs in
// hundredths of a second on all platforms.
const tick = 10 * time.Millisecond

// treeTime is the CPU time of a process and all below it, those that have ended
// included: their parent has inherited their time.
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
