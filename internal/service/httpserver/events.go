package httpserver

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/http"
	"reflect"
	"strconv"
	"time"

	"github.com/valueledger/wallet"
	"github.com/valueledger/wallet/feed"
	"github.com/valueledger/wallet/internal/service/access"
	"github.com/valueledger/wallet/trail"
)

// streamPage is how many events a stream holds at once.
const streamPage = 50

// heartbeat is how often a stream without events writes a comment, so that proxies keep it open and
// a client that has gone is noticed, and how often a token is checked again.
var heartbeat = 15 * time.Second

// FeedEvent is an event with its place in the feed, as webhooks send it.
type FeedEvent struct{ feed.Event }

// FeedPage is a part of the feed.
type FeedPage struct {
	Items []FeedEvent `json:"items"`
	Next  feed.Cursor `json:"next" doc:"send it as after for the next page; unchanged at the end of the feed. A page can be empty before the end"`
}

// ofReached is the input of a route that answers only what the bearer reaches.
type ofReached struct{}

func (ofReached) wallets() ([]wallet.AssetRef, error) { return nil, nil }

type feedInput struct {
	ofReached
	Paging
	After string `query:"after" default:"0" doc:"next of the page before, or the cursor of an event; 0 for the first event ever"`
}

type feedStreamInput struct {
	ofReached
	After string `query:"after" doc:"the cursor of an event, or 0 for the first event ever; events from now on by default"`
	Last  string `header:"Last-Event-ID" doc:"used instead of after if both are sent"`
}

type walletStreamInput struct {
	WalletPath
	After string `query:"after" doc:"a version, or 0 for the first event; events from now on by default"`
	Last  string `header:"Last-Event-ID" doc:"used instead of after if both are sent"`
}

func (s *Server) eventRoutes() {
	register(s, route{
		id: "list-feed", method: http.MethodGet, path: prefix + "/events", scope: access.Read, summary: "The events of all wallets, in the order of each wallet",
		text: "Only those of wallets that the token reaches.",
	}, func(ctx context.Context, in *feedInput) (*bodyOf[FeedPage], error) {
		after, err := parseCursor("after", in.After)
		if err != nil {
			return nil, err
		}
		events, next, err := feed.Page(ctx, s.options.Pool, after, in.Limit, access.From(ctx).Reaches)
		if err != nil {
			return nil, err
		}
		page := FeedPage{Items: make([]FeedEvent, len(events)), Next: next}
		for i, e := range events {
			page.Items[i] = FeedEvent{e}
		}
		return body(page), nil
	})
	const text = "Server-sent events: data is an event as in list-feed. To continue, send the last id as Last-Event-ID. A comment comes every 15 s. " +
		"It ends when the server stops, or the token is no longer valid: connect again."
	streamed := map[string]reflect.Type{sseType: nil}
	register(s, route{
		id: "stream-feed", method: http.MethodGet, path: prefix + "/events/stream", scope: access.Read, content: streamed, text: text,
		summary: "The events of all wallets that the token reaches, as they come",
	}, s.streamFeed)
	register(s, route{
		id: "stream-events", method: http.MethodGet, path: prefix + "/wallets/{user}/{currency}/events/stream", scope: access.Read, content: streamed, text: text,
		summary: "The events of a wallet, as they come",
	}, s.streamWallet)
}

func parseCursor(field, text string) (feed.Cursor, error) {
	c, err := feed.ParseCursor(text)
	if err != nil {
		return c, badInput(field, text, "%s", err)
	}
	return c, nil
}

// startOf is where a stream begins, and which field says so.
func startOf(header, query string) (field, value string) {
	if header != "" {
		return "Last-Event-ID", header
	}
	return "after", query
}

func (s *Server) streamFeed(ctx context.Context, in *feedStreamInput) (*streamed, error) {
	var at feed.Cursor
	var err error
	if field, text := startOf(in.Last, in.After); text != "" {
		at, err = parseCursor(field, text)
	} else {
		at, err = feed.End(ctx, s.options.Pool)
	}
	if err != nil {
		return nil, err
	}
	return s.stream(ctx, func(ctx context.Context, bearer access.Principal) ([]message, <-chan struct{}, error) {
		page, err := s.tail.after(at, streamPage, bearer.Reaches)
		if err != nil {
			return nil, nil, err
		}
		var messages []message
		for _, e := range page.events {
			messages = append(messages, message{e.at.String(), e.data})
		}
		if page.behind {
			if err := s.catchUp.Acquire(ctx, 1); err != nil {
				return nil, nil, err
			}
			var events []feed.Event
			events, page.next, err = feed.Page(ctx, s.options.Pool, at, streamPage, bearer.Reaches)
			s.catchUp.Release(1)
			if err != nil {
				return nil, nil, err
			}
			if messages, err = messagesOf(events, func(e feed.Event) string { return e.Cursor.String() }); err != nil {
				return nil, nil, err
			}
			if page.next != at { // there may be more
				page.grown = alreadyClosed
			}
		}
		at = page.next
		return messages, page.grown, nil
	})
}

func (s *Server) streamWallet(ctx context.Context, in *walletStreamInput) (*streamed, error) {
	ref := in.ref()
	var at int64 // version of the last event
	if field, text := startOf(in.Last, in.After); text != "" {
		version, err := strconv.ParseUint(text, 10, 62)
		if err != nil {
			return nil, badInput(field, text, "%s is %.60q: send the version of an event, or 0 for the beginning", field, text)
		}
		at = int64(version)
	} else if a, err := s.current.Asset(ctx, in.User, in.Currency); err == nil {
		at = a.Version
	} else if !errors.Is(err, trail.ErrNoWallet) { // it may be created
		return nil, err
	}
	var seen feed.Cursor // of the tail, when Postgres was read last
	var until time.Time  // when it is read again
	behind := true       // there may be a page and more
	return s.stream(ctx, func(ctx context.Context, bearer access.Principal) ([]message, <-chan struct{}, error) {
		if !bearer.Reaches(ref) {
			return nil, nil, errEnded
		}
		isThisWallet := func(of wallet.AssetRef) bool { return of == ref }
		page, err := s.tail.after(seen, 1, isThisWallet)
		if err != nil {
			return nil, nil, err
		}
		if !page.behind && len(page.events) == 0 && time.Now().Before(until) {
			seen = page.next
			return nil, page.grown, nil
		}
		events, err := s.ofWallet(ctx, ref, at+1, behind)
		behind = len(events) == streamPage
		if err != nil && !errors.Is(err, feed.ErrEventMissing) { // it is not there yet
			return nil, nil, err
		}
		messages, err := messagesOf(events, func(e feed.Event) string { return strconv.FormatInt(e.Version, 10) })
		if len(events) > 0 {
			at = events[len(events)-1].Version
			page.grown = alreadyClosed // there may be more
		} else {
			seen, until = page.end, time.Now().Add(heartbeat)
		}
		return messages, page.grown, err
	})
}

// ofWallet reads the next page of a wallet's events; a stream that is behind waits for its turn.
func (s *Server) ofWallet(ctx context.Context, ref wallet.AssetRef, from int64, behind bool) ([]feed.Event, error) {
	if behind {
		if err := s.catchUp.Acquire(ctx, 1); err != nil {
			return nil, err
		}
		defer s.catchUp.Release(1)
	}
	return feed.OfWallet(ctx, s.options.Pool, ref, from, math.MaxInt64, streamPage)
}

func messagesOf(events []feed.Event, id func(feed.Event) string) ([]message, error) {
	messages := make([]message, len(events))
	for i, e := range events {
		data, err := json.Marshal(e)
		if err != nil {
			return nil, err
		}
		messages[i] = message{id(e), data}
	}
	return messages, nil
}

// message is a server-sent event.
type message struct {
	id   string
	data []byte
}

var alreadyClosed = func() chan struct{} { c := make(chan struct{}); close(c); return c }()

// errEnded ends a stream whose token no longer allows it.
var errEnded = errors.New("the token no longer allows this")

// stream sends what next returns, until the client leaves, the server stops, or the token is no
// longer valid. next returns what there is, and a channel that is closed when there may be more. A
// slow client holds nothing but one page, and is cut off in the end.
func (s *Server) stream(ctx context.Context, next func(context.Context, access.Principal) ([]message, <-chan struct{}, error)) (*streamed, error) {
	bearer := access.From(ctx)
	if !s.streams.begin(bearer.Key) {
		return nil, problem(tooMany, "there are %d streams, or %d of the token, already", maxStreams, maxStreamsOfToken).with("Retry-After", retryAfter)
	}
	if err := s.tail.join(ctx); err != nil {
		s.streams.end(bearer.Key)
		return nil, err
	}
	return s.streamOf(sseType, func(ctx context.Context, out *output) error {
		defer s.streams.end(bearer.Key)
		defer s.tail.leave()
		if connectionOf(ctx).isHead {
			return nil
		}
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		defer context.AfterFunc(s.stopping, cancel)()
		err := s.sendMessages(ctx, out, bearer, next)
		if errors.Is(err, errEnded) {
			s.logDenied(bearer, "a stream", err.Error())
			return nil
		}
		if ctx.Err() != nil {
			return nil
		}
		return err
	}), nil
}

func (s *Server) sendMessages(ctx context.Context, out *output, bearer access.Principal, next func(context.Context, access.Principal) ([]message, <-chan struct{}, error)) error {
	text := bytes.NewBufferString("retry: 1000\n\n") // ms
	beat := time.NewTicker(heartbeat)
	defer beat.Stop()
	for checked := time.Now(); ; {
		if time.Since(checked) >= heartbeat {
			var err error
			if bearer, err = s.auth.Authenticate(ctx, connectionOf(ctx).token); err != nil || !bearer.Has(access.Read) {
				return errEnded
			}
			checked = time.Now()
		}
		messages, grown, err := next(ctx, bearer)
		if err != nil {
			return err
		}
		for _, m := range messages {
			fmt.Fprintf(text, "id: %s\ndata: %s\n\n", m.id, m.data)
		}
		if text.Len() > 0 {
			if _, err := out.Write(text.Bytes()); err != nil {
				return err
			}
			if err := out.connection.Flush(); err != nil {
				return err
			}
			text.Reset()
		}
		select {
		case <-ctx.Done():
			return nil
		case <-grown:
		case <-beat.C:
			text.WriteString(":\n\n")
		}
	}
}
