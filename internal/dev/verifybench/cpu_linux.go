package verifybench

import (
	"time"

	"github.com/prometheus/procfs"
)

// cpuOf is the CPU time of a process, exact to the nanosecond; 0 if it has ended.
func cpuOf(pid int) time.Duration {
	process, err := procfs.NewProc(pid)
	if err != nil {
		return 0
	}
	stat, err := process.Schedstat()
	if err != nil {
		return 0
	}
	return time.Duration(stat.RunningNanoseconds)
}
