/** What is seen of boxes that systemd-nspawn runs: their units, and their machines. Reading only. */
import { existsSync, readlinkSync } from 'node:fs';
import { basename, join } from 'node:path';
import type { Settings } from '../config/settings.js';
import { UserError } from '../errors.js';
import type { CableSpec } from '../net/cable.js';
import { boxUnit, configureUnit, loginArguments, parseBoxUnit } from '../plan/nspawn-unit.js';
import { currentBootId } from '../state/liveness.js';
import type { Phase, ProcessId } from '../state/subhost-state.js';
import { namesIn } from '../sys/files.js';
import { childrenOf } from '../sys/proc.js';
import { readProcessStat } from '../sys/process-stat.js';
import { boxConf } from './box-conf.js';
import type { SeenBox } from './box-list.js';
import { cgroupMount } from './cables.js';
import { checkedTerm } from './enter.js';
import { mountPointOf, type WaferPlaces } from './wafers.js';

/** sd_booted(3) */
export const SYSTEMD = '/run/systemd/system';

/** @throws UserError unless systemd is the host's init */
export function requireSystemd(conf: string): void {
  if (!existsSync(SYSTEMD))
    throw new UserError({
      what: `${conf}: ENGINE=nspawn needs systemd as the host's init`,
      todo: 'write ENGINE=subhost',
    });
}

/** Where systemd-machined has a file for each machine; what is in there is its own. */
export const MACHINES = '/run/systemd/machines';

/** Where systemd has a file for each unit that was made while it runs, for as long as it knows the unit. */
const TRANSIENT = '/run/systemd/transient';

/** Does the unit run, or begin or cease to? */
export const isUnitThere = (unit: string): boolean => existsSync(join(TRANSIENT, unit));

/** The boxes that systemd-nspawn runs, by name. Nothing is started where there is none. */
export async function seenByNspawn(
  places: WaferPlaces,
  settings: Settings,
  { asRoot, note }: { readonly asRoot: boolean; readonly note: (message: string) => void },
): Promise<ReadonlyMap<string, SeenBox>> {
  const boxes = namesIn(TRANSIENT).flatMap((unit) => parseBoxUnit(unit) ?? []);
  const seen = await Promise.all(
    boxes.map(async (box): Promise<[string, SeenBox][]> => {
      try {
        const facts = await unitFacts(box.configuring ? configureUnit(box.name) : boxUnit(box.name));
        return facts ? [[box.name, await seenBox({ places, settings, ...box, facts, asRoot })]] : [];
      } catch (error) {
        note(error instanceof Error ? error.message : String(error));
        return [];
      }
    }),
  );
  return new Map(seen.flat());
}

/** What systemd says of a unit. */
interface UnitFacts {
  readonly phase: Phase;
  /** systemd-nspawn itself; 0 before and after it. */
  readonly pid: number;
  /** Below the mount point of the control groups. */
  readonly cgroup: string;
}

/** @returns undefined for a unit that is gone by now, or has failed and is about to go */
async function unitFacts(unit: string): Promise<UnitFacts | undefined> {
  const { runProgram } = await import('../sys/run.js');
  const { stdout } = await runProgram([
    ...['systemctl', 'show', '--property=ActiveState,MainPID,ControlGroup', unit],
  ]);
  const facts = new Map(
    stdout.split('\n').map((line): [string, string] => {
      const equals = line.indexOf('=');
      return [line.slice(0, equals), line.slice(equals + 1)];
    }),
  );
  const phase = PHASES[facts.get('ActiveState') ?? ''];
  return phase && { phase, pid: Number(facts.get('MainPID')), cgroup: facts.get('ControlGroup') ?? '' };
}

/** States of a unit, org.freedesktop.systemd1(5), in the words for subhosts. */
const PHASES: Readonly<Record<string, Phase | undefined>> = {
  activating: 'starting',
  active: 'running',
  deactivating: 'stopping',
};

interface Seeing {
  readonly places: WaferPlaces;
  readonly settings: Settings;
  readonly name: string;
  readonly configuring: boolean;
  readonly facts: UnitFacts;
  readonly asRoot: boolean;
}

/** The same facts as a subhost's record has, so that they are measured and shown as those of a subhost are. */
async function seenBox({ places, settings, name, configuring, facts, asRoot }: Seeing): Promise<SeenBox> {
  const conf = boxConf(settings, name);
  const init = initOf(facts.pid);
  const runs = facts.phase === 'running' && !configuring;
  // A box is asked itself, which is root's to do.
  const degraded = runs && asRoot ? await failedUnits(name) : [];
  const phase = degraded.length > 0 ? 'degraded' : facts.phase;
  const state = {
    ...({ version: 1, name, conf, phase, step: '', bootId: currentBootId(), startedAtMs: 0 } as const),
    ...(init && { init }),
    ...{ base: '', live: mountPointOf(places, name), upper: '', lower: [], stack: name, log: '' },
    netns: init ? `/proc/${init.pid}/ns/net` : '',
    cgroup: join(cgroupMount(), facts.cgroup),
    ...{ cables: cablesOf(name), ifup: [], shares: [], start: [], degraded },
  };
  const found = { name, word: phase, state, conf };
  const shell = (term: string | undefined) => loginArguments(name, checkedTerm(term, term !== undefined));
  return { found, configuring, engine: 'nspawn', shell };
}

/** pid 1 of the container is the child of systemd-nspawn. */
function initOf(nspawn: number): ProcessId | undefined {
  const [pid] = nspawn > 0 ? childrenOf(nspawn) : [];
  const startTimeTicks = pid === undefined ? undefined : readProcessStat(pid)?.startTimeTicks;
  return pid === undefined || startTimeTicks === undefined ? undefined : { pid, startTimeTicks };
}

/** The link that systemd-nspawn has made for it, if it has: --network-veth or --network-bridge. */
function cablesOf(name: string): CableSpec[] {
  const host = [`vb-${name}`, `ve-${name}`].find((link) => existsSync(join('/sys/class/net', link)));
  if (host === undefined) return [];
  const master = join('/sys/class/net', host, 'master');
  const bridge = existsSync(master) ? { bridge: basename(readlinkSync(master)) } : {};
  return [{ kind: 'veth', host, inside: 'host0', ...bridge }];
}

/** The units in a box that have failed, by name; none where it cannot be asked. */
export async function failedUnits(name: string): Promise<string[]> {
  const { runProgram } = await import('../sys/run.js');
  const options = ['list-units', '--failed', '--no-legend', '--plain', '--no-pager'];
  const listed = await runProgram(['systemctl', `--machine=${name}`, ...options], {
    timeoutMs: 10_000,
  }).catch(() => undefined);
  return (listed?.stdout ?? '').split('\n').flatMap((line) => line.trim().split(/\s+/)[0] || []);
}
