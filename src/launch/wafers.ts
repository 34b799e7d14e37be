/** Stacking wafers and taking the stacks away again: what the command `wafers` does. */
import { lstatSync, mkdirSync, rmdirSync, statSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { errnoOf, Failure, quoted, UserError } from '../errors.js';
import {
  checkStackable,
  checkWaferName,
  readWafer,
  requireWafer,
  stackFromWafers,
  traceAncestry,
  type Wafer,
  WaferError,
} from '../stack/from-wafers.js';
import { realPath } from '../stack/root-kind.js';
import { readWafers, type WaferRow, waferRows } from '../stack/wafer-tree.js';
import { isMountPoint, type Mount, mountsOf, unescapeOctal } from '../sys/mountinfo.js';
import { clearUnfinished, createWafer, removeWafer, replaceData } from './make-wafer.js';
import { mountStack, unmountStack } from './mount-stack.js';

/** Where wafers and their mount points are; absolute paths. */
export interface WaferPlaces {
  readonly wafers: string;
  readonly stacks: string;
}

/** What is to be done to stack a wafer, with everything checked that can be. */
export interface WaferPlan {
  readonly path: string;
  readonly name: string;
  /** The nearest first. */
  readonly ancestors: readonly Wafer[];
  /** `data` only: it is a wafer, but that is gone. */
  readonly make: 'wafer' | 'data' | 'nothing';
}

/** A mount point is taken away by a wafers unstack of the same name: then it is made again, this often. */
const TRIES = 5;

/** @throws UserError for what cannot be a wafer's name */
export function mountPointOf({ stacks }: Pick<WaferPlaces, 'stacks'>, name: string): string {
  checkWaferName(name);
  return join(stacks, name);
}

/** Is anything mounted there? Links on the way are followed. */
export const isStacked = (path: string): boolean => isMountPoint(realPath(path));

/**
 * Reads and checks; changes nothing.
 * @param parent  what a new wafer is made upon; of one that is there it must be the parent
 * @returns undefined when something is mounted there already
 * @throws WaferError for what the command's model has an exit code for, UserError or Failure for the rest
 */
export function planStack(
  places: WaferPlaces,
  name: string,
  parent: string | undefined,
): WaferPlan | undefined {
  const path = mountPointOf(places, name);
  // One look for both questions: what is mounted in between is not in the way of itself.
  const mounts = mountsOf('self');
  const real = realPath(path);
  if (mounts.some(({ mountPoint }) => mountPoint === real)) return undefined;
  const there = readWafer(places.wafers, name);
  if (there && parent !== undefined && parent !== there.parent) throw otherParent(there, parent);
  const wafer =
    !there && parent !== undefined ? newWafer(places, name, parent) : requireWafer(places.wafers, name);
  const ancestors = wafer.parent === undefined ? [] : traceAncestry(places.wafers, name, wafer.parent);
  checkStackable(wafer, ancestors);
  if (there) checkUnused(there, mounts);
  if (!(statSync(path, { throwIfNoEntry: false })?.isDirectory() ?? true))
    throw new Failure({
      what: `${path} is no directory`,
      todo: 'the stack would be mounted there: move it away',
    });
  return { path, name, ancestors, make: !there ? 'wafer' : there.hasData ? 'nothing' : 'data' };
}

function otherParent(wafer: Wafer, parent: string): WaferError {
  const recorded = wafer.parent === undefined ? 'has none' : `has ${quoted(wafer.parent)}`;
  const what = 'parent was specified but does not match existing';
  return new WaferError('otherParent', `${what}: ${quoted(wafer.name)} ${recorded}, not ${quoted(parent)}`);
}

function newWafer(
  { wafers }: WaferPlaces,
  name: string,
  parent: string,
): Pick<Wafer, 'name' | 'parent' | 'sealed'> {
  checkWaferName(parent);
  if (name.includes('@'))
    throw new UserError({
      what: `${quoted(name)}: "@" is in the names of instances only`,
      todo: 'leave it out',
    });
  if (lstatSync(join(wafers, 'points', name), { throwIfNoEntry: false }))
    throw new UserError({ what: `${quoted(name)} is a point`, todo: 'give the wafer another name' });
  if (lstatSync(join(wafers, name), { throwIfNoEntry: false }))
    throw new Failure({
      what: `${join(wafers, name)} is no directory`,
      todo: 'a wafer is one: move it away',
    });
  return { name, parent, sealed: false };
}

/** A writable layer has one user. The init program looks once more, under the lock; here it can be said where. */
function checkUnused({ name, directory, hasData }: Wafer, mounts: readonly Mount[]): void {
  if (!hasData) return;
  const data = statSync(join(directory, 'data'));
  const user = mounts.find((mount) =>
    uppersOf(mount).some((upper) => {
      const stat = statSync(upper, { throwIfNoEntry: false });
      return stat?.ino === data.ino && stat.dev === data.dev;
    }),
  );
  if (user)
    throw new Failure({
      what: `${quoted(name)} is in use: its data is the writable layer of what is mounted at ${user.mountPoint}`,
      todo: 'unmount that first',
    });
}

/** A backslash is an escape in an upper that was given as text, and none in one given by descriptor: both are tried. */
function uppersOf({ type, superOptions }: Mount): string[] {
  const [, upper] = (type === 'overlay' && /(?:^|,)upperdir=([^,]*)/.exec(superOptions)) || [];
  if (upper === undefined) return [];
  const text = unescapeOctal(upper);
  return [text, text.replace(/\\(.)/gs, '$1')];
}

/**
 * Makes what is missing and mounts it. Of what fails nothing is left.
 * @returns the number of wafers stacked; undefined when somebody else was quicker
 */
export async function stackWafer(places: WaferPlaces, plan: WaferPlan): Promise<number | undefined> {
  clearUnfinished(places.wafers);
  const directory = join(places.wafers, plan.name);
  const [nearest] = plan.ancestors;
  if (plan.make === 'wafer' && nearest && !createWafer(directory, nearest))
    return await stackOther(places, plan);
  if (plan.make === 'data' && nearest) replaceData(directory, nearest);
  const madeStacks = mkdirSync(places.stacks, { recursive: true, mode: 0o700 });
  try {
    const stack = stackFromWafers({ directory }, plan.ancestors);
    const mounted = await retried(plan.path, () =>
      mountStack(stack, plan.path, { lock: directory, devices: true }),
    );
    return mounted ? 1 + plan.ancestors.length : undefined;
  } catch (error) {
    if (!isStacked(plan.path)) undo(places, plan, madeStacks);
    throw error;
  }
}

/** Somebody else has made the wafer meanwhile: it is stacked as it is there. */
async function stackOther(places: WaferPlaces, plan: WaferPlan): Promise<number | undefined> {
  const now = planStack(places, plan.name, plan.ancestors[0]?.name);
  return now && (await stackWafer(places, now));
}

async function retried(path: string, mount: () => Promise<boolean>): Promise<boolean> {
  for (let tries = 1; ; tries++) {
    try {
      makeMountPoint(path);
      return await mount();
    } catch (error) {
      if (tries === TRIES || statSync(path, { throwIfNoEntry: false })) throw error;
    }
  }
}

function makeMountPoint(path: string): void {
  try {
    mkdirSync(path, { mode: 0o755 });
  } catch (error) {
    if (errnoOf(error) !== 'EEXIST') throw error;
  }
}

function undo(
  { wafers, stacks }: WaferPlaces,
  { path, name, make }: WaferPlan,
  madeStacks: string | undefined,
): void {
  removeIfEmpty(path);
  if (make === 'wafer') removeWafer(join(wafers, name));
  if (madeStacks === undefined) return;
  for (let made = stacks; made.length >= madeStacks.length; made = dirname(made)) removeIfEmpty(made);
}

/** A mount point that has files of its own, or is a link, was not made by us. */
function removeIfEmpty(directory: string): void {
  try {
    rmdirSync(directory);
  } catch (error) {
    if (!['ENOENT', 'ENOTEMPTY', 'EEXIST', 'ENOTDIR', 'EBUSY'].includes(errnoOf(error) ?? '')) throw error;
  }
}

/**
 * Unmounts everything at and below a mount point, and removes that.
 * @returns false when nothing is mounted there; a mount point that was left of a wafer's is removed then, too
 * @throws Failure naming who holds it; nothing is unmounted then
 */
export async function unstackWafer(places: WaferPlaces, name: string): Promise<boolean> {
  const path = mountPointOf(places, name);
  clearUnfinished(places.wafers);
  const mounts = mountsAt(path);
  if (mounts.length === 0) {
    if (readWafer(places.wafers, name)) removeIfEmpty(path);
    return false;
  }
  // Of several the last might be the one that is busy, when the others are gone.
  if (mounts.length > 1) await refuseIfHeld(path, mounts);
  try {
    await unmountStack(path);
  } catch (error) {
    const left = mountsAt(path);
    if (left.length > 0) {
      await refuseIfHeld(path, left);
      throw error;
    }
  }
  removeIfEmpty(path);
  return true;
}

/** The mounts at a path and below it; none where nothing is mounted at the path itself. */
function mountsAt(path: string): Mount[] {
  const real = realPath(path);
  const mounts = mountsOf('self').filter(
    ({ mountPoint }) => mountPoint === real || mountPoint.startsWith(`${real}/`),
  );
  return mounts.some(({ mountPoint }) => mountPoint === real) ? mounts : [];
}

async function refuseIfHeld(path: string, mounts: readonly Mount[]): Promise<void> {
  const { holdersOf, holdersText } = await import('./holders.js');
  const holders = holdersOf(mounts);
  if (holders.length > 0)
    throw new Failure({ what: `${path} is busy: in use by ${holdersText(holders)}`, todo: 'end that first' });
}

/** A wafer in the forest, with what is known of its mount. */
export interface TreeRow extends WaferRow {
  readonly stacked: boolean;
}

/** The forest of wafers: each parent before its children. */
export function waferForest({ wafers, stacks }: WaferPlaces): TreeRow[] {
  const points = new Set(mountsOf('self').map(({ mountPoint }) => mountPoint));
  const real = realPath(stacks);
  return waferRows(readWafers(wafers)).map((row) => ({ ...row, stacked: points.has(join(real, row.name)) }));
}
