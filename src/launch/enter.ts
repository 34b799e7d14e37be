/**
 * A process inside a running subhost. The init program does it (src/init/enter.c): it enters, and it relays
 * bytes, since no descriptor of the caller may cross into a subhost.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { constants } from 'node:os';
import type { Duplex } from 'node:stream';
import type { ReadStream, WriteStream } from 'node:tty';
import { capabilityMask } from '../config/capabilities.js';
import { isSubhostName } from '../config/values.js';
import { Failure } from '../errors.js';
import { isRunning } from '../state/liveness.js';
import { listStates, readState } from '../state/state-file.js';
import type { SubhostState } from '../state/subhost-state.js';
import { initProgram } from '../sys/init-program.js';
import type { Pty, TerminalSize } from '../sys/pty.js';
import { MarkScanner, markText } from './output-mark.js';

export interface EnterRequest {
  /** Name or number in the subhost's /etc/passwd; root unless given. */
  readonly user?: string | undefined;
  /** Absolute path inside; the user's home unless given. */
  readonly directory?: string | undefined;
  /** The caller's TERM. */
  readonly term?: string | undefined;
  /** Empty: a login shell. */
  readonly command: readonly string[];
}

/** The terminal that a command was called on. */
export interface CallerTerminal {
  readonly input: ReadStream;
  readonly output: WriteStream;
}

/**
 * Signals that end us, or whatever they mean to the process inside, and what the relay is sent for them. The
 * originals reach it by the caller's terminal too, and of two of one number the kernel may keep the wrong one.
 */
const PASSED_ON = {
  SIGINT: 'SIGUSR1',
  SIGTERM: 'SIGUSR2',
  SIGHUP: 'SIGVTALRM',
  SIGQUIT: 'SIGPROF',
} as const;
type PassedOn = keyof typeof PASSED_ON;
const SIGNALS = Object.keys(PASSED_ON) as PassedOn[];

/** Every subhost that runs, in alphabetical order, and the errors of records that cannot be read. */
export function runningSubhosts(runDir: string): { states: SubhostState[]; errors: Error[] } {
  const states: SubhostState[] = [];
  const errors: Error[] = [];
  for (const name of listStates(runDir)) {
    try {
      const state = readState(runDir, name);
      if (state && isRunning(runDir, state)) states.push(state);
    } catch (error) {
      errors.push(error instanceof Error ? error : new Error(String(error)));
    }
  }
  return { states, errors };
}

/**
 * The record of a subhost that can be entered.
 * @throws Failure that says what it is instead, and what to do
 */
export function enterableSubhost(runDir: string, name: string): SubhostState {
  const state = isSubhostName(name) ? readState(runDir, name) : undefined;
  if (!state || !isRunning(runDir, state)) {
    const running = runningSubhosts(runDir).states.map((other) => other.name);
    const boot = state ? `overlay-boot ${state.conf} boots it` : 'overlay-boot CONF boots one';
    throw new Failure({
      what: `${name}: ${state ? 'is not running' : 'no such subhost is running'}`,
      todo: running.length > 0 ? `running: ${running.join(', ')}; ${boot}` : boot,
    });
  }
  if (state.phase === 'starting' || !state.init)
    throw new Failure({
      what: `${name}: is ${state.phase} (${state.step}), and its pid 1 has not executed its reaper yet`,
      todo: `try again when overlay-boot has ended, or see ${state.log}`,
    });
  return state;
}

/** The arguments of the init program for a request. */
export function enterArguments(state: SubhostState, request: EnterRequest, mark?: string): string[] {
  const named: readonly (readonly [string, string | undefined])[] = [
    ['--name', state.name],
    ['--pid', state.init && `${state.init.pid}`],
    ['--start', state.init && `${state.init.startTimeTicks}`],
    ['--cgroup', state.cgroup],
    ['--caps', state.caps && capabilityMask(state.caps).toString(16)],
    ['--user', request.user],
    ['--dir', request.directory],
    ['--term', checkedTerm(request.term, mark !== undefined)],
    ['--mark', mark],
  ];
  const given = named.flatMap(([option, value]) => (value === undefined ? [] : [option, value]));
  return ['enter', ...given, '--', ...request.command];
}

/** TERM is the one thing that is taken from the caller's environment, and only where it is a plain name. */
export function checkedTerm(term: string | undefined, onTerminal: boolean): string {
  return term && /^[A-Za-z0-9+._-]{1,64}$/.test(term) ? term : onTerminal ? 'linux' : 'dumb';
}

/**
 * Runs the request with our stdin, stdout and stderr.
 * @returns its exit status, 128+n for signal n, 127 or 126 for a command that could not be executed
 */
export async function enterPlainly(state: SubhostState, request: EnterRequest): Promise<number> {
  const child = spawn(initProgram(), enterArguments(state, request), { stdio: 'inherit', env: {} });
  const release = onSignals((signal) => child.kill(PASSED_ON[signal]));
  return await exitStatus(child).finally(release);
}

/**
 * Runs the request on a terminal of the subhost's own; the caller's terminal is raw meanwhile.
 * @returns as enterPlainly
 */
export async function enterOnTerminal(
  state: SubhostState,
  request: EnterRequest,
  caller: CallerTerminal,
): Promise<number> {
  const guard = spawn(initProgram(), ['enter', '--stage', 'guard'], {
    stdio: ['inherit', 'inherit', 'inherit', 'pipe'],
    env: {},
  });
  const guarded = exitStatus(guard);
  // fd 3 of the guard: a byte comes when the terminal is raw, and it is set back when we close it.
  const leash = guard.stdio[3] as Duplex;
  try {
    const [{ openPty }, { randomBytes }] = [await import('../sys/pty.js'), await import('node:crypto')];
    await new Promise((raw) => leash.once('data', raw).once('close', raw));
    const mark = markText(randomBytes(16));
    const pty = openPty(initProgram(), enterArguments(state, request, mark), sizeOf(caller.output));
    return await relay(pty, mark, caller);
  } finally {
    leash.end();
    await guarded;
  }
}

/** Until the output's end; whatever comes first of the relay's mark, its exit, a signal to us, a hangup. */
async function relay(pty: Pty, mark: string, { input, output }: CallerTerminal): Promise<number> {
  const exited = new Promise<number>((done) => pty.onExit(done));
  const pass = (bytes: Buffer): void => pty.write(bytes);
  const resize = (): void => pty.resize(sizeOf(output));
  output.on('resize', resize);
  let release = (): void => {};
  const ended = new Promise<number>((done) => {
    const scanner = new MarkScanner(mark, {
      output: (bytes) => output.write(bytes),
      ready: () => input.on('data', pass),
      end: done,
    });
    pty.onOutput((bytes) => scanner.push(bytes));
    input.once('end', () => done(128 + constants.signals.SIGHUP));
    release = onSignals((signal) => done(128 + constants.signals[signal]));
  });
  try {
    return await Promise.race([ended, exited]);
  } finally {
    output.off('resize', resize);
    input.off('data', pass).pause();
    release();
    pty.signal('SIGTERM'); // it stays until it is told that its mark was seen
    await exited;
  }
}

const sizeOf = ({ columns, rows }: WriteStream): TerminalSize => ({ cols: columns, rows });

function onSignals(listener: (signal: PassedOn) => void): () => void {
  const listen = (signal: NodeJS.Signals): void => listener(signal as PassedOn);
  for (const signal of SIGNALS) process.on(signal, listen);
  return () => {
    for (const signal of SIGNALS) process.off(signal, listen);
  };
}

function exitStatus(child: ChildProcess): Promise<number> {
  // A relay that was sent a signal before it was prepared ends by that.
  const meant = (sent: NodeJS.Signals): NodeJS.Signals =>
    SIGNALS.find((signal) => PASSED_ON[signal] === sent) ?? sent;
  return new Promise((done, fail) => {
    child.once('exit', (code, signal) => done(code ?? 128 + (signal ? constants.signals[meant(signal)] : 0)));
    child.once('error', (cause) =>
      fail(new Failure({ what: `cannot run ${initProgram()}: ${cause.message}`, cause })),
    );
  });
}
