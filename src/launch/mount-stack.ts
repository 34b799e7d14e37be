/** Mounting a stack for the host: wafers, overlay-mstack, points. The init program does it in one go. */
import { spawn, spawnSync } from 'node:child_process';
import { realpathSync } from 'node:fs';
import { errnoOf, Failure } from '../errors.js';
import { type ChildOp, childOpStrings } from '../plan/child-ops.js';
import { mountOps } from '../stack/mount-ops.js';
import type { Stack } from '../stack/stack.js';
import { initProgram } from '../sys/init-program.js';
import { mountsOf } from '../sys/mountinfo.js';

export interface MountOptions {
  /** A directory that is locked meanwhile: of several at once, one mounts. Without it a mount covers the one before. */
  readonly lock?: string;
  /** Device nodes in it can be opened. */
  readonly devices?: boolean;
  /** A descriptor that the init program gets: its lock is held until the mount is there, whoever is killed. */
  readonly hold?: number | undefined;
}

/** Exit status of the init program: the place is a mount point already. src/init/mount.c */
const MOUNTED_ALREADY = 3;
/** Exit status of the init program: the place is not there, or was taken away meanwhile. */
const MOUNT_POINT_GONE = 4;

/** Where the stack was to be mounted there is no directory. */
export class NoMountPoint extends Failure {
  override readonly name = 'NoMountPoint';

  constructor(where: string, cause?: unknown) {
    super({ what: `${where}: no such directory`, cause });
  }
}

/**
 * Mounts a stack on a directory. It appears there whole, or not at all.
 * @returns false where, with a lock, something is mounted there already
 * @throws UserError for what cannot be mounted, NoMountPoint, Failure for the step that failed; nothing is mounted then
 */
export async function mountStack(
  stack: Stack,
  where: string,
  { lock, devices = false, hold }: MountOptions = {},
): Promise<boolean> {
  const live = realMountPoint(where);
  const plan = mountPlan(stack, live, { devices });
  const args = ['mount', live, String(plan.length), ...(lock === undefined ? [] : [lock])];
  const code = await runInit(args, { input: plan, okCodes: [0, MOUNTED_ALREADY, MOUNT_POINT_GONE], hold });
  if (code === MOUNT_POINT_GONE) throw new NoMountPoint(where);
  return code === 0;
}

function realMountPoint(where: string): string {
  try {
    return realpathSync(where);
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') throw new NoMountPoint(where, error);
    throw error;
  }
}

/** What `init mount` reads: the operations that mount a stack on `live`, which has no links in it. */
export function mountPlan(
  stack: Stack,
  live: string,
  { devices = false }: Pick<MountOptions, 'devices'> = {},
): Buffer {
  const ops: ChildOp[] = [...(devices ? [{ op: 'devices-allowed' } as const] : []), ...mountOps(stack, live)];
  return Buffer.from(
    ops
      .flatMap(childOpStrings)
      .map((text) => `${text}\0`)
      .join(''),
  );
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
  await runInit(['umount', ...paths.reverse()]);
}

/** What runInit() returns for one that was ended after its time. */
export const GIVEN_UP = -1;

interface InitOptions {
  readonly input?: Uint8Array;
  readonly okCodes?: readonly number[];
  /** Becomes its descriptor 3. */
  readonly hold?: number | undefined;
  /** Milliseconds; no limit unless given. */
  readonly timeoutMs?: number;
}

/** Runs the init program to its end. @returns its exit status, one of okCodes */
export async function runInit(
  args: readonly string[],
  { input = Buffer.alloc(0), okCodes = [0], hold, timeoutMs }: InitOptions = {},
): Promise<number> {
  const stdio = ['pipe', 'ignore', 'pipe', ...(hold === undefined ? [] : [hold])] as const;
  const child = spawn(initProgram(), args, { stdio: [...stdio], env: {}, timeout: timeoutMs });
  let complaint = '';
  child.stderr?.on('data', (bytes: Buffer) => {
    complaint += bytes.toString();
  });
  child.stdin?.on('error', () => {}); // it ended before it read all: its exit status says why
  child.stdin?.end(input);
  const ended = await new Promise<number | null>((resolve, reject) => {
    child.on('error', (cause) => reject(new Failure({ what: `cannot run ${initProgram()}`, cause })));
    child.on('close', resolve);
  });
  const by = child.signalCode;
  const code = child.killed ? GIVEN_UP : ended;
  if (code === null || !okCodes.includes(code))
    throw new Failure({
      what: complaint.trim() || (by ? `interrupted by ${by}` : `the init program ended with ${code}`),
    });
  return code;
}

/**
 * As runInit(), for what the init program does at once.
 * @param hold  becomes its descriptor 3
 */
export function runInitAtOnce(args: readonly string[], hold: number): void {
  const stdio = ['ignore', 'ignore', 'pipe', hold] as const;
  const { error, status, stderr } = spawnSync(initProgram(), args, { stdio: [...stdio], env: {} });
  if (error) throw new Failure({ what: `cannot run ${initProgram()}`, cause: error });
  if (status !== 0)
    throw new Failure({ what: String(stderr).trim() || `the init program ended with ${status}` });
}
