/** Subhosts as they are shown: a row of a table, all of one, or JSON. */
import {
  type CableStatus,
  cablesOf,
  type FoundSubhost,
  logTail,
  type Measured,
  measure,
  mountsInside,
  type StatusWord,
} from '../launch/status.js';
import type { MountedShare, SubhostState } from '../state/subhost-state.js';
import type { Mount } from '../sys/mountinfo.js';
import type { UsageMeter } from '../sys/usage.js';
import {
  type Colour,
  type Column,
  durationText,
  paint,
  printable,
  sizeText,
  textTable,
} from './common-table.js';

const LOG_LINES = 10;

/** Everything about one subhost; what was not asked for, or may not be looked at, is undefined. */
export interface Status {
  readonly found: FoundSubhost;
  readonly measured: Measured | undefined;
  readonly cables: readonly CableStatus[];
  readonly mounts: readonly Mount[] | undefined;
  readonly log: readonly string[] | undefined;
  /** In the place of the state's own words. */
  readonly stateText?: string | undefined;
}

/** The package behind it is loaded when the first subhost that runs is met. */
export function lazyMeter(): () => Promise<UsageMeter> {
  let meter: UsageMeter | undefined;
  return async () => {
    if (!meter) {
      const { UsageMeter } = await import('../sys/usage.js');
      meter = new UsageMeter();
    }
    return meter;
  };
}

/** @param detailed  with its mounts and the end of its log */
export async function readStatus(
  found: FoundSubhost,
  { meter, detailed, uid }: { meter: () => Promise<UsageMeter>; detailed: boolean; uid: number },
): Promise<Status> {
  const log = found.state?.log;
  return {
    found,
    measured: await measure(found, meter),
    cables: await cablesOf(found, uid),
    mounts: detailed ? mountsInside(found) : undefined,
    log: detailed && log !== undefined ? logTail(log, LOG_LINES) : undefined,
  };
}

export const COLOURS: Readonly<Record<StatusWord, Colour | undefined>> = {
  running: 'green',
  degraded: 'yellow',
  starting: 'yellow',
  stopping: 'yellow',
  failed: 'red',
  stopped: undefined,
};

/** Columns of a table of subhosts. */
export const COLUMNS: readonly Column<Status>[] = [
  { title: 'NAME', text: ({ found }) => found.name },
  { title: 'STATE', text: ({ found }) => found.word, colour: ({ found }) => COLOURS[found.word] },
  { title: 'PID', align: 'right', text: (status) => pidOf(status)?.toString() },
  {
    title: 'UPTIME',
    align: 'right',
    text: ({ measured }) => measured && durationText(measured.uptimeSeconds),
  },
  { title: 'CPU', align: 'right', text: ({ measured }) => measured && cpuText(measured) },
  { title: 'MEMORY', align: 'right', text: ({ measured }) => measured && sizeText(measured.memoryBytes) },
  { title: 'PROCESSES', align: 'right', text: ({ measured }) => measured?.processes.toString() },
  { title: 'CABLES', text: ({ cables }) => cables.map(cableText).join(', ') },
];

/** pid 1 of a subhost that runs. */
export const pidOf = ({ found }: Status): number | undefined =>
  found.word === 'failed' ? undefined : found.state?.init?.pid;

const cpuText = ({ cpuPercent }: Measured): string => `${cpuPercent.toFixed(1)}%`;

/** `mta0 192.0.2.1/24`: the host's end, and what can be reached at the other. */
const cableText = ({ host, addresses = [] }: CableStatus): string => [host, ...addresses].join(' ');

/**
 * All of one subhost, a line for each thing.
 * @param more  what else there is to tell of it, after its state: label and text
 */
export function detailText(
  status: Status,
  fancy: boolean,
  more: readonly (readonly [string, string | undefined])[] = [],
): string {
  const { found, measured, cables, mounts, log } = status;
  const { state } = found;
  const lines: readonly (readonly [string, string | undefined])[] = [
    ['State', paint(status.stateText ?? stateText(found), fancy ? COLOURS[found.word] : undefined)],
    ...more,
    ['Conf', found.conf],
    ['Base', state?.base],
    ['Root', state && rootText(state)],
    ['Pid', pidOf(status)?.toString()],
    ['Uptime', measured && durationText(measured.uptimeSeconds)],
    ['CPU', measured && cpuText(measured)],
    ['Memory', measured && sizeText(measured.memoryBytes)],
    ['Processes', measured?.processes.toString()],
    ['Services', state && (state.start.join(' ') || 'none')],
    ['Failed', state?.degraded.join(' ')],
    ...cables.map((cable) => ['Cable', cableDetail(cable)] as const),
    ...(state?.shares ?? []).map((share) => ['Share', shareText(share)] as const),
    ['Log', state?.log],
  ];
  const title = printable(found.name);
  const shown = lines.filter(([, text]) => text !== undefined && text !== '');
  const body = shown.map(
    ([label, text = '']) => `  ${label.padEnd(9)}  ${label === 'State' ? text : printable(text)}`,
  );
  return [
    title,
    ...body,
    ...section('Mounts', mounts && mountTable(mounts)),
    ...section('Log', log?.map(printable)),
  ]
    .join('\n')
    .trimEnd();
}

const section = (title: string, lines: readonly string[] | undefined): string[] =>
  lines && lines.length > 0 ? ['', title, ...lines.map((line) => `  ${line}`)] : [];

const mountTable = (mounts: readonly Mount[]): string[] =>
  textTable<Mount>(
    [
      { title: 'WHERE', text: ({ mountPoint }) => mountPoint },
      { title: 'TYPE', text: ({ type }) => type },
      { title: 'WHAT', text: ({ source, root }) => (root === '/' ? source : `${source}[${root}]`) },
      { title: 'OPTIONS', text: ({ options }) => options.join(',') },
    ],
    mounts,
  ).split('\n');

/** A boot and a stop have steps, and a failed one ended in one. */
const stateText = ({ word, state }: FoundSubhost): string =>
  state && ['starting', 'stopping', 'failed'].includes(word) && state.step !== ''
    ? `${word} (${printable(state.step)})`
    : word;

function rootText({ live, upper, lower, stack }: SubhostState): string {
  if (stack !== undefined) return `stack ${stack}, on ${live}`;
  if (lower.length === 1 && lower[0] === upper) return upper === live ? live : `${upper} on ${live}`;
  return `${[upper, ...lower].join(' over ')}, on ${live}`;
}

function cableDetail(cable: CableStatus): string {
  const bridge = cable.bridge === undefined ? '' : ` (bridge ${cable.bridge})`;
  if (cable.kind === 'vlan') return `${cable.host}${bridge}`;
  const end = [cable.inside, cable.mac, ...(cable.addresses ?? [])].filter((part) => part !== undefined);
  return `${cable.host}${bridge} - ${end.join(' ')}`;
}

const shareText = ({ host, inside, readOnly }: MountedShare): string =>
  `${host}${host === inside ? '' : ` at ${inside}`}${readOnly ? ' (read-only)' : ''}`;

/** Always the same keys; null stands for what there is not, or may not be looked at. */
export function jsonOf(status: Status): object {
  const { found, measured, cables, mounts, log } = status;
  const { state } = found;
  return {
    name: found.name,
    state: found.word,
    step: state?.step ?? null,
    conf: found.conf ?? null,
    base: state?.base ?? null,
    live: state?.live ?? null,
    upper: state?.upper ?? null,
    lower: state?.lower ?? null,
    pid: pidOf(status) ?? null,
    uptimeSeconds: measured ? Math.round(measured.uptimeSeconds * 100) / 100 : null,
    cpuPercent: measured ? Math.round(measured.cpuPercent * 10) / 10 : null,
    memoryBytes: measured?.memoryBytes ?? null,
    processes: measured?.processes ?? null,
    cables: cables.map((cable) => ({
      kind: cable.kind,
      host: cable.host,
      inside: cable.kind === 'veth' ? cable.inside : null,
      bridge: cable.bridge ?? null,
      mac: cable.kind === 'veth' ? (cable.mac ?? null) : null,
      vlanId: cable.kind === 'vlan' ? cable.vlanId : null,
      addresses: cable.addresses ?? null,
    })),
    shares: state?.shares.map(({ host, inside, readOnly }) => ({ host, inside, readOnly })) ?? null,
    services: state?.start ?? null,
    failedServices: state?.degraded ?? null,
    log: state?.log || null,
    netns: state?.netns ?? null,
    cgroup: state?.cgroup ?? null,
    mounts:
      mounts?.map(({ mountPoint, type, source, root, options }) => ({
        where: mountPoint,
        type,
        what: source,
        root,
        options,
      })) ?? null,
    logTail: log ?? null,
  };
}
