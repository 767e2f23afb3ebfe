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

	"github.com/valueledger/wallet/internal/service/access"
	"github.com/valueledger/wallet/internal/service/httpserver"
)

// document is the OpenAPI document of a server: each answer of a route has to be as it says.
type document struct {
	t        *testing.T
	mutex    *sync.Mutex // of the compiler
	compiler *jsonschema.Compiler
	paths    map[string]map[string]any
	whole    map[string]any
}

// operation is one that a document describes.
type operation struct {
	id, method, path string
	described        map[string]any
}

func (d document) operations() map[string]operation {
	all := map[string]operation{}
	for path, item := range d.paths {
		for method, described := range item {
			o := operation{"", strings.ToUpper(method), path, described.(map[string]any)}
			o.id = o.described["operationId"].(string)
			all[o.id] = o
		}
	}
	return all
}

// content is what it says of its body, by media type; nil if it takes none.
func (o operation) content() map[string]any {
	body, _ := o.described["requestBody"].(map[string]any)
	content, _ := body["content"].(map[string]any)
	return content
}

// scope is what a token needs for it.
func (o operation) scope() access.Scope {
	security := o.described["security"].([]any)[0].(map[string]any)
	return access.Scope(security["token"].([]any)[0].(string))
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
	return document{t, new(sync.Mutex), compiler, paths.Paths, whole.(map[string]any)}
}

// requireFit requires that an answer is one that the document has for the route.
func (d document) requireFit(method, path string, r reply) {
	require.NoError(d.t, d.misfit(method, path, r), "%s %s answered %d: %s", method, path, r.StatusCode, r.body)
}

// misfit says what of an answer is not as the document has it.
func (d document) misfit(method, path string, r reply) error {
	route, found := d.route(path)
	operation, known := d.paths[route][strings.ToLower(method)].(map[string]any)
	if !found || !known {
		return nil // there is no such route
	}
	status := fmt.Sprint(r.StatusCode)
	if answer, documented := operation["responses"].(map[string]any)[status].(map[string]any); !documented {
		return fmt.Errorf("the document has no answer %s", status)
	} else if answer["content"] == nil && r.body == "" {
		return nil
	}
	mediaType, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil {
		return err
	}
	where := "openapi.json#"
	for _, step := range []string{"paths", route, strings.ToLower(method), "responses", status, "content", mediaType, "schema"} {
		where += "/" + url.PathEscape(strings.NewReplacer("~", "~0", "/", "~1").Replace(step))
	}
	d.mutex.Lock()
	schema, err := d.compiler.Compile(where)
	d.mutex.Unlock()
	if err != nil {
		return err
	}
	if !strings.HasSuffix(mediaType, "json") {
		return schema.Validate(r.body)
	}
	body, err := jsonschema.UnmarshalJSON(strings.NewReader(r.body))
	if err != nil {
		return err
	}
	return schema.Validate(body)
}

func (d document) route(path string) (template string, found bool) {
	path, _, _ = strings.Cut(path, "?")
	for candidate := range d.paths {
		pattern := "^" + pathParameter.ReplaceAllString(regexp.QuoteMeta(candidate), "[^/]+") + "$"
		// Where several match, the one with fewer parameters does.
		if regexp.MustCompile(pattern).MatchString(path) && (!found || strings.Count(candidate, "{") < strings.Count(template, "{")) {
			template, found = candidate, true
		}
	}
	return template, found
}
