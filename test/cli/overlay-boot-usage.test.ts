import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { expect } from 'chai';

const BIN = join(__dirname, '..', '..', 'bin', 'overlay-boot');

describe('overlay-boot, wrong usage', () => {
  const cases: readonly [string, readonly string[], string][] = [
    ['--json of a boot', ['--json', 'x.conf'], '--json needs --check or --plan'],
    ['--no-eval of a boot', ['--no-eval', 'x.conf'], '--no-eval needs --check or --plan'],
    ['--check with --plan', ['--check', '--plan', 'x.conf'], '--check and --plan exclude each other'],
    ['--foreground for several', ['--foreground', 'x.conf', 'y.conf'], '--foreground takes one CONF'],
    ['--foreground for all', ['--foreground', '--all'], '--foreground takes one CONF'],
    ['--all with a conf', ['--check', '--all', 'x.conf'], '--all takes no CONF'],
  ];
  for (const [title, argv, message] of cases)
    it(`is refused before anything is done: ${title}`, () => {
      const { status, stdout, stderr } = spawnSync(BIN, argv, { encoding: 'utf8' });
      expect(stderr).to.equal(`overlay-boot: ${message}: see overlay-boot --help\n`);
      expect([status, stdout]).to.deep.equal([2, '']);
    });
});
