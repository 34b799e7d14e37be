/** A subhost whose record somebody has removed, by hand: it may run all the same. */
import { readFileSync } from 'node:fs';
import { Failure } from '../errors.js';
import type { CableSpec } from '../net/cable.js';
import type { RouteSocket } from '../net/rtnetlink.js';
import { allPids, pidsOfCgroup } from '../sys/proc.js';
import { checkWiring, type Wiring } from './cables.js';
import { monotonicMs, sleep } from './sleep.js';

/** A pid 1 whose keeper was killed is killed by the kernel, but not within the same instant. */
const DYING_MS = 1_000;
const POLL_MS = 20;

/**
 * Its control group: to take a boot back kills whatever is in that.
 * @throws Failure while a pid 1 is in it
 */
export async function checkGroupUnused(cgroup: string, stateDir: string): Promise<void> {
  if (cgroup) await untilGone(stateDir, async () => pidsOfCgroup(cgroup)?.find(isPid1Below));
}

/**
 * Host ends that carry its mark; they are only left while nothing runs where they lead to.
 * @param left  cables on record
 * @throws Failure while a pid 1 does, or what checkWiring() throws
 */
export async function abandonedLinks(
  route: RouteSocket,
  wiring: Wiring,
  left: readonly CableSpec[],
  stateDir: string,
): Promise<string[]> {
  const recorded = new Set(left.map(({ host }) => host));
  const marked = await checkWiring(route, wiring, recorded);
  const abandoned = marked.filter((host) => !recorded.has(host));
  for (const host of abandoned) await untilGone(stateDir, () => pid1Behind(route, host));
  return abandoned;
}

async function untilGone(stateDir: string, find: () => Promise<number | undefined>): Promise<void> {
  const end = monotonicMs() + DYING_MS;
  for (let pid = await find(); pid !== undefined; pid = await find()) {
    if (monotonicMs() > end)
      throw new Failure({
        what: `it runs, but somebody has removed its record, ${stateDir}: process ${pid} is its pid 1`,
        todo: `kill -KILL ${pid} ends it`,
      });
    await sleep(POLL_MS);
  }
}

/** pid 1 of a pid namespace below ours, in the network namespace of a cable's other end. */
async function pid1Behind(route: RouteSocket, host: string): Promise<number | undefined> {
  const { otherNetns } = (await route.getLink(host)) ?? {};
  if (otherNetns === undefined) return undefined;
  for (const pid of allPids().filter(isPid1Below)) if ((await route.netnsOf(pid)) === otherNetns) return pid;
  return undefined;
}

/** Its pids are told from our namespace downwards, proc_pid_status(5); one that has ended is no process any more. */
function isPid1Below(pid: number): boolean {
  try {
    const status = readFileSync(`/proc/${pid}/status`, 'utf8');
    return /^NSpid:.+\t1$/m.test(status) && !/^State:\t[ZX]/m.test(status);
  } catch {
    return false;
  }
}
