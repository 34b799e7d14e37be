/** A conf as `--check --json` prints it: every variable by its name, in the table's order. */
import { dirname } from 'node:path';
import type { CableSpec } from '../net/cable.js';
import { asWritten, type ParsedConf } from './assignments.js';
import { resolveWhole } from './resolve.js';
import type { Settings } from './settings.js';
import type { HookSpec, SubhostConfig } from './subhost-config.js';
import { type VariableName, variableOf } from './variables.js';

export type Description = Readonly<Record<VariableName, DescribedValue>>;

/** null: none, no limit, or built in. */
export type DescribedValue =
  | string
  | number
  | null
  | readonly string[]
  | readonly (readonly [string, string])[];

/**
 * Every variable, resolved: paths absolute, sizes in bytes, CPU_MAX in per cent; CABLES and START by word, LOWER as in
 * the environment of a hook, SHARE as [host path, subhost path].
 */
export function describeConfig(config: SubhostConfig): Description {
  return {
    NAME: config.name,
    BASE: config.base,
    CABLES: config.cables.map(cableWord),
    LIVE: config.live,
    UPPER: config.upper,
    WORK: config.work,
    LOWER: config.lower.join(':'),
    STACK: config.stack ? (config.stack.kind === 'mstack' ? config.stack.path : config.stack.name) : null,
    START: config.start,
    INIT: hookText(config.init),
    PREMOUNT: hookText(config.premount),
    POSTMOUNT: hookText(config.postmount),
    RAM_SIZE: config.ramSizeBytes ?? null,
    LOG: config.log,
    SHARE: config.shares.map(({ host, inside }) => [host, inside] as const),
    CAPS: config.caps ?? 'all',
    MEMORY_MAX: config.limits.memoryMaxBytes ?? null,
    CPU_MAX: config.limits.cpuMaxPercent ?? null,
    PIDS_MAX: config.limits.pidsMax ?? null,
    ENGINE: config.engine,
  };
}

const cableWord = (cable: CableSpec): string =>
  `${cable.bridge ?? ''}=${cable.kind === 'vlan' ? `.${cable.vlanId}` : (cable.mac ?? '')}`;

const hookText = (hook: HookSpec | undefined): string | null =>
  hook ? `${hook.after ? '+ ' : ''}${hook.argv.join(' ')}` : null;

/**
 * As describeConfig(), with no command run: a value that comes from one is shown as it is written, `!` and all. Where
 * BASE is one, so are the values that depend on it.
 * @throws UserError, or an ErrorList of the mistakes in the other values
 */
export async function describeUnevaluated(
  parsed: ParsedConf,
  conf: string,
  settings: Settings,
): Promise<Description> {
  const commands = parsed.assignments.filter(({ command }) => command);
  const asShown = Object.fromEntries(commands.map((assignment) => [assignment.name, asWritten(assignment)]));
  const runNone = async (): Promise<string> => '';
  const resolved = describeConfig(await resolveWhole(withoutCommands(parsed, conf), conf, settings, runNone));
  const unknownBase = 'BASE' in asShown ? relativeAsWritten(parsed) : {};
  return { ...resolved, ...unknownBase, ...asShown };
}

/** The conf without its commands, with stand-ins for the values that others are made of. */
function withoutCommands(parsed: ParsedConf, conf: string): ParsedConf {
  const standIns: Partial<Record<VariableName, string>> = {
    BASE: dirname(conf),
    NAME: 'NAME',
    STACK: 'STACK',
  };
  const assignments = parsed.assignments.flatMap((assignment) => {
    const value = assignment.command ? standIns[assignment.name] : assignment.value;
    return value === undefined ? [] : { ...assignment, value, command: false };
  });
  return { ...parsed, assignments };
}

/** Variables with paths that are relative to a BASE that nobody knows yet. */
const PATH_KINDS: ReadonlySet<string> = new Set(['path', 'layers', 'hook']);

function relativeAsWritten(parsed: ParsedConf): Partial<Record<VariableName, DescribedValue>> {
  const shares = parsed.assignments.filter(({ name, value }) => name === 'SHARE' && value !== '');
  const paths: VariableName[] = ['LIVE', 'UPPER', 'WORK', 'LOWER'];
  const given = parsed.assignments.filter(
    ({ name, value }) => value !== '' && PATH_KINDS.has(variableOf(name)?.kind ?? ''),
  );
  return {
    ...Object.fromEntries(paths.map((name) => [name, variableOf(name)?.fallback ?? null])),
    ...Object.fromEntries(given.map((assignment) => [assignment.name, asWritten(assignment)])),
    SHARE: shares.map(({ value }) => {
      const colon = value.indexOf(':');
      return colon < 0
        ? ([value, value] as const)
        : ([value.slice(0, colon), value.slice(colon + 1)] as const);
    }),
  };
}
