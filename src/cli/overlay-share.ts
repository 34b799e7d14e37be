/** overlay-share: a host directory or file in a running subhost, at once. */
import { posix, resolve } from 'node:path';
import { loadSettings, SETTINGS_DIRECTORY } from '../config/settings.js';
import { EXIT, Failure, UserError } from '../errors.js';
import { attachShare, detachShare } from '../launch/share.js';
import type { Command } from './command.js';
import { runCommand } from './run-command.js';

const command: Command = {
  name: 'overlay-share',
  summary: 'Attaches a host directory or file to a running subhost',
  usage: ['PATH NAME [SUBHOSTPATH] [--read-only]', '--remove PATH NAME [SUBHOSTPATH]'],
  options: [
    { name: 'read-only', short: 'r', help: 'the subhost can not write to it' },
    { name: 'remove', help: 'detach what was attached' },
  ],
  async main(args, terminal) {
    const [path, name, subhostPath, ...more] = args.positionals;
    if (path === undefined || name === undefined || more.length > 0)
      throw new UserError({
        what: more.length > 0 ? `too many arguments: ${more[0]}` : 'PATH and NAME are needed',
        todo: 'see overlay-share --help',
      });
    if (args.has('remove') && args.has('read-only'))
      throw new UserError({ what: '--remove and --read-only exclude each other' });
    const host = resolve(terminal.cwd, path);
    const inside = insidePath(subhostPath ?? host);
    if (terminal.uid !== 0) throw new Failure({ what: 'sharing with a subhost: must be root' });
    const { runDir } = await loadSettings(SETTINGS_DIRECTORY);

    if (args.has('remove')) {
      await detachShare(runDir, name, { host, inside });
      terminal.print(`${name}: ${host} is no longer shared at ${inside}`);
      return EXIT.ok;
    }
    const readOnly = args.has('read-only');
    const attached = await attachShare(runDir, name, { host, inside, readOnly });
    const how = readOnly ? ', read-only' : '';
    terminal.print(`${name}: ${host} is ${attached ? '' : 'already '}shared at ${inside}${how}`);
    return EXIT.ok;
  },
};

/** Without doubled slashes, dots and a last slash: how it is recorded and compared. */
function insidePath(path: string): string {
  if (!path.startsWith('/'))
    throw new UserError({ what: `SUBHOSTPATH "${path}" is not absolute`, todo: `write /${path}` });
  const normal = posix.resolve('/', path);
  if (normal === '/')
    throw new UserError({ what: "/ is the subhost's root", todo: 'name a SUBHOSTPATH to share it at' });
  return normal;
}

void runCommand(command);
