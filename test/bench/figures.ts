/** What was measured as tables and as JSON, with the targets of the project beside it. Pure. */
import { textTable } from '../../src/cli/common-table.js';

export interface Figure {
  readonly name: string;
  /** One for each round. */
  readonly values: readonly number[];
  /** What has to be known to compare it. */
  readonly note?: string;
}

export interface Absent {
  readonly name: string;
  readonly reason: string;
}

export interface Target {
  readonly what: string;
  readonly limit: string;
  readonly reached: string;
  readonly met: boolean;
}

export interface Measured {
  readonly figures: readonly Figure[];
  readonly absent: readonly Absent[];
}

/** What is kept is memory, what failed is counted, everything else is time. */
export const unitOf = ({ name }: Pick<Figure, 'name'>): 'ms' | 'KiB' | 'failed' =>
  name === OUTAGE_FAILED ? 'failed' : name.startsWith('kept by ') || name === INIT_SIZE ? 'KiB' : 'ms';

/** The middle one; of an even number the mean of the two in the middle. */
export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const upper = sorted[sorted.length >> 1] ?? Number.NaN;
  const lower = sorted[(sorted.length - 1) >> 1] ?? Number.NaN;
  return (lower + upper) / 2;
}

/** Names of the figures that targets speak of. */
export const NODE = 'node -e 0';
export const READY = 'boot to ready: overlay-boot';
export const NSPAWN = 'boot to ready: systemd-nspawn';
export const STOP = 'overlay-stop of an idle subhost';
export const GO = 'overlay-go NAME true';
export const FIFTY = '50 in one call, each';
export const KEPT_1 = 'kept by 1 idle subhost';
/** So many subhosts are idle at once; the milliseconds and KiB that each of them takes, but for one share. */
export const LOADS = [10, 50, 100, 300] as const;
export const loadOf = (count: number) => ({
  boot: `booted with ${count} in one call, each`,
  status: `overlay-status of ${count}, each`,
  share: `overlay-share to one of ${count}`,
  stop: `overlay-stop --all of ${count}, each`,
  kept: `kept by ${count} idle subhosts, each`,
});
export const KEPT_NOTE = 'PSS of keeper, pid 1, dummy service';
export const INIT_SIZE = 'dist/init';
/** Stores that are used alike: what is done in the large one takes no more than twice as long as in the small one. */
export const STORE_SIZES = [
  { images: 10, points: 10 },
  { images: 1000, points: 200 },
] as const;
export const storeOf = (images: number): string[] =>
  ['list-images', 'list-stackpoints', 'cutover'].map((what) => `stacko ${what}, ${images} images`);
export const INSPECT = 'overlay-mstack: inspect';
export const MOUNT = 'overlay-mstack --mount';
export const UMOUNT = 'overlay-mstack --umount';
export const OUTAGE = 'boxctl cutover-instance: outage';
export const OUTAGE_FAILED = 'boxctl cutover-instance: requests';
export const CUTOVER = 'boxctl cutover-instance';
export const stackOf = (layers: number): string => `wafers stack, ${layers} deep`;
export const unstackOf = (layers: number): string => `wafers unstack, ${layers} deep`;

type Reach = (of: (name: string) => number) => { limit: number; value: number; unit: string };

const times =
  (name: string, factor: number, base: string): Reach =>
  (of) => ({
    ...{ limit: factor, value: of(name) / of(base), unit: `× ${base.replace('boot to ready: ', '')}` },
  });
const atMost =
  (name: string, limit: number, unit: string): Reach =>
  (of) => ({ limit, value: of(name), unit });

type Row = readonly [string, Reach];

/** Nothing grows worse than linearly: each of the most takes no more than each of a few. */
const [FEW, MANY] = [loadOf(LOADS[0]), loadOf(LOADS[3])];
const GROWTH = (['boot', 'status', 'share', 'stop', 'kept'] as const).map(
  (what): Row => [MANY[what], times(MANY[what], what === 'share' ? 2 : 1.1, FEW[what])],
);

const [SMALL, LARGE] = STORE_SIZES.map(({ images }) => storeOf(images));
const STORE_GROWTH = (LARGE ?? []).map((name, i): Row => [name, times(name, 2, SMALL?.[i] ?? '')]);

const TARGETS: readonly Row[] = [
  [READY, times(READY, 1.7, NODE)],
  [READY, times(READY, 0.85, NSPAWN)],
  [FIFTY, atMost(FIFTY, 4.1, 'ms')],
  [STOP, (of) => ({ limit: 15, value: of(STOP) - of(NODE), unit: `ms + ${NODE}` })],
  [GO, times(GO, 1.7, NODE)],
  [KEPT_1, atMost(KEPT_1, 150, 'KiB')],
  ...LOADS.map((count) => loadOf(count).kept).map((name): Row => [name, atMost(name, 150, 'KiB')]),
  ...GROWTH,
  ...STORE_GROWTH,
  [INIT_SIZE, atMost(INIT_SIZE, 64, 'KiB')],
  [OUTAGE, atMost(OUTAGE, 300, 'ms')],
  ...[INSPECT, MOUNT, UMOUNT, stackOf(10), unstackOf(10)].map((name): Row => [name, times(name, 2, NODE)]),
];

/** The targets that can be told from what was measured. */
export function targetsOf({ figures }: Measured): Target[] {
  const of = (name: string): number => median(figures.find((figure) => figure.name === name)?.values ?? []);
  return TARGETS.flatMap(([what, reach]) => {
    const { limit, value, unit } = reach(of);
    if (Number.isNaN(value)) return [];
    return [{ what, limit: `${limit} ${unit}`, reached: rounded(value), met: value <= limit }];
  });
}

const rounded = (value: number): string => value.toFixed(value < 10 ? 2 : 1);

/** Tables for people. */
export function report(measured: Measured): string {
  const { figures, absent } = measured;
  const node = median(figures.find(({ name }) => name === NODE)?.values ?? []);
  const table = textTable<Figure>(
    [
      { title: 'MEASURED', text: ({ name }) => name },
      { title: 'MEDIAN', align: 'right', text: ({ values }) => rounded(median(values)) },
      { title: 'MIN', align: 'right', text: ({ values }) => rounded(Math.min(...values)) },
      { title: 'MAX', align: 'right', text: ({ values }) => rounded(Math.max(...values)) },
      { title: '', text: unitOf },
      {
        title: '× NODE',
        align: 'right',
        text: (figure) =>
          unitOf(figure) === 'ms' && node > 0 ? (median(figure.values) / node).toFixed(2) : '',
      },
      { title: 'ROUNDS', align: 'right', text: ({ values }) => String(values.length) },
      { title: 'NOTE', text: ({ note }) => note },
    ],
    figures,
  );
  const targets = textTable<Target>(
    [
      { title: 'TARGET', text: ({ what }) => what },
      { title: 'AT MOST', text: ({ limit }) => limit },
      { title: 'REACHED', align: 'right', text: ({ reached }) => reached },
      { title: '', text: ({ met }) => (met ? 'met' : 'not met') },
    ],
    targetsOf(measured),
  );
  const missing = absent.map(({ name, reason }) => `not measured: ${name}: ${reason}`);
  return [table, targets, ...(missing.length > 0 ? [missing.join('\n')] : [])].join('\n\n');
}

/** The same for programs: milliseconds and KiB. */
export const asJson = (measured: Measured): object => ({
  figures: measured.figures.map(({ name, values, note }) => ({
    ...{
      name,
      unit: unitOf({ name }),
      median: median(values),
      min: Math.min(...values),
      max: Math.max(...values),
    },
    ...{ rounds: values.length, note: note ?? null },
  })),
  targets: targetsOf(measured),
  absent: measured.absent,
});
