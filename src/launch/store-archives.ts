/** Images out of tar archives, and archives of images. */
import { once } from 'node:events';
import {
  chmodSync,
  closeSync,
  constants,
  existsSync,
  fstatSync,
  fsyncSync,
  mkdirSync,
  openSync,
  read as readCallback,
  readSync,
  realpathSync,
  renameSync,
  rmSync,
  type Stats,
  statfsSync,
  statSync,
} from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { errnoOf, Failure, UserError } from '../errors.js';
import { requireWafer, stackFromWafers, traceAncestry } from '../stack/from-wafers.js';
import { checkStoreName, requireSealed } from '../stack/store.js';
import { TarCheck } from '../stack/tar-check.js';
import { makeDirectory, syncDirectory } from '../sys/files.js';
import { initProgram } from '../sys/init-program.js';
import type { StartedProgram } from '../sys/run.js';
import { clearUnfinished, makeWaferFrame, unfinishedPath } from './make-wafer.js';
import { mountPlan, runInit } from './mount-stack.js';
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
  /** Ends it; nothing is left then. */
  readonly signal?: AbortSignal;
}

const PROGRESS_MS = 200;
/** Of the name of an archive so many characters are in that of the file that it is written to at first. */
const PREFIX_MAX = 50;
const CHUNK_BYTES = 1 << 20;
const readFd = promisify(readCallback);

/** Compressed archives: by the first bytes of the file, and by the ends of its name. */
const COMPRESSIONS = [
  { magic: '1f8b', program: 'gzip', option: '--gzip', ends: ['.gz', '.tgz'] },
  { magic: 'fd377a585a00', program: 'xz', option: '--xz', ends: ['.xz', '.txz'] },
  { magic: '28b52ffd', program: 'zstd', option: '--zstd', ends: ['.zst', '.tzst'] },
] as const;

/** All that tar(1) can keep of a file. */
const KEEP = ['--numeric-owner', '--xattrs', '--xattrs-include=*', '--acls'];

/** The name that an image gets from its archive's: without `.tar`, `.tar.gz` and the like. */
export const imageNameOf = (file: string): string =>
  basename(file).replace(/(\.tar)?(\.(gz|xz|zst))?$|\.(tgz|txz|tzst)$/, '');

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
function named(file: string, cause: unknown): unknown {
  if (cause instanceof UserError) return new UserError({ what: `${file}: ${cause.message}`, cause });
  const first = firstLine(cause);
  if (first !== undefined) return new Failure({ what: `${file}: ${first}`, cause });
  return cause;
}

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
    throw new UserError({ what: `${file} cannot be read: ${errnoOf(cause)}`, cause });
  }
  throw new UserError({ what: `${file} is no file` });
}

/** @returns the number of members */
async function unpack(
  archive: Archive,
  data: string,
  { onProgress, signal }: ArchiveOptions,
): Promise<number> {
  const { startProgram } = await import('../sys/run.js');
  const { bavail, bsize } = statfsSync(data);
  const check = new TarCheck({ freeBytes: bavail * bsize });
  const tar = await startProgram(
    ['tar', '--extract', '--file=-', `--directory=${data}`, '--same-owner', '--same-permissions', ...KEEP],
    { stdin: 'pipe', signal },
  );
  const read = { done: 0, total: archive.stat.size };
  const timer = setInterval(() => onProgress?.({ ...read }), PROGRESS_MS);
  try {
    for await (const chunk of await openSource(archive, read, signal))
      await write(tar, chunk.subarray(0, check.push(chunk)));
    check.finish();
    tar.stdin?.end();
    await tar.done;
    return check.members;
  } finally {
    clearInterval(timer);
    tar.stdin?.destroy();
    await tar.done.catch(() => {}); // it ends with its input
  }
}

/** What a program said first: what tar says last is only that it said something. */
const firstLine = (cause: unknown): string | undefined => {
  const stderr = cause instanceof Error && 'stderr' in cause ? String(cause.stderr) : '';
  return stderr.split('\n').find((line) => line.trim() !== '');
};

/**
 * The archive's bytes, unpacked by whoever made them small.
 * @param read  is told how many bytes of the file have been read
 * @throws UserError at the end of what is damaged
 */
async function openSource(
  { fd }: Archive,
  read: { done: number },
  signal: AbortSignal | undefined,
): Promise<AsyncIterable<Buffer>> {
  const start = Buffer.alloc(6);
  readSync(fd, start, 0, start.length, 0);
  const kind = COMPRESSIONS.find(({ magic }) => start.toString('hex').startsWith(magic));
  if (!kind) return chunksOf(fd, read);
  const { startProgram } = await import('../sys/run.js');
  const program = await startProgram([kind.program, '--decompress', '--stdout'], {
    stdin: 'pipe',
    stdout: 'pipe',
    signal,
  });
  return unpacked(program, chunksOf(fd, read));
}

async function* unpacked(program: StartedProgram, packed: AsyncIterable<Buffer>): AsyncGenerator<Buffer> {
  const fed = feed(program, packed);
  try {
    for await (const chunk of program.stdout ?? []) yield chunk as Buffer;
    await program.done;
    await fed;
  } catch (cause) {
    throw new UserError({ what: `the archive is damaged: ${firstLine(cause) ?? String(cause)}`, cause });
  } finally {
    program.stdin?.destroy();
    program.stdout?.destroy();
    await fed;
  }
}

/** What the program does not want to read any more is its own affair: its end says why. */
async function feed(program: StartedProgram, packed: AsyncIterable<Buffer>): Promise<void> {
  try {
    for await (const chunk of packed) await write(program, chunk);
    program.stdin?.end();
  } catch {
    program.stdin?.destroy();
  }
}

async function* chunksOf(fd: number, read: { done: number }): AsyncGenerator<Buffer> {
  for (;;) {
    const chunk = Buffer.allocUnsafe(CHUNK_BYTES);
    const { bytesRead } = await readFd(fd, chunk, 0, chunk.length, null);
    if (bytesRead === 0) return;
    read.done += bytesRead;
    yield chunk.subarray(0, bytesRead);
  }
}

/** Waits until the program has room for more. @throws ProgramFailure where it has ended in failure */
async function write({ stdin, done }: StartedProgram, bytes: Buffer): Promise<void> {
  if (!stdin || stdin.destroyed || stdin.write(bytes)) {
    if (stdin?.destroyed) await done;
    return;
  }
  const controller = new AbortController();
  const drained = once(stdin, 'drain', { signal: controller.signal });
  drained.catch(() => {}); // told by the race, or of no interest after it
  try {
    await Promise.race([drained, done]);
  } finally {
    controller.abort();
  }
}

/**
 * Writes an image's layer, or with `squash` the image with all that it lies on, to a tar archive, which is compressed
 * as its name says. It is written beside, and appears whole; one that was killed is cleared by the next of that name.
 * @returns the bytes of the archive
 * @throws UserError for no such image, Failure for what tar could not do; nothing is left then
 */
export async function exportImage(
  places: StorePlaces,
  { name, file, squash }: { readonly name: string; readonly file: string; readonly squash: boolean },
  { onProgress, signal }: ArchiveOptions = {},
): Promise<number> {
  requireSealed(places.wafers, name);
  const target = targetOf(file);
  const prefix = `.${basename(target).slice(0, PREFIX_MAX)}`;
  const beside = unfinishedPath(dirname(target), prefix);
  clearUnfinished(dirname(target), prefix);
  const lock = openSync(join(places.wafers, name, 'data'), 'r');
  const timer = setInterval(() => {
    onProgress?.({ done: statSync(beside, { throwIfNoEntry: false })?.size ?? 0, total: undefined });
  }, PROGRESS_MS);
  try {
    // Shared: it may be exported by several, but is neither deleted nor edited meanwhile.
    await runInit(['lock', 'shared'], { hold: lock });
    await (squash ? packStack : packLayer)(places, name, { file, beside }, signal);
    const fd = openSync(beside, 'r');
    fsyncSync(fd);
    closeSync(fd);
    renameSync(beside, target);
    syncDirectory(dirname(target));
    return statSync(target).size;
  } catch (cause) {
    if (signal?.aborted) throw new Failure({ what: `${file}: interrupted: no archive was made`, cause });
    throw named(file, cause);
  } finally {
    clearInterval(timer);
    closeSync(lock);
    rmSync(beside, { force: true });
  }
}

function targetOf(file: string): string {
  const directory = dirname(file);
  if (!existsSync(directory)) throw new UserError({ what: `${directory}: no such directory` });
  const stat = statSync(file, { throwIfNoEntry: false });
  if (stat && !stat.isFile()) throw new UserError({ what: `${file} is there, and is no file` });
  return stat ? realpathSync(file) : file;
}

interface Destination {
  readonly file: string;
  readonly beside: string;
}

/** pax, so that times are exact and names can be long; sorted and without times of access, so that it can be compared. */
function tarCommand({ file, beside }: Destination, directory: string): string[] {
  const compression = COMPRESSIONS.find(({ ends }) => ends.some((end) => file.endsWith(end)));
  const format = ['--format=posix', '--pax-option=exthdr.name=%d/PaxHeaders/%f,delete=atime,delete=ctime'];
  const options = [...KEEP, ...format, '--sparse', '--sort=name', '--force-local'];
  const pack = compression ? [compression.option] : [];
  return ['tar', '--create', ...options, ...pack, `--file=${beside}`, `--directory=${directory}`, '.'];
}

async function packLayer(
  { wafers }: StorePlaces,
  name: string,
  to: Destination,
  signal: AbortSignal | undefined,
): Promise<void> {
  const { startProgram } = await import('../sys/run.js');
  await (await startProgram(tarCommand(to, join(wafers, name, 'data')), { signal })).done;
}

/** The stack is mounted in a mount namespace of tar's own, and gone with it. */
async function packStack(
  { wafers }: StorePlaces,
  name: string,
  to: Destination,
  signal: AbortSignal | undefined,
): Promise<void> {
  const image = requireWafer(wafers, name);
  const ancestors = image.parent === undefined ? [] : traceAncestry(wafers, name, image.parent);
  const stack = { ...stackFromWafers(image, ancestors), readOnly: true };
  const place = `${unfinishedPath(wafers)}:0`;
  mkdirSync(place);
  try {
    const live = realpathSync(place);
    const plan = mountPlan(stack, live);
    const script = '"$1" mount "$2" "$3" && shift 3 && exec "$@" </dev/null';
    const { startProgram } = await import('../sys/run.js');
    const { stdin, done } = await startProgram(
      [
        ...['unshare', '--mount', '--propagation', 'private', '--'],
        ...['/bin/sh', '-c', script, 'sh', initProgram(), live, String(plan.length), ...tarCommand(to, live)],
      ],
      { stdin: 'pipe', signal },
    );
    stdin?.end(plan);
    await done;
  } finally {
    rmSync(place, { recursive: true, force: true });
  }
}
