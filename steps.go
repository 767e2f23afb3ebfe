package wallet

import "hash/fnv"

import "time"

// Inputs and outputs of the activities: all that the workflow knows of a step. A step may run
// twice, at any time, from two workers at once; the second run changes nothing.

// AssetRef names a wallet asset. It is the input of EnsureWalletAsset and RecordEvents, and
// what a caller starts the WalletAsset workflow with.
type AssetRef struct {
	UserID   string `json:"user_id"`
	Currency string `json:"currency"`
}

// Partition returns one of n groups that wallets are distributed over, from 0: the same in every
// program.
func (r AssetRef) Partition(n int) int {
	h := fnv.New32a()
	_, _ = h.Write([]byte(r.UserID + "\x00" + r.Currency))
	return int(h.Sum32() % uint32(n))
}

// ApplyCommandsInput is at most 500 commands for one wallet asset, in order.
type ApplyCommandsInput struct {
	AssetRef
	Commands []Received `json:"commands"`
	// LastSeen is the end of the journal as the sender last saw it; absent if it has not.
	LastSeen Head `json:"last_seen,omitzero"`
	// AndRecord asks to go on with RecordEvents, after the commit, where something was
	// applied: one activity less in the history and on its way.
	AndRecord bool `json:"and_record,omitempty"`
}

// Head is the end of a wallet asset's journal.
type Head struct {
	Position int64 `json:"position"`
	Hash     Hash  `json:"hash"`
}

// Head is the end of the asset's journal.
func (a Asset) Head() Head { return Head{a.Position, a.Hash} }

// IsLostIn reports whether the journal that an asset is the end of cannot have this head in it:
// it is shorter, or as long and another one. Whoever saw it was answered from a server whose
// last commits are gone, after a restore or a failover to a standby that lagged behind.
func (h Head) IsLostIn(a Asset) bool {
	return h.Position > a.Position || h.Position > 0 && h.Position == a.Position && h.Hash != a.Hash
}

// ApplyCommandsOutput is the asset as it was when the commands were committed, and
// what became of them.
type ApplyCommandsOutput struct {
	Asset   Asset `json:"asset"`
	Results Facts `json:"results"`
	// NeedsRecording says that RecordEvents must run: a command was applied, or an earlier one
	// was answered again, whose step may have crashed before recording its event.
	NeedsRecording bool `json:"needs_recording,omitempty"`
	// HoldsChanged says that a hold was placed or changed, or may have been since LastSeen: by the
	// sweep, or by a try of the step whose answer was lost. In that case NextHolds are the open
	// holds that expire first (not all of them), and Expired is how many have expired.
	HoldsChanged bool   `json:"holds_changed,omitempty"`
	NextHolds    []Hold `json:"next_holds,omitempty"`
	Expired      int    `json:"expired,omitempty"`
	// The same for grants: NextGrants are the open ones of which something expires first, and
	// ExpiredGrants is how many times something of one has expired.
	GrantsChanged bool    `json:"grants_changed,omitempty"`
	NextGrants    []Grant `json:"next_grants,omitempty"`
	ExpiredGrants int     `json:"expired_grants,omitempty"`
	// LostEntries says that the journal lacks entries that LastSeen was the end of.
	LostEntries bool `json:"lost_entries,omitempty"`
	// Recorded says that RecordEvents was done too. It is false where that was not
	// asked for, not needed, or failed: the commands are applied all the same.
	Recorded bool `json:"recorded,omitempty"`
}

// ApplyTransactionOutput is what became of a transaction.
type ApplyTransactionOutput struct {
	Result TransactionResult `json:"result"`
	// Expired is how many holds have expired on the way.
	Expired int `json:"expired,omitempty"`
	// ExpiredGrants is how many times something of a grant has.
	ExpiredGrants int `json:"expired_grants,omitempty"`
	// Recorded says that the events are recorded too, or that there are none.
	Recorded bool `json:"recorded,omitempty"`
}

// EnsureWalletAssetOutput is the asset as it is, with some of its open holds, first those that
// expire first. Expired holds were closed on the way.
type EnsureWalletAssetOutput struct {
	Asset     Asset  `json:"asset"`
	NextHolds []Hold `json:"next_holds,omitempty"`
	Expired   int    `json:"expired,omitempty"`
	// Of grants: see ApplyCommandsOutput.
	NextGrants    []Grant `json:"next_grants,omitempty"`
	ExpiredGrants int     `json:"expired_grants,omitempty"`
}

// RecordEventsOutput says how far the audit trail reaches.
type RecordEventsOutput struct {
	Version int64 `json:"version"` // of the last event
}

// ApplyCommandInput is the input of the ApplyCommand workflow and of SendCommand.
type ApplyCommandInput struct {
	AssetRef
	Command Command `json:"command"`
	// ExpiresAtNext has what the command adds or holds expire at the schedule's next time: a
	// month's credits end as those of the next come. Only the input of a schedule has it.
	ExpiresAtNext bool `json:"expires_at_next,omitempty"`
}

// At is the input for one of the times of the schedule that has it: see DecodeApplyCommand.
func (in ApplyCommandInput) At(run ScheduledRun) (ApplyCommandInput, error) {
	in.Command.ID = run.CommandID()
	if !in.ExpiresAtNext {
		return in, nil
	}
	if run.Next.IsZero() { // it would never expire
		return in, invalid("expires_at_next", "true", "a worker of an older version did not say the schedule's next time: upgrade all workers, then send this time again, by a backfill")
	}
	in.Command.ExpiresAt, in.ExpiresAtNext = run.Next, false
	return in, nil
}

// ScheduledRun says which schedule started an ApplyCommand, and for what time. It is the input
// of ScheduledTime, and also its output if that time is one of the schedule's.
type ScheduledRun struct {
	ScheduleID string    `json:"schedule_id"`
	At         time.Time `json:"at"`
	WithNext   bool      `json:"with_next,omitempty"` // Next is asked for
	Next       time.Time `json:"next,omitzero"`       // the schedule's time after At
}

// CommandID derives one id per schedule and scheduled time, so the command counts once however
// often that time is run. Without a schedule it is empty.
func (r ScheduledRun) CommandID() string {
	if r.ScheduleID == "" {
		return ""
	}
	return "schedule/" + r.ScheduleID + "/" + r.At.UTC().Format(time.RFC3339)
}

// State is the answer to the query "state": the balance after the last command that this
// workflow handled, and what it is doing.
type State struct {
	UserID    string `json:"user_id"`
	Currency  string `json:"currency"`
	Total     Amount `json:"total"`
	Hold      Amount `json:"hold"`
	Available Amount `json:"available"`
	Version   int64  `json:"version"`
	Position  int64  `json:"position"`
	Hash      Hash   `json:"hash"` // of the last journal entry
	// Due is what expired holds reserved whose expiries are not in the journal yet. It is
	// available, and not in Hold. It counts the five holds that expire first.
	Due    Amount `json:"due,omitzero"`
	Frozen Frozen `json:"frozen,omitempty"`
	FreezeEnds
	Closed      bool   `json:"closed,omitempty"`
	CreditLimit Amount `json:"credit_limit,omitzero"`
	// Thresholds are those that are set, by name.
	Thresholds Thresholds `json:"thresholds,omitempty"`
	// OpenHolds is how many holds are open.
	OpenHolds int64 `json:"open_holds,omitempty"`
	// NextExpiry is when the next hold expires; absent if none does.
	NextExpiry time.Time `json:"next_expiry,omitzero"`
	// OpenGrants is how many grants are open, Granted what is left of them, and NextGrantExpiry when
	// something of one expires next; absent if nothing does.
	OpenGrants      int64     `json:"open_grants,omitempty"`
	Granted         Amount    `json:"granted,omitzero"`
	NextGrantExpiry time.Time `json:"next_grant_expiry,omitzero"`
	// DueGrants is what has expired of grants whose expiries are not in the journal yet. It is not in
	// Total. It counts the five grants that expire first.
	DueGrants Amount `json:"due_grants,omitzero"`
	Queue     int    `json:"queue"`
	Counts    Counts `json:"counts"`
}

// Counts are totals since the workflow was first started, across continue-as-new.
type Counts struct {
	Applied   int64            `json:"applied"`
	Replayed  int64            `json:"replayed"` // answered again, nothing changed
	Unapplied map[Reason]int64 `json:"unapplied,omitempty"`
}
