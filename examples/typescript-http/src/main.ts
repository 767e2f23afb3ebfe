import { connect, ProblemError } from './wallet.js';

const { WALLET_API_URL: url, WALLET_API_TOKEN: token } = process.env;
if (!url || !token) throw new Error('WALLET_API_URL and WALLET_API_TOKEN are missing: run ". .wallet/env" first');
const { apply, balance } = connect(url, token);
const user = 'typescript-http';

const added = await apply(user, 'USD', 'top-up-1', { type: 'add', amount: '50.00' });
console.log(`top-up: ${added.result.command_id} ${added.result.status}, ${added.result.total_before} -> ${added.result.total_after}`);

const { result } = await apply(user, 'USD', 'order-1', { type: 'subtract', amount: '12.50', description: 'a book' });
console.log(`charge: ${result.command_id} ${result.status}, ${result.total_before} -> ${result.total_after}`);

const again = await apply(user, 'USD', 'order-1', { type: 'subtract', amount: '12.50', description: 'a book' });
console.log(`again: ${again.result.total_after}, replayed: ${again.replayed}, the same: ${again.result.hash === result.hash}`);

// A refusal is status 422. It is on record, and final for its id.
try {
  await apply(user, 'USD', 'order-2', { type: 'subtract', amount: '100.00' });
} catch (err) {
  if (!(err instanceof ProblemError) || err.problem.kind !== 'refused') throw err;
  console.log(`refused: ${err.problem.result?.command_id}, ${err.problem.reason}: ${err.problem.detail}`);
}

// Other content under a used id is status 409: a bug in the caller.
try {
  await apply(user, 'USD', 'order-1', { type: 'subtract', amount: '13.00' });
} catch (err) {
  if (!(err instanceof ProblemError) || err.problem.kind !== 'conflict') throw err;
  console.log(`conflict: ${err.problem.reason}`);
}

console.log(`balance: ${(await balance(user, 'USD')).available}`);
