/** overlay-go: a shell or a command inside a running subhost. */
import { loadSettings, SETTINGS_DIRECTORY } from '../config/settings.js';
import { EXIT, Failure, UserError } from '../errors.js';
import { enterableSubhost, runningSubhosts } from '../launch/enter.js';
import type { Arguments, Command, Terminal } from './command.js';
import { enter } from './common-enter.js';
import { runCommand } from './run-command.js';

const command: Command = {
  name: 'overlay-go',
  summary: 'Runs a shell or a command inside a running subhost, or lists the running ones',
  usage: ['[-u USER] [-w DIR] NAME [COMMAND...]', '[--json]'],
  optionsFirst: true,
  options: [
    { name: 'user', short: 'u', value: 'USER', help: "a user of the subhost's, by name or number (root)" },
    { name: 'directory', short: 'w', value: 'DIR', help: "working directory inside (the user's home)" },
    { name: 'json', help: 'list the running subhosts as JSON' },
  ],
  async main(args, terminal) {
    const [name, ...words] = args.positionals;
    checkUsage(args, name);
    if (name !== undefined && terminal.uid !== 0)
      throw new Failure({ what: `${name}: entering a subhost: must be root` });
    const { runDir } = await loadSettings(SETTINGS_DIRECTORY);
    if (name === undefined) return list(runDir, args.has('json'), terminal);

    const state = enterableSubhost(runDir, name);
    const request = {
      user: args.value('user'),
      directory: args.value('directory'),
      term: terminal.env.TERM,
      command: words[0] === '--' ? words.slice(1) : words,
    };
    return await enter(state, request);
  },
};

function checkUsage(args: Arguments, name: string | undefined): void {
  const directory = args.value('directory');
  if (directory !== undefined && !directory.startsWith('/'))
    throw new UserError({
      what: `-w "${directory}" is not absolute`,
      todo: 'it is a directory of the subhost',
    });
  if (name === undefined && (directory !== undefined || args.has('user')))
    throw new UserError({ what: 'NAME is needed', todo: 'overlay-go alone lists the running subhosts' });
  if (name !== undefined && args.has('json'))
    throw new UserError({
      what: '--json is for the list of running subhosts',
      todo: 'leave out NAME or --json',
    });
}

function list(runDir: string, json: boolean, terminal: Terminal): number {
  const { states, errors } = runningSubhosts(runDir);
  const rows = states.map(({ name, init, phase, conf }) => ({
    name,
    pid: init?.pid ?? null,
    state: phase,
    conf,
  }));
  if (json) terminal.print(JSON.stringify(rows));
  else
    for (const { name, pid, conf } of rows)
      terminal.print(`${name.padEnd(12)}  ${String(pid ?? '-').padStart(7)}  ${conf}`);
  for (const error of errors) terminal.warn(error.message);
  return errors.length > 0 ? EXIT.failure : EXIT.ok;
}

void runCommand(command);
