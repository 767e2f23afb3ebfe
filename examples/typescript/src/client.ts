// A program that sends commands: by signal, by update, in a batch; and asks for the balance.
import { Client, WithStartWorkflowOperation } from '@temporalio/client';
import { applyBatchUpdate, applyUpdate, commandSignal, refusal, stateQuery, walletAsset } from './wallet';

export async function sendCommands(client: Client, userId: string) {
  const wallet = walletAsset(userId, 'USD');

  // A signal is durable and has no answer. "With start", because a wallet that was never used
  // has no workflow yet.
  await client.workflow.signalWithStart('WalletAsset', {
    ...wallet,
    signal: commandSignal,
    signalArgs: [{ id: 'order-1', type: 'add', amount: '12.50' }],
  });

  // An update answers with the Result. Commands run in the order in which they arrived.
  const order2 = { id: 'order-2', type: 'subtract' as const, amount: '1.50', description: 'a coffee' };
  const startWallet = () =>
    new WithStartWorkflowOperation('WalletAsset', { ...wallet, workflowIdConflictPolicy: 'USE_EXISTING' });
  const result = await client.workflow.executeUpdateWithStart(applyUpdate, {
    args: [order2],
    startWorkflowOperation: startWallet(),
  });
  console.log(`update: ${result.command_id} ${result.status}, ${result.total_before} -> ${result.total_after}`);

  // After an error or a crash, send the same command again: it counts once.
  const again = await client.workflow.executeUpdateWithStart(applyUpdate, {
    args: [order2],
    startWorkflowOperation: startWallet(),
  });
  console.log(`again: ${again.command_id} ${again.status}, replayed: ${again.replayed}`);

  // A refusal is a failure of type UnappliedCommand. It is final for its id.
  try {
    await client.workflow.executeUpdateWithStart(applyUpdate, {
      args: [{ id: 'order-3', type: 'subtract', amount: '100.00' }],
      startWorkflowOperation: startWallet(),
    });
  } catch (err) {
    const refused = refusal(err);
    if (!refused) throw err;
    console.log(`refused: ${refused.command_id}, ${refused.reason}: ${refused.message}`);
  }

  // In a batch a refusal is an item, and the next commands still run. The wallet is running
  // now, so a plain update is enough.
  const handle = client.workflow.getHandle(wallet.workflowId);
  const results = await handle.executeUpdate(applyBatchUpdate, {
    args: [
      [
        { id: 'order-4', type: 'add', amount: '5' },
        { id: 'order-5', type: 'subtract', amount: '100' },
      ],
    ],
  });
  console.log(`batch: ${results.map((r) => `${r.command_id} ${r.reason ?? r.status}`).join(', ')}`);

  // Anything that is not a valid command fails with InvalidCommand, and retrying does not help.
  try {
    await handle.executeUpdate('apply', { args: [{ id: 'order-6', type: 'add', amount: 5 }] });
  } catch (err) {
    console.log(`invalid: ${(err as Error & { cause: Error }).cause.message}`);
  }

  const state = await handle.query(stateQuery);
  console.log(`balance: ${state.available} ${state.currency} available, version ${state.version}`);
}
