/** What overlay-status shows: records, processes, addresses, mounts and logs put together. Reading only. */
import { closeSync, constants, fstatSync, openSync, readSync, statSync } from 'node:fs';
import { basename } from 'node:path';
import { parseAssignments } from '../config/assignments.js';
import { readSubhostsList } from '../config/subhosts-list.js';
import { readTrusted } from '../config/trust.js';
import { isSubhostName } from '../config/values.js';
import type { VariableName } from '../config/variables.js';
import { Failure, quoted, throwAll } from '../errors.js';
import type { CableSpec } from '../net/cable.js';
import { isLocked, isRunning } from '../state/liveness.js';
import { listStates, readState } from '../state/state-file.js';
import type { Phase, SubhostState } from '../state/subhost-state.js';
import { type Mount, mountsOf } from '../sys/mountinfo.js';
import {
  hostUptimeSeconds,
  pidsOfCgroup,
  pidsOfNamespace,
  pidsOfTree,
  TICKS_PER_SECOND,
} from '../sys/proc.js';
import type { UsageMeter } from '../sys/usage.js';

/** `failed`: there is a record, and what it tells of is gone. `stopped`: listed, without a record. */
export type StatusWord = Phase | 'failed' | 'stopped';

/** A subhost as it is found, before anything is measured. */
export interface FoundSubhost {
  readonly name: string;
  readonly word: StatusWord;
  /** Undefined where it has no record that can be read. */
  readonly state?: SubhostState;
  /** Absolute path of the conf, where it is known. */
  readonly conf?: string;
}

export interface Measured {
  readonly processes: number;
  readonly cpuPercent: number;
  readonly memoryBytes: number;
  readonly uptimeSeconds: number;
}

/** A cable and the addresses of its end inside, `192.0.2.1/24`; undefined where we may not look. */
export type CableStatus = CableSpec & { readonly addresses: readonly string[] | undefined };

/**
 * The subhosts of this host: those with a record or a lock by name, then those only listed to be started,
 * in the order of their list.
 * @param note  told what could not be read; one bad file does not hide the other subhosts
 */
export function findSubhosts(
  { runDir, subhosts }: { readonly runDir: string; readonly subhosts: string },
  note: (message: string) => void,
): FoundSubhost[] {
  const recorded = listStates(runDir).flatMap((name) => findRecorded(runDir, name, note));
  const names = new Set(recorded.map(({ name }) => name));
  const confs = attempt(() => readSubhostsList(subhosts), note) ?? [];
  const listed = confs
    .flatMap((conf): FoundSubhost[] => listedSubhost(conf))
    .filter(({ name, conf }) => !names.has(name) && !recorded.some(({ state }) => state?.conf === conf));
  return [...recorded, ...listed];
}

function findRecorded(runDir: string, name: string, note: (message: string) => void): FoundSubhost[] {
  if (!isSubhostName(name)) return [];
  let unreadable = false;
  const state = attempt(
    () => readState(runDir, name),
    (message) => {
      unreadable = true;
      note(message);
    },
  );
  if (state)
    return [{ name, state, conf: state.conf, word: isRunning(runDir, state) ? state.phase : 'failed' }];
  if (unreadable) return [{ name, word: 'failed' }];
  // A boot that has its lock and not yet its record; a directory that nobody locks is a left one.
  return isLocked(runDir, name) ? [{ name, word: 'starting' }] : [];
}

function attempt<T>(read: () => T, note: (message: string) => void): T | undefined {
  try {
    return read();
  } catch (error) {
    note(error instanceof Error ? error.message : String(error));
    return undefined;
  }
}

/**
 * The NAME a conf gives, or that of its file: a command is not run for a listing. A box that is no subhost is another
 * command's.
 */
function listedSubhost(conf: string): FoundSubhost[] {
  const { assignments } = parseAssignments(quietly(() => readTrusted(conf).text) ?? '', conf);
  const find = (variable: VariableName) => assignments.find(({ name }) => name === variable);
  if (find('ENGINE')?.value === 'nspawn') return [];
  const given = find('NAME');
  const name = given && !given.command && given.value !== '' ? given.value : basename(conf, '.conf');
  return [{ name, word: 'stopped', conf }];
}

const quietly = <T>(read: () => T): T | undefined => attempt(read, () => {});

/** What it takes of the host now; undefined where it does not run. */
export async function measure(
  found: FoundSubhost,
  meter: () => Promise<UsageMeter>,
): Promise<Measured | undefined> {
  const init = found.state?.init;
  if (!found.state || !init || found.word === 'failed') return undefined;
  const pids = pidsOf(found.state, init.pid);
  return {
    processes: pids.length,
    ...(await (await meter()).sum(pids)),
    uptimeSeconds: Math.max(0, hostUptimeSeconds() - init.startTimeTicks / TICKS_PER_SECOND),
  };
}

const pidsOf = ({ cgroup }: SubhostState, initPid: number): number[] =>
  (cgroup !== undefined ? pidsOfCgroup(cgroup) : undefined) ??
  pidsOfNamespace(initPid) ??
  pidsOfTree(initPid);

interface IpAddress {
  readonly ifname: string;
  readonly addr_info?: readonly {
    readonly local: string;
    readonly prefixlen: number;
    readonly scope: string;
  }[];
}

/** Its cables with the addresses inside. Nothing is started for a subhost without cables. */
export async function cablesOf({ word, state }: FoundSubhost, uid: number): Promise<CableStatus[]> {
  const cables = state?.cables ?? [];
  const veths = cables.some(({ kind }) => kind === 'veth');
  const interfaces = veths && state && word !== 'failed' && uid === 0 ? await interfacesIn(state) : undefined;
  return cables.map((cable) => ({
    ...cable,
    addresses: cable.kind === 'veth' ? interfaces && addressesOf(interfaces, cable.inside) : undefined,
  }));
}

async function interfacesIn({ netns, netnsInode }: SubhostState): Promise<IpAddress[] | undefined> {
  // The name may have been given to another namespace since.
  if (netnsInode !== undefined && statSync(netns, { throwIfNoEntry: false })?.ino !== netnsInode)
    return undefined;
  const { runProgram } = await import('../sys/run.js');
  try {
    const { stdout } = await runProgram(['nsenter', `--net=${netns}`, 'ip', '-j', 'address', 'show']);
    return JSON.parse(stdout) as IpAddress[];
  } catch {
    return undefined; // It stopped meanwhile, or there is no ip(8).
  }
}

/** Link-local addresses are left out: every interface has one. */
function addressesOf(interfaces: readonly IpAddress[], name: string): string[] {
  const found = interfaces.find(({ ifname }) => ifname === name)?.addr_info ?? [];
  return found.filter(({ scope }) => scope !== 'link').map(({ local, prefixlen }) => `${local}/${prefixlen}`);
}

/** What is mounted inside, as pid 1 sees it; undefined where it does not run or we may not look. */
export function mountsInside({ word, state }: FoundSubhost): Mount[] | undefined {
  const pid = state?.init?.pid;
  return pid === undefined || word === 'failed' ? undefined : quietly(() => mountsOf(pid));
}

const TAIL_BYTES = 16 * 1024;

/** The last lines of a log; undefined where there is none or we may not read it. */
export function logTail(path: string, count: number): string[] | undefined {
  let fd: number;
  try {
    fd = openSync(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
  } catch {
    return undefined;
  }
  try {
    const stat = fstatSync(fd);
    if (!stat.isFile()) return undefined;
    const start = Math.max(0, stat.size - TAIL_BYTES);
    const buffer = Buffer.alloc(TAIL_BYTES);
    const text = buffer.toString('utf8', 0, readSync(fd, buffer, 0, TAIL_BYTES, start));
    const lines = text.replace(/\n$/, '').split('\n');
    return text === '' ? [] : lines.slice(start > 0 ? 1 : 0).slice(-count);
  } finally {
    closeSync(fd);
  }
}

/**
 * The subhosts of these names, in their order.
 * @throws Failure, or an ErrorList of them, that names the subhosts there are
 */
export function selectSubhosts(all: readonly FoundSubhost[], names: readonly string[]): FoundSubhost[] {
  const known = all.length === 0 ? 'there are none' : `known are ${all.map(({ name }) => name).join(', ')}`;
  const errors: Error[] = [];
  const selected = names.flatMap((name) => {
    const found = all.find((subhost) => subhost.name === name);
    if (!found) errors.push(new Failure({ what: `${quoted(name)}: no such subhost`, todo: known }));
    return found ?? [];
  });
  throwAll(errors);
  return selected;
}
