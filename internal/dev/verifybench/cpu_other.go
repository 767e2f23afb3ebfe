//go:build !linux

package verifybench

import "time"

// cpuOf is unknown here.
func cpuOf(int) time.Duration { return 0 }
