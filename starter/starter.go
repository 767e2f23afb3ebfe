// Package starter is how a Go program uses wallets: it starts, signals and updates their
// workflows.
//
//	c, err := starter.New(temporalClient, starter.Options{})
//	res, err := c.Add(ctx, starter.Change{UserID: "u1", Currency: "USD", CommandID: "order-7", Amount: amount})
//	var unapplied *wallet.UnappliedError // errors.As
//
// Every call can be repeated with the same command id after any failure: it counts once and
// returns the first answer. A call retries temporary failures until it gets its answer, a final
// error (*wallet.UnappliedError, *wallet.InvalidError), or its context ends (*NoAnswerError).
//
// A refusal is a *wallet.UnappliedError, which contains the Result. Check for its reason with
// errors.Is:
//
//	_, err := c.Capture(ctx, starter.Change{UserID: "u1", Currency: "USD", CommandID: "ship-7", HoldID: "order-7"})
//	if errors.Is(err, wallet.ReasonHoldExpired) { // place another hold
package starter

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/temporal"
	"golang.org/x/sync/semaphore"

	"github.com/valueledger/wallet"
	"github.com/valueledger/wallet/internal/service/markdown"
	"github.com/valueledger/wallet/internal/service/resourceid"
)

// maxRunning is how many workflows a Client remembers as running, at about 100 bytes each.
const maxRunning = 10_000

// maxUpdates is how many updates a Client has in flight, over all wallets. The rest wait here:
// thousands at once time out in the server, and their retries use up the capacity for those
// that it could handle. Measured on Temporal 1.29.1 with 5,000 new wallets.
const maxUpdates = 256

// updateTimeout is how long an update counts towards maxUpdates. Even in a flood of new
// wallets each is answered sooner.
const updateTimeout = 10 * time.Second

// Options of a Client.
type Options struct {
	// TaskQueue is the task queue of the wallet's workers; "wallet" if empty.
	TaskQueue string
	// Lanes lets concurrent calls for different wallets travel together: one update and one
	// transaction of Postgres for all that wait, instead of one for each wallet. Transactions of
	// up to 20 legs travel with them. It is for many callers over
	// many wallets; a lone call is as quick as without. Set 1, or 2 above some 300 concurrent
	// calls, and the same in every program: two lanes that write to one wallet get in each other's
	// way. 0 turns it off. See docs/performance.md for what is given up.
	Lanes int
	// IdleTimeout completes a wallet's workflow after that long without a command; the next
	// command starts it again. 0 keeps it running.
	IdleTimeout time.Duration
}

// Client sends commands to wallets. It is safe for concurrent use; overlapping calls for one
// wallet are sent together.
type Client struct {
	temporal client.Client
	options  Options

	running    *lru.Cache[string, struct{}]     // ids of workflows that answered
	signalled  *lru.Cache[wallet.AssetRef, int] // bytes, see checkHistory
	searchable atomic.Bool                      // the namespace has the search attributes
	answered   atomic.Bool                      // some call did, so the namespace exists

	updates *semaphore.Weighted // maxUpdates
	looking sync.Mutex          // see lookLater

	mu     sync.Mutex
	queues map[queueKey]*queue       // of updates
	gates  map[wallet.AssetRef]*gate // of signals

	closedLanes []atomic.Int64 // until when no call goes there, as Unix nanoseconds
}

// New makes a Client on a Temporal client and its namespace. On a fast network,
// client.ConnectionOptions{GrpcCompression: &client.GrpcCompressionNone{}} saves CPU. If
// workers encrypt (WALLET_PAYLOAD_KEYS), the client needs the same keys: see package codec.
func New(temporalClient client.Client, options Options) (*Client, error) {
	if temporalClient == nil {
		return nil, errors.New("starter.New needs a Temporal client")
	}
	if options.IdleTimeout < 0 {
		return nil, fmt.Errorf("idle timeout %s is negative", options.IdleTimeout)
	}
	if options.Lanes < 0 || options.Lanes > maxLanes {
		return nil, fmt.Errorf("%d lanes are out of range: set 0 to %d", options.Lanes, maxLanes)
	}
	if options.TaskQueue == "" {
		options.TaskQueue = wallet.DefaultTaskQueue
	}
	running, err := lru.New[string, struct{}](maxRunning)
	if err != nil {
		return nil, err
	}
	signalled, err := lru.New[wallet.AssetRef, int](maxRunning)
	if err != nil {
		return nil, err
	}
	return &Client{
		temporal: temporalClient, options: options, running: running, signalled: signalled, updates: semaphore.NewWeighted(maxUpdates),
		queues: map[queueKey]*queue{}, gates: map[wallet.AssetRef]*gate{}, closedLanes: make([]atomic.Int64, options.Lanes),
	}, nil
}

// Change is a command and the wallet it is for.
type Change struct {
	UserID, Currency string
	// CommandID is your own id, unique within the user and currency: an order number, a row's
	// key. The same id counts once.
	CommandID string
	Amount    wallet.Amount // not for Create; if empty, Capture, Release and Reverse use all that is left
	// HoldID is the command id of the Hold to capture, release, raise or extend.
	HoldID string
	// ExpiresIn ("15m", "24h", "7d") and ExpiresAt are for Add, Hold and Freeze; set at most one of them.
	ExpiresIn string
	ExpiresAt time.Time
	Partial   bool // for Capture: what is left stays reserved
	// OriginalID is the CommandID of the Add, Subtract or Capture to reverse.
	OriginalID string
	// Priority makes an Add a grant, as an expiry does: 1 is used up first, 100 last. ReturnExpired is
	// for Reverse: what came from grants that have expired comes back as what never expires.
	Priority      int64
	ReturnExpired bool
	What          string // for Freeze: debits, credits or all
	Threshold     string // for SetThreshold and RemoveThreshold: its name
	// NotAfter is the last moment at which the change may be recorded, by Postgres's clock, in
	// whole microseconds: after it, it is refused with too_late.
	NotAfter time.Time
	// ExpectedVersion is the version that the wallet must have right before the change, or it is
	// refused with version_mismatch; nil for any.
	ExpectedVersion *int64
	Description     string
	Actor           string
	Metadata        map[string]string
}

func (c Change) command(t wallet.CommandType) wallet.Command {
	return wallet.Command{
		ID: c.CommandID, Type: t, Amount: c.Amount, HoldID: c.HoldID, ExpiresIn: c.ExpiresIn, ExpiresAt: c.ExpiresAt, Partial: c.Partial,
		OriginalID: c.OriginalID, What: c.What, Priority: c.Priority, ReturnExpired: c.ReturnExpired, Threshold: c.Threshold,
		NotAfter: c.NotAfter, ExpectedVersion: c.ExpectedVersion,
		Description: c.Description, Actor: c.Actor, Metadata: c.Metadata,
	}
}

// Create opens a wallet asset with zero total and hold. Opening it again with another id is
// refused with already_exists.
func (c *Client) Create(ctx context.Context, change Change) (wallet.Result, error) {
	return c.Apply(ctx, change.UserID, change.Currency, change.command(wallet.TypeCreate))
}

// Add adds the amount to the total, creating the wallet asset if it is missing.
func (c *Client) Add(ctx context.Context, change Change) (wallet.Result, error) {
	return c.Apply(ctx, change.UserID, change.Currency, change.command(wallet.TypeAdd))
}

// Subtract takes the amount from the total if that much is available; otherwise it is refused
// with insufficient_funds.
func (c *Client) Subtract(ctx context.Context, change Change) (wallet.Result, error) {
	return c.Apply(ctx, change.UserID, change.Currency, change.command(wallet.TypeSubtract))
}

// Hold reserves the amount: it stays in the total but is no longer available. The hold's id is
// the CommandID. After ExpiresIn, by Postgres's clock, or at ExpiresAt, what is left of it
// becomes available again; with neither it stays until it is captured or released. It is
// refused with insufficient_funds if less than the amount is available.
//
// With a HoldID it changes that hold instead: an Amount is reserved on top, and an expiry
// replaces the hold's expiry, which can only move to a later time.
func (c *Client) Hold(ctx context.Context, change Change) (wallet.Result, error) {
	return c.Apply(ctx, change.UserID, change.Currency, change.command(wallet.TypeHold))
}

// Capture takes the amount from the total, out of what HoldID reserves; without an Amount it
// takes all that is left of the hold. The rest is then released and the hold is closed, unless
// Partial says that more captures will follow. A capture of an open hold never lacks funds,
// whatever else the wallet has spent meanwhile. It is refused with hold_exceeded if less is
// left, with hold_expired or hold_closed if it comes too late, and with hold_not_found.
func (c *Client) Capture(ctx context.Context, change Change) (wallet.Result, error) {
	return c.Apply(ctx, change.UserID, change.Currency, change.command(wallet.TypeCapture))
}

// Release makes the amount that HoldID reserves available again; without an Amount it releases
// all that is left, which closes the hold. It is refused for the same reasons as Capture.
func (c *Client) Release(ctx context.Context, change Change) (wallet.Result, error) {
	return c.Apply(ctx, change.UserID, change.Currency, change.command(wallet.TypeRelease))
}

// Reverse undoes what the command OriginalID of the same wallet did to the total, or an Amount of
// it: an Add, Subtract or Capture, also a leg of a transaction. All reversals of one command come
// to at most what it did: one of more is refused with reversal_exceeded, and a message that names
// what is left. Reversing an Add needs available funds, like Subtract. A reversal is not reversed.
func (c *Client) Reverse(ctx context.Context, change Change) (wallet.Result, error) {
	return c.Apply(ctx, change.UserID, change.Currency, change.command(wallet.TypeReverse))
}

// Freeze refuses further changes of What: "debits" (Subtract, Hold, Reverse of an Add), "credits"
// (Add, Reverse of another) or "all". What is held already may be captured, released, and expires.
// With ExpiresIn or ExpiresAt it ends by itself then. A second Freeze adds to the first. While it
// is frozen, changes are refused with frozen.
func (c *Client) Freeze(ctx context.Context, change Change) (wallet.Result, error) {
	return c.Apply(ctx, change.UserID, change.Currency, change.command(wallet.TypeFreeze))
}

// Unfreeze ends every Freeze.
func (c *Client) Unfreeze(ctx context.Context, change Change) (wallet.Result, error) {
	return c.Apply(ctx, change.UserID, change.Currency, change.command(wallet.TypeUnfreeze))
}

// Close closes a wallet asset with nothing in it, or is refused with not_empty. Until a Create
// opens it again, every other command is refused with closed. A freeze stays.
func (c *Client) Close(ctx context.Context, change Change) (wallet.Result, error) {
	return c.Apply(ctx, change.UserID, change.Currency, change.command(wallet.TypeClose))
}

// SetCreditLimit lets the total fall to minus the Amount, which is then available too; 0 ends that. It
// is refused with credit_limit_exceeded if more than the Amount is used. Close ends it.
func (c *Client) SetCreditLimit(ctx context.Context, change Change) (wallet.Result, error) {
	return c.Apply(ctx, change.UserID, change.Currency, change.command(wallet.TypeSetCreditLimit))
}

// SetThreshold sets the Threshold with that name to Amount, or refuses with too_many_thresholds. From
// then on the Result and the event of each change that brings the available amount below it, or up
// to it again, have it in Crossed. Setting it crosses nothing.
func (c *Client) SetThreshold(ctx context.Context, change Change) (wallet.Result, error) {
	return c.Apply(ctx, change.UserID, change.Currency, change.command(wallet.TypeSetThreshold))
}

// RemoveThreshold removes the Threshold with that name, or refuses with threshold_not_found.
func (c *Client) RemoveThreshold(ctx context.Context, change Change) (wallet.Result, error) {
	return c.Apply(ctx, change.UserID, change.Currency, change.command(wallet.TypeRemoveThreshold))
}

// Apply sends one command and waits for its Result. A refusal returns the Result and a
// *wallet.UnappliedError; bad input returns a *wallet.InvalidError and is not recorded.
func (c *Client) Apply(ctx context.Context, userID, currency string, command wallet.Command) (wallet.Result, error) {
	if err := validate(userID, currency, command); err != nil {
		return wallet.Result{}, err
	}
	result, err := c.enqueue(ctx, wallet.AssetRef{UserID: userID, Currency: currency}, command)
	if err != nil {
		return result, err
	}
	return result, result.Err()
}

// ApplyBatch sends 1 to 500 commands for one wallet in one update (or several, one after the
// other, if they exceed 1 MB) and returns one Result for each, in order. A refusal is a Result
// like any other and does not stop the commands after it. If one command is invalid, the whole
// batch is refused with a *wallet.InvalidError. A *NoAnswerError comes with the Results that are
// known.
func (c *Client) ApplyBatch(ctx context.Context, userID, currency string, commands []wallet.Command) ([]wallet.Result, error) {
	if err := wallet.ValidateCommands(userID, currency, commands); err != nil {
		return nil, err
	}
	ref := wallet.AssetRef{UserID: userID, Currency: currency}
	l := c.lookLater(ctx, ref)
	defer l.stop()
	var all []wallet.Result
	for len(commands) > 0 {
		n, bytes := 1, commands[0].Size()
		for ; n < len(commands); n++ {
			if bytes += commands[n].Size(); bytes > maxBatchBytes {
				break
			}
		}
		results, err := c.update(ctx, ref, commands[:n])
		if gaveUp(ctx, err) {
			missing := c.noAnswer(ctx, ref, commands[0].ID).seen(l)
			missing.Following = len(commands) - 1
			return all, missing
		}
		if err != nil {
			return all, err
		}
		if all == nil {
			all = results
		} else {
			all = append(all, results...)
		}
		commands = commands[n:]
	}
	return all, nil
}

// State asks the wallet's workflow for its balance after the last handled command and for its
// queue. It fails with Temporal's NotFound if the workflow was never started.
func (c *Client) State(ctx context.Context, userID, currency string) (wallet.State, error) {
	return query[wallet.State](ctx, c, userID, currency, wallet.QueryState)
}

// Result asks the wallet's workflow for the Result of a recent command, for example one sent
// with Send.
func (c *Client) Result(ctx context.Context, userID, currency, commandID string) (wallet.Result, error) {
	return query[wallet.Result](ctx, c, userID, currency, wallet.QueryResult, commandID)
}

func query[T any](ctx context.Context, c *Client, userID, currency, name string, args ...any) (value T, err error) {
	if err := wallet.ValidateWallet(userID, currency); err != nil {
		return value, err
	}
	id := wallet.WorkflowID(userID, currency)
	answer, err := c.temporal.QueryWorkflow(resourceid.For(ctx, id), id, "", name, args...)
	if err != nil {
		return value, fmt.Errorf("query %s of the %s wallet of %q: %w", name, currency, userID, err)
	}
	return value, answer.Get(&value)
}

func validate(userID, currency string, command wallet.Command) error {
	if err := wallet.ValidateWallet(userID, currency); err != nil {
		return err
	}
	return command.Validate()
}

// workflowInput is workflows.WalletAssetInput as a caller sends it.
type workflowInput struct {
	wallet.AssetRef
	IdleTimeout wallet.Duration `json:"idle_timeout,omitzero"`
}

func (c *Client) input(ref wallet.AssetRef) workflowInput {
	return workflowInput{ref, wallet.Duration{Duration: c.options.IdleTimeout}}
}

// startOptions starts the wallet's workflow, or uses the one that is running.
func (c *Client) startOptions(ref wallet.AssetRef) client.StartWorkflowOptions {
	return client.StartWorkflowOptions{
		ID:                       wallet.WorkflowID(ref.UserID, ref.Currency),
		TaskQueue:                c.options.TaskQueue,
		WorkflowIDConflictPolicy: enumspb.WORKFLOW_ID_CONFLICT_POLICY_USE_EXISTING,
		WorkflowIDReusePolicy:    enumspb.WORKFLOW_ID_REUSE_POLICY_ALLOW_DUPLICATE,
		TypedSearchAttributes: temporal.NewSearchAttributes(
			searchUserID.ValueSet(ref.UserID),
			searchCurrency.ValueSet(ref.Currency),
		),
		StaticSummary: summary(ref),
	}
}

// maxSummaryBytes is Temporal's limit for a summary.
const maxSummaryBytes = 200

// summary returns what the Web UI shows, as Markdown: "u1 · USD", with a long user id
// shortened.
func summary(ref wallet.AssetRef) string {
	for characters := wallet.MaxIDCharacters; ; characters-- {
		text := markdown.Escape(markdown.Shorten(ref.UserID, characters)) + " · " + markdown.Escape(ref.Currency)
		if len(text) <= maxSummaryBytes {
			return text
		}
	}
}
