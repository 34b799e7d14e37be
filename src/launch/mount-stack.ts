/** Mounting a stack for the host: wafers, overlay-mstack, points. The init program does it in one go. */
import { spawn } from 'node:child_process';
import { realpathSync } from 'node:fs';
import { Failure } from '../errors.js';
import { childOpStrings } from '../plan/child-ops.js';
import { mountOps } from '../stack/mount-ops.js';
import type { Stack } from '../stack/stack.js';
import { initProgram } from '../sys/init-program.js';
import { mountsOf } from '../sys/mountinfo.js';

/**
 * Mounts a stack on a directory. It appears there whole, or not at all.
 * @throws UserError for what cannot be mounted, Failure for the step that failed; nothing is mounted then
 */
export async function mountStack(stack: Stack, where: string): Promise<void> {
  const live = realpathSync(where);
  const ops = mountOps(stack, live).flatMap(childOpStrings);
  await runInit(['mount', live], ops.map((text) => `${text}\0`).join(''));
}

/**
 * Unmounts everything at and below a mount point, stacked mounts too.
 * @throws Failure when it is no mount point, or when something of it is in use
 */
export async function unmountStack(where: string): Promise<void> {
  const live = realpathSync(where);
  const below = live === '/' ? '/' : `${live}/`;
  const paths = mountsOf('self').flatMap(({ mountPoint }) =>
    mountPoint === live || mountPoint.startsWith(below) ? [mountPoint] : [],
  );
  if (!paths.includes(live)) throw new Failure({ what: `${where} is no mount point` });
  // mountinfo lists a mount after the one it lies on: the last goes first.
  await runInit(['umount', ...paths.reverse()], '');
}

async function runInit(args: readonly string[], input: string): Promise<void> {
  const child = spawn(initProgram(), args, { stdio: ['pipe', 'ignore', 'pipe'], env: {} });
  let complaint = '';
  child.stderr.on('data', (bytes: Buffer) => {
    complaint += bytes.toString();
  });
  child.stdin.on('error', () => {}); // it ended before it read all: its exit status says why
  child.stdin.end(input);
  const code = await new Promise<number | null>((resolve, reject) => {
    child.on('error', (cause) => reject(new Failure({ what: `cannot run ${initProgram()}`, cause })));
    child.on('close', resolve);
  });
  if (code !== 0) throw new Failure({ what: complaint.trim() || `the init program ended with ${code}` });
}
