/** What is in a `.mstack` directory: names and types, nothing is mounted or looked into. See overlay-stack(7). */
import { readdirSync, realpathSync, type Stats, statSync } from 'node:fs';
import { basename, join } from 'node:path';
import { errnoOf, quoted, reasonOf, throwAll, UserError } from '../errors.js';
import { pathOfUnitName } from './unit-path.js';
import { compareTexts, compareVersions } from './version-order.js';
import { pickVersion } from './versioned.js';

/** In the order they are listed in. */
const TYPES = ['root', 'layer', 'rw', 'bind', 'robind'] as const;

export type MstackType = (typeof TYPES)[number];

export interface MstackEntry {
  readonly type: MstackType;
  /** The entry's own name. */
  readonly name: string;
  readonly image: 'directory' | 'raw' | 'block';
  /** Absolute path of what it stands for, without links. */
  readonly what: string;
  /** Where its tree goes in the whole; null for what other entries cover, and is not mounted. */
  readonly where: string | null;
  /** A layer's ID. */
  readonly sort: string | null;
}

/** What the name of an entry says. */
interface NamedEntry {
  readonly type: MstackType;
  readonly name: string;
  /** The name without its suffixes, as it begins the names in a `.v` directory. */
  readonly base: string;
  readonly raw: boolean;
  readonly versioned: boolean;
  readonly where: string | null;
  readonly sort: string | null;
}

/**
 * The entries of a `.mstack` directory, or of the newest one in a `.mstack.v` directory: root, layers from the bottom
 * up, rw, binds, robinds.
 * @param architecture  systemd's name of the one that `.v` directories are looked through for
 * @throws UserError, or an ErrorList with all that is wrong; nothing but names and types is looked at
 */
export function readMstack(path: string, architecture: string): { path: string; entries: MstackEntry[] } {
  const directory = pickMstack(path, architecture);
  const errors: Error[] = [];
  const entries = namesIn(directory)
    .filter((name) => !name.startsWith('.'))
    .flatMap((name) => {
      try {
        return [resolveEntry(directory, parseName(directory, name), architecture)];
      } catch (error) {
        errors.push(error instanceof Error ? error : new Error(String(error)));
        return [];
      }
    })
    .sort(compareEntries);
  throwAll([...errors, ...duplicates(directory, entries)]);
  return { path: directory, entries: placed(entries) };
}

function pickMstack(path: string, architecture: string): string {
  const directory = realDirectory(path);
  if (!basename(path).endsWith('.mstack.v')) return directory;
  const pattern = { base: basename(path, '.mstack.v'), suffix: '.mstack', architecture };
  return realDirectory(join(directory, pickOrRefuse(path, namesIn(directory), pattern)));
}

function realDirectory(path: string): string {
  const stat = statOf(path);
  if (!stat) throw new UserError({ what: `${path}: no such directory` });
  if (!stat.isDirectory()) throw new UserError({ what: `${path} is no directory` });
  return realpathSync(path);
}

function namesIn(directory: string): string[] {
  try {
    return readdirSync(directory).sort();
  } catch (cause) {
    throw new UserError({ what: `${directory} cannot be read: ${reasonOf(cause)}`, cause });
  }
}

/** Undefined where there is nothing, at the end of a link too. */
function statOf(path: string): Stats | undefined {
  try {
    return statSync(path);
  } catch (cause) {
    const errno = errnoOf(cause);
    if (errno === 'ENOENT' || errno === 'ENOTDIR') return undefined;
    const why = errno === 'ELOOP' ? 'its links go round in a circle' : reasonOf(cause);
    throw new UserError({ what: `${path}: ${why}`, cause });
  }
}

const KNOWN_NAMES = 'known are layer@ID, rw, bind@PLACE, robind@PLACE and root, each with .raw, .v or .raw.v';

function parseName(directory: string, name: string): NamedEntry {
  const versioned = name.endsWith('.v');
  const unversioned = versioned ? name.slice(0, -'.v'.length) : name;
  const raw = unversioned.endsWith('.raw');
  const base = raw ? unversioned.slice(0, -'.raw'.length) : unversioned;
  const common = { name, base, raw, versioned, where: null, sort: null };
  if (base === 'rw' || base === 'root') return { ...common, type: base };
  const [, layer] = /^layer@(.+)$/s.exec(base) ?? [];
  if (layer !== undefined) return { ...common, type: 'layer', sort: layer };
  // systemd.mstack(7) spells it `bind:var` in its last example.
  const [, kind, place] = /^(bind|robind)[@:](.+)$/s.exec(base) ?? [];
  if (place === undefined)
    throw new UserError({ what: `${directory}: ${quoted(name)} is no name of an entry`, todo: KNOWN_NAMES });
  try {
    return { ...common, type: kind === 'bind' ? 'bind' : 'robind', where: pathOfUnitName(place) };
  } catch (cause) {
    const why = cause instanceof Error ? cause.message : String(cause);
    throw new UserError({ what: `${directory}: ${quoted(name)}: ${why}`, cause });
  }
}

function resolveEntry(directory: string, named: NamedEntry, architecture: string): MstackEntry {
  const { type, name, where, sort } = named;
  const path = join(directory, name);
  const stat = statOrRefuse(path);
  if (!named.versioned) return { type, name, ...resolved(path, stat, named.raw), where, sort };
  if (!stat.isDirectory())
    throw new UserError({ what: `${path} is ${kindOf(stat)}`, todo: '.v is for a directory of versions' });
  const pattern = { base: named.base, suffix: named.raw ? '.raw' : '', architecture };
  const picked = join(path, pickOrRefuse(path, namesIn(path), pattern));
  return { type, name, ...resolved(picked, statOrRefuse(picked), named.raw), where, sort };
}

function statOrRefuse(path: string): Stats {
  const stat = statOf(path);
  if (stat) return stat;
  if (path.includes('\ufffd')) throw new UserError({ what: `${quoted(path)}: a name that is no UTF-8 text` });
  throw new UserError({ what: `${path} is a link to nothing` });
}

function pickOrRefuse(
  path: string,
  names: readonly string[],
  pattern: { base: string; suffix: string; architecture: string },
): string {
  const picked = pickVersion(names, pattern);
  if (picked !== undefined) return picked;
  throw new UserError({
    what: `${path} has no version for ${pattern.architecture}`,
    todo: `looked for ${pattern.base}_VERSION${pattern.suffix}, found ${names.map(quoted).join(', ') || 'nothing'}`,
  });
}

function resolved(path: string, stat: Stats, raw: boolean): Pick<MstackEntry, 'image' | 'what'> {
  const image = stat.isDirectory()
    ? 'directory'
    : stat.isFile()
      ? 'raw'
      : stat.isBlockDevice()
        ? 'block'
        : undefined;
  if (raw && (image === 'raw' || image === 'block')) return { image, what: realpathSync(path) };
  if (!raw && image === 'directory') return { image, what: realpathSync(path) };
  throw new UserError({
    what: `${path} is ${kindOf(stat)}`,
    todo: raw ? '.raw is for disk images and block devices' : 'without .raw it has to be a directory',
  });
}

function kindOf(stat: Stats): string {
  if (stat.isDirectory()) return 'a directory';
  if (stat.isFile()) return 'a file';
  if (stat.isBlockDevice()) return 'a block device';
  return 'neither a directory nor a disk image';
}

/** By type, then by place, then by version; the name decides where versions count as one. */
const compareEntries = (a: MstackEntry, b: MstackEntry): number =>
  TYPES.indexOf(a.type) - TYPES.indexOf(b.type) ||
  comparePaths(a.where ?? '', b.where ?? '') ||
  compareVersions(a.sort ?? '', b.sort ?? '') ||
  compareTexts(a.name, b.name);

/** Component by component: what lies below a place comes before what is beside it. */
const comparePaths = (a: string, b: string): number =>
  compareTexts(a.replaceAll('/', '\0'), b.replaceAll('/', '\0'));

function duplicates(directory: string, entries: readonly MstackEntry[]): Error[] {
  const first = new Map<string, string>();
  return entries.flatMap(({ type, name, where, sort }) => {
    const key = type === 'layer' ? `layer ${sort}` : where === null ? type : `place ${where}`;
    const before = first.get(key);
    if (before === undefined) {
      first.set(key, name);
      return [];
    }
    const what =
      type === 'layer'
        ? `are both layer ${quoted(sort ?? '')}`
        : where
          ? `are both for ${where}`
          : `are both ${type}`;
    return [
      new UserError({
        what: `${directory}: ${quoted(before)} and ${quoted(name)} ${what}`,
        todo: 'remove one',
      }),
    ];
  });
}

/** A bind at the root covers all but the other binds; one at /usr, with a root, what goes there. */
function placed(entries: readonly MstackEntry[]): MstackEntry[] {
  const has = (type: MstackType): boolean => entries.some((entry) => entry.type === type);
  const bound = (place: string): boolean => entries.some(({ where }) => where === place);
  const rootPlace = bound('/') ? null : '/';
  const overlayPlace = has('root') ? (bound('/usr') || rootPlace === null ? null : '/usr') : rootPlace;
  return entries.map((entry) => {
    if (entry.type === 'root') return { ...entry, where: rootPlace };
    return entry.type === 'layer' || entry.type === 'rw' ? { ...entry, where: overlayPlace } : entry;
  });
}
