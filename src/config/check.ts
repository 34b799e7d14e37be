/**
 * What of a conf can be looked at on the host before anything is touched: the directories, mounts, hooks and shares
 * that it names. Only reads.
 */
import { lstatSync, type Stats, statSync } from 'node:fs';
import { dirname } from 'node:path';
import { ErrorList, errnoOf, Failure, reasonOf, UserError } from '../errors.js';
import { isWithin, overlayMistakes, type RootKind, realPath, rootKind } from '../stack/root-kind.js';
import { type Mount, mountsOf } from '../sys/mountinfo.js';
import { leadsInto, linkOnTheWay } from './guarded-path.js';
import { mountIdOf, stackDepth } from './mount-facts.js';
import type { HookSpec, SubhostConfig } from './subhost-config.js';
import { assertTrusted } from './trust.js';

export interface CheckOptions {
  /** Who hooks have to belong to: root. Another one is for tests. */
  readonly uid?: number;
  /** The log directory of the settings: the boot makes it where it is missing. */
  readonly logDir?: string;
  /** What --mkdir makes is no mistake to be missing. */
  readonly willMake?: boolean;
  readonly mounts?: readonly Mount[];
  /** Directories, without symbolic links, that other subhosts can change, and whose they are. */
  readonly guarded?: ReadonlyMap<string, string>;
}

/** FILESYSTEM_MAX_STACK_DEPTH, linux/fs.h: an overlay on overlays of this depth is refused by the kernel. */
const MAX_STACK_DEPTH = 2;

interface Check {
  readonly config: SubhostConfig;
  readonly kind: RootKind;
  /** UPPER without symbolic links: what is in there the subhost can change. Undefined where it is not to be told. */
  readonly upper: string | undefined;
  /** Is the value of the variable to be looked for, or does it come from a command? */
  readonly looked: (variable: string) => boolean;
  readonly options: CheckOptions;
  readonly mounts: readonly Mount[];
  readonly mistake: (variable: string, what: string, todo?: string) => UserError;
}

/**
 * All mistakes found, none for a conf that can be booted as far as can be told.
 * @param fromCommand  variables whose values come from `!commands`: they are not looked for
 */
export function checkPaths(
  config: SubhostConfig,
  fromCommand: ReadonlySet<string>,
  options: CheckOptions = {},
): Error[] {
  const looked = (variable: string) => !fromCommand.has(variable);
  const rooted = ['UPPER', 'LOWER', 'LIVE'].every(looked);
  const check: Check = {
    config,
    // A lower layer from a command is an image as a rule; for the other two an overlay asks the most.
    kind: rooted || config.stack ? rootKind(config) : 'overlay',
    // For a subhost whose root is the host's everything is in UPPER, and nothing is left to protect.
    upper:
      !config.stack && looked('UPPER') && realPath(config.upper) !== '/' ? realPath(config.upper) : undefined,
    looked,
    options,
    mounts: options.mounts ?? mountsOf('self'),
    mistake: (variable, what, todo) => new UserError({ what: `${config.conf}: ${variable}: ${what}`, todo }),
  };
  if (config.engine !== 'subhost')
    return [check.mistake('ENGINE', 'it is a box that is no subhost', `boxctl start ${config.name}`)];
  return [
    directoryMistakes,
    overlayRules,
    liveMistakes,
    depthMistakes,
    ownRootMistakes,
    shareMistakes,
    linkMistakes,
    hookMistakes,
    logMistakes,
    confMistakes,
  ].flatMap((rule) => rule(check));
}

const MKDIR = 'make it, or boot with --mkdir';

function directoryMistakes(check: Check): Error[] {
  const { config, kind, looked } = check;
  const own: (readonly [string, string, string])[] = [
    ['BASE', config.base, 'make it'],
    ['LIVE', config.live, MKDIR],
    ...(kind === 'stack' ? [] : [['UPPER', config.upper, MKDIR] as const]),
    ...(kind === 'overlay' && looked('UPPER') ? [['WORK', config.work, MKDIR] as const] : []),
  ];
  const directories = own.filter(([variable]) => looked(variable));
  const lower = kind === 'overlay' && looked('LOWER') ? config.lower : [];
  const stack = config.stack?.kind === 'mstack' && looked('STACK') ? [config.stack.path] : [];
  return [
    ...directories.flatMap(([variable, path, todo]) => pathMistakes(check, { variable, path, todo })),
    ...lower.flatMap((path) => pathMistakes(check, { variable: 'LOWER', path, image: true })),
    ...stack.flatMap((path) => pathMistakes(check, { variable: 'STACK', path })),
  ];
}

interface Wanted {
  readonly variable: string;
  readonly path: string;
  /** What to do where it is missing. */
  readonly todo?: string | undefined;
  /** A regular file is right too. */
  readonly image?: boolean;
}

function pathMistakes(check: Check, { variable, path, todo, image = false }: Wanted): Error[] {
  const stats = statsOf(check, variable, path);
  if (stats instanceof Error) return [stats];
  const wanted = image ? 'directory or disk image' : 'directory';
  if (!stats)
    return insideMissingBase(check, path) || (check.options.willMake && todo === MKDIR)
      ? []
      : [check.mistake(variable, `${path}: there is no such ${wanted}`, todo)];
  if (stats.isDirectory() || (image && stats.isFile())) return [];
  return [check.mistake(variable, `${path}: is no ${wanted}`)];
}

/** BASE is said to be missing once, not again for everything in it. */
const insideMissingBase = ({ config }: Check, path: string): boolean =>
  path !== config.base && isWithin(path, config.base) && linkStats(config.base) === undefined;

/** The stats of a path, undefined where there is nothing, an error where it cannot be told. */
function statsOf(check: Check, variable: string, path: string): Stats | undefined | Error {
  try {
    return statSync(path);
  } catch (cause) {
    const errno = errnoOf(cause);
    if (errno === 'ENOENT' || errno === 'ENOTDIR') return undefined;
    const todo = errno === 'EACCES' ? 'be root' : undefined;
    return new Failure({
      what: `${check.config.conf}: ${variable}: ${path}: cannot be looked at: ${reasonOf(cause)}`,
      todo,
      cause,
    });
  }
}

/** What the kernel reports as a bare EINVAL, found out before the call. */
function overlayRules({ config, kind, looked, mistake }: Check): Error[] {
  if (kind !== 'overlay' || !looked('UPPER') || !looked('WORK')) return [];
  const mistakes = overlayMistakes(config);
  if (mistakes.length > 0) return mistakes;
  const [upper, work] = [mountIdOf(config.upper), mountIdOf(config.work)];
  if (upper === undefined || work === undefined || upper === work) return [];
  return [
    mistake(
      'WORK',
      `${config.work} is on another mount than UPPER, ${config.upper}`,
      'put it on the same mount',
    ),
  ];
}

function liveMistakes({ config, kind, upper, looked, mistake, mounts }: Check): Error[] {
  if (kind === 'self' || !looked('LIVE')) return [];
  if (upper !== undefined && leadsInto(config.live, upper))
    return [
      mistake('LIVE', `${config.live} is inside UPPER, which the subhost can change`, 'put it beside UPPER'),
    ];
  const live = realPath(config.live);
  if (!mounts.some(({ mountPoint }) => mountPoint === live)) return [];
  return [
    mistake(
      'LIVE',
      `${live} is a mount point already`,
      `umount ${live}, or give LIVE a directory of its own`,
    ),
  ];
}

function depthMistakes({ config, kind, looked, mistake, mounts }: Check): Error[] {
  if (kind !== 'overlay') return [];
  const layers: [string, string][] = [
    ...(looked('LOWER') ? config.lower.map((path): [string, string] => ['LOWER', path]) : []),
  ];
  // An overlay cannot hold another's upper layer at all (kernel document filesystems/overlayfs, "Upper and Lower").
  const upper = looked('UPPER') && stackDepth(config.upper, mounts) > 0;
  const onOverlay = upper
    ? [
        mistake(
          'UPPER',
          `${config.upper} is on an overlay, which cannot hold it`,
          'put it and WORK on a disk or a tmpfs',
        ),
      ]
    : [];
  const tooDeep = layers.flatMap(([variable, path]) => {
    const depth = stackDepth(path, mounts);
    if (depth < MAX_STACK_DEPTH) return [];
    const what = `${path} is on an overlay on an overlay (${depth} deep), and the kernel stacks no more than ${MAX_STACK_DEPTH}`;
    return [mistake(variable, what, 'name the layers of that overlay in LOWER, separated by ":"')];
  });
  return [...onOverlay, ...tooDeep];
}

/** A process cannot pivot to the root it has, pivot_root(2). */
function ownRootMistakes({ config, kind, looked, mistake }: Check): Error[] {
  if (kind !== 'self' || !looked('LIVE') || realPath(config.live) !== '/') return [];
  return [
    mistake('LIVE', "UPPER, LOWER and LIVE are all the host's own root", 'give LIVE a directory of its own'),
  ];
}

function shareMistakes(check: Check): Error[] {
  return check.config.shares.flatMap(({ host }) => {
    const inside = insideUpper(check, 'SHARE', host);
    if (inside) return [inside];
    const stats = statsOf(check, 'SHARE', host);
    if (stats instanceof Error) return [stats];
    return stats
      ? []
      : [
          check.mistake(
            'SHARE',
            `${host}: there is no such file or directory`,
            'make it, or leave the share out',
          ),
        ];
  });
}

/** The subhost could put a link in the way of what the host opens there. */
function insideUpper({ upper, mistake }: Check, variable: string, path: string): Error | undefined {
  if (upper === undefined || !leadsInto(path, upper)) return undefined;
  return mistake(variable, `${path} is inside UPPER, which the subhost can change`, 'put it outside');
}

/** In a share the subhost, or another one, could have put a link in the way of what the host opens there. */
function linkMistakes({ config, kind, looked, mistake, options }: Check): Error[] {
  const { base, live, upper, work, lower, log, stack, shares } = config;
  const own = new Set(shares.map(({ host }) => realPath(host)));
  const shared = new Set([...own, ...(options.guarded?.keys() ?? [])]);
  if (shared.size === 0) return []; // and spare the looks at every name of every path
  const paths: [string, string][] = [
    ['BASE', base],
    ['LIVE', live],
    ...(kind === 'stack' ? [] : [['UPPER', upper] as [string, string]]),
    ...(kind === 'overlay' ? [['WORK', work] as [string, string]] : []),
    ...(kind === 'stack' ? [] : lower.map((layer): [string, string] => ['LOWER', layer])),
    ...(stack?.kind === 'mstack' ? [['STACK', stack.path] as [string, string]] : []),
    ['LOG', dirname(log)],
    ...shares.map(({ host }): [string, string] => ['SHARE', host]),
  ];
  return paths.flatMap(([variable, path]) => {
    const share = looked(variable) ? linkOnTheWay(path, shared) : undefined;
    if (share === undefined) return [];
    const whose = own.has(share)
      ? `SHARE ${share}, which the subhost`
      : `${share}, which subhost ${options.guarded?.get(share)}`;
    return [
      mistake(
        variable,
        `${path} leads over a symbolic link in ${whose} can change`,
        'name what the link leads to',
      ),
    ];
  });
}

/** What the subhost can change a file by; who can change it has its commands run on the host. */
function changedBy({ config, upper }: Check, path: string): string | undefined {
  if (upper !== undefined && leadsInto(path, upper)) return 'UPPER';
  const share = config.shares.find(({ host }) => realPath(host) !== '/' && leadsInto(path, realPath(host)));
  return share && `SHARE ${share.host}`;
}

function confMistakes(check: Check): Error[] {
  const { conf } = check.config;
  const by = changedBy(check, conf);
  const what = `${conf}: the conf is inside ${by}, which the subhost can change`;
  return by === undefined ? [] : [new UserError({ what, todo: 'put it outside' })];
}

function hookMistakes(check: Check): Error[] {
  const { init, premount, postmount } = check.config;
  const hooks: [string, HookSpec | undefined][] = [
    ['INIT', init],
    ['PREMOUNT', premount],
    ['POSTMOUNT', postmount],
  ];
  return hooks.flatMap(([variable, hook]) => {
    const program = hook?.argv[0];
    return program === undefined || !check.looked(variable) ? [] : programMistakes(check, variable, program);
  });
}

function programMistakes(check: Check, variable: string, program: string): Error[] {
  const by = changedBy(check, program);
  if (by !== undefined)
    return [
      check.mistake(variable, `${program} is inside ${by}, which the subhost can change`, 'put it outside'),
    ];
  const stats = statsOf(check, variable, program);
  if (stats instanceof Error) return [stats];
  if (!stats)
    return [
      check.mistake(variable, `${program}: there is no such file`, 'write the path of an executable file'),
    ];
  if (!stats.isFile()) return [check.mistake(variable, `${program}: is no regular file`)];
  if (!(stats.mode & 0o111))
    return [check.mistake(variable, `${program}: is not executable`, `chmod +x ${program}`)];
  return untrusted(check, variable, program);
}

function untrusted({ config, options: { uid = 0 } }: Check, variable: string, program: string): Error[] {
  try {
    assertTrusted(program, { uid });
    return [];
  } catch (error) {
    const errors = error instanceof ErrorList ? error.errors : [error];
    return errors.map((one) => {
      const why = one instanceof Error ? one.message : String(one);
      return new UserError({ what: `${config.conf}: ${variable}: ${why}`, cause: one });
    });
  }
}

function logMistakes(check: Check): Error[] {
  const { config, looked, options, mistake } = check;
  if (!looked('LOG')) return [];
  const inside = insideUpper(check, 'LOG', config.log);
  if (inside) return [inside];
  const directory = dirname(config.log);
  if (directory === options.logDir && statsOf(check, 'LOG', directory) === undefined) return [];
  const mistakes = pathMistakes(check, { variable: 'LOG', path: directory, todo: MKDIR });
  const stats = mistakes.length > 0 ? undefined : linkStats(config.log);
  if (stats?.isSymbolicLink())
    return [
      mistake('LOG', `${config.log}: is a symbolic link, and a log is opened through none`, 'remove it'),
    ];
  if (stats && !stats.isFile())
    return [mistake('LOG', `${config.log}: is no regular file`, 'name another file')];
  return mistakes;
}

function linkStats(path: string): Stats | undefined {
  try {
    return lstatSync(path);
  } catch {
    return undefined;
  }
}
