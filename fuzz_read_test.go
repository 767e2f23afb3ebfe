package wallet

import (
	"encoding/binary"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// reader reads what encoder wrote, as described in docs/design.md.
type reader struct {
	t    *testing.T
	left []byte
}

func (r *reader) bytes() []byte {
	require.GreaterOrEqual(r.t, len(r.left), 8)
	n := binary.BigEndian.Uint64(r.left)
	r.left = r.left[8:]
	require.LessOrEqual(r.t, n, uint64(len(r.left)))
	field := r.left[:n]
	r.left = r.left[n:]
	return field
}

func (r *reader) text() string { return string(r.bytes()) }

func (r *reader) number() int64 {
	field := r.bytes()
	require.Len(r.t, field, 8)
	return int64(binary.BigEndian.Uint64(field))
}

func (r *reader) amount() Amount { return MustAmount(r.text()) }

func (r *reader) hash() (h Hash) {
	require.Equal(r.t, len(h), copy(h[:], r.bytes()))
	return h
}

func (r *reader) metadata() map[string]string {
	m := map[string]string{}
	n := r.number()
	for range n {
		key := r.text()
		m[key] = r.text()
	}
	require.Len(r.t, m, int(n))
	return m
}

// partsOfCommandWorkflowID parses an id made by ApplyCommandWorkflowID.
func partsOfCommandWorkflowID(t *testing.T, workflowID, currency string) (user, command string) {
	rest, ok := strings.CutPrefix(workflowID, "command/"+currency+"/")
	require.True(t, ok)
	user, command, ok = strings.Cut(rest, "/")
	require.True(t, ok)
	return strings.NewReplacer("%2F", "/", "%25", "%").Replace(user), command
}
