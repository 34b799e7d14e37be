/** overlay-status: the subhosts of this host, as a table, in detail, or as JSON. */
import { setTimeout as delay } from 'node:timers/promises';
import { loadSettings, SETTINGS_DIRECTORY, type Settings } from '../config/settings.js';
import { EXIT } from '../errors.js';
import { type FoundSubhost, findSubhosts, selectSubhosts } from '../launch/status.js';
import type { UsageMeter } from '../sys/usage.js';
import type { Arguments, Command, Terminal } from './command.js';
import { COLUMNS, detailText, jsonOf, lazyMeter, readStatus, type Status } from './common-status.js';
import { jsonText, textTable } from './common-table.js';
import { runCommand } from './run-command.js';

const REFRESH_MS = 2000;

const command: Command = {
  name: 'overlay-status',
  summary: 'Shows the subhosts of this host and what they take of it',
  usage: ['[OPTIONS] [NAME...]'],
  options: [
    { name: 'json', help: 'print a JSON array' },
    { name: 'watch', short: 'w', help: 'show it anew every 2 seconds, until ^C' },
  ],
  async main(args, terminal) {
    const settings = await loadSettings(SETTINGS_DIRECTORY);
    const show = shower(args, terminal, settings, lazyMeter());
    if (args.has('watch')) await watch(show, terminal);
    else terminal.print(await show({ first: true }));
    return EXIT.ok;
  },
};

type Show = (round: { readonly first: boolean }) => Promise<string>;

/** Reads and formats one round. */
function shower(
  args: Arguments,
  terminal: Terminal,
  settings: Settings,
  meter: () => Promise<UsageMeter>,
): Show {
  const names = args.positionals;
  const detailed = names.length === 1;
  return async ({ first }) => {
    const all = findSubhosts(settings, first ? terminal.warn : () => {});
    // A subhost that stops while it is watched is no mistake in the command line.
    const gone = names.filter((name) => !all.some((one) => one.name === name));
    const known = first ? all : [...all, ...gone.map((name): FoundSubhost => ({ name, word: 'stopped' }))];
    const chosen = names.length === 0 ? known : selectSubhosts(known, names);
    const statuses: Status[] = [];
    for (const found of chosen)
      statuses.push(await readStatus(found, { meter, detailed, uid: terminal.uid }));
    if (args.has('json')) return jsonText(statuses.map(jsonOf), args.has('watch') ? 0 : 2);
    if (statuses[0] && detailed) return detailText(statuses[0], terminal.fancy);
    return statuses.length > 0
      ? textTable(COLUMNS, statuses, { fancy: terminal.fancy })
      : `no subhost runs, and none is listed in ${settings.subhosts}`;
  };
}

/** Shows round after round until SIGINT or SIGTERM; in place on a terminal. */
async function watch(show: Show, terminal: Terminal): Promise<void> {
  const stop = new AbortController();
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => stop.abort());
  for (let first = true; !stop.signal.aborted && !terminal.outputIsLost(); first = false) {
    const text = await show({ first });
    // Home, each line cleared to its end, then what is below: a clear before it would flicker.
    terminal.print(terminal.fancy ? `\u001b[H${text.replaceAll('\n', '\u001b[K\n')}\u001b[K\u001b[J` : text);
    await delay(REFRESH_MS, undefined, { signal: stop.signal }).catch(() => {});
  }
}

void runCommand(command);
