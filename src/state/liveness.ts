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
  const stat = statSync(path, { throwIfNoEntry: false });
  const locks = stat && readIfExists('/proc/locks');
  if (!stat || !locks) return undefined;
  const wanted = `${lockDevice(stat.dev)}:${stat.ino}`;
  const fields = locks.split('\n').map((line) => line.trim().split(/\s+/));
  const found = fields.find(([, type, , , , place]) => type === 'FLOCK' && place === wanted);
  return found && Number(found[4]);
}

/** MAJOR:MINOR in hexadecimal as proc_locks(5) writes it; st_dev is in glibc's makedev(3) encoding. */
function lockDevice(dev: number): string {
  const major = (dev >>> 8) & 0xfff;
  const minor = (dev & 0xff) | ((dev >>> 12) & 0xfff00);
  return [major, minor].map((part) => part.toString(16).padStart(2, '0')).join(':');
}
