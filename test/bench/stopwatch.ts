/**
 * Times commands in a sandbox, all of them in the same way: by bash, whose clock ($EPOCHREALTIME,
 * microseconds) needs no process of its own. What is timed begins with the fork that executes the command.
 */
import type { Sandbox } from '../helpers/namespaces.js';

/** Where the first effect of a start script is heard of: a fifo in a directory that all guests have as /bench. */
export const SIGNAL_DIRECTORY = '/srv/t/signal';
const FIFO = `${SIGNAL_DIRECTORY}/fifo`;
const ERRORS = '/srv/t/errors';
const EFFECT_TIMEOUT_S = 10;
const TIMEOUT_MS = 60_000;

/**
 * PATH of what is timed: nothing else is in its environment. Without the sbin directories, so that there is no
 * ifup on a host that has it either: a program more in each boot, which is measured apart.
 */
export const PLAIN_PATH = '/usr/local/bin:/usr/bin:/bin';
export const PATH_WITH_IFUP = `${PLAIN_PATH}:/usr/sbin:/sbin`;

/** Prints microseconds until the effect (where there is one to come), until the end, and the exit status. */
const SCRIPT = `
effect=$1; shift
exec 9<>"${FIFO}"
before=\${EPOCHREALTIME/./}
if [ "$effect" = none ]; then
	"$@" 9>&- </dev/null >/dev/null 2>"${ERRORS}"
	status=$? after=\${EPOCHREALTIME/./}
	echo "0 $((after - before)) $status"
	exit
fi
"$@" 9>&- </dev/null >/dev/null 2>"${ERRORS}" &
read -r -t ${EFFECT_TIMEOUT_S} _ <&9 || seen=no
then=\${EPOCHREALTIME/./}
[ "$seen" = no ] && kill $! && { wait; echo "0 0 no effect within ${EFFECT_TIMEOUT_S} s"; exit; }
wait $!
status=$? after=\${EPOCHREALTIME/./}
echo "$((then - before)) $((after - before)) $status"
`;

export interface Timed {
  /** Milliseconds until the guest's start script did something. */
  readonly effectMs: number;
  /** Milliseconds until the command had ended. */
  readonly endMs: number;
}

export interface StopwatchOptions {
  /** PLAIN_PATH unless told otherwise. */
  readonly path?: string;
  readonly env?: Readonly<Record<string, string>>;
}

/** Makes what the stopwatch needs in the sandbox. */
export async function prepareStopwatch(sandbox: Sandbox): Promise<void> {
  await sandbox.sh(`mkdir ${SIGNAL_DIRECTORY} && mkfifo ${FIFO}`);
}

/** @throws Error when the command fails, with what it wrote to stderr */
export async function timeToEnd(
  sandbox: Sandbox,
  argv: readonly string[],
  options: StopwatchOptions = {},
): Promise<number> {
  return (await time(sandbox, ['none', ...argv], options)).endMs;
}

/** @throws Error when the guest does nothing within 10 s, or the command fails */
export async function timeToEffect(
  sandbox: Sandbox,
  argv: readonly string[],
  options: StopwatchOptions = {},
): Promise<Timed> {
  return await time(sandbox, ['effect', ...argv], options);
}

async function time(
  sandbox: Sandbox,
  [effect = '', ...argv]: readonly string[],
  { path = PLAIN_PATH, env = {} }: StopwatchOptions,
): Promise<Timed> {
  const assignments = Object.entries({ PATH: path, ...env }).map(([name, value]) => `${name}=${value}`);
  const timer = ['/usr/bin/env', '-i', ...assignments, '/bin/bash', '--norc', '-c', SCRIPT, 'stopwatch'];
  const { stdout, stderr } = await sandbox.run([...timer, effect, ...argv], { timeoutMs: TIMEOUT_MS });
  const [effectUs, endUs, ...status] = stdout.trim().split(' ');
  if (status.join(' ') === '0') return { effectMs: Number(effectUs) / 1000, endMs: Number(endUs) / 1000 };
  const errors = await sandbox.sh(`head -c 1000 ${ERRORS}`);
  throw new Error(
    `${argv.join(' ')}: ${status.join(' ')}: ${errors.trim() || stderr.trim() || 'no message'}`,
  );
}
