package trail_test

import (
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/valueledger/wallet"
	"github.com/valueledger/wallet/internal/service/rows"
	"github.com/valueledger/wallet/internal/test/testenv"
	"github.com/valueledger/wallet/trail"
)

var began = time.Date(2026, 1, 31, 12, 0, 0, 0, time.UTC)

// at is a command, and how many seconds after the beginning it is recorded.
func at(seconds int, c wallet.Command) forgedCommand {
	return forgedCommand{Received: wallet.Received{Command: c}, at: began.Add(time.Duration(seconds) * time.Second)}
}

type forgedCommand struct {
	wallet.Received
	at time.Time
}

// chainOf is the journal of commands decided one by one: the forger says which of the
// service's own come, and when. holds is what it makes of them.
func chainOf(t *testing.T, commands ...forgedCommand) (entries []wallet.Entry, holds []rows.Hold) {
	rules, _ := wallet.RulesOf(wallet.CurrentFormat)
	account := wallet.Account{Asset: wallet.Asset{UserID: "u0001", Currency: "USD", Scale: 2}}
	for _, c := range commands {
		after, result, err := rules.Apply(account, c.Received, c.at)
		require.NoError(t, err)
		e := rules.NewEntry(account.Asset, c.Command, result, c.at)
		after.Asset = after.Asset.After(e)
		if h, ok := after.Changed(); ok {
			after.Keep(h)
		}
		account, entries = after, append(entries, e)
	}
	for _, h := range account.Holds {
		holds = append(holds, rows.Hold{AssetRef: victim, Hold: h})
	}
	return entries, holds
}

// TestVerifyFindsExpiriesThatAreMissingOrOutOfOrder forges journals in which each entry
// follows from the one before, and that the fold would never have written so.
func TestVerifyFindsExpiriesThatAreMissingOrOutOfOrder(t *testing.T) {
	amount := wallet.MustAmount
	create := at(0, wallet.Command{ID: "open", Type: wallet.TypeCreate})
	autoCreate := at(0, wallet.AutoCreate())
	funds := at(1, wallet.Command{ID: "funds", Type: wallet.TypeAdd, Amount: amount("100")})
	placed := func(id, of, in string) forgedCommand {
		return at(2, wallet.Command{ID: id, Type: wallet.TypeHold, Amount: amount(of), ExpiresIn: in})
	}
	short, second, same := placed("short", "80", "1s"), placed("second", "5", "2s"), placed("same", "5", "1s")
	refused := at(5, wallet.Command{ID: "s", Type: wallet.TypeSubtract, Amount: amount("50")})
	expired := func(id string) forgedCommand { return at(5, wallet.ExpireCommand(id)) }
	changed := func(id string, change func(*wallet.Command)) forgedCommand {
		c := expired(id)
		change(&c.Command)
		return c
	}
	malformed := func(id, why string) forgedCommand {
		c := at(5, wallet.Command{ID: id})
		c.Malformed = why
		return c
	}
	named := func(id string) forgedCommand {
		return at(5, wallet.Command{ID: id, Type: wallet.TypeAdd, Amount: amount("1")})
	}
	for name, row := range map[string]struct {
		journal  []forgedCommand
		position int64
		problem  string
	}{
		"as the fold writes it":    {[]forgedCommand{autoCreate, funds, short, same, second, expired("same"), expired("short"), expired("second"), refused}, 0, ""},
		"one that is still open":   {[]forgedCommand{create, funds, placed("long", "80", "4s"), refused}, 0, ""},
		"an expiry is left out":    {[]forgedCommand{create, funds, short, refused}, 4, `hold "short" had expired at 2026-01-31T12:00:03Z, and has no entry of that before this one`},
		"before a refused command": {[]forgedCommand{create, funds, short, malformed("_malformed-0000000000000000000000000000000000000000000000000000000000000000", "no")}, 4, `hold "short" had expired`},
		"at its very moment":       {[]forgedCommand{create, funds, placed("h", "1", "3s"), refused}, 4, `hold "h" had expired`},
		"after it was extended": {[]forgedCommand{create, funds, short, at(2, wallet.Command{ID: "x", Type: wallet.TypeHold, HoldID: "short", ExpiresIn: "2s"}), refused},
			5, `hold "short" had expired at 2026-01-31T12:00:04Z`},
		"it comes behind a command of its time": {[]forgedCommand{create, funds, short, refused, expired("short")}, 4, `hold "short" had expired`},
		"it comes late":                         {[]forgedCommand{create, funds, short, refused, at(6, wallet.ExpireCommand("short"))}, 4, `hold "short" had expired`},
		"the later one comes first":             {[]forgedCommand{create, funds, short, second, expired("second"), expired("short")}, 5, `hold "short" had expired`},
		"the larger id comes first":             {[]forgedCommand{create, funds, short, same, expired("short"), expired("same")}, 5, `hold "same" had expired`},
		"one that is not due":                   {[]forgedCommand{create, funds, placed("long", "80", "1h"), expired("long")}, 4, "an expiry is the service's own"},
		"under another id":                      {[]forgedCommand{create, funds, short, changed("short", func(c *wallet.Command) { c.ID = "e" })}, 4, `an expiry is the service's own`},
		"under the id of another":               {[]forgedCommand{create, funds, short, changed("short", func(c *wallet.Command) { c.ID = "_expire/other" })}, 4, `an expiry is the service's own`},
		"with words of its own":                 {[]forgedCommand{create, funds, short, changed("short", func(c *wallet.Command) { c.Description = "it was me" })}, 4, `an expiry is the service's own`},
		"its id is of a subtract":               {[]forgedCommand{create, funds, at(5, wallet.Command{ID: "_expire/h", Type: wallet.TypeSubtract, Amount: amount("1")})}, 3, `ids that begin with "_" are the service's own`},
		"of a run, and of none of its lines":    {[]forgedCommand{create, funds, named("_run/march")}, 3, `ids that begin with "_" are the service's own`},
		"another id of the service":             {[]forgedCommand{create, funds, named("_bonus")}, 3, `ids that begin with "_" are the service's own`},
		"created again by the service":          {[]forgedCommand{create, autoCreate}, 2, `ids that begin with "_" are the service's own`},
		"created by it with words":              {[]forgedCommand{at(0, wallet.Command{ID: "_auto-create", Type: wallet.TypeCreate, Description: "d"})}, 1, `ids that begin with "_" are the service's own`},
		"malformed, and not so":                 {[]forgedCommand{create, named("_malformed-0000000000000000000000000000000000000000000000000000000000000000")}, 2, `ids that begin with "_" are the service's own`},
		"malformed under a caller's id":         {[]forgedCommand{create, malformed("m", "no")}, 2, `it is malformed, and its id is not one that the service gives`},
		"malformed under an expiry's id":        {[]forgedCommand{create, malformed("_expire/h", "no")}, 2, `it is malformed, and its id is not one that the service gives`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			db := testenv.Pool(t, testenv.DatabaseURL(t))
			fill(t, db, 2)
			openToTampering(t, db)
			entries, holds := chainOf(t, row.journal...)
			forge(t, db, entries)
			forgeHolds(t, db, holds)
			findings := verify(t, db, trail.VerifyOptions{}).Findings
			if row.problem == "" {
				require.Empty(t, findings)
				return
			}
			require.Len(t, findings, 1)
			require.Contains(t, findings[0].Problem, row.problem)
			require.Equal(t, row.position, findings[0].Position)
			require.Equal(t, "wallet_commands", findings[0].Table)
		})
	}
}

// forgeHolds puts holds in the place of u0001's.
func forgeHolds(t *testing.T, db *pgxpool.Pool, holds []rows.Hold) {
	if len(holds) > 0 {
		_, err := db.Exec(t.Context(), rows.InsertHolds, rows.HoldParameters(holds)...)
		require.NoError(t, err)
	}
	_, err := db.Exec(t.Context(), `UPDATE wallet_assets
		SET open_holds = (SELECT count(*) FROM wallet_holds WHERE state = 'open'), next_expiry = (SELECT min(expires_at) FROM wallet_holds WHERE state = 'open')
		WHERE user_id = 'u0001'`)
	require.NoError(t, err)
}
