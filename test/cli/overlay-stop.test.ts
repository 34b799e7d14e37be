import { spawnSync } from 'node:child_process';
import { join, resolve } from 'node:path';
import { expect } from 'chai';

const COMMAND = join(resolve(__dirname, '..', '..'), 'bin/overlay-stop');

describe('overlay-stop (with nothing to stop)', () => {
  const run = (args: readonly string[], uid = 0) => {
    const program = uid === 0 ? [] : ['setpriv', `--reuid=${uid}`, '--regid=65534', '--clear-groups', '--'];
    const [file = '', ...rest] = [...program, COMMAND, ...args];
    const { status, stdout, stderr } = spawnSync(file, rest, {
      encoding: 'utf8',
      env: { PATH: '/usr/bin:/bin' },
    });
    return { status, stdout, stderr };
  };
  const refused = (status: number, line: string) => ({
    status,
    stdout: '',
    stderr: `overlay-stop: ${line}\n`,
  });

  beforeEach(function () {
    // Others are refused before anything is looked at.
    if (process.geteuid?.() !== 0) this.skip();
  });

  it('needs root, and says so', () => {
    expect(run(['mta'], 65534)).to.deep.equal(refused(1, 'must be root'));
  });

  it('shows --help to anyone', () => {
    const { status, stdout } = run(['--help'], 65534);
    expect(status).to.equal(0);
    for (const option of ['all', 'timeout SECONDS', 'kill'])
      expect(stdout).to.match(new RegExp(`^ +--${option} `, 'm'));
  });

  const cases: readonly [string, readonly string[], string][] = [
    ['no argument', [], 'no CONF or NAME given: see overlay-stop --help'],
    ['--all with a name', ['--all', 'mta'], '--all takes no CONF or NAME: see overlay-stop --help'],
    ['an unknown option', ['--now', 'mta'], "unknown option '--now': see overlay-stop --help"],
    [
      'a time limit that is none',
      ['--timeout', '1m', 'mta'],
      '--timeout "1m" is no number of seconds: write 0 or more, 0 for no limit',
    ],
    [
      'a name that no subhost has',
      ['no name'],
      '"no name" is no name of a subhost: a conf file ends in .conf or has a / in its path',
    ],
    ['a conf that is missing', ['nothing.conf'], `${process.cwd()}/nothing.conf: there is no such file`],
    [
      'a path with an escape sequence, which does not reach the terminal,',
      ['./a\u001b[2Jb\u009b'],
      `${process.cwd()}/a\\x1b[2Jb\\x9b: there is no such file`,
    ],
    ['a path that is no file', ['./nothing'], `${process.cwd()}/nothing: there is no such file`],
  ];
  for (const [title, args, message] of cases)
    it(`refuses ${title} with 2`, () => {
      expect(run(args)).to.deep.equal(refused(2, message));
    });
});
