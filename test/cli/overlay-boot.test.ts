/** overlay-boot without root, or with a mistake: exit codes, stderr line by line, --check --json. */
import { spawnSync } from 'node:child_process';
import { chmodSync, mkdirSync, mkdtempSync, realpathSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { expect } from 'chai';

const COMMAND = join(resolve(__dirname, '..', '..'), 'bin/overlay-boot');

describe('overlay-boot (without booting)', () => {
  let base: string;
  beforeEach(function () {
    // A conf has to belong to root, so --check of a good one needs a test process that is root.
    if (process.geteuid?.() !== 0) this.skip();
    base = realpathSync(mkdtempSync(join(tmpdir(), 'overlay-boot-cli-')));
    chmodSync(base, 0o755);
    for (const name of ['root', 'work', 'live', 'lower', 'data']) mkdirSync(join(base, name));
  });
  afterEach(() => {
    rmSync(base, { recursive: true, force: true });
  });

  const run = (
    args: readonly string[],
    { uid = 0, env = {} }: { uid?: number; env?: Record<string, string> } = {},
  ) => {
    const program = uid === 0 ? [] : ['setpriv', `--reuid=${uid}`, '--regid=65534', '--clear-groups', '--'];
    const [file = '', ...rest] = [...program, COMMAND, ...args];
    const { status, stdout, stderr } = spawnSync(file, rest, {
      encoding: 'utf8',
      cwd: base,
      env: { PATH: `${dirname(process.execPath)}:/usr/sbin:/usr/bin:/sbin:/bin`, ...env },
    });
    return { status, stdout, stderr };
  };
  const conf = (text: string, name = 'mta.conf'): string => {
    const path = join(base, name);
    writeFileSync(path, text);
    return path;
  };
  const refused = (status: number, ...lines: string[]) => ({
    status,
    stdout: '',
    stderr: lines.map((line) => `overlay-boot: ${line}\n`).join(''),
  });

  it('needs root to boot, and says so', () => {
    expect(run([conf('BASE=.\n')], { uid: 65534 })).to.deep.equal(refused(1, 'must be root'));
    expect(run(['--all'], { uid: 65534 })).to.deep.equal(refused(1, 'must be root'));
  });

  it('shows --help and --version to anyone', () => {
    const help = run(['--help'], { uid: 65534 });
    expect([help.status, help.stderr]).to.deep.equal([0, '']);
    expect(help.stdout).to.match(/^usage: overlay-boot \[OPTIONS\] CONF\.\.\.\n/);
    for (const option of [
      'all',
      'check',
      'plan',
      'mkdir',
      'foreground',
      'timeout SECONDS',
      'no-eval',
      'json',
      'listed',
    ])
      expect(help.stdout).to.match(new RegExp(`^ +--${option} `, 'm'));
    expect(run(['--version'], { uid: 65534 }).stdout).to.match(/^overlay-boot \d+\.\d+\.\d+\n$/);
  });

  const usage: readonly [string, readonly string[], string][] = [
    ['no CONF', ['--check'], 'no CONF given: see overlay-boot --help'],
    ['an unknown option', ['--chekc'], "unknown option '--chekc': see overlay-boot --help"],
    [
      'a value that is missing',
      ['--timeout'],
      "option '--timeout <value>' argument missing: see overlay-boot --help",
    ],
    [
      'a time limit that is none',
      ['--check', '--timeout', 'x', 'a.conf'],
      '--timeout "x" is no number of seconds: write 0 or more, 0 for no limit',
    ],
  ];
  for (const [title, args, message] of usage)
    it(`refuses ${title} with 2`, () => {
      expect(run(args)).to.deep.equal(refused(2, message));
    });

  describe('--check', () => {
    it('of a good conf prints nothing, for anyone', () => {
      const good = conf('BASE=.\nLOWER=lower\n');
      for (const uid of [0, 65534])
        expect(run(['--check', good], { uid })).to.deep.equal({ status: 0, stdout: '', stderr: '' });
    });

    it('prints every variable with --json, resolved', () => {
      const text = `BASE=../${base.split('/').at(-1)}\nCABLES= =02:00:00:00:00:01 =.7\nLOWER=lower:/\nSHARE=data:/srv/d\nSHARE=data\nSTART=a /b\nRAM_SIZE=1M\nPIDS_MAX=\n`;
      const { status, stdout, stderr } = run(['--check', '--json', conf(text)]);
      expect([status, stderr]).to.deep.equal([0, '']);
      expect(JSON.parse(stdout)).to.deep.equal({
        NAME: 'mta',
        BASE: base,
        CABLES: ['=02:00:00:00:00:01', '=.7'],
        LIVE: `${base}/live`,
        UPPER: `${base}/root`,
        WORK: `${base}/work`,
        LOWER: `${base}/lower:/`,
        STACK: null,
        START: ['a', '/b'],
        INIT: null,
        PREMOUNT: null,
        POSTMOUNT: null,
        RAM_SIZE: 1_048_576,
        LOG: '/var/log/overlay-boot/mta.log',
        SHARE: [
          [`${base}/data`, '/srv/d'],
          [`${base}/data`, `${base}/data`],
        ],
        CAPS: 'CHOWN DAC_OVERRIDE FOWNER FSETID KILL SETGID SETUID SETPCAP NET_BIND_SERVICE NET_ADMIN NET_RAW SYS_CHROOT AUDIT_WRITE SETFCAP'.split(
          ' ',
        ),
        MEMORY_MAX: null,
        CPU_MAX: null,
        PIDS_MAX: null,
        ENGINE: 'subhost',
      });
    });

    it('prints a list for several confs', () => {
      const confs = [conf('BASE=.\nLOWER=lower\n', 'a.conf'), conf('BASE=.\nLOWER=lower\n', 'b.conf')];
      const { stdout } = run(['--check', '--json', ...confs]);
      expect((JSON.parse(stdout) as { NAME: string }[]).map(({ NAME }) => NAME)).to.deep.equal(['a', 'b']);
    });

    it('tells all mistakes of all confs in one go, a line each, with file and line', () => {
      const a = conf('BASE=.\nRAM_SIZE=much\nCABLES=x =zz\nNAME=-no\n', 'a.conf');
      const b = conf('LOWER=lower\n', 'b.conf');
      const { status, stdout, stderr } = run(['--check', a, b]);
      expect([status, stdout]).to.deep.equal([2, '']);
      const lines = stderr.trimEnd().split('\n');
      for (const start of [
        `${a}:4: NAME: `,
        `${a}:2: RAM_SIZE: `,
        `${a}:3: CABLES: "x"`,
        `${a}:3: CABLES: "=zz"`,
        `${b}: BASE is missing: `,
      ])
        expect(
          lines.filter((line) => line.startsWith(`overlay-boot: ${start}`)),
          `${start}\n${stderr}`,
        ).to.have.lengthOf(1);
      expect(lines).to.have.lengthOf(5);
    });

    it('warns of what is ignored, and succeeds', () => {
      const good = conf('BASE=.\nLOWER=lower\nSTRAT=x\n');
      const { status, stderr } = run(['--check', good]);
      expect(status).to.equal(0);
      expect(stderr).to.match(new RegExp(`^overlay-boot: ${good}:3: .*STRAT.*START`));
    });

    const untrusted: readonly [string, (path: string) => void, string][] = [
      [
        'is writable by others',
        (path) => chmodSync(path, 0o646),
        'is writable by others than root: chmod go-w ',
      ],
      [
        'lies in a directory that others can write',
        () => chmodSync(base, 0o777),
        'the directory of mta.conf is writable by others than root: chmod go-w ',
      ],
    ];
    for (const [title, change, message] of untrusted)
      it(`refuses a conf that ${title}`, () => {
        const path = conf('BASE=.\nLOWER=lower\n');
        change(path);
        const at = title.startsWith('lies') ? base : path;
        expect(run(['--check', path])).to.deep.equal(refused(2, `${at}: ${message}${at}`));
      });

    it('refuses a conf that is missing, and a directory', () => {
      expect(run(['--check', '/no/such.conf'])).to.deep.equal(
        refused(2, '/no/such.conf: there is no such file'),
      );
      expect(run(['--check', base])).to.deep.equal(refused(2, `${base}: is no regular file`));
    });
  });

  it('--plan --json prints the stages as data, for anyone', () => {
    const { status, stdout } = run(['--plan', '--json', conf('BASE=.\nLOWER=lower\n')], { uid: 65534 });
    expect(status).to.equal(0);
    const plan = JSON.parse(stdout) as { name: string; stages: { kind: string }[] };
    expect(plan.name).to.equal('mta');
    expect(plan.stages.map(({ kind }) => kind)).to.deep.equal(['child', 'start']);
  });

  it('shows a stack trace with OVERLAY_DEBUG=1 only', () => {
    expect(run(['--check', '/no/such.conf'], { env: { OVERLAY_DEBUG: '1' } }).stderr).to.match(/\n {4}at /);
  });
});
