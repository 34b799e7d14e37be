/** Archives of images. */
import {
  closeSync,
  constants,
  fchmodSync,
  fchownSync,
  fsyncSync,
  mkdirSync,
  openSync,
  realpathSync,
  renameSync,
  rmSync,
  write as writeCallback,
} from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { errnoOf, Failure, reasonOf } from '../errors.js';
import { requireWafer, stackFromWafers, traceAncestry } from '../stack/from-wafers.js';
import { requireSealed } from '../stack/store.js';
import { syncDirectory } from '../sys/files.js';
import { initProgram } from '../sys/init-program.js';
import type { StartedProgram, StartOptions } from '../sys/run.js';
import { compressorFor, KEEP } from './archive-kinds.js';
import { outputOf, throughProgram } from './archive-streams.js';
import { type ArchiveTarget, archiveTarget } from './archive-target.js';
import { clearUnfinished, clearUnfinishedFiles, unfinishedPath } from './make-wafer.js';
import { mountPlan, runInit } from './mount-stack.js';
import { type ArchiveOptions, named, PROGRESS_MS } from './store-archives.js';
import { type StorePlaces, withStore } from './store-lock.js';

/** Of the name of an archive so many characters are in that of the file that it is written to at first. */
const PREFIX_MAX = 50;
/** Who may read an archive has read all files of the image, /etc/shadow too. */
const MODE = 0o600;
const writeFd = promisify(writeCallback);

export interface ExportRequest {
  readonly name: string;
  readonly file: string;
  /** With all that the image lies on. */
  readonly squash: boolean;
}

/**
 * Writes an image's layer, or with `squash` the image with all that it lies on, to a tar archive, which is compressed
 * as its name says. It is written beside, and appears whole; one that was killed is cleared by the next of that name.
 * @returns the bytes of the archive
 * @throws UserError for no such image, Failure for what tar could not do; nothing is left then
 */
export async function exportImage(
  places: StorePlaces,
  { name, file, squash }: ExportRequest,
  options: ArchiveOptions = {},
): Promise<number> {
  requireSealed(places.wafers, name); // before there is so much as a store
  const target = archiveTarget(file, places.wafers);
  const prefix = `.${basename(target.path).slice(0, PREFIX_MAX)}`;
  const beside = unfinishedPath(dirname(target.path), prefix);
  const lock = await lockSealed(places, name);
  try {
    clearUnfinishedFiles(dirname(target.path), prefix);
    const pack = async (to: number): Promise<number> =>
      await (squash ? packStack : packLayer)(places, name, { ...options, file, to });
    const bytes = await writeBeside(beside, target, pack);
    syncDirectory(dirname(target.path));
    return bytes;
  } catch (cause) {
    if (options.signal?.aborted)
      throw new Failure({ what: `${file}: interrupted: no archive was made`, cause });
    throw named(file, cause);
  } finally {
    closeSync(lock);
    rmSync(beside, { force: true });
  }
}

/**
 * It can neither be edited nor deleted as long as the descriptor is open: whoever does that has the lock of the store,
 * as this has until the image is locked.
 */
async function lockSealed(places: StorePlaces, name: string): Promise<number> {
  return await withStore(places, async ({ wafers }) => {
    requireSealed(wafers, name);
    const lock = openSync(join(wafers, name, 'data'), 'r');
    try {
      // Shared: several may export it.
      await runInit(['lock', 'shared'], { hold: lock });
      return lock;
    } catch (error) {
      closeSync(lock);
      throw error;
    }
  });
}

/** Replaces a file with what `pack` writes, when all of that is on the disk. */
async function writeBeside(
  beside: string,
  { path, kept }: ArchiveTarget,
  pack: (to: number) => Promise<number>,
): Promise<number> {
  const fd = attempt(path, () =>
    openSync(beside, constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL, MODE),
  );
  try {
    const bytes = await pack(fd);
    attempt(path, () => {
      fsyncSync(fd);
      if (!kept) return;
      // At the end, which takes no time: one that was killed clears only what is its own.
      fchownSync(fd, kept.uid, kept.gid);
      fchmodSync(fd, kept.mode & 0o777);
      fsyncSync(fd);
    });
    attempt(path, () => renameSync(beside, path));
    return bytes;
  } finally {
    closeSync(fd);
  }
}

/** Why an archive cannot be written, by the name of the error in errno(3). */
const OBSTACLES: Readonly<Record<string, string>> = {
  ENOSPC: 'its file system is full: make room there',
  EDQUOT: 'the quota of its file system is used up: make room there',
  EROFS: 'its file system is read-only',
  EFBIG: 'a file cannot be that large there',
};

function attempt<T>(file: string, act: () => T): T {
  try {
    return act();
  } catch (cause) {
    throw cannotWrite(file, cause);
  }
}

const cannotWrite = (file: string, cause: unknown): Failure =>
  new Failure({
    what: `${file} cannot be written: ${OBSTACLES[errnoOf(cause) ?? ''] ?? reasonOf(cause)}`,
    cause,
  });

interface Destination extends ArchiveOptions {
  /** What it is called in the end. */
  readonly file: string;
  /** The descriptor that is written to. */
  readonly to: number;
}

/** pax, so that times are exact and names can be long; sorted and without times of access, so that it can be compared. */
function tarCommand(directory: string): string[] {
  const format = ['--format=posix', '--pax-option=exthdr.name=%d/PaxHeaders/%f,delete=atime,delete=ctime'];
  const options = [...KEEP, ...format, '--sparse', '--sort=name'];
  return ['tar', '--create', ...options, '--file=-', `--directory=${directory}`, '.'];
}

async function packLayer({ wafers }: StorePlaces, name: string, destination: Destination): Promise<number> {
  const tar = await start(tarCommand(join(wafers, name, 'data')), destination);
  return await store(tar, destination);
}

/** The stack is mounted in a mount namespace of tar's own, and gone with it. */
async function packStack({ wafers }: StorePlaces, name: string, destination: Destination): Promise<number> {
  const image = requireWafer(wafers, name);
  const ancestors = image.parent === undefined ? [] : traceAncestry(wafers, name, image.parent);
  const stack = { ...stackFromWafers(image, ancestors), readOnly: true };
  const place = `${unfinishedPath(wafers)}:0`;
  clearUnfinished(wafers);
  mkdirSync(place);
  try {
    const live = realpathSync(place);
    const plan = mountPlan(stack, live);
    const script = '"$1" mount "$2" "$3" && shift 3 && exec "$@" </dev/null';
    const shell = ['/bin/sh', '-c', script, 'sh', initProgram(), live, String(plan.length)];
    const argv = ['unshare', '--mount', '--propagation', 'private', '--', ...shell, ...tarCommand(live)];
    const tar = await start(argv, { ...destination, stdin: 'pipe' });
    tar.stdin?.end(plan);
    return await store(tar, destination);
  } finally {
    rmSync(place, { recursive: true, force: true });
  }
}

async function start(
  argv: readonly string[],
  { stdin, signal }: Pick<StartOptions, 'stdin' | 'signal'>,
): Promise<StartedProgram> {
  const { startProgram } = await import('../sys/run.js');
  return await startProgram(argv, { ...(stdin && { stdin }), stdout: 'pipe', signal });
}

/** Writes what tar says is the archive, compressed as the file's name has it. @returns its bytes */
async function store(tar: StartedProgram, destination: Destination): Promise<number> {
  const { file, onProgress, signal } = destination;
  const packed = await compressed(tar, compressorFor(file), signal);
  let done = 0;
  const timer = setInterval(() => onProgress?.({ done, total: undefined }), PROGRESS_MS);
  try {
    for await (const chunk of packed) {
      await writeAll(destination, chunk);
      done += chunk.length;
    }
    return done;
  } finally {
    clearInterval(timer);
  }
}

async function compressed(
  tar: StartedProgram,
  compressor: string | undefined,
  signal: AbortSignal | undefined,
): Promise<AsyncIterable<Buffer>> {
  if (compressor === undefined) return outputOf(tar);
  try {
    return throughProgram(await start([compressor, '--stdout'], { stdin: 'pipe', signal }), outputOf(tar));
  } catch (error) {
    tar.stdout?.destroy(); // nobody will read it: it ends by that
    throw error;
  }
}

/** A disk that gets full takes a part. */
async function writeAll({ file, to }: Destination, bytes: Buffer): Promise<void> {
  try {
    for (let at = 0; at < bytes.length; )
      at += (await writeFd(to, bytes, at, bytes.length - at, null)).bytesWritten;
  } catch (cause) {
    throw cannotWrite(file, cause);
  }
}
