/** Which processes belong together: by control group, by pid namespace, by descent. */
import { readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { join } from 'node:path';
import { readIfExists } from './files.js';

export type NamespaceKind = 'cgroup' | 'ipc' | 'mnt' | 'net' | 'pid' | 'user' | 'uts';

/** Inode number of a process's namespace; undefined where it is gone or we may not look. See namespaces(7). */
export function namespaceInode(pid: number | 'self', kind: NamespaceKind): number | undefined {
  try {
    const match = /^\w+:\[(\d+)\]$/.exec(readlinkSync(`/proc/${pid}/ns/${kind}`));
    return match ? Number(match[1]) : undefined;
  } catch {
    return undefined;
  }
}

/** All pids of /proc, in no order. */
export const allPids = (): number[] =>
  readdirSync('/proc')
    .filter((name) => /^[0-9]+$/.test(name))
    .map(Number);

/** The processes of a control group (v2) and of those below it; undefined where it is gone or not readable. */
export function pidsOfCgroup(directory: string): number[] | undefined {
  const text = quietly(() => readIfExists(join(directory, 'cgroup.procs')));
  if (text === undefined) return undefined;
  const below = readdirSync(directory, { withFileTypes: true })
    .filter((entry) => entry.isDirectory())
    .flatMap(({ name }) => pidsOfCgroup(join(directory, name)) ?? []);
  return [...text.split('\n').filter(Boolean).map(Number), ...below];
}

/** The processes in the pid namespace of `pid`; undefined where we may not look (that needs root). */
export function pidsOfNamespace(pid: number): number[] | undefined {
  const inode = namespaceInode(pid, 'pid');
  if (inode === undefined) return undefined;
  return allPids().filter((other) => namespaceInode(other, 'pid') === inode);
}

/** A process and its descendants: readable for anyone, but blind for what overlay-go started. */
export function pidsOfTree(root: number): number[] {
  const children = new Map<number, number[]>();
  for (const pid of allPids()) {
    const parent = parentOf(pid);
    if (parent !== undefined) children.set(parent, [...(children.get(parent) ?? []), pid]);
  }
  const tree = [root];
  for (const pid of tree) tree.push(...(children.get(pid) ?? []));
  return tree;
}

function parentOf(pid: number): number | undefined {
  const stat = quietly(() => readFileSync(`/proc/${pid}/stat`, 'utf8'));
  // After the name, which may hold blanks and parentheses: state, parent. See proc_pid_stat(5).
  const parent = stat?.slice(stat.lastIndexOf(')') + 2).split(' ')[1];
  return parent === undefined ? undefined : Number(parent);
}

/** The children of a process that has one thread; none where it is gone. Needs CONFIG_PROC_CHILDREN, proc(5). */
export const childrenOf = (pid: number): number[] =>
  (readIfExists(`/proc/${pid}/task/${pid}/children`) ?? '').split(' ').filter(Boolean).map(Number);

/** Seconds since the host booted, proc_uptime(5). */
export const hostUptimeSeconds = (): number => Number(readFileSync('/proc/uptime', 'utf8').split(' ')[0]);

/** Clock ticks of /proc/PID/stat in a second: USER_HZ, 100 on every architecture that Node runs on. */
export const TICKS_PER_SECOND = 100;

/** A process that ends while it is read is no error here. */
function quietly<T>(read: () => T): T | undefined {
  try {
    return read();
  } catch {
    return undefined;
  }
}
