/** Host-wide settings: their defaults, and what the files of /etc/overlay-boot/conf.d change of them. */
import { readdirSync } from 'node:fs';
import { isAbsolute, join, normalize } from 'node:path';
import { errnoOf, quoted, throwAll, UserError } from '../errors.js';
import { nearest } from './nearest.js';
import type { IniFile, IniValue } from './settings-file.js';
import { readTrusted, type TrustOptions } from './trust.js';

export interface Settings {
  /** Directory of the subhosts' records. */
  readonly runDir: string;
  /** Directory of the logs, where LOG names none. */
  readonly logDir: string;
  /** The list of the confs that start with the host. */
  readonly subhosts: string;
  /** Directory of the confs of boxes. */
  readonly boxes: string;
  /** For a boot in all; 0 is no limit. */
  readonly bootTimeoutMs: number;
  /** For stopping one service; 0 is no limit. */
  readonly serviceTimeoutMs: number;
  /** Between SIGTERM and SIGKILL. */
  readonly graceMs: number;
}

export const SETTINGS_DIRECTORY = '/etc/overlay-boot/conf.d';

export const DEFAULT_SETTINGS: Settings = {
  runDir: '/run/overlay-boot',
  logDir: '/var/log/overlay-boot',
  subhosts: '/etc/subhosts.conf',
  boxes: '/etc/overlay-boot/boxes',
  bootTimeoutMs: 120_000,
  serviceTimeoutMs: 30_000,
  graceMs: 5_000,
};

type Change = (text: string) => Partial<Settings> | undefined;

/** A reader per key; undefined from it means a bad value. */
const SECTIONS: Readonly<
  Record<string, { readonly form: string; readonly keys: Readonly<Record<string, Change>> }>
> = {
  paths: {
    form: 'write an absolute path',
    keys: {
      run: pathReader((runDir) => ({ runDir })),
      log: pathReader((logDir) => ({ logDir })),
      subhosts: pathReader((subhosts) => ({ subhosts })),
      boxes: pathReader((boxes) => ({ boxes })),
    },
  },
  timeouts: {
    form: 'write a number of seconds',
    keys: {
      boot: secondsReader((bootTimeoutMs) => ({ bootTimeoutMs })),
      service: secondsReader((serviceTimeoutMs) => ({ serviceTimeoutMs })),
      grace: secondsReader((graceMs) => ({ graceMs })),
    },
  },
};

function pathReader(change: (path: string) => Partial<Settings>): Change {
  // A slash at the end would make another name of the same directory.
  return (text) =>
    isAbsolute(text) && !text.includes('\0') ? change(normalize(text).replace(/(?<=.)\/$/, '')) : undefined;
}

function secondsReader(change: (ms: number) => Partial<Settings>): Change {
  // Node's timers hold 2^31 ms; seven digits stay below.
  return (text) =>
    /^[0-9]{1,6}(\.[0-9]{1,3})?$/.test(text) ? change(Math.round(Number(text) * 1000)) : undefined;
}

/**
 * The settings of this host: the files DIR/*.conf in the order of their names, a later one wins.
 * @param dir  may be missing; without a file in it the package for such files is not even loaded
 * @throws UserError (ErrorList for several) for a file that is not trusted, an unknown section or key, a bad value
 */
export async function loadSettings(dir: string, options: Pick<TrustOptions, 'uid'> = {}): Promise<Settings> {
  const { settings, errors } = await readSettings(dir, options);
  throwAll(errors);
  return settings;
}

/** The same for what has to go on: what is right of the settings, and what {@link loadSettings} would throw. */
export async function readSettings(
  dir: string,
  { uid = 0 }: Pick<TrustOptions, 'uid'> = {},
): Promise<{ readonly settings: Settings; readonly errors: readonly Error[] }> {
  const files = settingsFiles(dir);
  if (files.length === 0) return { settings: DEFAULT_SETTINGS, errors: [] };
  const { parseIni } = await import('../config/settings-file.js');
  const errors: Error[] = [];
  let settings = DEFAULT_SETTINGS;
  for (const file of files)
    try {
      const { text } = readTrusted(file, { uid });
      settings = { ...settings, ...settingsOf(file, parseIni(text), errors) };
    } catch (error) {
      if (!(error instanceof Error)) throw error;
      errors.push(error);
    }
  return { settings, errors };
}

/** Synchronously: loading node:fs/promises takes longer than all else here. */
function settingsFiles(dir: string): string[] {
  try {
    return readdirSync(dir)
      .filter((name) => name.endsWith('.conf') && !name.startsWith('.'))
      .sort()
      .map((name) => join(dir, name));
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return [];
    throw error;
  }
}

/** What one file says; its mistakes are added to `errors`. */
function settingsOf(file: string, ini: IniFile, errors: Error[]): Partial<Settings> {
  let changes: Partial<Settings> = {};
  for (const [title, section] of Object.entries(ini)) {
    const known = Object.hasOwn(SECTIONS, title) ? SECTIONS[title] : undefined;
    if (!isSection(section))
      errors.push(
        bad(file, `${quoted(title)} stands before the first section`, `write it below ${sectionNames()}`),
      );
    else if (!known)
      errors.push(
        bad(
          file,
          `unknown section ${quoted(title)}`,
          `the nearest known one is [${nearest(title, Object.keys(SECTIONS))}]`,
        ),
      );
    else
      for (const [key, value] of Object.entries(section)) {
        const change = Object.hasOwn(known.keys, key) ? known.keys[key] : undefined;
        const changed = typeof value === 'string' ? change?.(value) : undefined;
        if (changed) changes = { ...changes, ...changed };
        else if (change)
          errors.push(bad(file, `[${title}] ${key}: ${shown(value)} is not right`, known.form));
        else
          errors.push(
            bad(
              file,
              `[${title}] has no key ${quoted(key)}`,
              `the nearest known one is ${nearest(key, Object.keys(known.keys))}`,
            ),
          );
      }
  }
  return changes;
}

const isSection = (value: IniValue): value is { readonly [key: string]: IniValue } =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

const sectionNames = (): string =>
  Object.keys(SECTIONS)
    .map((title) => `[${title}]`)
    .join(' or ');

const shown = (value: IniValue): string => quoted(typeof value === 'string' ? value : JSON.stringify(value));

const bad = (file: string, what: string, todo: string): UserError =>
  new UserError({ what: `${file}: ${what}`, todo });
