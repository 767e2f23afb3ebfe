package access

import (
	"testing"
	"time"
)

// SetUnknownKey changes how often unknown keys are fetched, and how long a request waits for that.
func SetUnknownKey(t *testing.T, every, patience time.Duration) {
	before, beforePatience := unknownKeyEvery, unknownKeyPatience
	unknownKeyEvery, unknownKeyPatience = every, patience
	t.Cleanup(func() { unknownKeyEvery, unknownKeyPatience = before, beforePatience })
}
