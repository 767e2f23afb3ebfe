// Package contract is the wallet's contract with clients in other languages as JSON schemas:
// generated from the Go types for docs/schemas, and checked against what is really sent. Only
// tests use it.
package contract

import (
	"encoding/json"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/invopop/jsonschema"

	"github.com/valueledger/wallet"
)

// The schemas' file names in docs/schemas.
const (
	Command     = "command.json"
	Commands    = "commands.json"
	Result      = "result.json"
	Results     = "results.json"
	State       = "state.json"
	Invalid     = "invalid_command.json"
	WalletInput = "wallet_asset_input.json"
	ApplyInput  = "apply_command_input.json"

	Transaction       = "transaction.json"
	TransactionResult = "transaction_result.json"

	RunInput  = "run_input.json"
	RunStatus = "run_status.json"
)

// walletAssetInput is what a caller starts a wallet's workflow with.
type walletAssetInput struct {
	wallet.AssetRef
	// The workflow completes when no command came for so long, such as "24h"; the next
	// command starts it again.
	IdleTimeout wallet.Duration `json:"idle_timeout,omitzero"`
}

// Generate makes all schemas from the types of package wallet. The sources in root give the
// descriptions and the values of enums.
func Generate(root string) (map[string][]byte, error) {
	g, err := newGenerator(root)
	if err != nil {
		return nil, err
	}
	command := g.command()
	apply := g.schema(wallet.ApplyCommandInput{})
	nameWallet(apply)
	apply.AdditionalProperties = jsonschema.FalseSchema
	apply.Properties.Set("command", reference(Command))
	input := g.schema(walletAssetInput{})
	nameWallet(input)
	result := g.schema(wallet.Result{})
	kind := property(result, "type")
	kind.Enum = nil
	for _, k := range wallet.Kinds() {
		kind.Enum = append(kind.Enum, k.Type)
	}
	kind.Enum = append(kind.Enum, "") // the type of an unreadable command
	refused := g.schema(wallet.InvalidError{})
	property(refused, "reason").Enum = []any{wallet.ReasonMalformed, wallet.ReasonUnknownCurrency}
	files := map[string][]byte{}
	for file, schema := range map[string]*jsonschema.Schema{
		Command:     command,
		Commands:    batch(Command),
		Result:      result,
		Results:     batch(Result),
		State:       g.schema(wallet.State{}),
		Invalid:     refused,
		WalletInput: input,
		ApplyInput:  apply,

		Transaction:       g.transaction(),
		TransactionResult: g.transactionResult(kind.Enum),

		RunInput:  g.runInput(),
		RunStatus: g.schema(wallet.RunStatus{}),
	} {
		schema.Version = jsonschema.Version
		if files[file], err = json.MarshalIndent(schema, "", "  "); err != nil {
			return nil, err
		}
		files[file] = append(files[file], '\n')
	}
	return files, nil
}

func (g *generator) transactionResult(types []any) *jsonschema.Schema {
	s := g.schema(wallet.TransactionResult{})
	property(property(s, "results").Items, "type").Enum = types
	for _, total := range []string{"total_before", "total_after"} {
		property(property(s, "results").Items, total).Pattern = signed
	}
	return s
}

func (g *generator) runInput() *jsonschema.Schema {
	s := g.schema(wallet.RunInput{})
	property(s, "run_id").MinLength, property(s, "run_id").MaxLength = length(1), length(wallet.MaxRunIDCharacters)
	property(s, "parallel").Minimum, property(s, "parallel").Maximum = "0", json.Number(strconv.Itoa(wallet.RunParts))
	s.AdditionalProperties = jsonschema.FalseSchema
	return s
}

type generator struct {
	reflector jsonschema.Reflector
	enums     map[string][]any
}

func newGenerator(root string) (*generator, error) {
	const here = "github.com/valueledger/wallet/internal/test/contract" // relative to it, root is "../../.."
	g := &generator{enums: map[string][]any{}}
	g.reflector = jsonschema.Reflector{
		Anonymous: true, DoNotReference: true, ExpandedStruct: true,
		AllowAdditionalProperties: true, // readers ignore unknown fields
		Mapper:                    g.leaf,
	}
	for _, source := range []string{"command.go", "result.go", "errors.go", "steps.go", "transaction.go", "run.go", "threshold.go"} {
		path := filepath.Join(root, source)
		if err := g.reflector.AddGoComments(here, path, jsonschema.WithFullComment()); err != nil {
			return nil, err
		}
		if err := g.addEnums(path); err != nil {
			return nil, err
		}
	}
	return g, g.reflector.AddGoComments(here, "generate.go")
}

// addEnums collects the constants of each type of strings.
func (g *generator) addEnums(path string) error {
	file, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
	if err != nil {
		return err
	}
	ast.Inspect(file, func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if !ok || len(spec.Values) != 1 {
			return true
		}
		name, ok := spec.Type.(*ast.Ident)
		value, isLiteral := spec.Values[0].(*ast.BasicLit)
		if ok && isLiteral {
			var text string
			if text, err = strconv.Unquote(value.Value); err == nil {
				g.enums[name.Name] = append(g.enums[name.Name], text)
			}
		}
		return true
	})
	return err
}

// leaf returns the schemas of enums and of types with their own JSON encoding.
func (g *generator) leaf(t reflect.Type) *jsonschema.Schema {
	switch t {
	case reflect.TypeFor[wallet.Amount]():
		return &jsonschema.Schema{Type: "string", Pattern: decimal, MaxLength: length(maxAmountCharacters)}
	case reflect.TypeFor[wallet.Hash]():
		return &jsonschema.Schema{Type: "string", Pattern: "^[0-9a-f]{64}$"}
	case reflect.TypeFor[wallet.CommandType]():
		var types []any
		for _, k := range wallet.CallersKinds() {
			types = append(types, k.Type)
		}
		return &jsonschema.Schema{Type: "string", Enum: types}
	case reflect.TypeFor[wallet.Thresholds]():
		return g.reflector.Reflect([]wallet.Threshold{})
	case reflect.TypeFor[wallet.Crossed]():
		return g.reflector.Reflect([]wallet.Crossing{})
	case reflect.TypeFor[wallet.Duration]():
		return &jsonschema.Schema{Type: "string", Examples: []any{"24h", "1h30m"}}
	}
	if values, ok := g.enums[t.Name()]; ok {
		return &jsonschema.Schema{Type: "string", Enum: values}
	}
	return nil
}

func (g *generator) schema(of any) *jsonschema.Schema {
	schema, t := g.reflector.Reflect(of), reflect.TypeOf(of)
	schema.Title = t.Name()
	for i := range t.NumField() { // Go comments begin with Go names
		field := t.Field(i)
		name, _, _ := strings.Cut(field.Tag.Get("json"), ",")
		if p, ok := schema.Properties.Get(name); ok && strings.HasPrefix(p.Description, field.Name+" ") {
			p.Description = name + strings.TrimPrefix(p.Description, field.Name)
		}
		if p, ok := schema.Properties.Get(name); ok && strings.HasPrefix(name, "total") && p.Pattern == decimal {
			p.Pattern = signed
		}
	}
	return schema
}

func batch(item string) *jsonschema.Schema {
	return &jsonschema.Schema{Type: "array", Items: reference(item), MinItems: length(1), MaxItems: length(wallet.MaxBatch)}
}

func reference(file string) *jsonschema.Schema { return &jsonschema.Schema{Ref: file} }

func length(n uint64) *uint64 { return &n }

// Files returns the names of all schemas, in order.
func Files(schemas map[string][]byte) []string {
	return slices.Sorted(maps.Keys(schemas))
}

// property returns a field of an object; asking for a missing one is a bug in this program.
func property(object *jsonschema.Schema, name string) *jsonschema.Schema {
	p, ok := object.Properties.Get(name)
	if !ok {
		panic(fmt.Sprintf("the schema has no property %q", name))
	}
	return p
}
