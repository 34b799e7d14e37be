/** Images out of tar archives. */
import {
  chmodSync,
  closeSync,
  constants,
  fstatSync,
  mkdirSync,
  openSync,
  read as readCallback,
  readSync,
  renameSync,
  rmSync,
  type Stats,
  statfsSync,
} from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { Failure, reasonOf, UserError } from '../errors.js';
import { checkStoreName } from '../stack/store.js';
import { TarCheck } from '../stack/tar-check.js';
import { makeDirectory, syncDirectory } from '../sys/files.js';
import type { ProgramFailure, StartedProgram } from '../sys/run.js';
import { compressorOf, KEEP, KNOWN_KINDS, MAGIC_BYTES } from './archive-kinds.js';
import { give, throughProgram } from './archive-streams.js';
import { makeWaferFrame, unfinishedPath } from './make-wafer.js';
import { checkFree, flush, parentWafer } from './store-images.js';
import { inWords, type StorePlaces, withStore } from './store-lock.js';

/** How far it is; bytes. */
export interface Progress {
  readonly done: number;
  /** Undefined where it is not known. */
  readonly total: number | undefined;
}

export interface ArchiveOptions {
  /** Called every now and then. */
  readonly onProgress?: (progress: Progress) => void;
  /** Called with what tar could not keep of a file. */
  readonly onWarning?: (what: string) => void;
  /** Ends it; nothing is left then. */
  readonly signal?: AbortSignal;
}

/** Progress is told this often. */
export const PROGRESS_MS = 200;
/** Of a line of tar so many characters are shown at its beginning, and at its end. */
const SHOWN_PART = 150;
const CHUNK_BYTES = 1 << 20;
const readFd = promisify(readCallback);

/**
 * Makes an image of an archive, sealed. It is unpacked beside, and appears whole.
 * @returns how many members it has, and the bytes of the archive
 * @throws UserError for an archive that is none, is not whole, or has a member that leads out of the image; Failure for
 * what tar could not do. Nothing is left then.
 */
export async function importImage(
  places: StorePlaces,
  {
    file,
    name,
    parent,
  }: { readonly file: string; readonly name: string; readonly parent: string | undefined },
  options: ArchiveOptions = {},
): Promise<{ readonly members: number; readonly bytes: number }> {
  const { wafers } = places;
  checkStoreName(name);
  checkFree(wafers, name);
  parentWafer(wafers, name, parent);
  const archive = openArchive(file);
  // Not the place of what the store's lock may let this process finish for another.
  const beside = `${unfinishedPath(wafers)}:0`;
  try {
    makeDirectory(wafers, 0o700);
    makeWaferFrame(beside, { parent: parentWafer(wafers, name, parent), image: true });
    const data = join(beside, 'data');
    mkdirSync(data);
    chmodSync(data, 0o755);
    const members = await unpack(archive, data, options);
    await flush(data);
    options.signal?.throwIfAborted();
    await withStore(places, () => {
      checkFree(wafers, name);
      parentWafer(wafers, name, parent);
      renameSync(beside, join(wafers, name));
      syncDirectory(wafers);
    });
    return { members, bytes: archive.stat.size };
  } catch (cause) {
    if (options.signal?.aborted)
      throw new Failure({ what: `${file}: interrupted: no image was made`, cause });
    throw named(file, inWords(wafers, cause));
  } finally {
    closeSync(archive.fd);
    rmSync(beside, { recursive: true, force: true });
  }
}

/** The archive's name before what is wrong with it. */
export function named(file: string, cause: unknown): unknown {
  if (cause instanceof UserError) return new UserError({ what: `${file}: ${cause.message}`, cause });
  const first = isProgramFailure(cause) ? firstLine(cause) : undefined;
  if (first !== undefined) return new Failure({ what: `${file}: ${first}`, cause });
  if (isProgramFailure(cause))
    return new Failure({ what: `${file}: ${cause.message.split(' ', 1)}: ${cause.how}`, cause });
  return cause;
}

/** By its name: its class is loaded with its door. */
const isProgramFailure = (cause: unknown): cause is ProgramFailure =>
  cause instanceof Error && cause.name === 'ProgramFailure';

/** What a program said first: what tar says last is only that it said something. */
const firstLine = (cause: unknown): string | undefined => linesOf(cause)[0];

const linesOf = (said: unknown): string[] =>
  said instanceof Object && 'stderr' in said
    ? String(said.stderr)
        .split('\n')
        .filter((line) => line.trim() !== '')
        .map(shortened)
    : [];

/** A path may be longer than anybody reads. */
const shortened = (line: string): string =>
  line.length <= 2 * SHOWN_PART ? line : `${line.slice(0, SHOWN_PART)}…${line.slice(-SHOWN_PART)}`;

interface Archive {
  readonly file: string;
  readonly fd: number;
  readonly stat: Stats;
}

function openArchive(file: string): Archive {
  try {
    // A pipe that nobody writes to would be waited for.
    const fd = openSync(file, constants.O_RDONLY | constants.O_NONBLOCK);
    const stat = fstatSync(fd);
    if (stat.isFile()) return { file, fd, stat };
    closeSync(fd);
  } catch (cause) {
    throw new UserError({ what: `${file} cannot be read: ${reasonOf(cause)}`, cause });
  }
  throw new UserError({ what: `${file} is no file` });
}

/** @returns the number of members */
async function unpack(
  archive: Archive,
  data: string,
  { onProgress, onWarning, signal }: ArchiveOptions,
): Promise<number> {
  const { startProgram } = await import('../sys/run.js');
  const { bavail, bsize } = statfsSync(data);
  const check = new TarCheck({ freeBytes: bavail * bsize, known: KNOWN_KINDS });
  const options = ['--same-owner', '--same-permissions', ...KEEP, ...QUIET];
  const tar = await startProgram(['tar', '--extract', '--file=-', `--directory=${data}`, ...options], {
    stdin: 'pipe',
    signal,
  });
  const read = { done: 0, total: archive.stat.size };
  const timer = setInterval(() => onProgress?.({ ...read }), PROGRESS_MS);
  try {
    await feedTar(tar, check, await openSource(archive, read, signal));
    for (const line of linesOf(await tar.done)) onWarning?.(line);
    return check.members;
  } finally {
    clearInterval(timer);
    tar.stdin?.destroy();
    await tar.done.catch(() => {}); // it ends with its input
  }
}

/** Clocks that are wrong, what another tar notes for itself, and an end that is short are of no interest. */
const QUIET = ['no-timestamp', 'no-unknown-keyword', 'no-alone-zero-block', 'no-contiguous-cast'].map(
  (kind) => `--warning=${kind}`,
);

async function feedTar(tar: StartedProgram, check: TarCheck, source: AsyncIterable<Buffer>): Promise<void> {
  for await (const chunk of source) {
    const whole = chunk.subarray(0, check.push(chunk));
    await give(tar, whole).catch(refuse);
  }
  check.finish();
  tar.stdin?.end();
  await tar.done.catch(refuse);
}

/** What tar says, in the words of strerror(3), where it is not the archive that is wrong. */
const NOT_THE_ARCHIVE =
  /^(?!.*Cannot hard link).*: (No space left on device|Disk quota exceeded|Input\/output error|Read-only file system|Cannot allocate memory|Operation not permitted|Permission denied|Too many open files.*)$|memory exhausted/;

/** What the check let through, tar may refuse: a file in another file, a hard link to what there is not. */
function refuse(cause: ProgramFailure): never {
  const first = firstLine(cause);
  if (!first || !hasEnded(cause) || NOT_THE_ARCHIVE.test(first)) throw cause;
  throw new UserError({ what: `the archive is refused: ${first}`, cause });
}

/** It ended by itself, in failure: it was there, and nobody killed it. */
const hasEnded = ({ how }: ProgramFailure): boolean => how.startsWith('exit status');

/**
 * The archive's bytes, unpacked by whoever made them small.
 * @param read  is told how many bytes of the file have been read
 * @throws UserError at the end of what is damaged
 */
async function openSource(
  archive: Archive,
  read: { done: number },
  signal: AbortSignal | undefined,
): Promise<AsyncIterable<Buffer>> {
  const start = Buffer.alloc(MAGIC_BYTES);
  readSync(archive.fd, start, 0, start.length, 0);
  const compressor = compressorOf(start);
  if (compressor === undefined) return chunksOf(archive, read);
  const { startProgram } = await import('../sys/run.js');
  const argv = [compressor, '--decompress', '--stdout'];
  const program = await startProgram(argv, { stdin: 'pipe', stdout: 'pipe', signal });
  return unpacked(throughProgram(program, chunksOf(archive, read)));
}

async function* unpacked(bytes: AsyncIterable<Buffer>): AsyncGenerator<Buffer> {
  try {
    yield* bytes;
  } catch (cause) {
    if (!isProgramFailure(cause) || !hasEnded(cause)) throw cause;
    throw new UserError({ what: `the archive is damaged: ${firstLine(cause) ?? cause.how}`, cause });
  }
}

async function* chunksOf({ file, fd }: Archive, read: { done: number }): AsyncGenerator<Buffer> {
  for (;;) {
    const chunk = Buffer.allocUnsafe(CHUNK_BYTES);
    const { bytesRead } = await readFd(fd, chunk, 0, chunk.length, null).catch((cause: unknown) => {
      throw new Failure({ what: `${file} cannot be read: ${reasonOf(cause)}`, cause });
    });
    if (bytesRead === 0) return;
    read.done += bytesRead;
    yield chunk.subarray(0, bytesRead);
  }
}
