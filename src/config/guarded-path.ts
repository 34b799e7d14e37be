/** Looking along a path without stepping into a directory whose owner may have prepared it. */
import { lstatSync, readlinkSync } from 'node:fs';
import { dirname, join } from 'node:path';

/** As the kernel's MAXSYMLINKS. */
const MAX_LINKS = 40;

/**
 * Does resolving a path lead into a directory? It is walked name by name, and the walk stops at its door: no link in
 * there is followed, nothing in there is looked at.
 * @param directory  without symbolic links
 */
export const leadsInto = (path: string, directory: string): boolean =>
  isIn(
    placeOnTheWay(path, (here) => isIn(here, directory)),
    directory,
  );

/**
 * The directory, of some, in which resolving a path comes upon a symbolic link; none in there is followed.
 * @param directories  without symbolic links
 */
export function linkOnTheWay(path: string, directories: ReadonlySet<string>): string | undefined {
  let found: string | undefined;
  placeOnTheWay(path, (here) => {
    const directory = oneAround(here, directories);
    if (directory !== undefined && linkTarget(here) !== undefined) found = directory;
    return found !== undefined;
  });
  return found;
}

/** One of the directories that a path is in. */
function oneAround(path: string, directories: ReadonlySet<string>): string | undefined {
  for (let around = path; around !== '/'; around = dirname(around))
    if (directories.has(around)) return around;
  return undefined;
}

const isIn = (path: string, directory: string): boolean =>
  path === directory || path.startsWith(directory === '/' ? '/' : `${directory}/`);

/** Where a walk along a path ends, or is told to: a place that is no link, or the one it was told to end at. */
function placeOnTheWay(path: string, ends: (here: string) => boolean): string {
  const names = path.split('/').reverse();
  let here = '/';
  let links = 0;
  while (names.length > 0 && !ends(here)) {
    const name = names.pop() ?? '';
    if (name === '' || name === '.') continue;
    const next = name === '..' ? dirname(here) : join(here, name);
    const target = linkTarget(next);
    if (target === undefined || ends(next)) here = next;
    else if (++links > MAX_LINKS) return '/';
    else {
      names.push(...target.split('/').reverse());
      if (target.startsWith('/')) here = '/';
    }
  }
  return here;
}

function linkTarget(path: string): string | undefined {
  try {
    return lstatSync(path).isSymbolicLink() ? readlinkSync(path) : undefined;
  } catch {
    return undefined;
  }
}
