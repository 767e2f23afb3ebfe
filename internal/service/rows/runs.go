package rows

import (
	"github.com/jackc/pgx/v5"

	"github.com/valueledger/wallet"
)

// SelectRuns reads the status of runs; a WHERE about r.run_id or an ORDER BY may follow. A line that
// was added after its run had begun counts too.
const SelectRuns = `SELECT r.run_id, r.state, greatest(r.lines, r.skipped + p.applied + p.refused + p.invalid, 0),
		p.applied, p.refused, r.skipped + p.invalid, p.replayed,
		(SELECT count(*) FROM wallet_run_waiting AS w WHERE w.run_id = r.run_id),
		r.file, coalesce(r.sha256, ''), r.created_at, greatest(r.updated_at, p.updated_at)
	FROM wallet_runs AS r
	CROSS JOIN LATERAL (
		SELECT coalesce(sum(applied), 0)::bigint AS applied, coalesce(sum(refused), 0)::bigint AS refused,
			coalesce(sum(invalid), 0)::bigint AS invalid, coalesce(sum(replayed), 0)::bigint AS replayed, max(updated_at) AS updated_at
		FROM wallet_run_parts AS p
		WHERE p.run_id = r.run_id) AS p
	`

// ScanRun reads a row of SelectRuns.
func ScanRun(row pgx.CollectableRow) (s wallet.RunStatus, err error) {
	var sum []byte
	err = row.Scan(&s.RunID, &s.State, &s.Lines, &s.Applied, &s.Refused, &s.Invalid, &s.Replayed, &s.Waiting, &s.File, &sum, &s.CreatedAt, &s.UpdatedAt)
	copy(s.SHA256[:], sum)
	s.CreatedAt, s.UpdatedAt = s.CreatedAt.UTC(), s.UpdatedAt.UTC()
	return s, err
}
