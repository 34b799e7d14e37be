/** The forest that wafers and their parents make, in the order in which it is drawn. */
import { type Dirent, existsSync, readdirSync } from 'node:fs';
import { errnoOf, quoted } from '../errors.js';
import { isWaferName, readParent, type Wafer } from './from-wafers.js';

/** What the forest says of a wafer. */
export type Node = Pick<Wafer, 'name' | 'parent' | 'hasData' | 'sealed'>;

/** A wafer at its place in the forest. */
export interface WaferRow {
  readonly name: string;
  /** As it is recorded, also where there is none of that name. */
  readonly parent: string | undefined;
  readonly sealed: boolean;
  /** Why it cannot be stacked with all that it had. */
  readonly broken: string | undefined;
  /** The lines that lead to it from its parent; nothing before a root. */
  readonly branch: string;
}

/**
 * The wafers in a directory; none where there is no directory. What has neither data nor parent is none. Of thousands
 * reading them is most of the time: no more is asked of the system than is needed of each.
 */
export function readWafers(wafers: string): Node[] {
  return entriesOf(wafers).flatMap((entry) => {
    const { name } = entry;
    // A symbolic link to a directory will do.
    if (!isWaferName(name) || !(entry.isDirectory() || entry.isSymbolicLink())) return [];
    const directory = `${wafers}/${name}`;
    const parent = readParent(directory);
    // Of what is no directory there is no `.`.
    const hasData = existsSync(`${directory}/data/.`);
    if (!hasData && parent === undefined) return [];
    return [{ name, parent, hasData, sealed: existsSync(`${directory}/sealed`) }];
  });
}

function entriesOf(directory: string): Dirent[] {
  try {
    return readdirSync(directory, { withFileTypes: true }).sort((a, b) => (a.name < b.name ? -1 : 1));
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return [];
    throw error;
  }
}

/** The forest: a parent before its children, those in the order given. Pure. */
export function waferRows(nodes: readonly Node[]): WaferRow[] {
  const byName = new Map(nodes.map((node) => [node.name, node]));
  const children = childrenOf(nodes);
  const rows: WaferRow[] = [];
  const origins = new Map<string, string>();
  const seen = new Set<string>();
  for (const root of rootsOf(nodes, byName)) {
    // A stack of our own: an ancestry may be deeper than calls can be.
    const open = [{ node: root, branch: '', lead: '' }];
    for (let place = open.pop(); place; place = open.pop()) {
      const { node, branch, lead } = place;
      const { name, parent, sealed } = node;
      seen.add(name);
      rows.push({
        name,
        parent,
        sealed,
        broken: whyBroken(node, { byName, origins, isRoot: node === root }),
        branch,
      });
      const below = (children.get(name) ?? []).filter((child) => !seen.has(child.name));
      const places = below.map((child, i) =>
        i < below.length - 1
          ? { node: child, branch: `${lead}├── `, lead: `${lead}│   ` }
          : { node: child, branch: `${lead}└── `, lead: `${lead}    ` },
      );
      open.push(...places.reverse());
    }
  }
  return rows;
}

function childrenOf(nodes: readonly Node[]): Map<string, Node[]> {
  const children = new Map<string, Node[]>();
  for (const node of nodes) {
    if (node.parent === undefined) continue;
    const brothers = children.get(node.parent);
    if (brothers) brothers.push(node);
    else children.set(node.parent, [node]);
  }
  return children;
}

/** The bases, those whose parent is missing, and one of each circle: the first by name. */
function rootsOf(nodes: readonly Node[], byName: ReadonlyMap<string, Node>): Node[] {
  const parentOf = (node: Node): Node | undefined => byName.get(node.parent ?? '');
  const firsts = new Set(circlesOf(nodes, parentOf).map((circle) => nodes.find((node) => circle.has(node))));
  return nodes.filter((node) => parentOf(node) === undefined || firsts.has(node));
}

function circlesOf(nodes: readonly Node[], parentOf: (node: Node) => Node | undefined): Set<Node>[] {
  const circles: Set<Node>[] = [];
  const done = new Set<Node>();
  for (const start of nodes) {
    const path: Node[] = [];
    let node: Node | undefined = start;
    for (; node && !done.has(node); node = parentOf(node)) {
      done.add(node);
      path.push(node);
    }
    const entry = node ? path.indexOf(node) : -1;
    if (entry >= 0) circles.push(new Set(path.slice(entry)));
  }
  return circles;
}

/** @param origins  the ancestor at which the ancestry of a wafer breaks; those of its ancestors are in it, its own is added */
function whyBroken(
  { name, parent, hasData }: Node,
  {
    byName,
    origins,
    isRoot,
  }: { byName: ReadonlyMap<string, Node>; origins: Map<string, string>; isRoot: boolean },
): string | undefined {
  const origin = isRoot ? undefined : origins.get(parent ?? '');
  if (origin !== undefined) {
    origins.set(name, origin);
    return `its ancestor ${quoted(origin)} is broken`;
  }
  const why = !hasData
    ? 'its data is gone'
    : isRoot && parent !== undefined
      ? whyNoParent(parent, byName)
      : undefined;
  if (why) origins.set(name, name);
  return why;
}

const whyNoParent = (parent: string, byName: ReadonlyMap<string, Node>): string =>
  byName.has(parent) ? 'it is its own ancestor' : `its parent ${quoted(parent)} is missing`;
