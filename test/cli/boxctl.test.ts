/** boxctl as far as nothing is booted: its usage, names, and who may do what. */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { expect } from 'chai';

const COMMAND = join(resolve(__dirname, '..', '..'), 'bin/boxctl');
/** The document's, in its order. */
const VERBS = [
  ...[
    'configure',
    'disable',
    'enable',
    'list',
    'login',
    'poweroff',
    'restart',
    'start',
    'status',
    'terminate',
  ],
  ...['cutover-instance', 'delete-instance', 'fallback-instance', 'list-images', 'reset', 'stage-image'],
];

describe('boxctl (without booting)', () => {
  let top = '';
  before(() => {
    top = mkdtempSync(join(tmpdir(), 'overlay-boot-boxctl-'));
  });
  after(() => rmSync(top, { recursive: true }));

  const run = (args: readonly string[]) => {
    const env = { PATH: process.env.PATH, WAFERS: join(top, 'w'), STACKS: join(top, 'm') };
    const { status, stdout, stderr } = spawnSync(COMMAND, args, { encoding: 'utf8', cwd: top, env });
    return { status, stdout, stderr: stderr.replaceAll(top, 'TOP') };
  };

  it('has every command of its document, in the order of that', () => {
    const { stdout } = run(['--help']);
    expect([...stdout.matchAll(/^(?:usage:)? +boxctl (\S+)/gm)].map(([, verb]) => verb)).to.deep.equal(VERBS);
  });

  const usage: readonly [readonly string[], string][] = [
    [[], 'no command given: see boxctl --help'],
    [['frobnicate'], 'unknown command frobnicate: see boxctl --help'],
    [['start'], 'start: no NAME given: boxctl start NAME'],
    [['start', 'a', 'b'], 'start: too many arguments: b: boxctl start NAME'],
    [['cutover-instance', 'a'], 'cutover-instance: no IMAGE given: boxctl cutover-instance NAME IMAGE'],
    [['stage-image'], 'stage-image: no TAR given: boxctl stage-image TAR [IMAGE]'],
    [['poweroff', 'a', '--timeout', '1'], '--timeout is not for poweroff: see boxctl --help'],
    [['start', 'a', '--json'], '--json is not for start: see boxctl --help'],
    [
      ['list', 'gone'],
      'no box "gone": boxctl cutover-instance gone IMAGE makes one; boxctl list --all shows those that there are',
    ],
    [
      ['status', '../x'],
      '"../x" is no name of a wafer: write one path component of up to 255 bytes, without / and :',
    ],
    [
      ['status', 'longer-than-12'],
      '"longer-than-12" is no name of a box: write at most 12 of letters, digits, "_", "-", ".", not starting with "-" or "."',
    ],
  ];
  for (const [args, message] of usage)
    it(`refuses ${JSON.stringify(args)}`, () =>
      expect(run(args)).to.deep.equal({ status: 2, stdout: '', stderr: `boxctl: ${message}\n` }));

  const root: readonly [readonly string[], string][] = [
    [
      ['start', 'gone'],
      'no box "gone": boxctl cutover-instance gone IMAGE makes one; boxctl list --all shows those that there are',
    ],
    [
      ['start', 'a', '--timeout', 'x'],
      '--timeout "x" is no number of seconds: write 0 or more, 0 for no limit',
    ],
    [
      ['start', 'a', '--timeout', '-1'],
      '--timeout "-1" is no number of seconds: write 0 or more, 0 for no limit',
    ],
    [
      ['enable', 'gone'],
      'no box "gone": boxctl cutover-instance gone IMAGE makes one; boxctl list --all shows those that there are',
    ],
    [['cutover-instance', 'a@b', 'x'], '"a@b": "@" is in the names of instances only: leave it out'],
    [['cutover-instance', 'a', 'gone'], 'no image "gone": stacko list-images shows those that there are'],
    [['stage-image', 'gone.tar'], 'TOP/gone.tar cannot be read: no such file or directory (ENOENT)'],
  ];
  for (const [args, message] of root)
    it(`says to who may change boxes what is wrong with ${JSON.stringify(args)}`, function () {
      // Others are refused before anything is looked at.
      if (process.geteuid?.() !== 0) this.skip();
      expect(run(args)).to.deep.equal({ status: 2, stdout: '', stderr: `boxctl: ${message}\n` });
      expect(readdirSync(top)).to.deep.equal([]);
    });
});
