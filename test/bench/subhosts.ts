/** The subhosts that are measured: how they are made, and what they keep of the host's memory. */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { PROJECT, type Sandbox } from '../helpers/namespaces.js';
import { START_SCRIPT } from './contestants.js';
import { SIGNAL_DIRECTORY } from './stopwatch.js';

const HOME = '/opt/subhost';

/** A command of the project, as a user calls it; the sandbox's PATH finds the Node that the bench runs on. */
export const projectCommand = (name: string, ...args: readonly string[]): string[] => [
  join(PROJECT, 'bin', name),
  ...args,
];

export const confOf = (name: string): string => `${HOME}/${name}/${name}.conf`;

/** Names of so many subhosts for a call that boots them all. */
export const names = (count: number): string[] => Array.from({ length: count }, (_, i) => `b${i + 1}`);

/** One with a start script to be heard of, and three hundred without services; all with a cable and an overlay of /. */
export async function prepareSubhosts(sandbox: Sandbox): Promise<void> {
  const many = names(300);
  await sandbox.sh(`for name in one ${many.join(' ')}; do
    mkdir -p ${HOME}/$name/root/bench ${HOME}/$name/work ${HOME}/$name/live
    printf 'BASE=.\\nCABLES= =\\nSTART=none\\n' >${HOME}/$name/$name.conf
  done`);
  const conf = `BASE=.\nCABLES= =\nSTART=/startup\nSHARE=${SIGNAL_DIRECTORY}:/bench\n`;
  await sandbox.writeFile(confOf('one'), conf);
  await sandbox.writeFile(`${HOME}/one/root/startup`, START_SCRIPT, 0o755);
}

/**
 * KiB that the subhosts which run in the sandbox keep: the proportional set size of all keepers, reapers and
 * dummy services (smaps_rollup, see proc_pid_smaps(5)).
 */
export function keptKiB(sandbox: Sandbox): number {
  return processesOf(sandbox)
    .filter(({ comm }) => comm === 'overlay-keep' || comm === '.reaper')
    .map(({ directory }) =>
      Number(/^Pss:\s*([0-9]+) kB$/m.exec(readFileSync(join(directory, 'smaps_rollup'), 'utf8'))?.[1]),
    )
    .reduce((sum, kiB) => sum + kiB, 0);
}

/** Command lines of Node processes in the sandbox; none may be left of a boot. */
export const nodeProcesses = (sandbox: Sandbox): string[] =>
  processesOf(sandbox)
    .filter(({ comm }) => comm === 'node')
    .map(({ directory }) => readFileSync(join(directory, 'cmdline'), 'utf8').split('\0').join(' '));

interface Process {
  readonly directory: string;
  readonly comm: string;
}

function processesOf(sandbox: Sandbox): Process[] {
  const proc = `/proc/${sandbox.pid}/root/proc`;
  return readdirSync(proc)
    .filter((name) => /^[0-9]+$/.test(name))
    .flatMap((pid) => describeProcess(join(proc, pid)));
}

function describeProcess(directory: string): Process[] {
  try {
    return [{ directory, comm: readFileSync(join(directory, 'comm'), 'utf8').trim() }];
  } catch {
    return []; // it ended while it was read
  }
}
