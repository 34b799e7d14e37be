/** Ends a subhost: its services in reverse order, its processes, and what is left of it on the host. */
import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { Failure } from '../errors.js';
import { stopCommand } from '../plan/start-script.js';
import { undoOps } from '../plan/undo-ops.js';
import { isRunning } from '../state/liveness.js';
import { readState, stateDirectory, writeState } from '../state/state-file.js';
import type { SubhostState } from '../state/subhost-state.js';
import { readIfExists } from '../sys/files.js';
import { allPids, namespaceInode } from '../sys/proc.js';
import { enterArguments } from './enter.js';

/** What ending it came to: `killed` means that the grace period was not enough. */
export type Stopped = 'ended' | 'killed' | 'cleared';

export interface StopRequest {
  readonly runDir: string;
  readonly name: string;
  readonly initProgram: string;
  /** Skip the services. */
  readonly kill: boolean;
  /** For each service; milliseconds, 0 is no limit. */
  readonly serviceTimeoutMs: number;
  /** Between SIGTERM and SIGKILL; milliseconds. */
  readonly graceMs: number;
  /** Told what did not go as it should, though the stop goes on. */
  readonly warn: (line: string) => void;
}

/**
 * Stops what was booted: the record made then holds. A subhost that does not run has its leftovers cleared.
 * @returns `not running`, or what it came to
 * @throws Failure saying what is left
 */
export async function stop(request: StopRequest): Promise<Stopped | 'not running'> {
  const { runDir, name, initProgram } = request;
  const stateDir = stateDirectory(runDir, name);
  const state = readableState(request);
  if (!state) return existsSync(stateDir) ? clearUnknown(request) : 'not running';
  if (!isRunning(runDir, state)) {
    await clearLeftovers(initProgram, state, stateDir);
    return 'not running';
  }
  const wasReady = state.phase === 'running' || state.phase === 'degraded';
  const stopping: SubhostState = { ...state, phase: 'stopping', step: 'services' };
  // A boot under way writes the record itself; it finds its pid 1 ended and takes back what it made.
  if (wasReady) writeState(runDir, stopping);
  if (wasReady && !request.kill) await stopServices(stopping, request);
  const outcome = await endSubhost(initProgram, stopping, stateDir, request.kill ? 0 : request.graceMs);
  warnOfHolders(stopping, request.warn);
  return outcome;
}

/** A record that cannot be understood is no reason to leave the rest. */
function readableState({ runDir, name, warn }: StopRequest): SubhostState | undefined {
  try {
    return readState(runDir, name);
  } catch (error) {
    warn(error instanceof Error ? error.message : String(error));
    return undefined;
  }
}

/** A lock without a record: a boot that has only begun, or that was killed before it made anything. */
async function clearUnknown({ runDir, name, initProgram }: StopRequest): Promise<'not running'> {
  await runStop(
    initProgram,
    name,
    ['state', stateDirectory(runDir, name)],
    stateDirectory(runDir, name),
    [0, 0, 0],
  );
  return 'not running';
}

async function stopServices(
  state: SubhostState,
  { initProgram, serviceTimeoutMs, warn }: StopRequest,
): Promise<void> {
  if (state.start.length === 0) return;
  const { runProgram } = await import('../sys/run.js');
  for (const service of [...state.start].reverse()) {
    if (state.degraded.includes(service)) continue;
    const argv = [
      initProgram,
      ...enterArguments(state, { command: stopCommand(service, state.startIsDefault) }),
    ];
    try {
      await runProgram(argv, { timeoutMs: serviceTimeoutMs });
    } catch (error) {
      const limit = error instanceof Error && error.message.includes('not done within');
      warn(
        `${state.name}: service ${service} ${limit ? `did not stop within ${serviceTimeoutMs / 1000} s` : 'failed to stop'}`,
      );
    }
  }
}

/** A process outside that is still in the network namespace keeps it, and what it uses there, alive. */
function warnOfHolders({ name, netnsInode }: SubhostState, warn: (line: string) => void): void {
  if (netnsInode === undefined) return;
  for (const pid of allPids())
    if (namespaceInode(pid, 'net') === netnsInode)
      warn(
        `${name}: process ${pid} (${readIfExists(`/proc/${pid}/comm`)?.trim() ?? '?'}) still holds its network namespace`,
      );
}

/**
 * Sends SIGTERM to every process of the subhost, SIGKILL to pid 1 after the grace period, waits for its
 * keeper and takes back what is still there.
 * @throws Failure saying what is left
 */
export const endSubhost = (
  initProgram: string,
  state: SubhostState,
  stateDir: string,
  graceMs: number,
): Promise<Stopped> =>
  runStop(initProgram, state.name, undoOps(state, stateDir), stateDir, [
    state.init?.pid ?? 0,
    state.init?.startTimeTicks ?? 0,
    graceMs,
  ]);

/** Takes back what a dead instance left. @throws Failure saying what is left */
export const clearLeftovers = (
  initProgram: string,
  state: SubhostState,
  stateDir: string,
): Promise<Stopped> => runStop(initProgram, state.name, undoOps(state, stateDir), stateDir, [0, 0, 0]);

function runStop(
  initProgram: string,
  name: string,
  undo: readonly string[],
  stateDir: string,
  numbers: readonly number[],
): Promise<Stopped> {
  const child = spawn(initProgram, ['stop', stateDir, ...numbers.map(String)], {
    stdio: ['pipe', 'pipe', 'pipe'],
    env: {},
  });
  let output = '';
  let complaint = '';
  child.stdout.on('data', (bytes: Buffer) => {
    output += bytes.toString();
  });
  child.stderr.on('data', (bytes: Buffer) => {
    complaint += bytes.toString();
  });
  child.stdin.on('error', () => {}); // it ended before it read them: its exit status says why
  child.stdin.end(undo.map((text) => `${text}\0`).join(''));
  return new Promise((resolve, reject) => {
    child.on('error', (cause) => reject(new Failure({ what: `cannot run ${initProgram}`, cause })));
    child.on('close', (code) => {
      if (code === 0) resolve(output === 'killed' || output === 'cleared' ? output : 'ended');
      else
        reject(
          new Failure({ what: `${name}: ${complaint.trim() || `the init program ended with ${code}`}` }),
        );
    });
  });
}
