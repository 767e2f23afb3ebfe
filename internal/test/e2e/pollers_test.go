package e2e

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/client"
	"go.uber.org/zap"
	"google.golang.org/grpc"

	"github.com/valueledger/wallet/internal/service"
	"github.com/valueledger/wallet/internal/test/testenv"
	"github.com/valueledger/wallet/starter"
)

// TestABurstToOneWalletDoesNotStopFirstCommandsOfOthers has a server that says of the sticky queue,
// with each of its tasks, that more of them wait, and whose polls of it do not return without a
// task. A worker that then polls nothing but that queue never sees a new wallet.
func TestABurstToOneWalletDoesNotStopFirstCommandsOfOthers(t *testing.T) {
	t.Parallel()
	w := newWorldOn(t, dialThrough(t, saysMoreWaits))
	burst := make(chan error, 1)
	ctx, stop := context.WithCancel(t.Context())
	go func() {
		var err error
		for i := 0; ctx.Err() == nil && err == nil; i++ {
			_, err = w.wallets.Add(context.Background(), w.change(fmt.Sprintf("burst-%d", i), "1"))
		}
		burst <- err
	}()
	answered, giveUp := context.WithTimeout(t.Context(), time.Minute)
	defer giveUp()
	for i := range 20 {
		_, err := w.wallets.Add(answered, starter.Change{
			UserID: fmt.Sprintf("%s-%d", w.user, i), Currency: "USD", CommandID: "first", Amount: add("", "1").Amount,
		})
		require.NoError(t, err, "new wallet %d", i)
	}
	stop()
	require.NoError(t, <-burst)
	w.requireSound()
}

// saysMoreWaits changes the answers to polls of a sticky queue.
func saysMoreWaits(ctx context.Context, method string, request, reply any, conn *grpc.ClientConn, invoke grpc.UnaryInvoker, options ...grpc.CallOption) error {
	poll, isPoll := request.(*workflowservice.PollWorkflowTaskQueueRequest)
	if !isPoll || poll.TaskQueue.GetKind() != enumspb.TASK_QUEUE_KIND_STICKY {
		return invoke(ctx, method, request, reply, conn, options...)
	}
	task := reply.(*workflowservice.PollWorkflowTaskQueueResponse)
	for {
		if err := invoke(ctx, method, request, reply, conn, options...); err != nil || len(task.TaskToken) > 0 {
			task.BacklogCountHint = 1
			return err
		}
	}
}

// dialThrough returns a client like a worker's, whose calls go through an interceptor.
func dialThrough(t *testing.T, interceptor grpc.UnaryClientInterceptor) client.Client {
	options := client.Options{HostPort: testenv.TemporalAddress(t), Logger: service.SDKLogger(zap.NewNop())}
	service.WorkerConnection(&options)
	options.ConnectionOptions.DialOptions = append(options.ConnectionOptions.DialOptions, grpc.WithChainUnaryInterceptor(interceptor))
	c, err := client.DialContext(t.Context(), options)
	require.NoError(t, err)
	t.Cleanup(c.Close)
	return c
}
