/** What points there are, what they are and where. Reading only. */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { Failure, quoted } from '../errors.js';
import { whyBroken } from '../stack/from-store.js';
import { realPath } from '../stack/root-kind.js';
import {
  fallbackOf,
  type Generation,
  imageOfInstance,
  isInstanceOf,
  type Point,
  pointNames,
  readPoint,
} from '../stack/store.js';
import { mountsOf } from '../sys/mountinfo.js';
import { isStackOf } from './mount-point.js';
import type { WaferPlaces } from './wafers.js';

/** A point with what is known of its use; of one that is corrupt that is only its name. */
export interface PointRow extends Pick<Point, 'name' | 'generations'> {
  readonly current: Generation | undefined;
  readonly image: string | undefined;
  readonly mounted: boolean;
  /** The image that fallback goes to. */
  readonly fallback: string | undefined;
  readonly path: string;
  /** Why it cannot be mounted, or not fall back. */
  readonly broken: string | undefined;
}

/** All points, by name. */
export function pointRows({ wafers, stacks }: WaferPlaces): PointRow[] {
  const mounts = new Map(mountsOf('self').map((mount) => [mount.mountPoint, mount]));
  const real = realPath(stacks);
  const whole = new Set<string>();
  return pointNames(wafers).flatMap((name) => {
    const mount = mounts.get(`${real}/${name}`);
    const mounted = mount !== undefined && isStackOf(mount, isInstanceOf(name));
    const place = { name, path: join(stacks, name), mounted };
    try {
      const point = readPoint(wafers, name);
      return point ? { ...place, ...pointState(wafers, point, whole) } : [];
    } catch (error) {
      if (!(error instanceof Failure)) throw error;
      const unknown = { current: undefined, image: undefined, fallback: undefined, generations: [] };
      return { ...place, ...unknown, broken: error.message };
    }
  });
}

function pointState(wafers: string, point: Point, whole: Set<string>) {
  const { current, generations } = point;
  const before = fallbackOf(point);
  const lost = whyBroken(wafers, current.instance, whole);
  const noWayBack = before && !existsSync(`${wafers}/${before.instance}`);
  return {
    current,
    generations,
    image: imageOfInstance(current.instance),
    fallback: before && imageOfInstance(before.instance),
    broken: lost ?? (noWayBack ? `its fallback ${quoted(before.instance)} is gone` : undefined),
  };
}
