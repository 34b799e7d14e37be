/**
 * Throwaway namespaces for the tests that need root: mount, network, pid, uts and control group
 * namespaces of their own, with an own /run, /var/log, /sys, /proc and writable copies of /etc, /opt, /srv
 * and /var that are gone afterwards. What is started in them ends with them, and they end with the test
 * process, however that ends (see sandbox.sh).
 */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, realpathSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as delay } from 'node:timers/promises';

/** The checkout; it is seen at the same path in a sandbox. */
export const PROJECT = resolve(__dirname, '..', '..');
const SCRIPT = join(__dirname, 'sandbox.sh');
const START_TIMEOUT_MS = 20_000;
/** What tests have put on the disk is removed, and the disk may be busy. */
const CLOSE_TIMEOUT_MS = 60_000;
const RUN_TIMEOUT_MS = 60_000;

/** What a program in a sandbox gets of an environment: the project's commands first on PATH. */
const ENVIRONMENT: Readonly<Record<string, string>> = {
  PATH: `${join(PROJECT, 'bin')}:${dirname(process.execPath)}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin`,
  HOME: '/root',
};

export interface RunOptions {
  /** Added to a clean environment of PATH and HOME. */
  readonly env?: Readonly<Record<string, string>>;
  /** Working directory in the sandbox; its workdir unless told otherwise. */
  readonly cwd?: string;
}

export interface Completed {
  /** Exit status, or null when a signal ended it. */
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly stdout: string;
  readonly stderr: string;
  /** stdout as it came, for what is not text. */
  readonly stdoutBytes: Buffer;
}

export class Sandbox {
  /** An empty tmpfs, private to the sandbox; it can hold UPPER and WORK. */
  readonly workdir = '/srv/t';
  /** An empty directory on the machine's own disk, seen at the same path inside and out; gone at close. */
  readonly diskdir: string;
  /** pid 1 of the sandbox as the host numbers it. */
  readonly pid: number;
  /** The sandbox's own control group (v2) as the host sees it, its root inside; undefined where none can be made. */
  readonly cgroup: string | undefined;
  readonly #holder: ChildProcess;

  private constructor(
    holder: ChildProcess,
    ready: { pid: number; cgroup: string | undefined; diskdir: string },
  ) {
    this.#holder = holder;
    this.pid = ready.pid;
    this.cgroup = ready.cgroup;
    this.diskdir = ready.diskdir;
  }

  /** @throws Error with what the setting up wrote to stderr */
  static async start(): Promise<Sandbox> {
    const diskdir = realpathSync(mkdtempSync(join(tmpdir(), 'overlay-boot-test-')));
    // A session of its own: ^C ends the test process alone, which ends the rest in good order.
    const holder = spawn('/bin/sh', [SCRIPT, 'around', diskdir], {
      env: ENVIRONMENT,
      cwd: '/',
      detached: true,
      stdio: ['pipe', 'pipe', 'pipe'],
    });
    const timer = setTimeout(() => holder.stdin.end(), START_TIMEOUT_MS);
    let stderr = '';
    holder.stderr.on('data', (chunk: Buffer) => {
      stderr += chunk.toString();
    });
    for await (const line of createInterface(holder.stdout)) {
      const [word, pid, cgroup] = line.split(' ');
      if (word !== 'ready') continue;
      clearTimeout(timer);
      return new Sandbox(holder, { pid: Number(pid), cgroup: cgroup || undefined, diskdir });
    }
    clearTimeout(timer);
    throw new Error(`sandbox: could not be made: ${stderr.trim()}`);
  }

  /** The command line that, started on the host, runs `argv` in the sandbox: for node-pty and the like. */
  enterArgv(argv: readonly string[], { env = {}, cwd = this.workdir }: RunOptions = {}): string[] {
    const assignments = Object.entries({ ...ENVIRONMENT, ...env }).map(([name, value]) => `${name}=${value}`);
    const enter = ['nsenter', `--target=${this.pid}`, '--mount', '--net', '--uts', '--cgroup', '--pid'];
    const program = [...enter, 'env', '-i', '-C', cwd, ...assignments, ...argv];
    if (this.cgroup === undefined) return program;
    return ['/bin/sh', '-c', 'echo $$ >"$0" && exec "$@"', join(this.cgroup, 'cgroup.procs'), ...program];
  }

  /** Starts a program in the sandbox and lets it run; its three streams are pipes. */
  spawn(argv: readonly string[], options: RunOptions = {}): Running {
    return new Running(argv, this.enterArgv(argv, options));
  }

  /**
   * Runs a program in the sandbox to its end, with nothing on stdin unless `input` is given.
   * @param timeoutMs  milliseconds until it is killed; 60 s unless told otherwise
   * @throws Error when time is up, also when it ended but somebody still holds its stdout or stderr open
   */
  async run(
    argv: readonly string[],
    options: RunOptions & { readonly input?: string | Uint8Array; readonly timeoutMs?: number } = {},
  ): Promise<Completed> {
    const running = this.spawn(argv, options);
    running.child.stdin?.end(options.input);
    return await running.completed(options.timeoutMs ?? RUN_TIMEOUT_MS);
  }

  /** Runs a shell script, `set -eu` in force, and returns its stdout. @throws Error when it fails, with its stderr */
  async sh(script: string, options: RunOptions & { readonly timeoutMs?: number } = {}): Promise<string> {
    const { code, signal, stdout, stderr } = await this.run(['/bin/sh', '-euc', script], options);
    if (code === 0) return stdout;
    throw new Error(`sandbox: exit ${code ?? signal}: ${script}\n${stderr}${stdout}`);
  }

  /** Writes a file, its directories made where missing. */
  async writeFile(path: string, content: string | Uint8Array, mode = 0o644): Promise<void> {
    const script = 'mkdir -p -- "$(dirname -- "$1")" && cat >"$1" && chmod -- "$2" "$1"';
    const argv = ['/bin/sh', '-c', script, 'writeFile', path, mode.toString(8)];
    const { code, stderr } = await this.run(argv, { input: content });
    if (code !== 0) throw new Error(`sandbox: ${path}: ${stderr}`);
  }

  /** The text of a file, as a program in the sandbox sees it. @throws Error when it cannot be read */
  async readFile(path: string): Promise<string> {
    const { code, stdout, stderr } = await this.run(['cat', '--', path]);
    if (code !== 0) throw new Error(`sandbox: ${stderr}`);
    return stdout;
  }

  /** Ends everything in it; returns when nothing of it is left. */
  async close(): Promise<void> {
    if (this.#holder.exitCode !== null || this.#holder.signalCode !== null) return;
    const ended = new Promise((done) => this.#holder.once('exit', done));
    this.#holder.stdin?.end();
    await ended;
  }
}

/** A program that runs in a sandbox. */
export class Running {
  /** What the host started; its streams are the program's. Signals go through `kill`. */
  readonly child: ChildProcess;
  readonly #argv: readonly string[];
  readonly #stdout: Buffer[] = [];
  readonly #stderr: Buffer[] = [];
  readonly #closed: Promise<void>;

  constructor(argv: readonly string[], [file = '', ...args]: readonly string[]) {
    this.#argv = argv;
    this.child = spawn(file, args, { env: ENVIRONMENT, cwd: '/' });
    this.child.stdout?.on('data', (chunk: Buffer) => this.#stdout.push(chunk));
    this.child.stderr?.on('data', (chunk: Buffer) => this.#stderr.push(chunk));
    this.child.stdin?.on('error', () => {}); // EPIPE: it did not want to read all of it
    this.#closed = new Promise((done, fail) => {
      this.child.once('error', fail);
      this.child.once('close', () => done());
    });
    this.#closed.catch(() => {}); // told to whoever calls completed()
  }

  /** What it has written to stdout so far. */
  get stdout(): string {
    return Buffer.concat(this.#stdout).toString();
  }

  /** What it has written to stderr so far. */
  get stderr(): string {
    return Buffer.concat(this.#stderr).toString();
  }

  /** Its pid as the host numbers it: nsenter's child, nsenter itself waits outside. Undefined when it has ended. */
  get hostPid(): number | undefined {
    const pid = this.child.pid;
    if (pid === undefined || this.child.exitCode !== null || this.child.signalCode !== null) return undefined;
    const children = readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').trim();
    return children === '' ? undefined : Number(children.split(' ')[0]);
  }

  /** Sends a signal to the program itself. */
  kill(signal: NodeJS.Signals = 'SIGTERM'): void {
    const pid = this.hostPid;
    if (pid !== undefined) process.kill(pid, signal);
  }

  /** Waits for its end. @throws Error when time is up; it is killed then */
  async completed(timeoutMs = RUN_TIMEOUT_MS): Promise<Completed> {
    const timer = new AbortController();
    const inTime = await Promise.race([
      this.#closed.then(() => true),
      delay(timeoutMs, false, { signal: timer.signal }),
    ]).finally(() => timer.abort());
    if (!inTime) this.#giveUp(timeoutMs);
    const { exitCode: code, signalCode: signal } = this.child;
    return {
      code,
      signal,
      stdout: this.stdout,
      stderr: this.stderr,
      stdoutBytes: Buffer.concat(this.#stdout),
    };
  }

  #giveUp(timeoutMs: number): never {
    const ended = this.child.exitCode !== null || this.child.signalCode !== null;
    this.kill('SIGKILL');
    for (const stream of [this.child.stdin, this.child.stdout, this.child.stderr]) stream?.destroy();
    const how = ended ? 'ended, but its output is still held open' : 'not done';
    throw new Error(
      `${this.#argv.join(' ')}: ${how} after ${timeoutMs} ms\nstdout: ${this.stdout}\nstderr: ${this.stderr}`,
    );
  }
}

/** Why no sandbox can be made here, or undefined. */
function obstacle(): string | undefined {
  if (process.geteuid?.() !== 0) return 'needs root';
  if (!/^nodev\toverlay$/m.test(readFileSync('/proc/filesystems', 'utf8')))
    return 'the kernel has no overlayfs';
  const unshare = spawnSync('unshare', ['--mount', '--net', '--pid', '--fork', 'true'], { encoding: 'utf8' });
  return unshare.status === 0
    ? undefined
    : `no new namespaces: ${unshare.error?.message ?? unshare.stderr.trim()}`;
}

/**
 * Call it first inside the `describe` of a root test: where no sandbox can be made the tests are skipped
 * with the reason, or fail when OVERLAY_MUST_RUN=1. (Outside of any `describe` it would skip every file.)
 */
export function requireRoot(): void {
  before(function () {
    const reason = obstacle();
    if (reason === undefined) return;
    if (process.env.OVERLAY_MUST_RUN === '1') throw new Error(`OVERLAY_MUST_RUN=1, but: ${reason}`);
    process.stderr.write(`skipped: ${this.test?.parent?.fullTitle()}: ${reason}\n`);
    this.skip();
  });
}

/**
 * One sandbox for a `describe`, made before its first test and closed after its last one; includes `requireRoot`.
 * @returns a function that gives the sandbox while tests run
 */
export function useSandbox(): () => Sandbox {
  let sandbox: Sandbox | undefined;
  requireRoot();
  before(async function () {
    this.timeout(START_TIMEOUT_MS + 5_000);
    sandbox = await Sandbox.start();
  });
  after(async function () {
    this.timeout(CLOSE_TIMEOUT_MS);
    await sandbox?.close();
  });
  return () => {
    if (sandbox === undefined) throw new Error('the sandbox is there only while tests run');
    return sandbox;
  };
}

/**
 * Calls `probe` until it returns something other than undefined or false, and returns that.
 * @param what  words for the message: `the keeper is gone`
 * @throws Error when `timeoutMs` (5 s unless told otherwise) are over; an error of the last try is its cause
 */
export async function eventually<T>(
  what: string,
  probe: () => T | Promise<T>,
  timeoutMs = 5_000,
): Promise<Exclude<T, undefined | false>> {
  const deadline = Date.now() + timeoutMs;
  let cause: unknown;
  do {
    try {
      const value = await probe();
      if (value !== undefined && value !== false) return value as Exclude<T, undefined | false>;
      cause = undefined;
    } catch (error) {
      cause = error;
    }
    await delay(10);
  } while (Date.now() < deadline);
  throw new Error(
    `not within ${timeoutMs} ms: ${what}${cause instanceof Error ? `: ${cause.message}` : ''}`,
    {
      cause,
    },
  );
}
