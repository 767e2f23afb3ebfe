// The wallet's contract (docs/contract.md) in TypeScript. Copy this file: it contains all that
// a program needs to know about the wallet.
import { ApplicationFailure } from '@temporalio/common';
import { defineQuery, defineSignal, defineUpdate } from '@temporalio/workflow';

export interface Command {
  id: string; // your own, unique in the wallet; the same id counts once
  type: 'create' | 'add' | 'subtract' | 'hold' | 'capture' | 'release' | 'reverse' | 'freeze' | 'unfreeze' | 'close' | 'set_credit_limit' | 'set_threshold' | 'remove_threshold';
  amount?: string; // "12.50": a string, because a number could be rounded
  hold_id?: string; // the hold to capture, release, raise or extend
  expires_in?: string; // for a hold, a freeze, or an add that makes a grant: "15m", "7d"
  expires_at?: string; // or a time: "2026-01-31T12:00:00Z"
  partial?: boolean; // for a capture: what is left stays reserved
  original_id?: string; // the add, subtract or capture to reverse
  priority?: number; // for a grant: 1 is used up first, 100 last
  return_expired?: boolean; // for a reverse: what came from expired grants comes back as what never expires
  what?: 'debits' | 'credits' | 'all'; // of a freeze
  threshold?: string; // the name of the one to set or remove
  not_after?: string; // the last moment at which it may be recorded: "2026-01-31T12:00:00Z"
  expected_version?: number; // the version that the wallet must have
  description?: string;
  actor?: string;
  metadata?: Record<string, string>;
  reply_to?: { workflow_id: string; signal: string };
}

export interface Result {
  command_id: string;
  type: string;
  status: 'applied' | 'unapplied';
  reason?: string; // insufficient_funds, already_exists, hold_expired, ...; more may be added
  message?: string; // the reason in words
  amount?: string;
  total_before: string; // below 0 within a credit limit
  total_after: string;
  hold_before: string;
  hold_after: string;
  hold_id?: string; // the hold that was placed or changed, and its state
  hold_state?: 'open' | 'captured' | 'released' | 'expired';
  hold_left?: string; // while it is open
  hold_expires_at?: string;
  original_id?: string; // the command that was reversed
  original_left?: string; // what can still be reversed of it
  frozen?: 'debits' | 'credits' | 'all'; // the wallet after the command
  debits_frozen_until?: string; // without one, until it is unfrozen
  credits_frozen_until?: string;
  closed?: boolean;
  credit_limit?: string; // by how much the total may be below 0
  threshold?: string; // that was set or removed, and all that the wallet has then
  thresholds?: { name: string; amount: string }[];
  crossed?: { name: string; amount: string; direction: 'below' | 'above' }[]; // by the change of the available amount
  version?: number; // of the balance, if applied
  position?: number; // with hash: the receipt, also for a refusal, but not for id_conflict
  hash?: string;
  recorded_at: string;
  replayed: boolean; // the id was answered before; nothing changed this time
}

export interface State {
  user_id: string;
  currency: string;
  total: string;
  hold: string;
  available: string;
  version: number;
  position: number;
  hash: string;
  frozen?: 'debits' | 'credits' | 'all';
  debits_frozen_until?: string;
  credits_frozen_until?: string;
  closed?: boolean;
  credit_limit?: string;
  thresholds?: { name: string; amount: string }[];
  open_holds?: number;
  next_expiry?: string;
  queue: number;
  counts: { applied: number; replayed: number; unapplied?: Record<string, number> };
}

export const commandSignal = defineSignal<[Command]>('command');
export const applyUpdate = defineUpdate<Result, [Command]>('apply');
export const applyBatchUpdate = defineUpdate<Result[], [Command[]]>('apply_batch');
export const stateQuery = defineQuery<State>('state');

/** What starts a wallet's workflow, or finds it running. No other id will do. */
export function walletAsset(userId: string, currency: string) {
  return {
    workflowId: `wallet-asset/${currency}/${userId}`,
    taskQueue: 'wallet',
    args: [{ user_id: userId, currency }],
  };
}

/**
 * What runs one command as a workflow, a child workflow among them. Any id will do that
 * no other command has: hence the escapes, for a user id may have a slash.
 */
export function applyCommand(userId: string, currency: string, command: Command) {
  return {
    workflowId: `command/${currency}/${userId.replace(/%/g, '%25').replace(/\//g, '%2F')}/${command.id}`,
    taskQueue: 'wallet',
    args: [{ user_id: userId, currency, command }],
  };
}

/** The Result of a refused command, or undefined where something else went wrong. */
export function refusal(err: unknown): Result | undefined {
  for (let e = err; e instanceof Error; e = e.cause) {
    if (e instanceof ApplicationFailure && e.type === 'UnappliedCommand') return e.details![0] as Result;
  }
  return undefined;
}
