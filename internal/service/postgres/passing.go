package postgres

import (
	"slices"

	"github.com/jackc/pgx/v5/pgconn"
)

// passingClasses are the classes of SQLSTATE of failures that concern the connection or the server
// as a whole, and not the statement: connection exception, insufficient resources, operator
// intervention (a shutdown, for example), system error.
var passingClasses = []string{"08", "53", "57", "58"}

// IsPassing reports whether a statement failed for a reason that is not its own.
func IsPassing(err *pgconn.PgError) bool {
	return len(err.Code) > 2 && slices.Contains(passingClasses, err.Code[:2])
}
