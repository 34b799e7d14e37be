import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { expect } from 'chai';

const COMMAND = join(resolve(__dirname, '..', '..'), 'bin/stacko');

describe('stacko (without mounting)', () => {
  let top = '';
  before(() => {
    top = mkdtempSync(join(tmpdir(), 'overlay-boot-stacko-'));
    const wafer = (name: string, parent?: string, mark?: string): void => {
      mkdirSync(join(top, 'w', name, 'data'), { recursive: true });
      if (parent) writeFileSync(join(top, 'w', name, 'parent'), `${parent}\n`);
      if (mark) writeFileSync(join(top, 'w', name, mark), '');
    };
    wafer('base', undefined, 'sealed');
    wafer('app', 'base', 'sealed');
    wafer('next', 'base', 'open');
    wafer('plain');
    wafer('base@web', 'base');
    wafer('app@web', 'app');
    const generation = (point: string, number: number, instance: string, replaced?: number): void => {
      const place = join(top, 'w/points', point, String(number));
      mkdirSync(place, { recursive: true });
      symlinkSync(`../../../${instance}`, join(place, 'instance'));
      if (replaced) symlinkSync(`../${replaced}`, join(place, 'replaced'));
    };
    generation('web', 1, 'base@web');
    generation('web', 2, 'app@web', 1);
    symlinkSync('2', join(top, 'w/points/web/current'));
  });
  after(() => rmSync(top, { recursive: true }));

  const run = (args: readonly string[], env: Readonly<Record<string, string>> = {}) => {
    const { status, stdout, stderr } = spawnSync(process.execPath, [COMMAND, ...args], {
      encoding: 'utf8',
      cwd: top,
      env: { WAFERS: join(top, 'w'), STACKS: join(top, 'm'), ...env },
    });
    return { status, stdout, stderr: stderr.replaceAll(top, 'TOP') };
  };
  const listed = () => readdirSync(top, { recursive: true }).sort();

  const usage: readonly [readonly string[], string][] = [
    [[], 'no command given: see stacko --help'],
    [['frobnicate'], 'unknown command frobnicate: see stacko --help'],
    [['toString'], 'unknown command toString: see stacko --help'],
    [['new-image'], 'new-image: no NAME given: stacko new-image NAME [PARENT]'],
    [['new-image', 'a', 'b', 'c'], 'new-image: too many arguments: c: stacko new-image NAME [PARENT]'],
    [
      ['cutover-stackpoint', 'web'],
      'cutover-stackpoint: no IMAGE given: stacko cutover-stackpoint POINT IMAGE',
    ],
    [['list-images', 'x'], 'list-images: too many arguments: x: stacko list-images'],
    [['list-stackpoints', '--tree'], '--tree is not for list-stackpoints: see stacko --help'],
    [['close-image', 'a', '--read-only'], '--read-only is not for close-image: see stacko --help'],
    [['get-stackpoint-dir', 'gone'], 'no point "gone": stacko list-stackpoints shows those that there are'],
    [
      ['is-stackpoint-mounted', 'gone'],
      'no point "gone": stacko list-stackpoints shows those that there are',
    ],
    [
      ['get-stackpoint-dir', '../w'],
      '"../w" is no name of a wafer: write one path component of up to 255 bytes, without / and :',
    ],
  ];
  for (const [args, message] of usage)
    it(`ends with 2 for ${JSON.stringify(args)}`, () =>
      expect(run(args)).to.deep.equal({ status: 2, stdout: '', stderr: `stacko: ${message}\n` }));

  // Names are looked at before anything is made; as another user than root the message is another.
  const refusals: readonly [readonly string[], number, string][] = [
    [['new-image', 'a@b'], 2, '"a@b": "@" is in the names of instances only: leave it out'],
    [['new-image', 'points'], 2, '"points" is no name of a wafer: it is where the points are'],
    [['new-image', 'app'], 2, '"app" is the name of an image: choose another name'],
    [['new-image', 'plain'], 2, '"plain" is the name of a wafer: choose another name'],
    [['new-image', 'web'], 2, '"web" is the name of a point: choose another name'],
    [['new-image', 'a', 'gone'], 2, 'no image "gone": stacko list-images shows those that there are'],
    [['new-image', 'a', 'next'], 1, 'image "next" is open for editing: stacko close-image next first'],
    [['edit-image', 'gone'], 2, 'no image "gone": stacko list-images shows those that there are'],
    [
      ['edit-image', 'next', '--read-only'],
      1,
      'image "next" is open for editing: stacko close-image next first',
    ],
    [['close-image', 'gone'], 2, 'no image "gone": stacko list-images shows those that there are'],
    [['delete-image', 'gone'], 2, 'no image "gone": stacko list-images shows those that there are'],
    [
      ['delete-image', 'base'],
      1,
      'image "base" cannot be deleted: app, base@web, next lie upon it: delete those first',
    ],
    [['delete-image', 'base@web'], 2, '"base@web": "@" is in the names of instances only: leave it out'],
    [['new-stackpoint', 'p', 'next'], 1, 'image "next" is open for editing: stacko close-image next first'],
    [['new-stackpoint', 'base', 'app'], 2, '"base" is the name of an image: choose another name'],
    [
      ['new-stackpoint', 'p'.repeat(252), 'base'],
      2,
      `"base@${'p'.repeat(75)}…" is longer than the 255 bytes that a name can have: use shorter names of image and point`,
    ],
    [
      ['cutover-stackpoint', 'gone', 'app'],
      2,
      'no point "gone": stacko list-stackpoints shows those that there are',
    ],
    [
      ['cutover-stackpoint', 'web', 'gone'],
      2,
      'no image "gone": stacko list-images shows those that there are',
    ],
    [['delete-stackpoint', 'gone'], 2, 'no point "gone": stacko list-stackpoints shows those that there are'],
    [
      ['delete-stackpoint-instance', 'web', 'next'],
      2,
      'point "web" has no instance of "next": stacko list-images --tree shows those that there are',
    ],
    [
      ['set-stackpoint-instance', 'web', 'next'],
      2,
      'point "web" has no instance of "next": stacko new-stackpoint-instance web next makes one',
    ],
  ];
  for (const [args, status, message] of refusals)
    it(`ends with ${status} for ${args.join(' ').slice(0, 60)}, and makes nothing`, function () {
      // Others are refused before anything is looked at.
      if (process.geteuid?.() !== 0) this.skip();
      const before = listed();
      expect(run(args)).to.deep.equal({ status, stdout: '', stderr: `stacko: ${message}\n` });
      expect(listed()).to.deep.equal(before);
    });

  it('says why there can be no store', function () {
    if (process.geteuid?.() !== 0) this.skip();
    expect(run(['new-image', 'a'], { WAFERS: '/proc/no/store' })).to.deep.equal({
      status: 1,
      stdout: '',
      stderr: 'stacko: mkdir /proc/no: no such file or directory (ENOENT)\n',
    });
  });

  it('lists the images', () => {
    expect(run(['list-images'])).to.deep.equal({
      status: 0,
      stdout: `IMAGE  PARENT  STATE   POINTS
app    base    sealed  web
base   -       sealed  web
next   base    open    -
`,
      stderr: '',
    });
  });

  it('lists the images as a forest, with the instances', () => {
    expect(run(['list-images', '--tree']).stdout).to.equal(`base
├── app
│   └── app@web (current)
├── base@web
└── next (open)
`);
  });

  it('lists the images as JSON', () => {
    expect(JSON.parse(run(['list-images', '--json']).stdout)).to.deep.equal([
      { name: 'app', parent: 'base', state: 'sealed', mounted: false, points: ['web'] },
      { name: 'base', parent: null, state: 'sealed', mounted: false, points: ['web'] },
      { name: 'next', parent: 'base', state: 'open', mounted: false, points: [] },
    ]);
  });

  it('lists the forest as JSON: a parent before what lies upon it', () => {
    expect(JSON.parse(run(['list-images', '--tree', '--json']).stdout)).to.deep.equal([
      { name: 'base', parent: null, current: false },
      { name: 'app', parent: 'base', current: false },
      { name: 'app@web', parent: 'app', current: true },
      { name: 'base@web', parent: 'base', current: false },
      { name: 'next', parent: 'base', current: false },
    ]);
  });

  it('lists the points', () => {
    expect(run(['list-stackpoints']).stdout).to.equal(
      'POINT  IMAGE  FALLBACK  GENERATION  MOUNTED\nweb    app    base               2  -\n',
    );
    expect(JSON.parse(run(['list-stackpoints', '--json']).stdout)).to.deep.equal([
      {
        name: 'web',
        image: 'app',
        instance: 'app@web',
        generation: 2,
        fallback: 'base',
        mounted: false,
        path: join(top, 'm/web'),
        generations: [
          { number: 1, instance: 'base@web', replaced: null },
          { number: 2, instance: 'app@web', replaced: 1 },
        ],
        broken: false,
        why: null,
      },
    ]);
  });

  it('says that there is nothing where there is no store', () => {
    const env = { WAFERS: join(top, 'nowhere') };
    for (const [args, said] of [
      [['list-images'], 'there is no image'],
      [['list-images', '--tree'], 'there is no image'],
      [['list-images', '--json'], '[]'],
      [['list-stackpoints'], 'there is no point'],
      [['list-stackpoints', '--json'], '[]'],
    ] as const)
      expect(run(args, env)).to.deep.equal({ status: 0, stdout: `${said}\n`, stderr: '' });
  });

  it('says where a point is mounted, and that it is not', () => {
    expect(run(['get-stackpoint-dir', 'web']).stdout).to.equal(`${top}/m/web\n`);
    expect(run(['is-stackpoint-mounted', 'web'])).to.deep.equal({
      status: 1,
      stdout: 'point web is not mounted\n',
      stderr: '',
    });
  });
});
