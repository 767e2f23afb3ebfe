import { getClient } from '@temporalio/activity';
import { commandSignal, walletAsset, type Command } from './wallet';

/** Workflow code cannot signal-with-start; its activity can. A second try does no harm. */
export async function signalCommand(userId: string, currency: string, command: Command): Promise<void> {
  await getClient().workflow.signalWithStart('WalletAsset', {
    ...walletAsset(userId, currency),
    signal: commandSignal,
    signalArgs: [command],
  });
}
