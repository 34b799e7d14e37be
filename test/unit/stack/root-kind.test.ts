import { mkdirSync, mkdtempSync, realpathSync, rmSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'chai';
import {
  isWithin,
  overlayMistakes,
  type RootKind,
  realPath,
  rootKind,
} from '../../../src/stack/root-kind.js';

describe('the kind of a root', () => {
  let dir: string;
  const at = (path: string): string => join(dir, path);
  before(() => {
    dir = realpathSync(mkdtempSync(join(tmpdir(), 'root-kind-')));
    for (const name of ['root', 'live', 'work', 'root/in']) mkdirSync(at(name));
    symlinkSync('root', at('link'));
    symlinkSync('.', at('here'));
  });
  after(() => rmSync(dir, { recursive: true }));

  const cases: [kind: RootKind, upper: string, lower: string[], live: string][] = [
    ['overlay', 'root', ['/'], 'live'],
    ['overlay', 'root', ['root', 'live'], 'live'],
    ['overlay', 'none', ['other'], 'live'],
    ['bind', 'root', ['root'], 'live'],
    ['bind', 'root', ['link'], 'live'],
    ['bind', 'here/none/x', ['none/x'], 'live'],
    ['self', 'root', ['link'], 'here/root'],
    ['self', 'none', ['here/none'], 'none'],
  ];
  for (const [kind, upper, lower, live] of cases)
    it(`is ${kind} for UPPER=${upper} LOWER=${lower.join(':')} LIVE=${live}`, () => {
      const layers = lower.map((layer) => (layer === '/' ? layer : at(layer)));
      expect(rootKind({ upper: at(upper), lower: layers, live: at(live) })).to.equal(kind);
    });

  it('asks for a WORK outside UPPER, and the other way round', () => {
    const mistakes = (upper: string, work: string): string[] =>
      overlayMistakes({ conf: 'c', live: '/', lower: ['/'], upper: at(upper), work: at(work) }).map(
        ({ message }) => message,
      );
    expect(mistakes('root', 'work')).to.deep.equal([]);
    expect(mistakes('root', 'root2')).to.deep.equal([]);
    for (const work of ['root', 'root/in', 'link/in', 'link/none/x'])
      expect(mistakes('root', work)).to.deep.equal([
        `c: WORK: ${at(work)} is inside UPPER: put it beside UPPER, on the same mount`,
      ]);
    expect(mistakes('link/in', 'root')).to.deep.equal([
      `c: UPPER: ${at('link/in')} is inside WORK: put it beside WORK, on the same mount`,
    ]);
  });

  it('resolves what exists of a path', () => {
    expect(realPath(at('link/none/x'))).to.equal(at('root/none/x'));
    expect(realPath('/')).to.equal('/');
  });

  it('tells inside from beside', () => {
    expect(isWithin('/a/b', '/a')).to.equal(true);
    expect(isWithin('/a', '/a')).to.equal(true);
    expect(isWithin('/ab', '/a')).to.equal(false);
    expect(isWithin('/a', '/')).to.equal(true);
  });
});
