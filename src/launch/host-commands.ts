/** Commands of the administrator's that run while booting: `!commands` and hooks. */
import { trimBlanks } from '../config/assignments.js';
import type { CommandRequest } from '../config/resolve.js';
import { assertTrusted } from '../config/trust.js';
import { Failure, UserError } from '../errors.js';
import type { Hook } from '../plan/boot-plan.js';

export interface CommandContext {
  /** A process in the subhost's mount and pid namespaces; undefined: in the host's own. */
  readonly insidePid?: number | undefined;
  /** Where the commands of this project are: put at the end of PATH. */
  readonly binDir: string;
  readonly timeoutMs: number;
}

/** The most of a start script that execve(2) takes as one argument: MAX_ARG_STRLEN, 32 pages. */
const SCRIPT_BYTES_MAX = 131_071;

/** Of what a `!command` wrote to stderr. */
const SHOWN_LINES = 5;

const HOST_PATH = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';

/**
 * The argv that runs `argv` where it belongs. In the pid namespace too: what a command leaves in the
 * background ends with the subhost. The directory is entered by a path of the new mount namespace, since a
 * working directory from outside would keep it in the host's mounts.
 */
function placed(argv: readonly string[], cwd: string, { insidePid }: CommandContext): readonly string[] {
  if (insidePid === undefined) return argv;
  const enter = ['nsenter', '--target', String(insidePid), '--mount', '--pid', '--'];
  return [...enter, '/bin/sh', '-c', 'cd "$0" && exec "$@"', cwd, ...argv];
}

/**
 * Runs a `!command` and returns the first line it prints, trimmed.
 * @throws UserError naming file, line and variable, for a non-zero exit (with what it wrote to stderr) or no output
 */
export async function runValueCommand(
  { variable, command, cwd, at, name }: CommandRequest,
  environment: Readonly<Record<string, string>>,
  context: CommandContext,
): Promise<string> {
  const { runProgram, ProgramFailure, lastLine } = await import('../sys/run.js');
  try {
    const { stdout } = await runProgram(placed(['/bin/sh', '-c', command], cwd, context), {
      cwd,
      env: {
        ...environment,
        ...(name !== undefined && { NAME: name }),
        PATH: `${HOST_PATH}:${context.binDir}`,
      },
      timeoutMs: context.timeoutMs,
    });
    const value = trimBlanks(stdout.split('\n')[0] ?? '');
    if (value !== '') return value;
    throw new UserError({
      at,
      what: `${variable}: the command printed nothing: ${command}`,
      todo: 'its first line is the value',
    });
  } catch (cause) {
    if (!(cause instanceof ProgramFailure)) throw cause;
    const wrote = lastLine(cause.stderr.trim().split('\n').slice(-SHOWN_LINES).join(' | '));
    throw new UserError({
      at,
      what: `${variable}: ${command}: ${cause.how}`,
      todo: wrote || undefined,
      cause,
    });
  }
}

/**
 * Runs a hook to its end and returns what it printed.
 * @throws Failure with its exit status and the last line it wrote to stderr
 */
export async function runHook(
  { name, argv }: Hook,
  environment: Readonly<Record<string, string>>,
  context: CommandContext & { readonly cwd: string },
): Promise<string> {
  const { runProgram, ProgramFailure, quoteCommand, lastLine } = await import('../sys/run.js');
  assertTrusted(argv[0] ?? '');
  try {
    const { stdout } = await runProgram(placed(argv, context.cwd, context), {
      cwd: context.cwd,
      env: { ...environment, PATH: `${HOST_PATH}:${context.binDir}` },
      timeoutMs: context.timeoutMs,
    });
    return stdout;
  } catch (cause) {
    if (!(cause instanceof ProgramFailure)) throw cause;
    // In the administrator's words: not with how it is put into the namespaces.
    const what = `${name}: ${quoteCommand(argv)}: ${cause.how}`;
    throw new Failure({ what, todo: lastLine(cause.stderr) || undefined, cause });
  }
}

/** @throws Failure for what no shell could be started with */
export function checkScript(script: string): void {
  if (script.includes('\0')) throw new Failure({ what: 'INIT: the start script has a NUL byte' });
  if (Buffer.byteLength(script) > SCRIPT_BYTES_MAX)
    throw new Failure({
      what: `INIT: the start script is longer than ${SCRIPT_BYTES_MAX} bytes`,
      todo: 'let it run a file of the root instead',
    });
}
