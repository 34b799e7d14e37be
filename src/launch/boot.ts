/** Boots one subhost: from its conf file to the acknowledged ready, or to nothing at all. */
import { closeSync, realpathSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { capabilityWarnings, hasUserNamespace } from '../config/capabilities.js';
import { checkPaths } from '../config/check.js';
import { type CommandRequest, resolveConfig } from '../config/resolve.js';
import type { SubhostConfig } from '../config/subhost-config.js';
import { errnoOf, Failure, throwAll } from '../errors.js';
import type { CableSpec } from '../net/cable.js';
import {
  type BootPlan,
  bootPlan,
  finalScript,
  type Hook,
  type HostFacts,
  type Stage,
} from '../plan/boot-plan.js';
import { type ChildOp, childOpStrings } from '../plan/child-ops.js';
import { leftoverOps, linkOps, undoOps } from '../plan/undo-ops.js';
import { rootKind } from '../stack/root-kind.js';
import type { Stack } from '../stack/stack.js';
import { recordOf } from '../state/config-record.js';
import { isRunning } from '../state/liveness.js';
import { readState, stateDirectory, writePidFile, writeState } from '../state/state-file.js';
import { openStopMark, readStopMark, removeStopMark } from '../state/stop-mark.js';
import type { SubhostState } from '../state/subhost-state.js';
import { makePath } from '../sys/files.js';
import type { Booted, BootHost, BootRequest } from './boot-types.js';
import { checkNetnsName, makeCables, type Wiring } from './cables.js';
import { type CommandContext, checkScript, runHook, runValueCommand } from './host-commands.js';
import { withImageStart } from './image-start.js';
import type { Ended, KeeperSession } from './launcher.js';
import { applyLimits, checkLimits } from './limits.js';
import { makeDirectories, type Prepared, prepare } from './prepare.js';
import { stackOf } from './read-stack.js';
import { sleep } from './sleep.js';
import { takeBack } from './take-back.js';
import { takeLock } from './take-lock.js';
import { abandonedLinks, checkGroupUnused } from './unrecorded.js';

type StartStage = Extract<Stage, { kind: 'start' }>;

/** The end of pid 1 is heard of a moment after that of the others in its pid namespace. */
const ENDING_MS = 50;

/** @throws UserError, Failure or ErrorList; nothing of the subhost is left then */
export async function boot(host: BootHost, request: BootRequest): Promise<Booted> {
  const prepared = await prepare(host, request);
  const locking = takeLock(host, request, prepared.identity);
  // Loaded while the keeper is made and takes the lock; an error of it is for whoever needs it.
  if (prepared.config.cables.length > 0) process.nextTick(() => host.route().catch(() => undefined));
  const session = await locking;
  if (!session) return runningAlready(host, request, prepared.identity.name);
  return new Boot(host, request, session, prepared).run();
}

/** How often is looked whether a subhost that somebody else has booted still runs; its keeper tells only its parent. */
const END_POLL_MS = 250;

function runningAlready({ settings }: BootHost, { stay }: BootRequest, name: string): Booted {
  const ended = async (): Promise<Ended> => {
    for (let runs = true; runs; await sleep(END_POLL_MS)) {
      const state = readState(settings.runDir, name);
      runs = state !== undefined && isRunning(settings.runDir, state);
    }
    return { kind: 'none', status: 0, left: '' };
  };
  return { name, outcome: 'running', degraded: [], ...(stay && { ended: ended() }) };
}

class Boot {
  readonly #host: BootHost;
  readonly #request: BootRequest;
  readonly #session: KeeperSession;
  readonly #prepared: Prepared;
  readonly #stateDir: string;
  readonly #degraded: string[] = [];
  #state: SubhostState;
  #logOpen = false;
  #startRequested = false;
  /** Open from before the first record, by which it can be stopped, until it is ready or gone. */
  #stopMark: number | undefined;

  constructor(host: BootHost, request: BootRequest, session: KeeperSession, prepared: Prepared) {
    const { conf, name, base } = prepared.identity;
    this.#prepared = prepared;
    this.#host = host;
    this.#request = request;
    this.#session = session;
    this.#stateDir = stateDirectory(host.settings.runDir, name);
    session.onReport = (service) => this.#noteFailed(service);
    this.#state = {
      ...{
        version: 1,
        name,
        conf,
        phase: 'starting',
        step: 'lock',
        bootId: host.bootId,
        startedAtMs: Date.now(),
      },
      ...{ base, live: '', upper: '', lower: [], log: '', netns: join(host.netnsDir, name) },
      ...(session.cgroup && { cgroup: session.cgroup }),
      ...{ cables: [], ifup: [], shares: [], start: [], degraded: [] },
    };
  }

  async run(): Promise<Booted> {
    const { config: early, commands, stack: earlyStack } = this.#prepared;
    const timer = this.#request.timeoutMs
      ? setTimeout(() => this.#timeOut(), this.#request.timeoutMs)
      : undefined;
    const onAbort = (): void => this.#interrupt(this.#request.signal.reason);
    this.#request.signal.addEventListener('abort', onAbort);
    try {
      this.#request.signal.throwIfAborted();
      await this.#clearDeadInstance(early);
      this.#stopMark = openStopMark(this.#host.settings.runDir, this.#state.name);
      this.#requestNamespaces(early);
      // Asked for in one go where it can be: a round trip less.
      if (commands.size === 0) this.#requestLog(early.log);
      await this.#namespacesMade(early);
      const config = commands.size > 0 ? await this.#evaluate() : early;
      const stack = earlyStack ?? (await stackOf(config, this.#host));
      const plan = bootPlan(config, this.#facts(config, stack));
      if (commands.size > 0) this.#requestLog(config.log);
      await this.#session.expect('DONE');
      this.#logOpen = true;
      await this.#makeCables(plan);
      for (const [i, stage] of plan.stages.entries()) await this.#carryOut(stage, plan, plan.stages[i + 1]);
      await this.#refuseStopped();
      return this.#acknowledge();
    } catch (error) {
      // An interrupted hook fails too, but that is not the reason.
      throw await takeBack(this.#session.interrupted ?? this.#stopped() ?? error, {
        session: this.#session,
        initProgram: this.#host.initProgram,
        stateDir: this.#stateDir,
        state: this.#state,
        logOpen: this.#logOpen,
      });
    } finally {
      if (this.#stopMark !== undefined) closeSync(this.#stopMark);
      clearTimeout(timer);
      this.#request.signal.removeEventListener('abort', onAbort);
    }
  }

  // ---- before anything is made ----

  async #clearDeadInstance(config: SubhostConfig): Promise<void> {
    const { runDir } = this.#host.settings;
    const { name, netns, conf } = this.#state;
    const dead = readState(runDir, name);
    const wiring = { name, conf, netns, cables: config.cables };
    if (!dead) {
      checkNetnsName(wiring);
      await checkGroupUnused(this.#session.cgroup, this.#stateDir);
    }
    const left = dead?.bootId === this.#host.bootId ? dead.cables : [];
    const unrecorded = await this.#checkWiring(wiring, left);
    // The record stays until ours replaces it: the directory is our lock.
    await this.#clear([
      ...(dead ? leftoverOps(dead, this.#stateDir, this.#host.bootId).slice(0, -2) : []),
      ...linkOps(unrecorded, name),
    ]);
  }

  /** @returns host ends that are left of an instance whose record somebody has removed */
  async #checkWiring(wiring: Wiring, left: readonly CableSpec[]): Promise<string[]> {
    if (wiring.cables.length === 0) return [];
    return await abandonedLinks(await this.#host.route(), wiring, left, this.#stateDir);
  }

  async #clear(ops: readonly string[]): Promise<void> {
    if (ops.length === 0) return;
    this.#session.request('CLEAR', ...ops);
    await this.#session.expect('DONE');
  }

  // ---- making it ----

  #record(change: Partial<SubhostState>): void {
    this.#state = { ...this.#state, ...change };
    try {
      writeState(this.#host.settings.runDir, this.#state);
    } catch (error) {
      // No directory: pid 1 has ended, and its keeper has taken everything back; the next event says why.
      if (errnoOf(error) !== 'ENOENT') throw error;
    }
  }

  #armUndo(): void {
    this.#session.request('UNDO', ...undoOps(this.#state, this.#stateDir));
  }

  #requestNamespaces(config: SubhostConfig): void {
    this.#record({ step: 'namespaces', ...recordOf(config) });
    this.#armUndo();
    // Where CAPS is not known yet it is made for whatever comes: a subhost that does not enter it may all in it.
    const own = hasUserNamespace(config.caps) || this.#prepared.commands.has('CAPS');
    this.#session.request('CLONE', this.#state.netns, own ? 'user' : '');
  }

  async #namespacesMade(config: SubhostConfig): Promise<void> {
    const { strings } = await this.#session.expect('CLONED');
    const [pid = 0, startTimeTicks = 0, keeperStart = 0, netnsInode = 0] = strings.map(Number);
    this.#record({
      keeper: { pid: this.#session.keeperPid, startTimeTicks: keeperStart },
      init: { pid, startTimeTicks },
      netnsInode,
    });
    this.#armUndo();
    if (this.#state.cgroup) applyLimits(config.limits, this.#host.cgroupMount, this.#state.cgroup);
  }

  /** The values that `!commands` give, which may mount in the subhost's mount namespace. */
  async #evaluate(): Promise<SubhostConfig> {
    const { parsed, commands } = this.#prepared;
    const { conf, name, base } = this.#state;
    this.#record({ step: 'commands' });
    const environment = { CONFIG: conf, NAME: name, ACTION: 'overlay-boot' };
    const resolved = await resolveConfig(
      parsed,
      { conf, name, base },
      this.#host.settings,
      (command: CommandRequest) => runValueCommand(command, environment, this.#commandContext()),
    );
    const config = withImageStart(resolved, this.#prepared.stack, this.#host.settings);
    if (this.#request.mkdir) makeDirectories(config, new Set());
    throwAll(
      checkPaths(config, commands, { logDir: this.#host.settings.logDir, guarded: this.#host.guarded() }),
    );
    if (commands.has('CAPS')) for (const warning of capabilityWarnings(config)) this.#request.warn(warning);
    checkLimits(conf, config.limits, this.#host.cgroupMount);
    if (commands.has('CABLES'))
      await this.#clear(linkOps(await this.#checkWiring({ ...config, netns: this.#state.netns }, []), name));
    // The default stood in for what a command has now said; all of them are not on record.
    const { caps, ...known } = this.#state;
    this.#state = known;
    this.#record(recordOf(config));
    this.#armUndo();
    if (this.#state.cgroup) applyLimits(config.limits, this.#host.cgroupMount, this.#state.cgroup);
    return config;
  }

  #commandContext(): CommandContext {
    return {
      insidePid: this.#state.init?.pid,
      binDir: this.#host.binDir,
      timeoutMs: this.#request.timeoutMs,
    };
  }

  #facts(config: SubhostConfig, stack: Stack): HostFacts {
    const { initProgram, netnsDir } = this.#host;
    return { rootKind: rootKind(config), stack, initProgram, netnsDir };
  }

  #requestLog(log: string): void {
    const { logDir } = this.#host.settings;
    if (dirname(log) === logDir) makePath(logDir, 0o755);
    // The keeper opens it through no link at all; those that the administrator put on the way are resolved here.
    this.#session.request('LOG', join(realpathSync(dirname(log)), basename(log)));
  }

  async #makeCables(plan: BootPlan): Promise<void> {
    if (plan.cables.length === 0) return;
    this.#record({ step: 'cables' });
    await makeCables(
      { ...plan, name: plan.name },
      {
        route: await this.#host.route(),
        pid: this.#state.init?.pid ?? 0,
        path: this.#host.path,
        timeoutMs: this.#request.timeoutMs,
        beforeIfup: (due) => this.#setIfup([...this.#state.ifup, due]),
        withoutStanza: (name) => this.#setIfup(this.#state.ifup.filter((due) => due.interface !== name)),
      },
    );
  }

  #setIfup(ifup: SubhostState['ifup']): void {
    this.#record({ ifup });
    this.#armUndo();
  }

  async #carryOut(stage: Stage, plan: BootPlan, next: Stage | undefined): Promise<void> {
    switch (stage.kind) {
      case 'child':
        this.#record({ step: stage.step });
        this.#requestOps(stage.ops);
        // No need to wait for the one to ask for the other: the child stops at the first failure.
        if (next?.kind === 'start' && !next.hook) this.#requestStart(next, plan, '');
        await this.#session.expect('DONE');
        return;
      case 'hook':
        this.#record({ step: stage.hook.name });
        await this.#runHook(stage.hook, plan);
        return;
      case 'start':
        await this.#start(stage, plan);
    }
  }

  async #start(stage: StartStage, plan: BootPlan): Promise<void> {
    this.#record({ step: stage.hook ? 'INIT' : 'start' });
    const printed = stage.hook ? await this.#runHook(stage.hook, plan) : '';
    if (!this.#startRequested) this.#requestStart(stage, plan, printed);
    await this.#session.expect('READY');
  }

  async #runHook(hook: Hook, plan: BootPlan): Promise<string> {
    const context = { ...this.#commandContext(), cwd: this.#state.base };
    try {
      return await runHook(hook, this.#hookEnvironment(plan), context);
    } catch (error) {
      // One that was ended together with its pid namespace is not what went wrong.
      throw (await this.#session.endWithin(ENDING_MS)) ?? error;
    }
  }

  /** @param printed  by the INIT command */
  #requestStart(stage: StartStage, plan: BootPlan, printed: string): void {
    const script = finalScript(stage, printed);
    checkScript(script);
    this.#startRequested = true;
    this.#requestOps([...stage.ops, { op: 'exec', name: plan.name, script }]);
  }

  #requestOps(ops: readonly ChildOp[]): void {
    this.#session.request('CHILD', ...ops.flatMap(childOpStrings));
  }

  #hookEnvironment(plan: BootPlan): Readonly<Record<string, string>> {
    return { ...plan.hookEnvironment, ACTION: 'overlay-boot' };
  }

  /** What is no service of START was made up inside: it shall not reach anybody's terminal. */
  #noteFailed(service: string): void {
    const known = this.#state.start.includes(service);
    if (known && !this.#degraded.includes(service)) this.#degraded.push(service);
  }

  /** Services that were ended while they started have let the start script come to its end, too. */
  async #refuseStopped(): Promise<void> {
    const stopped = this.#stopped();
    if (!stopped) return;
    await this.#session.endWithin(this.#host.settings.graceMs);
    throw stopped;
  }

  #stopped(): Failure | undefined {
    const by = this.#stopMark === undefined ? '' : readStopMark(this.#stopMark);
    return by === '' ? undefined : new Failure({ what: `stopped by ${by} before it was ready` });
  }

  #acknowledge(): Booted {
    const { name, keeper } = this.#state;
    const degraded = [...this.#degraded];
    this.#record({ phase: degraded.length > 0 ? 'degraded' : 'running', step: 'ready', degraded });
    writePidFile(this.#host.settings.runDir, name, keeper?.pid ?? 0);
    removeStopMark(this.#host.settings.runDir, name);
    this.#session.request('ACK', ...(this.#request.stay ? ['stay'] : ['']));
    return { name, outcome: 'booted', degraded, ...(this.#request.stay && { ended: this.#session.ended() }) };
  }

  // ---- when it does not work out ----

  #timeOut(): void {
    this.#interrupt(
      new Failure({
        what: `not ready within ${this.#request.timeoutMs / 1000} s`,
        todo: `it was at: ${this.#state.step}`,
      }),
    );
  }

  /** The keeper ends the subhost; whatever the boot waits for ends with `why`. */
  #interrupt(why: Error): void {
    this.#session.interrupt(why);
  }
}
