// Commands over HTTP that count once, whatever happens to the connection. The types in api.d.ts are generated
// from docs/openapi.json by "npm run build".
import { setTimeout as sleep } from 'node:timers/promises';
import createClient from 'openapi-fetch';
import type { components, paths } from './api.js';

export type Command = Omit<components['schemas']['Command'], 'id'>;
export type Result = components['schemas']['Result'];
export type Problem = components['schemas']['Problem'];

/** A command that was not applied, or a request that was wrong: sending it again does not help. */
export class ProblemError extends Error {
  constructor(readonly problem: Problem) {
    super(problem.detail);
  }
}

export interface Answer {
  result: Result;
  replayed: boolean; // the id was answered before; nothing changed this time
}

const patienceMs = 60_000; // for an answer, all attempts together
const attemptMs = 20_000; // more than the server takes to say that there is no answer yet

export function connect(url: string, token: string) {
  const api = createClient<paths>({ baseUrl: url, headers: { Authorization: `Bearer ${token}` } });

  /**
   * Sends a command until it is answered. The id goes into Idempotency-Key: choose it before the first attempt, and
   * keep it, with the rest of the command, over restarts of your program.
   */
  async function apply(user: string, currency: string, id: string, command: Command): Promise<Answer> {
    const giveUp = Date.now() + patienceMs;
    for (let pauseMs = 100; ; pauseMs = Math.min(2 * pauseMs, 5_000)) {
      let why: string;
      try {
        const { data, error, response } = await api.POST('/v1/wallets/{user}/{currency}/commands', {
          params: { path: { user, currency }, header: { 'Idempotency-Key': id } },
          body: command,
          signal: AbortSignal.timeout(attemptMs),
        });
        if (response.status === 200) {
          return { result: data as Result, replayed: response.headers.get('Idempotency-Replayed') === 'true' };
        }
        // 202, 503: it may still be applied. 500: nobody knows. 408, 429: it was not read.
        if (error && ![408, 429, 500, 503].includes(response.status)) throw new ProblemError(error);
        why = `status ${response.status}`;
        pauseMs = Math.max(pauseMs, 1000 * Number(response.headers.get('Retry-After') ?? 0));
      } catch (err) {
        if (err instanceof ProblemError) throw err;
        why = String(err); // no connection, or one that was cut: it may have been applied
      }
      if (Date.now() > giveUp) throw new Error(`no answer to ${id}, which may have been applied: ${why}`);
      console.error(`no answer to ${id}, sending the same again: ${why}`);
      await sleep(pauseMs);
    }
  }

  async function balance(user: string, currency: string) {
    const { data, error } = await api.GET('/v1/wallets/{user}/{currency}/balance', { params: { path: { user, currency } } });
    if (error) throw new ProblemError(error);
    return data;
  }

  return { apply, balance };
}
