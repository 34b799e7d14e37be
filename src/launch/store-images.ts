/** Images: made, opened for editing, sealed, deleted. */
import { existsSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Failure, quoted, UserError } from '../errors.js';
import {
  checkStackable,
  readWafer,
  requireWafer,
  stackFromWafers,
  traceAncestry,
  type Wafer,
} from '../stack/from-wafers.js';
import { realPath } from '../stack/root-kind.js';
import {
  checkStoreName,
  childrenOf,
  type Image,
  pointDirectory,
  readImage,
  readStore,
  requireImage,
  requireSealed,
} from '../stack/store.js';
import { isFlocked } from '../state/liveness.js';
import { syncDirectory } from '../sys/files.js';
import { mountsOf } from '../sys/mountinfo.js';
import { buildBeside, createWafer, discard } from './make-wafer.js';
import {
  checkEmptyMountPoint,
  checkUnused,
  isOwnStacked,
  isStacked,
  isStackOf,
  mountAt,
  removeIfEmpty,
  unmountAt,
} from './mount-point.js';
import { type Store, type StorePlaces, withStore } from './store-lock.js';
import { mountPointOf, type WaferPlaces } from './wafers.js';

/** Of a list of names in a message so many are shown. */
const SHOWN = 5;

/**
 * Makes an image, sealed and empty.
 * @param parent  the image that it lies on; without it, it is a base
 * @throws UserError for a name that is taken or cannot be one, Failure for a parent that is open
 */
export async function newImage(places: StorePlaces, name: string, parent: string | undefined): Promise<void> {
  checkStoreName(name);
  await withStore(places, ({ wafers }) => {
    checkFree(wafers, name);
    createWafer(join(wafers, name), { parent: parentWafer(wafers, name, parent), image: true });
  });
}

/** What a new image is to lie on, looked at with all that this lies on. */
export function parentWafer(wafers: string, name: string, parent: string | undefined): Wafer | undefined {
  if (parent === undefined) return undefined;
  requireSealed(wafers, parent);
  checkStackable({ name, sealed: false }, traceAncestry(wafers, name, parent));
  return requireWafer(wafers, parent);
}

/** @throws UserError where there is a wafer, an image or a point of that name: they share one name space */
export function checkFree(wafers: string, name: string): void {
  const what = existsSync(pointDirectory(wafers, name))
    ? 'a point'
    : readImage(wafers, name)
      ? 'an image'
      : existsSync(join(wafers, name))
        ? 'a wafer'
        : undefined;
  if (what)
    throw new UserError({ what: `${quoted(name)} is the name of ${what}`, todo: 'choose another name' });
}

/**
 * Mounts an image at STACKS/NAME so that it can be written to, and is open from then on; or read-only.
 * @returns the mount point
 * @throws Failure for one that something lies upon, or that is mounted otherwise
 */
export async function editImage(
  places: StorePlaces,
  name: string,
  { readOnly }: { readonly readOnly: boolean },
): Promise<{ readonly path: string; readonly mountedBefore: boolean }> {
  checkStoreName(name);
  return await withStore(places, async (store) => {
    const { wafers } = store;
    const path = mountPointOf(store, name);
    const { state } = requireImage(wafers, name);
    if (readOnly && state === 'open') throw openAlready(name);
    if (isOwnStacked(path, (wafer) => wafer === name)) {
      if (readOnly === isReadOnly(path)) return { path, mountedBefore: true };
      throw new Failure({
        what: `image ${quoted(name)} is mounted ${readOnly ? 'for writing' : 'read-only'} at ${path}`,
        todo: `stacko close-image ${name} first`,
      });
    }
    if (!readOnly && state === 'sealed') refuseChildren(wafers, name, 'edited');
    checkEmptyMountPoint(path);
    const image = requireWafer(wafers, name);
    checkUnused(image);
    if (!readOnly) refuseExport(image);
    // Opened before it can be written to: a crash leaves an image that is open, never one that changes while sealed.
    if (!readOnly) rename(image, { from: 'sealed', to: 'open' });
    try {
      const mountedBefore = !(await mountImage(store, image, path, readOnly));
      return { path, mountedBefore };
    } catch (error) {
      if (!readOnly && state === 'sealed') rename(image, { from: 'open', to: 'sealed' });
      throw error;
    }
  });
}

const openAlready = (name: string): Failure =>
  new Failure({
    what: `image ${quoted(name)} is open for editing`,
    todo: `stacko close-image ${name} first`,
  });

const isReadOnly = (path: string): boolean => {
  const real = realPath(path);
  // The last one covers those before.
  const mount = mountsOf('self').findLast(({ mountPoint }) => mountPoint === real);
  return mount !== undefined && (mount.options.includes('ro') || !/(^|,)rw(,|$)/.test(mount.superOptions));
};

async function mountImage(
  { wafers, stacks, hold }: Store,
  image: Wafer,
  path: string,
  readOnly: boolean,
): Promise<boolean> {
  const ancestors = image.parent === undefined ? [] : traceAncestry(wafers, image.name, image.parent);
  const stack = { ...stackFromWafers(image, ancestors), readOnly };
  return await mountAt({ stack, path, stacks, lock: image.directory, hold });
}

/** One rename says whether an image is open. */
function rename({ directory }: Wafer, { from, to }: { from: string; to: string }): void {
  if (!existsSync(join(directory, from))) return;
  renameSync(join(directory, from), join(directory, to));
  syncDirectory(directory);
}

/**
 * Unmounts an image, and seals it if it is open. A wafer becomes an image so.
 * @returns what it was; `sealed` also for one that was mounted read-only
 * @throws Failure naming who holds the mount, or who else has it as its writable layer
 */
export async function closeImage(
  places: StorePlaces,
  name: string,
): Promise<{ readonly state: Image['state'] | 'wafer'; readonly unmounted: boolean }> {
  checkStoreName(name);
  return await withStore(places, async (store) => {
    const state = readImage(store.wafers, name)?.state;
    if (!state && !readWafer(store.wafers, name)?.hasData) requireImage(store.wafers, name);
    const image = requireWafer(store.wafers, name);
    const path = mountPointOf(store, name);
    const unmounted = isOwnStacked(path, (wafer) => wafer === name) && (await unmountAt(path));
    if (!unmounted) removeIfEmpty(path);
    if (state === 'sealed') return { state, unmounted };
    refuseUse(image);
    await flush(join(image.directory, 'data'));
    if (state === 'open') rename(image, { from: 'open', to: 'sealed' });
    else buildBeside(join(image.directory, 'sealed'), (beside) => writeFileSync(beside, ''), store.wafers);
    return { state: state ?? 'wafer', unmounted };
  });
}

/** What was written to an image is on the disk before it is called sealed: syncfs(2) of its file system. */
export async function flush(path: string): Promise<void> {
  const { runProgram } = await import('../sys/run.js');
  await runProgram(['sync', '-f', '--', path]);
}

/**
 * @throws Failure where it is mounted by the host, or a running subhost has it as its writable layer (which locks its
 * work directory)
 */
export function refuseUse(wafer: Wafer): void {
  checkUnused(wafer);
  if (isFlocked(join(wafer.directory, 'work')))
    throw new Failure({
      what: `${quoted(wafer.name)} is in use: a running subhost has it as its writable layer`,
      todo: 'stop that first',
    });
}

/** An export has the lock of the image's data. */
function refuseExport({ name, directory }: Wafer): void {
  if (isFlocked(join(directory, 'data')))
    throw new Failure({
      what: `image ${quoted(name)} is being exported`,
      todo: 'try again when that is done',
    });
}

/** @throws Failure for one that is mounted, or that something lies upon */
export async function deleteImage(places: StorePlaces, name: string): Promise<void> {
  checkStoreName(name);
  await withStore(places, (store) => {
    requireImage(store.wafers, name);
    refuseChildren(store.wafers, name, 'deleted');
    const path = mountPointOf(store, name);
    if (isStacked(path))
      throw new Failure({
        what: `image ${quoted(name)} is mounted at ${path}`,
        todo: `stacko close-image ${name} first`,
      });
    // Of one whose data was removed by hand the rest goes.
    const image = readWafer(store.wafers, name);
    if (image) refuseUse(image);
    if (image) refuseExport(image);
    discard(join(store.wafers, name));
  });
}

function refuseChildren(wafers: string, name: string, verb: string): void {
  const children = childrenOf(wafers, name);
  if (children.length === 0) return;
  const more = children.length > SHOWN ? ` and ${children.length - SHOWN} more` : '';
  throw new Failure({
    what: `image ${quoted(name)} cannot be ${verb}: ${children.slice(0, SHOWN).join(', ')}${more} ${children.length === 1 ? 'lies' : 'lie'} upon it`,
    todo: verb === 'edited' ? 'make a new image in its place' : 'delete those first',
  });
}

/** An image with what is known of its use. */
export interface ImageRow extends Image {
  readonly mounted: boolean;
  /** The points that have an instance of it. */
  readonly points: readonly string[];
}

/** All images, by name. */
export function imageRows({ wafers, stacks }: WaferPlaces): ImageRow[] {
  const { images, instances } = readStore(wafers);
  const points = new Map<string, string[]>();
  for (const { image, point } of instances) {
    const known = points.get(image);
    if (known) known.push(point);
    else points.set(image, [point]);
  }
  const mounts = new Map(mountsOf('self').map((mount) => [mount.mountPoint, mount]));
  const real = realPath(stacks);
  return images.map(({ name, parent, state }) => {
    const mount = mounts.get(`${real}/${name}`);
    const mounted = mount !== undefined && isStackOf(mount, (wafer) => wafer === name);
    return { name, parent, state, mounted, points: points.get(name) ?? [] };
  });
}
