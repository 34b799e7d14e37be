/** overlay-stop(8): stops subhosts, and clears what dead ones left. */
import { resolve } from 'node:path';
import { parseAssignments } from '../config/assignments.js';
import { listedSubhosts } from '../config/listed.js';
import { identify } from '../config/resolve.js';
import { readSettings, SETTINGS_DIRECTORY, type Settings } from '../config/settings.js';
import { readTrusted } from '../config/trust.js';
import { isSubhostName } from '../config/values.js';
import { EXIT, throwAll, UserError } from '../errors.js';
import { runValueCommand } from '../launch/host-commands.js';
import { Launcher } from '../launch/launcher.js';
import { stop } from '../launch/stop.js';
import { listStates, readState } from '../state/state-file.js';
import { initProgram } from '../sys/init-program.js';
import type { Arguments, Command, Terminal } from './command.js';
import { binDirectory, requireRoot, secondsOption } from './common-arguments.js';
import { runCommand } from './run-command.js';

const command: Command = {
  name: 'overlay-stop',
  summary: 'Stop subhosts: their services in reverse order, then every process',
  usage: ['[OPTIONS] CONF|NAME...', '[OPTIONS] --all'],
  options: [
    { name: 'all', help: 'every running subhost, in the reverse order of /etc/subhosts.conf' },
    { name: 'timeout', value: 'SECONDS', help: 'limit for each service to stop (default 30, 0: none)' },
    { name: 'kill', help: 'skip the services and the grace period' },
  ],
  endsAtOnce: true,
  async main(args, terminal) {
    requireRoot(terminal);
    secondsOption(args, 'timeout');
    const launcher = new Launcher(terminal.env.OVERLAY_BOOT_LAUNCHER);
    try {
      // A mistake in the settings shall not keep the host's shutdown from stopping what runs.
      const { settings, errors: mistakes } = await readSettings(SETTINGS_DIRECTORY);
      const errors = [...mistakes];
      for (const name of await namesOf(args, settings, terminal)) {
        try {
          await stopOne(name, args, terminal, { settings, launcher });
        } catch (error) {
          if (!(error instanceof Error)) throw error;
          errors.push(error);
        }
      }
      throwAll(errors);
      return EXIT.ok;
    } finally {
      launcher.close();
    }
  },
};

async function stopOne(
  name: string,
  args: Arguments,
  terminal: Terminal,
  { settings, launcher }: { settings: Settings; launcher: Launcher },
): Promise<void> {
  const { runDir, serviceTimeoutMs, graceMs } = settings;
  const outcome = await stop({
    ...{ runDir, name, initProgram: initProgram(), launcher, graceMs },
    kill: args.has('kill'),
    serviceTimeoutMs: secondsOption(args, 'timeout') ?? serviceTimeoutMs,
    warn: terminal.warn,
  });
  if (outcome === 'not running') terminal.print(`${name}: not running`);
  else if (outcome === 'killed' && !args.has('kill'))
    terminal.print(`${name}: stopped, by SIGKILL after the grace period`);
  else terminal.print(`${name}: stopped`);
}

async function namesOf(args: Arguments, settings: Settings, terminal: Terminal): Promise<string[]> {
  const todo = 'see overlay-stop --help';
  if (args.has('all') && args.positionals.length > 0)
    throw new UserError({ what: '--all takes no CONF or NAME', todo });
  if (args.has('all')) return everyName(settings);
  if (args.positionals.length === 0) throw new UserError({ what: 'no CONF or NAME given', todo });
  const names: string[] = [];
  for (const argument of args.positionals) names.push(await nameOf(argument, settings, terminal));
  return [...new Set(names)];
}

/** What has a record: listed ones in the reverse order of the list, after those that are not listed. */
function everyName({ runDir, subhosts }: Settings): string[] {
  const listed = listedNames(subhosts);
  const position = (name: string): number => listed.indexOf(name);
  return listStates(runDir)
    .filter(isSubhostName)
    .sort((a, b) => rank(position(b)) - rank(position(a)));
}

/** Those that are not listed come first: they were started later, by hand. */
const rank = (position: number): number => (position < 0 ? Number.MAX_SAFE_INTEGER : position);

function listedNames(subhosts: string): string[] {
  try {
    return listedSubhosts(subhosts).map(({ name }) => name);
  } catch {
    return []; // without a list every order is right
  }
}

/** An argument with `/` or ending in `.conf` is a file, else a name. */
async function nameOf(argument: string, settings: Settings, terminal: Terminal): Promise<string> {
  if (argument.includes('/') || argument.endsWith('.conf'))
    return nameFromConf(resolve(terminal.cwd, argument), settings);
  if (isSubhostName(argument)) return argument;
  throw new UserError({
    what: `"${argument}" is no name of a subhost`,
    todo: 'a conf file ends in .conf or has a / in its path',
  });
}

/** The conf only gives the name; a subhost that was booted from it is found even when the conf is gone. */
async function nameFromConf(conf: string, { runDir }: Settings): Promise<string> {
  const booted = listStates(runDir).find((name) => confOf(runDir, name) === conf);
  if (booted) return booted;
  const { path, text } = readTrusted(conf);
  const context = { binDir: binDirectory(), timeoutMs: 0 };
  const { name } = await identify(parseAssignments(text, path), path, (request) =>
    runValueCommand(request, { CONFIG: path, ACTION: 'overlay-stop' }, context),
  );
  return name;
}

function confOf(runDir: string, name: string): string | undefined {
  try {
    return readState(runDir, name)?.conf;
  } catch {
    return undefined;
  }
}

void runCommand(command);
