/** Which engine runs a box: the one place that looks at ENGINE. */
import type { Engine } from '../config/subhost-config.js';
import { throwAll } from '../errors.js';
import type { BootHost } from './boot-types.js';
import {
  type BoxEngine,
  type BoxShell,
  type EngineOptions,
  type Started,
  SubhostEngine,
} from './box-engine.js';
import { NspawnEngine } from './box-nspawn.js';
import { engineOfBox } from './box-nspawn-conf.js';
import type { WaferPlaces } from './wafers.js';

/** The engine of the box's conf starts it; whichever runs it stops it, since the conf may say another by now. */
export class ConfiguredEngine implements BoxEngine {
  readonly #engines: Readonly<Record<Engine, BoxEngine>>;
  readonly #chosen: () => BoxEngine;

  constructor(host: BootHost, places: WaferPlaces, options: EngineOptions) {
    const engines = {
      subhost: new SubhostEngine(host, options),
      nspawn: new NspawnEngine(host, places, options),
    };
    this.#engines = engines;
    // Looked at anew: the conf may be made meanwhile.
    this.#chosen = () => engines[engineOfBox(host.settings, options.name)];
  }

  runs(): boolean {
    const { nspawn, subhost } = this.#engines;
    // A container is the box; a subhost of that name may be another one, which throws.
    return nspawn.runs() || subhost.runs();
  }

  async prepare(instance: string): Promise<void> {
    await this.#chosen().prepare(instance);
  }

  async start(options?: { readonly interruptible: boolean }): Promise<Started> {
    return await this.#chosen().start(options);
  }

  async stop(options?: { readonly kill: boolean }): Promise<boolean> {
    const { nspawn, subhost } = this.#engines;
    // What is wrong with the one does not keep the other running.
    const ended = await Promise.allSettled([nspawn.stop(options), subhost.stop(options)]);
    throwAll(ended.flatMap((one) => (one.status === 'rejected' ? [asError(one.reason)] : [])));
    return ended.some((one) => one.status === 'fulfilled' && one.value);
  }

  async configure(shell: BoxShell): Promise<number> {
    return await this.#chosen().configure(shell);
  }
}

const asError = (reason: unknown): Error => (reason instanceof Error ? reason : new Error(String(reason)));
