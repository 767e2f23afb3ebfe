package console

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"html/template"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/valueledger/wallet"
	"github.com/valueledger/wallet/internal/service/access"
	"github.com/valueledger/wallet/internal/service/statement"
	"github.com/valueledger/wallet/trail"
)

var (
	//go:embed templates/*.html
	sources embed.FS
	//go:embed static/style.css
	style []byte
	//go:embed static/icon.svg
	icon []byte

	// styleVersion lets browsers keep the style until there is another one.
	styleVersion = func() string { sum := sha256.Sum256(style); return hex.EncodeToString(sum[:6]) }()
)

var functions = template.FuncMap{
	"to":    to,
	"time":  timeElement,
	"words": func(text any) string { return strings.ReplaceAll(fmt.Sprint(text), "_", " ") },
	"short": func(h wallet.Hash) string { return h.String()[:12] },
	"ref": func(userID, currency string) wallet.AssetRef {
		return wallet.AssetRef{UserID: userID, Currency: currency}
	},
	"sides": func(e trail.Event) (sides struct{ Added, Subtracted string }) {
		sides.Added, sides.Subtracted = statement.Sides(e)
		return sides
	},
	"set":        func(a wallet.Amount) bool { return !a.IsZero() },
	"kind":       kindOf,
	"frozen":     frozenText,
	"available":  func(total, hold, creditLimit wallet.Amount) wallet.Amount { return total.Sub(hold).Add(creditLimit) },
	"grantparts": wallet.ParseGrantParts,
	// hasends is whether a freeze ends by itself.
	"hasends": func(ends wallet.FreezeEnds) bool { return ends != wallet.FreezeEnds{} },
	"list":    func(values ...string) []string { return values },
	"head":    func(b wallet.Balance, current, heading string) walletHead { return walletHead{b, current, heading} },
	"holdrows": func(holds []trail.Hold, caption string, canWrite bool) holdRows {
		return holdRows{holds, caption, canWrite}
	},
}

// templates are the pages, each with the layout.
var templates = func() map[string]*template.Template {
	layout := template.Must(template.New("").Funcs(functions).ParseFS(sources, "templates/layout.html", "templates/parts.html"))
	all := map[string]*template.Template{}
	entries, err := sources.ReadDir("templates")
	if err != nil {
		panic(err)
	}
	for _, e := range entries {
		name, _ := strings.CutSuffix(e.Name(), ".html")
		if name != "layout" && name != "parts" {
			all[name] = template.Must(template.Must(layout.Clone()).ParseFS(sources, "templates/"+e.Name()))
		}
	}
	return all
}()

// to is the address of a page about a wallet, or about a user if it has no currency. Ids are in the
// query: in a path, browsers resolve one that is "..", however it is escaped.
func to(page string, ref wallet.AssetRef, pairs ...any) (string, error) {
	query := url.Values{}
	if ref.UserID != "" {
		query.Set("user", ref.UserID)
	}
	if ref.Currency != "" {
		query.Set("currency", ref.Currency)
	}
	if len(pairs)%2 != 0 {
		return "", fmt.Errorf("the address of %s has a name without a value", page)
	}
	for i := 0; i < len(pairs); i += 2 {
		if value := fmt.Sprint(pairs[i+1]); value != "" {
			query.Set(fmt.Sprint(pairs[i]), value)
		}
	}
	if len(query) == 0 {
		return Path + "/" + page, nil
	}
	return Path + "/" + page + "?" + query.Encode(), nil
}

// timeElement shows a time to the second; the whole of it is in the element.
func timeElement(t time.Time) template.HTML {
	if t.IsZero() {
		return ""
	}
	t = t.UTC()
	return template.HTML(fmt.Sprintf(`<time datetime="%s"><span>%s</span> <span>%s</span></time>`, t.Format(time.RFC3339Nano), t.Format(time.DateOnly), t.Format(time.TimeOnly))) // digits only
}

// kindOf is the type of the command that an event is of.
func kindOf(e trail.Event) wallet.CommandType {
	for _, k := range wallet.Kinds() {
		if k.Event == e.EventType {
			return k.Type
		}
	}
	return ""
}

// frozenText says what is frozen, and until when.
func frozenText(f wallet.Frozen, ends wallet.FreezeEnds) string {
	return wallet.FrozenText(f, ends, func(t time.Time) string { return t.UTC().Format(time.RFC3339) })
}

// walletHead is what the pages of a wallet begin with.
type walletHead struct {
	Balance          wallet.Balance
	Current, Heading string
}

// holdRows is a table of holds.
type holdRows struct {
	Holds    []trail.Hold
	Caption  string
	CanWrite bool
}

// layout is what every page has.
type layout struct {
	Title, Name string
	Version     string
	In          bool
	Who         access.Principal
	// SeesAll is whether pages about all wallets are offered; CanWrite whether changes are.
	SeesAll, CanWrite bool
	CanLogOut         bool
	Age               string // of what is from a standby; empty otherwise
	Data              any
}

// age says how old a page from a standby can be.
func (c *Console) age(r *request) string {
	if c.Reads == nil || r.view == nil || r.view.Standby() == nil {
		return ""
	}
	age, known := c.Reads.Age(r.view)
	if !known {
		return "Read from a standby, which cannot say how old this is."
	}
	return fmt.Sprintf("Read from a standby: this can be %.1f s old.", age.Seconds())
}

// render writes a page, whole or not at all.
func (c *Console) render(w http.ResponseWriter, r *request, status int, name, title string, data any) error {
	var page bytes.Buffer
	err := templates[name].ExecuteTemplate(&page, "layout", layout{
		Title: title, Name: name, Version: styleVersion, In: r.in, Who: r.who, Data: data,
		SeesAll: r.in && r.who.Has(access.Read) && r.who.Reaches(wallet.AssetRef{}), CanWrite: r.in && r.who.Has(access.Write), CanLogOut: r.in && !c.Auth.IsOff(),
		Age: c.age(r),
	})
	if err != nil {
		return fmt.Errorf("make the page %s: %w", name, err)
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(status)
	_, _ = w.Write(page.Bytes()) // who has left does not read it
	return nil
}

// serveFile answers with a file of the console's own, which needs no login.
func serveFile(contentType string, content []byte) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", contentType)
		w.Header().Set("Cache-Control", "public, max-age=3600")
		_, _ = w.Write(content)
	}
}
