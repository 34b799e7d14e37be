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
export function leadsInto(path: string, directory: string): boolean {
  const names = path.split('/').reverse();
  let here = '/';
  let links = 0;
  while (names.length > 0) {
    if (here === directory) return true;
    const name = names.pop() ?? '';
    if (name === '' || name === '.') continue;
    const next = name === '..' ? dirname(here) : join(here, name);
    const target = linkTarget(next);
    if (target === undefined) here = next;
    else if (++links > MAX_LINKS) return false;
    else {
      names.push(...target.split('/').reverse());
      if (target.startsWith('/')) here = '/';
    }
  }
  return here === directory;
}

function linkTarget(path: string): string | undefined {
  try {
    return lstatSync(path).isSymbolicLink() ? readlinkSync(path) : undefined;
  } catch {
    return undefined;
  }
}
