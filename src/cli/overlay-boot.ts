/** overlay-boot(8): boots subhosts, or only checks or prints what a boot would do. */
import { setMaxListeners } from 'node:events';
import { parseAssignments } from '../config/assignments.js';
import { capabilityWarnings } from '../config/capabilities.js';
import { checkPaths } from '../config/check.js';
import { describeConfig, describeUnevaluated } from '../config/describe.js';
import { listedSubhosts } from '../config/listed.js';
import { resolveWhole, variablesFromCommands } from '../config/resolve.js';
import { loadSettings, SETTINGS_DIRECTORY, type Settings } from '../config/settings.js';
import type { SubhostConfig } from '../config/subhost-config.js';
import { readSubhostsList } from '../config/subhosts-list.js';
import { readTrusted } from '../config/trust.js';
import { EXIT, Failure, throwAll, UserError } from '../errors.js';
import { boot } from '../launch/boot.js';
import type { Booted } from '../launch/boot-types.js';
import { cgroupMount, checkWiring } from '../launch/cables.js';
import { changedBySubhosts } from '../launch/guarded.js';
import { runValueCommand } from '../launch/host-commands.js';
import { type Ended, Launcher } from '../launch/launcher.js';
import { checkLimits } from '../launch/limits.js';
import { stackOf } from '../launch/read-stack.js';
import { bootPlan } from '../plan/boot-plan.js';
import { printPlan } from '../plan/print.js';
import { rootKind } from '../stack/root-kind.js';
import { makeRunDirectory } from '../state/state-file.js';
import { closeInherited } from '../sys/inherited.js';
import { initProgram } from '../sys/init-program.js';
import type { Arguments, Command, Terminal } from './command.js';
import { binDirectory, requireRoot, secondsOption, wafersDirectory } from './common-arguments.js';
import { bootHost, NETNS_DIR } from './common-boot.js';
import { runCommand } from './run-command.js';

const command: Command = {
  name: 'overlay-boot',
  summary: 'Boot subhosts, each from its conf file',
  usage: ['[OPTIONS] CONF...', '[OPTIONS] --all', '[OPTIONS] --listed NAME...'],
  options: [
    { name: 'all', help: 'every conf of /etc/subhosts.conf' },
    { name: 'listed', help: 'the arguments are names of subhosts in /etc/subhosts.conf' },
    { name: 'check', help: 'check the conf and print nothing, or with --json every variable resolved' },
    { name: 'plan', help: 'print what a boot would do, and do nothing' },
    { name: 'no-eval', help: 'with --check or --plan: show !commands as they are, run none' },
    { name: 'json', help: 'with --check or --plan: print JSON' },
    { name: 'mkdir', help: "make LIVE, UPPER, WORK and the log's directory where missing" },
    { name: 'foreground', help: 'stay until the subhost ends, exit with the status of its pid 1' },
    { name: 'timeout', value: 'SECONDS', help: 'limit for each boot in all (default 120, 0: none)' },
  ],
  endsAtOnce: true,
  async main(args, terminal) {
    checkUsage(args);
    // First of all, since it starts while the rest is loaded and read.
    const booting = !args.has('check') && !args.has('plan');
    if (booting) requireRoot(terminal);
    // What is made is for all to read, as on a host that boots: the root of a subhost above all.
    process.umask(0o022);
    const launcher = booting ? new Launcher(terminal.env.OVERLAY_BOOT_LAUNCHER) : undefined;
    closeInherited();
    try {
      const settings = await loadSettings(SETTINGS_DIRECTORY);
      const confs = confsOf(args, settings);
      if (!launcher) return await describeAll(confs, args, terminal, settings);
      return await bootAll(confs, args, terminal, { settings, launcher });
    } finally {
      launcher?.close();
    }
  },
};

/** An option that would mean nothing is refused: who writes --no-eval wants no command run. */
function checkUsage(args: Arguments): void {
  const describing = ['check', 'plan'].filter((name) => args.has(name));
  const todo = 'see overlay-boot --help';
  if (describing.length > 1) throw new UserError({ what: '--check and --plan exclude each other', todo });
  for (const name of ['no-eval', 'json'])
    if (describing.length === 0 && args.has(name))
      throw new UserError({ what: `--${name} needs --check or --plan`, todo });
  secondsOption(args, 'timeout');
  if (args.has('foreground') && (args.has('all') || args.positionals.length > 1))
    throw new UserError({ what: '--foreground takes one CONF', todo });
}

/** The confs that the command line names, in its order, each once. */
function confsOf(args: Arguments, settings: Settings): string[] {
  const todo = 'see overlay-boot --help';
  if (args.has('all') && args.positionals.length > 0)
    throw new UserError({ what: '--all takes no CONF', todo });
  if (args.has('all')) return readSubhostsList(settings.subhosts);
  if (args.positionals.length === 0) throw new UserError({ what: 'no CONF given', todo });
  if (args.has('listed')) return args.positionals.map((name) => listedConf(name, settings));
  return [...new Set(args.positionals)];
}

function listedConf(name: string, { subhosts }: Settings): string {
  const listed = listedSubhosts(subhosts);
  const found = listed.find((subhost) => subhost.name === name);
  if (found) return found.conf;
  const names = listed.map((subhost) => subhost.name).join(', ') || 'none';
  throw new UserError({ what: `${subhosts} lists no subhost ${name}`, todo: `it lists ${names}` });
}

// ---- --check and --plan ----

async function describeAll(
  confs: readonly string[],
  args: Arguments,
  terminal: Terminal,
  settings: Settings,
): Promise<number> {
  const described: unknown[] = [];
  const errors: Error[] = [];
  for (const conf of confs) {
    try {
      described.push(await describe(conf, args, terminal, settings));
    } catch (error) {
      if (!(error instanceof Error)) throw error;
      errors.push(error);
    }
  }
  throwAll(errors);
  const values = described.length === 1 ? described[0] : described;
  if (args.has('json')) terminal.print(JSON.stringify(values, null, 2));
  else if (args.has('plan') || args.has('no-eval'))
    for (const text of described) terminal.print(String(text));
  return EXIT.ok;
}

/** What is printed of one conf: JSON values with --json, else text. */
async function describe(
  file: string,
  args: Arguments,
  terminal: Terminal,
  settings: Settings,
): Promise<unknown> {
  const { path: conf, text } = readTrusted(file);
  const parsed = parseAssignments(text, conf);
  for (const warning of parsed.warnings) terminal.warn(warning);
  const json = args.has('json');
  if (args.has('no-eval')) {
    const shown = await describeUnevaluated(parsed, conf, settings);
    return json
      ? shown
      : Object.entries(shown)
          .map(([name, value]) => `${name}=${asLine(value)}`)
          .join('\n');
  }
  const action = args.has('plan') ? 'plan' : 'check';
  const config = await resolveWhole(parsed, conf, settings, (request) =>
    runValueCommand(
      request,
      { CONFIG: conf, ACTION: action },
      { binDir: binDirectory(), timeoutMs: settings.bootTimeoutMs },
    ),
  );
  throwAll(
    checkPaths(config, variablesFromCommands(parsed), {
      logDir: settings.logDir,
      guarded: changedBySubhosts(settings.runDir),
    }),
  );
  for (const warning of capabilityWarnings(config)) terminal.warn(warning);
  checkLimits(conf, config.limits, cgroupMount());
  const stack = await stackOf(config, { wafers: wafersDirectory(terminal) });
  if (action === 'check') {
    await checkCables(config);
    return describeConfig(config);
  }
  const plan = bootPlan(config, {
    rootKind: rootKind(config),
    stack,
    initProgram: initProgram(),
    netnsDir: NETNS_DIR,
  });
  return json ? plan : printPlan(plan);
}

/** What is in the way of the cables on this host, as it is now. */
async function checkCables(config: SubhostConfig): Promise<void> {
  if (config.cables.length === 0) return;
  const { RouteSocket } = await import('../net/rtnetlink.js');
  const route = new RouteSocket();
  try {
    await checkWiring(route, { ...config, netns: `${NETNS_DIR}/${config.name}` }, new Set());
  } finally {
    route.close();
  }
}

const asLine = (value: unknown): string => (typeof value === 'string' ? value : JSON.stringify(value));

// ---- booting ----

async function bootAll(
  confs: readonly string[],
  args: Arguments,
  terminal: Terminal,
  { settings, launcher }: { settings: Settings; launcher: Launcher },
): Promise<number> {
  makeRunDirectory(settings.runDir);
  const host = bootHost(settings, launcher, terminal);
  const interrupted = new AbortController();
  setMaxListeners(0, interrupted.signal); // one for each boot
  const onSignal = (signal: NodeJS.Signals): void =>
    interrupted.abort(new Failure({ what: `interrupted by ${signal}` }));
  const signals: NodeJS.Signals[] = ['SIGINT', 'SIGTERM', 'SIGHUP'];
  for (const signal of signals) process.on(signal, onSignal);
  const foreground = args.has('foreground');
  const bootOne = async (conf: string): Promise<Booted> => {
    const booted = await boot(host, {
      conf,
      mkdir: args.has('mkdir'),
      timeoutMs: secondsOption(args, 'timeout') ?? settings.bootTimeoutMs,
      signal: interrupted.signal,
      stay: foreground,
      warn: terminal.warn,
    });
    tell(booted, terminal);
    return booted;
  };
  try {
    const results = await Promise.allSettled(await startEach(confs, bootOne));
    await host.closeRoute();
    throwAll(results.flatMap((result) => (result.status === 'rejected' ? [asError(result.reason)] : [])));
    const [first] = results.flatMap((result) => (result.status === 'fulfilled' ? [result.value] : []));
    if (foreground && first?.ended)
      return await stayUntilEnd(first.name, first.ended, {
        settings,
        terminal,
        interrupted: interrupted.signal,
      });
  } finally {
    for (const signal of signals) process.off(signal, onSignal);
  }
  return EXIT.ok;
}

/** Starts one after the other, so that the first are made while the next are read. */
async function startEach<T>(
  items: readonly T[],
  start: (item: T) => Promise<Booted>,
): Promise<Promise<Booted>[]> {
  const started: Promise<Booted>[] = [];
  for (const item of items) {
    const one = start(item);
    one.catch(() => undefined); // told once all are done
    started.push(one);
    if (started.length < items.length) await new Promise(setImmediate);
  }
  return started;
}

/** @returns the status of pid 1, 128+n for signal n; TERM, INT and HUP to us stop the subhost */
async function stayUntilEnd(
  name: string,
  ended: Promise<Ended>,
  { settings, terminal, interrupted }: { settings: Settings; terminal: Terminal; interrupted: AbortSignal },
): Promise<number> {
  const { runDir, serviceTimeoutMs, graceMs } = settings;
  const onSignal = (): void => {
    const request = {
      runDir,
      name,
      initProgram: initProgram(),
      kill: false,
      serviceTimeoutMs,
      graceMs,
      warn: terminal.warn,
    };
    import('../launch/stop.js')
      .then(({ stop }) => stop(request))
      .catch((error: unknown) => terminal.warn(asError(error).message));
  };
  // One that came while the boot was being acknowledged counts too.
  if (interrupted.aborted) onSignal();
  interrupted.addEventListener('abort', onSignal);
  try {
    const { kind, status, left } = await ended;
    if (left) terminal.warn(`${name}: left behind: ${left}`);
    return kind === 'signal' ? 128 + status : status;
  } finally {
    interrupted.removeEventListener('abort', onSignal);
  }
}

const asError = (reason: unknown): Error => (reason instanceof Error ? reason : new Error(String(reason)));

function tell({ name, outcome, degraded }: Booted, terminal: Terminal): void {
  if (outcome === 'running') terminal.print(`${name}: already running`);
  else if (degraded.length === 0) terminal.print(`${name}: running`);
  else terminal.print(`${name}: running, degraded: ${degraded.join(', ')} failed to start`);
}

void runCommand(command);
