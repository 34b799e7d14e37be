/** A box: a point of the store that boots as a subhost, from a conf that is its own. */
import { closeSync, existsSync, fstatSync, openSync, statSync } from 'node:fs';
import { join } from 'node:path';
import type { Settings } from '../config/settings.js';
import { isSubhostName } from '../config/values.js';
import { Failure, quoted, UserError } from '../errors.js';
import { findInLayers } from '../stack/find-in-layers.js';
import { requireWafer, traceAncestry } from '../stack/from-wafers.js';
import { checkStoreName, imageOfInstance, instancesOf, readPoint, requirePoint } from '../stack/store.js';
import { flockedOf } from '../state/liveness.js';
import type { BoxEngine } from './box-engine.js';
import { lockAlone, lockNew, type StorePlaces } from './store-lock.js';
import { newPoint } from './store-points.js';
import type { WaferPlaces } from './wafers.js';

export { imageOfInstance };

/** A box as commands that change it have it. */
export interface Box {
  readonly name: string;
  readonly places: StorePlaces;
  readonly settings: Settings;
  /** What boots and stops it. */
  readonly engine: BoxEngine;
}

/** @throws UserError for what cannot name both a point and a subhost */
export function checkBoxName(name: string): void {
  checkStoreName(name);
  if (isSubhostName(name)) return;
  throw new UserError({
    what: `${quoted(name)} is no name of a box`,
    todo: 'write at most 12 of letters, digits, "_", "-", ".", not starting with "-" or "."',
  });
}

/** The point of a box. @throws UserError where there is none of that name */
export function requireBox(wafers: string, name: string): ReturnType<typeof requirePoint> {
  checkBoxName(name);
  if (existsSync(join(wafers, 'points', name))) return requirePoint(wafers, name);
  throw new UserError({
    what: `no box ${quoted(name)}`,
    todo: `boxctl cutover-instance ${name} IMAGE makes one; boxctl list --all shows those that there are`,
  });
}

/**
 * The instance that a running box was booted with: its work directory is locked. A cutover of the point may have come
 * since.
 */
export function instanceInUse({ wafers }: WaferPlaces, name: string): string | undefined {
  const instances = new Map(
    instancesOf(wafers, name).map((instance) => [join(wafers, instance.name, 'work'), instance.name]),
  );
  const [work] = flockedOf([...instances.keys()]);
  return work === undefined ? undefined : instances.get(work);
}

/** The directories that an instance or image is made of, the top first. */
export function layersOf(wafers: string, name: string): string[] {
  const { directory, parent } = requireWafer(wafers, name);
  const ancestors = parent === undefined ? [] : traceAncestry(wafers, name, parent);
  return [directory, ...ancestors.map((wafer) => wafer.directory)].map((path) => join(path, 'data'));
}

/** @throws Failure for what has no shell to run the start script: data, or an archive with all in one directory */
export function checkBootable(wafers: string, name: string): void {
  if (findInLayers(layersOf(wafers, name), '/bin/sh') !== undefined) return;
  throw new Failure({
    what: `image ${quoted(imageOfInstance(name))} has no /bin/sh`,
    todo: 'an image of a box is a whole root file system',
  });
}

/** Of two commands at once on a box the other one has made it, or deleted it. */
export class Overtaken extends Failure {
  override readonly name = 'Overtaken';
}

/**
 * Does something with a box that is alone with it: of two commands at once one waits. The lock is the point's
 * directory, and goes with the process.
 * @throws Failure naming who has had it all the time that was waited, Overtaken where it was deleted meanwhile
 */
export async function alone<T>(
  { name, places }: Pick<Box, 'name' | 'places'>,
  act: () => Promise<T>,
): Promise<T> {
  const { directory } = requireBox(places.wafers, name);
  const lock = openSync(directory, 'r');
  try {
    await lockAlone(lock, {
      onWait: places.onWait,
      busy: (holder) =>
        new Failure({
          what: `box ${quoted(name)} is in the hands of ${holder}`,
          todo: 'try again when that is done',
        }),
    });
    const now = statSync(directory, { throwIfNoEntry: false });
    if (now?.ino !== fstatSync(lock).ino)
      throw new Overtaken({ what: `box ${quoted(name)} was deleted just now` });
    return await act();
  } finally {
    closeSync(lock);
  }
}

/**
 * Makes the point of a box and does something with it, alone from the beginning: its lock is held before it can be seen.
 * @throws Overtaken where there is one by now
 */
export async function aloneWithNew<T>(
  { name, places }: Pick<Box, 'name' | 'places'>,
  image: string,
  act: () => Promise<T>,
): Promise<T> {
  const locks: number[] = [];
  try {
    await newPoint(places, name, image, (directory) => {
      const lock = openSync(directory, 'r');
      locks.push(lock);
      lockNew(lock);
    }).catch((cause: unknown) => {
      if (!readPoint(places.wafers, name)) throw cause;
      throw new Overtaken({ what: `box ${quoted(name)} was made by somebody else just now`, cause });
    });
    return await act();
  } finally {
    for (const lock of locks) closeSync(lock);
  }
}
