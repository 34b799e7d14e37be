/**
 * The host's own configuration of a cable's end: ifup(8) and ifdown(8) with a stanza of
 * /etc/network/interfaces. Works with the ones of Debian (new and old), BusyBox and ifupdown2.
 */
import { accessSync, constants, statSync } from 'node:fs';
import { join } from 'node:path';
import { Failure } from '../errors.js';
import type { ProgramResult } from '../sys/run.js';

/** Milliseconds; DHCP without an answer is given up by ifup itself after that or later. */
export const IFUP_TIMEOUT_MS = 60_000;
/** Of what a stanza's commands wrote, the last lines go into the message. */
const LINES_SHOWN = 3;

export interface IfupdownOptions {
  /** Where the programs are looked for, and what their commands get as PATH. */
  readonly path: string;
  /** Milliseconds until it is killed, with all it started; 60 s unless told otherwise. */
  readonly timeoutMs?: number | undefined;
}

/**
 * Runs `ifup NAME`.
 * @returns `up`, or `no-ifup` or `no-stanza` where the host says nothing about the interface
 * @throws Failure with what the stanza's commands wrote, when one of them failed or time was up
 */
export async function bringUp(
  interfaceName: string,
  options: IfupdownOptions,
): Promise<'up' | 'no-ifup' | 'no-stanza'> {
  const program = findProgram('ifup', options.path);
  if (program === undefined) return 'no-ifup';
  // -f: a cable is always new. What ifup has noted of one that was not taken down in good order would make
  // it do nothing, and call that success. (BusyBox knows no --force.)
  return (await run([program, '-f', interfaceName], interfaceName, options)) ? 'up' : 'no-stanza';
}

/**
 * Runs `ifdown NAME`. An interface that is gone or was never brought up is success, as for ifdown itself.
 * @throws Failure as with `bringUp`
 */
export async function bringDown(
  interfaceName: string,
  options: IfupdownOptions,
): Promise<'down' | 'no-ifdown' | 'no-stanza'> {
  const program = findProgram('ifdown', options.path);
  if (program === undefined) return 'no-ifdown';
  return (await run([program, interfaceName], interfaceName, options)) ? 'down' : 'no-stanza';
}

/** Absolute path of a program; a directory of PATH that is not absolute is passed over. */
export function findProgram(name: string, path: string): string | undefined {
  return path
    .split(':')
    .filter((directory) => directory.startsWith('/'))
    .map((directory) => join(directory, name))
    .find(isExecutable);
}

function isExecutable(file: string): boolean {
  try {
    accessSync(file, constants.X_OK);
    return statSync(file).isFile();
  } catch {
    return false;
  }
}

/** @returns false when there is no stanza for the interface */
async function run(
  argv: readonly [string, ...string[]],
  interfaceName: string,
  { path, timeoutMs = IFUP_TIMEOUT_MS }: IfupdownOptions,
): Promise<boolean> {
  const { ProgramFailure, runProgram } = await import('../sys/run.js');
  let result: Pick<ProgramResult, 'stderr'>;
  try {
    result = await runProgram(argv, { env: { PATH: path }, timeoutMs });
  } catch (cause) {
    if (!(cause instanceof ProgramFailure)) throw cause;
    if (saysNoStanza(cause.stderr, interfaceName)) return false;
    throw new Failure({ what: whatFailed(cause), todo: 'see /etc/network/interfaces', cause });
  }
  return !saysNoStanza(result.stderr, interfaceName);
}

/**
 * Debian: `ifup: unknown interface mta0`, status 1; before ifupdown 0.8 `Ignoring unknown interface
 * mta0=mta0.`, status 0; BusyBox: `ifup: ignoring unknown interface mta0`; ifupdown2: `error: cannot
 * find interfaces: mta0 (interface was probably never up ?)`. The interface is compared, since a stanza's
 * own commands may complain of others.
 */
function saysNoStanza(stderr: string, interfaceName: string): boolean {
  const found = stderr.matchAll(
    /(?:unknown interface|cannot find interfaces:) ([^\s=]+?)(?:=\S*)?\.?(?=\s|$)/gi,
  );
  return [...found].some(([, name]) => name === interfaceName);
}

/** The failure's message ends with the last line of stderr, which is ifup's; what the commands said is before it. */
function whatFailed(failure: Error & { readonly stderr: string }): string {
  const lines = failure.stderr.split('\n').map((line) => line.trim());
  const said = lines.filter((line) => line !== '').slice(-1 - LINES_SHOWN, -1);
  return said.length === 0 ? failure.message : `${failure.message} (${said.join('; ')})`;
}
