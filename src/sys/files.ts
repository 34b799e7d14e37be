/** Files that are replaced as a whole, and directories that may not be there. */
import {
  closeSync,
  fchmodSync,
  fchownSync,
  fsyncSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { dirname } from 'node:path';
import { errnoOf, Failure, reasonOf } from '../errors.js';

/** The text of a file, or undefined where there is none. */
export function readIfExists(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8');
  } catch (error) {
    if (isMissing(error)) return undefined;
    throw error;
  }
}

/** The names in a directory, sorted; none where there is no directory. */
export function namesIn(directory: string): string[] {
  try {
    return readdirSync(directory).sort();
  } catch (error) {
    if (isMissing(error)) return [];
    throw error;
  }
}

const isMissing = (error: unknown): boolean => ['ENOENT', 'ENOTDIR'].includes(errnoOf(error) ?? '');

interface WriteOptions {
  readonly mode?: number;
  /** False leaves out the fsyncs: for a file system that does not outlive the host's memory. */
  readonly durable?: boolean;
  /** Who it belongs to, then with exactly that mode; who runs this unless given. */
  readonly owner?: { readonly uid: number; readonly gid: number };
}

/**
 * Replaces a file: written beside it as PATH.tmp, fsynced, renamed, and the directory fsynced, so that
 * a reader and a crash find the old text or the new one, never a part (rename(2)).
 * One writer at a time: the caller holds the lock of what the file belongs to.
 */
export function writeFileAtomic(
  path: string,
  text: string | Uint8Array,
  { mode = 0o644, durable = true, owner }: WriteOptions = {},
): void {
  const beside = `${path}.tmp`;
  const fd = openSync(beside, 'w', mode);
  try {
    writeFileSync(fd, text); // not writeSync(): on a full disk that may write a part and call it success
    if (owner) {
      fchownSync(fd, owner.uid, owner.gid);
      fchmodSync(fd, mode);
    }
    if (durable) fsyncSync(fd);
  } catch (cause) {
    rmSync(beside, { force: true });
    throw new Failure({ what: `cannot write ${path}: ${reasonOf(cause)}`, cause });
  } finally {
    closeSync(fd);
  }
  renameSync(beside, path);
  if (durable) syncDirectory(dirname(path));
}

/** Makes what was made, renamed or removed in a directory outlive a crash of the machine. */
export function syncDirectory(path: string): void {
  const fd = openSync(path, 'r');
  try {
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
}

/**
 * Makes a directory, and those on the way to it that are missing; what is there is left as it is. Not by the `recursive`
 * of Node's own, which tries without end where a parent is there and takes no entries (procfs).
 * @returns the first directory that had to be made, or undefined
 */
export function makePath(path: string, mode: number): string | undefined {
  if (isDirectory(path)) return undefined;
  const parent = dirname(path);
  const first = parent === path ? undefined : makePath(parent, mode);
  try {
    mkdirSync(path, { mode });
  } catch (error) {
    if (errnoOf(error) !== 'EEXIST') throw error;
    if (isDirectory(path)) return first; // somebody else was faster
    throw new Failure({ what: `${path} is no directory, or a link to nothing`, cause: error });
  }
  return first ?? path;
}

const isDirectory = (path: string): boolean =>
  statSync(path, { throwIfNoEntry: false })?.isDirectory() ?? false;

/** Makes a directory, and those on the way to it that are missing, so that they outlive a crash of the machine. */
export function makeDirectory(path: string, mode: number): void {
  const first = makePath(path, mode);
  for (let made = path; first !== undefined && made.length >= first.length; made = dirname(made))
    syncDirectory(dirname(made));
}
