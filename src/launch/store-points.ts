/** Points: which instance of which image they are, generation after generation. */
import { existsSync, mkdirSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import { Failure, quoted, UserError } from '../errors.js';
import { checkWhole, whyBroken } from '../stack/from-store.js';
import { readWafer, requireWafer, stackOfWafer } from '../stack/from-wafers.js';
import {
  checkInstanceName,
  checkStoreName,
  fallbackOf,
  imageOfInstance,
  instancesOf,
  isInstanceOf,
  type Point,
  pointDirectory,
  requirePoint,
  requireSealed,
} from '../stack/store.js';
import { syncDirectory } from '../sys/files.js';
import { buildBeside, createWafer, discard, prepareLink, replaceData, resetData } from './make-wafer.js';
import {
  checkEmptyMountPoint,
  checkUnused,
  isOwnStacked,
  isStacked,
  mountAt,
  refuseOtherMounts,
  unmountAt,
} from './mount-point.js';
import { makeGeneration, noted, parentOf, undoing } from './store-change.js';
import { checkFree, parentWafer, refuseUse } from './store-images.js';
import { checkRoomToMount, type Store, type StorePlaces, withStore } from './store-lock.js';
import { mountPointOf, type WaferPlaces } from './wafers.js';

/** What a switch of a point came to. */
export interface Switched {
  /** The instance that is current now. */
  readonly instance: string;
  /** False where it was so already. */
  readonly changed: boolean;
  /** Where it is mounted now; undefined where it was not. */
  readonly mountedAt: string | undefined;
}

/**
 * Makes a point with a new instance of an image as its first generation.
 * @param whenMade  called with its directory, before that is in its place and anybody can come by it
 * @returns the instance
 */
export async function newPoint(
  places: StorePlaces,
  point: string,
  image: string,
  whenMade: (directory: string) => void = () => {},
): Promise<string> {
  const instance = checkInstanceName(image, point);
  return await withStore(places, async ({ wafers }) => {
    checkFree(wafers, point);
    const [left] = instancesOf(wafers, point);
    if (left)
      throw new Failure({
        what: `${quoted(left.name)} is left of a point ${quoted(point)} that is gone`,
        todo: `stacko delete-stackpoint ${point} removes it`,
      });
    requireSealed(wafers, image);
    await noted(wafers, { change: 'new-point', point, made: instance }, () => {
      makeInstance(wafers, instance, image);
      const make = (beside: string): void => {
        makePoint(beside, instance);
        whenMade(beside);
      };
      buildBeside(pointDirectory(wafers, point), make, wafers);
    });
    return instance;
  });
}

function makePoint(beside: string, instance: string): void {
  mkdirSync(beside, { mode: 0o755 });
  makeGeneration(join(beside, '1'), instance, undefined);
  symlinkSync('1', join(beside, 'current'));
  syncDirectory(beside);
}

/** Makes what there is not of an instance. */
function makeInstance(wafers: string, instance: string, image: string): void {
  const parent = parentWafer(wafers, instance, image);
  const directory = join(wafers, instance);
  if (parent && readWafer(wafers, instance)?.parent === image) {
    replaceData(directory, parent);
    return;
  }
  if (existsSync(directory)) discard(directory); // somebody has removed all that made it one
  createWafer(directory, { parent });
}

/**
 * Removes a point with all its instances and what was changed in them.
 * @throws Failure where it is mounted, or an instance of it is in use
 */
export async function deletePoint(places: StorePlaces, point: string): Promise<void> {
  checkStoreName(point);
  await withStore(places, async (store) => {
    const { wafers } = store;
    const instances = instancesOf(wafers, point);
    if (!existsSync(pointDirectory(wafers, point)) && instances.length === 0) requirePoint(wafers, point);
    refuseMounted(store, point, 'umount it');
    for (const { name } of instances) refuseUseOf(wafers, name);
    await noted(wafers, { change: 'delete-point', point }, () => {});
  });
}

/** One of which something was removed by hand may be in use, too. */
function refuseUseOf(wafers: string, instance: string): void {
  const wafer = readWafer(wafers, instance);
  if (wafer) refuseUse(wafer);
}

function refuseMounted(places: WaferPlaces, point: string, todo: string): void {
  const path = mountPointOf(places, point);
  if (isStacked(path))
    throw new Failure({ what: `point ${quoted(point)} is mounted at ${path}`, todo: `${todo} first` });
}

/**
 * Makes an instance of an image for a point, and leaves the point as it is.
 * @returns false where there is one already
 */
export async function newInstance(places: StorePlaces, point: string, image: string): Promise<boolean> {
  const instance = checkInstanceName(image, point);
  return await withStore(places, ({ wafers }) => {
    requirePoint(wafers, point);
    const there = readWafer(wafers, instance);
    if (there?.hasData) return false;
    requireSealed(wafers, image);
    makeInstance(wafers, instance, image);
    return true;
  });
}

/**
 * Removes an instance, what was changed in it, and the generations that were it; fallback then goes past them.
 * @throws Failure for the current instance, and for one that is in use
 */
export async function deleteInstance(places: StorePlaces, point: string, image: string): Promise<void> {
  const instance = checkInstanceName(image, point);
  await withStore(places, async ({ wafers }) => {
    const { current, generations } = requirePoint(wafers, point);
    // One that was removed by hand is still in the history.
    if (!generations.some((generation) => generation.instance === instance))
      requireInstance(wafers, point, image, 'stacko list-images --tree shows those that there are');
    if (current.instance === instance)
      throw new Failure({
        what: `${quoted(instance)} is the current instance of ${quoted(point)}`,
        todo: `stacko cutover-stackpoint ${point} to another image first, or delete-stackpoint ${point}`,
      });
    refuseUseOf(wafers, instance);
    await noted(wafers, { change: 'delete-instance', instance }, () => {});
  });
}

function requireInstance(
  wafers: string,
  point: string,
  image: string,
  todo = `stacko new-stackpoint-instance ${point} ${image} makes one`,
) {
  const wafer = readWafer(wafers, checkInstanceName(image, point));
  if (wafer) return wafer;
  throw new UserError({ what: `point ${quoted(point)} has no instance of ${quoted(image)}`, todo });
}

/**
 * Empties an instance: it is as its image again.
 * @throws Failure for one that is in use
 */
export async function resetInstance(places: StorePlaces, point: string, image: string): Promise<void> {
  const instance = checkInstanceName(image, point);
  await withStore(places, async ({ wafers }) => {
    requirePoint(wafers, point);
    const wafer = requireInstance(wafers, point, image);
    refuseUse(wafer);
    await noted(wafers, { change: 'reset', instance }, () =>
      resetData(wafer.directory, parentOf(wafers, instance)),
    );
  });
}

/**
 * Makes an instance that is there the current one of a point that is not mounted.
 * @throws UserError where there is no such instance, Failure where the point is mounted
 */
export async function setInstance(places: StorePlaces, point: string, image: string): Promise<Switched> {
  checkInstanceName(image, point);
  return await withStore(places, async (store) => {
    const from = requirePoint(store.wafers, point);
    requireInstance(store.wafers, point, image);
    refuseMounted(store, point, 'umount it, or cutover-stackpoint it, which does that,');
    return await toImage(store, from, image);
  });
}

/**
 * Makes an instance of another image current, a new one if there is none yet. What is mounted is mounted anew.
 * @throws Failure for what is in the way; the old instance is then current, and mounted if it was
 */
export async function cutover(places: StorePlaces, point: string, image: string): Promise<Switched> {
  checkInstanceName(image, point);
  return await withStore(
    places,
    async (store) => await toImage(store, requirePoint(store.wafers, point), image),
  );
}

async function toImage(store: Store, point: Point, image: string): Promise<Switched> {
  const { wafers } = store;
  const instance = checkInstanceName(image, point.name);
  requireSealed(wafers, image);
  const path = mountPointOf(store, point.name);
  const there = readWafer(wafers, instance);
  if (point.current.instance === instance && there?.hasData)
    return { instance, changed: false, mountedAt: isStacked(path) ? path : undefined };
  if (there) refuseUse(there);
  const number = 1 + Math.max(...point.generations.map((generation) => generation.number));
  const made = there ? undefined : instance;
  return await noted(wafers, { change: 'generation', point: point.name, number, made }, async () => {
    if (!there?.hasData) makeInstance(wafers, instance, image);
    const place = join(point.directory, String(number));
    buildBeside(place, (beside) => makeGeneration(beside, instance, point.current.number), wafers);
    return await switchTo(store, point, { number, instance });
  });
}

/**
 * Makes the generation before current again, with every change that it had.
 * @throws Failure where there is none before, or for what is in the way
 */
export async function fallback(places: StorePlaces, point: string): Promise<Switched> {
  checkStoreName(point);
  return await withStore(places, async (store) => {
    const from = requirePoint(store.wafers, point);
    const target = fallbackOf(from);
    if (!target)
      throw new Failure({
        what: `point ${quoted(point)} has nothing to fall back to: ${from.current.instance} replaced no other instance`,
      });
    checkFallback(store.wafers, point, target.instance);
    refuseUseOf(store.wafers, target.instance);
    return await switchTo(store, from, target);
  });
}

function checkFallback(wafers: string, point: string, instance: string): void {
  const why = whyBroken(wafers, instance);
  if (why === undefined) return;
  throw new Failure({
    what: `point ${quoted(point)} cannot fall back to ${instance}: ${why}`,
    todo: `stacko delete-stackpoint-instance ${point} ${imageOfInstance(instance)} takes it out of the history`,
  });
}

/**
 * Makes a generation that is there the current one again: that by which a switch is taken back.
 * @throws Failure for what is in the way
 */
export async function setGeneration(places: StorePlaces, point: string, number: number): Promise<Switched> {
  return await withStore(places, async (store) => {
    const from = requirePoint(store.wafers, point);
    const target = from.generations.find((generation) => generation.number === number);
    if (!target) throw new Failure({ what: `point ${quoted(point)} has no generation ${number}` });
    if (target.number === from.current.number)
      return { instance: target.instance, changed: false, mountedAt: undefined };
    refuseUse(requireWafer(store.wafers, target.instance));
    return await switchTo(store, from, target);
  });
}

/** The one place where `current` changes: unmounted before it, mounted after it, and back if that fails. */
async function switchTo(
  store: Store,
  point: Point,
  { number, instance }: { readonly number: number; readonly instance: string },
): Promise<Switched> {
  const link = join(point.directory, 'current');
  const path = mountPointOf(store, point.name);
  // Before anything is unmounted: there would be no way back.
  refuseOtherMounts(path, isInstanceOf(point.name));
  if (isStacked(path)) checkRoomToMount(store.wafers);
  const [forward, back] = [number, point.current.number].map((to) => prepareLink(store.wafers, String(to)));
  const mounted = await unmountAt(path);
  try {
    forward?.(link);
    if (mounted) await mountInstance(store, instance, path);
  } catch (error) {
    const remount = async () => mounted && (await mountInstance(store, point.current.instance, path));
    await undoing(error, [() => back?.(link), remount]);
    throw error;
  }
  return { instance, changed: true, mountedAt: mounted ? path : undefined };
}

async function mountInstance(
  { wafers, stacks, hold }: Store,
  instance: string,
  path: string,
): Promise<boolean> {
  const stack = { ...stackOfWafer(instance, { wafers }), from: 'store' as const };
  return await mountAt({ stack, path, stacks, lock: join(wafers, instance), hold });
}

/**
 * Mounts the current instance of a point at STACKS/POINT.
 * @returns the mount point
 */
export async function mountPoint(
  places: StorePlaces,
  point: string,
): Promise<{ readonly path: string; readonly mountedBefore: boolean }> {
  checkStoreName(point);
  return await withStore(places, async (store) => {
    const from = requirePoint(store.wafers, point);
    const { current } = from;
    const path = mountPointOf(store, point);
    if (isOwnStacked(path, isInstanceOf(point))) return { path, mountedBefore: true };
    checkWhole(store.wafers, from);
    checkEmptyMountPoint(path);
    checkUnused(requireWafer(store.wafers, current.instance));
    return { path, mountedBefore: !(await mountInstance(store, current.instance, path)) };
  });
}

/**
 * Unmounts a point.
 * @returns false where it is not mounted
 * @throws Failure naming who holds it
 */
export async function unmountPoint(places: StorePlaces, point: string): Promise<boolean> {
  checkStoreName(point);
  return await withStore(places, async (store) => {
    requirePoint(store.wafers, point);
    const path = mountPointOf(store, point);
    return isOwnStacked(path, isInstanceOf(point)) && (await unmountAt(path));
  });
}

/** @throws Failure where something else is mounted in its place */
export function isPointMounted(places: WaferPlaces, point: string): boolean {
  requirePoint(places.wafers, point);
  return isOwnStacked(mountPointOf(places, point), isInstanceOf(point));
}
