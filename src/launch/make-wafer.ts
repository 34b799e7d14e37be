/**
 * New wafers. Each is made beside and renamed into its place, so that a crash leaves the whole of it or a directory
 * that is no wafer, which the next command clears.
 */
import {
  chmodSync,
  chownSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  renameSync,
  rmSync,
  type Stats,
  statSync,
  symlinkSync,
  unlinkSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import { errnoOf } from '../errors.js';
import type { Wafer } from '../stack/from-wafers.js';
import { syncDirectory, writeFileAtomic } from '../sys/files.js';
import { isAlive, readProcessStat } from '../sys/process-stat.js';

/** `:` is in no wafer's name. The process is named in it: what is left of one that has ended is nobody's. */
const UNFINISHED = /^\.new:([0-9]+)-([0-9]+)(:[0-9]+)?$/;

/**
 * Where this process makes what is to be renamed into its place in WAFERS, or in a directory below.
 * @param prefix  in front of the name, for other directories: what it will be
 */
export function unfinishedPath(wafers: string, prefix = ''): string {
  const start = readProcessStat(process.pid)?.startTimeTicks ?? 0;
  return join(wafers, `${prefix}.new:${process.pid}-${start}`);
}

/** Removes what commands that were killed have left in WAFERS. What cannot be removed is in nobody's way. */
export function clearUnfinished(wafers: string): void {
  for (const { path } of unfinishedIn(wafers).filter(isLeft))
    quietly(() => rmSync(path, { recursive: true, force: true }));
}

/** Removes what this process has put aside. */
export function clearDiscarded(wafers: string): void {
  for (const { path, owner, number } of unfinishedIn(wafers))
    if (owner.pid === process.pid && number !== undefined)
      quietly(() => rmSync(path, { recursive: true, force: true }));
}

/**
 * Removes the files that commands that were killed have left in a directory, which others may write to: only plain
 * files of the caller's own, for anybody can make a directory of that name, and put a link in its place meanwhile.
 */
export function clearUnfinishedFiles(directory: string, prefix: string): void {
  for (const { path } of unfinishedIn(directory, prefix).filter(isLeft))
    quietly(() => {
      const stat = lstatSync(path);
      if (stat.isFile() && stat.uid === process.geteuid?.()) unlinkSync(path);
    });
}

interface Unfinished {
  readonly path: string;
  readonly owner: Parameters<typeof isAlive>[0];
  readonly number: string | undefined;
}

const isLeft = ({ owner }: Unfinished): boolean => !isAlive(owner);

function unfinishedIn(directory: string, prefix = ''): Unfinished[] {
  const names = quietly(() => readdirSync(directory)) ?? [];
  return names
    .filter((name) => name.startsWith(prefix))
    .flatMap((name) => {
      const [, pid, start, number] = UNFINISHED.exec(name.slice(prefix.length)) ?? [];
      if (pid === undefined) return [];
      const owner = { pid: Number(pid), startTimeTicks: Number(start) };
      return [{ path: join(directory, name), owner, number }];
    });
}

/** No WAFERS, or one that cannot be written: the command itself finds out. */
function quietly<T>(act: () => T): T | undefined {
  try {
    return act();
  } catch {
    return undefined;
  }
}

export interface NewWafer {
  /** What it lies on; a base has none. */
  readonly parent?: Wafer | undefined;
  /** An image is sealed from the beginning, and no machine: it gets no id. */
  readonly image?: boolean;
}

/**
 * Makes a wafer, empty but for a machine-id where the parent has one.
 * @param directory  WAFERS/NAME
 * @returns false when there is one of that name by now
 */
export function createWafer(directory: string, { parent, image = false }: NewWafer): boolean {
  return buildBeside(directory, (beside) => {
    makeWaferFrame(beside, { parent, image });
    makeData(join(beside, 'data'), parent && join(parent.directory, 'data'), { machineId: !image });
    syncDirectory(beside);
  });
}

/** All of a wafer but its `data`. */
export function makeWaferFrame(place: string, { parent, image }: NewWafer): void {
  ownDirectory(place, { mode: 0o755 });
  ownDirectory(join(place, 'work'), { mode: 0o755 });
  if (image) writeFileAtomic(join(place, 'sealed'), '');
  if (!parent) return;
  writeFileAtomic(join(place, 'parent'), `${parent.name}\n`);
}

/** Makes the `data` that a wafer has lost, as a new wafer's. */
export function replaceData(directory: string, parent: Wafer): void {
  freshData(directory, parent, () => {});
}

/** Makes a wafer's `data` anew, as a new wafer's; what it had goes when all is made. */
export function resetData(directory: string, parent: Wafer): void {
  freshData(directory, parent, (data) => discard(data, dirname(directory)));
}

function freshData(directory: string, parent: Wafer, makeWay: (data: string) => void): void {
  const data = join(directory, 'data');
  const make = (beside: string): void => {
    makeData(beside, join(parent.directory, 'data'), { machineId: true });
    makeWay(data);
  };
  buildBeside(data, make, dirname(directory));
}

/** Takes back a wafer that createWafer() made. */
export function removeWafer(directory: string): void {
  const beside = unfinishedPath(dirname(directory));
  renameSync(directory, beside);
  rmSync(beside, { recursive: true, force: true });
}

/** So many were put aside by this process. */
let aside = 0;

/** A place in WAFERS that is cleared in the end: by clearDiscarded(), or the next command. */
const placeAside = (wafers: string): string => `${unfinishedPath(wafers)}:${++aside}`;

/**
 * Makes a symbolic link that is not in its place yet.
 * @returns puts it there, by one rename, in place of the one before: no disk is too full for that
 */
export function prepareLink(wafers: string, target: string): (path: string) => void {
  const beside = placeAside(wafers);
  symlinkSync(target, beside);
  return (path) => {
    renameSync(beside, path);
    syncDirectory(dirname(path));
  };
}

/**
 * Takes something out of the store by one rename; clearDiscarded(), or the next command, removes the files.
 * @param wafers  on the same file system; unless given, the directory that it is in
 */
export function discard(path: string, wafers = dirname(path)): void {
  try {
    renameSync(path, placeAside(wafers));
  } catch (error) {
    if (errnoOf(error) !== 'ENOENT') throw error;
  }
  syncDirectory(dirname(path));
}

/**
 * Makes something beside and renames it into its place.
 * @param wafers  where it is made; unless given, the directory of the place
 * @returns false when there is such a directory by now
 */
export function buildBeside(place: string, make: (beside: string) => void, wafers = dirname(place)): boolean {
  const beside = unfinishedPath(wafers);
  try {
    make(beside);
    renameSync(beside, place);
    syncDirectory(dirname(place));
    return true;
  } catch (error) {
    rmSync(beside, { recursive: true, force: true });
    // rename(2): a directory that is not empty is never replaced.
    if (['ENOTEMPTY', 'EEXIST'].includes(errnoOf(error) ?? '')) return false;
    throw error;
  }
}

type Owned = Pick<Stats, 'mode'> & Partial<Pick<Stats, 'uid' | 'gid'>>;

/** A directory with exactly this mode, whatever the umask. */
function ownDirectory(path: string, { mode, uid, gid }: Owned): void {
  mkdirSync(path);
  if (uid !== undefined && gid !== undefined) chownSync(path, uid, gid);
  chmodSync(path, mode & 0o7777);
}

/** An upper directory for a child of what is in `parentData`, or for a base. */
function makeData(data: string, parentData: string | undefined, { machineId }: { machineId: boolean }): void {
  const { uid, gid } = parentData === undefined ? { uid: 0, gid: 0 } : statSync(parentData);
  ownDirectory(data, { mode: 0o755, uid, gid });
  if (machineId && parentData !== undefined) makeMachineId(data, parentData, { uid, gid });
  syncDirectory(data);
}

/** Its own id for who has one below; the files that it makes belong to the data's owner. */
function makeMachineId(data: string, parentData: string, { uid, gid }: Pick<Stats, 'uid' | 'gid'>): void {
  const etc = resolveInside(parentData, ['etc']);
  if (etc && resolveInside(parentData, [...etc, 'machine-id'], 'file')) {
    // Each directory on the way is one of the overlay's own: it has to look like the one that it lies on.
    etc.forEach((_, i) => {
      const way = etc.slice(0, i + 1);
      ownDirectory(join(data, ...way), statSync(join(parentData, ...way)));
    });
    writeFileAtomic(join(data, ...etc, 'machine-id'), newMachineId(), { owner: { uid, gid } });
    etc.forEach((_, i) => {
      syncDirectory(join(data, ...etc.slice(0, i)));
    });
  }
}

/** A random UUID (version 4) without its dashes, which is what machine-id(5) asks for. */
const newMachineId = (): string => readFileSync('/proc/sys/kernel/random/uuid', 'utf8').replaceAll('-', '');

const LINKS_MAX = 40;

/**
 * Where a path of a root leads to, links being followed as the root's own programs do: never out of it.
 * @returns the components without links; undefined where there is nothing of that kind
 */
function resolveInside(
  root: string,
  path: readonly string[],
  kind: 'directory' | 'file' = 'directory',
): string[] | undefined {
  const ahead = [...path];
  const way: string[] = [];
  let links = 0;
  for (let name = ahead.shift(); name !== undefined; name = ahead.shift()) {
    if (name === '' || name === '.') continue;
    if (name === '..') {
      way.pop();
      continue;
    }
    const place = join(root, ...way, name);
    const stat = lstatSync(place, { throwIfNoEntry: false });
    if (stat?.isSymbolicLink() && links < LINKS_MAX) {
      links++;
      const target = readlinkSync(place);
      if (target.startsWith('/')) way.length = 0;
      ahead.unshift(...target.split('/'));
    } else if (stat?.isDirectory() || (stat?.isFile() && ahead.length === 0)) way.push(name);
    else return undefined;
  }
  const end = lstatSync(join(root, ...way), { throwIfNoEntry: false });
  return (kind === 'file' ? end?.isFile() : end?.isDirectory()) ? way : undefined;
}
