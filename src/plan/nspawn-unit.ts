/** The units of systemd that boxes with ENGINE=nspawn run in, and the programs that are run for them. Pure. */
import { join } from 'node:path';
import type { Limits, ShareSpec } from '../config/subhost-config.js';
import type { CableSpec } from '../net/cable.js';

/** The unit that a box runs in. */
export const boxUnit = (name: string): string => `box@${name}.service`;

/** The unit that a box is configured in. */
export const configureUnit = (name: string): string => `box-configure@${name}.service`;

/** What the names of these units are made of; undefined for any other. */
export function parseBoxUnit(
  unit: string,
): { readonly name: string; readonly configuring: boolean } | undefined {
  const [, configuring, name] = /^box(-configure)?@([^@]+)\.service$/.exec(unit) ?? [];
  return name === undefined ? undefined : { name, configuring: configuring !== undefined };
}

/** What of a box its unit is made of. */
export interface NspawnBox {
  readonly name: string;
  /** Where its point is mounted. */
  readonly root: string;
  /** Mounts it there; the words of a program. */
  readonly mount: readonly string[];
  readonly environment: Readonly<Record<string, string>>;
  readonly cables: readonly CableSpec[];
  readonly shares: readonly ShareSpec[];
  readonly limits: Limits;
}

/** As many processes and threads as systemd-nspawn@.service gives to a container that nothing is said of. */
const TASKS_MAX = 16_384;

/** A mount that systemd-nspawn leaves when it is killed, and with which it would not start again. */
const UNIX_EXPORT = '/run/systemd/nspawn/unix-export';

/**
 * What both units have in common. The root is mounted for as long as the unit runs, also when the container reboots,
 * which is another start of the unit (status 133, systemd-nspawn(1) on --keep-unit).
 */
function unitOptions({ name, root, mount, environment, limits }: NspawnBox, unit: string): string[] {
  const { memoryMaxBytes, cpuMaxPercent, pidsMax } = limits;
  const properties = [
    // As subhosts@.service: the box goes down before what it lies on and what it is wired to.
    ...['network', 'local-fs', 'remote-fs'].map((target) => `After=${target}.target`),
    'Delegate=yes',
    'KillMode=mixed',
    // As in systemd-nspawn@.service, but for what images in files and blocks would need.
    'DevicePolicy=closed',
    'DeviceAllow=/dev/net/tun rwm',
    'DeviceAllow=char-pts rw',
    'DeviceAllow=/dev/fuse rwm',
    'SyslogIdentifier=systemd-nspawn',
    ...Object.entries(environment).map(([name, value]) => `Environment=${inQuotes(`${name}=${value}`)}`),
    // Without its words: the last of the unit tell why it did not start, and those of a shell are the shell's.
    `ExecStartPre=${shellScript(`exec ${mount.map(shellWord).join(' ')} >/dev/null`)}`,
    `ExecStopPost=-${shellScript(clear([root, join(UNIX_EXPORT, name)]))}`,
    `TasksMax=${pidsMax ?? TASKS_MAX}`,
    ...(memoryMaxBytes === undefined ? [] : [`MemoryMax=${memoryMaxBytes}`]),
    ...(cpuMaxPercent === undefined ? [] : [`CPUQuota=${cpuMaxPercent}%`]),
  ];
  return [
    ...['systemd-run', '--collect', `--unit=${unit}`, '--slice=machine.slice'],
    ...properties.map((property) => `--property=${property}`),
  ];
}

const inQuotes = (text: string): string => `"${text.replaceAll('\\', '\\\\').replaceAll('"', '\\"')}"`;

const shellWord = (word: string): string => `'${word.replaceAll("'", `'\\''`)}'`;

const clear = (paths: readonly string[]): string =>
  ['exec 2>/dev/null', ...paths.map(shellWord).flatMap((path) => [`umount ${path}`, `rmdir ${path}`])].join(
    '; ',
  );

/**
 * Without variables of systemd's (the colon, systemd.service(5)) and of the shell's own: when systemd reads its units again,
 * each `$` in the command line of one that was made while it runs becomes two.
 */
const shellScript = (script: string): string => `:${['/bin/sh', '-c', script].map(inQuotes).join(' ')}`;

/** In the command of a unit a `$` is a variable, also in one that is given by words. systemd.service(5) */
const withoutVariables = (word: string): string => word.replaceAll('$', '$$$$');

/** Started where its root is mounted: who unmounts that is told who has it. */
const nspawn = ({ root }: NspawnBox, options: readonly string[]): string[] =>
  [
    ...['env', `--chdir=${root}`, 'systemd-nspawn', '--quiet', '--keep-unit', `--directory=${root}`],
    ...options,
  ].map(withoutVariables);

/** So much later than boxctl(8) does systemd end a start, in case that was killed. */
const AFTER_US_MS = 10_000;

/**
 * The program that starts a box in a unit of its own, and ends when it is ready.
 * @param timeoutMs  for that; 0 is no limit
 */
export function startArguments(box: NspawnBox, timeoutMs: number): string[] {
  const { name, cables, shares } = box;
  return [
    ...unitOptions(box, boxUnit(name)),
    ...[`--description=Box ${name}`, '--service-type=notify'],
    `--property=TimeoutStartSec=${timeoutMs === 0 ? 'infinity' : `${timeoutMs + AFTER_US_MS}ms`}`,
    ...['--property=SuccessExitStatus=133', '--property=RestartForceExitStatus=133'],
    ...nspawn(box, [
      ...['--boot', '--notify-ready=yes', '--link-journal=try-guest', `--machine=${name}`],
      // NAME.nspawn of the administrator's holds before what is said here, as with machinectl start.
      ...['--settings=override', networkOption(cables)],
      ...shares.map(({ host, inside }) => `--bind=${[host, inside].map(bindPath).join(':')}`),
    ]),
  ];
}

/** systemd-nspawn(1), --bind: a colon in a path has a backslash before it. */
const bindPath = (path: string): string => path.replace(/[\\:]/g, '\\$&');

/** Without a cable it has a network of its own with nothing in it, as a subhost has. */
function networkOption([cable]: readonly CableSpec[]): string {
  if (!cable) return '--private-network';
  return cable.bridge === undefined ? '--network-veth' : `--network-bridge=${cable.bridge}`;
}

/** The cable as systemd-nspawn makes it: its names of the two ends are others. */
export const nspawnCables = (name: string, cables: readonly CableSpec[]): CableSpec[] =>
  cables.slice(0, 1).map(({ bridge }) => ({
    kind: 'veth',
    host: `${bridge === undefined ? 've' : 'vb'}-${name}`,
    inside: 'host0',
    ...(bridge !== undefined && { bridge }),
  }));

/** bash(1) where there is one. */
const LOGIN_SHELL = ['/bin/sh', '-c', '[ -x /bin/bash ] && exec /bin/bash -l; exec /bin/sh -l'] as const;

/** A terminal of its own where the caller has one, else pipes; the exit status is the shell's. */
const attachedOptions = (term: string): string[] => [
  ...['--wait', '--pty', '--pipe', '--service-type=exec', `--setenv=TERM=${term}`],
];

/** The program that is a shell in a box without its being booted. */
export const configureArguments = (box: NspawnBox, term: string): string[] => [
  ...unitOptions(box, configureUnit(box.name)),
  ...[`--description=Box ${box.name}, configured`, '--quiet', ...attachedOptions(term)],
  ...nspawn(box, [
    ...['--register=no', '--console=autopipe', '--settings=no', '--private-network', '--link-journal=no'],
    ...[`--machine=${box.name}`, `--setenv=TERM=${term}`, ...LOGIN_SHELL],
  ]),
];

/** The program that is a login shell in a box that runs; its own systemd starts it. */
export const loginArguments = (name: string, term: string): string[] => [
  ...['systemd-run', `--machine=${name}`, '--quiet', '--collect', ...attachedOptions(term)],
  ...['--uid=root', '--property=WorkingDirectory=~', ...LOGIN_SHELL],
];
