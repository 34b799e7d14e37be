/** Mounting a `.mstack` directory: overlay-mstack and mount.mstack. */
import { rmdirSync, statSync } from 'node:fs';
import { dirname, resolve } from 'node:path';
import { Failure, reasonOf, UserError } from '../errors.js';
import { stackOfMstackDirectory } from '../launch/mstack.js';
import { makePath } from '../sys/files.js';
import type { Terminal } from './command.js';
import { requireRoot } from './common-arguments.js';

export interface MountRequest {
  readonly what: string;
  readonly where: string;
  readonly readOnly: boolean;
  /** Makes the mount point where it is missing; undefined for who has no such option. */
  readonly mkdir?: boolean;
  /** Does everything but the mounting. */
  readonly fake?: boolean;
}

/**
 * Mounts a `.mstack` directory.
 * @throws Failure or UserError; nothing is mounted then, and a mount point that was made is gone
 */
export async function mountMstack(request: MountRequest, terminal: Terminal): Promise<void> {
  requireRoot(terminal);
  const where = resolve(terminal.cwd, request.where);
  const stack = await stackOfMstackDirectory(resolve(terminal.cwd, request.what), request);
  if (!request.mkdir) checkMountPoint(where, request.mkdir === false ? '--mkdir makes it' : undefined);
  if (request.fake) return;
  const first = request.mkdir ? makeMountPoint(where) : undefined;
  try {
    const { mountStack } = await import('../launch/mount-stack.js');
    await mountStack(stack, where);
  } catch (error) {
    if (first !== undefined) removeMade(where, first);
    throw error;
  }
}

/**
 * @param todo  what to do where there is nothing
 * @throws UserError unless it is a directory, or a link to one
 */
export function checkMountPoint(where: string, todo?: string): void {
  const stat = statSync(where, { throwIfNoEntry: false });
  if (!stat) throw new UserError({ what: `${where}: no such directory`, todo });
  if (!stat.isDirectory()) throw new UserError({ what: `${where} is no directory` });
}

/** The first directory that had to be made, or undefined. */
function makeMountPoint(where: string): string | undefined {
  try {
    const first = makePath(where, 0o755);
    checkMountPoint(where);
    return first;
  } catch (cause) {
    if (cause instanceof UserError) throw cause;
    throw new Failure({ what: `${where} cannot be made: ${reasonOf(cause)}`, cause });
  }
}

/** Takes back what makeMountPoint() did; somebody else's files in there are left alone. */
function removeMade(where: string, first: string): void {
  try {
    for (let path = where; path.length >= first.length; path = dirname(path)) rmdirSync(path);
  } catch {
    // Not empty: it is in use by now. The error that led here is the one to tell.
  }
}
