package torture

import (
	"io"
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/valueledger/wallet/internal/dev/devstack"
)

// says listens, and says its name to whoever connects.
func says(t *testing.T, name string) (address string) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			_, _ = io.WriteString(conn, name)
			conn.Close()
		}
	}()
	return listener.Addr().String()
}

func TestALinkIsRedirectedWithWhatDisturbsIt(t *testing.T) {
	ports, err := devstack.FreePorts(1)
	require.NoError(t, err)
	old, next := says(t, "old"), says(t, "next")
	l, err := newLink("link", ports[0], old)
	require.NoError(t, err)
	defer l.close()
	heard := func() string {
		conn, err := net.Dial("tcp", l.address)
		if err != nil {
			return "refused"
		}
		defer conn.Close()
		require.NoError(t, conn.SetDeadline(time.Now().Add(10*time.Second)))
		text, err := io.ReadAll(conn)
		require.NoError(t, err)
		return string(text)
	}
	require.Equal(t, "old", heard())
	require.NoError(t, l.redirect("127.0.0.1:1", next))
	require.Equal(t, "old", heard(), "it did not lead there")

	slice := Fault{Kind: Slice, Strength: 0.5}
	require.NoError(t, l.begin(slice))
	require.NoError(t, l.redirect(old, next))
	require.Equal(t, "next", heard())
	require.NoError(t, l.end(slice))

	cut := Fault{Kind: Cut}
	require.NoError(t, l.begin(cut))
	require.NoError(t, l.redirect(next, old))
	require.Equal(t, "refused", heard(), "it is still cut")
	require.NoError(t, l.end(cut))
	require.Equal(t, "old", heard())
}
