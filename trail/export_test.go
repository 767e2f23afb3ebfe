package trail

import (
	"context"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/valueledger/wallet/internal/service/rows"
)

// Lookups are the statements that read at most a page of rows, however large the tables are,
// each with parameters for the rows of plans_test.go.
var Lookups = map[string]string{
	sqlAssetAt:          `'big', 'USD', '2026-01-01T08:00:00Z'`,
	sqlAssetAtVersion:   `'big', 'USD', 70000`,
	sqlNewestVersion:    `'big', 'USD'`,
	rows.EntriesByID:    `'{big,big,big,big}', '{USD,USD,USD,USD}', '{c1,c70000,c110000,none}'`,
	rows.LastReversals:  `'{big,big,big}', '{USD,USD,USD}', '{c2,c70000,none}'`,
	sqlJournals:         `'big'`,
	sqlStatementLines:   `'big', 'USD', 500, 70000, 1000`,
	sqlWalletsAfter:     `'u000007', 'USD', 1000`,
	sqlEventsOfWallet:   `'big', 'USD', 500, 1000`,
	sqlEventsOfUser:     `'big', 'USD', 500, 1000`,
	sqlEventsOfAll:      `'big', 'USD', 500, 1000`,
	sqlCommandsOfWallet: `'u000007', 'USD', 0, 1000, '{applied,unapplied}'`,
	sqlCommandsOfUser:   `'u000007', '', 0, 1000, '{applied,unapplied}'`,
	sqlReversals:        `'big', 'USD', 'c69998', 0, 1000`,
	sqlCommandsOfAll:    `'', '', 0, 1000, '{applied,unapplied}'`,
}

// InSnapshot calls do with n transactions that all see the same data.
func (r Reader) InSnapshot(ctx context.Context, n int, do func([]pgx.Tx) error) error {
	return r.withConnections(ctx, n, func(connections []*pgxpool.Conn) error { return inSnapshot(ctx, connections, do) })
}

// RangeQueries read the rows of a range of wallets, by the table that they read.
var RangeQueries = map[string]string{
	"wallet_assets": sqlVerifyAssets, "wallet_commands": sqlVerifyEntries, "wallet_asset_events": sqlVerifyEvents, "wallet_feed": sqlVerifyFeed,
}
