/** The records of subhosts below the run directory: reading, replacing, listing. */
import { join } from 'node:path';
import { Failure } from '../errors.js';
import { makePath, namesIn, readIfExists, writeFileAtomic } from '../sys/files.js';
import type { SubhostState } from './subhost-state.js';

/** RUN/NAME: what the keeper locks, and where the record is. */
export const stateDirectory = (runDir: string, name: string): string => join(runDir, name);

const recordPath = (runDir: string, name: string): string => join(runDir, name, 'state.json');

/** The keeper's pid and a newline, for an init system that wants a pid file. */
export const pidFilePath = (runDir: string, name: string): string => join(runDir, name, 'pid');

/**
 * The record of a subhost, or undefined where there is none.
 * @throws Failure when there is one that cannot be understood
 */
export function readState(runDir: string, name: string): SubhostState | undefined {
  const path = recordPath(runDir, name);
  const text = readIfExists(path);
  if (text === undefined) return undefined;
  try {
    const state = JSON.parse(text) as SubhostState;
    if (state.version === 1) return state;
  } catch (cause) {
    throw new Failure({
      what: `${path} is no record of a subhost`,
      todo: `overlay-stop ${name} clears it`,
      cause,
    });
  }
  throw new Failure({ what: `${path} was written by another version of this program` });
}

/** Replaces the record. Its directory is there: the keeper made it to lock it. */
export function writeState(runDir: string, state: SubhostState): void {
  writeFileAtomic(recordPath(runDir, state.name), `${JSON.stringify(state, null, 2)}\n`, { durable: false });
}

/** Replaces the pid file of a running subhost. */
export function writePidFile(runDir: string, name: string, pid: number): void {
  writeFileAtomic(pidFilePath(runDir, name), `${pid}\n`, { durable: false });
}

/** Makes the run directory: root's, readable by all, since overlay-status works for anyone. */
export function makeRunDirectory(runDir: string): void {
  makePath(runDir, 0o755);
}

/** Names of all subhosts that have a record or a lock, in alphabetical order. */
export const listStates = (runDir: string): string[] => namesIn(runDir);
