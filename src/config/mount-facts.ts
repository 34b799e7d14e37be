/** What mounts are beneath the paths of a conf: facts that decide whether the kernel will stack them. */
import { closeSync, constants, openSync, readFileSync } from 'node:fs';
import { type Mount, unescapeOctal } from '../sys/mountinfo.js';

/** Not among Node's constants; asm-generic/fcntl.h. Nothing is read of what is opened so, and no permission needed. */
const O_PATH = 0o10000000;

/**
 * The id of the mount that a path is on, as in mountinfo; undefined where the path does not exist. Two paths with one
 * st_dev may be on two mounts (a bind mount), between which nothing can be renamed: overlayfs wants one mount.
 */
export function mountIdOf(path: string): number | undefined {
  let fd: number;
  try {
    fd = openSync(path, O_PATH | constants.O_RDONLY);
  } catch {
    return undefined;
  }
  try {
    const [, id] = /^mnt_id:\s*([0-9]+)$/m.exec(readFileSync(`/proc/self/fdinfo/${fd}`, 'utf8')) ?? [];
    return id === undefined ? undefined : Number(id);
  } finally {
    closeSync(fd);
  }
}

/** Deeper than the kernel allows anything to be: a bound on the search in layers that are not what they were. */
const MAX_DEPTH = 3;

/**
 * How many overlays lie on each other where a path is: 0 for a plain file system. What cannot be resolved (a layer in
 * another mount namespace) counts as plain.
 */
export function stackDepth(
  path: string,
  mounts: readonly Mount[],
  seen: ReadonlySet<number> = new Set(),
): number {
  const id = mountIdOf(path);
  const mount = mounts.find((entry) => entry.id === id);
  // A layer that an overlay was mounted upon is hidden by that very overlay.
  if (mount?.type !== 'overlay' || seen.has(mount.id) || seen.size > MAX_DEPTH) return 0;
  const below = new Set(seen).add(mount.id);
  return 1 + Math.max(0, ...layersOf(mount.superOptions).map((layer) => stackDepth(layer, mounts, below)));
}

/**
 * The directories of a mounted overlay, from its options in mountinfo. Both spellings: `lowerdir=/a:/b`, and
 * `lowerdir+=/a` once for each (Linux 6.7).
 */
export function layersOf(superOptions: string): string[] {
  // A comma in a path is printed as `\134,` or `\054`.
  return superOptions.split(/(?<!\\134),/).flatMap((option) => {
    const equals = option.indexOf('=');
    const value = unescapeOctal(option.slice(equals + 1));
    switch (option.slice(0, equals)) {
      case 'lowerdir':
        return value
          .split(/(?<!\\):/)
          .filter((layer) => layer !== '')
          .map(unescapeBackslashes);
      case 'lowerdir+':
      case 'datadir+':
        return [value];
      case 'upperdir':
        return [unescapeBackslashes(value)];
      default:
        return [];
    }
  });
}

const unescapeBackslashes = (text: string): string => text.replace(/\\(.)/gs, '$1');
