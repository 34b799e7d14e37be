/** /proc/PID/stat: is a process alive, and is it still the same one. */
import { readIfExists } from './files.js';

export interface ProcessStat {
  /** One letter, proc(5): `Z` is a zombie, `X` dead. */
  readonly state: string;
  readonly parentPid: number;
  /** Clock ticks after boot at which the process started; with the pid it names a process for good. */
  readonly startTimeTicks: number;
}

/** The stat of a process, or undefined when there is none of that pid. */
export function readProcessStat(pid: number): ProcessStat | undefined {
  let text: string | undefined;
  try {
    text = readIfExists(`/proc/${pid}/stat`);
  } catch {
    return undefined; // ESRCH: it ended while it was read
  }
  // The command name in parentheses may hold blanks and parentheses itself.
  const fields = text?.slice(text.lastIndexOf(')') + 2).split(' ') ?? [];
  const [state, parentPid, startTime] = [fields[0], Number(fields[1]), fields[19]];
  return state && startTime ? { state, parentPid, startTimeTicks: Number(startTime) } : undefined;
}

/** Is it stopped by a signal (SIGSTOP), or by who traces it? Somebody has to continue it. */
export const isStopped = (pid: number): boolean => 'Tt'.includes(readProcessStat(pid)?.state ?? '-');

/** This process, as a record names it. */
export const ownProcess = (): { pid: number; startTimeTicks: number } => ({
  pid: process.pid,
  startTimeTicks: readProcessStat(process.pid)?.startTimeTicks ?? 0,
});

/** Is it still that process? A zombie is none any more. */
export function isAlive({ pid, startTimeTicks }: { pid: number; startTimeTicks: number }): boolean {
  const stat = readProcessStat(pid);
  return stat !== undefined && !'ZX'.includes(stat.state) && stat.startTimeTicks === startTimeTicks;
}
