/** The lock of a subhost's name: taken, or the news that it runs already. */
import type { Identity } from '../config/subhost-config.js';
import { Failure } from '../errors.js';
import { hasPid1, isLocked } from '../state/liveness.js';
import { readState, stateDirectory } from '../state/state-file.js';
import type { SubhostState } from '../state/subhost-state.js';
import { isAlive } from '../sys/process-stat.js';
import type { BootHost, BootRequest } from './boot-types.js';
import type { KeeperSession } from './launcher.js';
import { monotonicMs, sleep } from './sleep.js';

/** A held lock belongs to a boot under way, a running subhost, or one that ends just now: looked at so often. */
const BUSY_POLL_MS = 20;
/** One that takes longer is told of. */
const TELL_AFTER_MS = 2_000;
/** A pid 1 whose keeper was killed is killed by the kernel, but not within the same instant. */
const DYING_MS = 1_000;

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
  const deadline = request.timeoutMs ? monotonicMs() + request.timeoutMs : Number.POSITIVE_INFINITY;
  const stateDir = stateDirectory(runDir, name);
  while (monotonicMs() < deadline) {
    request.signal.throwIfAborted();
    const session = host.launcher.open(stateDir, name, host.cgroupMount);
    const { type, strings } = await answerInTime(session, name, request);
    const locked = type === 'LOCKED';
    const state = locked ? await survivor(runDir, name) : await settledState(runDir, name, deadline, request);
    if (locked && !state) {
      session.cgroup = strings[0] ?? '';
      return session;
    }
    if (locked) await session.abort();
    if (state?.phase === 'stopping') await finishStop(host, state);
    else if (state) return runsAlready(state, conf, locked ? request.warn : undefined);
    await sleep(BUSY_POLL_MS); // it has ended meanwhile, or somebody else has only begun
  }
  throw new Failure({ what: `${name}: another boot or stop of it does not come to an end` });
}

/** What the launcher, or the keeper that it has forked, answers first: one that is stopped never does. */
async function answerInTime(
  session: KeeperSession,
  name: string,
  { timeoutMs, signal }: BootRequest,
): Promise<{ type: 'LOCKED' | 'BUSY'; strings: readonly string[] }> {
  const todo = 'is it stopped (SIGSTOP)?';
  const late = (): Failure =>
    new Failure({ what: `${name}: the launcher does not answer within ${timeoutMs / 1000} s`, todo });
  const timer = timeoutMs ? setTimeout(() => session.interrupt(late()), timeoutMs) : undefined;
  const onAbort = (): void => session.interrupt(signal.reason);
  signal.addEventListener('abort', onAbort);
  try {
    return await session.expect('LOCKED', 'BUSY');
  } finally {
    clearTimeout(timer);
    signal.removeEventListener('abort', onAbort);
  }
}

/** @param warn  given when it has no keeper */
function runsAlready(
  { name, conf: other }: SubhostState,
  conf: string,
  warn: ((line: string) => void) | undefined,
): undefined {
  if (other !== conf)
    throw new Failure({
      what: `${name} runs already, from another conf: ${other}`,
      todo: `overlay-stop ${name}, or choose another NAME`,
    });
  warn?.(
    `${name}: runs without its keeper: nothing is logged, and nothing cleared when it ends: overlay-stop ${name}`,
  );
}

/** The lock is free, and yet pid 1 lives: the kernel kills it with its keeper, unless it saw to that. */
async function survivor(runDir: string, name: string): Promise<SubhostState | undefined> {
  const state = readState(runDir, name);
  if (!state) return undefined;
  for (const end = monotonicMs() + DYING_MS; hasPid1(state); await sleep(2))
    if (monotonicMs() > end) return state;
  return undefined;
}

/** An overlay-stop that was killed: what it began is brought to its end. */
async function finishStop(host: BootHost, state: SubhostState): Promise<void> {
  const { endSubhost } = await import('./stop.js');
  const { runDir, graceMs } = host.settings;
  await endSubhost(host, state, stateDirectory(runDir, state.name), graceMs);
}

/**
 * Waits while somebody else boots or stops it: the record of the subhost that runs, or whose stop was given up;
 * nothing once it is gone.
 */
async function settledState(
  runDir: string,
  name: string,
  deadline: number,
  { signal, warn }: Pick<BootRequest, 'signal' | 'warn'>,
): Promise<SubhostState | undefined> {
  const told = monotonicMs() + TELL_AFTER_MS;
  for (let waiting = false; monotonicMs() < deadline; ) {
    signal.throwIfAborted();
    if (!waiting && monotonicMs() > told) {
      waiting = true;
      warn(`${name}: waits for another boot or stop of it`);
    }
    const state = readState(runDir, name);
    if (state && hasPid1(state)) {
      if (state.phase === 'running' || state.phase === 'degraded') return state;
      if (state.phase === 'stopping' && !(state.stopper && isAlive(state.stopper))) return state;
    } else if (!isLocked(runDir, name)) {
      return undefined;
    }
    await sleep(BUSY_POLL_MS);
  }
  return undefined;
}
