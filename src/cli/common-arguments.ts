/** What several commands ask of their command line and their caller. */
import { join } from 'node:path';
import { Failure, UserError } from '../errors.js';
import type { Arguments, Terminal } from './command.js';

/** @throws Failure unless the caller is root; the command does not become root by itself */
export function requireRoot({ uid }: Terminal): void {
  if (uid !== 0) throw new Failure({ what: 'must be root' });
}

/** A number of seconds given by an option, in milliseconds; undefined where it was not given. */
export function secondsOption(args: Arguments, name: string): number | undefined {
  const text = args.value(name);
  if (text === undefined) return undefined;
  // Node's timers hold 2^31 ms; six digits stay below.
  if (!/^\d{1,6}(\.\d{1,3})?$/.test(text))
    throw new UserError({
      what: `--${name} "${text}" is no number of seconds`,
      todo: 'write 0 or more, 0 for no limit',
    });
  return Math.round(Number(text) * 1000);
}

/** The commands of this project, for the PATH of `!commands` and hooks: bin/, beside the bundles' dist/. */
export const binDirectory = (): string => join(__dirname, '..', '..', 'bin');

/** WAFERS: the directory of the wafers; empty means the default. */
export const wafersDirectory = ({ env }: Terminal): string => env.WAFERS || '/var/lib/wafers';
