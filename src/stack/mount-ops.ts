/**
 * Stack + mount point -> operations of the init program: the one place that decides how a stack is mounted,
 * and where the order of layers turns round. Pure.
 */
import { UserError } from '../errors.js';
import { type Bind, MAX_LAYERS, type Stack, type Tree, upperTree, type Writable } from './stack.js';

/** The operations that mount a stack; src/init/child.c runs them. */
export type MountOp =
  /** Takes the lock of a work directory for as long as the root is mounted. */
  | { readonly op: 'worklock'; readonly work: string }
  /** The overlay's marks are user.* attributes. */
  | { readonly op: 'user-xattrs' }
  /** Makes UPPER and WORK where missing, never through a link in the last component; locks and empties WORK. */
  | { readonly op: 'writable'; readonly upper: string; readonly work: string }
  /** A tmpfs on LIVE where images and an overlay that is not the root are mounted first; the root covers it. */
  | { readonly op: 'stage'; readonly live: string }
  /** An image's file system, mounted at a place of the stage that is made for it. */
  | {
      readonly op: 'image';
      readonly image: string;
      readonly offset: string;
      readonly size: string;
      readonly type: string;
      readonly mode: 'ro' | 'rw';
      readonly at: string;
    }
  /** The next lower layer; the top one first. */
  | { readonly op: 'lower'; readonly directory: string }
  /** UPPER '' makes it read-only. */
  | { readonly op: 'overlay'; readonly live: string; readonly upper: string; readonly work: string }
  | { readonly op: 'directory'; readonly path: string }
  /** A place of the stage that is a link to a directory, which is no link, or where that is missing an empty directory. */
  | { readonly op: 'directory-or-empty'; readonly path: string; readonly at: string }
  /** A bind mount as the root. */
  | { readonly op: 'bind'; readonly upper: string; readonly live: string; readonly mode: 'ro' | 'rw' }
  /** A directory as it is, with what is mounted below it. */
  | { readonly op: 'self'; readonly live: string }
  | { readonly op: 'tmpfs'; readonly live: string }
  /** Takes a tree before the root covers its place; `put` n-th attaches the n-th taken. */
  | { readonly op: 'take'; readonly source: string; readonly mode: 'ro' | 'rw' }
  | { readonly op: 'put'; readonly number: string; readonly inside: string }
  /** Opens LIVE as the root that what follows is put in. */
  | { readonly op: 'root'; readonly live: string }
  /** Makes the root's mount read-only, once all is in it. */
  | { readonly op: 'seal' };

/** Gives a tree a path: a directory has one, an image gets one on the stage. */
class Stage {
  readonly live: string;
  readonly ops: MountOp[] = [];

  constructor(live: string) {
    this.live = live;
  }

  /** A new place on the stage, which is made with the first of them. */
  place(): string {
    if (this.ops.length === 0) this.ops.push({ op: 'stage', live: this.live });
    return `${this.live}/${this.ops.length}`;
  }

  pathOf(tree: Tree, mode: 'ro' | 'rw' = 'ro'): string {
    if (tree.kind === 'directory') return tree.path;
    const at = this.place();
    const [offset, size] = [String(tree.offsetBytes), String(tree.sizeBytes)];
    this.ops.push({ op: 'image', image: tree.path, offset, size, type: tree.type, mode, at });
    if (tree.inside === undefined) return at;
    const inside = this.place();
    this.ops.push({ op: 'directory-or-empty', path: `${at}/${tree.inside}`, at: inside });
    return inside;
  }
}

/**
 * How the stack is mounted on `live`, a directory of the host. The table of what it comes to:
 * no layers, no root: a tmpfs; one layer, or the writable one alone: a bind mount; else an overlay; with a
 * root, that is bound and only usr/ of the rest goes to its usr/.
 * @throws UserError for more layers than the kernel takes
 */
export function mountOps(stack: Stack, live: string): MountOp[] {
  if (stack.layers.length > MAX_LAYERS)
    throw new UserError({
      what: `${stack.layers.length} layers: the kernel takes at most ${MAX_LAYERS} in an overlay`,
    });
  const stage = new Stage(live);
  const mode = stack.readOnly ? 'ro' : 'rw';
  const body = bodyOps(stack, stage);
  const taken: MountOp[] = [];
  const puts: MountOp[] = [];
  const put = (source: string, inside: string, bindMode: 'ro' | 'rw'): void => {
    puts.push({ op: 'put', number: String(taken.length), inside });
    taken.push({ op: 'take', source, mode: bindMode });
  };
  // Mounted beside the root, since only a part of it goes in there.
  const aside = stack.root && body ? body(stage.place()) : undefined;
  if (aside) stage.ops.push({ op: 'directory', path: aside.live }, ...aside.ops);
  if (aside) put(`${aside.live}/usr`, '/usr', aside.mode);
  for (const bind of sortedBinds(stack.binds)) {
    const bindMode = bind.readOnly || stack.readOnly ? 'ro' : 'rw';
    put(stage.pathOf(bind.source, bindMode), bind.inside, bindMode);
  }
  const whole = stack.root
    ? [rootBind(stack.root, stage, live, mode)]
    : (body?.(live).ops ?? [{ op: 'tmpfs', live } as const]);
  const needsSeal = stack.readOnly && !stack.root && !body;
  return [
    ...stage.ops,
    ...taken,
    ...whole,
    { op: 'root', live },
    ...puts,
    ...(needsSeal ? [{ op: 'seal' } as const] : []),
  ];
}

const rootBind = (root: Tree, stage: Stage, live: string, mode: 'ro' | 'rw'): MountOp => ({
  op: 'bind',
  upper: stage.pathOf(root, mode),
  live,
  mode,
});

/** The shorter path is mounted first: a place may lie below another. */
const sortedBinds = (binds: readonly Bind[]): Bind[] =>
  [...binds].sort((a, b) => a.inside.length - b.inside.length || (a.inside < b.inside ? -1 : 1));

interface Body {
  readonly live: string;
  readonly mode: 'ro' | 'rw';
  readonly ops: readonly MountOp[];
}

/** What layers and the writable one come to, at a place yet to be told; undefined where there are none. */
function bodyOps(stack: Stack, stage: Stage): ((live: string) => Body) | undefined {
  const { layers, xattrs } = stack;
  const writable = stack.readOnly ? undefined : stack.writable;
  const unwritten = stack.readOnly && stack.writable ? [upperTree(stack.writable)] : [];
  const lower = [...layers, ...unwritten].map((tree) => stage.pathOf(tree));
  const [only] = lower;
  if (!writable) {
    if (only === undefined) return undefined;
    if (lower.length === 1)
      return (live) => ({ live, mode: 'ro', ops: [{ op: 'bind', upper: only, live, mode: 'ro' }] });
    return (live) => ({ live, mode: 'ro', ops: overlayOps(lower, undefined, live, xattrs) });
  }
  const { upper, work, make } = pathsOf(writable, stage);
  const prepare: MountOp = make ? { op: 'writable', upper, work } : { op: 'worklock', work };
  if (only === undefined)
    return (live) => ({ live, mode: 'rw', ops: [prepare, { op: 'bind', upper, live, mode: 'rw' }] });
  return (live) => ({
    live,
    mode: 'rw',
    ops: [prepare, ...overlayOps(lower, { upper, work }, live, xattrs)],
  });
}

function pathsOf(writable: Writable, stage: Stage): Writable {
  if (!writable.image) return writable;
  const base = stage.pathOf(writable.image, 'rw');
  return { upper: `${base}/${writable.upper}`, work: `${base}/${writable.work}`, make: writable.make };
}

function overlayOps(
  bottomFirst: readonly string[],
  writable: { readonly upper: string; readonly work: string } | undefined,
  live: string,
  xattrs: Stack['xattrs'],
): MountOp[] {
  return [
    ...(xattrs === 'user' ? [{ op: 'user-xattrs' } as const] : []),
    // overlayfs takes the top layer first (kernel document filesystems/overlayfs, "Multiple lower layers").
    ...[...bottomFirst].reverse().map((directory): MountOp => ({ op: 'lower', directory })),
    { op: 'overlay', live, upper: writable?.upper ?? '', work: writable?.work ?? '' },
  ];
}
