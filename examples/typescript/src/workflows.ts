// Workflows that move value. They run in your own worker, separate from the wallet's.
import { condition, defineSignal, executeChild, proxyActivities, setHandler, sleep, workflowInfo } from '@temporalio/workflow';
import type * as activities from './activities';
import { applyCommand, refusal, type Command, type Result } from './wallet';

/** Charges a user by a child workflow, which brings the Result or fails with the refusal. */
export async function charge(userId: string, orderId: string, amount: string): Promise<string> {
  try {
    const result: Result = await executeChild(
      'ApplyCommand',
      applyCommand(userId, 'USD', { id: orderId, type: 'subtract', amount }),
    );
    return `paid, ${result.total_after} left`;
  } catch (err) {
    const refused = refusal(err);
    if (!refused) throw err; // the worker's retries did not help
    return `not paid: ${refused.reason}`;
  }
}

/**
 * Reserves the price of an order at checkout and charges what ships. Of its two parcels the
 * second is never ready, so its part of the hold expires.
 */
export async function deliver(userId: string, orderId: string, amount: string): Promise<string> {
  const apply = (command: Command): Promise<Result> => executeChild('ApplyCommand', applyCommand(userId, 'USD', command));
  const hold = await apply({ id: orderId, type: 'hold', amount, expires_in: '8s' }); // days in a real shop
  const parcel = await apply({
    id: `${orderId}/parcel-1`,
    type: 'capture',
    hold_id: orderId,
    amount: '5.00',
    partial: true,
  });
  await sleep(Math.max(1, Date.parse(hold.hold_expires_at!) + 1000 - Date.now()));
  try {
    await apply({ id: `${orderId}/parcel-2`, type: 'capture', hold_id: orderId });
    return 'all charged';
  } catch (err) {
    const refused = refusal(err);
    if (refused?.reason !== 'hold_expired') throw err;
    return `${parcel.amount} charged, ${parcel.hold_left} expired`;
  }
}

const walletReply = defineSignal<[Result]>('wallet_reply');

const { signalCommand } = proxyActivities<typeof activities>({ startToCloseTimeout: '10 seconds' });

/**
 * Signals a command and waits for the reply, which is a signal too. The reply may come
 * more than once; its command_id tells which one it is.
 */
export async function refund(userId: string, orderId: string, amount: string): Promise<string> {
  const replies = new Map<string, Result>();
  setHandler(walletReply, (result) => {
    replies.set(result.command_id, result);
  });
  await signalCommand(userId, 'USD', {
    id: orderId,
    type: 'add',
    amount,
    reply_to: { workflow_id: workflowInfo().workflowId, signal: 'wallet_reply' },
  });
  await condition(() => replies.has(orderId));
  const result = replies.get(orderId)!;
  return `${result.status}, ${result.total_after} now`;
}
