/** Who holds a mount, so that it cannot be taken away: for the message of an unmount that failed. */
import { readdirSync, readFileSync } from 'node:fs';
import { mountIdOf } from '../config/mount-facts.js';
import { namesIn } from '../sys/files.js';
import type { Mount } from '../sys/mountinfo.js';
import { allPids, namespaceInode } from '../sys/proc.js';

const SHOWN = 5;

/**
 * What uses any of the mounts, in words: `bash (pid 123: working directory)`. Processes of all mount namespaces are
 * looked at: a descriptor that was opened here holds the mount wherever it was taken to.
 * @param mounts  a mount and those below it
 */
export function holdersOf(mounts: readonly Pick<Mount, 'id' | 'mountPoint'>[]): string[] {
  const ids = new Set(mounts.map(({ id }) => id));
  const [top = ''] = mounts.map(({ mountPoint }) => mountPoint).sort((a, b) => a.length - b.length);
  const ownNamespace = namespaceInode('self', 'mnt');
  const processes = allPids().flatMap((pid) => {
    const uses = [...linksOf(pid, ids), ...descriptorsOf(pid, ids)];
    // A mapping has no descriptor and no id, only a path, which means something in its own namespace.
    if (uses.length === 0 && namespaceInode(pid, 'mnt') === ownNamespace) uses.push(...mappingsOf(pid, top));
    return uses.length === 0 ? [] : [`${commandOf(pid)} (pid ${pid}: ${[...new Set(uses)].join(', ')})`];
  });
  return [...processes, ...loopDevicesOn(top)];
}

/** The first few, and how many more there are. */
export const holdersText = (holders: readonly string[]): string =>
  [...holders.slice(0, SHOWN), ...(holders.length > SHOWN ? [`${holders.length - SHOWN} more`] : [])].join(
    ', ',
  );

const LINKS = { cwd: 'working directory', root: 'root', exe: 'program' } as const;

const linksOf = (pid: number, ids: ReadonlySet<number>): string[] =>
  Object.entries(LINKS).flatMap(([link, word]) =>
    ids.has(mountIdOf(`/proc/${pid}/${link}`) ?? -1) ? [word] : [],
  );

function descriptorsOf(pid: number, ids: ReadonlySet<number>): string[] {
  const directory = `/proc/${pid}/fdinfo`;
  const holds = (fd: string): boolean => {
    const [, id] = /^mnt_id:\s*([0-9]+)$/m.exec(read(`${directory}/${fd}`)) ?? [];
    return id !== undefined && ids.has(Number(id));
  };
  return list(directory).some(holds) ? ['open file'] : [];
}

const mappingsOf = (pid: number, top: string): string[] =>
  read(`/proc/${pid}/maps`).includes(` ${top}/`) ? ['mapped file'] : [];

const loopDevicesOn = (top: string): string[] =>
  namesIn('/sys/block').flatMap((device) =>
    read(`/sys/block/${device}/loop/backing_file`).startsWith(`${top}/`) ? [`the loop device ${device}`] : [],
  );

/** What a process calls itself, fit for a terminal. */
export const commandOf = (pid: number): string =>
  read(`/proc/${pid}/comm`)
    .trim()
    .replace(/\p{Cc}/gu, '?') || 'a process';

/** A process that ends while it is looked at, or belongs to somebody else, holds nothing that we can name. */
const read = (path: string): string => quietly(() => readFileSync(path, 'utf8')) ?? '';
const list = (path: string): string[] => quietly(() => readdirSync(path)) ?? [];

function quietly<T>(look: () => T): T | undefined {
  try {
    return look();
  } catch {
    return undefined;
  }
}
