package httpserver

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"reflect"
	"strconv"
	"time"

	"github.com/valueledger/wallet"
	"github.com/valueledger/wallet/internal/service/access"
	"github.com/valueledger/wallet/internal/service/postgres"
	"github.com/valueledger/wallet/trail"
)

// freshPause is how long a read waits before it looks again for a version.
const freshPause = 20 * time.Millisecond

// headerAge says of what was read from a standby how many seconds old it can be.
const headerAge = "Wallet-Age"

// setAge says how old an answer can be, if it is from a standby.
func (s *Server) setAge(ctx context.Context) {
	view := postgres.ViewOf(ctx)
	if s.options.Reads == nil || view.Standby() == nil {
		return
	}
	text := "unknown"
	if age, known := s.options.Reads.Age(view); known {
		text = strconv.FormatFloat(age.Seconds(), 'f', 3, 64)
	}
	connectionOf(ctx).header.Set(headerAge, text)
}

// AwaitVersion waits until a wallet has a version, as long as the request may take. What is read later
// has it too, whatever server it is read from.
func (s *Server) AwaitVersion(ctx context.Context, ref wallet.AssetRef, version int64) error {
	view, last := postgres.ViewOf(ctx), int64(0)
	var standby *postgres.Standby
	for {
		a, err := s.read.Asset(ctx, ref.UserID, ref.Currency)
		if from := view.Standby(); from != nil {
			standby = from
		}
		view.Restart()
		switch {
		case err == nil && a.Version >= version:
			return nil
		case err == nil:
			last = a.Version
		case standby != nil && errors.Is(err, trail.ErrNoWallet):
		case ctx.Err() == nil || standby == nil && last == 0:
			return err
		}
		select {
		case <-ctx.Done(): // also where it ended in the middle of a read
			if standby != nil {
				return &postgres.BehindError{Standby: standby, Lacks: fmt.Sprintf("version %d of the %s wallet of user %q", version, ref.Currency, ref.UserID)}
			}
			return fmt.Errorf("version %d of the %s wallet of user %q: %w: its versions are 1 to %d", version, ref.Currency, ref.UserID, trail.ErrNoVersion, last)
		case <-time.After(freshPause):
		}
	}
}

type balanceInput struct {
	ReadPath
	At      string `query:"at" doc:"a time in the past"`
	Version int64  `query:"version" minimum:"1" doc:"right after the command with this version"`
}

func (s *Server) balance(ctx context.Context, in *balanceInput) (*bodyOf[wallet.Balance], error) {
	at, err := parseTime("at", in.At)
	if err != nil {
		return nil, err
	}
	var a wallet.Asset
	switch {
	case !at.IsZero() && in.Version > 0:
		return nil, badInput("at", in.At, "send one of at and version")
	case !at.IsZero():
		a, err = s.read.AssetAt(ctx, in.User, in.Currency, at)
	case in.Version > 0:
		a, err = s.read.AssetAtVersion(ctx, in.User, in.Currency, in.Version)
	default:
		a, err = s.read.Asset(ctx, in.User, in.Currency)
	}
	if err != nil {
		return nil, err
	}
	return body(a.Balance()), nil
}

type balancesInput struct {
	UserPath
	At string `query:"at" doc:"a time in the past"`
}

func (s *Server) balances(ctx context.Context, in *balancesInput) (*bodyOf[[]wallet.Balance], error) {
	at, err := parseTime("at", in.At)
	if err != nil {
		return nil, err
	}
	var assets []wallet.Asset
	if at.IsZero() {
		assets, err = s.read.Assets(ctx, in.User)
	} else {
		assets, err = s.read.AssetsAt(ctx, in.User, at)
	}
	if err != nil {
		return nil, err
	}
	all := make([]wallet.Balance, len(assets))
	for i, a := range assets {
		all[i] = a.Balance()
	}
	return body(all), nil
}

// Page is a part of a list. Next continues after it; it is absent at the end.
type Page[T any] struct {
	Items []T    `json:"items"`
	Next  string `json:"next,omitempty" doc:"send it as after, for the next page"`
}

func pageOf[T any](items []T, limit int, next func(T) string) *bodyOf[Page[T]] {
	p := Page[T]{Items: append([]T{}, items...)}
	if len(items) >= limit {
		p.Next = next(items[len(items)-1])
	}
	return body(p)
}

// Paging is how a list is read in parts.
type Paging struct {
	Limit int `query:"limit" minimum:"1" maximum:"1000" default:"100"`
}

type numberedInput struct {
	ReadPath
	Paging
	After  int64  `query:"after" minimum:"0" doc:"next of the page before"`
	Status string `query:"status" enum:"applied,unapplied"`
	// OriginalID excludes Status: reversals that were refused are not among them.
	OriginalID string `query:"original_id" doc:"only the applied reversals of this command; not with status"`
}

// Entry is a journal entry: the Result of its command, and what was sent.
type Entry struct {
	Result
	RequestHash wallet.Hash       `json:"request_hash"`
	PrevHash    wallet.Hash       `json:"prev_hash"`
	Description string            `json:"description,omitempty"`
	Actor       string            `json:"actor,omitempty"`
	Metadata    map[string]string `json:"metadata,omitempty"`
}

type eventsInput struct {
	ReadPath
	Paging
	After int64 `query:"after" minimum:"0" doc:"next of the page before"`
}

type holdsInput struct {
	ReadPath
	Paging
	After string `query:"after" doc:"next of the page before"`
	State string `query:"state" enum:"open,captured,released,expired"`
}

type grantsInput struct {
	ReadPath
	Paging
	After         int64  `query:"after" minimum:"0" doc:"next of the page before"`
	All           bool   `query:"all" doc:"those of which nothing is left too"`
	ExpiresBefore string `query:"expires_before" doc:"only those that expire before this time"`
}

type receiptInput struct {
	ReadPath
	ID string `path:"command_id"`
}

type checkInput struct {
	RawBody  []byte
	receipts []trail.Receipt
}

// maxReceipts is how many are checked at once.
const maxReceipts = 500

func (in *checkInput) wallets() (refs []wallet.AssetRef, err error) {
	if err := wallet.DecodeInput(in.RawBody, &in.receipts); err != nil {
		return nil, err
	}
	if n := len(in.receipts); n == 0 || n > maxReceipts {
		return nil, badInput("receipts", fmt.Sprint(n), "there are %d receipts: send 1 to %d", n, maxReceipts)
	}
	for _, r := range in.receipts {
		if err := wallet.ValidateWallet(r.UserID, r.Currency); err != nil {
			return nil, err
		}
		if !postgres.IsText(r.CommandID) {
			return nil, badInput("command_id", r.CommandID, "command_id has a NUL")
		}
		refs = append(refs, wallet.AssetRef{UserID: r.UserID, Currency: r.Currency})
	}
	return refs, nil
}

// Findings are what is wrong; none if all is as it must be.
type Findings struct {
	Checked  int64           `json:"checked"`
	Findings []trail.Finding `json:"findings"`
}

type totalsInput struct {
	Currency string `query:"currency" doc:"in this currency only"`
	From     string `query:"from" doc:"inclusive"`
	To       string `query:"to" doc:"exclusive"`
}

func (in *totalsInput) wallets() ([]wallet.AssetRef, error) {
	if in.Currency != "" {
		if err := wallet.ValidateCurrency(in.Currency); err != nil {
			return nil, err
		}
	}
	return []wallet.AssetRef{{Currency: in.Currency}}, nil
}

// read is a route that reads what is there.
func read(id, path, summary string) route {
	return route{id: id, method: http.MethodGet, path: path, summary: summary, scope: access.Read}
}

// get is a route that reads what may not exist.
func get(id, path, summary string) route {
	r := read(id, path, summary)
	r.errors = []int{http.StatusNotFound}
	return r
}

func (s *Server) readRoutes() {
	const ofWallet = prefix + "/wallets/{user}/{currency}"
	register(s, get("list-balances", prefix+"/wallets/{user}", "What a user owns"), s.balances)
	register(s, get("get-balance", ofWallet+"/balance", "What a user owns in a currency, now or in the past"), s.balance)
	register(s, get("list-journal", ofWallet+"/journal", "The journal of a wallet: applied and refused commands"), func(ctx context.Context, in *numberedInput) (*bodyOf[Page[Entry]], error) {
		if in.OriginalID != "" && in.Status != "" {
			return nil, badInput("status", in.Status, "send one of status and original_id")
		}
		entries, err := s.read.Commands(ctx, trail.CommandFilter{UserID: in.User, Currency: in.Currency, Status: wallet.Status(in.Status), OriginalID: in.OriginalID, AfterPosition: in.After, Limit: in.Limit})
		if err != nil {
			return nil, err
		}
		list := make([]Entry, len(entries))
		for i, e := range entries {
			list[i] = Entry{*resultOf(e.Result()), e.RequestHash, e.PrevHash, e.Description, e.Actor, e.Metadata}
		}
		return pageOf(list, in.Limit, func(e Entry) string { return fmt.Sprint(e.Position) }), nil
	})
	register(s, get("list-events", ofWallet+"/events", "The events of a wallet"), func(ctx context.Context, in *eventsInput) (*bodyOf[Page[trail.Event]], error) {
		events, err := s.read.Events(ctx, trail.EventFilter{UserID: in.User, Currency: in.Currency, AfterVersion: in.After, Limit: in.Limit})
		if err != nil {
			return nil, err
		}
		return pageOf(events, in.Limit, func(e trail.Event) string { return fmt.Sprint(e.Version) }), nil
	})
	register(s, get("list-holds", ofWallet+"/holds", "The holds of a wallet"), func(ctx context.Context, in *holdsInput) (*bodyOf[Page[trail.Hold]], error) {
		holds, err := s.read.Holds(ctx, trail.HoldFilter{UserID: in.User, Currency: in.Currency, State: wallet.HoldState(in.State), AfterCurrency: in.Currency, AfterID: in.After, Limit: in.Limit})
		if err != nil {
			return nil, err
		}
		return pageOf(holds, in.Limit, func(h trail.Hold) string { return h.ID }), nil
	})
	register(s, get("list-grants", ofWallet+"/grants", "The grants of a wallet"), func(ctx context.Context, in *grantsInput) (*bodyOf[Page[trail.Grant]], error) {
		before, err := parseTime("expires_before", in.ExpiresBefore)
		if err != nil {
			return nil, err
		}
		grants, err := s.read.Grants(ctx, trail.GrantFilter{UserID: in.User, Currency: in.Currency, All: in.All, ExpiresBefore: before, AfterCurrency: in.Currency, AfterNumber: in.After, Limit: in.Limit})
		if err != nil {
			return nil, err
		}
		return pageOf(grants, in.Limit, func(g trail.Grant) string { return fmt.Sprint(g.Number) }), nil
	})
	register(s, get("get-receipt", ofWallet+"/receipts/{command_id}", "The receipt of a command, to keep"), func(ctx context.Context, in *receiptInput) (*bodyOf[trail.Receipt], error) {
		return bodyOrError(s.read.Receipt(ctx, in.User, in.Currency, in.ID))
	})
	check := read("check-receipts", prefix+"/receipts/check", "Check that the journal still has the entries of receipts")
	check.method, check.body = http.MethodPost, s.jsonBody(reflect.TypeFor[[]trail.Receipt](), "Receipts")
	register(s, check, func(ctx context.Context, in *checkInput) (*bodyOf[Findings], error) {
		report := Findings{Checked: int64(len(in.receipts)), Findings: []trail.Finding{}}
		for _, r := range in.receipts {
			finding, err := s.read.CheckReceipt(ctx, r)
			if err != nil {
				return nil, err
			}
			if finding != nil {
				report.Findings = append(report.Findings, *finding)
			}
		}
		return body(report), nil
	})
	verify := get("verify-wallet", ofWallet+"/verify", "Derive everything of a wallet again from its journal, and name what is wrong")
	verify.method = http.MethodPost
	register(s, verify, func(ctx context.Context, in *ReadPath) (*bodyOf[trail.Report], error) {
		var report trail.Report
		err := s.Widely(ctx, func() (err error) {
			report, err = s.read.VerifyWallet(ctx, in.ref())
			return err
		})
		return bodyOrError(report, err)
	})
	register(s, read("get-totals", prefix+"/totals", "What became of currencies in a period, over all wallets"), func(ctx context.Context, in *totalsInput) (*bodyOf[[]trail.Totals], error) {
		from, err := parseTime("from", in.From)
		if err != nil {
			return nil, err
		}
		to, err := parseTime("to", in.To)
		if err != nil {
			return nil, err
		}
		var totals []trail.Totals
		err = s.Widely(ctx, func() (err error) {
			totals, err = s.read.Totals(ctx, in.Currency, from, to)
			return err
		})
		if err != nil {
			return nil, err
		}
		return body(append([]trail.Totals{}, totals...)), nil
	})
}
