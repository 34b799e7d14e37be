/** Runs a command: parse, call, print one error line per mistake, set the exit code. */
import { isatty } from 'node:tty';
import { EXIT } from '../errors.js';
import { type Command, helpText, parseCommandLine, type Terminal } from './command.js';

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
  const message = error instanceof Error ? error.message : String(error);
  for (const line of message.split('\n')) terminal.warn(line);
  if (terminal.env.OVERLAY_DEBUG === '1') console.error(error);
}

/**
 * stdout, made when something is printed: it takes a while, and most of the time nothing waits for that any more.
 * What a command does never depends on it: a reader that went away (`overlay-boot … | head -1`) is no failure, and
 * a full disk is told at the end.
 */
class Output {
  readonly #warn: (line: string) => void;
  #stdout: NodeJS.WriteStream | undefined;
  #lost: NodeJS.ErrnoException | undefined;

  constructor(warn: (line: string) => void) {
    this.#warn = warn;
  }

  get isLost(): boolean {
    return this.#lost !== undefined;
  }

  print(line: string): void {
    this.#stdout ??= this.#open();
    if (!this.#lost) this.#stdout.write(`${line}\n`);
  }

  #open(): NodeJS.WriteStream {
    process.stdout.on('error', (error: NodeJS.ErrnoException) => {
      if (!this.#lost && error.code !== 'EPIPE') this.#fail(error);
      this.#lost ??= error;
    });
    return process.stdout;
  }

  #fail(error: NodeJS.ErrnoException): void {
    this.#warn(`cannot write to stdout: ${error.code}`);
    process.once('exit', () => {
      if (!process.exitCode) process.exitCode = EXIT.failure;
    });
  }
}

function realTerminal(name: string): Terminal {
  let stderr: NodeJS.WriteStream | undefined;
  const warn = (line: string): void => {
    stderr ??= process.stderr.on('error', () => {}); // nobody is left to be told
    stderr.write(`${name}: ${line}\n`);
  };
  const output = new Output(warn);
  return {
    env: process.env,
    cwd: process.cwd(),
    fancy: isatty(1) && !process.env.NO_COLOR,
    uid: process.geteuid?.() ?? -1,
    print: (line) => output.print(line),
    outputIsLost: () => output.isLost,
    warn,
  };
}
