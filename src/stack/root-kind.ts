/** Which of the three kinds of root UPPER, LOWER and LIVE make, and what an overlay asks of them. */
import { realpathSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import type { SubhostConfig } from '../config/subhost-config.js';
import { UserError } from '../errors.js';

/**
 * `overlay`: UPPER on LOWER, mounted on LIVE. `bind`: UPPER is LOWER, bound on LIVE. `self`: all three are one
 * directory, which is the root as it is. `stack`: STACK says what the root is.
 */
export type RootKind = 'overlay' | 'bind' | 'self' | 'stack';

export type RootPaths = Pick<SubhostConfig, 'conf' | 'live' | 'upper' | 'work' | 'lower' | 'stack'>;

/**
 * The path without symbolic links, as far as it exists; the rest as it is. Whoever calls this makes sure that no
 * subhost can change what lies on the way.
 */
export function realPath(path: string): string {
  try {
    return realpathSync(path);
  } catch {
    const parent = dirname(path);
    return parent === path ? path : join(realPath(parent), basename(path));
  }
}

/** Compares what the paths resolve to, not their text. */
export function rootKind({ live, upper, lower, stack }: Omit<RootPaths, 'conf' | 'work'>): RootKind {
  if (stack) return 'stack';
  const [only, ...more] = lower;
  const real = realPath(upper);
  if (only === undefined || more.length > 0 || realPath(only) !== real) return 'overlay';
  return realPath(live) === real ? 'self' : 'bind';
}

/** Is `path` the directory, or inside of it? Both without symbolic links. */
export const isWithin = (path: string, directory: string): boolean =>
  path === directory || path.startsWith(directory === '/' ? '/' : `${directory}/`);

/**
 * What an overlay asks of WORK: outside UPPER, and UPPER outside of it. The kernel says EINVAL or, worse, only
 * "upperdir is in-use" (filesystems/overlayfs).
 */
export function overlayMistakes({ conf, upper, work }: RootPaths): Error[] {
  const [realUpper, realWork] = [realPath(upper), realPath(work)];
  if (isWithin(realWork, realUpper))
    return [
      new UserError({
        what: `${conf}: WORK: ${work} is inside UPPER`,
        todo: 'put it beside UPPER, on the same mount',
      }),
    ];
  if (isWithin(realUpper, realWork))
    return [
      new UserError({
        what: `${conf}: UPPER: ${upper} is inside WORK`,
        todo: 'put it beside WORK, on the same mount',
      }),
    ];
  return [];
}
