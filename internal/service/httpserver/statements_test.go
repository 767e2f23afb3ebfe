package httpserver_test

import (
	"encoding/csv"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/valueledger/wallet/internal/service/httpserver"
	"github.com/valueledger/wallet/internal/test/testenv"
)

// deposits applies n adds to a user's USD, in batches.
func (w *world) deposits(user string, n int, description string) {
	for from := 0; from < n; from += 500 {
		var commands []string
		for i := from; i < min(n, from+500); i++ {
			commands = append(commands, fmt.Sprintf(`{"id":"d-%d","type":"add","amount":"1","description":%q}`, i, description))
		}
		answer := w.post("/v1/wallets/"+user+"/USD/batches", "["+strings.Join(commands, ",")+"]")
		require.Equal(w.t, http.StatusOK, answer.StatusCode, answer.body)
	}
}

func TestAStatementInPagesAndAsCSV(t *testing.T) {
	w := newWorld(t)
	user := testenv.Unique(t, "statement")
	statement := "/v1/wallets/" + user + "/USD/statement"
	require.Equal(t, 404, w.get(statement).StatusCode)
	w.deposits(user, 2, "=1+1")

	first := w.get(statement + "?limit=2").json(t)
	require.Len(t, first["items"], 2)
	require.Equal(t, "2", first["next"])
	require.Equal(t, "2.00", first["added"].(map[string]any)["sum"])
	require.Equal(t, "2.00", first["closing"].(map[string]any)["total"])
	w.deposits(user+"x", 1, "")
	require.Equal(t, 200, w.post("/v1/wallets/"+user+"/USD/commands", `{"id":"later","type":"add","amount":"5"}`).StatusCode)
	second := w.get(fmt.Sprintf("%s?limit=2&after=2&from=%s&to=%s", statement, first["from"], first["to"])).json(t)
	require.Len(t, second["items"], 1, "what came later is not in the period")
	require.NotContains(t, second, "next")
	require.Equal(t, first["closing"], second["closing"])

	for query, accept := range map[string]string{"?format=csv": "application/json", "": "text/csv", "?spreadsheet=true": "*/*"} {
		answer := w.do(http.MethodGet, statement+query, "", "Accept: "+accept)
		require.Equal(t, 200, answer.StatusCode, answer.body)
		require.Equal(t, "text/csv", answer.Header.Get("Content-Type"))
		lines, err := csv.NewReader(strings.NewReader(strings.TrimPrefix(answer.body, "\ufeff"))).ReadAll()
		require.NoError(t, err)
		require.Len(t, lines, 1+1+4+1)
		require.Equal(t, "closing", lines[6][0])
		require.Equal(t, query == "?spreadsheet=true", strings.HasPrefix(answer.body, "\ufeff"))
		require.Equal(t, query == "?spreadsheet=true", lines[3][13] == "'=1+1", lines[3])
	}
	for _, query := range []string{"?after=1&format=csv", "?format=json&spreadsheet=true", "?format=xml", "?from=yesterday", "?from=2026-02-01T00:00:00Z&to=2026-01-01T00:00:00Z"} {
		require.Equal(t, 400, w.get(statement+query).StatusCode, query)
	}
}

// cutAtFirstWrite calls cut once the answer has begun.
type cutAtFirstWrite struct {
	http.ResponseWriter
	cut func()
}

func (w *cutAtFirstWrite) Write(p []byte) (int, error) {
	w.cut()
	return w.ResponseWriter.Write(p)
}

func (w *cutAtFirstWrite) Unwrap() http.ResponseWriter { return w.ResponseWriter }

func TestAStatementThatFailsHalfWayIsCutOff(t *testing.T) {
	var l link
	var isCSV bool
	w := newIdleWorld(t, linked(t, &l), func(o *httpserver.Options) {
		o.Wrap = func(h http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if isCSV {
					w = &cutAtFirstWrite{w, sync.OnceFunc(l.cut)}
				}
				h.ServeHTTP(w, r)
			})
		}
	})
	w.startWorker()
	user := testenv.Unique(t, "statement")
	w.deposits(user, 1500, strings.Repeat("x", 200)) // more than a page of the trail
	isCSV = true
	r, err := http.NewRequest(http.MethodGet, w.url+"/v1/wallets/"+user+"/USD/statement?format=csv", nil)
	require.NoError(t, err)
	token, _ := allTokens.Load(w)
	r.Header.Set("Authorization", "Bearer "+token.(string))
	answer, err := http.DefaultClient.Do(r)
	require.NoError(t, err)
	defer answer.Body.Close()
	_, err = csv.NewReader(answer.Body).ReadAll()
	require.Error(t, err)
	require.ErrorContains(t, err, "EOF")
	l.mend()
}
