/** boxctl: boxes, which are points of the store that boot as subhosts. */
import { accessSync, constants, existsSync } from 'node:fs';
import { resolve } from 'node:path';
import { loadSettings, SETTINGS_DIRECTORY, type Settings } from '../config/settings.js';
import { EXIT, errnoOf, Failure } from '../errors.js';
import { imageNameOf } from '../launch/archive-kinds.js';
import { attach } from '../launch/attach.js';
import { type Box, checkBoxName, requireBox } from '../launch/box.js';
import { boxConf } from '../launch/box-conf.js';
import { disableBox, enableBox } from '../launch/box-enable.js';
import type { BoxShell, Started } from '../launch/box-engine.js';
import { ConfiguredEngine } from '../launch/box-engines.js';
import { type BoxImageRow, type BoxRow, boxImageRows, boxRows, isUp } from '../launch/box-list.js';
import { configureBox, restartBox, startBox, stopBox, terminateBox } from '../launch/box-power.js';
import {
  type BoxSwitched,
  cutoverBox,
  deleteBoxInstance,
  fallbackBox,
  resetBox,
} from '../launch/box-switch.js';
import { enterableSubhost } from '../launch/enter.js';
import { Launcher } from '../launch/launcher.js';
import { importImage } from '../launch/store-archives.js';
import { closeInherited } from '../sys/inherited.js';
import type { Command } from './command.js';
import { secondsOption } from './common-arguments.js';
import { bootHost } from './common-boot.js';
import { enter } from './common-enter.js';
import { COLOURS, detailText, jsonOf, lazyMeter, readStatus } from './common-status.js';
import { jsonText, sizeText, textTable } from './common-table.js';
import { type Call, runVerb, shown, tell, type Verbs, verbUsage, word } from './common-verbs.js';
import { runCommand } from './run-command.js';

/** Options of whatever starts a box. */
const STARTS = ['timeout'];

/** The verbs, in the order of the usage. */
const VERBS: Verbs = {
  configure: {
    takes: 'NAME',
    options: STARTS,
    run: (call) => withBox(call, async (box) => await configureBox(box, shellOf(call))),
  },
  disable: {
    takes: 'NAME',
    async run(call) {
      const name = word(call, 0);
      checkBoxName(name);
      // A line may be left of a box that is gone.
      const changed = await disableBox(await loadSettings(SETTINGS_DIRECTORY), name, call.places);
      if (!changed) requireBox(call.places.wafers, name);
      return tell(call, `${name}: ${changed ? 'disabled' : 'is not enabled'}`);
    },
  },
  enable: {
    takes: 'NAME',
    async run(call) {
      const changed = await enableBox(await knownBox(call), word(call, 0), call.places);
      return tell(call, `${word(call, 0)}: ${changed ? 'enabled' : 'is enabled already'}`);
    },
  },
  list: { takes: '[NAME]', options: ['all', 'json'], reads: true, run: list },
  login: { takes: 'NAME', run: login },
  poweroff: {
    takes: 'NAME',
    run: (call) =>
      withBox(call, async (box) =>
        tell(call, `${box.name}: ${(await stopBox(box)) ? 'stopped' : 'not running'}`),
      ),
  },
  restart: {
    takes: 'NAME',
    options: STARTS,
    run: (call) => withBox(call, async (box) => tellStarted(call, await restartBox(box))),
  },
  start: {
    takes: 'NAME',
    options: STARTS,
    run: (call) => withBox(call, async (box) => tellStarted(call, await startBox(box))),
  },
  status: { takes: 'NAME', options: ['json'], reads: true, run: status },
  terminate: {
    takes: 'NAME',
    run: (call) =>
      withBox(call, async (box) =>
        tell(call, `${box.name}: ${(await terminateBox(box)) ? 'terminated' : 'not running'}`),
      ),
  },
  'cutover-instance': {
    takes: 'NAME IMAGE',
    options: STARTS,
    run: (call) => withBox(call, async (box) => tellSwitched(call, await cutoverBox(box, word(call, 1)))),
  },
  'delete-instance': {
    takes: 'NAME IMAGE',
    run: (call) =>
      withBox(call, async (box) => {
        await deleteBoxInstance(box, word(call, 1));
        return tell(call, `${box.name}: its instance of ${word(call, 1)} deleted`);
      }),
  },
  'fallback-instance': {
    takes: 'NAME',
    options: STARTS,
    run: (call) => withBox(call, async (box) => tellSwitched(call, await fallbackBox(box))),
  },
  'list-images': { takes: '', options: ['json'], reads: true, run: listImages },
  reset: {
    takes: 'NAME IMAGE',
    options: STARTS,
    run: (call) =>
      withBox(call, async (box) => {
        const started = await resetBox(box, word(call, 1));
        const now = started ? `, ${startedText(started.started)}` : '';
        // Cut over without boxctl meanwhile, it is that from its next start on.
        const as = started && started.image !== word(call, 1) ? ` as ${started.image}` : '';
        return tell(call, `${box.name}: its instance of ${word(call, 1)} reset${now}${as}`);
      }),
  },
  'stage-image': { takes: 'TAR [IMAGE]', run: stageImage },
};

const command: Command = {
  name: 'boxctl',
  summary: 'Keeps boxes, which run an image, and cuts them over to the next one and back',
  usage: verbUsage(VERBS, { timeout: 'SECONDS' }),
  options: [
    { name: 'all', help: 'list: those that do not run, too' },
    { name: 'json', help: 'list, list-images, status: JSON' },
    { name: 'timeout', value: 'SECONDS', help: 'limit for a box to become ready (default 120, 0: none)' },
  ],
  main: (args, terminal) => runVerb(command, VERBS, args, terminal),
};

// ---- what changes a box ----

type BoxCommand = (box: Box) => Promise<number | undefined>;

/** Calls an act with the box that the first argument names, and what can boot it; signals end a boot. */
async function withBox(
  { places, args, terminal, words }: Call,
  act: BoxCommand,
): Promise<number | undefined> {
  const name = words[0] ?? '';
  checkBoxName(name);
  const given = secondsOption(args, 'timeout');
  closeInherited();
  const launcher = new Launcher(terminal.env.OVERLAY_BOOT_LAUNCHER);
  const interrupted = new AbortController();
  const onSignal = (signal: NodeJS.Signals): void =>
    interrupted.abort(new Failure({ what: `interrupted by ${signal}` }));
  const signals: NodeJS.Signals[] = ['SIGINT', 'SIGTERM', 'SIGHUP'];
  for (const signal of signals) process.on(signal, onSignal);
  try {
    const settings = await loadSettings(SETTINGS_DIRECTORY);
    const host = bootHost(settings, launcher, terminal);
    const { signal } = interrupted;
    const timeoutMs = given ?? settings.bootTimeoutMs;
    const engine = new ConfiguredEngine(host, places, { name, timeoutMs, signal, warn: terminal.warn });
    try {
      return await act({ name, places, settings, engine });
    } finally {
      await host.closeRoute();
    }
  } finally {
    launcher.close();
    for (const signal of signals) process.off(signal, onSignal);
  }
}

/** The settings, once the box that the first argument names is known to be there. */
async function knownBox(call: Call): Promise<Settings> {
  requireBox(call.places.wafers, word(call, 0));
  return await loadSettings(SETTINGS_DIRECTORY);
}

const startedText = ({ outcome, degraded }: Started): string =>
  outcome === 'running'
    ? 'already running'
    : degraded.length === 0
      ? 'running'
      : `running, degraded: ${degraded.join(', ')} failed to start`;

const tellStarted = (call: Call, started: Started): undefined =>
  tell(call, `${word(call, 0)}: ${startedText(started)}`);

function tellSwitched(call: Call, { image, changed, started }: BoxSwitched): undefined {
  const now = started ? `, ${startedText(started)}` : '';
  return tell(call, `${word(call, 0)}: ${changed ? '' : 'already '}${image}${now}`);
}

async function stageImage(call: Call): Promise<undefined> {
  const file = resolve(call.terminal.cwd, word(call, 0));
  const name = call.words[1] || imageNameOf(file);
  const { members, bytes } = await shown(call, (options) =>
    importImage(call.places, { file, name, parent: undefined }, options),
  );
  return tell(call, `image ${name} staged: ${members} members, ${sizeText(bytes)}`);
}

// ---- entering ----

const shellOf = ({ terminal }: Call): BoxShell => ({
  term: terminal.env.TERM,
  enter: async (state) => await enter(state, { term: terminal.env.TERM, command: [] }),
  attach,
});

/** The boxes as they are, or those of these names. */
const rowsOf = async ({ places, terminal }: Call, settings: Settings, only?: readonly string[]) =>
  await boxRows(places, settings, { note: terminal.warn, only, asRoot: terminal.uid === 0 });

async function login(call: Call): Promise<number> {
  const name = word(call, 0);
  const settings = await knownBox(call);
  const [row] = await rowsOf(call, settings, [name]);
  if (!row || !isUp(row))
    throw new Failure({ what: `box ${name} does not run`, todo: `boxctl start ${name} starts it` });
  const { term, enter } = shellOf(call);
  return row.shell ? await attach(row.shell(term)) : await enter(enterableSubhost(settings.runDir, name));
}

// ---- listings ----

async function list(call: Call): Promise<number> {
  const { args, terminal } = call;
  const settings = await loadSettings(SETTINGS_DIRECTORY);
  const [name] = call.words;
  if (name !== undefined) checkKnown(call, settings, name);
  const all = await rowsOf(call, settings, name === undefined ? undefined : [name]);
  const rows = name !== undefined || args.has('all') ? all : all.filter(isUp);
  if (args.has('json')) terminal.print(jsonText(rows.map(rowJson), 2));
  else if (rows.length > 0) terminal.print(textTable(COLUMNS, rows, { fancy: terminal.fancy }));
  else terminal.print(all.length > 0 ? 'no box runs: boxctl list --all' : 'there is no box');
  return EXIT.ok;
}

const stateOf = ({ found, configuring }: BoxRow): string => (configuring ? 'configuring' : found.word);

/** In the place of a subhost's own words for its state. */
function stateText(row: BoxRow): string | undefined {
  if (row.configuring) return `configuring: a shell of boxctl configure ${row.name} is in it`;
  return row.found.word === 'stopped' ? `stopped: boxctl start ${row.name} starts it` : undefined;
}

const imageText = ({ point, runsOn }: BoxRow): string | undefined =>
  runsOn === undefined ? point?.image : `${runsOn} (next ${point?.image ?? '-'})`;

const pidIn = ({ found }: BoxRow): number | undefined =>
  found.word === 'failed' ? undefined : found.state?.init?.pid;

const COLUMNS = [
  { title: 'NAME', text: ({ name }: BoxRow) => name },
  { title: 'STATE', text: stateOf, colour: ({ found }: BoxRow) => COLOURS[found.word] },
  { title: 'IMAGE', text: imageText },
  { title: 'FALLBACK', text: ({ point }: BoxRow) => point?.fallback },
  { title: 'ENABLED', text: ({ enabled }: BoxRow) => (enabled ? 'yes' : undefined) },
  { title: 'PID', align: 'right' as const, text: (row: BoxRow) => pidIn(row)?.toString() },
];

/** What a box is more than a subhost. */
const boxJson = ({ point, runsOn, enabled, engine }: BoxRow) => ({
  engine,
  image: point?.image ?? null,
  instance: point?.instance ?? null,
  generation: point?.generation ?? null,
  fallback: point?.fallback ?? null,
  runsOn: runsOn ?? null,
  enabled: enabled ?? null,
});

const rowJson = (row: BoxRow) => ({
  name: row.name,
  state: stateOf(row),
  pid: pidIn(row) ?? null,
  ...boxJson(row),
});

async function status(call: Call): Promise<undefined> {
  const { terminal } = call;
  const settings = await loadSettings(SETTINGS_DIRECTORY);
  const name = word(call, 0);
  checkKnown(call, settings, name);
  const [row] = await rowsOf(call, settings, [name]);
  if (!row) return;
  const read = await readStatus(row.found, { meter: lazyMeter(), detailed: true, uid: terminal.uid });
  if (call.args.has('json')) {
    terminal.print(jsonText({ ...jsonOf(read), state: stateOf(row), ...boxJson(row) }, 2));
    return;
  }
  const { point, enabled } = row;
  const more: [string, string | undefined][] = [
    ['Engine', row.engine === 'subhost' ? undefined : row.engine],
    ['Image', point && `${imageText(row)} (generation ${point.generation})`],
    ['Instance', point?.instance],
    ['Fallback', point?.fallback],
    ['Enabled', enabled === undefined ? undefined : enabled ? 'yes' : 'no'],
  ];
  terminal.print(detailText({ ...read, stateText: stateText(row) }, terminal.fancy, more));
}

/** @throws UserError for a name that no box has, as far as may be looked */
function checkKnown({ places }: Call, settings: Settings, name: string): void {
  checkBoxName(name);
  // Where the store may not be looked into, a conf is all that is seen of a box.
  if (isReadable(places.wafers) || !existsSync(boxConf(settings, name))) requireBox(places.wafers, name);
}

function isReadable(directory: string): boolean {
  try {
    accessSync(directory, constants.R_OK | constants.X_OK);
    return true;
  } catch (error) {
    return errnoOf(error) !== 'EACCES';
  }
}

async function listImages({ places, args, terminal }: Call): Promise<undefined> {
  const rows = boxImageRows(places);
  if (args.has('json')) terminal.print(jsonText(rows.map(imageJson), 2));
  else if (rows.length > 0) terminal.print(textTable(IMAGE_COLUMNS, rows, { fancy: terminal.fancy }));
  else terminal.print('there is no image');
}

/** The points that have an instance of it, but are another one and do not fall back to it. */
const others = ({ points, current, fallback }: BoxImageRow): string[] =>
  points.filter((point) => !current.includes(point) && !fallback.includes(point));

const IMAGE_COLUMNS = [
  { title: 'IMAGE', text: ({ name }: BoxImageRow) => name },
  {
    title: 'STATE',
    text: ({ state }: BoxImageRow) => state,
    colour: ({ state }: BoxImageRow) => (state === 'open' ? ('yellow' as const) : undefined),
  },
  { title: 'CURRENT', text: ({ current }: BoxImageRow) => current.join(' ') },
  { title: 'FALLBACK', text: ({ fallback }: BoxImageRow) => fallback.join(' ') },
  { title: 'OTHERS', text: (row: BoxImageRow) => others(row).join(' ') },
];

const imageJson = (row: BoxImageRow) => ({
  name: row.name,
  parent: row.parent ?? null,
  state: row.state,
  current: row.current,
  fallback: row.fallback,
  others: others(row),
});

void runCommand(command);
