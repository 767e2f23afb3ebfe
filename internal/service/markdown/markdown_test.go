package markdown_test

import (
	"html"
	"regexp"
	"strings"
	"testing"

	renderer "github.com/gomarkdown/markdown"
	gomarkdown "github.com/gomarkdown/markdown/html"
	"github.com/gomarkdown/markdown/parser"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/valueledger/wallet/internal/service/markdown"
)

// render does what the Web UI's server does with details and summaries.
func render(text string) string {
	parsed := parser.NewWithExtensions(parser.CommonExtensions | parser.AutoHeadingIDs).Parse([]byte(text))
	return string(renderer.Render(parsed, gomarkdown.NewRenderer(gomarkdown.RendererOptions{Flags: gomarkdown.CommonFlags | gomarkdown.HrefTargetBlank})))
}

const inATable = "| id | b |\n|---|---|\n| %s | last |\n"

var tag = regexp.MustCompile(`<[^>]*>`)

func text(page string) string { return html.UnescapeString(tag.ReplaceAllString(page, "")) }

func cells(page string) []string {
	var all []string
	for _, cell := range regexp.MustCompile(`(?s)<td>(.*?)</td>`).FindAllStringSubmatch(page, -1) {
		all = append(all, cell[1])
	}
	return all
}

func TestHostileTextShowsAsItIs(t *testing.T) {
	for _, hostile := range []string{
		`<img src=x onerror=alert(1)>`, `<script>alert(1)</script>`, `</td></tr></table><h1>`, `<!-- x`,
		`a | b || c`, "`code`", "``` fence", `\`, `\|`, `\\|`, `&lt;b&gt;`, `&`, `&#60;b&#62;`,
		`**bold** _em_ ~~gone~~`, `# heading`, `> quote`, `- item`, `1. item`, `---`, `===`, `{#id}`, `{workflowId}`,
		`[text](https://example.com)`, `![image](https://example.com/x.png)`, `https://example.com/x`, `www.example.com`,
		`<https://example.com>`, `a@example.com`, `$$x$$`, `: definition`, `1/2 -- (c) ... .. .-.`, `order-7.b_c`, `mailto:a@example.com`, `a_b_c`, `http:`, `ü 日本 🧑‍🚀`,
	} {
		t.Run(hostile, func(t *testing.T) {
			for _, place := range []string{"%s", "## %s · USD", "**%s**", "> %s", "text %s text", inATable} {
				page := render(strings.ReplaceAll(place, "%s", markdown.Escape(hostile)))
				require.Contains(t, text(page), hostile, "in %q", page)
				plain := render(strings.ReplaceAll(place, "%s", "plain"))
				require.Equal(t, tags(plain), tags(page), "no element more than around a plain word")
			}
			require.Len(t, cells(render(strings.ReplaceAll(inATable, "%s", markdown.Escape(hostile)))), 2)
		})
	}
}

// tags returns the names of a page's elements, in order.
func tags(page string) []string {
	var all []string
	for _, name := range regexp.MustCompile(`<(/?\w+)`).FindAllStringSubmatch(page, -1) {
		all = append(all, name[1])
	}
	return all
}

func TestNoTextAddsAnElement(t *testing.T) {
	want := tags(render(strings.ReplaceAll(inATable, "%s", "plain")))
	rapid.Check(t, func(t *rapid.T) {
		hostile := rapid.StringOf(rapid.RuneFrom([]rune("httpwmailto.: 1 \n\t<>|`*_~[]()!#&;:\\/.-{}$\"'=+@^é\u202e"))).Draw(t, "text")
		page := render(strings.ReplaceAll(inATable, "%s", markdown.Escape(hostile)))
		require.Equal(t, want, tags(page))
		require.Equal(t, "last", cells(page)[1])
	})
}

func TestWhatCannotBeSeenIsShown(t *testing.T) {
	require.Equal(t, "a⟨U+000A⟩b⟨U+202E⟩c⟨U+200B⟩⟨U+0085⟩⟨U+00A0⟩", markdown.Escape("a\nb\u202ec\u200b\u0085\u00a0"))
	// The Web UI turns quotes into curly ones, however they are written.
	require.Contains(t, render(markdown.Escape(`"said"`)), "&ldquo;said&rdquo;")
	require.Equal(t, "order-7 a@b.c x_y &#46;&#46;&#46; &#45;1", markdown.Escape("order-7 a@b.c x_y ... -1"))
}

func TestShorten(t *testing.T) {
	require.Equal(t, "äöü", markdown.Shorten("äöü", 3))
	require.Equal(t, "äö…", markdown.Shorten("äöüß", 3))
}
