package rows

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/valueledger/wallet"
)

// sqlInsertEntries appends to the journal. It unnests an array for each column: in the select list,
// where a shorter array continues with NULL, and where Postgres does not store each array first, as
// it does for an unnest in FROM. NULLIF makes NULL of the value that is not set.
var sqlInsertEntries = func() string {
	var columns, values, arrays []string
	for i, f := range wallet.EntryFields {
		columns = append(columns, f.Name)
		array, unset, cast := "text[]", "''", ""
		switch f.Of(&wallet.Entry{}).(type) {
		case *int64:
			array, unset = "bigint[]", "0"
		case **int64:
			array, unset = "bigint[]", "NULL"
		case *bool:
			array, unset = "boolean[]", "false"
		case *wallet.Amount:
			cast = "::numeric"
		case *wallet.Hash:
			array = "bytea[]"
		case *time.Time:
			array, unset = "timestamptz[]", "'0001-01-01T00:00:00Z'"
		case *map[string]string:
			cast = "::jsonb"
		}
		if f.JSON {
			cast = "::jsonb"
		}
		value := "e." + f.Name
		if f.Optional {
			value = fmt.Sprintf("NULLIF(%s, %s)", value, unset)
		}
		values = append(values, value+cast)
		arrays = append(arrays, fmt.Sprintf("unnest($%d::%s) AS %s", i+1, array, f.Name))
	}
	list := strings.Join(columns, ", ")
	return `INSERT INTO wallet_commands (` + list + `)
		SELECT ` + strings.Join(values, ", ") + `
		FROM (SELECT ` + strings.Join(arrays, ", ") + `) AS e`
}()

// InsertEntries is the statement that appends entries to the journal, and its parameters.
func InsertEntries(entries []wallet.Entry) (sql string, parameters []any, err error) {
	parameters = make([]any, len(wallet.EntryFields))
	for i, f := range wallet.EntryFields {
		if parameters[i], err = array(f, entries); err != nil {
			return "", nil, err
		}
	}
	return sqlInsertEntries, parameters, nil
}

// array returns the values of one field.
func array(f wallet.Field, entries []wallet.Entry) (any, error) {
	switch f.Of(&entries[0]).(type) {
	case *string:
		return values(f, entries, func(v *string) (string, error) { return *v, nil })
	case *int64:
		return values(f, entries, func(v *int64) (int64, error) { return *v, nil })
	case **int64:
		return values(f, entries, func(v **int64) (*int64, error) { return *v, nil })
	case *bool:
		return values(f, entries, func(v *bool) (bool, error) { return *v, nil })
	case *time.Time:
		return values(f, entries, func(v *time.Time) (time.Time, error) { return *v, nil })
	case *wallet.Amount:
		return values(f, entries, func(v *wallet.Amount) (string, error) {
			if f.Optional && v.IsZero() {
				return "", nil
			}
			return v.String(), nil
		})
	case *wallet.Hash:
		hashes := make([][]byte, len(entries))
		for i := range entries {
			hashes[i] = f.Of(&entries[i]).(*wallet.Hash)[:]
		}
		return hashes, nil
	case *map[string]string:
		return values(f, entries, encodeMetadata)
	}
	panic(fmt.Sprintf("rows: field %s is a %T", f.Name, f.Of(&entries[0])))
}

func encodeMetadata(metadata *map[string]string) (string, error) {
	if len(*metadata) == 0 {
		return "", nil
	}
	encoded, err := json.Marshal(*metadata)
	return string(encoded), err
}

// values encodes a field of each entry. The zero value of an optional one is what
// sqlInsertEntries stores as NULL; those at the end are left out. If all are zero, there is no array.
func values[F any, V comparable](f wallet.Field, entries []wallet.Entry, encode func(*F) (V, error)) (all []V, err error) {
	filled := 0
	for i := range entries {
		value, err := encode(f.Of(&entries[i]).(*F))
		if err != nil {
			return nil, fmt.Errorf("%s of command %q: %w", f.Name, entries[i].CommandID, err)
		}
		if f.Optional && value == *new(V) {
			continue
		}
		if all == nil {
			all = make([]V, len(entries))
		}
		all[i], filled = value, i+1
	}
	return all[:filled], nil
}
