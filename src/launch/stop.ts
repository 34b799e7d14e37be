/** Ends a subhost: its services in reverse order, its processes, and what is left of it on the host. */
import { closeSync, constants, existsSync, openSync, writeSync } from 'node:fs';
import { errnoOf, Failure } from '../errors.js';
import { stopCommand } from '../plan/start-script.js';
import { leftoverOps, undoOps } from '../plan/undo-ops.js';
import { currentBootId, hasPid1, isLocked, lockHolder } from '../state/liveness.js';
import { readState, stateDirectory, writeState } from '../state/state-file.js';
import { markStopped } from '../state/stop-mark.js';
import type { ProcessId, SubhostState } from '../state/subhost-state.js';
import { allPids, childrenOf, namespaceInode } from '../sys/proc.js';
import { isStopped, ownProcess, readProcessStat } from '../sys/process-stat.js';
import { commandOf } from './holders.js';
import type { Launcher } from './launcher.js';
import { commandLineOf } from './lock-holder.js';
import { monotonicMs, sleep } from './sleep.js';

/** What ending it came to: `killed` means that the grace period was not enough. */
export type Stopped = 'ended' | 'killed' | 'cleared';

export interface StopRequest {
  readonly runDir: string;
  readonly name: string;
  readonly initProgram: string;
  /** The one that was started beside this process, if one was: that is quicker than to start the init program. */
  readonly launcher?: Launcher;
  /** Skip the services. */
  readonly kill: boolean;
  /** For each service; milliseconds, 0 is no limit. */
  readonly serviceTimeoutMs: number;
  /** Between SIGTERM and SIGKILL; milliseconds. */
  readonly graceMs: number;
  /** Told what did not go as it should, though the stop goes on. */
  readonly warn: (line: string) => void;
}

/** How long a boot or a teardown of somebody else may take to settle, and how often that is looked at. */
const SETTLE_MS = 30_000;
const SETTLE_POLL_MS = 20;

/** pid 1 that has no child left ends at once, but not before all others in its namespace have. */
const ENDING_MS = 200;
const ENDING_POLL_MS = 5;

/**
 * Stops what was booted: the record made then holds. A subhost that does not run has its leftovers cleared.
 * @returns `not running`, or what it came to
 * @throws Failure saying what is left
 */
export async function stop(request: StopRequest): Promise<Stopped | 'not running'> {
  const { runDir, name } = request;
  const stateDir = stateDirectory(runDir, name);
  const { runs, state } = await settled(request);
  if (state === 'unreadable') {
    await endWithoutRecord(request);
    return runs ? 'ended' : 'not running';
  }
  if (!state || !runs) {
    if (existsSync(stateDir))
      await (state ? clearLeftovers(request, state, stateDir) : clearUnknown(request));
    return 'not running';
  }
  const wasReady = state.phase !== 'starting';
  const stopping: SubhostState = { ...state, phase: 'stopping', step: 'services', stopper: ownProcess() };
  // A boot under way writes the record itself; it is told, and takes back what it made.
  if (wasReady) recordStopping(stopping, request);
  else markStopped(runDir, name, `${commandLineOf(process.pid)} (pid ${process.pid})`);
  if (wasReady && !request.kill) await stopServices(stopping, request);
  const outcome = await endSubhost(request, stopping, stateDir, request.kill ? 0 : request.graceMs);
  warnOfHolders(stopping, request.warn);
  return outcome;
}

/** The record tells others what is going on; the stop itself can do without. */
function recordStopping(state: SubhostState, { runDir, warn }: StopRequest): void {
  try {
    writeState(runDir, state);
  } catch (error) {
    // No directory: it has come to its end meanwhile.
    if (errnoOf(error) !== 'ENOENT') warn(`${state.name}: ${error instanceof Error ? error.message : error}`);
  }
}

/**
 * What there is to stop. A lock that is held without a pid 1 belongs to a boot that has only begun, or to a keeper
 * that is taking back what a dead pid 1 leaves: both come to an end.
 */
async function settled(request: StopRequest): Promise<Settled> {
  const { runDir, name } = request;
  const deadline = monotonicMs() + SETTLE_MS;
  for (; ; await sleep(SETTLE_POLL_MS)) {
    const state = readableState(request);
    if (state === 'unreadable') return { runs: isLocked(runDir, name), state };
    if (state && hasPid1(state)) return { runs: true, state };
    if (!isLocked(runDir, name)) return { runs: false, state };
    const why = monotonicMs() > deadline ? 'does not come to an end' : keeperStopped(state);
    if (why) throw new Failure({ what: `${name}: ${keeperWords(state)} ${why}` });
  }
}

const keeperWords = (state: SubhostState | undefined): string =>
  state?.keeper ? `its keeper, process ${state.keeper.pid},` : 'a boot of it';

const keeperStopped = (state: SubhostState | undefined): string =>
  state?.keeper && isStopped(state.keeper.pid) ? 'is stopped (SIGSTOP): kill -CONT it, then stop again' : '';

interface Settled {
  readonly runs: boolean;
  readonly state: SubhostState | 'unreadable' | undefined;
}

/** A record that cannot be understood is no reason to leave the rest. */
function readableState({ runDir, name, warn }: StopRequest): Settled['state'] {
  try {
    return readState(runDir, name);
  } catch (error) {
    warn(error instanceof Error ? error.message : String(error));
    return 'unreadable';
  }
}

/**
 * What there is of a subhost whose record is damaged: the keeper, found by its lock, knows what to take back, and does
 * so when its pid 1 ends.
 */
async function endWithoutRecord(request: StopRequest): Promise<void> {
  const { runDir, name } = request;
  const stateDir = stateDirectory(runDir, name);
  for (const deadline = monotonicMs() + SETTLE_MS; ; await sleep(SETTLE_POLL_MS)) {
    const keeper = lockHolder(stateDir);
    if (keeper === undefined) break;
    if (monotonicMs() > deadline)
      throw new Failure({ what: `${name}: its keeper, process ${keeper}, does not come to an end` });
    for (const child of childrenOf(keeper)) killIfThere(child);
  }
  if (existsSync(stateDir)) await clearUnknown(request);
}

function killIfThere(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL');
  } catch (error) {
    if (errnoOf(error) !== 'ESRCH') throw error;
  }
}

/** A directory without a record: of a boot that was killed before it made anything. */
async function clearUnknown(request: StopRequest): Promise<void> {
  const { runDir, name } = request;
  const stateDir = stateDirectory(runDir, name);
  await runStop(request, name, ['state', stateDir], stateDir, [0, 0, 0, 0, 0]);
}

async function stopServices(
  state: SubhostState,
  { initProgram, serviceTimeoutMs, warn }: StopRequest,
): Promise<void> {
  if (state.start.length === 0) return;
  const { enterArguments } = await import('./enter.js');
  const { ProgramFailure, runProgram } = await import('../sys/run.js');
  for (const service of [...state.start].reverse()) {
    if (state.degraded.includes(service)) continue;
    const argv = [
      initProgram,
      ...enterArguments(state, { command: stopCommand(service, state.startIsDefault) }),
    ];
    try {
      const { stdout, stderr } = await runProgram(argv, { timeoutMs: serviceTimeoutMs });
      appendToLog(state.log, stdout, stderr);
    } catch (error) {
      // The last service took pid 1 along, and that the command that stopped it.
      if (await endsWithin(state, ENDING_MS)) return;
      const limit = error instanceof Error && error.message.includes('not done within');
      const said = error instanceof ProgramFailure ? error.stderr.trim() : '';
      const how = limit ? `did not stop within ${serviceTimeoutMs / 1000} s` : 'failed to stop';
      appendToLog(state.log, said, `overlay-stop: service ${service} ${how}`);
      warn([`${state.name}: service ${service} ${how}`, said.split('\n').at(-1)].filter(Boolean).join(': '));
    }
  }
}

async function endsWithin(state: SubhostState, ms: number): Promise<boolean> {
  for (const end = monotonicMs() + ms; monotonicMs() < end; await sleep(ENDING_POLL_MS))
    if (!hasPid1(state)) return true;
  return !hasPid1(state);
}

/** What a service prints while it stops is logged as what it printed before; a log that cannot be written is no failure. */
function appendToLog(log: string, ...texts: readonly string[]): void {
  const text = texts
    .filter((part) => part !== '')
    .map((part) => `${part}\n`)
    .join('');
  try {
    const fd = openSync(log, constants.O_WRONLY | constants.O_APPEND | constants.O_NOFOLLOW);
    try {
      writeSync(fd, text);
    } finally {
      closeSync(fd);
    }
  } catch {
    // As the keeper does: a full disk does not keep a subhost from stopping.
  }
}

/** A process outside that is still in the network namespace keeps it, and what it uses there, alive. */
function warnOfHolders({ name, netnsInode }: SubhostState, warn: (line: string) => void): void {
  if (netnsInode === undefined) return;
  const { startTimeTicks: ours } = ownProcess();
  // A later process may be in a new namespace, which has the inode of the one that is gone.
  for (const pid of allPids())
    if (namespaceInode(pid, 'net') === netnsInode && (readProcessStat(pid)?.startTimeTicks ?? ours) < ours)
      warn(`${name}: process ${pid} (${commandOf(pid)}) still holds its network namespace`);
}

/** How the init program is reached. */
export type InitProgram = Pick<StopRequest, 'initProgram' | 'launcher'>;

/**
 * Sends SIGTERM to every process of the subhost, SIGKILL to pid 1 after the grace period, waits for its
 * keeper and takes back what is still there.
 * @throws Failure saying what is left
 */
export const endSubhost = (
  init: InitProgram,
  state: SubhostState,
  stateDir: string,
  graceMs: number,
): Promise<Stopped> =>
  runStop(init, state.name, undoOps(state, stateDir), stateDir, [
    ...numbers(state.init),
    graceMs,
    ...numbers(state.keeper),
  ]);

/** Takes back what a dead instance left. @throws Failure saying what is left */
export const clearLeftovers = (
  init: InitProgram,
  state: SubhostState,
  stateDir: string,
): Promise<Stopped> => {
  const undo = leftoverOps(state, stateDir, currentBootId());
  return runStop(init, state.name, undo, stateDir, [0, 0, 0, ...numbers(state.keeper)]);
};

const numbers = (process: ProcessId | undefined): number[] => [
  process?.pid ?? 0,
  process?.startTimeTicks ?? 0,
];

async function runStop(
  { initProgram, launcher }: InitProgram,
  name: string,
  undo: readonly string[],
  stateDir: string,
  processes: readonly number[],
): Promise<Stopped> {
  const request = [stateDir, ...processes.map(String), ...undo];
  try {
    const stop = launcher
      ? launcher.stop(request)
      : (await import('./init-stop.js')).initStop(initProgram, request);
    const word = await stop;
    return word === 'killed' || word === 'cleared' ? word : 'ended';
  } catch (cause) {
    throw new Failure({ what: `${name}: ${cause instanceof Error ? cause.message : cause}`, cause });
  }
}
