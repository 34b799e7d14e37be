import { spawnSync } from 'node:child_process';
import { expect } from 'chai';
import { compareVersions } from '../../../src/stack/version-order.js';

const sign = (a: string, b: string): string => {
  const order = compareVersions(a, b);
  return order < 0 ? '<' : order > 0 ? '>' : '=';
};

/** The examples of the specification, and what section 2 names. */
const PAIRS: readonly [string, '<' | '=' | '>', string][] = [
  ['11', '=', '11'],
  ['systemd-123', '=', 'systemd-123'],
  ['bar-123', '<', 'foo-123'],
  ['123a', '>', '123'],
  ['123.a', '>', '123'],
  ['123.a', '<', '123.b'],
  ['123a', '>', '123.a'],
  ['11α', '=', '11β'],
  ['A', '<', 'a'],
  ['', '<', '0'],
  ['0.', '>', '0'],
  ['0.0', '>', '0'],
  ['0', '>', '~'],
  ['', '>', '~'],
  ['1_', '=', '1'],
  ['_1', '=', '1'],
  ['1_', '<', '1.2'],
  ['1_2_3', '>', '1.3.3'],
  ['1+', '=', '1'],
  ['+1', '=', '1'],
  ['2', '<', '10'],
  ['1~rc1', '<', '1'],
  ['1~rc1', '>', '1~'],
  ['1^post', '>', '1'],
  ['1^post', '<', '1.1'],
  ['1-2', '<', '1.2'],
  ['007', '=', '7'],
  ['20250101000000000000001', '>', '20250101000000000000000'],
  ['10', '>', 'a'],
  ['0', '>', 'a10'],
  ['ab', '>', 'a'],
];

describe('compareVersions', () => {
  for (const [a, order, b] of PAIRS)
    it(`says "${a}" ${order} "${b}"`, () => {
      const opposite = { '<': '>', '>': '<', '=': '=' }[order];
      expect([sign(a, b), sign(b, a)]).to.deep.equal([order, opposite]);
    });

  it('sorts a mix of them', () => {
    const versions = ['b', '1.10', '10', '1~rc1', 'a', '0', '2', '1', '1.2'];
    expect(versions.sort(compareVersions)).to.deep.equal([
      'a',
      'b',
      '0',
      '1~rc1',
      '1',
      '1.2',
      '1.10',
      '2',
      '10',
    ]);
  });

  it('agrees with systemd-analyze where there is one', function () {
    this.timeout(60_000);
    if (spawnSync('systemd-analyze', ['compare-versions', '1', '1']).status !== 0) this.skip();
    const parts = ['0', '1', '~', '-', '^', '.', 'a', 'B', '_', '10'];
    const wrong: string[] = [];
    // A fixed sequence, so that a difference can be looked at again.
    let seed = 12345;
    const next = (below: number): number => {
      seed = (seed * 1103515245 + 12345) % 2 ** 31;
      return Math.floor((seed / 2 ** 31) * below);
    };
    const version = (): string =>
      Array.from({ length: 1 + next(4) }, () => parts[next(parts.length)]).join('');
    for (let i = 0; i < 40; i++) {
      const [a, b] = [version(), version()];
      const { status } = spawnSync('systemd-analyze', ['compare-versions', '--', a, b]);
      // systemd-analyze: 11 for newer, 12 for older.
      const theirs = status === 11 ? '>' : status === 12 ? '<' : '=';
      if (sign(a, b) !== theirs) wrong.push(`"${a}" ${theirs} "${b}"`);
    }
    expect(wrong).to.deep.equal([]);
  });
});
