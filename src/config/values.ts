/** The values of a conf's variables: text to what it means. Pure; every mistake is a UserError with its place. */
import { isAbsolute, resolve } from 'node:path';
import { type Place, quoted, throwAll, UserError } from '../errors.js';
import { words } from './assignments.js';
import { CAPABILITIES, DEFAULT_CAPABILITIES } from './capabilities.js';
import { nearest } from './nearest.js';
import type { HookSpec, ShareSpec, StackSpec } from './subhost-config.js';

/** Where a value comes from, for messages. */
export interface Source {
  readonly variable: string;
  readonly at: Place | undefined;
}

function mistake({ variable, at }: Source, what: string, todo?: string): UserError {
  return new UserError({ at, what: `${variable}: ${what}`, todo });
}

/** A name that fits an interface (with a number behind it) and a path component. */
const NAME = /^[A-Za-z0-9_][A-Za-z0-9_.-]{0,11}$/;
const NAME_RULE = 'at most 12 of letters, digits, "_", "-", ".", not starting with "-" or "."';

/** Is this a name that a subhost can have? */
export const isSubhostName = (name: string): boolean => NAME.test(name);

/** @throws UserError for what no subhost can be named */
export function parseName(text: string, source: Source): string {
  if (!isSubhostName(text))
    throw mistake(source, `${quoted(text)} is no name of a subhost`, `write ${NAME_RULE}`);
  return text;
}

/** PATH_MAX of linux/limits.h, without the final NUL. */
const MAX_PATH = 4095;

/** An absolute, normalised path. */
export function absolutePath(text: string, base: string, source: Source): string {
  const path = resolve(base, text);
  if (Buffer.byteLength(path) > MAX_PATH)
    throw mistake(source, `${quoted(text)} is too long for a path`, `at most ${MAX_PATH} bytes`);
  return path;
}

/** A directory that describes a mount stack has a name that ends so, systemd.mstack(7). */
export const isMstack = (path: string): boolean => path.endsWith('.mstack');

/** STACK: a path where it has a `/` or ends in `.mstack`, else the name of a point or wafer. */
export function parseStack(text: string, base: string, source: Source): StackSpec {
  if (!text.includes('/') && !isMstack(text)) return { kind: 'named', name: text };
  const path = absolutePath(text, base, source);
  if (!isMstack(path))
    throw mistake(
      source,
      `${path} is no .mstack directory`,
      'a stack by path has a name that ends in .mstack',
    );
  return { kind: 'mstack', path };
}

/** LOWER: the layers, the top first. */
export function parseLayers(text: string, base: string, source: Source): string[] {
  const parts = text.split(':');
  if (parts.includes(''))
    throw mistake(source, `${quoted(text)} has an empty layer`, 'write one ":" between two layers');
  const layers = parts.map((part) => absolutePath(part, base, source));
  const twice = layers.find((layer, index) => layers.indexOf(layer) !== index);
  if (twice !== undefined) throw mistake(source, `layer ${twice} is given twice`, 'leave one of them out');
  const stack = layers.find(isMstack);
  if (stack !== undefined && layers.length > 1)
    throw mistake(
      source,
      `${stack}: a .mstack directory is the whole of LOWER`,
      'name it alone, or its layers',
    );
  return layers;
}

const UNITS: Readonly<Record<string, number>> = { '': 1, K: 2 ** 10, M: 2 ** 20, G: 2 ** 30 };

/** A size in bytes, positive. */
export function parseBytes(text: string, source: Source): number {
  if (/^[0-9.]+ ?%$/.test(text))
    throw mistake(
      source,
      `${quoted(text)} is a share of the memory`,
      'write a size in bytes, or with K, M or G',
    );
  const [, digits = '', unit = ''] = /^([0-9]+)([KMG]?)$/i.exec(text) ?? [];
  const bytes = Number(digits) * (UNITS[unit.toUpperCase()] ?? 1);
  if (digits === '' || bytes === 0 || !Number.isSafeInteger(bytes))
    throw mistake(
      source,
      `${quoted(text)} is no size`,
      'write a positive number of bytes, or with K, M or G: 50M',
    );
  return bytes;
}

/** RAM_SIZE: bytes, or undefined for `none`. */
export const parseRamSize = (text: string, source: Source): number | undefined =>
  text === 'none' ? undefined : parseBytes(text, source);

/** cpu.max takes no more than some 2^44 microseconds for a period; nobody has 10,000 CPUs. */
const MAX_CPU_PERCENT = 1_000_000;
/** PID_MAX_LIMIT, linux/threads.h; pids.max refuses more. */
const MAX_PIDS = 4_194_304;

/** CPU_MAX: per cent of one CPU, `150%` or `150`. */
export function parsePercent(text: string, source: Source): number {
  const percent = /^[0-9]+%?$/.test(text) ? Number.parseInt(text, 10) : 0;
  if (percent < 1 || percent > MAX_CPU_PERCENT)
    throw mistake(
      source,
      `${quoted(text)} is no share of a CPU`,
      'write per cent of one CPU: 150% for one and a half',
    );
  return percent;
}

/** PIDS_MAX: a positive number. */
export function parseCount(text: string, source: Source): number {
  const count = /^[0-9]+$/.test(text) ? Number(text) : 0;
  if (count < 1 || count > MAX_PIDS)
    throw mistake(
      source,
      `${quoted(text)} is no number of processes`,
      `write a number from 1 to ${MAX_PIDS}`,
    );
  return count;
}

/** START: services in order; none for `none`. */
export function parseServices(text: string, source: Source): string[] {
  const services = words(text);
  if (services.length === 1 && services[0] === 'none') return [];
  const mistakes = services.flatMap((word) => {
    if (word === 'none') return [mistake(source, '"none" beside services', 'write none alone')];
    return isService(word)
      ? []
      : [
          mistake(
            source,
            `${quoted(word)} is no service`,
            'write a service name of letters, digits and . _ - + @ : or an absolute path',
          ),
        ];
  });
  throwAll(mistakes);
  return services;
}

/** The start script hands these words to a shell: nothing in them means anything to it. */
function isService(word: string): boolean {
  if (word.startsWith('/')) return /^(\/[A-Za-z0-9._+@:-]+)+$/.test(word) && resolve(word) === word;
  return /^[A-Za-z0-9_][A-Za-z0-9._+@:-]*$/.test(word);
}

/** PREMOUNT, POSTMOUNT, INIT: split at blanks as the original does; `+` means after the built-in action. */
export function parseHook(text: string, base: string, source: Source): HookSpec {
  const after = text.startsWith('+');
  const [program, ...rest] = words(after ? text.slice(1) : text);
  if (program === undefined)
    throw mistake(source, 'no command after "+"', 'write a command, or leave the variable out');
  return { argv: [absolutePath(program, base, source), ...rest], after };
}

/** SHARE: the first `:` splits host path and subhost path; without one the target is the same path inside. */
export function parseShare(text: string, base: string, source: Source): ShareSpec {
  const colon = text.indexOf(':');
  const [left, right] = colon < 0 ? [text, undefined] : [text.slice(0, colon), text.slice(colon + 1)];
  if (left === '')
    throw mistake(source, `${quoted(text)} has no host path`, 'write SHARE=HOSTPATH:SUBHOSTPATH');
  if (right === '')
    throw mistake(
      source,
      `${quoted(text)} has nothing after the ":"`,
      'leave the ":" out for the same path inside',
    );
  if (right !== undefined && !isAbsolute(right))
    throw mistake(
      source,
      `subhost path ${quoted(right)} is not absolute`,
      `write it from the subhost's root: /${quoted(right).slice(1, -1)}`,
    );
  const host = absolutePath(left, base, source);
  const inside = right === undefined ? host : absolutePath(right, '/', source);
  if (inside === '/')
    throw mistake(
      source,
      `${quoted(text)} would hide the whole root of the subhost`,
      'give a subhost path below /',
    );
  return { host, inside };
}

/** CAPS: the default set changed by `+NAME` and `-NAME`, in the kernel's order; undefined for `all`. */
export function parseCapabilities(text: string, source: Source): string[] | undefined {
  const changes = words(text);
  if (changes.length === 1 && changes[0]?.toLowerCase() === 'all') return undefined;
  const kept = new Set(DEFAULT_CAPABILITIES);
  const mistakes: Error[] = [];
  for (const word of changes) {
    const name = word.replace(/^[+-]/, '').replace(/^CAP_/i, '').toUpperCase();
    if (name === 'ALL')
      mistakes.push(mistake(source, `${quoted(word)} beside others or with a sign`, 'write all alone'));
    else if (!CAPABILITIES.includes(name))
      mistakes.push(
        mistake(
          source,
          `unknown capability ${quoted(word)}`,
          `the nearest known one is ${nearest(name, CAPABILITIES)}`,
        ),
      );
    else if (word.startsWith('+')) kept.add(name);
    else if (word.startsWith('-')) kept.delete(name);
    else
      mistakes.push(
        mistake(
          source,
          `${quoted(word)} has no sign`,
          `write +${name} to add it or -${name} to take it away`,
        ),
      );
  }
  throwAll(mistakes);
  return CAPABILITIES.filter((name) => kept.has(name));
}
