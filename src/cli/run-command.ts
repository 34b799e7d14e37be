/** Runs a command: parse, call, print one error line per mistake, set the exit code. */
import { writeSync } from 'node:fs';
import { EXIT, errnoOf, reasonOf } from '../errors.js';
import { type Command, helpText, parseCommandLine, type Terminal } from './command.js';
import { printable } from './common-table.js';

declare const OVERLAY_BOOT_VERSION: string; // put in by the bundler, from package.json

/**
 * The whole life of a command. Errors of ours are one line each, `command: what: why: what to do`;
 * a stack trace appears only with OVERLAY_DEBUG=1, and `cause` is kept for it.
 */
export async function runCommand(command: Command): Promise<void> {
  process.umask(0o022); // what is made is readable by all, whatever the caller's habit
  const terminal = realTerminal(command.name);
  try {
    const args = parseCommandLine(command, process.argv.slice(2));
    if (args.has('help')) terminal.print(helpText(command));
    else if (args.has('version')) terminal.print(`${command.name} ${OVERLAY_BOOT_VERSION}`);
    else {
      // What is waited for may never come, and then Node ends by itself: that is no success.
      process.exitCode = EXIT.failure;
      process.exitCode = await command.main(args, terminal);
      if (command.endsAtOnce) process.exit();
    }
  } catch (error) {
    report(error, terminal);
    process.exitCode = exitCodeOf(error);
  }
}

function exitCodeOf(error: unknown): number {
  const code = error instanceof Error && 'exitCode' in error ? error.exitCode : undefined;
  return typeof code === 'number' ? code : EXIT.failure;
}

function report(error: unknown, terminal: Terminal): void {
  for (const line of inWords(error).split('\n')) terminal.warn(line);
  if (terminal.env.OVERLAY_DEBUG === '1') console.error(error);
}

/** What nobody has said better, of a system call's failure: `mkdir /x/y: no such file or directory (ENOENT)`. */
function inWords(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const { syscall, path }: NodeJS.ErrnoException = error;
  return syscall && path ? `${syscall} ${path}: ${reasonOf(error)}` : error.message;
}

/**
 * stdout, written at once: Node's stream for it takes longer to load than most commands take, and is there for a pipe
 * that does not block and is full. What a command does never depends on it: a reader that went away
 * (`overlay-boot … | head -1`) is no failure, and a full disk is told at the end.
 */
class Output {
  readonly #warn: (line: string) => void;
  #stream: NodeJS.WriteStream | undefined;
  #lost: NodeJS.ErrnoException | undefined;

  constructor(warn: (line: string) => void) {
    this.#warn = warn;
  }

  get isLost(): boolean {
    return this.#lost !== undefined;
  }

  print(line: string): void {
    const text = Buffer.from(`${line}\n`);
    const rest = this.#stream ? text : this.#writeNow(text);
    if (rest.length === 0 || this.#lost) return;
    this.#stream ??= process.stdout.on('error', (error: NodeJS.ErrnoException) => this.#lose(error));
    this.#stream.write(rest);
  }

  /** Returns what stdout has no room for. */
  #writeNow(text: Buffer): Buffer {
    let rest = text;
    try {
      while (rest.length > 0 && !this.#lost) rest = rest.subarray(writeSync(1, rest));
    } catch (error) {
      if (!(error instanceof Error)) throw error;
      if (errnoOf(error) !== 'EAGAIN') this.#lose(error);
    }
    return rest;
  }

  #lose(error: NodeJS.ErrnoException): void {
    if (!this.#lost && error.code !== 'EPIPE') this.#fail(error);
    this.#lost ??= error;
  }

  #fail(error: NodeJS.ErrnoException): void {
    this.#warn(`cannot write to stdout: ${reasonOf(error)}`);
    process.once('exit', () => {
      if (!process.exitCode) process.exitCode = EXIT.failure;
    });
  }
}

/** Loaded when asked for: node:tty brings Node's network along. */
const isTerminal = (fd: number): boolean => (require('node:tty') as typeof import('node:tty')).isatty(fd);

function realTerminal(name: string): Terminal {
  let stderr: NodeJS.WriteStream | undefined;
  const warn = (line: string): void => {
    stderr ??= process.stderr.on('error', () => {}); // nobody is left to be told
    stderr.write(`${name}: ${line.split('\n').map(printable).join('\n')}\n`);
  };
  const output = new Output(warn);
  return {
    env: process.env,
    cwd: process.cwd(),
    get fancy() {
      return isTerminal(1) && !process.env.NO_COLOR;
    },
    uid: process.geteuid?.() ?? -1,
    print: (line) => output.print(line),
    outputIsLost: () => output.isLost,
    warn,
  };
}
