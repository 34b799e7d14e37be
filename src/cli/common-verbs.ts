/** Commands that are a table of verbs upon the store: stacko and boxctl. */
import { resolve } from 'node:path';
import { EXIT, errnoOf, Failure, UserError } from '../errors.js';
import type { ArchiveOptions } from '../launch/store-archives.js';
import type { StorePlaces } from '../launch/store-lock.js';
import { cannotRead, checkReadable } from '../stack/store.js';
import type { Arguments, Command, Terminal } from './command.js';
import { requireRoot } from './common-arguments.js';
import { ProgressLine } from './common-progress.js';
import { printable } from './common-table.js';

/** What a verb is called with. */
export interface Call {
  readonly places: StorePlaces;
  readonly words: readonly string[];
  readonly args: Arguments;
  readonly terminal: Terminal;
}

export interface Verb {
  /** Names of its arguments; one in brackets may be left out. */
  readonly takes: string;
  readonly options?: readonly string[];
  /** It changes nothing, and anyone may; `store`: who may read that. */
  readonly reads?: true | 'store';
  /** Its 1 is an answer: what fails is 2. */
  readonly asks?: true;
  /** Returns the exit code; 0 unless it does. */
  run(call: Call): Promise<number | undefined> | number | undefined;
}

/** In the order of the usage. */
export type Verbs = Readonly<Record<string, Verb>>;

/** The usage lines; of the options that take a value, with its name. */
export const verbUsage = (verbs: Verbs, values: Readonly<Record<string, string>> = {}): string[] =>
  Object.entries(verbs).map(([name, { takes, options = [] }]) => {
    const shown = options.map((option) => `[--${[option, values[option]].filter(Boolean).join(' ')}]`);
    return [name, takes, ...shown].filter(Boolean).join(' ');
  });

/**
 * Does what the first word says.
 * @throws UserError for a verb that there is not, or that is called otherwise than it says
 */
export async function runVerb(
  command: Command,
  verbs: Verbs,
  args: Arguments,
  terminal: Terminal,
): Promise<number> {
  const [name, ...words] = args.positionals;
  const todo = `see ${command.name} --help`;
  if (name === undefined) throw new UserError({ what: 'no command given', todo });
  const verb = Object.hasOwn(verbs, name) ? verbs[name] : undefined;
  if (!verb) throw new UserError({ what: `unknown command ${printable(name)}`, todo });
  checkArguments(command, name, verb, { words, args });
  if (!verb.reads) requireRoot(terminal);
  const call = { places: placesOf(terminal), words, args, terminal };
  try {
    if (verb.reads !== true) checkReadable(call.places.wafers);
    return (await verb.run(call)) ?? EXIT.ok;
  } catch (error) {
    throw asOurs(error, call, verb);
  }
}

/** Errors with the words and the exit codes of commands of the store. */
function asOurs(error: unknown, { places: { wafers } }: Call, { asks }: Verb): unknown {
  if (!(error instanceof Error)) return error;
  const { path = '' } = error as NodeJS.ErrnoException;
  const told = path.startsWith(wafers) && errnoOf(error) === 'EACCES' ? cannotRead(path, error) : error;
  if (asks) return new UserError({ what: told.message, cause: told });
  // The codes of the command wafers are its own: here the name was a good one, and the store is not.
  return told.name === 'WaferError' ? new Failure({ what: told.message, cause: told }) : told;
}

/** Set but empty means the default. */
const placesOf = ({ env, cwd, warn }: Terminal): StorePlaces => ({
  wafers: resolve(cwd, env.WAFERS || '/var/lib/wafers'),
  stacks: resolve(cwd, env.STACKS || '/var/lib/machines'),
  onWait: (holder) => warn(`waiting for ${holder}`),
});

function checkArguments(
  command: Command,
  name: string,
  { takes, options = [] }: Verb,
  { words, args }: Pick<Call, 'words' | 'args'>,
): void {
  const names = takes.split(' ').filter(Boolean);
  const todo = `${command.name} ${[name, ...names].join(' ')}`;
  const missing = names[words.length];
  if (missing !== undefined && !missing.startsWith('['))
    throw new UserError({ what: `${name}: no ${missing} given`, todo });
  if (words.length > names.length)
    throw new UserError({ what: `${name}: too many arguments: ${printable(words.at(-1) ?? '')}`, todo });
  const other = command.options.find((option) => args.has(option.name) && !options.includes(option.name));
  if (other)
    throw new UserError({ what: `--${other.name} is not for ${name}`, todo: `see ${command.name} --help` });
}

/** The n-th argument of a verb; that it is there has been checked. */
export const word = ({ words }: Call, n: number): string => words[n] ?? '';

/** Prints a line, which may have names in it. */
export function tell({ terminal }: Call, line: string): undefined {
  terminal.print(printable(line));
}

/** Of what tar could not keep so many lines are shown. */
const WARNINGS_SHOWN = 5;

/** Shows how far it is, and ends it well when the caller does not want to wait. */
export async function shown<T>(
  { terminal }: Call,
  work: (options: ArchiveOptions) => Promise<T>,
): Promise<T> {
  const controller = new AbortController();
  const abort = (): void => controller.abort();
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.once(signal, abort);
  const progress = new ProgressLine(terminal);
  let warnings = 0;
  const onWarning = (what: string): void => {
    warnings++;
    if (warnings <= WARNINGS_SHOWN) terminal.warn(`warning: ${what}`);
  };
  try {
    const result = await work({
      signal: controller.signal,
      onProgress: (now) => progress.show(now),
      onWarning,
    });
    if (warnings > WARNINGS_SHOWN) terminal.warn(`${warnings - WARNINGS_SHOWN} more warnings`);
    return result;
  } finally {
    progress.clear();
    for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.off(signal, abort);
  }
}
