package testenv

import (
	"fmt"
	"net/url"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/valueledger/wallet/migrations"
)

// sqlClock makes a clock that is found before Postgres's own, where the search path says so.
const sqlClock = `CREATE SCHEMA clock;
	CREATE TABLE clock.ahead (by interval NOT NULL);
	INSERT INTO clock.ahead VALUES ('0');
	CREATE FUNCTION clock.clock_timestamp() RETURNS timestamptz LANGUAGE sql VOLATILE AS
		$$ SELECT pg_catalog.clock_timestamp() + (SELECT by FROM clock.ahead) $$;
	GRANT USAGE ON SCHEMA clock TO ` + migrations.RoleApp + `;
	GRANT SELECT ON clock.ahead TO ` + migrations.RoleApp

// Clock is Postgres's clock as the service sees it through URL.
type Clock struct {
	URL string // connects as the service's role

	t     testing.TB
	owner string
}

// NewClock makes a clock in the database of the test. Its owner's connections have the right time.
func NewClock(t testing.TB, ownerURL string) Clock {
	Exec(t, ownerURL, sqlClock)
	u, err := url.Parse(AppURL(t, ownerURL))
	require.NoError(t, err)
	query := u.Query()
	query.Set("search_path", "public,clock,pg_catalog")
	u.RawQuery = query.Encode()
	return Clock{u.String(), t, ownerURL}
}

// Set has the clock go ahead of the right time.
func (c Clock) Set(ahead time.Duration) {
	Exec(c.t, c.owner, fmt.Sprintf(`UPDATE clock.ahead SET by = '%d microseconds'`, ahead.Microseconds()))
}
