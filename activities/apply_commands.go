package activities

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/valueledger/wallet"
	"github.com/valueledger/wallet/internal/service/failure"
	"github.com/valueledger/wallet/trail"
)

const (
	// One step into the primary key for each id. The plain form, command_id = ANY ($3),
	// can be a scan of the wallet's whole journal over the index of positions. Here the
	// order makes every index but the primary key need a sort: see sqlOneIndex.
	sqlPrior = `SELECT ` + trail.EntryColumns + `
		FROM unnest($3::text[]) AS wanted
		CROSS JOIN LATERAL (
			SELECT *
			FROM wallet_commands
			WHERE user_id = $1 AND currency = $2 AND command_id >= wanted COLLATE "C"
			ORDER BY command_id
			LIMIT 1) AS next
		WHERE command_id = wanted`

	sqlInsertEntries = `INSERT INTO wallet_commands (user_id, currency, position, command_id, type, amount, request_hash,
			status, reason, message, total_before, total_after, hold_before, hold_after,
			version, description, actor, metadata, recorded_at, prev_hash, hash)
		SELECT $1, $2, e.position, e.command_id, nullif(e.type, ''), e.amount::numeric, e.request_hash,
			e.status, nullif(e.reason, ''), nullif(e.message, ''),
			e.total_before::numeric, e.total_after::numeric, e.hold_before::numeric, e.hold_after::numeric,
			nullif(e.version, 0), nullif(e.description, ''), nullif(e.actor, ''), e.metadata::jsonb, $3, e.prev_hash, e.hash
		FROM unnest(
			$4::bigint[], $5::text[], $6::text[], $7::text[], $8::bytea[],
			$9::text[], $10::text[], $11::text[],
			$12::text[], $13::text[], $14::text[], $15::text[],
			$16::bigint[], $17::text[], $18::text[], $19::text[], $20::bytea[], $21::bytea[])
		AS e (position, command_id, type, amount, request_hash,
			status, reason, message,
			total_before, total_after, hold_before, hold_after,
			version, description, actor, metadata, prev_hash, hash)`

	sqlUpdateAsset = `UPDATE wallet_assets
		SET total_amount = $3::text::numeric, hold_amount = $4::text::numeric,
			version = $5, position = $6, hash = $7, updated_at = $8
		WHERE user_id = $1 AND currency = $2`
)

// andRecordPatience is how long ApplyCommands, when it is done, waits for RecordEvents:
// less than what remains of its own time, or its answer would be lost with it.
const andRecordPatience = 500 * time.Millisecond

// ApplyCommands applies at most 500 commands, in order, in one transaction: lock
// the row, look up which ids are taken, fold, append to the journal, write the
// balance. A refused command is a result like any other. It fails for good with
// AssetMissing if the asset does not exist and the first new command is not a
// create, and with InvalidCommand if the currency is not registered; any other
// failure is worth a retry. RecordEvents may follow: see AndRecord.
func (a *Activities) ApplyCommands(ctx context.Context, in wallet.ApplyCommandsInput) (wallet.ApplyCommandsOutput, error) {
	var (
		out   wallet.ApplyCommandsOutput
		asset wallet.Asset
		found bool
		known taken
		first = &pgx.Batch{}
	)
	queueLock(first, in.AssetRef, &asset, &found)
	queueTaken(first, in.AssetRef, in.Commands, &known)
	err := a.inTransaction(ctx, first, func(tx querier, last *pgx.Batch) (err error) {
		switch {
		case found:
			out, err = foldInto(last, asset, known, in.Commands)
		case creates(in.Commands):
			if asset, err = insertAsset(ctx, tx, in.AssetRef); err == nil {
				out, err = foldIntoNew(ctx, tx, last, asset, in.Commands)
			}
		default:
			err = wallet.ErrAssetMissing
		}
		return err
	})
	if err != nil {
		return wallet.ApplyCommandsOutput{}, failure.Encode(fmt.Errorf("apply commands to the %s wallet of %q: %w", in.Currency, in.UserID, err))
	}
	if in.AndRecord && out.NeedRecording() {
		ctx, cancel := context.WithTimeout(ctx, andRecordPatience)
		defer cancel()
		_, err := a.RecordEvents(ctx, in.AssetRef)
		out.Recorded = err == nil // if not, the workflow sees to it
	}
	return out, nil
}

// creates reports whether commands can bring a missing asset into being.
func creates(commands []wallet.Received) bool {
	return len(commands) > 0 && commands[0].Malformed == "" && commands[0].Command.Type == wallet.TypeCreate
}

// queueWrite appends entries and moves the balance to after.
func queueWrite(b *pgx.Batch, after wallet.Asset, entries []wallet.Entry) error {
	columns, err := columnsOf(entries)
	if err != nil {
		return err
	}
	b.Queue(sqlInsertEntries, append([]any{after.UserID, after.Currency, after.UpdatedAt}, columns...)...)
	b.Queue(sqlUpdateAsset, assetColumns(after)...)
	return nil
}

// assetColumns are the parameters of sqlUpdateAsset.
func assetColumns(a wallet.Asset) []any {
	return []any{a.UserID, a.Currency, a.Total.String(), a.Hold.String(), a.Version, a.Position, a.Hash[:], a.UpdatedAt}
}

// columnsOf turns entries into the arrays that sqlInsertEntries unnests, in its
// order. All entries of a transaction have one recorded_at, which is not here.
func columnsOf(entries []wallet.Entry) ([]any, error) {
	n := len(entries)
	var (
		position, version              = make([]int64, n), make([]int64, n)
		commandID, commandType, amount = make([]string, n), make([]string, n), make([]*string, n)
		status, reason, message        = make([]string, n), make([]string, n), make([]string, n)
		totalBefore, totalAfter        = make([]string, n), make([]string, n)
		holdBefore, holdAfter          = make([]string, n), make([]string, n)
		description, actor, metadata   = make([]string, n), make([]string, n), make([]*string, n)
		requestHash, prevHash, hash    = make([][]byte, n), make([][]byte, n), make([][]byte, n)
	)
	for i, e := range entries {
		position[i], version[i] = e.Position, e.Version
		commandID[i], commandType[i] = e.CommandID, string(e.Type)
		if !e.Amount.IsZero() {
			text := e.Amount.String()
			amount[i] = &text
		}
		status[i], reason[i], message[i] = string(e.Status), string(e.Reason), e.Message
		totalBefore[i], totalAfter[i] = e.TotalBefore.String(), e.TotalAfter.String()
		holdBefore[i], holdAfter[i] = e.HoldBefore.String(), e.HoldAfter.String()
		description[i], actor[i] = e.Description, e.Actor
		if len(e.Metadata) > 0 {
			encoded, err := json.Marshal(e.Metadata)
			if err != nil {
				return nil, err
			}
			text := string(encoded)
			metadata[i] = &text
		}
		requestHash[i], prevHash[i], hash[i] = e.RequestHash[:], e.PrevHash[:], e.Hash[:]
	}
	return []any{position, commandID, commandType, amount, requestHash,
		status, reason, message, totalBefore, totalAfter, holdBefore, holdAfter,
		version, description, actor, metadata, prevHash, hash}, nil
}
