package statement_test

import (
	"io"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/valueledger/wallet/internal/service/statement"
)

func TestCSVForSpreadsheetsRunsNoFormula(t *testing.T) {
	for field, want := range map[string]string{"=1+1": "'=1+1", "+1": "'+1", "-1": "'-1", "@x": "'@x", "\tx": "'\tx", "a=1": "a=1", "": ""} {
		require.Equal(t, want, statement.NewCSV(io.Discard, true).Text(field))
		require.Equal(t, field, statement.NewCSV(io.Discard, false).Text(field))
	}
}
