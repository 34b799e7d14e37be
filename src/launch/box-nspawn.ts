/** A box as a container of systemd-nspawn: a transient unit of the host's systemd has it, and systemd is its init. */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import type { SubhostConfig } from '../config/subhost-config.js';
import { Failure, throwAll, UserError } from '../errors.js';
import {
  boxUnit,
  configureArguments,
  configureUnit,
  type NspawnBox,
  nspawnCables,
  startArguments,
} from '../plan/nspawn-unit.js';
import { findInLayers } from '../stack/find-in-layers.js';
import { requireWafer, stackOfWafer } from '../stack/from-wafers.js';
import { realPath } from '../stack/root-kind.js';
import { mountsOf } from '../sys/mountinfo.js';
import type { BootHost } from './boot-types.js';
import { imageOfInstance, layersOf } from './box.js';
import { announce, type BoxEngine, type BoxShell, type EngineOptions, type Started } from './box-engine.js';
import { nspawnConfig } from './box-nspawn-conf.js';
import { failedUnits, isUnitThere, MACHINES, requireSystemd } from './box-nspawn-seen.js';
import { checkWiring } from './cables.js';
import { checkedTerm } from './enter.js';
import { findProgram } from './ifupdown.js';
import { checkUnused } from './mount-point.js';
import { unmountPoint } from './store-points.js';
import { mountPointOf, type WaferPlaces } from './wafers.js';

type NspawnHost = Pick<BootHost, 'settings' | 'binDir' | 'netnsDir' | 'path' | 'route'>;

/** The files that systemd-nspawn --boot runs before it looks for another init. */
const INITS = ['/usr/lib/systemd/systemd', '/lib/systemd/systemd'];

export class NspawnEngine implements BoxEngine {
  readonly #host: NspawnHost;
  readonly #places: WaferPlaces;
  readonly #options: EngineOptions;
  /** What is wrong in a conf, but no error, is said once, however often it is read. */
  readonly #said = new Set<string>();

  constructor(host: NspawnHost, places: WaferPlaces, options: EngineOptions) {
    this.#host = host;
    this.#places = places;
    this.#options = options;
  }

  runs(): boolean {
    return isUnitThere(boxUnit(this.#options.name));
  }

  async prepare(instance: string): Promise<void> {
    const { name, signal } = this.#options;
    const config = await this.#config();
    this.#checkHost(config);
    this.#checkInstance(instance);
    throwAll(
      config.shares
        .filter(({ host }) => !existsSync(host))
        .map(
          ({ host }) =>
            new UserError({
              what: `${config.conf}: SHARE: ${host}: there is no such file or directory`,
              todo: 'make it, or leave the share out',
            }),
        ),
    );
    const cables = nspawnCables(name, config.cables);
    const own = new Set(cables.map(({ host }) => host));
    const wiring = { conf: config.conf, name, netns: join(this.#host.netnsDir, name), cables };
    if (cables.length > 0) await checkWiring(await this.#host.route(), wiring, own);
    signal.throwIfAborted(); // before it is stopped there is nothing to take back
  }

  /** @throws UserError or Failure for what the host lacks, or has of that name */
  #checkHost({ conf, name }: SubhostConfig): void {
    requireSystemd(conf);
    if (findProgram('systemd-nspawn', this.#host.path) === undefined)
      throw new Failure({
        what: `${conf}: ENGINE=nspawn: there is no systemd-nspawn here`,
        todo: 'install systemd-container',
      });
    if (existsSync(join(MACHINES, name)) && !this.runs())
      throw new Failure({
        what: `a machine ${name} runs, but is no box`,
        todo: `machinectl poweroff ${name}, or another name for the box`,
      });
  }

  /** @throws Failure for what cannot be booted, or is in use elsewhere than by the box */
  #checkInstance(instance: string): void {
    const { wafers } = this.#places;
    stackOfWafer(instance, { wafers });
    const own = realPath(this.#root);
    checkUnused(
      requireWafer(wafers, instance),
      mountsOf('self').filter(({ mountPoint }) => mountPoint !== own),
    );
    const layers = layersOf(wafers, instance);
    if (!INITS.some((init) => findInLayers(layers, init) !== undefined))
      throw new Failure({
        what: `image "${imageOfInstance(instance)}" has no systemd, which tells when it is ready`,
        todo: 'ENGINE=subhost boots it',
      });
  }

  async start({ interruptible = true } = {}): Promise<Started> {
    const { name } = this.#options;
    const timeoutMs = interruptible ? this.#options.timeoutMs : this.#host.settings.bootTimeoutMs;
    const signal = interruptible ? this.#options.signal : new AbortController().signal;
    const config = await this.#config();
    // Whoever configured it was killed.
    if (isUnitThere(configureUnit(name))) await this.stop({ kill: true });
    await this.#startUnit(startArguments(this.#box(config), timeoutMs), { timeoutMs, signal });
    await announce(this.#host, config.cables);
    return { outcome: 'booted', degraded: await failedUnits(name) };
  }

  /** @throws Failure; the unit is gone then */
  async #startUnit(
    argv: readonly string[],
    { timeoutMs, signal }: Pick<EngineOptions, 'timeoutMs' | 'signal'>,
  ): Promise<void> {
    const { name } = this.#options;
    signal.throwIfAborted();
    const { startProgram } = await import('../sys/run.js');
    // In a session of its own: ^C is for us, and what it would leave running we end.
    const started = await startProgram(['setsid', '--wait', ...argv]);
    const late = timeoutMs === 0 ? undefined : AbortSignal.timeout(timeoutMs);
    try {
      await unless(late ? AbortSignal.any([signal, late]) : signal, started.done);
    } catch (cause) {
      await this.stop({ kill: true });
      const log = `(journalctl --unit=${boxUnit(name)})`;
      if (signal.aborted) throw new Failure({ what: `${name}: ${messageOf(signal.reason)} ${log}`, cause });
      const why = late?.aborted ? `not ready within ${timeoutMs / 1000} s` : await this.#lastWords();
      throw new Failure({ what: `${name}: ${why} ${log}`, cause });
    }
  }

  /** What systemd-nspawn has said last, or its box on its console. */
  async #lastWords(): Promise<string> {
    const { runProgram, lastLine } = await import('../sys/run.js');
    const unit = `--unit=${boxUnit(this.#options.name)}`;
    const options = [unit, '--identifier=systemd-nspawn', '--output=cat', '--lines=5', '--quiet', '--boot'];
    const said = await runProgram(['journalctl', ...options]).catch(() => undefined);
    const last = said && lastLine(said.stdout);
    return last ? `it ended before it was ready: ${last}` : 'it ended before it was ready';
  }

  async stop({ kill = false } = {}): Promise<boolean> {
    const { name } = this.#options;
    const units = [boxUnit(name), configureUnit(name)].filter(isUnitThere);
    if (units.length === 0) return false;
    const { runProgram } = await import('../sys/run.js');
    // 5: it is gone by now, which is what is wanted.
    const okCodes = [0, 1, 5];
    if (kill) await runProgram(['systemctl', 'kill', '--signal=SIGKILL', ...units], { okCodes });
    await runProgram(['systemctl', 'stop', ...units], { okCodes: [0, 5] });
    // Its unit has unmounted it; where it could not, this tells who holds it.
    await unmountPoint(this.#places, name);
    return true;
  }

  async configure({ term, attach }: BoxShell): Promise<number> {
    const config = await this.#config();
    if (isUnitThere(configureUnit(this.#options.name))) await this.stop({ kill: true });
    try {
      return await attach(configureArguments(this.#box(config), checkedTerm(term, term !== undefined)));
    } finally {
      await this.stop();
    }
  }

  get #root(): string {
    return mountPointOf(this.#places, this.#options.name);
  }

  async #config(): Promise<SubhostConfig> {
    const { name } = this.#options;
    const warn = (line: string): void => {
      if (!this.#said.has(line)) this.#options.warn(line);
      this.#said.add(line);
    };
    return await nspawnConfig(this.#host, name, warn);
  }

  #box({ name, cables, shares, limits }: SubhostConfig): NspawnBox {
    const { wafers, stacks } = this.#places;
    const mount = [process.execPath, join(this.#host.binDir, 'stacko'), 'mount-stackpoint', name];
    const environment = { WAFERS: wafers, STACKS: stacks };
    return { name, root: this.#root, mount, environment, cables, shares, limits };
  }
}

/** What is waited for, unless the signal comes first. */
async function unless<T>(signal: AbortSignal, done: Promise<T>): Promise<T> {
  let onAbort = (): void => {};
  const aborted = new Promise<never>((_, fail) => {
    onAbort = () => fail(signal.reason);
    signal.addEventListener('abort', onAbort);
  });
  try {
    return await Promise.race([done, aborted]);
  } finally {
    signal.removeEventListener('abort', onAbort);
  }
}

const messageOf = (error: unknown): string => (error instanceof Error ? error.message : String(error));
