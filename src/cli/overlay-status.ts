/** overlay-status: the subhosts of this host, as a table, in detail, or as JSON. */
import { setTimeout as delay } from 'node:timers/promises';
import { loadSettings, SETTINGS_DIRECTORY, type Settings } from '../config/settings.js';
import { EXIT } from '../errors.js';
import {
  type CableStatus,
  cablesOf,
  type FoundSubhost,
  findSubhosts,
  logTail,
  type Measured,
  measure,
  mountsInside,
  type StatusWord,
  selectSubhosts,
} from '../launch/status.js';
import type { MountedShare, SubhostState } from '../state/subhost-state.js';
import type { Mount } from '../sys/mountinfo.js';
import type { UsageMeter } from '../sys/usage.js';
import type { Arguments, Command, Terminal } from './command.js';
import {
  type Colour,
  type Column,
  durationText,
  paint,
  printable,
  sizeText,
  textTable,
} from './common-table.js';
import { runCommand } from './run-command.js';

const REFRESH_MS = 2000;
const LOG_LINES = 10;

const command: Command = {
  name: 'overlay-status',
  summary: 'Shows the subhosts of this host and what they take of it',
  usage: ['[OPTIONS] [NAME...]'],
  options: [
    { name: 'json', help: 'print a JSON array' },
    { name: 'watch', short: 'w', help: 'show it anew every 2 seconds, until ^C' },
  ],
  async main(args, terminal) {
    const settings = await loadSettings(SETTINGS_DIRECTORY);
    const show = shower(args, terminal, settings, lazyMeter());
    if (args.has('watch')) await watch(show, terminal);
    else terminal.print(await show({ first: true }));
    return EXIT.ok;
  },
};

/** Everything about one subhost; what was not asked for, or may not be looked at, is undefined. */
interface Status {
  readonly found: FoundSubhost;
  readonly measured: Measured | undefined;
  readonly cables: readonly CableStatus[];
  readonly mounts: readonly Mount[] | undefined;
  readonly log: readonly string[] | undefined;
}

type Show = (round: { readonly first: boolean }) => Promise<string>;

/** The package behind it is loaded when the first subhost that runs is met. */
function lazyMeter(): () => Promise<UsageMeter> {
  let meter: UsageMeter | undefined;
  return async () => {
    if (!meter) {
      const { UsageMeter } = await import('../sys/usage.js');
      meter = new UsageMeter();
    }
    return meter;
  };
}

/** Reads and formats one round. */
function shower(
  args: Arguments,
  terminal: Terminal,
  settings: Settings,
  meter: () => Promise<UsageMeter>,
): Show {
  const names = args.positionals;
  const detailed = names.length === 1;
  return async ({ first }) => {
    const all = findSubhosts(settings, first ? terminal.warn : () => {});
    // A subhost that stops while it is watched is no mistake in the command line.
    const gone = names.filter((name) => !all.some((one) => one.name === name));
    const known = first ? all : [...all, ...gone.map((name): FoundSubhost => ({ name, word: 'stopped' }))];
    const chosen = names.length === 0 ? known : selectSubhosts(known, names);
    const statuses: Status[] = [];
    for (const found of chosen) statuses.push(await read(found, { meter, detailed, uid: terminal.uid }));
    if (args.has('json')) return JSON.stringify(statuses.map(jsonOf), null, args.has('watch') ? 0 : 2);
    if (statuses[0] && detailed) return detailText(statuses[0], terminal.fancy);
    return statuses.length > 0
      ? textTable(COLUMNS, statuses, { fancy: terminal.fancy })
      : `no subhost runs, and none is listed in ${settings.subhosts}`;
  };
}

async function read(
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

/** Shows round after round until SIGINT or SIGTERM; in place on a terminal. */
async function watch(show: Show, terminal: Terminal): Promise<void> {
  const stop = new AbortController();
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => stop.abort());
  for (let first = true; !stop.signal.aborted && !terminal.outputIsLost(); first = false) {
    const text = await show({ first });
    // Home, each line cleared to its end, then what is below: a clear before it would flicker.
    terminal.print(terminal.fancy ? `\u001b[H${text.replaceAll('\n', '\u001b[K\n')}\u001b[K\u001b[J` : text);
    await delay(REFRESH_MS, undefined, { signal: stop.signal }).catch(() => {});
  }
}

const COLOURS: Readonly<Record<StatusWord, Colour | undefined>> = {
  running: 'green',
  degraded: 'yellow',
  starting: 'yellow',
  stopping: 'yellow',
  failed: 'red',
  stopped: undefined,
};

const COLUMNS: readonly Column<Status>[] = [
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
const pidOf = ({ found }: Status): number | undefined =>
  found.word === 'failed' ? undefined : found.state?.init?.pid;

const cpuText = ({ cpuPercent }: Measured): string => `${cpuPercent.toFixed(1)}%`;

/** `mta0 192.0.2.1/24`: the host's end, and what can be reached at the other. */
const cableText = ({ host, addresses = [] }: CableStatus): string => [host, ...addresses].join(' ');

function detailText(status: Status, fancy: boolean): string {
  const { found, measured, cables, mounts, log } = status;
  const { state } = found;
  const lines: readonly (readonly [string, string | undefined])[] = [
    ['State', paint(stateText(found), fancy ? COLOURS[found.word] : undefined)],
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
function jsonOf(status: Status): object {
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
    log: state?.log ?? null,
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

void runCommand(command);
