/** The stack of a point's current instance, and what of it may have been removed by hand. */
import { existsSync } from 'node:fs';
import { Failure, quoted } from '../errors.js';
import { isWaferName, readParent, stackOfWafer } from './from-wafers.js';
import type { Stack } from './stack.js';
import { fallbackOf, imageOfInstance, type Point, readImage, readPoint } from './store.js';

/**
 * Why an instance cannot be mounted any more: something of what it is made of was removed by hand.
 * @param whole  wafers that have been found whole with all that they lie on; those found now are added
 * @returns undefined for one that can
 */
export function whyBroken(wafers: string, instance: string, whole = new Set<string>()): string | undefined {
  const found: string[] = [];
  let name: string | undefined = instance;
  while (name !== undefined && !whole.has(name)) {
    const why: string | undefined = whatIsLost(wafers, name);
    if (why !== undefined && name === instance) return `its instance ${quoted(name)} ${why}`;
    if (why !== undefined) return `${quoted(name)}, which it lies on, ${why}`;
    if (found.includes(name)) return `${quoted(name)} is its own ancestor`;
    const parent: string | undefined = readParent(`${wafers}/${name}`);
    if (name === instance && parent === undefined) return `its instance ${quoted(name)} lies on no image`;
    found.push(name);
    name = parent;
  }
  for (const one of found) whole.add(one);
  return undefined;
}

function whatIsLost(wafers: string, name: string): string | undefined {
  if (!isWaferName(name)) return 'can be no wafer';
  // Of what is no directory there is no `.`.
  if (existsSync(`${wafers}/${name}/data/.`)) return undefined;
  return existsSync(`${wafers}/${name}`) ? 'has no data' : 'is gone';
}

/** @throws Failure for a point whose current instance cannot be mounted any more: with what can be done */
export function checkWhole(wafers: string, point: Pick<Point, 'name' | 'current' | 'generations'>): void {
  const why = whyBroken(wafers, point.current.instance);
  if (why === undefined) return;
  const { name } = point;
  const { instance } = point.current;
  const image = imageOfInstance(instance);
  const before = fallbackOf(point);
  const canMend = whatIsLost(wafers, instance) !== undefined && readImage(wafers, image) !== undefined;
  throw new Failure({
    what: `point ${quoted(name)} is broken: ${why}`,
    todo: [
      `stacko cutover-stackpoint ${name} ${canMend ? `${image} makes it anew, without what was changed in it` : 'to another image'}`,
      ...(before ? [`fallback-stackpoint ${name} goes back to ${before.instance}`] : []),
    ].join('; '),
  });
}

/**
 * The stack of a point's current instance.
 * @returns undefined where there is no point of that name
 * @throws WaferError or Failure for an instance that cannot be stacked
 */
export function stackOfPoint(name: string, { wafers }: { readonly wafers: string }): Stack | undefined {
  const point = isWaferName(name) ? readPoint(wafers, name) : undefined;
  if (!point) return undefined;
  checkWhole(wafers, point);
  return { ...stackOfWafer(point.current.instance, { wafers }), from: 'store' };
}
