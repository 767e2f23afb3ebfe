package httpserver

import (
	"net/http"
	"net/url"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/valueledger/wallet/internal/service/postgres"
)

// checkURL refuses paths that a router or a proxy could read in another way, and queries that would
// be read in part.
func checkURL(u *url.URL) *Problem {
	escaped := u.EscapedPath()
	switch {
	case !postgres.IsText(u.Path):
		return badInput("path", u.Path, "the path is not valid UTF-8, or has a NUL")
	case escaped != "/" && path.Clean(escaped) != strings.TrimSuffix(escaped, "/"), strings.Contains(escaped, "//"):
		return badInput("path", escaped, "the path has an empty step, or one that is . or ..: write such an id as %%2E or %%2E%%2E, and a slash in an id as %%2F")
	}
	query, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return badInput("query", u.RawQuery, "the query cannot be read: escape its values")
	}
	for name, values := range query {
		switch {
		case len(values) > 1:
			return badInput(name, values[1], "%.60q is given %d times: send it once", name, len(values))
		case values[0] == "":
			return badInput(name, "", "%.60q is empty: give it a value, or leave it out", name)
		case !postgres.IsText(values[0]):
			return badInput(name, values[0], "%.60q is not valid UTF-8, or has a NUL", name)
		}
	}
	return nil
}

// checkHeaders refuses headers that would be read in part, and bodies of another type.
func checkHeaders(r *http.Request, takesFile bool) *Problem {
	for _, name := range []string{"Idempotency-Key", "Content-Type", "Last-Event-ID"} {
		if values := r.Header.Values(name); len(values) > 1 {
			return badInput(name, values[1], "%s is given %d times: send it once", name, len(values))
		} else if len(values) == 1 && (values[0] == "" || !utf8.ValidString(values[0])) {
			return badInput(name, values[0], "%s is empty, or not valid UTF-8", name)
		}
	}
	if r.Method != http.MethodPost && r.Method != http.MethodPut {
		return nil
	}
	types := []string{"application/json"}
	if takesFile {
		types = fileTypes
	}
	if encoding := r.Header.Get("Content-Encoding"); encoding != "" && encoding != "identity" {
		return problem(unsupported, "the content encoding %.60q is not supported: send the body as it is", encoding)
	}
	if r.ContentLength == 0 {
		return nil
	}
	// A page of another site can send other types without asking.
	sent, _, _ := strings.Cut(r.Header.Get("Content-Type"), ";")
	if sent = strings.ToLower(strings.TrimSpace(sent)); slices.Contains(types, sent) {
		return nil
	}
	return problem(unsupported, "the content type %.60q is not supported: send %s", sent, strings.Join(types, " or "))
}

// preferredWait reads "Prefer: wait=5".
func preferredWait(h http.Header) (time.Duration, bool) {
	for _, value := range h.Values("Prefer") {
		for _, preference := range strings.Split(value, ",") {
			name, text, _ := strings.Cut(strings.TrimSpace(preference), "=")
			seconds, err := strconv.ParseUint(text, 10, 16)
			if strings.EqualFold(name, "wait") && err == nil && seconds > 0 {
				return time.Duration(seconds) * time.Second, true
			}
		}
	}
	return 0, false
}
