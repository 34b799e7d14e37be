/** Assignments to a SubhostConfig: defaults, paths from BASE, `!command` values by a run() that is handed in. */
import { basename, dirname, join } from 'node:path';
import { ErrorList, type Place, quoted, throwAll, UserError } from '../errors.js';
import { parseCables } from '../net/cable.js';
import { type Assignment, asWritten, type ParsedConf } from './assignments.js';
import type { Settings } from './settings.js';
import type { Engine, Identity, Limits, StackSpec, SubhostConfig } from './subhost-config.js';
import {
  absolutePath,
  isSubhostName,
  parseBytes,
  parseCapabilities,
  parseCount,
  parseHook,
  parseLayers,
  parseName,
  parsePercent,
  parseRamSize,
  parseServices,
  parseShare,
  parseStack,
  type Source,
} from './values.js';
import { VARIABLE_NAMES, type VariableName, variableOf } from './variables.js';

export interface CommandRequest {
  readonly variable: VariableName;
  /** For /bin/sh -c, without the `!`. */
  readonly command: string;
  /** BASE; for BASE's own command the conf's directory. */
  readonly cwd: string;
  readonly at: Place;
  /** NAME, once it is known: not for the commands of BASE and NAME. */
  readonly name?: string;
}

/** The first line the command prints, trimmed; throws UserError for a non-zero exit or no output. */
export type RunCommand = (request: CommandRequest) => Promise<string>;

/** A value as found: its text, or the error of the command that should have printed it. */
type Found = { readonly at: Place; readonly text: string } | { readonly at: Place; readonly error: unknown };

/** The variables whose values come from commands: `--check` and the checks before a boot do not look for them. */
export const variablesFromCommands = (parsed: ParsedConf): ReadonlySet<VariableName> =>
  new Set(parsed.assignments.filter(({ command }) => command).map(({ name }) => name));

/**
 * BASE and NAME: what has to be known before the lock can be taken.
 * @param conf  absolute path of the conf, without symbolic links
 * @throws UserError, or an ErrorList of all mistakes
 */
export async function identify(parsed: ParsedConf, conf: string, run: RunCommand): Promise<Identity> {
  const confDir = dirname(conf);
  const baseFound = await find(parsed, 'BASE', confDir, run);
  const base = attempt(() => baseOf(parsed, baseFound, confDir));
  // NAME's command runs in BASE; where there is none, its mistake is the one to tell.
  const nameFound =
    base.errors.length === 0 ? await find(parsed, 'NAME', base.result, run) : literal(parsed, 'NAME');
  const name = attempt(() => nameOf(parsed, nameFound, conf));
  throwAll([...base.errors, ...name.errors]);
  return { conf, name: name.result, base: base.result };
}

function baseOf(parsed: ParsedConf, found: Found | undefined, confDir: string): string {
  if (!found)
    throw new UserError({
      what: `${parsed.file}: BASE is missing`,
      todo: 'write BASE=. for the directory of the conf',
    });
  return absolutePath(textOf('BASE', found), confDir, { variable: 'BASE', at: found.at });
}

function nameOf(parsed: ParsedConf, found: Found | undefined, conf: string): string {
  if (found) return parseName(textOf('NAME', found), { variable: 'NAME', at: found.at });
  const name = basename(conf, '.conf');
  // `basename` keeps the suffix of a file that is named only `.conf`.
  if (isSubhostName(name)) return name;
  const add = 'add a line NAME= with at most 12 of letters, digits, "_", "-", "."';
  throw new UserError({ what: `${parsed.file}: the file's name gives no NAME`, todo: add });
}

/**
 * All values of a conf. Each `!command` runs once, one after the other, in the order of the variables' table.
 * @throws UserError, or an ErrorList of all mistakes of the conf but those of BASE and NAME
 */
export async function resolveConfig(
  parsed: ParsedConf,
  identity: Identity,
  settings: Settings,
  run: RunCommand,
): Promise<SubhostConfig> {
  const found = new Map<VariableName, Found>();
  const runNamed: RunCommand = (request) => run({ ...request, name: identity.name });
  for (const name of VARIABLE_NAMES) {
    if (notFound.has(name)) continue;
    const value = await find(parsed, name, identity.base, runNamed);
    if (value) found.set(name, value);
  }
  return interpret(parsed, found, identity, settings);
}

/** Read otherwise: by identify(), several times, or not at all. */
const notFound: ReadonlySet<VariableName> = new Set<VariableName>(['NAME', 'BASE', 'SHARE', 'ENGINE']);

/**
 * As resolveConfig(), with no command run: a variable that has one gets its default. For what is checked before
 * anything is touched, and for `--no-eval`.
 */
export function resolveLiterals(parsed: ParsedConf, identity: Identity, settings: Settings): SubhostConfig {
  const found = new Map<VariableName, Found>();
  for (const name of VARIABLE_NAMES) {
    const value = notFound.has(name) ? undefined : literal(parsed, name);
    if (value) found.set(name, value);
  }
  return interpret(parsed, found, identity, settings);
}

/**
 * identify() and resolveConfig() in one, for `--check`: with a mistake in BASE or NAME, those of the other values are
 * found too, as far as no command is needed for it.
 * @throws UserError, or an ErrorList of all mistakes
 */
export async function resolveWhole(
  parsed: ParsedConf,
  conf: string,
  settings: Settings,
  run: RunCommand,
): Promise<SubhostConfig> {
  let identity: Identity;
  try {
    identity = await identify(parsed, conf, run);
  } catch (error) {
    // One letter: a name that makes no interface name too long.
    const rest = attempt(() => resolveLiterals(parsed, { conf, name: 'x', base: dirname(conf) }, settings));
    throwAll([...errorsIn(error), ...rest.errors]);
    throw error;
  }
  return resolveConfig(parsed, identity, settings, run);
}

async function find(
  parsed: ParsedConf,
  name: VariableName,
  cwd: string,
  run: RunCommand,
): Promise<Found | undefined> {
  const assignment = parsed.assignments.find((one) => one.name === name);
  if (!assignment?.command) return literal(parsed, name);
  const at = placeOf(assignment);
  try {
    return {
      at,
      text: await run({ variable: name, command: textOf(name, { at, text: assignment.value }), cwd, at }),
    };
  } catch (error) {
    return { at, error };
  }
}

/** A value that is no command; an empty one means the default. */
function literal(parsed: ParsedConf, name: VariableName): Found | undefined {
  const assignment = parsed.assignments.find((one) => one.name === name);
  if (!assignment || assignment.command || assignment.value === '') return undefined;
  return { at: placeOf(assignment), text: assignment.value };
}

const placeOf = ({ file, line }: Assignment): Place => ({ file, line });

function textOf(name: VariableName, found: Found): string {
  if ('error' in found) throw found.error;
  // No path, program argument or file of the kernel can hold one.
  if (found.text.includes('\0'))
    throw new UserError({ at: found.at, what: `${name}: a NUL byte in the value`, todo: 'take it out' });
  return found.text;
}

function interpret(
  parsed: ParsedConf,
  found: ReadonlyMap<VariableName, Found>,
  identity: Identity,
  settings: Settings,
): SubhostConfig {
  const { base, name } = identity;
  /** The value of a variable, its default where none is given, undefined where there is no default text. */
  const value = <T>(variable: VariableName, parse: (text: string, source: Source) => T): T | undefined => {
    const given = found.get(variable);
    const text = given ? textOf(variable, given) : variableOf(variable)?.fallback;
    return text === undefined ? undefined : parse(text, { variable, at: given?.at });
  };
  const path = (variable: VariableName) => () =>
    value(variable, (text, source) => absolutePath(text, base, source)) ?? '';
  const hook = (variable: VariableName) => () =>
    value(variable, (text, source) => parseHook(text, base, source));
  const read = readAll({
    cables: () => value('CABLES', (text, { at }) => parseCables(text, name, at)) ?? [],
    live: path('LIVE'),
    upper: path('UPPER'),
    work: path('WORK'),
    lower: () => value('LOWER', (text, source) => parseLayers(text, base, source)) ?? [],
    stack: () => stackOf(found, base),
    start: () => value('START', parseServices) ?? [],
    init: hook('INIT'),
    premount: hook('PREMOUNT'),
    postmount: hook('POSTMOUNT'),
    ramSizeBytes: () => value('RAM_SIZE', parseRamSize),
    log: () =>
      value('LOG', (text, source) => absolutePath(text, base, source)) ??
      join(settings.logDir, `${name}.log`),
    shares: () => sharesOf(parsed, base),
    caps: () =>
      found.has('CAPS')
        ? value('CAPS', parseCapabilities)
        : parseCapabilities('', { variable: 'CAPS', at: undefined }),
    memoryMaxBytes: () => value('MEMORY_MAX', parseBytes),
    cpuMaxPercent: () => value('CPU_MAX', parsePercent),
    pidsMax: () => value('PIDS_MAX', parseCount),
    engine: () => engineOf(parsed),
  });
  const { memoryMaxBytes, cpuMaxPercent, pidsMax, ...rest } = read;
  const limits: Limits = withoutUndefined({ memoryMaxBytes, cpuMaxPercent, pidsMax });
  const own = read.stack ? { ...rest, upper: '', work: '', lower: [] } : rest;
  return { ...identity, ...withoutUndefined(own), startIsDefault: !found.has('START'), limits };
}

/** ENGINE, which takes no command: it says who runs commands. @throws UserError */
export function engineOf(parsed: ParsedConf): Engine {
  const assignment = parsed.assignments.find(({ name }) => name === 'ENGINE');
  const text = assignment && asWritten(assignment);
  if (!text || text === 'subhost') return 'subhost';
  if (text === 'nspawn') return text;
  throw new UserError({
    at: placeOf(assignment),
    what: `ENGINE: ${quoted(text)} is no engine`,
    todo: 'write subhost or nspawn',
  });
}

/** STACK is the whole root: what else would make one beside it is a mistake. */
function stackOf(found: ReadonlyMap<VariableName, Found>, base: string): StackSpec | undefined {
  const given = found.get('STACK');
  if (!given) return undefined;
  const others = (['LOWER', 'UPPER', 'WORK'] as const).filter((name) => found.has(name));
  if (others.length > 0)
    throw new UserError({
      at: given.at,
      what: `STACK is the whole root, and ${others.join(', ')} is given too`,
      todo: 'leave one out',
    });
  return parseStack(textOf('STACK', given), base, { variable: 'STACK', at: given.at });
}

function sharesOf(parsed: ParsedConf, base: string): SubhostConfig['shares'] {
  const lineOfTarget = new Map<string, number>();
  const given = parsed.assignments.filter((one) => one.name === 'SHARE' && one.value !== '');
  const { results, errors } = attemptEach(given, (one) => {
    const at = placeOf(one);
    const share = parseShare(textOf('SHARE', { at, text: one.value }), base, { variable: 'SHARE', at });
    const before = lineOfTarget.get(share.inside);
    const todo = 'each would hide the other: leave one of them out';
    if (before !== undefined)
      throw new UserError({ at, what: `SHARE: ${share.inside} is the target of line ${before} too`, todo });
    lineOfTarget.set(share.inside, one.line);
    return share;
  });
  throwAll(errors);
  return results;
}

type Defined<T> = { [K in keyof T as undefined extends T[K] ? never : K]: T[K] } & {
  [K in keyof T as undefined extends T[K] ? K : never]?: Exclude<T[K], undefined>;
};

/** An optional property is there or not; it is never undefined, in JSON as in the types. */
const withoutUndefined = <T extends object>(object: T): Defined<T> =>
  Object.fromEntries(Object.entries(object).filter(([, value]) => value !== undefined)) as Defined<T>;

/** Calls all readers, and throws the mistakes of all of them together. */
function readAll<T extends Record<string, () => unknown>>(readers: T): { [K in keyof T]: ReturnType<T[K]> } {
  const { results, errors } = attemptEach(Object.entries(readers), ([key, read]) => [key, read()] as const);
  throwAll(errors);
  return Object.fromEntries(results) as { [K in keyof T]: ReturnType<T[K]> };
}

function attemptEach<T, R>(items: readonly T[], act: (item: T) => R): { results: R[]; errors: Error[] } {
  const results: R[] = [];
  const errors: Error[] = [];
  for (const item of items) {
    try {
      results.push(act(item));
    } catch (error) {
      errors.push(...errorsIn(error));
    }
  }
  return { results, errors };
}

/** The result, or the errors; with errors the result is the empty string, which is then not used. */
function attempt<R>(act: () => R): { result: R | ''; errors: Error[] } {
  const { results, errors } = attemptEach([undefined], act);
  return { result: results[0] ?? '', errors };
}

function errorsIn(error: unknown): readonly Error[] {
  if (error instanceof ErrorList) return error.errors;
  if (error instanceof Error) return [error];
  throw error;
}
