/**
 * Changes of the store that take more than one rename. What is to be done is noted before it begins, in
 * WAFERS/points/.change, and the note goes when all is done; whoever holds the store's lock next finds it if the
 * one who wrote it was killed, and brings the store to the old state or to the new one. A point is changed by the
 * one rename of its `current`: before that it is the old state, after it the new one.
 */
import { existsSync, mkdirSync, rmSync, symlinkSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { ErrorList, errnoOf, Failure, quoted } from '../errors.js';
import { readWafer, requireWafer, type Wafer } from '../stack/from-wafers.js';
import {
  instancesOf,
  POINTS,
  type Point,
  parseInstanceName,
  pointDirectory,
  readPoint,
} from '../stack/store.js';
import { makeDirectory, readIfExists, syncDirectory, writeFileAtomic } from '../sys/files.js';
import { clearDiscarded, discard, prepareLink, replaceData } from './make-wafer.js';

/** What is under way. `made`: an instance that was not there before. */
export type Change =
  | { readonly change: 'new-point'; readonly point: string; readonly made: string }
  | {
      readonly change: 'generation';
      readonly point: string;
      readonly number: number;
      readonly made: string | undefined;
    }
  | { readonly change: 'delete-point'; readonly point: string }
  | { readonly change: 'delete-instance'; readonly instance: string }
  | { readonly change: 'reset'; readonly instance: string };

const notePath = (wafers: string): string => join(wafers, POINTS, '.change');

/** Does what is noted first; what fails is brought to the old state or the new one at once. */
export async function noted<T>(wafers: string, change: Change, act: () => Promise<T> | T): Promise<T> {
  makeDirectory(join(wafers, POINTS), 0o755);
  writeFileAtomic(notePath(wafers), `${JSON.stringify(change)}\n`);
  try {
    const result = await act();
    finishChange(wafers);
    return result;
  } catch (error) {
    await undoing(error, [() => finishChange(wafers)]);
    throw error;
  }
}

/**
 * Takes back what an error was in the way of: all of it, whatever fails.
 * @throws ErrorList of that error and those that this has met
 */
export async function undoing(error: unknown, undo: readonly (() => unknown)[]): Promise<void> {
  const errors: Error[] = [];
  for (const step of undo)
    try {
      await step();
    } catch (more) {
      errors.push(asError(more));
    }
  if (errors.length > 0) throw new ErrorList([asError(error), ...errors]);
}

const asError = (error: unknown): Error => (error instanceof Error ? error : new Error(String(error)));

/** Brings what is noted to its end, and forgets it. For who holds the store's lock. */
export function finishChange(wafers: string): void {
  const path = notePath(wafers);
  rmSync(`${path}.tmp`, { force: true });
  const text = readIfExists(path);
  if (text === undefined) return;
  finish(wafers, parseNote(path, text));
  rmSync(path);
  syncDirectory(dirname(path));
}

function parseNote(path: string, text: string): Change {
  try {
    return JSON.parse(text) as Change;
  } catch (cause) {
    throw new Failure({ what: `${path} cannot be understood: ${quoted(text)}`, todo: 'remove it', cause });
  }
}

function finish(wafers: string, change: Change): void {
  switch (change.change) {
    case 'new-point':
      if (!existsSync(pointDirectory(wafers, change.point))) discard(join(wafers, change.made));
      break;
    case 'generation':
      if (readPoint(wafers, change.point)?.current.number === change.number) break;
      if (existsSync(pointDirectory(wafers, change.point)))
        discard(join(pointDirectory(wafers, change.point), String(change.number)), wafers);
      if (change.made !== undefined) discard(join(wafers, change.made));
      break;
    case 'delete-point':
      discard(pointDirectory(wafers, change.point), wafers);
      for (const { name } of instancesOf(wafers, change.point)) discard(join(wafers, name));
      break;
    case 'delete-instance':
      deleteInstance(wafers, change.instance);
      break;
    case 'reset':
      if (!readWafer(wafers, change.instance)?.hasData)
        replaceData(join(wafers, change.instance), parentOf(wafers, change.instance));
  }
}

/** The image of an instance. */
export const parentOf = (wafers: string, instance: string): Wafer =>
  requireWafer(wafers, requireWafer(wafers, instance).parent ?? '');

/** Takes an instance out of its point's history, and removes it. May be done over again. */
function deleteInstance(wafers: string, instance: string): void {
  const point = readPoint(wafers, parseInstanceName(instance)?.point ?? '');
  try {
    if (point) forget(wafers, point, instance);
    discard(join(wafers, instance));
  } catch (error) {
    if (errnoOf(error) !== 'ENOSPC' || !point) throw error;
    // There is as much room as the instance itself takes.
    discard(join(wafers, instance));
    clearDiscarded(wafers);
    forget(wafers, point, instance);
  }
}

/** Generations that replaced one of the instance's have then replaced what that had replaced. */
function forget(wafers: string, { directory, generations }: Point, instance: string): void {
  const before = new Map(generations.map((generation) => [generation.number, generation]));
  const gone = (number: number | undefined): boolean => before.get(number ?? 0)?.instance === instance;
  for (const { number, replaced, instance: own } of generations) {
    if (own === instance || !gone(replaced)) continue;
    let now = replaced;
    while (gone(now)) now = before.get(now ?? 0)?.replaced;
    const link = join(directory, String(number), 'replaced');
    if (now === undefined) rmSync(link, { force: true });
    else replaceLink(wafers, link, `../${now}`);
    syncDirectory(dirname(link));
  }
  for (const { number, instance: own } of generations)
    if (own === instance) discard(join(directory, String(number)), wafers);
}

/** Has a symbolic link lead elsewhere, by one rename. */
const replaceLink = (wafers: string, path: string, target: string): void => prepareLink(wafers, target)(path);

/** The directory of a generation. */
export function makeGeneration(place: string, instance: string, replaced: number | undefined): void {
  mkdirSync(place, { mode: 0o755 });
  symlinkSync(`../../../${instance}`, join(place, 'instance'));
  if (replaced !== undefined) symlinkSync(`../${replaced}`, join(place, 'replaced'));
  syncDirectory(place);
}
