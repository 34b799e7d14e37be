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
} from 'node:fs';
import { dirname, join } from 'node:path';
import { errnoOf } from '../errors.js';
import type { Wafer } from '../stack/from-wafers.js';
import { syncDirectory, writeFileAtomic } from '../sys/files.js';
import { isAlive, readProcessStat } from '../sys/process-stat.js';

/** `:` is in no wafer's name. The process is named in it: what is left of one that has ended is nobody's. */
const UNFINISHED = /^\.new:([0-9]+)-([0-9]+)$/;

function unfinishedPath(wafers: string): string {
  const start = readProcessStat(process.pid)?.startTimeTicks ?? 0;
  return join(wafers, `.new:${process.pid}-${start}`);
}

/** Removes what commands that were killed have left in WAFERS. What cannot be removed is in nobody's way. */
export function clearUnfinished(wafers: string): void {
  try {
    for (const name of readdirSync(wafers)) {
      const [, pid, start] = UNFINISHED.exec(name) ?? [];
      if (pid === undefined || isAlive({ pid: Number(pid), startTimeTicks: Number(start) })) continue;
      rmSync(join(wafers, name), { recursive: true, force: true });
    }
  } catch {
    // No WAFERS, or one that cannot be written: the command itself finds out.
  }
}

/**
 * Makes a wafer upon its parent, empty but for a machine-id where the parent has one.
 * @param directory  WAFERS/NAME
 * @returns false when there is one of that name by now
 */
export function createWafer(directory: string, parent: Wafer): boolean {
  return build(directory, (beside) => {
    ownDirectory(beside, { mode: 0o755 });
    ownDirectory(join(beside, 'work'), { mode: 0o755 });
    makeData(join(beside, 'data'), join(parent.directory, 'data'));
    writeFileAtomic(join(beside, 'parent'), `${parent.name}\n`);
    chmodSync(join(beside, 'parent'), 0o644);
  });
}

/** Makes the `data` that a wafer has lost, as a new wafer's. */
export function replaceData(directory: string, parent: Wafer): void {
  build(
    join(directory, 'data'),
    (beside) => makeData(beside, join(parent.directory, 'data')),
    dirname(directory),
  );
}

/** Takes back a wafer that createWafer() made. */
export function removeWafer(directory: string): void {
  const beside = unfinishedPath(dirname(directory));
  renameSync(directory, beside);
  rmSync(beside, { recursive: true, force: true });
}

function build(place: string, make: (beside: string) => void, wafers = dirname(place)): boolean {
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

/** An upper directory for a child of what is in `parentData`. */
function makeData(data: string, parentData: string): void {
  const { uid, gid } = statSync(parentData);
  ownDirectory(data, { mode: 0o755, uid, gid });
  const etc = resolveInside(parentData, ['etc']);
  if (etc && resolveInside(parentData, [...etc, 'machine-id'], 'file')) {
    // Each directory on the way is one of the overlay's own: it has to look like the one that it lies on.
    etc.forEach((_, i) => {
      const way = etc.slice(0, i + 1);
      ownDirectory(join(data, ...way), statSync(join(parentData, ...way)));
    });
    const file = join(data, ...etc, 'machine-id');
    writeFileAtomic(file, newMachineId());
    chownSync(file, uid, gid);
    chmodSync(file, 0o644);
  }
  syncDirectory(data);
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
