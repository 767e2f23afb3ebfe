package httpserver

import (
	"testing"
	"time"
)

// The setters change a limit for a test.
func SetHeartbeat(t *testing.T, to time.Duration) { set(t, &heartbeat, to) }

func SetMaxFileBytes(t *testing.T, to int64) { set(t, &maxFileBytes, to) }

func SetMaxCheck(t *testing.T, lines, bytes int64) {
	set(t, &maxCheckLines, lines)
	set(t, &maxCheckBytes, bytes)
}

func SetBodyTimeout(t *testing.T, to time.Duration) { set(t, &bodyTimeout, to) }

func SetUploadPatience(t *testing.T, to time.Duration) { set(t, &uploadPatience, to) }

func set[T any](t *testing.T, variable *T, to T) {
	before := *variable
	*variable = to
	t.Cleanup(func() { *variable = before })
}

// MaxStreamsOfToken is how many streams a token may have.
const MaxStreamsOfToken = maxStreamsOfToken
