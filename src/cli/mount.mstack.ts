/** mount.mstack: what mount(8) calls for `mount -t mstack`, and for fstab(5). */
import { EXIT, quoted, UserError } from '../errors.js';
import type { Command } from './command.js';
import { mountMstack } from './common-mstack.js';
import { runCommand } from './run-command.js';

/** Options of fstab(5) and mount(8) that are for others: who may mount, when, and comments. */
const FOR_OTHERS =
  /^(defaults|auto|noauto|_netdev|nofail|user|nouser|users|owner|group|x-.*|X-.*|comment=.*)$/;

const command: Command = {
  name: 'mount.mstack',
  summary: 'Mounts a .mstack directory for mount(8)',
  usage: ['WHAT WHERE [-o ro|rw] [-f] [-n] [-s] [-v] [-t mstack]'],
  options: [
    { name: 'options', short: 'o', value: 'OPTIONS', help: 'ro or rw' },
    { name: 'fake', short: 'f', help: 'do everything but the mounting' },
    { name: 'no-mtab', short: 'n', help: 'accepted: nothing is written to /etc/mtab' },
    { name: 'sloppy', short: 's', help: 'pass over mount options that are not known' },
    { name: 'verbose', short: 'v', help: 'say what was mounted' },
    { name: 'types', short: 't', value: 'TYPE', help: 'mstack' },
  ],
  async main(args, terminal) {
    const [what, where, ...more] = args.positionals;
    if (what === undefined || where === undefined || more.length > 0)
      throw new UserError({
        what: more.length > 0 ? `too many arguments: ${more[0]}` : 'WHAT and WHERE are needed',
        todo: 'see mount.mstack --help',
      });
    const type = args.value('types') ?? 'mstack';
    if (!/^mstack(\.|$)/.test(type))
      throw new UserError({ what: `-t ${quoted(type)}: only mstack is mounted here` });
    const readOnly = isReadOnly(args.value('options') ?? '', args.has('sloppy'));
    await mountMstack({ what, where, readOnly, fake: args.has('fake') }, terminal);
    if (args.has('verbose')) terminal.print(`${what} mounted on ${where}${readOnly ? ' (read-only)' : ''}`);
    return EXIT.ok;
  },
};

/** The last of `ro` and `rw` holds, as in mount(8). */
function isReadOnly(options: string, sloppy: boolean): boolean {
  let readOnly = false;
  for (const option of options.split(',').filter(Boolean)) {
    if (option === 'ro' || option === 'rw') readOnly = option === 'ro';
    else if (!sloppy && !FOR_OTHERS.test(option))
      throw new UserError({ what: `mount option ${quoted(option)} is not known`, todo: 'ro and rw are' });
  }
  return readOnly;
}

void runCommand(command);
