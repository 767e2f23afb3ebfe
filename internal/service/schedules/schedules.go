package schedules

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	commonpb "go.temporal.io/api/common/v1"
	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/converter"
	"go.temporal.io/sdk/temporal"

	"github.com/valueledger/wallet"
	"github.com/valueledger/wallet/internal/service/payloads"
)

const (
	// catchUp is how late a run may be after an outage of Temporal: payments that are due are
	// still made.
	catchUp = 365 * 24 * time.Hour

	// maxRequests is how often a request is repeated that the schedule did not accept.
	maxRequests = 10

	// memoKey is the key of a schedule's Entry in its memo: a list of schedules does not
	// include inputs.
	memoKey = "wallet"
)

// Client creates and runs schedules.
type Client struct {
	Times
	TaskQueue string
	// Converter is that of the Temporal client: the action of a schedule comes back undecoded.
	Converter converter.DataConverter
}

// Entry is a schedule as it is listed.
type Entry struct {
	Name     string             `json:"name"`
	UserID   string             `json:"user_id"`
	Currency string             `json:"currency"`
	Type     wallet.CommandType `json:"type"`
	Amount   wallet.Amount      `json:"amount,omitzero"`
	When     string             `json:"when"`            // as it was requested
	Times    string             `json:"times,omitempty"` // the same in words, as the server has it
	Paused   bool               `json:"paused"`
	Next     time.Time          `json:"next,omitzero"`
	// ClockChanges are those in the next 12 months that affect its times.
	ClockChanges []ClockChange `json:"clock_changes,omitempty"`
	// ClockUnknown says why the clock changes are not known.
	ClockUnknown string `json:"clock_unknown,omitempty"`
}

// Create creates a schedule that starts ApplyCommand with the input at the times of the spec.
// The command has no id: each scheduled time gives it one.
func (c Client) Create(ctx context.Context, name string, in wallet.ApplyCommandInput, spec client.ScheduleSpec, when string) error {
	if err := Check(name, in, spec); err != nil {
		return err
	}
	owner := temporal.NewSearchAttributes(
		temporal.NewSearchAttributeKeyKeyword(wallet.SearchAttributeUserID).ValueSet(in.UserID),
		temporal.NewSearchAttributeKeyKeyword(wallet.SearchAttributeCurrency).ValueSet(in.Currency),
	)
	_, err := c.Temporal.ScheduleClient().Create(ctx, client.ScheduleOptions{
		ID: name, Spec: spec,
		Action: &client.ScheduleWorkflowAction{
			// The server appends the scheduled time.
			ID:       wallet.ScheduledWorkflowID(in.UserID, in.Currency, name),
			Workflow: wallet.WorkflowApplyCommand, Args: []any{in}, TaskQueue: c.TaskQueue,
			TypedSearchAttributes: owner,
		},
		// Each time is a separate payment and waits for no other: the wallet puts them in
		// order. A refused one is recorded and does not stop later ones.
		Overlap: enumspb.SCHEDULE_OVERLAP_POLICY_ALLOW_ALL, CatchupWindow: catchUp,
		TypedSearchAttributes: owner,
		Memo: map[string]any{memoKey: Entry{
			Name: name, UserID: in.UserID, Currency: in.Currency, Type: in.Command.Type, Amount: in.Command.Amount, When: when,
		}},
	})
	if errors.Is(err, temporal.ErrScheduleAlreadyRunning) {
		return fmt.Errorf("schedule %q exists: delete it first, or choose another name", name)
	}
	return err
}

// Check refuses what Create refuses without asking the server.
func Check(name string, in wallet.ApplyCommandInput, spec client.ScheduleSpec) error {
	if err := validate(name, in); err != nil {
		return err
	}
	_, err := loadZone(spec.TimeZoneName)
	return err
}

func validate(name string, in wallet.ApplyCommandInput) error {
	run := wallet.ScheduledRun{ScheduleID: name, At: time.Now()}
	most := wallet.MaxIDCharacters - len(wallet.ScheduledRun{ScheduleID: "n", At: time.Now()}.CommandID()) + 1
	if n := utf8.RuneCountInString(name); n == 0 || n > most {
		return fmt.Errorf("the name of schedule %q has %d characters: choose one of 1 to %d", name, n, most)
	}
	if n := len(name); n > wallet.MaxScheduleBytes {
		return fmt.Errorf("the name of schedule %q has %d bytes in UTF-8: choose one of at most %d, which is what Temporal can store", name, n, wallet.MaxScheduleBytes)
	}
	run.Next = run.At.Truncate(time.Second)
	in, err := in.At(run)
	return errors.Join(err, wallet.ValidateWallet(in.UserID, in.Currency), in.Command.Validate(), in.Command.ValidateScheduled())
}

// List lists the schedules of a user, or of all, that start ApplyCommand.
func (c Client) List(ctx context.Context, userID string) ([]Entry, error) {
	options := client.ScheduleListOptions{}
	// The server (1.29) cannot search for a value that contains one of these characters, or it
	// finds another user's: in that case read all.
	if userID != "" && !strings.ContainsAny(userID, "\"'\\") {
		options.Query = fmt.Sprintf("%s = '%s'", wallet.SearchAttributeUserID, userID)
	}
	all, err := c.Temporal.ScheduleClient().List(ctx, options)
	if err != nil {
		return nil, err
	}
	clocks := clockTeller{times: c.Times, told: map[string]Entry{}}
	var entries []Entry
	for all.HasNext() {
		item, err := all.Next()
		if err != nil {
			return nil, err
		}
		if item.WorkflowType.Name != wallet.WorkflowApplyCommand || userID != "" && ownerOf(item) != userID {
			continue
		}
		entry, err := c.entry(item.ID, item.Memo, item.Paused, item.NextActionTimes)
		if err != nil {
			return nil, err
		}
		if item.Spec != nil {
			entry.Times = InWords(*item.Spec)
		}
		if item.Spec != nil && len(item.Spec.Calendars) > 0 && !slices.Contains([]string{"", "UTC"}, item.Spec.TimeZoneName) {
			if err := clocks.tell(ctx, &entry, item.Spec); err != nil {
				return nil, err
			}
		}
		entries = append(entries, entry)
	}
	return entries, nil
}

// ownerOf returns an empty string if no owner is known.
func ownerOf(item *client.ScheduleListEntry) (userID string) {
	value := item.SearchAttributes.GetIndexedFields()[wallet.SearchAttributeUserID]
	_ = converter.GetDefaultDataConverter().FromPayload(value, &userID) // a value of another type is ignored
	return userID
}

// Get looks one schedule up.
func (c Client) Get(ctx context.Context, name string) (Entry, error) {
	_, description, err := c.open(ctx, name)
	if err != nil {
		return Entry{}, err
	}
	entry, err := c.entry(name, description.Memo, description.Schedule.State.Paused, description.Info.NextActionTimes)
	if err != nil {
		return Entry{}, err
	}
	entry.Times = InWords(*description.Schedule.Spec)
	clocks := clockTeller{times: c.Times, told: map[string]Entry{}}
	err = clocks.tell(ctx, &entry, description.Schedule.Spec)
	return entry, err
}

func (c Client) entry(name string, memo *commonpb.Memo, paused bool, next []time.Time) (entry Entry, err error) {
	if saved := memo.GetFields()[memoKey]; saved != nil { // otherwise it was created by other means
		if err := c.Converter.FromPayload(saved, &entry); err != nil {
			return entry, fmt.Errorf("read the memo of schedule %q: %w", name, err)
		}
	}
	entry.Name, entry.Paused = name, paused
	if len(next) > 0 && !paused {
		entry.Next = next[0].UTC()
	}
	return entry, nil
}

// open finds a schedule, and refuses one that does not belong to wallets.
func (c Client) open(ctx context.Context, name string) (client.ScheduleHandle, *client.ScheduleDescription, error) {
	handle := c.Temporal.ScheduleClient().GetHandle(ctx, name)
	description, err := handle.Describe(ctx)
	if err != nil {
		return nil, nil, fmt.Errorf("look up schedule %q: %w", name, err)
	}
	action, ok := description.Schedule.Action.(*client.ScheduleWorkflowAction)
	if !ok || action.Workflow != wallet.WorkflowApplyCommand || len(action.Args) != 1 {
		return nil, nil, fmt.Errorf("schedule %q does not start %s: it does not belong to a wallet", name, wallet.WorkflowApplyCommand)
	}
	return handle, description, nil
}

// Pause stops a schedule. It does not make up for times that pass meanwhile.
func (c Client) Pause(ctx context.Context, name string) error {
	return c.setPaused(ctx, name, true, func(h client.ScheduleHandle) error { return h.Pause(ctx, client.SchedulePauseOptions{}) })
}

// Resume continues a paused schedule with its next time.
func (c Client) Resume(ctx context.Context, name string) error {
	return c.setPaused(ctx, name, false, func(h client.ScheduleHandle) error { return h.Unpause(ctx, client.ScheduleUnpauseOptions{}) })
}

// setPaused repeats a request until the schedule has applied it: if several requests reach a
// schedule together, for example a Trigger and this one, the server applies only the last.
func (c Client) setPaused(ctx context.Context, name string, paused bool, request func(client.ScheduleHandle) error) error {
	handle, _, err := c.open(ctx, name)
	if err != nil {
		return err
	}
	for range maxRequests {
		if err := request(handle); err != nil {
			return err
		}
		now, err := handle.Describe(ctx)
		if err != nil {
			return err
		}
		if now.Schedule.State.Paused == paused {
			return nil
		}
	}
	return fmt.Errorf("schedule %q did not accept the request in %d tries: others are changing it at the same time, so look at it and try again", name, maxRequests)
}

// Delete removes a schedule. Runs that have started continue.
func (c Client) Delete(ctx context.Context, name string) error {
	handle, _, err := c.open(ctx, name)
	if err != nil {
		return err
	}
	return handle.Delete(ctx)
}

// Due returns the command of the schedule's last time up to now, with that time's id.
func (c Client) Due(ctx context.Context, name string, now time.Time) (wallet.ApplyCommandInput, error) {
	_, description, err := c.open(ctx, name)
	if err != nil {
		return wallet.ApplyCommandInput{}, err
	}
	run := wallet.ScheduledRun{ScheduleID: name, At: now}
	encoded, ok := description.Schedule.Action.(*client.ScheduleWorkflowAction).Args[0].(*commonpb.Payload)
	if !ok {
		return wallet.ApplyCommandInput{}, fmt.Errorf("the input of schedule %q is not a payload", name)
	}
	var input converter.RawValue
	if err := c.Converter.FromPayload(encoded, &input); err != nil {
		return wallet.ApplyCommandInput{}, fmt.Errorf("read the input of schedule %q: %w", name, err)
	}
	data, err := payloads.JSON(input)
	if err != nil {
		return wallet.ApplyCommandInput{}, err
	}
	in, err := wallet.DecodeApplyCommand(data, run.CommandID())
	if err != nil || in.Command.ID != run.CommandID() {
		return in, err
	}
	run.WithNext = in.ExpiresAtNext
	if run, err = c.For(ctx, run); err != nil {
		return in, err
	}
	return in.At(run)
}
