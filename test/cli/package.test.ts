/** npm run deb and npm pack: what is in the packages, and that what npm installs runs. Tried on whole machines by test/vm. */
import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { expect } from 'chai';
import { isThere } from '../../src/make/host.mjs';
import { environment } from '../../src/make/set-up.mjs';

const TOP = resolve(__dirname, '..', '..');
const manifest = JSON.parse(readFileSync(join(TOP, 'package.json'), 'utf8')) as {
  readonly version: string;
  readonly bin: Readonly<Record<string, string>>;
};
const commands = Object.keys(manifest.bin);

/** A program that has to succeed; what it prints. */
function run(cwd: string, program: string, ...args: string[]): string {
  const { status, stdout, stderr, error } = spawnSync(program, args, {
    cwd,
    env: environment,
    encoding: 'utf8',
  });
  if (error) throw error;
  expect(status, `${program} ${args.join(' ')}: ${stderr}`).to.equal(0);
  return stdout;
}

/** A fresh directory for the tests of a `describe`. */
function useDirectory(): () => string {
  let dir = '';
  before(() => {
    dir = mkdtempSync(join(tmpdir(), 'overlay-boot-package-'));
  });
  after(() => rmSync(dir, { recursive: true }));
  return () => dir;
}

const make = (dir: string, ...args: string[]): string =>
  run(TOP, process.execPath, join(TOP, 'src/make/deb.mjs'), '--output', dir, ...args);

describe('the Debian package', () => {
  const dir = useDirectory();
  let file: string;
  /** `-rwxr-xr-x root/root ./usr/…` by path. */
  const entries = new Map<string, string>();

  before(function () {
    this.timeout(120_000);
    // A system that is none of Debian's has nothing to build the package with.
    if (!isThere('dpkg-deb', environment.PATH)) this.skip();
    make(dir());
    file = join(dir(), readdirSync(dir()).find((name) => name.endsWith('.deb')) ?? '');
    for (const line of run(dir(), 'dpkg-deb', '--contents', file).split('\n').filter(Boolean)) {
      const [mode = '', owner = '', , , , path = '', ...target] = line.split(/ +/);
      entries.set(path.replace(/^\./, ''), [mode, owner, ...target].join(' '));
    }
  });

  const field = (name: string): string => run(dir(), 'dpkg-deb', '--field', file, name).trim();

  it('is named by version and architecture', () => {
    expect(file).to.match(new RegExp(`/overlay-boot_${manifest.version}_[a-z0-9]+\\.deb$`));
    expect(field('Version')).to.equal(manifest.version);
  });

  it('depends on what the commands call', () => {
    const depends = field('Depends').split(', ');
    expect(depends).to.include.members(['nodejs (>= 20)', 'iproute2', 'util-linux (>= 2.36)', 'mount']);
    expect(depends.some((name) => name.startsWith('libc6 (>= 2.'))).to.equal(true);
    expect(field('Recommends')).to.match(/^ifupdown,/);
  });

  it('has every command in /usr/sbin, with its page and its completion', () => {
    for (const name of commands) {
      expect(entries.get(`/usr/sbin/${name}`)).to.equal(
        `lrwxrwxrwx root/root -> ../lib/overlay-boot/bin/${name}`,
      );
      expect(entries.get(`/usr/lib/overlay-boot/bin/${name}`)).to.equal('-rwxr-xr-x root/root');
      expect(entries.has(`/usr/share/man/man8/${name}.8.gz`), name).to.equal(true);
      expect(entries.has(`/usr/share/bash-completion/completions/${name}`), name).to.equal(true);
    }
  });

  it('leaves what the administrator edits to the administrator', () => {
    const conffiles = run(dir(), 'dpkg-deb', '--info', file, 'conffiles').split('\n').filter(Boolean);
    expect(conffiles.sort()).to.deep.equal(
      [...entries.keys()].filter((path) => /^\/etc\/.*[^/]$/.test(path)).sort(),
    );
    expect(conffiles).to.include.members(['/etc/subhosts.conf', '/etc/init.d/subhosts']);
  });

  it('has nothing of this machine in it', () => {
    const ours = [...entries.keys()].filter(
      (path) => path.includes('.bundle.js.') || path.includes('node_modules'),
    );
    expect(ours).to.deep.equal([]);
    const others = [...entries].filter(
      ([, entry]) => !/^[-ld](rwx|rw-)r[w-]?[x-]r[w-]?[x-] root\/root/.test(entry),
    );
    expect(others).to.deep.equal([]);
  });

  it('is the same, byte for byte, when it is made again', () => {
    const before = readFileSync(file);
    make(dir());
    expect(readFileSync(file).equals(before)).to.equal(true);
  }).timeout(60_000);

  it('can have another version', () => {
    make(dir(), '--version', '9.8~test');
    const other = readdirSync(dir()).find((name) => name.includes('_9.8~test_')) ?? '';
    expect(run(dir(), 'dpkg-deb', '--field', other, 'Version')).to.equal('9.8~test\n');
  }).timeout(60_000);

  it('has no error that lintian knows', function () {
    // `npm test` brings it.
    if (process.env.OVERLAY_MUST_RUN !== '1' && !isThere('lintian', environment.PATH)) this.skip();
    const lintian = spawnSync('lintian', ['--allow-root', '--tag-display-limit', '0', file], {
      encoding: 'utf8',
    });
    expect(lintian.stdout.split('\n').filter((line) => line.startsWith('E:'))).to.deep.equal([]);
    expect([lintian.status, lintian.stderr]).to.deep.equal([0, '']);
  }).timeout(120_000);
});

describe('the npm package', () => {
  const dir = useDirectory();

  it('installs without a network and without a compiler, and its commands run', () => {
    const [tarball = ''] = run(
      TOP,
      'npm',
      'pack',
      '--silent',
      '--ignore-scripts',
      '--pack-destination',
      dir(),
    ).split('\n');
    run(
      dir(),
      'npm',
      'install',
      '--silent',
      '--offline',
      '--global',
      '--prefix',
      dir(),
      join(dir(), tarball),
    );
    for (const name of commands)
      expect(run(dir(), join(dir(), 'bin', name), '--version')).to.equal(`${name} ${manifest.version}\n`);
    const installed = join(dir(), 'lib/node_modules/overlay-boot');
    expect(existsSync(join(installed, 'node_modules'))).to.equal(false);
    expect(existsSync(join(installed, 'dist/LICENCES'))).to.equal(true);
  }).timeout(120_000);
});
