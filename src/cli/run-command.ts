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
  const terminal = realTerminal(command.name);
  try {
    const args = parseCommandLine(command, process.argv.slice(2));
    if (args.has('help')) terminal.print(helpText(command));
    else if (args.has('version')) terminal.print(`${command.name} ${OVERLAY_BOOT_VERSION}`);
    else process.exitCode = await command.main(args, terminal);
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

/** Made when something is printed: it takes a while, and most of the time nothing waits for that any more. */
function openStdout(): NodeJS.WriteStream {
  // A reader that went away (`overlay-status | head -1`) ends the command quietly, as it does for ls.
  process.stdout.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code === 'EPIPE') process.exit(EXIT.ok);
    throw error;
  });
  return process.stdout;
}

function realTerminal(name: string): Terminal {
  let stdout: NodeJS.WriteStream | undefined;
  return {
    env: process.env,
    cwd: process.cwd(),
    fancy: isatty(1) && !process.env.NO_COLOR,
    uid: process.geteuid?.() ?? -1,
    print(line) {
      stdout ??= openStdout();
      stdout.write(`${line}\n`);
    },
    warn: (line) => process.stderr.write(`${name}: ${line}\n`),
  };
}
