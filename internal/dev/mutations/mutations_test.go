package mutations

import (
	"encoding/json"
	"fmt"
	"go/ast"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// repository returns the absolute path of the repository's root.
func repository(t *testing.T) string {
	root, err := filepath.Abs("../../..")
	require.NoError(t, err)
	return root
}

// goCommand returns what the go command prints.
func goCommand(t *testing.T, args ...string) string {
	cmd := exec.CommandContext(t.Context(), "go", args...)
	cmd.Dir = repository(t)
	var problems strings.Builder
	cmd.Stderr = &problems
	out, err := cmd.Output()
	require.NoError(t, err, "%s%s", out, &problems)
	return string(out)
}

// TestEachMutationFitsTheSource is for anyone who changes code that a mutation patches: it
// reports within seconds that an edit no longer matches, or no longer compiles.
func TestEachMutationFitsTheSource(t *testing.T) {
	all := slices.Clone(All)
	for _, m := range Tested {
		all = append(all, m.Mutation)
	}
	modules := map[string]*typeChecker{}
	for _, m := range all {
		t.Run(m.Name, func(t *testing.T) {
			patched, err := m.patch(repository(t))
			require.NoError(t, err)
			folders := m.Packages()
			if len(folders) > 1 { // they may need each other's patches
				overlay, err := m.WriteOverlay(repository(t), t.TempDir())
				require.NoError(t, err)
				for _, folder := range folders {
					goCommand(t, "-C", folder, "build", "-overlay", overlay, "-o", os.DevNull, ".")
				}
				return
			}
			module := "."
			if parts := strings.Split(folders[0], "/"); len(parts) > 3 && parts[1] == "examples" { // modules of their own
				module = strings.Join(parts[:4], "/")
			}
			if modules[module] == nil {
				modules[module] = newTypeChecker(t, module)
			}
			require.NoError(t, modules[module].check(filepath.Join(repository(t), folders[0]), patched))
		})
	}
}

// typeChecker checks one package at a time, without compiling it: what it imports was compiled before.
type typeChecker struct {
	root     string
	files    *token.FileSet
	packages map[string]goPackage // by folder
	importer types.Importer
}

type goPackage struct {
	Dir, ImportPath, Export string
	GoFiles                 []string
}

func newTypeChecker(t *testing.T, module string) *typeChecker {
	c := &typeChecker{root: repository(t), files: token.NewFileSet(), packages: map[string]goPackage{}}
	exports := map[string]string{}
	decoder := json.NewDecoder(strings.NewReader(goCommand(t, "-C", module, "list", "-export", "-deps", "-json=Dir,ImportPath,Export,GoFiles", "./...")))
	for decoder.More() {
		var p goPackage
		require.NoError(t, decoder.Decode(&p))
		c.packages[p.Dir], exports[p.ImportPath] = p, p.Export
	}
	c.importer = importer.ForCompiler(c.files, "gc", func(path string) (io.ReadCloser, error) { return os.Open(exports[path]) })
	return c
}

// check checks the package in a folder with the patched texts of its files, by their paths from the root.
func (c *typeChecker) check(dir string, patched map[string]string) error {
	p, ok := c.packages[dir]
	if !ok {
		return fmt.Errorf("no package in %s", dir)
	}
	var files []*ast.File
	for _, name := range p.GoFiles {
		path := filepath.Join(dir, name)
		from, err := filepath.Rel(c.root, path)
		if err != nil {
			return err
		}
		var text any // the file's own
		if patch, ok := patched[filepath.ToSlash(from)]; ok {
			text = patch
		}
		file, err := parser.ParseFile(c.files, path, text, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		files = append(files, file)
	}
	config := types.Config{Importer: c.importer}
	_, err := config.Check(p.ImportPath, c.files, files, nil)
	return err
}

func TestTheTypeCheckerFindsWhatTheCompilerWould(t *testing.T) {
	c := newTypeChecker(t, "./internal/dev/mutations")
	check := func(text string) error {
		return c.check(filepath.Join(c.root, "internal/dev/mutations"), map[string]string{"internal/dev/mutations/later.go": text})
	}
	sound, err := os.ReadFile("later.go")
	require.NoError(t, err)
	require.NoError(t, check(string(sound)))
	require.ErrorContains(t, check(string(sound)+"\nfunc f() { unused := 1 }"), "declared and not used")
	require.ErrorContains(t, check(strings.Replace(string(sound), "package mutations", "package mutations\n\nimport \"os\"", 1)), "imported and not used")
}

func TestAnEditMustMatchExactlyOnce(t *testing.T) {
	root := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(root, "file.go"), []byte("one two two"), 0o644))
	patch := func(edits ...Edit) (string, error) {
		patched, err := Mutation{Name: "row_lock", Edits: edits}.patch(root)
		return patched["file.go"], err
	}
	text, err := patch(Edit{"file.go", "one", "1"}, Edit{"file.go", "1 two", "12"})
	require.NoError(t, err)
	require.Equal(t, "12 two", text, "the second edit is made of what the first left")

	_, err = patch(Edit{"file.go", "three", "3"})
	require.EqualError(t, err, "mutation row_lock: file.go must contain this text exactly once, but contains it 0 times:\nthree")
	_, err = patch(Edit{"file.go", "two", "2"})
	require.EqualError(t, err, "mutation row_lock: file.go must contain this text exactly once, but contains it 2 times:\ntwo")
	_, err = patch(Edit{"other.go", "one", "1"})
	require.ErrorContains(t, err, "mutation row_lock: ")
	require.ErrorIs(t, err, os.ErrNotExist)
}
