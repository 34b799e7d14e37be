/** wafers: named layers, stacked on their ancestors. */
import { resolve } from 'node:path';
import { EXIT, throwAll, UserError } from '../errors.js';
import { isStacked } from '../launch/mount-point.js';
import {
  mountPointOf,
  planStack,
  stackWafer,
  type TreeRow,
  unstackWafer,
  type WaferPlaces,
  waferForest,
} from '../launch/wafers.js';
import { WaferError } from '../stack/from-wafers.js';
import { checkReadable } from '../stack/store.js';
import type { Command, Terminal } from './command.js';
import { requireRoot } from './common-arguments.js';
import { jsonText, paint, printable } from './common-table.js';
import { runCommand } from './run-command.js';

const command: Command = {
  name: 'wafers',
  summary: 'Stacks named layers of files, each on its ancestors, and mounts them',
  usage: ['stack NAME [PARENT]', 'unstack STACK...', 'tree [--json]'],
  options: [{ name: 'json', help: 'tree: a list of objects' }],
  async main(args, terminal) {
    const [verb, ...words] = args.positionals;
    const places = placesOf(terminal);
    checkReadable(places.wafers);
    if (args.has('json') && verb !== 'tree')
      throw new UserError({ what: '--json is for wafers tree', todo: 'see wafers --help' });
    switch (verb) {
      case 'stack':
        await stack(places, words, terminal);
        break;
      case 'unstack':
        await unstack(places, words, terminal);
        break;
      case 'tree':
        if (words.length > 0) throw tooMany(words);
        tree(places, { json: args.has('json') }, terminal);
        break;
      case undefined:
        throw new WaferError('noName', 'no wafer specified', 'see wafers --help');
      default:
        throw new WaferError('unknownCommand', `unknown command ${printable(verb)}`, 'see wafers --help');
    }
    return EXIT.ok;
  },
};

/** Set but empty means the default. */
const placesOf = ({ env, cwd }: Terminal): WaferPlaces => ({
  wafers: resolve(cwd, env.WAFERS || '/var/lib/wafers'),
  stacks: resolve(cwd, env.STACKS || '/var/lib/machines'),
});

const tooMany = (words: readonly string[]): WaferError =>
  new WaferError('tooManyArguments', `too many arguments: ${printable(words.at(-1) ?? '')}`);

async function stack(places: WaferPlaces, words: readonly string[], terminal: Terminal): Promise<void> {
  const [name, parent, ...more] = words;
  if (more.length > 0) throw tooMany(more);
  if (!name) throw new WaferError('noName', 'no wafer specified');
  const plan = planStack(places, name, parent || undefined);
  if (plan) requireRoot(terminal);
  const count = plan && (await stackWafer(places, plan));
  const path = printable(mountPointOf(places, name));
  terminal.print(count ? `${count} wafers stacked at ${path}` : `something is already mounted at ${path}`);
}

async function unstack(places: WaferPlaces, names: readonly string[], terminal: Terminal): Promise<void> {
  if (names.length === 0) terminal.print('nothing to unstack');
  // All are looked at before the first is touched.
  const paths = names.map((name) => mountPointOf(places, name));
  if (paths.some(isStacked)) requireRoot(terminal);
  const failures: Error[] = [];
  for (const name of names) {
    try {
      const done = await unstackWafer(places, name);
      const path = printable(mountPointOf(places, name));
      terminal.print(done ? `unstacked ${path}` : `nothing stacked at ${path}`);
    } catch (error) {
      failures.push(error instanceof Error ? error : new Error(String(error)));
    }
  }
  throwAll(failures);
}

function tree(places: WaferPlaces, { json }: { json: boolean }, { print, fancy }: Terminal): void {
  const rows = waferForest(places);
  if (json) {
    print(jsonText(rows.map(jsonOf), 2));
    return;
  }
  const lines = rows.map((row) => `${row.branch}${printable(row.name)}${marksOf(row, fancy)}`);
  print(lines.length > 0 ? lines.join('\n') : 'there is no wafer');
}

const jsonOf = ({ name, parent, stacked, sealed, broken }: TreeRow) => ({
  name,
  parent: parent ?? null,
  stacked,
  sealed,
  broken: broken !== undefined,
  why: broken ?? null,
});

function marksOf({ stacked, sealed, broken }: TreeRow, fancy: boolean): string {
  const marks = [
    ...(stacked ? [paint('stacked', fancy ? 'green' : undefined)] : []),
    ...(sealed ? [paint('sealed', fancy ? 'yellow' : undefined)] : []),
    ...(broken === undefined ? [] : [paint(`broken: ${broken}`, fancy ? 'red' : undefined)]),
  ];
  return marks.length === 0 ? '' : ` (${marks.join(', ')})`;
}

void runCommand(command);
