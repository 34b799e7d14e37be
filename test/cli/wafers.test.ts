import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { expect } from 'chai';

const COMMAND = join(resolve(__dirname, '..', '..'), 'bin/wafers');

describe('wafers (without mounting)', () => {
  let top = '';
  before(() => {
    top = mkdtempSync(join(tmpdir(), 'overlay-boot-wafers-'));
    for (const name of ['base', 'one', 'two', 'image', 'orphan'])
      mkdirSync(join(top, 'w', name, 'data'), { recursive: true });
    mkdirSync(join(top, 'w/points/web'), { recursive: true });
    mkdirSync(join(top, 'w/neither'));
    mkdirSync(join(top, 'm'));
    const parents = { one: 'base', two: 'one', image: 'base', orphan: 'gone' };
    for (const [name, parent] of Object.entries(parents))
      writeFileSync(join(top, 'w', name, 'parent'), `${parent}\n`);
    writeFileSync(join(top, 'w/image/sealed'), '');
    writeFileSync(join(top, 'm/base'), 'a file');
    writeFileSync(join(top, 'w/file'), '');
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

  // The order is that of the checks: an earlier one wins.
  const refusals: readonly [readonly string[], number, string][] = [
    [['frobnicate'], 1, 'unknown command frobnicate: see wafers --help'],
    [['frobnicate', 'a', 'b', 'c'], 1, 'unknown command frobnicate: see wafers --help'],
    [['stack', 'a', 'b', 'c'], 2, 'too many arguments: c'],
    [['stack', '', '', 'c'], 2, 'too many arguments: c'],
    [['tree', 'a'], 2, 'too many arguments: a'],
    [[], 3, 'no wafer specified: see wafers --help'],
    [['stack'], 3, 'no wafer specified'],
    [['stack', '', 'base'], 3, 'no wafer specified'],
    [
      ['stack', 'one', 'two'],
      4,
      'parent was specified but does not match existing: "one" has "base", not "two"',
    ],
    [
      ['stack', 'base', 'one'],
      4,
      'parent was specified but does not match existing: "base" has none, not "one"',
    ],
    [
      ['stack', 'neither', 'base'],
      4,
      'parent was specified but does not match existing: "neither" has none, not "base"',
    ],
    [
      ['stack', 'orphan', 'base'],
      4,
      'parent was specified but does not match existing: "orphan" has "gone", not "base"',
    ],
    [['stack', 'orphan'], 5, 'ancestry corrupt: "gone", the parent of "orphan", is missing'],
    [['stack', 'orphan', 'gone'], 5, 'ancestry corrupt: "gone", the parent of "orphan", is missing'],
    [['stack', 'new', 'gone'], 5, 'ancestry corrupt: "gone", the parent of "new", is missing'],
    [['stack', 'new', 'orphan'], 5, 'ancestry corrupt: "gone", the parent of "orphan", is missing'],
    [['stack', 'new', 'new'], 5, 'ancestry corrupt: "new" is its own ancestor'],
    [['stack', 'new'], 6, 'wafer not found: "new" in TOP/w'],
    [['stack', 'new', ''], 6, 'wafer not found: "new" in TOP/w'],
    [['stack', 'neither'], 6, 'wafer not found: "neither" in TOP/w'],
    [
      ['stack', '../w/one'],
      2,
      '"../w/one" is no name of a wafer: write one path component of up to 255 bytes, without / and :',
    ],
    [
      ['stack', 'new', '../w/one'],
      2,
      '"../w/one" is no name of a wafer: write one path component of up to 255 bytes, without / and :',
    ],
    [['stack', 'points', 'base'], 2, '"points" is no name of a wafer: it is where the points are'],
    [['stack', 'web', 'base'], 2, '"web" is a point: give the wafer another name'],
    [['stack', 'a@b', 'base'], 2, '"a@b": "@" is in the names of instances only: leave it out'],
    [['stack', 'file', 'base'], 1, 'TOP/w/file is no directory: a wafer is one: move it away'],
    [
      ['stack', 'image'],
      1,
      '"image" is sealed: nothing may write to it: stack a new wafer on it: wafers stack NEW image',
    ],
    [['stack', 'base'], 1, 'TOP/m/base is no directory: the stack would be mounted there: move it away'],
    [
      ['unstack', 'one', '..'],
      2,
      '".." is no name of a wafer: write one path component of up to 255 bytes, without / and :',
    ],
    [['stack', 'one', '--json'], 2, '--json is for wafers tree: see wafers --help'],
    [['stack', '--frob'], 2, "unknown option '--frob': see wafers --help"],
  ];
  for (const [args, status, message] of refusals)
    it(`ends with ${status} for ${JSON.stringify(args)}`, () => {
      const before = readdirSync(top, { recursive: true });
      expect(run(args)).to.deep.equal({ status, stdout: '', stderr: `wafers: ${message}\n` });
      expect(readdirSync(top, { recursive: true })).to.deep.equal(before);
    });

  it('has nothing to unstack where nothing is named', () => {
    expect(run(['unstack'])).to.deep.equal({ status: 0, stdout: 'nothing to unstack\n', stderr: '' });
  });

  it('says for each what is not stacked', () => {
    const { status, stdout } = run(['unstack', 'one', 'no such']);
    expect([status, stdout]).to.deep.equal([
      0,
      `nothing stacked at ${top}/m/one\nnothing stacked at ${top}/m/no such\n`,
    ]);
  });

  it('removes the mount point that a command which was killed has left of a wafer, and nobody else’s directory', () => {
    mkdirSync(join(top, 'm/two'));
    mkdirSync(join(top, 'm/somebody'));
    expect(run(['unstack', 'two', 'somebody']).status).to.equal(0);
    expect([existsSync(join(top, 'm/two')), existsSync(join(top, 'm/somebody'))]).to.deep.equal([
      false,
      true,
    ]);
  });

  it('draws the forest, parents above their children', () => {
    expect(run(['tree'])).to.deep.equal({
      status: 0,
      stdout: `base
├── image (sealed)
└── one
    └── two
orphan (broken: its parent "gone" is missing)
`,
      stderr: '',
    });
  });

  it('lists the forest as JSON, in the same order', () => {
    const { status, stdout } = run(['tree', '--json']);
    const whole = { stacked: false, sealed: false, broken: false, why: null };
    expect([status, JSON.parse(stdout)]).to.deep.equal([
      0,
      [
        { name: 'base', parent: null, ...whole },
        { name: 'image', parent: 'base', ...whole, sealed: true },
        { name: 'one', parent: 'base', ...whole },
        { name: 'two', parent: 'one', ...whole },
        { name: 'orphan', parent: 'gone', ...whole, broken: true, why: 'its parent "gone" is missing' },
      ],
    ]);
  });

  it('says that there is none where there are no wafers', () => {
    expect(run(['tree'], { WAFERS: join(top, 'nowhere') })).to.deep.equal({
      status: 0,
      stdout: 'there is no wafer\n',
      stderr: '',
    });
    expect(run(['tree', '--json'], { WAFERS: 'nowhere' }).stdout).to.equal('[]\n');
  });

  it('takes a relative WAFERS from where it is called', () => {
    expect(run(['tree'], { WAFERS: 'w' }).stdout).to.include('└── two');
  });
});
