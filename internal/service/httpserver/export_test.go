package httpserver

import (
	"testing"
	"time"
)

// SetHeartbeat and SetMaxFileBytes change a limit for a test.
func SetHeartbeat(t *testing.T, to time.Duration) { set(t, &heartbeat, to) }

func SetMaxFileBytes(t *testing.T, to int64) { set(t, &maxFileBytes, to) }

func set[T any](t *testing.T, variable *T, to T) {
	before := *variable
	*variable = to
	t.Cleanup(func() { *variable = before })
}

// MaxStreamsOfToken is how many streams a token may have.
const MaxStreamsOfToken = maxStreamsOfToken
