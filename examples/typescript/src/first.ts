import { Client, Connection, WithStartWorkflowOperation, WorkflowUpdateFailedError } from '@temporalio/client';
import { ApplicationFailure } from '@temporalio/common';

async function main() {
  const connection = await Connection.connect({ address: process.env.TEMPORAL_ADDRESS });
  const client = new Client({ connection });
  try {
    const result = await client.workflow.executeUpdateWithStart('apply', {
      args: [{ id: 'order-7', type: 'subtract', amount: '12.50' }],
      startWorkflowOperation: new WithStartWorkflowOperation('WalletAsset', {
        workflowId: 'wallet-asset/USD/u1', // always wallet-asset/<currency>/<user id>
        taskQueue: 'wallet',
        args: [{ user_id: 'u1', currency: 'USD' }],
        workflowIdConflictPolicy: 'USE_EXISTING',
      }),
    });
    console.log(result);
  } catch (err) {
    const failure = err instanceof WorkflowUpdateFailedError ? err.cause : undefined;
    if (!(failure instanceof ApplicationFailure) || failure.type !== 'UnappliedCommand') throw err;
    const [refused] = failure.details as { reason: string; message: string }[];
    console.log(`refused, ${refused.reason}: ${refused.message}`);
  } finally {
    await connection.close();
  }
}

main();
