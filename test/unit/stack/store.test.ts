import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'chai';
import { stackOfPoint } from '../../../src/stack/from-store.js';
import {
  childrenOf,
  fallbackOf,
  type Generation,
  instancesOf,
  parseInstanceName,
  pointNames,
  readPoint,
  readStore,
  requireSealed,
} from '../../../src/stack/store.js';

describe('the store', () => {
  let wafers = '';
  beforeEach(() => {
    wafers = mkdtempSync(join(tmpdir(), 'overlay-boot-store-'));
  });
  afterEach(() => rmSync(wafers, { recursive: true }));

  const wafer = (name: string, parent?: string, mark?: 'sealed' | 'open'): void => {
    mkdirSync(join(wafers, name, 'data'), { recursive: true });
    if (parent) writeFileSync(join(wafers, name, 'parent'), `${parent}\n`);
    if (mark) writeFileSync(join(wafers, name, mark), '');
  };
  const generation = (point: string, number: number, instance: string, replaced?: number): void => {
    const place = join(wafers, 'points', point, String(number));
    mkdirSync(place, { recursive: true });
    symlinkSync(`../../../${instance}`, join(place, 'instance'));
    if (replaced) symlinkSync(`../${replaced}`, join(place, 'replaced'));
  };
  const current = (point: string, target: string): void =>
    symlinkSync(target, join(wafers, 'points', point, 'current'));

  const names: readonly [string, object | undefined][] = [
    ['a@b', { name: 'a@b', image: 'a', point: 'b' }],
    ['apps-2.0@system1fs', { name: 'apps-2.0@system1fs', image: 'apps-2.0', point: 'system1fs' }],
    ['a', undefined],
    ['a@', undefined],
    ['@b', undefined],
    ['a@b@c', undefined],
  ];
  for (const [name, expected] of names)
    it(`takes ${name} ${expected ? 'for' : 'for no'} instance`, () =>
      expect(parseInstanceName(name)).to.deep.equal(expected));

  it('has images, sealed and open, and instances, and passes over other wafers and leftovers', () => {
    wafer('b', 'a', 'open');
    wafer('a', undefined, 'sealed');
    wafer('a@p', 'a');
    wafer('own', 'a');
    mkdirSync(join(wafers, '.new:1-2', 'data'), { recursive: true });
    writeFileSync(join(wafers, 'file'), '');
    expect(readStore(wafers)).to.deep.equal({
      images: [
        { name: 'a', parent: undefined, state: 'sealed' },
        { name: 'b', parent: 'a', state: 'open' },
      ],
      instances: [{ name: 'a@p', image: 'a', point: 'p' }],
    });
    expect(childrenOf(wafers, 'a')).to.deep.equal(['a@p', 'b', 'own']);
    expect(instancesOf(wafers, 'p').map(({ name }) => name)).to.deep.equal(['a@p']);
  });

  it('is empty where there is none', () => {
    expect(readStore(join(wafers, 'gone'))).to.deep.equal({ images: [], instances: [] });
    expect(pointNames(wafers)).to.deep.equal([]);
    expect(readPoint(wafers, 'p')).to.equal(undefined);
  });

  const refusals: readonly [string, string][] = [
    ['gone', 'no image "gone": stacko list-images shows those that there are'],
    ['own', '"own" is a wafer, no image: stacko close-image own seals it and so makes it one'],
    ['b', 'image "b" is open for editing: stacko close-image b first'],
    ['a@p', '"a@p": "@" is in the names of instances only: leave it out'],
  ];
  for (const [name, message] of refusals)
    it(`does not take ${name} for a sealed image`, () => {
      wafer('b', 'a', 'open');
      wafer('own');
      wafer('a@p', 'a');
      expect(() => requireSealed(wafers, name)).to.throw(message);
    });

  it('reads a point: generations by number, and the current one', () => {
    generation('p', 10, 'b@p', 2);
    generation('p', 2, 'a@p');
    current('p', '10');
    expect(readPoint(wafers, 'p')).to.deep.equal({
      name: 'p',
      directory: join(wafers, 'points/p'),
      generations: [
        { number: 2, instance: 'a@p', replaced: undefined },
        { number: 10, instance: 'b@p', replaced: 2 },
      ],
      current: { number: 10, instance: 'b@p', replaced: 2 },
    });
  });

  it('says what a point has lost', () => {
    generation('p', 1, 'a@p');
    const todo = 'make it a link to one of the numbers beside it';
    const link = join(wafers, 'points/p/current');
    expect(() => readPoint(wafers, 'p')).to.throw(`point "p" is corrupt: no link ${link}: ${todo}`);
    current('p', '7');
    expect(() => readPoint(wafers, 'p')).to.throw(
      `point "p" is corrupt: "7" is no generation, but the target of ${link}: ${todo}`,
    );
    rmSync(join(wafers, 'points/p/1/instance'));
    expect(() => readPoint(wafers, 'p')).to.throw(
      `${join(wafers, 'points/p/1/instance')} is no link to an instance`,
    );
  });

  it('is the stack of a point’s current instance', () => {
    wafer('a', undefined, 'sealed');
    wafer('a@p', 'a');
    generation('p', 1, 'a@p');
    current('p', '1');
    expect(stackOfPoint('p', { wafers })).to.deep.include({
      from: 'store',
      layers: [{ kind: 'directory', path: join(wafers, 'a/data') }],
      writable: { upper: join(wafers, 'a@p/data'), work: join(wafers, 'a@p/work'), make: true },
    });
    expect(stackOfPoint('a', { wafers })).to.equal(undefined);
    expect(stackOfPoint('../w', { wafers })).to.equal(undefined);
  });
});

describe('fallbackOf', () => {
  /** Generations as `instance<replaced`, numbered from 1. */
  const generations = (texts: readonly string[]): Generation[] =>
    texts.map((text, i) => {
      const [instance = '', replaced] = text.split('<');
      return { number: i + 1, instance, replaced: replaced ? Number(replaced) : undefined };
    });
  const cases: readonly [string, readonly string[], number, number | undefined][] = [
    ['is what the current one replaced', ['a', 'b<1', 'c<2'], 3, 2],
    ['is not the number before', ['a', 'b<1', 'c<1'], 3, 1],
    ['is nothing for the first', ['a', 'b<1'], 1, undefined],
    ['passes over the same instance', ['a', 'b<1', 'b<2'], 3, 1],
    ['is nothing where all that was before is the same instance', ['a', 'a<1'], 2, undefined],
    ['is nothing where what was replaced is gone', ['a', 'b<7'], 2, undefined],
    ['comes to an end in a circle', ['a<2', 'a<1'], 1, undefined],
  ];
  for (const [title, texts, now, expected] of cases)
    it(title, () => {
      const all = generations(texts);
      const current = all[now - 1];
      if (!current) throw new Error('no such generation');
      expect(fallbackOf({ generations: all, current })?.number).to.equal(expected);
    });
});
