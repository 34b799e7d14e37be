import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { expect } from 'chai';
import { findInLayers } from '../../../src/stack/find-in-layers.js';

describe('findInLayers', () => {
  let top = '';
  beforeEach(() => {
    top = mkdtempSync(join(tmpdir(), 'overlay-boot-layers-'));
  });
  afterEach(() => rmSync(top, { recursive: true }));

  /** Entries of a layer: a file, or `-> TARGET` for a link; a name that ends in `/` is a directory. */
  const layer = (name: string, ...entries: readonly string[]): string => {
    const directory = join(top, name);
    mkdirSync(directory);
    for (const entry of entries) {
      const [path = '', target] = entry.split(' -> ');
      const place = join(directory, path);
      mkdirSync(path.endsWith('/') ? place : dirname(place), { recursive: true });
      if (target !== undefined) symlinkSync(target, place);
      else if (!path.endsWith('/')) writeFileSync(place, '');
    }
    return directory;
  };

  const cases: readonly [string, readonly string[][], string, string | undefined][] = [
    ['the top layer first', [['bin/sh'], ['bin/sh']], '/bin/sh', '0/bin/sh'],
    ['what only a lower layer has', [['etc/x'], ['bin/sh']], '/bin/sh', '1/bin/sh'],
    ['a link that leads into another layer', [['bin -> usr/bin'], ['usr/bin/sh']], '/bin/sh', '1/usr/bin/sh'],
    [
      'an absolute link within the root',
      [['bin/sh -> /bin/busybox', 'bin/busybox']],
      '/bin/sh',
      '0/bin/busybox',
    ],
    ['a link that climbs no higher than the root', [['sh -> ../../../x', 'x']], '/sh', '0/x'],
    ['nothing where a link leads nowhere', [['bin/sh -> dash']], '/bin/sh', undefined],
    ['nothing where links lead in a circle', [['a -> b', 'b -> a']], '/a', undefined],
    ['nothing below what hides a directory', [['bin'], ['bin/sh']], '/bin/sh', undefined],
    [
      'nothing through a link that a directory lies upon',
      [['bin/'], ['bin -> usr/bin', 'usr/bin/sh']],
      '/bin/sh',
      undefined,
    ],
    ['nothing where no layer has it', [['bin/'], ['etc/']], '/bin/sh', undefined],
  ];
  for (const [title, layers, path, expected] of cases)
    it(`finds ${title}`, () => {
      const directories = layers.map((entries, i) => layer(String(i), ...entries));
      expect(findInLayers(directories, path)).to.equal(expected && join(top, expected));
    });
});
