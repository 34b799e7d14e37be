/** A box that is cut over while a client asks it every 10 ms. */
import {
  AskingClient,
  BOX_ENVIRONMENT,
  boxctl,
  makeArchive,
  makeBridge,
  type Seen,
  writeBoxConf,
} from '../helpers/boxes.js';
import { eventually, type Sandbox } from '../helpers/namespaces.js';
import { timeToEnd } from './stopwatch.js';
import { projectCommand } from './subhosts.js';

const BOX = 'web';
const VERSIONS = ['web-1', 'web-2'] as const;
/** Answered by the old version before, and by the new one after it, for so many questions. */
const ANSWERS_MS = 200;

/** Two images of a service that stops at once, and a conf with a cable. */
export async function prepareBoxes(sandbox: Sandbox): Promise<void> {
  await makeBridge(sandbox);
  await writeBoxConf(sandbox, BOX);
  for (const version of VERSIONS) await succeed(sandbox, 'stage-image', await makeArchive(sandbox, version));
}

/** @returns how long nothing was answered, how many questions were not, and how long the command took */
export async function cutoverOnce(
  sandbox: Sandbox,
): Promise<{ readonly seen: Seen; readonly endMs: number }> {
  await succeed(sandbox, 'cutover-instance', BOX, VERSIONS[0]);
  await succeed(sandbox, 'start', BOX);
  const client = new AskingClient(sandbox);
  try {
    await eventually('the first version answers', () => client.last === VERSIONS[0]);
    await new Promise((done) => setTimeout(done, ANSWERS_MS));
    const argv = projectCommand('boxctl', 'cutover-instance', BOX, VERSIONS[1]);
    const endMs = await timeToEnd(sandbox, argv, { env: BOX_ENVIRONMENT });
    await eventually('the second version answers', () => client.last === VERSIONS[1]);
    await new Promise((done) => setTimeout(done, ANSWERS_MS));
    return { seen: await client.end(), endMs };
  } finally {
    await client.end();
    await succeed(sandbox, 'poweroff', BOX);
  }
}

async function succeed(sandbox: Sandbox, ...args: readonly string[]): Promise<void> {
  const { code, stderr } = await boxctl(sandbox, ...args);
  if (code !== 0) throw new Error(stderr.trim());
}
