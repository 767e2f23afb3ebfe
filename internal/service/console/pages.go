package console

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"unicode/utf8"

	"github.com/valueledger/wallet"
	"github.com/valueledger/wallet/internal/service/access"
	"github.com/valueledger/wallet/trail"
)

// pages is the table of pages.
func (c *Console) pages() {
	at := func(method, page string) string { return method + " " + Path + "/" + page }
	for _, p := range []page{
		{at("GET", "{$}"), access.Read, ofNone, c.find},
		{at("GET", "user"), access.Read, ofUser, c.user},
		{at("GET", "wallet"), access.Read, ofWallet, c.wallet},
		{at("GET", "statement"), access.Read, ofWallet, c.statement},
		{at("GET", "statement.csv"), access.Read, ofWallet, c.statementCSV},
		{at("GET", "journal"), access.Read, ofWallet, c.journal},
		{at("GET", "holds"), access.Read, ofWallet, c.holds},
		{at("GET", "grants"), access.Read, ofWallet, c.grants},
		{at("GET", "entry"), access.Read, ofWallet, c.entry},
		{at("POST", "verify"), access.Read, ofWallet, c.verify},
		{at("GET", "transaction"), access.Read, ofNone, c.transaction}, // its legs say which wallets
		{at("GET", "feed"), access.Read, ofAll, c.feed},
		{at("GET", "runs"), access.Read, ofAll, c.runs},
		{at("GET", "run"), access.Read, ofAll, c.run},
		{at("GET", "change"), access.Write, ofWallet, c.askForChange},
		{at("POST", "change"), access.Write, ofWallet, c.reviewChange},
		{at("POST", "change/confirm"), access.Write, ofWallet, c.applyChange},
	} {
		c.register(p)
	}
	c.mux.HandleFunc("GET "+Path, func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, Path+"/", http.StatusSeeOther) })
	c.mux.HandleFunc("GET "+loginPath, c.showLogin)
	c.mux.HandleFunc("POST "+loginPath, c.logIn)
	c.mux.HandleFunc(at("POST", "logout"), c.logOut)
	if c.provider != nil {
		c.mux.HandleFunc("GET "+oidcPath, c.startOIDC)
		c.mux.HandleFunc("GET "+oidcPath+"/callback", c.endOIDC)
	}
	c.mux.HandleFunc(at("GET", "style.css"), serveFile("text/css; charset=utf-8", style))
	c.mux.HandleFunc(at("GET", "icon.svg"), serveFile("image/svg+xml", icon))
	c.mux.HandleFunc(Path+"/", func(w http.ResponseWriter, r *http.Request) {
		c.fail(w, &request{Request: r}, problem{http.StatusNotFound, "There is no such page", "Start again from the console's first page."})
	})
}

// found is what the first page shows.
type found struct {
	Query string
	// Invalid says why nothing can have this id.
	Invalid     string
	User        bool
	Transaction bool
	Commands    []wallet.Entry
	// Looked is whether the commands of wallets were looked through, all of them or those that the
	// bearer reaches; More whether there are more than are shown.
	Looked, More bool
	Everywhere   bool
}

// find looks up what has an id.
func (c *Console) find(ctx context.Context, w http.ResponseWriter, r *request) error {
	f := found{Query: r.get("q"), Everywhere: r.get("everywhere") != ""}
	var err error
	switch {
	case f.Query == "":
	case utf8.RuneCountInString(f.Query) > wallet.MaxIDCharacters:
		f.Query = ""
		f.Invalid = fmt.Sprintf("An id has at most %d characters.", wallet.MaxIDCharacters)
	default:
		err = c.lookUp(ctx, r, &f)
	}
	if err != nil {
		return err
	}
	return c.render(w, r, http.StatusOK, "find", "Find", f)
}

func (c *Console) lookUp(ctx context.Context, r *request, f *found) error {
	if wallet.ValidateUserID(f.Query) == nil {
		assets, err := c.assetsOf(ctx, r, f.Query)
		if err != nil {
			return err
		}
		f.User = len(assets) > 0
	}
	_, err := c.transactionOf(ctx, r, f.Query)
	var invalid *wallet.InvalidError
	switch {
	case err == nil:
		f.Transaction = true
	case errors.Is(err, trail.ErrNoTransaction), errors.As(err, &invalid):
	default:
		return err
	}
	if (f.User || f.Transaction) && !f.Everywhere {
		return nil // the last look up reads all wallets
	}
	f.Looked = true
	return c.Widely(ctx, func() error { return c.findCommands(ctx, r, f) })
}

var errEnough = errors.New("there are more than are shown")

// findCommands looks through the wallets that the bearer reaches.
func (c *Console) findCommands(ctx context.Context, r *request, f *found) error {
	keep := func(e wallet.Entry) error {
		if !r.who.Reaches(wallet.AssetRef{UserID: e.UserID, Currency: e.Currency}) {
			return nil
		}
		if len(f.Commands) == pageRows {
			f.More = true
			return errEnough
		}
		f.Commands = append(f.Commands, e)
		return nil
	}
	var err error
	if slices.Contains(r.who.Users, access.Everyone) {
		err = c.Read.Find(ctx, f.Query, keep)
	} else {
		err = c.findCommandsOfUsers(ctx, r, f.Query, keep)
	}
	if errors.Is(err, errEnough) {
		return nil
	}
	return err
}

func (c *Console) findCommandsOfUsers(ctx context.Context, r *request, id string, keep func(wallet.Entry) error) error {
	for _, user := range r.who.Users {
		assets, err := c.assetsOf(ctx, r, user)
		if err != nil {
			return err
		}
		for _, a := range assets {
			entries, err := c.Read.EntriesByID(ctx, wallet.AssetRef{UserID: a.UserID, Currency: a.Currency}, []string{id})
			if err != nil {
				return err
			}
			for _, e := range entries {
				if err := keep(e); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// assetsOf reads what a user owns, as far as the bearer reaches it.
func (c *Console) assetsOf(ctx context.Context, r *request, userID string) ([]wallet.Asset, error) {
	all, err := c.Read.Assets(ctx, userID)
	var reached []wallet.Asset
	for _, a := range all {
		if r.who.Reaches(wallet.AssetRef{UserID: a.UserID, Currency: a.Currency}) {
			reached = append(reached, a)
		}
	}
	return reached, err
}

// transactionOf reads a transaction. For a bearer who does not reach all its wallets there is none.
func (c *Console) transactionOf(ctx context.Context, r *request, id string) (trail.Transaction, error) {
	t, err := c.Read.Transaction(ctx, id)
	if err != nil {
		return t, err
	}
	for _, leg := range t.Results {
		if !r.who.Reaches(leg.AssetRef) {
			return trail.Transaction{}, fmt.Errorf("transaction %q: %w", id, trail.ErrNoTransaction)
		}
	}
	return t, nil
}

func (c *Console) transaction(ctx context.Context, w http.ResponseWriter, r *request) error {
	t, err := c.transactionOf(ctx, r, r.get("id"))
	if err != nil {
		return err
	}
	return c.render(w, r, http.StatusOK, "transaction", "Transaction "+t.TransactionID, t)
}

func (c *Console) user(ctx context.Context, w http.ResponseWriter, r *request) error {
	assets, err := c.assetsOf(ctx, r, r.ref.UserID)
	if err != nil {
		return err
	}
	if len(assets) == 0 {
		return fmt.Errorf("user %q owns nothing: %w", r.ref.UserID, trail.ErrNoWallet)
	}
	balances := make([]wallet.Balance, len(assets))
	for i, a := range assets {
		balances[i] = a.Balance()
	}
	return c.render(w, r, http.StatusOK, "user", "User "+r.ref.UserID, struct {
		UserID   string
		Balances []wallet.Balance
	}{r.ref.UserID, balances})
}

// number reads a number of a query; 0 if there is none.
func (r *request) number(name string) (int64, error) {
	text := r.get(name)
	if text == "" {
		return 0, nil
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n < 0 {
		return 0, problem{http.StatusBadRequest, "The address cannot be read", fmt.Sprintf("%.60q is not a number.", text)}
	}
	return n, nil
}

// oneOf reads a value of a query that is empty or one of some.
func (r *request) oneOf(name string, values ...string) (string, error) {
	text := r.get(name)
	if text == "" || slices.Contains(values, text) {
		return text, nil
	}
	return "", problem{http.StatusBadRequest, "The address cannot be read", fmt.Sprintf("%.60q is not a %s.", text, name)}
}
