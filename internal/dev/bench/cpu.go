package bench

import (
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// Processes whose CPU time is measured, by process id; 0 if unknown.
type Processes struct{ Temporal, Postgres int }

// cpuTimes is the CPU time used so far, user and system, of each process and of the
// machine as a whole.
type cpuTimes struct{ client, temporal, postgres, machine time.Duration }

func (c cpuTimes) sub(before cpuTimes) cpuTimes {
	return cpuTimes{c.client - before.client, c.temporal - before.temporal, c.postgres - before.postgres, c.machine - before.machine}
}

// others is what processes outside the benchmark have used.
func (c cpuTimes) others() time.Duration {
	return max(0, c.machine-c.client-c.temporal-c.postgres)
}

// cpu reads the CPU time of this process (the callers and the worker) without its children,
// which the servers may be, and of the servers with their children. Only Linux reports the time
// of other processes.
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
	if c.machine, err = machineTime(); err != nil {
		return c, fmt.Errorf("CPU time of the machine: %w", err)
	}
	return c, nil
}
