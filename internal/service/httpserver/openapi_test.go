package httpserver_test

import (
	"encoding/json"
	"fmt"
	"mime"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/stretchr/testify/require"

	"github.com/valueledger/wallet/internal/service/httpserver"
)

// document is the OpenAPI document of a server: each answer of a route has to be as it says.
type document struct {
	t        *testing.T
	mutex    *sync.Mutex // of the compiler
	compiler *jsonschema.Compiler
	paths    map[string]map[string]any
}

var pathParameter = regexp.MustCompile(`\\\{[^}]*\\\}`)

func documentOf(t *testing.T, s *httpserver.Server) document {
	text, err := s.OpenAPIDocument()
	require.NoError(t, err)
	var paths struct {
		Paths map[string]map[string]any `json:"paths"`
	}
	require.NoError(t, json.Unmarshal(text, &paths))
	whole, err := jsonschema.UnmarshalJSON(strings.NewReader(string(text)))
	require.NoError(t, err)
	compiler := jsonschema.NewCompiler()
	require.NoError(t, compiler.AddResource("openapi.json", whole))
	return document{t, new(sync.Mutex), compiler, paths.Paths}
}

// requireFit requires that an answer is one that the document has for the route.
func (d document) requireFit(method, path string, r reply) {
	route, found := d.route(path)
	if _, known := d.paths[route][strings.ToLower(method)]; !found || !known {
		return // there is no such route
	}
	where := "openapi.json#"
	mediaType, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	require.NoError(d.t, err, r.Header)
	for _, step := range []string{"paths", route, strings.ToLower(method), "responses", fmt.Sprint(r.StatusCode), "content", mediaType, "schema"} {
		where += "/" + url.PathEscape(strings.NewReplacer("~", "~0", "/", "~1").Replace(step))
	}
	d.mutex.Lock()
	schema, err := d.compiler.Compile(where)
	d.mutex.Unlock()
	require.NoError(d.t, err, "%s %s answered %d: %s", method, path, r.StatusCode, r.body)
	body, err := jsonschema.UnmarshalJSON(strings.NewReader(r.body))
	require.NoError(d.t, err, r.body)
	require.NoError(d.t, schema.Validate(body), "%s %s: %s", method, path, r.body)
}

func (d document) route(path string) (template string, found bool) {
	path, _, _ = strings.Cut(path, "?")
	for template := range d.paths {
		pattern := "^" + pathParameter.ReplaceAllString(regexp.QuoteMeta(template), "[^/]+") + "$"
		if regexp.MustCompile(pattern).MatchString(path) {
			return template, true
		}
	}
	return "", false
}
