/** The lock of a subhost's name: taken, or the news that it runs already. */
import { existsSync } from 'node:fs';
import type { Identity } from '../config/subhost-config.js';
import { Failure } from '../errors.js';
import { isRunning } from '../state/liveness.js';
import { readState, stateDirectory } from '../state/state-file.js';
import type { SubhostState } from '../state/subhost-state.js';
import type { BootHost, BootRequest } from './boot-types.js';
import type { KeeperSession } from './launcher.js';
import { sleep } from './sleep.js';

/** A held lock belongs to a boot under way, a running subhost, or one that ends just now: looked at so often. */
const BUSY_POLL_MS = 20;

/**
 * The lock with its session, or nothing when the subhost runs already from this conf.
 * @throws Failure when it runs from another conf, or when a boot of somebody else fails to end in time
 */
export async function takeLock(
  host: BootHost,
  request: BootRequest,
  { name, conf }: Identity,
): Promise<KeeperSession | undefined> {
  const { runDir } = host.settings;
  const deadline = request.timeoutMs ? Date.now() + request.timeoutMs : Number.POSITIVE_INFINITY;
  const stateDir = stateDirectory(runDir, name);
  while (Date.now() < deadline) {
    request.signal.throwIfAborted();
    const session = host.launcher.open(stateDir, name, host.cgroupMount);
    const { type, strings } = await session.expect('LOCKED', 'BUSY');
    if (type === 'LOCKED') {
      session.cgroup = strings[0] ?? '';
      return session;
    }
    const state = await settledState(runDir, name, deadline, request.signal);
    if (!state) {
      await sleep(BUSY_POLL_MS); // it has ended meanwhile, or somebody else has only begun
      continue;
    }
    if (state.conf !== conf)
      throw new Failure({
        what: `${name} runs already, from another conf: ${state.conf}`,
        todo: `overlay-stop ${name}, or choose another NAME`,
      });
    return undefined;
  }
  throw new Failure({ what: `${name}: another boot or stop of it does not come to an end` });
}

/** Waits while somebody else boots or stops it: the record of the running subhost, or nothing once it is gone. */
async function settledState(
  runDir: string,
  name: string,
  deadline: number,
  signal: AbortSignal,
): Promise<SubhostState | undefined> {
  while (Date.now() < deadline) {
    signal.throwIfAborted();
    const state = readState(runDir, name);
    if (state && (state.phase === 'running' || state.phase === 'degraded')) return state;
    if (!existsSync(stateDirectory(runDir, name)) || (state && !isRunning(runDir, state))) return undefined;
    await sleep(BUSY_POLL_MS);
  }
  return undefined;
}
