/**
 * The door to host programs (execa). Loaded lazily, by `await import('../sys/run.js')`: it is not on the
 * hot path of a boot. A program runs in a session of its own, so that a time limit ends its children too.
 */
import { closeSync, openSync } from 'node:fs';
import type { Readable, Writable } from 'node:stream';
import { Failure, reasonOf } from '../errors.js';

/** What a program of the host gets of our environment: nothing of the caller's. */
export const CLEAN_ENVIRONMENT: Readonly<Record<string, string>> = {
  PATH: '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin',
  HOME: '/root',
  LANG: 'C.UTF-8',
};

/** How a program ended, and what it wrote. */
interface Outcome {
  readonly exitCode: number | undefined;
  readonly signal: string | undefined;
  /** Of the error that kept it from starting: ENOENT. */
  readonly code: string | undefined;
  readonly originalMessage: string | undefined;
  readonly stdout: string;
  readonly stderr: string;
}

export interface RunOptions {
  readonly cwd?: string | undefined;
  /** Added to CLEAN_ENVIRONMENT, or put in its place by name. */
  readonly env?: Readonly<Record<string, string>> | undefined;
  /** Milliseconds; 0 or undefined is no limit. */
  readonly timeoutMs?: number | undefined;
  /** Written to stdin, which is /dev/null otherwise. */
  readonly input?: string | Uint8Array | undefined;
  /** Exit statuses that are no failure; only 0 unless told otherwise. */
  readonly okCodes?: readonly number[] | undefined;
  /** What the message of a failure says first: `CABLES: ifup mta0`. */
  readonly context?: string | undefined;
}

export interface ProgramResult {
  /** Without the last newline. */
  readonly stdout: string;
  /** Without the last newline. */
  readonly stderr: string;
  readonly exitCode: number;
}

/** A program that could not be run, or ended as it should not: exit 1. */
export class ProgramFailure extends Failure {
  override readonly name = 'ProgramFailure';
  /** `exit status 7`, `ended by SIGTERM`, `not done within 5 s` */
  readonly how: string;
  readonly stderr: string;

  constructor(what: string, how: string, result: Outcome) {
    super({ what, cause: result });
    this.how = how;
    this.stderr = result.stderr;
  }
}

/** Output that a daemon, started by the program, still holds open is waited for this long. */
const AFTER_EXIT_MS = 500;
const FORWARDED: readonly NodeJS.Signals[] = ['SIGINT', 'SIGTERM', 'SIGHUP'];

/**
 * Runs a program of the host to its end, in a clean environment, without a shell.
 * @throws ProgramFailure, its message one line that names the command so that it can be pasted, with the
 * last line it wrote to stderr.
 */
export async function runProgram(argv: readonly string[], options: RunOptions = {}): Promise<ProgramResult> {
  const { execa } = await import('execa');
  const [file = '', ...args] = argv;
  needDescriptors(file);
  const child = execa(file, args, {
    ...(options.cwd !== undefined && { cwd: options.cwd }),
    ...(options.input !== undefined ? { input: options.input } : { stdin: 'ignore' as const }),
    env: { ...CLEAN_ENVIRONMENT, ...options.env },
    extendEnv: false,
    detached: true,
    cleanup: false,
    reject: false,
    buffer: false,
  });
  const stdout = collect(child.stdout, 'first');
  const stderr = collect(child.stderr, 'last');
  let timedOut = false;
  const endGroup = (signal: NodeJS.Signals): void => {
    try {
      if (child.pid !== undefined) process.kill(-child.pid, signal);
    } catch {
      // It is gone already.
    }
  };
  const timer =
    options.timeoutMs &&
    setTimeout(() => {
      timedOut = true;
      endGroup('SIGKILL');
    }, options.timeoutMs);
  child.once('exit', () => {
    setTimeout(() => {
      child.stdout?.destroy();
      child.stderr?.destroy();
    }, AFTER_EXIT_MS).unref();
  });
  const stopForwarding = forwardSignals(endGroup);
  try {
    const { exitCode, signal, code, originalMessage } = await child;
    const outcome = { exitCode, signal, code, originalMessage, stdout: await stdout, stderr: await stderr };
    return judge(argv, outcome, timedOut, options);
  } finally {
    stopForwarding();
    if (timer) clearTimeout(timer);
  }
}

/** To start a program takes three pipes, and one of libuv's own to hear whether it could be run. */
const DESCRIPTORS = 8;

/**
 * Without them Node tells of the failure in an event, before anybody can listen to it: all would end with a stack trace.
 * @throws Failure
 */
function needDescriptors(program: string): void {
  const open: number[] = [];
  try {
    while (open.length < DESCRIPTORS) open.push(openSync('/dev/null', 'r'));
  } catch (cause) {
    const what = `cannot run ${program}: ${reasonOf(cause)}`;
    throw new Failure({ what, todo: 'raise the limit of them: ulimit -n', cause });
  } finally {
    for (const fd of open) closeSync(fd);
  }
}

/** What a program writes is read to its end, so that it does not block, and no more of it than this is kept. */
const KEPT_BYTES = 1024 * 1024;

/** The first or the last part of what comes, without the last newline. */
async function collect(stream: Readable | null, part: 'first' | 'last'): Promise<string> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  stream?.on('data', (chunk: Buffer) => {
    if (part === 'first' && bytes >= KEPT_BYTES) return;
    chunks.push(chunk);
    bytes += chunk.length;
    while (part === 'last' && bytes - (chunks[0]?.length ?? 0) >= KEPT_BYTES)
      bytes -= chunks.shift()?.length ?? 0;
  });
  if (stream) await new Promise((resolve) => stream.once('close', resolve));
  return Buffer.concat(chunks)
    .toString('utf8')
    .replace(/\r?\n$/, '');
}

export interface StartOptions {
  readonly stdin?: 'ignore' | 'pipe';
  readonly stdout?: 'ignore' | 'pipe';
  /** Ends the program. */
  readonly signal?: AbortSignal | undefined;
}

/** A program that runs, with what is not its own at the other ends of its streams. */
export interface StartedProgram {
  readonly stdin: Writable | null;
  readonly stdout: Readable | null;
  /** Its end. @throws ProgramFailure */
  readonly done: Promise<ProgramResult>;
}

/** Starts a program of the host in a clean environment, without a shell, so that streams go through it. */
export async function startProgram(
  argv: readonly string[],
  { stdin = 'ignore', stdout = 'ignore', signal }: StartOptions = {},
): Promise<StartedProgram> {
  const { execa } = await import('execa');
  const [file = '', ...args] = argv;
  needDescriptors(file);
  const child = execa(file, args, {
    stdio: [stdin, stdout, 'pipe'],
    buffer: false,
    env: CLEAN_ENVIRONMENT,
    extendEnv: false,
    cleanup: false, // it ends with its streams; execa would end us by the signal that we take ourselves
    reject: false,
    ...(signal && { cancelSignal: signal }),
  });
  child.stdin?.on('error', () => {}); // EPIPE: it has ended, and its end says why
  const stderr = collect(child.stderr, 'first');
  const done = (async () => {
    const { exitCode, signal: endedBy, code, originalMessage } = await child;
    const outcome = { exitCode, signal: endedBy, code, originalMessage, stdout: '', stderr: await stderr };
    return judge(argv, outcome, false, {});
  })();
  done.catch(() => {}); // told to whoever waits for it
  return { stdin: child.stdin, stdout: child.stdout, done };
}

/** A session of its own is out of the terminal's reach: ^C, and a kill of ours, are handed on. */
function forwardSignals(endGroup: (signal: NodeJS.Signals) => void): () => void {
  const forward = (signal: NodeJS.Signals): void => {
    endGroup(signal);
    stop();
    // Without a listener of the command's own the signal means what it means to every program.
    if (process.listenerCount(signal) === 0) process.kill(process.pid, signal);
  };
  const stop = (): void => {
    for (const signal of FORWARDED) process.off(signal, forward);
  };
  for (const signal of FORWARDED) process.on(signal, forward);
  return stop;
}

function judge(
  argv: readonly string[],
  result: Outcome,
  timedOut: boolean,
  { okCodes = [0], timeoutMs = 0, context, cwd }: RunOptions,
): ProgramResult {
  const { stdout, stderr } = result;
  if (!timedOut && result.exitCode !== undefined && okCodes.includes(result.exitCode))
    return { stdout, stderr, exitCode: result.exitCode };
  const how = timedOut ? `not done within ${timeoutMs / 1000} s` : howItEnded(result);
  throw new ProgramFailure(
    [
      context,
      `${cwd === undefined ? '' : `(cd ${quoteWord(cwd)} && `}${quoteCommand(argv)}${cwd === undefined ? '' : ')'}`,
      how,
      lastLine(stderr),
    ]
      .filter(Boolean)
      .join(': '),
    how,
    result,
  );
}

function howItEnded(result: Outcome): string {
  if (result.exitCode !== undefined) return `exit status ${result.exitCode}`;
  if (result.signal !== undefined) return `ended by ${result.signal}`;
  if (result.code === 'ENOENT') return 'no such program or directory';
  return result.originalMessage ?? 'could not be started';
}

/** Of what a program said last, in a message of one line. */
const SHOWN_CHARACTERS = 400;

/** The last line of what a program wrote, cut at its beginning where it is long. */
export function lastLine(text: string): string {
  return (text.trimEnd().split('\n').at(-1)?.trim() ?? '').slice(-SHOWN_CHARACTERS);
}

function quoteWord(word: string): string {
  if (/^[\w@%+=:,./-]+$/.test(word)) return word;
  return `'${word.replaceAll("'", "'\\''")}'`;
}

/** The command as it can be pasted into a shell; a line break becomes `$'\n'`, the message being one line. */
export function quoteCommand(argv: readonly string[]): string {
  return argv.map((word) => quoteWord(word).replaceAll('\n', () => "'$'\\n''")).join(' ');
}
