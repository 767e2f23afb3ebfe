// Package doctest keeps documents correct. It runs the commands in a Markdown page and compares
// their outputs with those in the page; with -update it rewrites them.
//
//	```console                        "$ command" lines, each followed by its output
//	```sh                             commands that must succeed; their output does not matter
//	```sql                            a statement that must succeed
//	<!-- go: FILE FUNCTION -->        the ```go block after it is this function of this file
//	<!-- test: NAME -->               the test does something here that the text describes
//	<!-- not run: REASON -->          the block after it is left alone
package doctest

import (
	"flag"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

var update = flag.Bool("update", false, "write the outputs in the docs anew")

// Page is where the commands of a document run.
type Page struct {
	Path string
	Root string // the files of "go:" are relative to this
	Dir  string // the shell's working directory
	Env  []string
	// Names are pairs of a name in the document and its value in this test, for example an
	// address.
	Names [][2]string
	// Volatile treats times, hashes and ids that differ each time as equal.
	Volatile bool
	SQL      func(statement string)
	Steps    map[string]func() // for "test:"
}

var directive = regexp.MustCompile(`^<!-- (go|test|not run): (.*) -->$`)

// Check runs a document.
func Check(t *testing.T, p Page) {
	written, err := os.ReadFile(p.Path)
	require.NoError(t, err)
	r := &run{Page: p, t: t, shell: startShell(t, p.Dir, p.Env), lines: strings.SplitAfter(string(written), "\n")}
	defer r.shell.stop()
	for len(r.lines) > 0 {
		r.part()
	}
	require.Positive(t, r.ran, "the page has no command")
	if *update {
		require.NoError(t, os.WriteFile(p.Path, []byte(r.out.String()), 0o644))
		return
	}
	require.Equal(t, r.out.String(), string(written), "go test with -update writes the outputs anew")
}

type run struct {
	Page
	t     *testing.T
	shell *shell
	lines []string // not read yet
	out   strings.Builder
	ran   int
}

// part handles the next line of prose or the next block.
func (r *run) part() {
	line := r.take()
	r.out.WriteString(line)
	found := directive.FindStringSubmatch(strings.TrimSpace(line))
	switch {
	case found == nil:
		r.block(line)
	case found[1] == "test":
		step := r.Steps[found[2]]
		require.NotNil(r.t, step, "%s: no step %q", r.Path, found[2])
		step()
	case found[1] == "go":
		fence := r.take()
		require.Equal(r.t, "```go\n", fence)
		r.body()
		r.out.WriteString(fence + source(r.t, r.Root, found[2]) + "```\n")
	default:
		r.out.WriteString(r.take())
		r.out.WriteString(r.body() + "```\n")
	}
}

func (r *run) block(fence string) {
	switch strings.TrimSpace(fence) {
	case "```console":
		r.console(r.body())
	case "```sh":
		body := r.body()
		out, code := r.do("__failed=; trap '__failed=1' ERR\n" + body + "trap - ERR; test -z \"$__failed\"")
		require.Zero(r.t, code, "%s: %s\n%s", r.Path, body, out)
		r.out.WriteString(body)
	case "```sql":
		body := r.body()
		r.SQL(body)
		r.ran++
		r.out.WriteString(body)
	case "```go":
		require.Fail(r.t, "a go block needs a line <!-- go: FILE FUNCTION --> before it", r.Path)
	default:
		if strings.HasPrefix(fence, "```") {
			r.out.WriteString(r.body())
		} else {
			return
		}
	}
	r.out.WriteString("```\n")
}

func (r *run) console(body string) {
	lines := strings.SplitAfter(body, "\n")
	for i := 0; i < len(lines); {
		command := lines[i]
		for strings.HasSuffix(lines[i], "\\\n") {
			i++
			command += lines[i]
		}
		i++
		require.True(r.t, strings.HasPrefix(command, "$ ") || command == "", "%s: %q is no command", r.Path, command)
		before := i
		for i < len(lines) && !strings.HasPrefix(lines[i], "$ ") {
			i++
		}
		if command == "" {
			return
		}
		printed, _ := r.do(strings.TrimPrefix(command, "$ "))
		if written := strings.Join(lines[before:i], ""); r.Volatile && mask(written) == mask(printed) {
			printed = written
		}
		r.out.WriteString(command + printed)
	}
}

// do runs commands with the test's names, and returns their output with the document's names.
func (r *run) do(commands string) (out string, code int) {
	for _, name := range r.Names {
		commands = strings.ReplaceAll(commands, name[0], name[1])
	}
	out, code = r.shell.run(commands)
	for _, name := range r.Names {
		out = strings.ReplaceAll(out, name[1], name[0])
	}
	if out != "" && !strings.HasSuffix(out, "\n") {
		out += "\n"
	}
	r.ran++
	return out, code
}

func (r *run) take() string {
	require.NotEmpty(r.t, r.lines, "%s ends in a block", r.Path)
	line := r.lines[0]
	r.lines = r.lines[1:]
	return line
}

// body reads the rest of a block including its end.
func (r *run) body() string {
	var b strings.Builder
	for {
		line := r.take()
		if strings.HasPrefix(line, "```") {
			return b.String()
		}
		b.WriteString(line)
	}
}

var volatile = []struct {
	pattern *regexp.Regexp
	name    string
}{
	{regexp.MustCompile(`\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:?\d\d)?`), "TIME"},
	{regexp.MustCompile(`[0-9a-f]{64}`), "HASH"},
	{regexp.MustCompile(`[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}`), "RUN"},
	{regexp.MustCompile(`cli-[A-Z2-7]{26}`), "ID"},
}

func mask(text string) string {
	for _, v := range volatile {
		text = v.pattern.ReplaceAllString(text, v.name)
	}
	return text
}
