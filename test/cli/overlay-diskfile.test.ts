import { spawnSync } from 'node:child_process';
import { join, resolve } from 'node:path';
import { expect } from 'chai';

const COMMAND = join(resolve(__dirname, '..', '..'), 'bin/overlay-diskfile');

describe('overlay-diskfile (without mounting)', () => {
  const run = (...args: readonly string[]) => {
    const { status, stdout, stderr } = spawnSync(process.execPath, [COMMAND, ...args], {
      encoding: 'utf8',
      env: { ACTION: 'check' },
    });
    return { status, stdout, stderr };
  };

  const values: readonly [string, string][] = [
    ['mnt', 'mnt'],
    ['mnt/', 'mnt/'],
    ['mnt/a/b', 'mnt/a/b'],
    ['./mnt/a', 'mnt/a'],
    ['mnt//a', 'mnt/a'],
    ['mnt/deep//a/b', 'mnt/deep/a/b'],
    ['/abs/mnt//a', '/abs/mnt/a'],
    ['../mnt//a', '../mnt/a'],
  ];
  for (const [place, value] of values)
    it(`prints ${value} for ${place}`, () =>
      expect(run(place, 'disk.img', '2')).to.deep.equal({ status: 0, stdout: `${value}\n`, stderr: '' }));

  const mistakes: readonly [readonly string[], string][] = [
    [[], 'MOUNT/PATH is missing: see overlay-diskfile --help'],
    [['a', 'b', '1', 'c'], 'too many arguments: c: see overlay-diskfile --help'],
    [['/abs/x'], '/abs/x is not a relative path: write MOUNT/PATH, or mark MOUNT as in MOUNT//PATH'],
    [['//x'], '//x is not a relative path: write MOUNT/PATH, or mark MOUNT as in MOUNT//PATH'],
    [['../x'], '../x has no first component for MOUNT: write MOUNT/PATH, or mark MOUNT as in MOUNT//PATH'],
    [['./'], './ has no first component for MOUNT: write MOUNT/PATH, or mark MOUNT as in MOUNT//PATH'],
    [['a/', 'd', '0'], 'INDEX "0" is no partition\'s number: write 1 or more'],
    [['a/', 'd', '1x'], 'INDEX "1x" is no partition\'s number: write 1 or more'],
  ];
  for (const [args, message] of mistakes)
    it(`refuses ${JSON.stringify(args)}`, () =>
      expect(run(...args)).to.deep.equal({
        status: 2,
        stdout: '',
        stderr: `overlay-diskfile: ${message}\n`,
      }));
});
