/** Which engine runs a box: the one place that looks at ENGINE. */
import type { Engine } from '../config/subhost-config.js';
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
    return Object.values(this.#engines).some((engine) => engine.runs());
  }

  async prepare(instance: string): Promise<void> {
    await this.#chosen().prepare(instance);
  }

  async start(options?: { readonly interruptible: boolean }): Promise<Started> {
    return await this.#chosen().start(options);
  }

  async stop(options?: { readonly kill: boolean }): Promise<boolean> {
    let ran = false;
    for (const engine of Object.values(this.#engines)) ran = (await engine.stop(options)) || ran;
    return ran;
  }

  async configure(shell: BoxShell): Promise<number> {
    return await this.#chosen().configure(shell);
  }
}
