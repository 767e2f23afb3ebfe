package httpserver

import (
	"reflect"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/valueledger/wallet"
	"github.com/valueledger/wallet/feed"
)

// bodyOf is an answer with a body and nothing else.
type bodyOf[T any] struct{ Body T }

func body[T any](t T) *bodyOf[T] { return &bodyOf[T]{t} }

func bodyOrError[T any](t T, err error) (*bodyOf[T], error) {
	if err != nil {
		return nil, err
	}
	return body(t), nil
}

// Command is a command as this API takes it: without the reply_to of workflows, and with an id
// unless the header Idempotency-Key is it.
type Command struct {
	wallet.Command
	ReplyTo *bool `json:"reply_to,omitempty" hidden:"true"`
}

// TransformSchema says what is required.
func (Command) TransformSchema(_ huma.Registry, s *huma.Schema) *huma.Schema {
	return commandSchema(s, "type")
}

// Transaction is a transaction as this API takes it.
type Transaction struct {
	wallet.Transaction
	Commands []Leg `json:"commands" minItems:"2" maxItems:"100"`
}

// TransformSchema says that it needs no id in the body.
func (Transaction) TransformSchema(_ huma.Registry, s *huma.Schema) *huma.Schema {
	s.Required = []string{"commands"}
	return s
}

// Leg is a command of a transaction, without an id of its own.
type Leg struct {
	wallet.AssetRef
	Command
	ID *bool `json:"id,omitempty" hidden:"true"`
}

// TransformSchema says what is required.
func (Leg) TransformSchema(_ huma.Registry, s *huma.Schema) *huma.Schema {
	return commandSchema(s, "user_id", "currency", "type")
}

func commandSchema(s *huma.Schema, required ...string) *huma.Schema {
	s.Required = required
	if t := s.Properties["type"]; t != nil {
		t.Enum = nil
		for _, k := range wallet.CallersKinds() {
			t.Enum = append(t.Enum, string(k.Type))
		}
	}
	return s
}

// amountSchema and hashSchema stand for types whose JSON is text.
type amountSchema struct{}

func (amountSchema) Schema(huma.Registry) *huma.Schema {
	return &huma.Schema{Type: huma.TypeString, Description: "a decimal number as text, never rounded", Examples: []any{"12.50"}}
}

type hashSchema struct{}

func (hashSchema) Schema(huma.Registry) *huma.Schema {
	return &huma.Schema{Type: huma.TypeString, Description: "a SHA-256 in hexadecimal digits"}
}

type cursorSchema struct{}

func (cursorSchema) Schema(huma.Registry) *huma.Schema {
	return &huma.Schema{Type: huma.TypeString, Description: "a place in the feed", Examples: []any{"4711-17"}}
}

func aliasTypes(r huma.Registry) {
	r.RegisterTypeAlias(reflect.TypeFor[wallet.Amount](), reflect.TypeFor[amountSchema]())
	r.RegisterTypeAlias(reflect.TypeFor[wallet.Hash](), reflect.TypeFor[hashSchema]())
	r.RegisterTypeAlias(reflect.TypeFor[feed.Cursor](), reflect.TypeFor[cursorSchema]())
	r.RegisterTypeAlias(reflect.TypeFor[wallet.Thresholds](), reflect.TypeFor[[]wallet.Threshold]())
	r.RegisterTypeAlias(reflect.TypeFor[wallet.Crossed](), reflect.TypeFor[[]wallet.Crossing]())
}

// parseTime reads a time of a query; the zero time if there is none.
func parseTime(field, text string) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	return wallet.ParseTime(field, text)
}
