/** A `.mstack` directory as a stack, on this machine: for overlay-mstack, and for STACK and LOWER of a conf. */
import { localArchitecture } from '../stack/architecture.js';
import { lowerFromMstack, stackFromMstack } from '../stack/from-mstack.js';
import { type MstackEntry, readMstack } from '../stack/mstack-entries.js';
import type { Stack } from '../stack/stack.js';

export interface MstackUse {
  /** Nothing is written anywhere, and nothing made. */
  readonly readOnly: boolean;
  /** As the read-only layer of something else: `rw/data` is a layer, and a `root` is refused. */
  readonly asLower?: boolean;
}

/** What is in a `.mstack` directory (or the newest of a `.mstack.v` directory), in the order it is listed in. */
export const entriesOfMstack = (path: string): MstackEntry[] => readMstack(path, localArchitecture()).entries;

/**
 * The stack of a `.mstack` directory. Disk images are looked into, by blkid(8) and sfdisk(8); directories alone need no
 * program of the host.
 * @throws UserError or an ErrorList for what is wrong with it, Failure where an image cannot be read
 */
export async function stackOfMstackDirectory(path: string, use: MstackUse): Promise<Stack> {
  const entries = entriesOfMstack(path);
  const options = {
    readOnly: use.readOnly,
    architecture: localArchitecture(),
    loadRun: async () => (await import('../sys/run.js')).runProgram,
  };
  return use.asLower ? lowerFromMstack(entries, options) : stackFromMstack(entries, options);
}
