/** Does a subhost run? Told by its lock and its pid 1, never by process names. */
import { readFileSync, statSync } from 'node:fs';
import { readIfExists } from '../sys/files.js';
import { isAlive } from '../sys/process-stat.js';
import { stateDirectory } from './state-file.js';
import type { SubhostState } from './subhost-state.js';

/** The id the kernel made up when the host booted, random(4). */
export const currentBootId = (): string => readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim();

/** Is pid 1 of the record still that process, with a keeper or without? */
export const hasPid1 = ({ bootId, init }: SubhostState): boolean =>
  bootId === currentBootId() && init !== undefined && isAlive(init);

/**
 * Does it run: its lock is held, or else pid 1 of its record is still that process (a keeper that was
 * killed takes pid 1 along; an init system of the subhost's own can survive that).
 */
export function isRunning(runDir: string, state: SubhostState): boolean {
  if (state.bootId !== currentBootId()) return false;
  // pid 1 first: opening /proc/locks waits for the kernel's RCU (locks_start), 3 to 10 ms.
  return (state.init !== undefined && isAlive(state.init)) || isLocked(runDir, state.name);
}

/** Is the subhost's lock held by anyone? Read, not tried: a trial would hold it for a moment itself. */
export const isLocked = (runDir: string, name: string): boolean => isFlocked(stateDirectory(runDir, name));

/** Is the lock of a file or directory held by anyone? */
export const isFlocked = (path: string): boolean => lockHolder(path) !== undefined;

/** The pid of the process that has taken the flock(2) of a file or directory, proc_locks(5). */
export function lockHolder(path: string): number | undefined {
  const place = lockPlace(path);
  return place === undefined ? undefined : flocks().get(place);
}

/** Those of some files and directories whose lock is held by anyone, by one look. */
export function flockedOf(paths: readonly string[]): string[] {
  if (paths.length === 0) return [];
  const held = flocks();
  return paths.filter((path) => held.has(lockPlace(path) ?? ''));
}

/** As proc_locks(5) names a file or directory; undefined where there is none. */
function lockPlace(path: string): string | undefined {
  const stat = statSync(path, { throwIfNoEntry: false });
  return stat && `${lockDevice(stat.dev)}:${stat.ino}`;
}

/** Each place that is locked by flock(2), and by whom. */
function flocks(): Map<string, number> {
  const lines = (readIfExists('/proc/locks') ?? '').split('\n').map((line) => line.trim().split(/\s+/));
  // Of several that share a lock the first; one that waits for it has `->` in the second field.
  return new Map(
    lines
      .reverse()
      .flatMap(([, type, , , pid, place = '']) => (type === 'FLOCK' ? [[place, Number(pid)]] : [])),
  );
}

/** MAJOR:MINOR in hexadecimal as proc_locks(5) writes it; st_dev is in glibc's makedev(3) encoding. */
function lockDevice(dev: number): string {
  const major = (dev >>> 8) & 0xfff;
  const minor = (dev & 0xff) | ((dev >>> 12) & 0xfff00);
  return [major, minor].map((part) => part.toString(16).padStart(2, '0')).join(':');
}
