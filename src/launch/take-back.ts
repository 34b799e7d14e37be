/** A boot that does not work out: everything is taken back, and the error says what went wrong and what is left. */
import { Failure } from '../errors.js';
import type { SubhostState } from '../state/subhost-state.js';
import { isStopped, readProcessStat } from '../sys/process-stat.js';
import { KeeperLost, type KeeperSession } from './launcher.js';
import { sleep } from './sleep.js';

/** A boot under way, as far as it has come. */
export interface Unfinished {
  readonly session: KeeperSession;
  readonly initProgram: string;
  readonly stateDir: string;
  readonly state: SubhostState;
  /** There is a log, which may say more. */
  readonly logOpen: boolean;
}

/** An error of a boot whose log says more. */
class BootFailure extends Failure {
  override readonly name = 'BootFailure';
}

/** A keeper that is found stopped so often does not answer. */
const STOPPED_LOOKS = 4;
const STOPPED_LOOK_MS = 250;

/**
 * @param cause  what ended the boot
 * @returns the error to show, with the exit code of `cause`
 */
export async function takeBack(cause: unknown, boot: Unfinished): Promise<Error> {
  const why = cause instanceof Error ? cause.message : String(cause);
  const left = await leftBy(boot, why);
  const { name, conf, log } = boot.state;
  // What begins with the conf says by that whose it is.
  const lines = why.split('\n').map((line) => (line.startsWith(`${conf}:`) ? line : `${name}: ${line}`));
  if (left) lines.push(`${name}: left behind: ${left}: overlay-stop ${name} tries again`);
  if (boot.logOpen) lines[lines.length - 1] += ` (log: ${log})`;
  return Object.assign(new BootFailure({ what: lines.join('\n'), cause }), { exitCode: exitCodeOf(cause) });
}

/** What could not be taken back; nothing as a rule. */
async function leftBy({ session, initProgram, state, stateDir }: Unfinished, why: string): Promise<string> {
  try {
    return await keeperTakesBack(session, why);
  } catch (lost) {
    if (!(lost instanceof KeeperLost)) throw lost;
    const { clearLeftovers } = await import('./stop.js');
    // Without the launcher, which may be what was ended.
    return clearLeftovers({ initProgram }, state, stateDir).then(
      () => '',
      (error: Error) => error.message,
    );
  }
}

async function keeperTakesBack(session: KeeperSession, why: string): Promise<string> {
  const ended = session.abort(why);
  const { keeperPid } = session;
  const launcherPid = readProcessStat(keeperPid)?.parentPid ?? 0;
  const stops = (): boolean => isStopped(keeperPid) || isStopped(launcherPid);
  for (let stopped = 0; stopped < STOPPED_LOOKS; stopped = stops() ? stopped + 1 : 0) {
    const answer = await Promise.race([ended, sleep(STOPPED_LOOK_MS, { stay: false })]);
    if (answer) return answer.left;
  }
  const who = isStopped(keeperPid)
    ? `its keeper, process ${keeperPid},`
    : `the launcher, process ${launcherPid},`;
  return `${who} is stopped (SIGSTOP): kill -CONT it`;
}

function exitCodeOf(error: unknown): number {
  const code = error instanceof Error && 'exitCode' in error ? error.exitCode : undefined;
  return typeof code === 'number' ? code : 1;
}
