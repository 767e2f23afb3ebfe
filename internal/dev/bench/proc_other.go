//go:build !linux

package bench

import "time"

// Other systems do not report this: the figures are missing from the report.

func treeTime(int) (time.Duration, error)   { return 0, nil }
func machineTime() (time.Duration, error)   { return 0, nil }
func hardware() (cpu string, memory uint64) { return "", 0 }
func residentMiB(int) (float64, error)      { return 0, nil }
