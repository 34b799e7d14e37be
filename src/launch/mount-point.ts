/** Mount points in STACKS: made, mounted on, and taken away again, with the words for what is in the way. */
import { mkdirSync, rmdirSync, statSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { errnoOf, Failure, quoted } from '../errors.js';
import type { Wafer } from '../stack/from-wafers.js';
import { realPath } from '../stack/root-kind.js';
import type { Stack } from '../stack/stack.js';
import { makePath, namesIn } from '../sys/files.js';
import { isMountPoint, type Mount, mountsOf, unescapeOctal } from '../sys/mountinfo.js';
import { mountStack, NoMountPoint, unmountStack } from './mount-stack.js';

/** Whoever mounts or unmounts at the same time may take the mount point away: it is tried again, this often. */
const TRIES = 50;

/** Is anything mounted there? Links on the way are followed. */
export const isStacked = (path: string): boolean => isMountPoint(realPath(path));

/** @throws Failure for what is there and is no directory */
export function checkMountPoint(path: string): void {
  const stat = statSync(path, { throwIfNoEntry: false });
  if (stat && !stat.isDirectory())
    throw new Failure({
      what: `${path} is no directory`,
      todo: 'the stack would be mounted there: move it away',
    });
}

/** @throws Failure for what is there and is no directory, or has files of its own, which nobody would see then */
export function checkEmptyMountPoint(path: string): void {
  checkMountPoint(path);
  // Somebody may mount and unmount there meanwhile: then it is not the directory's own files that were seen.
  if (hasEntries(path) && !isStacked(path) && hasEntries(path))
    throw new Failure({
      what: `${path} is not empty`,
      todo: 'the stack would be mounted there and hide what is in it: move that away',
    });
}

const hasEntries = (directory: string): boolean => namesIn(directory).length > 0;

/** Of several mounts in a message so many are shown. */
const SHOWN = 5;

/** Is it the stack of a wafer with such a name? One layer alone is bind-mounted, which shows in what its root is. */
export function isStackOf(mount: Mount, isName: (wafer: string) => boolean): boolean {
  const uppers = uppersOf(mount);
  const isOurs = mount.type === 'overlay' && mount.source === SOURCE;
  if (isOurs && uppers.length === 0) return true; // read-only
  return [...uppers, mount.root.replace(/\/\/deleted$/, '')].some(
    (path) => basename(path) === 'data' && isName(basename(dirname(path))),
  );
}

/** The device of the overlays that the init program mounts. */
const SOURCE = 'overlay-boot';

/**
 * Is the stack of a wafer with such a name mounted there? Links on the way are followed.
 * @throws Failure where something else is: it was mounted by somebody else, who knows why
 */
export function isOwnStacked(path: string, isName: (wafer: string) => boolean): boolean {
  const real = realPath(path);
  const mounts = mountsOf('self').filter(({ mountPoint }) => mountPoint === real);
  refuseMounts(
    path,
    mounts.filter((mount) => !isStackOf(mount, isName)),
  );
  return mounts.length > 0;
}

/** @throws Failure where more is mounted there than the one stack: who unmounts that does not put it back */
export function refuseOtherMounts(path: string, isName: (wafer: string) => boolean): void {
  const real = realPath(path);
  const mounts = mountsAt(path);
  const own = mounts.findIndex(({ mountPoint }) => mountPoint === real);
  const others = mounts.filter((mount, i) => i !== own || !isStackOf(mount, isName));
  refuseMounts(path, others);
}

function refuseMounts(path: string, others: readonly Mount[]): void {
  if (others.length === 0) return;
  const names = others.slice(0, SHOWN).map(({ mountPoint, type }) => `${mountPoint} (${type})`);
  const more = others.length > SHOWN ? ` and ${others.length - SHOWN} more` : '';
  throw new Failure({
    what: `${path} is busy: somebody has mounted ${names.join(', ')}${more} there`,
    todo: 'unmount that first',
  });
}

/**
 * A writable layer has one user. The init program looks once more, under the lock; here it can be said where.
 * @throws Failure naming where the host has it mounted
 */
export function checkUnused(
  { name, directory, hasData }: Wafer,
  mounts: readonly Mount[] = mountsOf('self'),
): void {
  if (!hasData) return;
  const data = statSync(join(directory, 'data'));
  const user = mounts.find((mount) =>
    uppersOf(mount).some((upper) => {
      const stat = statSync(upper, { throwIfNoEntry: false });
      return stat?.ino === data.ino && stat.dev === data.dev;
    }),
  );
  if (user)
    throw new Failure({
      what: `${quoted(name)} is in use: its data is the writable layer of what is mounted at ${user.mountPoint}`,
      todo: 'unmount that first',
    });
}

/** A backslash is an escape in an upper that was given as text, and none in one given by descriptor: both are tried. */
function uppersOf({ type, superOptions }: Mount): string[] {
  const [, upper] = (type === 'overlay' && /(?:^|,)upperdir=([^,]*)/.exec(superOptions)) || [];
  if (upper === undefined) return [];
  const text = unescapeOctal(upper);
  return [text, text.replace(/\\(.)/gs, '$1')];
}

/** What mountAt() puts where. */
export interface MountRequest {
  readonly stack: Stack;
  /** The mount point, in `stacks`; both are made where they are missing. */
  readonly path: string;
  readonly stacks: string;
  /** A directory that is locked meanwhile: of several at once, one mounts. */
  readonly lock: string;
  /** A descriptor whose lock is held until the mount is there, also if this process is killed. */
  readonly hold?: number | undefined;
}

/**
 * Mounts a stack with its devices at a mount point in STACKS. Of what fails no mount point is left.
 * @returns false where something is mounted there already
 */
export async function mountAt({ stack, path, stacks, lock, hold }: MountRequest): Promise<boolean> {
  const made = makePath(stacks, 0o700);
  try {
    return await onMountPoint(path, stacks, () => mountStack(stack, path, { lock, devices: true, hold }));
  } catch (error) {
    if (!isStacked(path)) {
      removeIfEmpty(path);
      for (let up = stacks; made !== undefined && up.length >= made.length; up = dirname(up))
        removeIfEmpty(up);
    }
    throw error;
  }
}

async function onMountPoint(path: string, stacks: string, mount: () => Promise<boolean>): Promise<boolean> {
  for (let tries = 1; ; tries++) {
    try {
      makeMountPoint(path, stacks);
      return await mount();
    } catch (error) {
      if (tries === TRIES || !(error instanceof NoMountPoint)) throw error;
    }
  }
}

function makeMountPoint(path: string, stacks: string): void {
  try {
    makePath(stacks, 0o700);
    mkdirSync(path, { mode: 0o755 });
  } catch (error) {
    const errno = errnoOf(error);
    if (errno === 'ENOENT') throw new NoMountPoint(path, error);
    if (errno !== 'EEXIST') throw error;
  }
}

/** A mount point that has files of its own, or is a link, was not made by us. */
export function removeIfEmpty(directory: string): void {
  try {
    rmdirSync(directory);
  } catch (error) {
    if (!['ENOENT', 'ENOTEMPTY', 'EEXIST', 'ENOTDIR', 'EBUSY'].includes(errnoOf(error) ?? '')) throw error;
  }
}

/**
 * Unmounts everything at and below a mount point, and removes that.
 * @returns false when nothing is mounted there
 * @throws Failure naming who holds it; nothing is unmounted then
 */
export async function unmountAt(path: string): Promise<boolean> {
  for (let tries = 1, found = false; ; tries++, found = true) {
    const mounts = mountsAt(path);
    if (found && mounts.length === 0) removeIfEmpty(path);
    if (mounts.length === 0) return found;
    // Of several the last might be the one that is busy, when the others are gone.
    if (mounts.length > 1) await refuseIfHeld(path, mounts);
    try {
      await unmountStack(path);
      removeIfEmpty(path);
      return true;
    } catch (error) {
      await refuseIfHeld(path, mountsAt(path));
      // Nobody holds it: somebody else unmounts it at the same time, or has, and mounts it anew.
      if (tries === TRIES) throw error;
    }
  }
}

/** The mounts at a path and below it; none where nothing is mounted at the path itself. */
function mountsAt(path: string): Mount[] {
  const real = realPath(path);
  const mounts = mountsOf('self').filter(
    ({ mountPoint }) => mountPoint === real || mountPoint.startsWith(`${real}/`),
  );
  return mounts.some(({ mountPoint }) => mountPoint === real) ? mounts : [];
}

async function refuseIfHeld(path: string, mounts: readonly Mount[]): Promise<void> {
  if (mounts.length === 0) return;
  const { holdersOf, holdersText } = await import('./holders.js');
  const holders = holdersOf(mounts);
  if (holders.length > 0)
    throw new Failure({ what: `${path} is busy: in use by ${holdersText(holders)}`, todo: 'end that first' });
}
