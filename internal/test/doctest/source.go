package doctest

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// source returns a function's text with its comment. which is "FILE FUNCTION".
func source(t *testing.T, root, which string) string {
	path, name, _ := strings.Cut(which, " ")
	text, err := os.ReadFile(filepath.Join(root, path))
	require.NoError(t, err)
	files := token.NewFileSet()
	parsed, err := parser.ParseFile(files, path, text, parser.ParseComments)
	require.NoError(t, err)
	for _, declaration := range parsed.Decls {
		if f, ok := declaration.(*ast.FuncDecl); ok && f.Name.Name == name {
			from := f.Pos()
			if f.Doc != nil {
				from = f.Doc.Pos()
			}
			return string(text[files.Position(from).Offset:files.Position(f.End()).Offset]) + "\n"
		}
	}
	require.Fail(t, "no such function", which)
	return ""
}
