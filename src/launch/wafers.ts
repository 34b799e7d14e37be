/** Stacking wafers and taking the stacks away again: what the command `wafers` does. */
import { lstatSync } from 'node:fs';
import { join } from 'node:path';
import { Failure, quoted, UserError } from '../errors.js';
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
import { type Node, readWafers, type WaferRow, waferRows } from '../stack/wafer-tree.js';
import { mountsOf } from '../sys/mountinfo.js';
import { clearUnfinished, createWafer, removeWafer, replaceData } from './make-wafer.js';
import { checkMountPoint, checkUnused, isStacked, mountAt, removeIfEmpty, unmountAt } from './mount-point.js';
import { withStore } from './store-lock.js';

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

/** @throws UserError for what cannot be a wafer's name */
export function mountPointOf({ stacks }: Pick<WaferPlaces, 'stacks'>, name: string): string {
  checkWaferName(name);
  return join(stacks, name);
}

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
  checkMountPoint(path);
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
  // A directory by now: somebody else is making it, too.
  if (!(lstatSync(join(wafers, name), { throwIfNoEntry: false })?.isDirectory() ?? true))
    throw new Failure({
      what: `${join(wafers, name)} is no directory`,
      todo: 'a wafer is one: move it away',
    });
  return { name, parent, sealed: false };
}

/**
 * Makes what is missing and mounts it. Of what fails nothing is left.
 * @returns the number of wafers stacked; undefined when somebody else was quicker
 */
export async function stackWafer(places: WaferPlaces, plan: WaferPlan): Promise<number | undefined> {
  if (plan.make !== 'nothing') return await makeAndStack(places, plan);
  clearUnfinished(places.wafers);
  return await mountPlanned(places, plan);
}

/** What is made is made under the store's lock: its parent is then still there, and its name still free. */
async function makeAndStack(
  places: WaferPlaces,
  { name, ancestors }: WaferPlan,
): Promise<number | undefined> {
  const made = await withStore(places, ({ wafers }) => {
    const now = planStack(places, name, ancestors[0]?.name);
    const [nearest] = now?.ancestors ?? [];
    if (now?.make === 'wafer' && nearest) createWafer(join(wafers, name), { parent: nearest });
    if (now?.make === 'data' && nearest) replaceData(join(wafers, name), nearest);
    return now;
  });
  return made && (await mountPlanned(places, made));
}

async function mountPlanned(places: WaferPlaces, plan: WaferPlan): Promise<number | undefined> {
  const { path, ancestors, make } = plan;
  const lock = join(places.wafers, plan.name);
  try {
    const stack = stackFromWafers({ directory: lock }, ancestors);
    const mounted = await mountAt({ stack, path, stacks: places.stacks, lock });
    return mounted ? 1 + ancestors.length : undefined;
  } catch (error) {
    if (make === 'wafer' && !isStacked(path)) removeWafer(lock);
    throw error;
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
  if (await unmountAt(path)) return true;
  if (readWafer(places.wafers, name)) removeIfEmpty(path);
  return false;
}

/** A wafer in the forest, with what is known of its mount. */
export interface TreeRow extends WaferRow {
  readonly stacked: boolean;
}

/**
 * The forest of wafers: each parent before its children.
 * @param isPart  which of them are in it; all unless given
 */
export function waferForest(
  { wafers, stacks }: WaferPlaces,
  isPart: (wafer: Node) => boolean = () => true,
): TreeRow[] {
  const points = new Set(mountsOf('self').map(({ mountPoint }) => mountPoint));
  const real = realPath(stacks);
  return waferRows(readWafers(wafers).filter(isPart)).map((row) => ({
    ...row,
    stacked: points.has(`${real}/${row.name}`),
  }));
}
