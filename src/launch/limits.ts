/** MEMORY_MAX, CPU_MAX and PIDS_MAX: cgroup v2, where the host has the controllers there. */
import { readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import type { Limits } from '../config/subhost-config.js';
import { Failure, throwAll, UserError } from '../errors.js';
import { readIfExists } from '../sys/files.js';

/** cpu.max: so much of each period, in microseconds. Kernel document admin-guide/cgroup-v2, "CPU". */
const CPU_PERIOD_US = 100_000;

interface Limit {
  readonly variable: string;
  readonly controller: string;
  readonly file: string;
  readonly value: string;
}

function limitsOf({ memoryMaxBytes, cpuMaxPercent, pidsMax }: Limits): Limit[] {
  const limit = (variable: string, controller: string, value: string): Limit => ({
    variable,
    controller,
    file: `${controller}.max`,
    value,
  });
  return [
    ...(memoryMaxBytes === undefined ? [] : [limit('MEMORY_MAX', 'memory', String(memoryMaxBytes))]),
    ...(cpuMaxPercent === undefined
      ? []
      : [limit('CPU_MAX', 'cpu', `${Math.round((cpuMaxPercent / 100) * CPU_PERIOD_US)} ${CPU_PERIOD_US}`)]),
    ...(pidsMax === undefined ? [] : [limit('PIDS_MAX', 'pids', String(pidsMax))]),
  ];
}

/**
 * Finds out before anything is made whether the host can limit what is to be limited.
 * @param mount  the v2 hierarchy, '' for none
 */
export function checkLimits(conf: string, limits: Limits, mount: string): void {
  const controllers = mount ? readFileSync(join(mount, 'cgroup.controllers'), 'utf8').trim().split(' ') : [];
  throwAll(
    limitsOf(limits)
      .filter(({ controller }) => !controllers.includes(controller))
      .map(
        ({ variable, controller }) =>
          new UserError({
            what: `${conf}: ${variable}: this host has no ${controller} controller in cgroup v2`,
            todo: `boot it with cgroup v2 alone (systemd.unified_cgroup_hierarchy=1), or remove ${variable}`,
          }),
      ),
  );
}

/** Sets the limits on the control group, with its controllers turned on along the way down. */
export function applyLimits(limits: Limits, mount: string, cgroup: string): void {
  const wanted = limitsOf(limits);
  if (wanted.length === 0) return;
  const controllers = wanted.map(({ controller }) => `+${controller}`).join(' ');
  const lacking: string[] = [];
  for (let at = dirname(cgroup); at.startsWith(mount) && !enabled(at, wanted); at = dirname(at))
    lacking.unshift(at);
  // From the top: a group can only hand on what it was handed.
  for (const at of lacking)
    write(join(at, 'cgroup.subtree_control'), controllers, `cannot turn on ${controllers}`);
  for (const { variable, file, value } of wanted) write(join(cgroup, file), value, `cannot set ${variable}`);
}

const enabled = (cgroup: string, wanted: readonly Limit[]): boolean => {
  const on = readIfExists(join(cgroup, 'cgroup.subtree_control'))?.trim().split(' ') ?? [];
  return wanted.every(({ controller }) => on.includes(controller));
};

function write(file: string, text: string, what: string): void {
  try {
    writeFileSync(file, text);
  } catch (cause) {
    throw new Failure({ what: `${what}: ${file}: ${cause instanceof Error ? cause.message : cause}`, cause });
  }
}
