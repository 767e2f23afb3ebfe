// Connects according to TEMPORAL_ADDRESS, TEMPORAL_NAMESPACE, TEMPORAL_API_KEY, ..., sends
// commands, and runs workflows that do the same in its own worker.
import { Client, Connection } from '@temporalio/client';
import { loadClientConnectConfig } from '@temporalio/envconfig';
import { NativeConnection, Worker } from '@temporalio/worker';
import * as activities from './activities';
import { sendCommands } from './client';
import { charge, deliver, refund } from './workflows';

const user = 'typescript';
const taskQueue = 'example-typescript';

async function main() {
  const { connectionOptions, namespace } = loadClientConnectConfig();
  const connection = await Connection.connect(connectionOptions);
  const client = new Client({ connection, namespace });
  await sendCommands(client, user);

  const workerConnection = await NativeConnection.connect(connectionOptions);
  const worker = await Worker.create({
    connection: workerConnection,
    namespace,
    taskQueue,
    workflowsPath: require.resolve('./workflows'),
    activities,
  });
  await worker.runUntil(async () => {
    const run = (workflow: typeof charge, orderId: string, amount: string) =>
      client.workflow.execute(workflow, { workflowId: `${user}-${orderId}`, taskQueue, args: [user, orderId, amount] });
    console.log(`child: ${await run(charge, 'order-7', '6.00')}`);
    console.log(`child: ${await run(charge, 'order-8', '100')}`);
    console.log(`reply: ${await run(refund, 'order-9', '0.50')}`);
    console.log(`hold: ${await run(deliver, 'order-10', '8.00')}`);
  });
  await workerConnection.close();
  await connection.close();
}

main().catch((err) => {
  console.error(err);
  process.exitCode = 1;
});
