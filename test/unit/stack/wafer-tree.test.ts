import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'chai';
import { readWafers, waferRows } from '../../../src/stack/wafer-tree.js';

interface Given {
  readonly name: string;
  readonly parent: string | undefined;
  readonly hasData: boolean;
  readonly sealed: boolean;
}

/** `child<parent`, `base`; a `!` after the name: its data is gone. */
const nodes = (...texts: readonly string[]): Given[] =>
  texts.map((text) => {
    const [name = '', parent] = text.split('<');
    return { name: name.replace('!', ''), parent, hasData: !name.endsWith('!'), sealed: false };
  });
const drawn = (...texts: readonly string[]): string[] =>
  waferRows(nodes(...texts)).map(
    ({ branch, name, broken }) => `${branch}${name}${broken === undefined ? '' : `: ${broken}`}`,
  );

describe('the forest of wafers', () => {
  it('is empty where there is none', () => expect(waferRows([])).to.deep.equal([]));

  it('draws a parent above its children', () => {
    expect(drawn('a<z', 'b<z', 'c<a', 'd<a', 'e<b', 'y', 'z')).to.deep.equal([
      'y',
      'z',
      '├── a',
      '│   ├── c',
      '│   └── d',
      '└── b',
      '    └── e',
    ]);
  });

  it('draws one whose parent is missing as a root, and all on it as broken', () => {
    expect(drawn('a<gone', 'b<a', 'c<b')).to.deep.equal([
      'a: its parent "gone" is missing',
      '└── b: its ancestor "a" is broken',
      '    └── c: its ancestor "a" is broken',
    ]);
  });

  it('marks one without data, and what is on it', () => {
    expect(drawn('a', 'b!<a', 'c<b', 'd<a')).to.deep.equal([
      'a',
      '├── b: its data is gone',
      '│   └── c: its ancestor "b" is broken',
      '└── d',
    ]);
  });

  it('draws a circle from its first name on, once', () => {
    expect(drawn('a<c', 'b<a', 'c<b', 'd<b', 'x')).to.deep.equal([
      'a: it is its own ancestor',
      '└── b: its ancestor "a" is broken',
      '    ├── c: its ancestor "a" is broken',
      '    └── d: its ancestor "a" is broken',
      'x',
    ]);
  });

  it('draws what hangs on a circle below it, also when its name comes first', () => {
    expect(drawn('a<y', 'x<y', 'y<x').map((line) => line.replace(/:.*/, ''))).to.deep.equal([
      'x',
      '└── y',
      '    └── a',
    ]);
  });

  it('draws one that is its own parent', () => {
    expect(drawn('a<a')).to.deep.equal(['a: it is its own ancestor']);
  });

  it('has each wafer once, at any depth', () => {
    const chain = Array.from({ length: 3000 }, (_, i) => (i === 0 ? 'w0' : `w${i}<w${i - 1}`));
    const rows = waferRows(nodes(...chain));
    expect(rows.map(({ name }) => name)).to.deep.equal(chain.map((text) => text.replace(/<.*/, '')));
  });
});

describe('reading the forest', () => {
  let wafers = '';
  before(() => {
    wafers = mkdtempSync(join(tmpdir(), 'overlay-boot-wafers-'));
    for (const path of ['b/data', 'a/data', '.new:1-2/data', 'points/p', 'lost+found', 'no data'])
      mkdirSync(join(wafers, path), { recursive: true });
    writeFileSync(join(wafers, 'a/parent'), 'b\n');
    writeFileSync(join(wafers, 'no data/parent'), 'b\n');
    writeFileSync(join(wafers, 'b/sealed'), '');
    writeFileSync(join(wafers, 'file'), '');
  });
  after(() => rmSync(wafers, { recursive: true }));

  it('passes over what is no wafer: points, what is being made, other files and directories', () => {
    expect(
      readWafers(wafers).map(({ name, parent, hasData, sealed }) => ({ name, parent, hasData, sealed })),
    ).to.deep.equal([
      { name: 'a', parent: 'b', hasData: true, sealed: false },
      { name: 'b', parent: undefined, hasData: true, sealed: true },
      { name: 'no data', parent: 'b', hasData: false, sealed: false },
    ]);
  });

  it('finds nothing where there is no directory', () => {
    expect(readWafers(join(wafers, 'nowhere'))).to.deep.equal([]);
  });
});
