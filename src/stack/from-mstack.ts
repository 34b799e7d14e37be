/** The stack that the entries of a `.mstack` directory make. */
import { lstatSync } from 'node:fs';
import { join } from 'node:path';
import { quoted, throwAll, UserError } from '../errors.js';
import type { RunTool } from './disk-image.js';
import { chooseTree } from './gpt-choice.js';
import type { MstackEntry, MstackType } from './mstack-entries.js';
import { isWithin } from './root-kind.js';
import { type Bind, type Stack, type Tree, upperTree, type Writable } from './stack.js';

export interface MstackOptions {
  /** Nothing is written anywhere, and nothing made. */
  readonly readOnly: boolean;
  /** systemd's name: the architecture that an image's root has to be for. */
  readonly architecture: string;
  /** Loads what runs sfdisk and blkid; called only where there is an image. */
  loadRun(): Promise<RunTool>;
}

const NEVER_WRITABLE: readonly string[] = ['squashfs', 'erofs'];

/** The tree of an entry; `isUsr`: it belongs at /usr, which will do where no root is needed. */
type FindTree = (
  entry: MstackEntry,
  needsRoot: boolean,
) => Promise<{ readonly tree: Tree; readonly isUsr: boolean }>;

/**
 * The stack that the entries make; those that others cover are not in it.
 * @param entries  of readMstack()
 * @throws UserError for an image without a root that is needed, or directories that cannot be used as they are
 */
export async function stackFromMstack(
  entries: readonly MstackEntry[],
  options: MstackOptions,
): Promise<Stack> {
  const find = treeFinder(options);
  const mounted = entries.filter(({ where }) => where !== null);
  const isBind = ({ type }: MstackEntry): boolean => type === 'bind' || type === 'robind';
  const binds = await Promise.all(
    mounted.filter(isBind).map((entry) => bindOf(entry, options.readOnly, find)),
  );
  const common = { from: 'mstack', xattrs: 'user', readOnly: options.readOnly } as const;
  const whole = binds.find(({ inside }) => inside === '/');
  if (!whole) return { ...common, ...(await overlayParts(mounted, binds, options.readOnly, find)) };
  // Read-only it is as a lone layer, else as a root that nothing else goes into but binds.
  const tree = whole.readOnly ? { layers: [whole.source] } : { layers: [], root: whole.source };
  return { ...common, ...tree, binds: binds.filter((bind) => bind !== whole) };
}

type Parts = Pick<Stack, 'layers' | 'writable' | 'binds' | 'root'>;

async function overlayParts(
  entries: readonly MstackEntry[],
  binds: readonly Bind[],
  readOnly: boolean,
  find: FindTree,
): Promise<Parts> {
  const of = (type: MstackType): MstackEntry[] => entries.filter((entry) => entry.type === type);
  const [[rootEntry], [rwEntry], layerEntries] = [of('root'), of('rw'), of('layer')];
  checkLayers([...layerEntries, ...of('rw')]);
  const writable = rwEntry && (await writableOf(rwEntry, readOnly, find));
  const usrWillDo = rootEntry !== undefined && layerEntries.length === 1 && !writable;
  const layers = await Promise.all(layerEntries.map((entry) => find(entry, !usrWillDo)));
  const root = rootEntry && (await find(rootEntry, true)).tree;
  const [first] = layers;
  if (root && first?.isUsr) {
    const usr: Bind = { source: first.tree, inside: '/usr', readOnly: true };
    return { layers: [], binds: [...binds, usr], root };
  }
  if (root) checkUsr([...layerEntries, ...(writable ? of('rw') : [])]);
  return {
    layers: layers.map(({ tree }) => tree),
    ...(writable && { writable }),
    binds,
    ...(root && { root }),
  };
}

/**
 * As stackFromMstack(), for use as a read-only layer of something else: `rw/data` is the top layer, and `root`, which an
 * overlay cannot show, is refused.
 */
export async function lowerFromMstack(
  entries: readonly MstackEntry[],
  options: Omit<MstackOptions, 'readOnly'>,
): Promise<Stack> {
  const root = entries.find(({ type }) => type === 'root');
  if (root)
    throw new UserError({
      what: `${quoted(root.name)} of a mount stack is of no use in a read-only layer (it leads to ${root.what})`,
      todo: 'use the mount stack as STACK, or take its root out',
    });
  const { writable, ...stack } = await stackFromMstack(entries, { ...options, readOnly: true });
  return writable ? { ...stack, layers: [...stack.layers, upperTree(writable)] } : stack;
}

function treeFinder({ architecture, loadRun }: MstackOptions): FindTree {
  return async (entry, needsRoot) => {
    if (entry.image === 'directory') return { tree: { kind: 'directory', path: entry.what }, isUsr: false };
    const query = { architecture, needsRoot, context: quoted(entry.name) };
    return chooseTree(entry.what, query, await loadRun());
  };
}

async function bindOf(entry: MstackEntry, readOnly: boolean, find: FindTree): Promise<Bind> {
  const inside = entry.where ?? '/';
  const { tree } = await find(entry, inside === '/');
  return { source: tree, inside, readOnly: readOnly || entry.type === 'robind' };
}

/** Undefined where it is to be read only and nothing has been written yet. */
async function writableOf(
  entry: MstackEntry,
  readOnly: boolean,
  find: FindTree,
): Promise<Writable | undefined> {
  const { tree } = await find(entry, true);
  if (tree.kind === 'image' && !readOnly && NEVER_WRITABLE.includes(tree.type))
    throw new UserError({
      what: `${quoted(entry.name)}: ${tree.path} holds ${tree.type}, which cannot be written`,
      todo: 'mount it read-only, or make it a layer',
    });
  if (tree.kind === 'image') return { image: tree, upper: 'data', work: 'work', make: true };
  const [upper, work] = [join(tree.path, 'data'), join(tree.path, 'work')];
  const made = [upper, work].filter((path) => isOwnDirectory(path, entry));
  if (readOnly && !made.includes(upper)) return undefined;
  return { upper, work, make: true };
}

/** Is it there? @throws UserError where it is something else than a directory, or a link to one */
function isOwnDirectory(path: string, entry: MstackEntry): boolean {
  const stat = lstatSync(path, { throwIfNoEntry: false });
  if (!stat || stat.isDirectory()) return stat !== undefined;
  throw new UserError({
    what: `${quoted(entry.name)}: ${path} is ${stat.isSymbolicLink() ? 'a link' : 'no directory'}`,
    todo: 'it has to be a directory of its own',
  });
}

/** The kernel says ELOOP, and not why, for layers that lie within each other (filesystems/overlayfs). */
function checkLayers(entries: readonly MstackEntry[]): void {
  const directories = entries.filter(({ image }) => image === 'directory');
  const errors = directories.flatMap((a, i) =>
    directories.slice(i + 1).flatMap((b) => {
      if (!isWithin(a.what, b.what) && !isWithin(b.what, a.what)) return [];
      const what = a.what === b.what ? `are both ${a.what}` : `lie within each other (${a.what}, ${b.what})`;
      return [new UserError({ what: `${quoted(a.name)} and ${quoted(b.name)} ${what}` })];
    }),
  );
  throwAll(errors);
}

/** With a root, usr/ of the rest is what is mounted; what an image has there is found out when it is mounted. */
function checkUsr(topLast: readonly MstackEntry[]): void {
  if (topLast.length === 0 || topLast.some(({ image }) => image !== 'directory')) return;
  const directories = topLast.map(({ type, what }) => (type === 'rw' ? join(what, 'data') : what));
  const found = directories
    .map((directory) => join(directory, 'usr'))
    .filter((path) => lstatSync(path, { throwIfNoEntry: false }))
    .at(-1);
  const todo = 'with a root, the usr directory of the layers is what is mounted';
  if (found === undefined) throw new UserError({ what: `no usr in ${directories.join(', ')}`, todo });
  if (!lstatSync(found).isDirectory()) throw new UserError({ what: `${found} is no directory`, todo });
}
