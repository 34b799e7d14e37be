/** Commands, printed as an admin would type them. Node's own modules only. */
import { spawnSync } from 'node:child_process';
import { constants } from 'node:os';

/** What the set-up or the demo cannot go on without; its message is the one line that says so. */
export class Missing extends Error {}

/**
 * @typedef {object} CommandOptions
 * @property {string} [cwd]
 * @property {Readonly<Record<string, string | undefined>>} [env]
 * @property {boolean} [quiet]   keep what the command prints, for the error line
 * @property {string} [typed]    what to print instead of the words of argv; empty for nothing
 */

/** @param {string} line */
export function say(line = '') {
  process.stdout.write(`${line}\n`);
}

/**
 * One word of a command line as a shell would need it.
 * @param {string} word
 */
function quoted(word) {
  return /^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`;
}

/**
 * The command line of argv, to be pasted into a shell.
 * @param {readonly string[]} argv
 */
export function commandLine(argv) {
  return argv.map(quoted).join(' ');
}

/**
 * Prints the command and runs it. What it prints is seen at once, unless `quiet`. ^C ends more than the command.
 * @param {readonly string[]} argv
 * @param {CommandOptions} [options]
 * @returns {{ readonly ok: boolean, readonly output: string, readonly ending: string }} `ending` says how it
 * ended where it did not end well: `exit 1`, `SIGINT`, `ENOENT`
 */
export function attempt(argv, { cwd, env, quiet = false, typed = commandLine(argv) } = {}) {
  const [program = '', ...args] = argv;
  if (typed) say(`# ${typed}`);
  const result = spawnSync(program, args, {
    cwd,
    env,
    encoding: 'utf8',
    stdio: quiet ? ['ignore', 'pipe', 'pipe'] : 'inherit',
    maxBuffer: 256 * 1024 * 1024,
  });
  if (result.signal === 'SIGINT' || result.status === 128 + constants.signals.SIGINT)
    throw new Missing(`${typed || program}: interrupted`);
  const code = result.error && 'code' in result.error ? String(result.error.code) : undefined;
  return {
    ok: result.status === 0,
    output: `${result.stdout ?? ''}${result.stderr ?? ''}`,
    ending: code ?? result.signal ?? `exit ${result.status}`,
  };
}

/**
 * Runs the main function of a set-up command: its Missing is one line on stderr, and exit 1.
 * @param {string} name  what the user typed: `npm start`
 * @param {() => number} main  returns the exit code
 */
export function runMake(name, main) {
  // ^C ends the command that runs, and with it this one, but not before it has cleared up.
  process.on('SIGINT', () => undefined);
  try {
    process.exitCode = main();
  } catch (error) {
    if (!(error instanceof Missing)) throw error;
    process.stderr.write(`${name}: ${error.message}\n`);
    process.exitCode = 1;
  }
}
