/** overlay-mstack: inspects, mounts and unmounts .mstack directories. */
import { realpathSync, rmdirSync } from 'node:fs';
import { resolve } from 'node:path';
import { EXIT, Failure, quoted, reasonOf, UserError } from '../errors.js';
import { entriesOfMstack } from '../launch/mstack.js';
import type { MstackEntry } from '../stack/mstack-entries.js';
import type { Arguments, Command, Terminal } from './command.js';
import { requireRoot } from './common-arguments.js';
import { checkMountPoint, mountMstack } from './common-mstack.js';
import { type Column, jsonText, textTable } from './common-table.js';
import { runCommand } from './run-command.js';

const COLUMNS: readonly Column<MstackEntry>[] = [
  { title: 'TYPE', text: ({ type }) => type },
  { title: 'NAME', text: ({ name }) => name },
  { title: 'IMAGE', text: ({ image }) => image },
  { title: 'WHAT', text: ({ what }) => what },
  { title: 'WHERE', text: ({ where }) => where ?? undefined },
  { title: 'SORT', text: ({ sort }) => sort ?? undefined },
];

type Action = 'inspect' | 'mount' | 'umount';

const OPERANDS: Readonly<Record<Action, readonly string[]>> = {
  inspect: ['WHAT'],
  mount: ['WHAT', 'WHERE'],
  umount: ['WHERE'],
};

const command: Command = {
  name: 'overlay-mstack',
  summary: 'Shows, mounts and unmounts mount stacks: .mstack directories',
  usage: ['[OPTIONS] WHAT', '[OPTIONS] --mount WHAT WHERE', '[OPTIONS] --umount WHERE'],
  options: [
    { name: 'mount', short: 'm', help: 'mount WHAT on the directory WHERE' },
    { name: 'mount-mkdir', short: 'M', help: 'as --mount --mkdir' },
    { name: 'umount', short: 'u', help: 'unmount everything at and below WHERE' },
    { name: 'umount-rmdir', short: 'U', help: 'as --umount --rmdir' },
    { name: 'read-only', short: 'r', help: 'mount read-only: nothing is written, anywhere' },
    { name: 'mkdir', help: 'make WHERE if it is missing' },
    { name: 'rmdir', help: 'remove WHERE when it is unmounted' },
    { name: 'json', value: 'short|pretty|off', ifBare: 'short', help: 'show as JSON; alone: short' },
    { name: 'no-legend', help: 'leave out the line of titles' },
  ],
  async main(args, terminal) {
    const action = actionOf(args);
    const json = jsonMode(args);
    const operands = OPERANDS[action];
    if (args.positionals.length !== operands.length)
      throw new UserError({
        what: `${operands.join(' and ')} ${operands.length > 1 ? 'are' : 'is'} needed, and nothing else`,
        todo: 'see overlay-mstack --help',
      });
    const [first = '', where = ''] = args.positionals;
    if (action === 'inspect') inspect(resolve(terminal.cwd, first), json, args.has('no-legend'), terminal);
    if (action === 'mount') await mountMstack({ what: first, where, ...mountOptions(args) }, terminal);
    if (action === 'umount') await unmount(first, args, terminal);
    return EXIT.ok;
  },
};

const hasMkdir = (args: Arguments): boolean => args.has('mkdir') || args.has('mount-mkdir');
const hasRmdir = (args: Arguments): boolean => args.has('rmdir') || args.has('umount-rmdir');
const mountOptions = (args: Arguments) => ({ readOnly: args.has('read-only'), mkdir: hasMkdir(args) });

function actionOf(args: Arguments): Action {
  const mount = args.has('mount') || args.has('mount-mkdir');
  const umount = args.has('umount') || args.has('umount-rmdir');
  if (mount && umount) throw new UserError({ what: '--mount and --umount exclude each other' });
  if (hasMkdir(args) && !mount) throw new UserError({ what: '--mkdir is for --mount' });
  if (hasRmdir(args) && !umount) throw new UserError({ what: '--rmdir is for --umount' });
  return mount ? 'mount' : umount ? 'umount' : 'inspect';
}

function jsonMode(args: Arguments): string {
  const mode = args.value('json') ?? 'off';
  if (['short', 'pretty', 'off'].includes(mode)) return mode;
  throw new UserError({ what: `--json=${quoted(mode)} is not known`, todo: 'write short, pretty or off' });
}

function inspect(what: string, json: string, noLegend: boolean, terminal: Terminal): void {
  const entries = entriesOfMstack(what);
  if (json !== 'off') {
    terminal.print(jsonText(entries, json === 'pretty' ? 2 : undefined));
    return;
  }
  const lines = textTable(COLUMNS, entries).split('\n');
  for (const line of noLegend ? lines.slice(1) : lines) terminal.print(line);
}

async function unmount(where: string, args: Arguments, terminal: Terminal): Promise<void> {
  requireRoot(terminal);
  const path = resolve(terminal.cwd, where);
  checkMountPoint(path);
  // What is removed is the directory that was mounted on, not a link that leads to it.
  const real = realpathSync(path);
  const { unmountStack } = await import('../launch/mount-stack.js');
  await unmountStack(real);
  if (!hasRmdir(args)) return;
  try {
    rmdirSync(real);
  } catch (cause) {
    throw new Failure({ what: `${real} is unmounted, but cannot be removed: ${reasonOf(cause)}`, cause });
  }
}

void runCommand(command);
