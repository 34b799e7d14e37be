/**
 * npm run bench [-- --quick] [-- --json] [-- --only PATTERN]: how fast a subhost boots, is entered and
 * stopped, and what it keeps of the host's memory, beside other programs that boot the same root. All of it
 * in a sandbox; one round of everything after the other, so that what else the machine does meets all alike.
 * A figure never fails the bench; what could not be measured does.
 */
import { statSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { PROJECT, Sandbox } from '../helpers/namespaces.js';
import { cutoverOnce, prepareBoxes } from './boxes.js';
import { CONTESTANTS, obstacleTo, prepareContestants } from './contestants.js';
import * as named from './figures.js';
import {
  DEPTHS,
  MSTACK,
  PLAIN_DEPTHS,
  plainMount,
  prepareStacks,
  STACK_ENVIRONMENT,
  WHERE,
  waferOf,
} from './stacks.js';
import { PATH_WITH_IFUP, prepareStopwatch, SIGNAL_DIRECTORY, timeToEffect, timeToEnd } from './stopwatch.js';
import { prepareStores, useStore } from './stores.js';
import { confOf, keptKiB, names, nodeProcesses, prepareSubhosts, projectCommand } from './subhosts.js';

/** Something that is measured, with the figures that one round of it gives. */
interface Measure {
  readonly gives: readonly string[];
  readonly note?: string;
  /** Of so many of the others: what takes long, or varies little. */
  readonly everyNth?: number;
  round(sandbox: Sandbox): Promise<readonly number[]>;
}

const ROUNDS = 20;
const QUICK_ROUNDS = 4;
const WARM_UP_ROUNDS = 2;

const NODE_ALONE: Measure = {
  gives: [named.NODE],
  round: async (sandbox) => [await timeToEnd(sandbox, [process.execPath, '-e', '0'])],
};

const ONE_SUBHOST: Measure = {
  gives: [named.READY, "overlay-boot's own return"],
  async round(sandbox) {
    const boot = await timeToEffect(sandbox, projectCommand('overlay-boot', confOf('one')));
    await timeToEnd(sandbox, projectCommand('overlay-stop', '--kill', 'one'));
    return [boot.effectMs, boot.endMs];
  },
};

const IDLE_SUBHOST: Measure = {
  gives: [named.GO, named.STOP],
  note: 'one without services',
  async round(sandbox) {
    await timeToEnd(sandbox, projectCommand('overlay-boot', confOf('b1')));
    const go = await timeToEnd(sandbox, projectCommand('overlay-go', 'b1', 'true'));
    const stop = await timeToEnd(sandbox, projectCommand('overlay-stop', 'b1'));
    return [go, stop];
  },
};

const WITH_IFUP: Measure = {
  gives: ['boot to ready: overlay-boot, ifup on PATH'],
  note: 'it knows no such interface',
  async round(sandbox) {
    const boot = await timeToEffect(sandbox, projectCommand('overlay-boot', confOf('one')), {
      path: PATH_WITH_IFUP,
    });
    await timeToEnd(sandbox, projectCommand('overlay-stop', '--kill', 'one'));
    return [boot.effectMs];
  },
};

function otherMeasures(): Measure[] {
  return CONTESTANTS.map(({ name, argv, env, unlike }) => ({
    gives: [`boot to ready: ${name}`],
    note: unlike,
    round: async (sandbox) => [(await timeToEffect(sandbox, argv, env && { env })).effectMs],
  }));
}

/** So many in one call: milliseconds for each to boot and to stop. */
const atOnce = (count: number, everyNth: number): Measure => ({
  gives: [`${count} in one call, each`, `${count} stopped in one call, each`],
  everyNth,
  async round(sandbox) {
    const boot = await timeToEnd(sandbox, projectCommand('overlay-boot', ...names(count).map(confOf)));
    const stop = await timeToEnd(sandbox, projectCommand('overlay-stop', '--all'));
    return [boot / count, stop / count];
  },
});

const KEPT_BY_ONE: Measure = {
  gives: [named.KEPT_1],
  note: named.KEPT_NOTE,
  everyNth: 10,
  async round(sandbox) {
    await timeToEnd(sandbox, projectCommand('overlay-boot', confOf('b1')));
    const kiB = keptKiB(sandbox);
    await timeToEnd(sandbox, projectCommand('overlay-stop', 'b1'));
    return [kiB];
  },
};

/** So many idle at once: booted, looked at, given a share (one of them), and stopped. */
const load = (count: number): Measure => ({
  gives: Object.values(named.loadOf(count)),
  everyNth: 10,
  async round(sandbox) {
    const boot = await timeToEnd(sandbox, projectCommand('overlay-boot', ...names(count).map(confOf)));
    const kiB = keptKiB(sandbox);
    const status = await timeToEnd(sandbox, projectCommand('overlay-status'));
    const share = await timeToEnd(
      sandbox,
      projectCommand('overlay-share', SIGNAL_DIRECTORY, `b${count}`, '/mnt'),
    );
    const [node] = nodeProcesses(sandbox);
    const stop = await timeToEnd(sandbox, projectCommand('overlay-stop', '--all'));
    if (node) throw new Error(`a Node process stays: ${node}`);
    return [boot / count, status / count, share, stop / count, kiB / count];
  },
});

const MSTACK_OF_TEN: Measure = {
  gives: [named.INSPECT, named.MOUNT, named.UMOUNT],
  note: 'ten layers and rw',
  async round(sandbox) {
    const inspect = await timeToEnd(sandbox, projectCommand('overlay-mstack', MSTACK));
    const mount = await timeToEnd(sandbox, projectCommand('overlay-mstack', '--mount', MSTACK, WHERE));
    const umount = await timeToEnd(sandbox, projectCommand('overlay-mstack', '--umount', WHERE));
    return [inspect, mount, umount];
  },
};

const plainOverlay = (layers: number): Measure => ({
  gives: [`mount and umount in a shell, ${layers} deep`],
  note: 'mount(8) and umount(8), without looking or locking',
  everyNth: 2,
  round: async (sandbox) => [await timeToEnd(sandbox, ['/bin/sh', '-c', plainMount(layers)])],
});

const wafers = (ancestors: number): Measure => ({
  gives: [named.stackOf(ancestors), named.unstackOf(ancestors)],
  note: `${ancestors} lower ${ancestors === 1 ? 'layer' : 'layers'} and the wafer's own`,
  everyNth: 2,
  async round(sandbox) {
    const name = waferOf(ancestors);
    const options = { env: STACK_ENVIRONMENT };
    const stack = await timeToEnd(sandbox, projectCommand('wafers', 'stack', name), options);
    return [stack, await timeToEnd(sandbox, projectCommand('wafers', 'unstack', name), options)];
  },
});

const store = ({ images, points }: (typeof named.STORE_SIZES)[number]): Measure => ({
  gives: named.storeOf(images),
  note: `${points} points; the one cut over is mounted`,
  round: (sandbox) => useStore(sandbox, images),
});

const CUTOVER_OF_A_BOX: Measure = {
  gives: [named.OUTAGE, named.OUTAGE_FAILED, named.CUTOVER],
  note: 'busybox httpd on a bridge, asked every 10 ms',
  everyNth: 2,
  async round(sandbox) {
    const { seen, endMs } = await cutoverOnce(sandbox);
    return [seen.outageMs, seen.failed, endMs];
  },
};

const MEASURES: readonly Measure[] = [
  NODE_ALONE,
  ONE_SUBHOST,
  ...otherMeasures(),
  WITH_IFUP,
  IDLE_SUBHOST,
  atOnce(20, 2),
  atOnce(50, 2),
  KEPT_BY_ONE,
  ...named.LOADS.map(load),
  MSTACK_OF_TEN,
  ...DEPTHS.map(wafers),
  ...PLAIN_DEPTHS.map(plainOverlay),
  ...named.STORE_SIZES.map(store),
  CUTOVER_OF_A_BOX,
];

/** Which can be measured here; the others with the reason. */
async function split(
  sandbox: Sandbox,
  wanted: readonly Measure[],
): Promise<{ runnable: Measure[]; absent: named.Absent[] }> {
  const absent: named.Absent[] = [];
  for (const contestant of CONTESTANTS) {
    const name = `boot to ready: ${contestant.name}`;
    const reason =
      wanted.some(({ gives }) => gives.includes(name)) && (await obstacleTo(sandbox, contestant));
    if (reason) absent.push({ name, reason });
  }
  const lacking = new Set(absent.map(({ name }) => name));
  return { runnable: wanted.filter(({ gives }) => !gives.some((name) => lacking.has(name))), absent };
}

/** All rounds, interleaved. A measure that fails once is taken out, and the reason kept. */
async function measure(
  sandbox: Sandbox,
  wanted: readonly Measure[],
  rounds: number,
): Promise<named.Measured> {
  const { runnable, absent } = await split(sandbox, wanted);
  const values = new Map<string, number[]>(runnable.flatMap(({ gives }) => gives.map((name) => [name, []])));
  const failed = new Set<Measure>();
  for (let round = -WARM_UP_ROUNDS; round < rounds; round++) {
    for (const one of runnable) {
      // What takes long is warm from the one round before.
      if (failed.has(one) || (one.everyNth && (round < -1 || (round > 0 && round % one.everyNth !== 0))))
        continue;
      try {
        const taken = await one.round(sandbox);
        if (round < 0) continue;
        for (const [i, name] of one.gives.entries()) values.get(name)?.push(taken[i] ?? Number.NaN);
      } catch (error) {
        failed.add(one);
        const reason = error instanceof Error ? error.message : String(error);
        absent.push(...one.gives.map((name) => ({ name, reason })));
      }
    }
    if (process.stderr.isTTY) process.stderr.write(`\rround ${Math.max(0, round + 1)} of ${rounds} `);
  }
  if (process.stderr.isTTY) process.stderr.write('\r\u001b[K');
  const figures = runnable
    .filter((one) => !failed.has(one))
    .flatMap(({ gives, note }) =>
      gives.map((name) => ({ name, values: values.get(name) ?? [], ...(note && { note }) })),
    );
  return { figures, absent };
}

async function inSandbox(wanted: readonly Measure[], rounds: number): Promise<named.Measured> {
  const sandbox = await Sandbox.start();
  try {
    await prepareStopwatch(sandbox);
    await prepareSubhosts(sandbox);
    await prepareContestants(sandbox);
    await prepareStacks(sandbox);
    await prepareBoxes(sandbox);
    await prepareStores(sandbox);
    return await measure(sandbox, wanted, rounds);
  } finally {
    await sandbox.close();
  }
}

const sizeOfInit = (): named.Figure => ({
  name: named.INIT_SIZE,
  values: [statSync(join(PROJECT, 'dist/init')).size / 1024],
});

async function main(): Promise<void> {
  const { values: options } = parseArgs({
    options: { quick: { type: 'boolean' }, json: { type: 'boolean' }, only: { type: 'string' } },
  });
  const only = new RegExp(options.only ?? '', 'i');
  // What everything is compared with is always measured.
  const wanted = MEASURES.filter((one) => one === NODE_ALONE || one.gives.some((name) => only.test(name)));
  const { figures, absent } = await inSandbox(wanted, options.quick ? QUICK_ROUNDS : ROUNDS);
  const measured = { figures: [...figures, ...(only.test(named.INIT_SIZE) ? [sizeOfInit()] : [])], absent };
  console.log(options.json ? JSON.stringify(named.asJson(measured), null, 2) : named.report(measured));
  process.exitCode = absent.length > 0 ? 1 : 0;
}

void main().catch((error: unknown) => {
  console.error(`bench: ${error instanceof Error ? error.message : String(error)}`);
  process.exitCode = 1;
});
