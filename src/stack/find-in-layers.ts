/** Looking for a file of a stack that is not mounted: what of its layers can be told without overlayfs. */
import { lstatSync, readlinkSync } from 'node:fs';
import { join } from 'node:path';

/** As the kernel's MAXSYMLINKS. */
const LINKS_MAX = 40;

/** A character device 0:0 says that there is nothing (kernel document filesystems/overlayfs, "whiteouts"). */
const isWhiteout = (stat: { isCharacterDevice(): boolean; readonly rdev: number }): boolean =>
  stat.isCharacterDevice() && stat.rdev === 0;

/**
 * Where a path of the stack is found, links being followed as in its own root: never out of the layers. A directory
 * that hides those below it (opaque) is not told from one that does not: what is found may be hidden, but what is not
 * found is not there.
 * @param layers  directories, the top first
 * @returns the path in the layer that has it; undefined where none has
 */
export function findInLayers(layers: readonly string[], path: string): string | undefined {
  const ahead = path.split('/');
  const way: string[] = [];
  let found: string | undefined;
  for (let links = 0; ahead.length > 0; ) {
    const name = ahead.shift() ?? '';
    if (name === '' || name === '.') continue;
    if (name === '..') {
      way.pop();
      continue;
    }
    found = topOf(layers, join('/', ...way, name));
    if (found === undefined) return undefined;
    const stat = lstatSync(found);
    if (!stat.isSymbolicLink()) {
      way.push(name);
      continue;
    }
    if (++links > LINKS_MAX) return undefined;
    const target = readlinkSync(found);
    if (target.startsWith('/')) way.length = 0;
    ahead.unshift(...target.split('/'));
  }
  return found;
}

/** The path in the first layer that has it, if that does not say that there is nothing. */
function topOf(layers: readonly string[], path: string): string | undefined {
  for (const layer of layers) {
    if (hidesAbove(layer, path)) return undefined;
    const stat = lstatSync(join(layer, path), { throwIfNoEntry: false });
    if (stat) return isWhiteout(stat) ? undefined : join(layer, path);
  }
  return undefined;
}

/**
 * Has the layer, on the way to the path, something that is no directory? What lies below in other layers is hidden; a
 * link there is none of the stack's, or it would have been followed.
 */
function hidesAbove(layer: string, path: string): boolean {
  const parts = path.split('/').filter(Boolean);
  for (let end = 1; end < parts.length; end++) {
    const stat = lstatSync(join(layer, ...parts.slice(0, end)), { throwIfNoEntry: false });
    if (!stat) return false;
    if (!stat.isDirectory()) return true;
  }
  return false;
}
