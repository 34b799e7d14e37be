/** What boots and stops boxes; and a box as a subhost. box-nspawn.ts is the other one. */
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { Failure } from '../errors.js';
import type { CableSpec } from '../net/cable.js';
import { requireWafer, stackOfWafer } from '../stack/from-wafers.js';
import { isRunning } from '../state/liveness.js';
import { makeRunDirectory, readState } from '../state/state-file.js';
import type { SubhostState } from '../state/subhost-state.js';
import { boot } from './boot.js';
import type { BootHost, BootRequest } from './boot-types.js';
import { checkBootable } from './box.js';
import { boxConf, checkBoxConf, checkBoxStack, configureConf, writeConfigureConf } from './box-conf.js';
import { checkWiring } from './cables.js';
import { checkUnused } from './mount-point.js';
import { type Prepared, prepare } from './prepare.js';

/** What a box came to when it was started. */
export interface Started {
  readonly outcome: 'booted' | 'running';
  /** Services that failed to start. */
  readonly degraded: readonly string[];
}

/** What commands ask of whatever boots a box. */
export interface BoxEngine {
  /** @throws Failure where something of its name runs that is not the box */
  runs(): boolean;
  /**
   * Finds out, and gets ready, as much as can be while the box still runs: then it has only to be stopped and started.
   * @param instance  what it will be
   * @throws UserError, Failure or ErrorList for everything that would keep it from starting
   */
  prepare(instance: string): Promise<void>;
  /**
   * Starts the current instance.
   * @param interruptible  false for what takes something back, whoever interrupts
   * @returns when it is ready
   * @throws UserError, Failure or ErrorList; nothing of it runs then
   */
  start(options?: { readonly interruptible: boolean }): Promise<Started>;
  /** @returns false where it did not run */
  stop(options?: { readonly kill: boolean }): Promise<boolean>;
  /**
   * Has a shell run in its current instance without its being started. Whatever is started there ends with the shell.
   * @returns the shell's exit status
   */
  configure(shell: BoxShell): Promise<number>;
}

/** How a shell is run for whoever called the command: each gives back its exit status. */
export interface BoxShell {
  /** The caller's TERM. */
  readonly term: string | undefined;
  /** A login shell in a subhost. */
  enter(state: SubhostState): Promise<number>;
  /** A program of the host. */
  attach(argv: readonly string[]): Promise<number>;
}

export interface EngineOptions {
  readonly name: string;
  /** For a start; milliseconds, 0 is no limit. */
  readonly timeoutMs: number;
  /** Ends a start. */
  readonly signal: AbortSignal;
  readonly warn: (line: string) => void;
}

/** A box as a subhost. */
export class SubhostEngine implements BoxEngine {
  readonly #host: BootHost;
  readonly #options: EngineOptions;
  /** What is wrong in a conf, but no error, is said once, however often it is read. */
  readonly #said = new Set<string>();

  constructor(host: BootHost, options: EngineOptions) {
    this.#host = host;
    this.#options = options;
  }

  runs(): boolean {
    const state = this.#running();
    return state !== undefined && !this.#isConfigured(state);
  }

  async prepare(instance: string): Promise<void> {
    this.#running();
    checkBoxStack(this.#host.settings, this.#options.name);
    const prepared = await prepare(
      this.#host,
      this.#request(boxConf(this.#host.settings, this.#options.name)),
    );
    checkBoxConf(prepared, this.#options.name);
    const { wafers } = this.#host;
    stackOfWafer(instance, { wafers });
    checkUnused(requireWafer(wafers, instance));
    checkBootable(wafers, instance);
    await this.#checkCables(prepared);
    // Loaded now: once the box is stopped, every millisecond counts.
    await Promise.all([import('./stop.js'), import('../sys/run.js')]);
    this.#options.signal.throwIfAborted(); // before it is stopped there is nothing to take back
  }

  async start({ interruptible = true } = {}): Promise<Started> {
    const state = this.#running();
    // Whoever configured it was killed: the lock of the box would be theirs.
    if (state && this.#isConfigured(state)) await this.stop({ kill: true });
    makeRunDirectory(this.#host.settings.runDir);
    const request = this.#request(boxConf(this.#host.settings, this.#options.name));
    const started = await boot(this.#host, interruptible ? request : patient(request, this.#host));
    await announce(this.#host, this.#running()?.cables ?? []);
    return started;
  }

  async configure(shell: BoxShell): Promise<number> {
    try {
      return await shell.enter(await this.#startToConfigure());
    } finally {
      await this.stop();
      rmSync(configureConf(this.#host.settings, this.#options.name), { force: true });
    }
  }

  /** Boots it with nothing started in it. @returns its record */
  async #startToConfigure(): Promise<SubhostState> {
    const { settings } = this.#host;
    const { name } = this.#options;
    const { identity, config } = await prepare(this.#host, this.#request(boxConf(settings, name)));
    makeRunDirectory(settings.runDir);
    const log = join(settings.logDir, `${name}.configure.log`);
    const conf = writeConfigureConf(settings, { ...identity, live: config.live, log });
    await this.stop({ kill: true });
    await boot(this.#host, this.#request(conf));
    const state = this.#running();
    if (state) return state;
    throw new Failure({ what: `${name} ended at once`, todo: `see ${log}` });
  }

  async stop({ kill = false } = {}): Promise<boolean> {
    this.#running();
    const { settings, initProgram, launcher } = this.#host;
    const { runDir, graceMs, serviceTimeoutMs } = settings;
    const { name, warn } = this.#options;
    const { stop } = await import('./stop.js');
    const outcome = await stop({
      runDir,
      name,
      initProgram,
      launcher,
      kill,
      serviceTimeoutMs,
      graceMs,
      warn,
    });
    return outcome !== 'not running';
  }

  /** The record of what runs, if that is the box. @throws Failure for another subhost of that name */
  #running(): SubhostState | undefined {
    const { name } = this.#options;
    const { settings } = this.#host;
    const state = readState(settings.runDir, name);
    if (!state || !isRunning(settings.runDir, state)) return undefined;
    if (state.conf === boxConf(settings, name) || this.#isConfigured(state)) return state;
    throw new Failure({
      what: `${name} runs, but is no box: it was booted from ${state.conf}`,
      todo: `overlay-stop ${name}, or another name for the box`,
    });
  }

  #isConfigured({ conf }: SubhostState): boolean {
    return conf === configureConf(this.#host.settings, this.#options.name);
  }

  #request(conf: string): BootRequest {
    const { timeoutMs, signal } = this.#options;
    return { conf, mkdir: true, timeoutMs, signal, stay: false, warn: (line) => this.#sayOnce(line) };
  }

  #sayOnce(line: string): void {
    if (!this.#said.has(line)) this.#options.warn(line);
    this.#said.add(line);
  }

  async #checkCables({ identity: { conf, name }, config: { cables } }: Prepared): Promise<void> {
    if (cables.length === 0) return;
    const { settings, netnsDir } = this.#host;
    const own = readState(settings.runDir, name)?.cables.map(({ host }) => host) ?? [];
    const wiring = { conf, name, netns: join(netnsDir, name), cables };
    await checkWiring(await this.#host.route(), wiring, new Set(own));
  }
}

/**
 * While a box was away the host has asked in vain for who has its addresses, if it was alone on its bridge: that goes
 * down then, and forgets. Without this, whoever is on the host would find it up to a second later.
 */
export async function announce(host: Pick<BootHost, 'route'>, cables: readonly CableSpec[]): Promise<void> {
  const bridges = [...new Set(cables.flatMap(({ bridge }) => bridge ?? []))];
  if (bridges.length === 0) return;
  const route = await host.route();
  await route.forgetUnanswered(bridges).catch(() => undefined); // the second is then to be waited
}

/**
 * Starts a box that was stopped for it.
 * @param done  what else was done
 * @throws Failure that says that it does not run now
 */
export async function startStopped(engine: BoxEngine, done?: string): Promise<Started> {
  try {
    return await engine.start();
  } catch (cause) {
    const todo = [done, 'it is stopped'].filter(Boolean).join(', and ');
    throw new Failure({ what: oneLine(cause), todo, cause });
  }
}

/** The words of an error, or of several. */
export const oneLine = (error: unknown): string =>
  (error instanceof Error ? error.message : String(error)).replaceAll('\n', '; ');

/** What takes something back is not given up: it has the time that a boot has without options. */
const patient = (request: BootRequest, { settings }: BootHost): BootRequest => ({
  ...request,
  timeoutMs: settings.bootTimeoutMs,
  signal: new AbortController().signal,
});
