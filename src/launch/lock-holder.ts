/** Who holds a lock, named as an administrator knows it: by the command that was typed. */
import { fstatSync, readFileSync, type Stats, statSync } from 'node:fs';
import { basename } from 'node:path';
import { namesIn } from '../sys/files.js';
import { allPids } from '../sys/proc.js';
import { readProcessStat } from '../sys/process-stat.js';

const SHOWN_LENGTH = 80;

/**
 * Whose open file has the lock (it is told in its fdinfo, proc_pid_fdinfo(5)): `boxctl restart web (pid 123)`.
 * @param fd  that file or directory, opened by this process
 * @returns undefined where nobody has it any more, or nobody that is seen in our /proc
 */
export function holderOf(fd: number): string | undefined {
  const locked = fstatSync(fd);
  const pids = new Set(allPids().filter((pid) => quietly(() => holds(pid, locked))));
  const words = [...pids].flatMap((pid) => {
    // A program that the holder runs has its open files, too, until it is on its own.
    if (pids.has(readProcessStat(pid)?.parentPid ?? 0)) return [];
    const command = commandLineOf(pid);
    return command === undefined ? [] : [`${command} (pid ${pid})`];
  });
  return words.length === 0 ? undefined : words.join(', ');
}

function holds(pid: number, { dev, ino }: Stats): boolean {
  const line = new RegExp(`^lock:.* FLOCK .*:${ino} `, 'm');
  return namesIn(`/proc/${pid}/fdinfo`).some((fd) => {
    if (!line.test(readFileSync(`/proc/${pid}/fdinfo/${fd}`, 'utf8'))) return false;
    const file = statSync(`/proc/${pid}/fd/${fd}`); // the same number may be on another file system, too
    return file.ino === ino && file.dev === dev;
  });
}

/**
 * `stacko new-image a` rather than `/usr/bin/node /usr/bin/stacko new-image a`, fit for a terminal.
 * @returns undefined for a process that has ended
 */
export function commandLineOf(pid: number): string | undefined {
  const text = quietly(() => readFileSync(`/proc/${pid}/cmdline`, 'utf8')) ?? '';
  const words = text.split('\0').filter(Boolean);
  const isNode = basename(words[0] ?? '').startsWith('node');
  // Node has options of its own before the script.
  const script = isNode ? words.findIndex((word, i) => i > 0 && !word.startsWith('-')) : 0;
  const [program, ...args] = words.slice(Math.max(0, script));
  if (program === undefined) return undefined;
  return [basename(program, '.js'), ...args]
    .join(' ')
    .replace(/\p{Cc}/gu, '?')
    .slice(0, SHOWN_LENGTH);
}

/** A process that ends while it is looked at, or belongs to somebody else, holds nothing that we can name. */
function quietly<T>(look: () => T): T | undefined {
  try {
    return look();
  } catch {
    return undefined;
  }
}
