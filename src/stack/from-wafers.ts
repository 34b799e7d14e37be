/**
 * Wafers: named layers, each a directory WAFERS/NAME with its files in `data`, the overlay's `work`, and the name of
 * its `parent` unless it is a base. A wafer with its ancestry is a stack.
 */
import { readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { errnoOf, Failure, quoted, UserError } from '../errors.js';
import { MAX_LAYERS, type Stack } from './stack.js';

/** Exit codes of the command wafers, those of its model; what else goes wrong is 1, wrong usage 2. */
export const WAFERS_EXIT = {
  unknownCommand: 1,
  tooManyArguments: 2,
  noName: 3,
  otherParent: 4,
  brokenAncestry: 5,
  notFound: 6,
} as const;

/** A mistake that has an exit code of its own. */
export class WaferError extends UserError {
  override readonly name = 'WaferError';
  override readonly exitCode: number;

  constructor(kind: keyof typeof WAFERS_EXIT, what: string, todo?: string) {
    super({ what, todo });
    this.exitCode = WAFERS_EXIT[kind];
  }
}

/** What WAFERS/NAME holds. */
export interface Wafer {
  readonly name: string;
  /** Absolute path of WAFERS/NAME. */
  readonly directory: string;
  /** The recorded parent, as it stands there; a base has none. */
  readonly parent: string | undefined;
  /** Is its `data` there? */
  readonly hasData: boolean;
  /** An image that is not open for editing: nothing writes to its data. */
  readonly sealed: boolean;
}

/** Names in WAFERS that are something else: the store's points. */
const RESERVED: ReadonlySet<string> = new Set(['points']);

/** Longest name of a file in bytes, NAME_MAX of limits.h. */
export const NAME_MAX_BYTES = 255;

/** One path component. `:` would part two layers, and marks what is not a wafer yet. */
export const isWaferName = (name: string): boolean =>
  !/^\.{0,2}$|[/:\p{Cc}]/u.test(name) && !RESERVED.has(name) && Buffer.byteLength(name) <= NAME_MAX_BYTES;

/** @throws UserError for what cannot be a wafer's name */
export function checkWaferName(name: string): void {
  if (isWaferName(name)) return;
  throw new UserError({
    what: `${quoted(name)} is no name of a wafer`,
    todo: RESERVED.has(name)
      ? 'it is where the points are'
      : `write one path component of up to ${NAME_MAX_BYTES} bytes, without / and :`,
  });
}

/** The wafer of that name, or undefined where WAFERS has no directory of that name. */
export function readWafer(wafers: string, name: string): Wafer | undefined {
  const directory = join(wafers, name);
  if (!isDirectory(directory)) return undefined;
  return {
    name,
    directory,
    parent: readParent(directory),
    hasData: isDirectory(join(directory, 'data')),
    sealed: statSync(join(directory, 'sealed'), { throwIfNoEntry: false }) !== undefined,
  };
}

const isDirectory = (path: string): boolean =>
  statSync(path, { throwIfNoEntry: false })?.isDirectory() ?? false;

/** The parent's name as it is recorded; a base has none. */
export function readParent(directory: string): string | undefined {
  try {
    return readFileSync(`${directory}/parent`, 'utf8').replace(/\n+$/, '') || undefined;
  } catch (error) {
    if (['ENOENT', 'ENOTDIR'].includes(errnoOf(error) ?? '')) return undefined;
    throw error;
  }
}

/**
 * The wafers from `parent` down to the base: the nearest first.
 * @throws WaferError for one that is missing, and for a circle
 */
export function traceAncestry(wafers: string, name: string, parent: string): Wafer[] {
  const ancestors: Wafer[] = [];
  const seen = new Set([name]);
  for (let [child, next] = [name, parent as string | undefined]; next !== undefined; ) {
    if (seen.has(next)) throw broken(`${quoted(next)} is its own ancestor`);
    const wafer = isWaferName(next) ? readWafer(wafers, next) : undefined;
    if (!wafer?.hasData)
      throw broken(
        `${quoted(next)}, the parent of ${quoted(child)}, ${wafer ? 'has no data' : 'is missing'}`,
      );
    ancestors.push(wafer);
    seen.add(next);
    [child, next] = [next, wafer.parent];
  }
  return ancestors;
}

const broken = (why: string): WaferError => new WaferError('brokenAncestry', `ancestry corrupt: ${why}`);

/** @throws WaferError: there is none of that name, or nothing in it that makes it one */
export function requireWafer(wafers: string, name: string): Wafer {
  const wafer = readWafer(wafers, name);
  if (wafer && (wafer.hasData || wafer.parent !== undefined)) return wafer;
  throw new WaferError('notFound', `wafer not found: ${quoted(name)} in ${wafers}`);
}

/**
 * A wafer on its ancestors, the nearest on top; its own data is the writable layer. A base alone is just that.
 * @throws WaferError for a wafer that is missing or whose ancestry is, Failure for a sealed one and for too many layers
 */
export function stackOfWafer(name: string, { wafers }: { readonly wafers: string }): Stack {
  checkWaferName(name);
  const wafer = requireWafer(wafers, name);
  const ancestors = wafer.parent === undefined ? [] : traceAncestry(wafers, name, wafer.parent);
  checkStackable(wafer, ancestors);
  return stackFromWafers(wafer, ancestors);
}

/**
 * What is known before anything is mounted or made.
 * @throws Failure for a wafer that is sealed, or has more ancestors than can be stacked
 */
export function checkStackable(
  { name, sealed }: Pick<Wafer, 'name' | 'sealed'>,
  ancestors: readonly Wafer[],
): void {
  if (sealed)
    throw new Failure({
      what: `${quoted(name)} is sealed: nothing may write to it`,
      todo: `stack a new wafer on it: wafers stack NEW ${name}`,
    });
  if (ancestors.length > MAX_LAYERS)
    throw new Failure({
      what: `${quoted(name)} has ${ancestors.length} ancestors: the kernel stacks at most ${MAX_LAYERS}`,
      todo: 'join some of them into one',
    });
}

/** @param ancestors  the nearest first */
export function stackFromWafers({ directory }: Pick<Wafer, 'directory'>, ancestors: readonly Wafer[]): Stack {
  return {
    from: 'wafers',
    layers: [...ancestors]
      .reverse()
      .map((wafer) => ({ kind: 'directory', path: join(wafer.directory, 'data') })),
    writable: { upper: join(directory, 'data'), work: join(directory, 'work'), make: true },
    binds: [],
    xattrs: 'trusted',
    readOnly: false,
  };
}
