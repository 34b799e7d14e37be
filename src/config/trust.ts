/**
 * Whatever root runs because a file says so must belong to root and be writable by nobody else, and so must the
 * directory it is in: who may write there may put another file in its place.
 */
import { isUtf8 } from 'node:buffer';
import {
  closeSync,
  constants,
  fstatSync,
  openSync,
  readFileSync,
  readlinkSync,
  realpathSync,
  type Stats,
  statSync,
} from 'node:fs';
import { basename, dirname } from 'node:path';
import { errnoOf, Failure, reasonOf, throwAll, UserError } from '../errors.js';

export interface TrustOptions {
  /** The user that the file has to belong to: root. Another one is for tests. */
  readonly uid?: number;
  /** A descriptor of the file: what is opened is checked, and the directory it really is in. */
  readonly openedFd?: number;
}

const MAX_BYTES = 1 << 20;
const GROUP_OR_OTHERS = 0o022;
const STICKY = 0o1000;

/**
 * Checks a file and the directory it is in; through a symbolic link, the directory of the link and that of the file.
 * @throws UserError with the chown or chmod that helps, ErrorList for several mistakes, Failure where it cannot look
 */
export function assertTrusted(file: string, { uid = 0, openedFd }: TrustOptions = {}): void {
  const real = looking(file, () =>
    openedFd === undefined ? realpathSync(file) : readlinkSync(`/proc/self/fd/${openedFd}`),
  );
  const stats = looking(file, () => (openedFd === undefined ? statSync(real) : fstatSync(openedFd)));
  const directories = new Set([looking(file, () => realpathSync(dirname(file))), dirname(real)]);
  const mistakes = mistakesOf(file, '', stats, uid);
  for (const directory of directories) {
    const what = `the directory of ${basename(file)} `;
    mistakes.push(
      ...mistakesOf(
        directory,
        what,
        looking(directory, () => statSync(directory)),
        uid,
      ),
    );
  }
  throwAll(mistakes);
}

/**
 * Reads a file that has to be trusted, by one open: the file that is checked is the file that is read.
 * @returns the file's path without symbolic links, and its text
 * @throws UserError when it is missing, no file, not trusted, not UTF-8 outside of `#` lines, or larger than 1 MiB;
 * Failure when it cannot be read
 */
export function readTrusted(
  file: string,
  { uid = 0 }: Pick<TrustOptions, 'uid'> = {},
): { path: string; text: string } {
  // Without O_NONBLOCK a FIFO would wait for its writer.
  const fd = looking(file, () =>
    openSync(file, constants.O_RDONLY | constants.O_NONBLOCK | constants.O_NOCTTY),
  );
  try {
    const stats = fstatSync(fd);
    if (!stats.isFile()) throw new UserError({ what: `${file}: is no regular file` });
    if (stats.size > MAX_BYTES)
      throw new UserError({ what: `${file}: is larger than 1 MiB, which no configuration is` });
    assertTrusted(file, { uid, openedFd: fd });
    return { path: readlinkSync(`/proc/self/fd/${fd}`), text: decode(file, readFileSync(fd)) };
  } finally {
    closeSync(fd);
  }
}

function mistakesOf(path: string, subject: string, stats: Stats, uid: number): Error[] {
  const mistakes: Error[] = [];
  const owner = uid === 0 ? 'root' : `uid ${uid}`;
  if (stats.uid !== uid)
    mistakes.push(
      new UserError({
        what: `${path}: ${subject}belongs to uid ${stats.uid}, not to ${owner}`,
        todo: `chown ${uid === 0 ? 'root' : uid} ${path}`,
      }),
    );
  if (stats.mode & GROUP_OR_OTHERS)
    mistakes.push(
      new UserError({
        what: `${path}: ${subject}is writable by others than ${owner}`,
        // Nobody shall be told to close /tmp.
        todo: stats.mode & STICKY ? 'move the file to a directory of its own' : `chmod go-w ${path}`,
      }),
    );
  return mistakes;
}

/** Paths in a conf are bytes to the kernel; what is no UTF-8 would reach it as other bytes. Comments may be anything. */
function decode(file: string, bytes: Buffer): string {
  const text = bytes.toString('utf8');
  if (isUtf8(bytes)) return text;
  // latin1 has a character for every byte, and line feeds and "#" are where they are in the file.
  const lines = bytes.toString('latin1').split('\n');
  const bad = lines.findIndex((line) => !line.startsWith('#') && !isUtf8(Buffer.from(line, 'latin1')));
  if (bad < 0) return text;
  throw new UserError({ at: { file, line: bad + 1 }, what: 'not UTF-8', todo: 'save the file in UTF-8' });
}

function looking<T>(path: string, look: () => T): T {
  try {
    return look();
  } catch (cause) {
    const errno = errnoOf(cause);
    if (errno === 'ENOENT' || errno === 'ENOTDIR')
      throw new UserError({ what: `${path}: there is no such file`, cause });
    if (errno === 'ELOOP') throw new UserError({ what: `${path}: symbolic links without an end`, cause });
    throw new Failure({
      what: `${path}: cannot be read: ${reasonOf(cause)}`,
      todo: errno === 'EACCES' ? 'be root' : undefined,
      cause,
    });
  }
}
