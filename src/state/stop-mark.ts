/**
 * RUN/NAME/stopper, by which a boot under way learns who stops its subhost: the boot makes it, the stop writes to it.
 * The boot reads it by its descriptor, since the file may be gone with everything else by then.
 */
import { closeSync, constants, openSync, readSync, rmSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { errnoOf } from '../errors.js';
import { stateDirectory } from './state-file.js';

/** More than a command line is shown of. */
const LENGTH_MAX = 200;

const markPath = (runDir: string, name: string): string => join(stateDirectory(runDir, name), 'stopper');

/** Makes the mark of a boot, empty. Its directory is there: the keeper made it to lock it. */
export const openStopMark = (runDir: string, name: string): number => openSync(markPath(runDir, name), 'w+');

/** Who stops it, as markStopped() was told; '' for nobody. */
export function readStopMark(mark: number): string {
  const buffer = Buffer.alloc(LENGTH_MAX);
  return buffer.toString('utf8', 0, readSync(mark, buffer, 0, buffer.length, 0));
}

/** Takes the mark of a subhost that is ready away; where it is not, the mark goes with all the rest. */
export const removeStopMark = (runDir: string, name: string): void =>
  rmSync(markPath(runDir, name), { force: true });

/**
 * Tells the boot that is under way, if it still is.
 * @param by  who stops it: `overlay-stop web (pid 123)`
 */
export function markStopped(runDir: string, name: string, by: string): void {
  try {
    const mark = openSync(
      markPath(runDir, name),
      constants.O_WRONLY | constants.O_TRUNC | constants.O_NOFOLLOW,
    );
    try {
      writeSync(mark, by);
    } finally {
      closeSync(mark);
    }
  } catch (error) {
    if (errnoOf(error) !== 'ENOENT') throw error;
  }
}
