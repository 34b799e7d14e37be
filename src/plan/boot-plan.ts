/** (SubhostConfig, HostFacts) -> BootPlan: plain data, all that the launcher sees. Pure. */
import { capabilityMask, hasUserNamespace } from '../config/capabilities.js';
import type { HookSpec, Limits, SubhostConfig } from '../config/subhost-config.js';
import type { CableSpec } from '../net/cable.js';
import { mountOps } from '../stack/mount-ops.js';
import type { RootKind } from '../stack/root-kind.js';
import type { Stack } from '../stack/stack.js';
import type { ChildOp } from './child-ops.js';
import { interfacesFile } from './interfaces-file.js';
import { type StartScript, startScript } from './start-script.js';

/** What the plan has to know of the host, gathered once. */
export interface HostFacts {
  readonly rootKind: RootKind;
  /** What an overlay root is made of. */
  readonly stack: Stack;
  /** The init program. */
  readonly initProgram: string;
  /** Where network namespaces have their names, /run/netns. */
  readonly netnsDir: string;
}

export type HookName = 'PREMOUNT' | 'POSTMOUNT' | 'INIT';

/** A command of the administrator's, run on the host side inside the subhost's mount and pid namespaces. */
export interface Hook {
  readonly name: HookName;
  readonly argv: readonly string[];
}

/** One after the other; each is done before the next begins. */
export type Stage =
  | { readonly kind: 'child'; readonly step: string; readonly ops: readonly ChildOp[] }
  | { readonly kind: 'hook'; readonly hook: Hook }
  /** The last one. `script` is the start script, `hook` prints it, or what comes before its last exec. */
  | {
      readonly kind: 'start';
      readonly ops: readonly ChildOp[];
      readonly start: StartScript;
      readonly hook?: Hook;
      readonly after: boolean;
    };

export interface BootPlan {
  readonly name: string;
  readonly conf: string;
  readonly rootKind: RootKind;
  readonly netns: string;
  readonly log: string;
  readonly cables: readonly CableSpec[];
  readonly limits: Limits;
  readonly stages: readonly Stage[];
  /** Environment of hooks and `!commands`, besides PATH and the like. */
  readonly hookEnvironment: Readonly<Record<string, string>>;
}

/** Read-only, writable again below that, or hidden from a subhost that is confined. runc and podman mask the same. */
const PROTECTED: readonly ChildOp[] = [
  ...['/proc/bus', '/proc/fs', '/proc/irq', '/proc/sys', '/proc/sysrq-trigger'].map(
    (path): ChildOp => ({ op: 'protect', how: 'ro', path }),
  ),
  { op: 'protect', how: 'rw', path: '/proc/sys/net' },
  ...[
    '/proc/acpi',
    '/proc/kcore',
    '/proc/keys',
    '/proc/latency_stats',
    '/proc/sched_debug',
    '/proc/scsi',
    '/proc/timer_list',
    '/sys/firmware',
  ].map((path): ChildOp => ({ op: 'protect', how: 'mask', path })),
];

/** The plan of a boot: what is made, in which order. */
export function bootPlan(config: SubhostConfig, facts: HostFacts): BootPlan {
  return {
    name: config.name,
    conf: config.conf,
    rootKind: facts.rootKind,
    netns: `${facts.netnsDir}/${config.name}`,
    log: config.log,
    cables: config.cables,
    limits: config.limits,
    stages: joinChildStages([
      ...preMount(config, facts),
      { kind: 'child', step: 'root', ops: rootOps(config, facts) },
      ...postMount(config),
      // After POSTMOUNT, whoever mounted /proc and /sys: a hook replaces the mounts, not the confinement.
      ...(config.caps ? [{ kind: 'child', step: 'protect', ops: PROTECTED } as const] : []),
      {
        kind: 'child',
        step: 'shares',
        ops: [{ op: 'reaper', program: facts.initProgram }, ...shareOps(config)],
      },
      startStage(config),
    ]),
    hookEnvironment: hookEnvironment(config),
  };
}

/** Child stages that nothing comes between are one message. */
function joinChildStages(stages: readonly Stage[]): Stage[] {
  const joined: Stage[] = [];
  for (const stage of stages) {
    const last = joined.at(-1);
    if (stage.kind === 'child' && last?.kind === 'child')
      joined[joined.length - 1] = {
        kind: 'child',
        step: `${last.step}, ${stage.step}`,
        ops: [...last.ops, ...stage.ops],
      };
    else if (stage.kind !== 'child' || stage.ops.length > 0) joined.push(stage);
  }
  return joined;
}

const hook = (name: HookName, spec: HookSpec, ...more: string[]): Stage => ({
  kind: 'hook',
  hook: { name, argv: [...spec.argv, ...more] },
});

function preMount(config: SubhostConfig, { rootKind }: HostFacts): Stage[] {
  if (rootKind === 'self') return [];
  const { premount, upper } = config;
  const builtIn: Stage = {
    kind: 'child',
    step: 'premount',
    ops: [{ op: 'seed', upper, file: 'etc/network/interfaces', text: interfacesFile(config.cables) }],
  };
  const stages: Stage[] = premount ? [hook('PREMOUNT', premount, upper)] : [];
  // A stack is nobody's host: what interfaces it has are its own.
  return rootKind === 'stack' || (premount && !premount.after) ? stages : [builtIn, ...stages];
}

function rootOps({ live, upper, caps }: SubhostConfig, { rootKind, stack }: HostFacts): ChildOp[] {
  const devices: ChildOp[] = caps ? [] : [{ op: 'devices-allowed' }];
  switch (rootKind) {
    case 'self':
      return [...devices, { op: 'self', live }, { op: 'root', live }];
    case 'bind':
      return [...devices, { op: 'bind', upper, live, mode: 'rw' }, { op: 'root', live }];
    case 'overlay':
    case 'stack':
      return [...devices, ...mountOps(stack, live)];
  }
}

function postMount(config: SubhostConfig): Stage[] {
  const { postmount, ramSizeBytes, caps, live, upper } = config;
  const builtIn: Stage = {
    kind: 'child',
    step: 'postmount',
    ops: [
      { op: 'system', which: 'dev', option: '' },
      { op: 'system', which: 'proc', option: '' },
      { op: 'system', which: 'sys', option: caps ? 'ro' : 'rw' },
      ...(ramSizeBytes === undefined
        ? []
        : [{ op: 'system', which: 'run', option: String(ramSizeBytes) } as const]),
      { op: 'adjtime' },
    ],
  };
  const stages: Stage[] = postmount ? [hook('POSTMOUNT', postmount, live, upper)] : [];
  return postmount && !postmount.after ? stages : [builtIn, ...stages];
}

const shareOps = ({ shares }: SubhostConfig): ChildOp[] =>
  shares.map(({ host, inside }) => ({ op: 'share', host, inside, mode: 'rw' }));

function startStage({ name, caps, start, startIsDefault, init }: SubhostConfig): Stage {
  return {
    kind: 'start',
    ops: [
      { op: 'pivot' },
      { op: 'hostname', name },
      { op: 'lo' },
      ...(hasUserNamespace(caps) ? [{ op: 'userns' } as const] : []),
      ...(caps ? [{ op: 'caps', mask: capabilityMask(caps).toString(16) } as const] : []),
    ],
    start: { services: start, passOverMissing: startIsDefault },
    ...(init && { hook: { name: 'INIT' as const, argv: init.argv } }),
    after: init?.after ?? false,
  };
}

/**
 * The start script as it will run.
 * @param printed  what the INIT command printed
 */
export function finalScript(stage: Extract<Stage, { kind: 'start' }>, printed: string): string {
  return stage.hook && !stage.after ? printed : startScript(stage.start, printed);
}

function hookEnvironment(config: SubhostConfig): Record<string, string> {
  const { conf, name, base, live, upper, work, lower, ramSizeBytes, start } = config;
  return {
    CONFIG: conf,
    NAME: name,
    BASE: base,
    LIVE: live,
    UPPER: upper,
    WORK: work,
    LOWER: lower.join(':'),
    RAM_SIZE: ramSizeBytes === undefined ? 'none' : String(ramSizeBytes),
    START: start.length > 0 ? start.join(' ') : 'none',
  };
}
