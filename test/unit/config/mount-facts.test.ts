import { statSync } from 'node:fs';
import { expect } from 'chai';
import { layersOf, mountIdOf, stackDepth } from '../../../src/config/mount-facts.js';
import { type Mount, mountsOf } from '../../../src/sys/mountinfo.js';

describe('mountIdOf', () => {
  it('gives the id that mountinfo has', () => {
    const proc = mountsOf('self').filter(({ mountPoint }) => mountPoint === '/proc');
    expect(proc.map(({ id }) => id)).to.include(mountIdOf('/proc'));
    expect(mountIdOf('/proc/self')).to.equal(mountIdOf('/proc'));
    expect(mountIdOf('/none/at/all')).to.equal(undefined);
  });
});

describe('layersOf', () => {
  const cases: [options: string, layers: string[]][] = [
    ['rw,relatime', []],
    ['rw,lowerdir=/a:/b,upperdir=/c,workdir=/d,xino=off', ['/a', '/b', '/c']],
    ['ro,lowerdir+=/a:b,lowerdir+=/c\\054d,datadir+=/e', ['/a:b', '/c,d', '/e']],
    ['ro,lowerdir=/a\\134:b:/c\\040d\\134,e', ['/a:b', '/c d,e']],
    ['ro,lowerdir=/a::/data', ['/a', '/data']],
  ];
  for (const [options, layers] of cases)
    it(`reads ${options}`, () => expect(layersOf(options)).to.deep.equal(layers));
});

describe('stackDepth', () => {
  /** The mounts of this host, those at and around some directories taken for overlays. */
  const mountsWith = (overlays: Record<string, string>): Mount[] =>
    mountsOf('self').map((mount) => {
      const superOptions = Object.entries(overlays).find(([path]) => mountIdOf(path) === mount.id)?.[1];
      return {
        ...mount,
        ...(superOptions === undefined ? { type: 'plain' } : { type: 'overlay', superOptions }),
      };
    });

  before(function () {
    const ids = new Set(['/proc', '/sys', '/dev'].map((path) => mountIdOf(path)));
    if (ids.size < 3 || !statSync('/sys').isDirectory()) this.skip();
  });

  const cases: [depth: number, overlays: Record<string, string>][] = [
    [0, {}],
    [0, { '/sys': 'lowerdir=/dev' }],
    [1, { '/proc': 'lowerdir=/sys:/dev' }],
    [2, { '/proc': 'lowerdir=/dev:/sys,upperdir=/dev', '/sys': 'lowerdir=/dev' }],
    [2, { '/proc': 'lowerdir=/none,upperdir=/sys', '/sys': 'lowerdir=/none' }],
    [3, { '/proc': 'lowerdir=/sys', '/sys': 'lowerdir=/dev', '/dev': 'lowerdir=/none' }],
    [1, { '/proc': 'lowerdir=/proc' }],
    [2, { '/proc': 'lowerdir=/sys', '/sys': 'lowerdir=/proc' }],
  ];
  for (const [depth, overlays] of cases)
    it(`is ${depth} with ${JSON.stringify(overlays)}`, () =>
      expect(stackDepth('/proc', mountsWith(overlays))).to.equal(depth));
});
