package console

import (
	"context"
	"crypto/rand"
	"errors"
	"net/http"
	"strings"

	"go.uber.org/zap"

	"github.com/valueledger/wallet"
	"github.com/valueledger/wallet/starter"
	"github.com/valueledger/wallet/trail"
)

// A change is asked for (GET change), reviewed (POST change: the dry run says what will happen) and
// confirmed (POST change/confirm). The confirming form has the command's id, so that it counts once
// however often it is sent.

// changes are the commands that a person can send here.
var changes = []wallet.CommandType{wallet.TypeFreeze, wallet.TypeUnfreeze, wallet.TypeRelease, wallet.TypeReverse}

// idPrefix begins the ids of commands of the console.
const idPrefix = "console-"

// changePage is what the pages of a change show.
type changePage struct {
	wallet.AssetRef
	Type    wallet.CommandType
	Command wallet.Command
	Amount  string // as it was entered
	Balance wallet.Balance
	// What there is to release or reverse.
	Hold     *wallet.Hold
	Original *wallet.Entry
	Left     wallet.Amount
	Message  string         // what is wrong with what was entered
	Result   *wallet.Result // of the dry run; of the command if it was refused
	Refused  bool
	Position int64 // of the entry that says so
}

// Verb is what a button says.
func (v changePage) Verb() string {
	text := string(v.Type)
	return strings.ToUpper(text[:1]) + text[1:]
}

func (r *request) change() (v changePage, err error) {
	t, err := r.oneOf("type", texts(changes)...)
	if err != nil || t == "" {
		return v, problem{http.StatusBadRequest, "There is no such change", "Use the forms of the console."}
	}
	v.AssetRef, v.Type = r.ref, wallet.CommandType(t)
	v.Command = wallet.Command{Type: v.Type, Description: strings.TrimSpace(r.get("reason")), Actor: r.who.Subject}
	switch v.Type {
	case wallet.TypeFreeze:
		v.Command.What = r.get("what")
	case wallet.TypeRelease:
		v.Command.HoldID = r.get("hold")
	case wallet.TypeReverse:
		v.Command.OriginalID = r.get("original")
	}
	v.Amount = strings.TrimSpace(r.get("amount"))
	return v, nil
}

// readChange reads what a change is about.
func (c *Console) readChange(ctx context.Context, r *request) (v changePage, err error) {
	if v, err = r.change(); err != nil {
		return v, err
	}
	asset, err := c.Read.Asset(ctx, v.UserID, v.Currency)
	if err != nil {
		return v, err
	}
	v.Balance = asset.Balance()
	switch v.Type {
	case wallet.TypeRelease:
		err = c.readHold(ctx, &v)
	case wallet.TypeReverse:
		err = c.readOriginal(ctx, &v)
	}
	return v, err
}

func (c *Console) readHold(ctx context.Context, v *changePage) error {
	holds, err := c.Read.Holds(ctx, trail.HoldFilter{UserID: v.UserID, Currency: v.Currency, State: wallet.HoldOpen, AfterCurrency: v.Currency, Limit: wallet.MaxOpenHolds})
	if err != nil {
		return err
	}
	for _, h := range holds {
		if h.ID == v.Command.HoldID {
			v.Hold, v.Left = &h.Hold, h.Left
			return nil
		}
	}
	return problem{http.StatusNotFound, "There is no such open hold", "It was captured or released, has expired, or was never placed."}
}

func (c *Console) readOriginal(ctx context.Context, v *changePage) error {
	entries, err := c.Read.EntriesByID(ctx, v.AssetRef, []string{v.Command.OriginalID})
	if err != nil {
		return err
	}
	e, known := entries[v.Command.OriginalID]
	if !known {
		return problem{http.StatusNotFound, "There is no such command", "The journal has no command with this id."}
	}
	reversed, err := c.Read.Reversed(ctx, []wallet.Entry{e})
	v.Original, v.Left = &e, wallet.OriginalOf(e).Moved
	if err == nil {
		v.Left = v.Left.Sub(reversed[0])
	}
	return err
}

func (c *Console) askForChange(ctx context.Context, w http.ResponseWriter, r *request) error {
	v, err := c.readChange(ctx, r)
	if err != nil {
		return err
	}
	if v.Amount == "" && (v.Hold != nil || v.Original != nil) {
		v.Amount = v.Left.String()
	}
	return c.showChange(w, r, http.StatusOK, "change", v)
}

func (c *Console) showChange(w http.ResponseWriter, r *request, status int, name string, v changePage) error {
	return c.render(w, r, status, name, v.Verb()+": "+v.UserID+" in "+v.Currency, v)
}

// complete puts the command together from the form. It reports false if something is wrong with it,
// which Message then says.
func (v *changePage) complete() bool {
	if v.Command.Description == "" {
		v.Message = "Say why: the reason is recorded with the command."
		return false
	}
	if v.Type == wallet.TypeRelease || v.Type == wallet.TypeReverse {
		amount, err := wallet.ParseAmount(v.Amount) // all that is left may be something else by the time it is confirmed
		if err != nil {
			v.Message = err.Error()
			return false
		}
		v.Command.Amount = amount
	}
	if err := v.Command.Validate(); err != nil {
		v.Message = err.Error()
		return false
	}
	return true
}

// reviewChange says what a change would do.
func (c *Console) reviewChange(ctx context.Context, w http.ResponseWriter, r *request) error {
	v, err := c.readChange(ctx, r)
	if err != nil {
		return err
	}
	v.Command.ID = idPrefix + rand.Text()
	if !v.complete() {
		return c.showChange(w, r, http.StatusBadRequest, "change", v)
	}
	result, err := c.dryRun.Apply(ctx, v.UserID, v.Currency, v.Command)
	return c.showReview(w, r, v, result.Result, err)
}

func (c *Console) showReview(w http.ResponseWriter, r *request, v changePage, result wallet.Result, err error) error {
	var unapplied *wallet.UnappliedError
	var invalid *wallet.InvalidError
	switch {
	case errors.As(err, &unapplied):
		v.Result, v.Refused = &unapplied.Result, true
	case errors.As(err, &invalid):
		v.Message = invalid.Message
		return c.showChange(w, r, http.StatusBadRequest, "change", v)
	case err != nil:
		return err
	default:
		v.Result = &result
	}
	return c.showChange(w, r, http.StatusOK, "review", v)
}

// applyChange sends the command that was reviewed.
func (c *Console) applyChange(ctx context.Context, w http.ResponseWriter, r *request) error {
	v, err := r.change()
	if err != nil {
		return err
	}
	if v.Command.ID = r.get("id"); !strings.HasPrefix(v.Command.ID, idPrefix) {
		return problem{http.StatusBadRequest, "The form cannot be read", "It has no id of a command: start again."}
	}
	if !v.complete() {
		return problem{http.StatusBadRequest, "The form cannot be read", v.Message}
	}
	result, err := c.Wallets.Apply(ctx, v.UserID, v.Currency, v.Command)
	var noAnswer *starter.NoAnswerError
	var unapplied *wallet.UnappliedError
	switch {
	case errors.As(err, &noAnswer):
		c.Logger.Warn("a command of the console has no answer yet", zap.Error(err))
		return c.showChange(w, r, http.StatusAccepted, "pending", v)
	case errors.As(err, &unapplied):
		v.Result, v.Refused, v.Position = &unapplied.Result, true, unapplied.Result.Position
		return c.showChange(w, r, http.StatusUnprocessableEntity, "refused", v)
	case err != nil:
		return err
	}
	address, err := to("entry", v.AssetRef, "position", result.Position, "at_least_version", result.Version, "done", "1")
	if err != nil {
		return err
	}
	http.Redirect(w, r.Request, address, http.StatusSeeOther)
	return nil
}
