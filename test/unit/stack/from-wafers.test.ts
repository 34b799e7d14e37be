import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'chai';
import { isWaferName, stackOfWafer, traceAncestry, WAFERS_EXIT } from '../../../src/stack/from-wafers.js';

describe('wafers as a stack', () => {
  let wafers = '';
  beforeEach(() => {
    wafers = mkdtempSync(join(tmpdir(), 'overlay-boot-wafers-'));
  });
  afterEach(() => rmSync(wafers, { recursive: true }));

  const make = (name: string, parent?: string, { data = true, sealed = false } = {}): void => {
    mkdirSync(join(wafers, name, ...(data ? ['data'] : [])), { recursive: true });
    if (parent !== undefined) writeFileSync(join(wafers, name, 'parent'), parent);
    if (sealed) writeFileSync(join(wafers, name, 'sealed'), '');
  };
  const thrown = (run: () => unknown): { message: string; exitCode: unknown } => {
    try {
      run();
    } catch (error) {
      if (error instanceof Error && 'exitCode' in error)
        return { message: error.message, exitCode: error.exitCode };
      throw error;
    }
    throw new Error('nothing was thrown');
  };

  it('puts the nearest ancestor on top, and the wafer itself above as the writable layer', () => {
    make('base');
    make('mid', 'base\n');
    make('top', 'mid\n');
    expect(stackOfWafer('top', { wafers })).to.deep.equal({
      from: 'wafers',
      layers: [
        { kind: 'directory', path: join(wafers, 'base/data') },
        { kind: 'directory', path: join(wafers, 'mid/data') },
      ],
      writable: { upper: join(wafers, 'top/data'), work: join(wafers, 'top/work'), make: true },
      binds: [],
      xattrs: 'trusted',
      readOnly: false,
    });
  });

  const bases: readonly [string, string | undefined][] = [
    ['has no parent file', undefined],
    ['has an empty parent file', ''],
    ['has a parent file with a newline alone', '\n'],
  ];
  for (const [title, parent] of bases)
    it(`is a base that ${title}: the writable layer alone`, () => {
      make('base', parent);
      const { layers, writable } = stackOfWafer('base', { wafers });
      expect([layers, writable?.upper]).to.deep.equal([[], join(wafers, 'base/data')]);
    });

  it('has a writable layer also where the data is gone, but the parent is known', () => {
    make('base');
    make('lost', 'base\n', { data: false });
    expect(stackOfWafer('lost', { wafers }).writable?.upper).to.equal(join(wafers, 'lost/data'));
  });

  const refusals: readonly [string, () => void, number, string][] = [
    ['that is not there', () => {}, 6, 'wafer not found: "x" in WAFERS'],
    [
      'with neither data nor parent',
      () => make('x', undefined, { data: false }),
      6,
      'wafer not found: "x" in WAFERS',
    ],
    [
      'whose parent is missing',
      () => make('x', 'gone\n'),
      5,
      'ancestry corrupt: "gone", the parent of "x", is missing',
    ],
    [
      'whose ancestor has lost its data',
      () => {
        make('base');
        make('mid', 'base\n', { data: false });
        make('x', 'mid\n');
      },
      5,
      'ancestry corrupt: "mid", the parent of "x", has no data',
    ],
    [
      'whose parent would be outside of WAFERS',
      () => make('x', '../x\n'),
      5,
      'ancestry corrupt: "../x", the parent of "x", is missing',
    ],
    ['that is its own parent', () => make('x', 'x\n'), 5, 'ancestry corrupt: "x" is its own ancestor'],
    [
      'on a circle of others',
      () => {
        make('x', 'a\n');
        make('a', 'b\n');
        make('b', 'a\n');
      },
      5,
      'ancestry corrupt: "a" is its own ancestor',
    ],
    [
      'that is sealed',
      () => make('x', undefined, { sealed: true }),
      1,
      '"x" is sealed: nothing may write to it: stack a new wafer on it: wafers stack NEW x',
    ],
  ];
  for (const [title, prepare, exitCode, message] of refusals)
    it(`refuses a wafer ${title}`, () => {
      prepare();
      const error = thrown(() => stackOfWafer('x', { wafers }));
      expect(error).to.deep.equal({ message: message.replace('WAFERS', wafers), exitCode });
    });

  it('takes a sealed ancestor', () => {
    make('image', undefined, { sealed: true });
    make('x', 'image\n');
    expect(stackOfWafer('x', { wafers }).layers).to.have.lengthOf(1);
  });

  it('takes 500 ancestors, and names the limit for one more', () => {
    make('w0');
    for (let i = 1; i <= 501; i++) make(`w${i}`, `w${i - 1}\n`);
    expect(stackOfWafer('w500', { wafers }).layers).to.have.lengthOf(500);
    expect(thrown(() => stackOfWafer('w501', { wafers }))).to.deep.equal({
      message: '"w501" has 501 ancestors: the kernel stacks at most 500: join some of them into one',
      exitCode: 1,
    });
    expect(
      traceAncestry(wafers, 'w501', 'w500')
        .slice(0, 2)
        .map(({ name }) => name),
    ).to.deep.equal(['w500', 'w499']);
  });

  const names: readonly [string, boolean][] = [
    ['a', true],
    ['archbase2', true],
    ['.hidden', true],
    ['...', true],
    ['a b,c', true],
    ['ünïcode-名', true],
    ['img@point', true],
    ['-x', true],
    ['', false],
    ['.', false],
    ['..', false],
    ['a/b', false],
    ['/a', false],
    ['a/', false],
    ['a:b', false],
    ['a\nb', false],
    ['points', false],
    ['x'.repeat(255), true],
    ['x'.repeat(256), false],
    ['ü'.repeat(128), false],
  ];
  for (const [name, good] of names)
    it(`${good ? 'takes' : 'refuses'} ${JSON.stringify(name.slice(0, 20))} as a name`, () =>
      expect(isWaferName(name)).to.equal(good));

  it('says what a name may be', () => {
    expect(thrown(() => stackOfWafer('a/b', { wafers }))).to.deep.equal({
      message: '"a/b" is no name of a wafer: write one path component of up to 255 bytes, without / and :',
      exitCode: 2,
    });
  });

  it('keeps the exit codes of its model', () => {
    expect(Object.values(WAFERS_EXIT)).to.deep.equal([1, 2, 3, 4, 5, 6]);
  });
});
