package rows_test

import (
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/stretchr/testify/require"

	"github.com/valueledger/wallet/internal/service/rows"
)

// failed are the rows of a query whose connection broke: pgx tells that when the first row is
// asked for.
type failed struct{ pgx.Rows }

func (failed) FieldDescriptions() []pgconn.FieldDescription { return nil }

func TestAQueryThatFailedHasNoColumns(t *testing.T) {
	require.NotPanics(t, func() { rows.Repeats(rows.Entries(failed{}), rows.Events(failed{})) })
}

type without struct{ pgx.Rows }

func (without) FieldDescriptions() []pgconn.FieldDescription {
	return []pgconn.FieldDescription{{Name: "other"}}
}

func TestAQueryThatLacksAColumnIsAMistake(t *testing.T) {
	require.Panics(t, func() { rows.Entries(without{}) })
}
