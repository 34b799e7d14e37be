/** stacko: images, and points that are instances of them. */
import { resolve } from 'node:path';
import { EXIT } from '../errors.js';
import { imageNameOf } from '../launch/archive-kinds.js';
import { type PointRow, pointRows } from '../launch/point-rows.js';
import { importImage } from '../launch/store-archives.js';
import { exportImage } from '../launch/store-export.js';
import {
  closeImage,
  deleteImage,
  editImage,
  type ImageRow,
  imageRows,
  newImage,
} from '../launch/store-images.js';
import type { StorePlaces } from '../launch/store-lock.js';
import {
  cutover,
  deleteInstance,
  deletePoint,
  fallback,
  isPointMounted,
  mountPoint,
  newInstance,
  newPoint,
  type Switched,
  setInstance,
  unmountPoint,
} from '../launch/store-points.js';
import { mountPointOf, type TreeRow, waferForest } from '../launch/wafers.js';
import {
  currentInstances,
  instanceName,
  parseInstanceName,
  readImage,
  requirePoint,
} from '../stack/store.js';
import type { Arguments, Command, Terminal } from './command.js';
import { jsonText, paint, printable, sizeText, textTable } from './common-table.js';
import { type Call, runVerb, shown, tell, type Verb, verbUsage, word } from './common-verbs.js';
import { runCommand } from './run-command.js';

const cutoverVerb: Verb = {
  takes: 'POINT IMAGE',
  run: async (call) => tellSwitched(call, await cutover(call.places, word(call, 0), word(call, 1))),
};

const fallbackVerb: Verb = {
  takes: 'POINT',
  run: async (call) => tellSwitched(call, await fallback(call.places, word(call, 0))),
};

/** The verbs, in the order of the usage. */
const VERBS: Readonly<Record<string, Verb>> = {
  'new-image': {
    takes: 'NAME [PARENT]',
    async run(call) {
      await newImage(call.places, word(call, 0), call.words[1] || undefined);
      return tell(call, `image ${word(call, 0)} made`);
    },
  },
  'edit-image': {
    takes: 'NAME',
    options: ['read-only'],
    async run(call) {
      const readOnly = call.args.has('read-only');
      const { path, mountedBefore } = await editImage(call.places, word(call, 0), { readOnly });
      return tell(
        call,
        `image ${word(call, 0)} ${mountedBefore ? 'is mounted already' : 'mounted'} at ${path}`,
      );
    },
  },
  'close-image': {
    takes: 'NAME',
    async run(call) {
      const { state, unmounted } = await closeImage(call.places, word(call, 0));
      const done = state === 'sealed' ? (unmounted ? 'unmounted' : 'is closed already') : 'sealed';
      return tell(call, `image ${word(call, 0)} ${done}`);
    },
  },
  'delete-image': {
    takes: 'NAME',
    async run(call) {
      await deleteImage(call.places, word(call, 0));
      return tell(call, `image ${word(call, 0)} deleted`);
    },
  },
  'import-image': {
    takes: 'FILE [NAME [PARENT]]',
    async run(call) {
      const file = resolve(call.terminal.cwd, word(call, 0));
      const name = call.words[1] || imageNameOf(file);
      const request = { file, name, parent: call.words[2] || undefined };
      const { members, bytes } = await shown(call, (options) => importImage(call.places, request, options));
      return tell(call, `image ${name} imported: ${members} members, ${sizeText(bytes)}`);
    },
  },
  'export-image': {
    takes: 'NAME FILE',
    options: ['squash'],
    async run(call) {
      const file = resolve(call.terminal.cwd, word(call, 1));
      const request = { name: word(call, 0), file, squash: call.args.has('squash') };
      const bytes = await shown(call, (options) => exportImage(call.places, request, options));
      return tell(call, `image ${word(call, 0)} exported: ${file}, ${sizeText(bytes)}`);
    },
  },
  'list-images': { takes: '', options: ['json', 'tree'], reads: 'store', run: listImages },
  'new-stackpoint': {
    takes: 'POINT IMAGE',
    async run(call) {
      const instance = await newPoint(call.places, word(call, 0), word(call, 1));
      return tell(call, `point ${word(call, 0)} made: ${instance}`);
    },
  },
  'delete-stackpoint': {
    takes: 'POINT',
    async run(call) {
      await deletePoint(call.places, word(call, 0));
      return tell(call, `point ${word(call, 0)} deleted`);
    },
  },
  'list-stackpoints': { takes: '', options: ['json'], reads: 'store', run: listPoints },
  'cutover-stackpoint': cutoverVerb,
  'cutover-stackpoint-instance': cutoverVerb,
  'fallback-stackpoint': fallbackVerb,
  'fallback-stackpoint-instance': fallbackVerb,
  'new-stackpoint-instance': {
    takes: 'POINT IMAGE',
    async run(call) {
      const made = await newInstance(call.places, word(call, 0), word(call, 1));
      return tell(call, `instance ${wordsInstance(call)} ${made ? 'made' : 'is there already'}`);
    },
  },
  'set-stackpoint-instance': {
    takes: 'POINT IMAGE',
    run: async (call) => tellSwitched(call, await setInstance(call.places, word(call, 0), word(call, 1))),
  },
  'delete-stackpoint-instance': {
    takes: 'POINT IMAGE',
    async run(call) {
      await deleteInstance(call.places, word(call, 0), word(call, 1));
      return tell(call, `instance ${wordsInstance(call)} deleted`);
    },
  },
  'mount-stackpoint': {
    takes: 'POINT',
    async run(call) {
      const { path, mountedBefore } = await mountPoint(call.places, word(call, 0));
      return tell(
        call,
        `point ${word(call, 0)} ${mountedBefore ? 'is mounted already' : 'mounted'} at ${path}`,
      );
    },
  },
  'umount-stackpoint': {
    takes: 'POINT',
    async run(call) {
      const done = await unmountPoint(call.places, word(call, 0));
      return tell(call, `point ${word(call, 0)} ${done ? 'unmounted' : 'is not mounted'}`);
    },
  },
  'get-stackpoint-dir': {
    takes: 'POINT',
    reads: 'store',
    run(call) {
      requirePoint(call.places.wafers, word(call, 0));
      return tell(call, mountPointOf(call.places, word(call, 0)));
    },
  },
  'is-stackpoint-mounted': {
    takes: 'POINT',
    reads: 'store',
    asks: true,
    run(call) {
      const mounted = isPointMounted(call.places, word(call, 0));
      tell(call, `point ${word(call, 0)} is ${mounted ? '' : 'not '}mounted`);
      return mounted ? EXIT.ok : EXIT.failure;
    },
  },
};

const command: Command = {
  name: 'stacko',
  summary:
    'Keeps images of files, and points that are writable instances of them, generation after generation',
  usage: verbUsage(VERBS),
  options: [
    { name: 'read-only', help: 'edit-image: mount it to look at it only' },
    { name: 'squash', help: 'export-image: with all that the image lies on, as one layer' },
    { name: 'tree', help: 'list-images: show what lies upon what, with the instances' },
    { name: 'json', help: 'list-images, list-stackpoints: a list of objects' },
  ],
  async main(args, terminal) {
    return await runVerb(command, VERBS, args, terminal);
  },
};

const wordsInstance = (call: Call): string => instanceName(word(call, 1), word(call, 0));

function tellSwitched(call: Call, { instance, changed, mountedAt }: Switched): undefined {
  const mounted = mountedAt === undefined ? '' : `, mounted at ${mountedAt}`;
  tell(call, `point ${word(call, 0)} is ${changed ? '' : 'already '}${instance}${mounted}`);
}

function listImages({ places, args, terminal }: Call): undefined {
  const { print, fancy } = terminal;
  if (args.has('tree')) return imageTree(places, args, terminal);
  const rows = imageRows(places);
  if (args.has('json')) print(jsonText(rows.map(imageJson), 2));
  else print(rows.length > 0 ? textTable(IMAGE_COLUMNS, rows, { fancy }) : 'there is no image');
}

const stateOf = ({ state, mounted }: ImageRow): string =>
  mounted ? `${state === 'open' ? 'open, ' : ''}mounted` : state;

const IMAGE_COLUMNS = [
  { title: 'IMAGE', text: ({ name }: ImageRow) => name },
  { title: 'PARENT', text: ({ parent }: ImageRow) => parent },
  {
    title: 'STATE',
    text: stateOf,
    colour: ({ state }: ImageRow) => (state === 'open' ? ('yellow' as const) : undefined),
  },
  { title: 'POINTS', text: ({ points }: ImageRow) => points.join(' ') },
];

const imageJson = ({ name, parent, state, mounted, points }: ImageRow) => ({
  name,
  parent: parent ?? null,
  state,
  mounted,
  points,
});

/** The forest of wafers, those left out that are neither images nor instances. */
function imageTree(places: StorePlaces, args: Arguments, { print, fancy }: Terminal): undefined {
  const isPart = ({ name, sealed }: { readonly name: string; readonly sealed: boolean }): boolean =>
    sealed || parseInstanceName(name) !== undefined || readImage(places.wafers, name) !== undefined;
  const current = currentInstances(places.wafers);
  const rows = waferForest(places, isPart);
  if (args.has('json')) {
    const jsonOf = ({ name, parent }: TreeRow) => ({
      name,
      parent: parent ?? null,
      current: current.has(name),
    });
    print(jsonText(rows.map(jsonOf), 2));
    return;
  }
  const lines = rows.map(({ branch, name, stacked, sealed, broken }) => {
    const isImage = !name.includes('@');
    const marks = [
      ...(isImage && !sealed ? [paint('open', fancy ? 'yellow' : undefined)] : []),
      ...(current.has(name) ? [paint('current', fancy ? 'green' : undefined)] : []),
      ...(stacked ? ['mounted'] : []),
      ...(broken === undefined ? [] : [paint(`broken: ${broken}`, fancy ? 'red' : undefined)]),
    ];
    return `${branch}${printable(name)}${marks.length === 0 ? '' : ` (${marks.join(', ')})`}`;
  });
  print(lines.length > 0 ? lines.join('\n') : 'there is no image');
}

function listPoints({ places, args, terminal }: Call): undefined {
  const rows = pointRows(places);
  if (args.has('json')) terminal.print(jsonText(rows.map(pointJson), 2));
  else if (rows.length === 0) terminal.print('there is no point');
  else terminal.print(textTable(columnsOf(rows), rows, { fancy: terminal.fancy }));
}

/** A column for what is wrong, where something is. */
const columnsOf = (rows: readonly PointRow[]) =>
  rows.some(({ broken }) => broken !== undefined) ? [...POINT_COLUMNS, BROKEN_COLUMN] : POINT_COLUMNS;

const BROKEN_COLUMN = {
  title: 'BROKEN',
  text: ({ broken }: PointRow) => broken,
  colour: () => 'red' as const,
};

const POINT_COLUMNS = [
  { title: 'POINT', text: ({ name }: PointRow) => name },
  { title: 'IMAGE', text: ({ image }: PointRow) => image },
  { title: 'FALLBACK', text: (row: PointRow) => row.fallback },
  {
    title: 'GENERATION',
    align: 'right' as const,
    text: ({ current }: PointRow) => current && String(current.number),
  },
  {
    title: 'MOUNTED',
    text: ({ mounted, path }: PointRow) => (mounted ? path : undefined),
    colour: () => 'green' as const,
  },
];

const pointJson = (row: PointRow) => ({
  name: row.name,
  image: row.image ?? null,
  instance: row.current?.instance ?? null,
  generation: row.current?.number ?? null,
  fallback: row.fallback ?? null,
  mounted: row.mounted,
  path: row.path,
  generations: row.generations.map(({ number, instance, replaced }) => ({
    number,
    instance,
    replaced: replaced ?? null,
  })),
  broken: row.broken !== undefined,
  why: row.broken ?? null,
});

void runCommand(command);
