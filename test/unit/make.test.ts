import { spawnSync } from 'node:child_process';
import {
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { expect } from 'chai';
import { parse } from 'ini';
import { DEFAULT_SETTINGS } from '../../src/config/settings.js';
import {
  completePath,
  firstFitForUpper,
  hasOverlay,
  headersPrefix,
  isAtLeast,
  isDebian,
  isThere,
  mayMount,
} from '../../src/make/host.mjs';
import { missingPackages, needs } from '../../src/make/packages.mjs';
import { aptReason, buildIsDue, networkHint, npmIsDue, npmReason } from '../../src/make/set-up.mjs';
import { attempt, commandLine, Missing } from '../../src/make/shell.mjs';
import { addUp, countsOfRun, inWords } from '../../src/make/test-runs.mjs';

const TOP = resolve(__dirname, '..', '..');

let dir: string;

/** A fresh `dir` for each test of the `describe` it is called in. */
function useDirectory(): void {
  beforeEach(() => {
    dir = mkdtempSync(join(tmpdir(), 'overlay-boot-make-'));
  });
  afterEach(() => rmSync(dir, { recursive: true }));
}

/** A file in the test's directory, `age` seconds old. */
function file(name: string, age = 0, text = ''): string {
  const path = join(dir, name);
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, text, { mode: 0o755 });
  const time = Date.now() / 1000 - age;
  utimesSync(path, time, time);
  return path;
}

describe('the host, as the set-up sees it', () => {
  useDirectory();

  const versions: [string, string, boolean][] = [
    ['v20.0.0', '20', true],
    ['v18.19.0', '20', false],
    ['v20.19.2', '20.19', true],
    ['v20.9.0', '20.19', false],
    ['v24.1.0', '20.19', true],
  ];
  for (const [version, least, expected] of versions)
    it(`takes Node ${version} ${expected ? 'as' : 'not as'} ${least} or later`, () =>
      expect(isAtLeast(version, least)).to.equal(expected));

  const releases: [string, boolean][] = [
    ['PRETTY_NAME="Debian GNU/Linux 13"\nID=debian\n', true],
    ['ID=raspbian\nID_LIKE=debian\n', true],
    ['ID=linuxmint\nID_LIKE="ubuntu debian"\n', true],
    ['ID=fedora\nNAME="not debian"\n', false],
    ['', false],
  ];
  for (const [text, expected] of releases)
    it(`${expected ? 'recognises' : 'does not take for'} Debian: ${JSON.stringify(text)}`, () =>
      expect(isDebian(text)).to.equal(expected));

  it('has overlayfs when the kernel lists it, whole word', () => {
    expect(hasOverlay('nodev\tproc\nnodev\toverlay\n\text4\n')).to.equal(true);
    expect(hasOverlay('nodev\tproc\nnodev\toverlayx\n')).to.equal(false);
  });

  it('may mount with CAP_SYS_ADMIN only', () => {
    expect(mayMount('Name:\tnode\nCapEff:\t000001ffffffffff\n')).to.equal(true);
    expect(mayMount('Name:\tnode\nCapEff:\t00000000a80425fb\n')).to.equal(false); // a container engine's default
  });

  it('passes over directories that lie on an overlay', () => {
    const type = (path: string): number => (path === '/dev/shm' ? 0x01021994 : 0x794c7630);
    expect(firstFitForUpper(['/var/lib', '/opt', '/dev/shm'], type)).to.equal('/dev/shm');
    expect(firstFitForUpper(['/var/lib', '/opt'], type)).to.equal(undefined);
  });

  it('finds a program on PATH, and not a directory or a file that cannot be run', () => {
    file('bin/there');
    mkdirSync(join(dir, 'bin/directory'));
    writeFileSync(join(dir, 'bin/text'), '', { mode: 0o644 });
    const path = `/nowhere:${join(dir, 'bin')}`;
    expect(['there', 'directory', 'text', 'missing'].filter((name) => isThere(name, path))).to.deep.equal([
      'there',
    ]);
  });

  it('completes a PATH without the sbin directories, and keeps its order', () => {
    expect(completePath('/usr/bin:/opt/x', ['/node']).split(':')).to.include.members(['/usr/sbin', '/sbin']);
    expect(completePath('/usr/bin:/opt/x', ['/node'])).to.match(/^\/node:\/usr\/bin:\/opt\/x:/);
    expect(completePath(undefined)).to.match(/^\/usr\/local\/sbin:/);
  });

  it("names the prefix of Node's headers when they are this Node's", () => {
    const header =
      '#define NODE_MAJOR_VERSION 20\n#define NODE_MINOR_VERSION 19\n#define NODE_PATCH_VERSION 2\n';
    file('include/node/node_version.h', 0, header);
    const node = join(dir, 'bin/node');
    expect(headersPrefix(node, 'v20.19.2')).to.equal(dir);
    expect(headersPrefix(node, 'v22.0.0')).to.equal(undefined);
    expect(headersPrefix('/nowhere/bin/node', 'v20.19.2')).to.equal(undefined);
  });
});

describe('missingPackages', () => {
  it('names what is not there, for the purposes asked, each once', () => {
    const isThereButGcc = (find: string): boolean => find !== 'gcc' && find !== 'tmux';
    expect(missingPackages(['npm', 'build'], isThereButGcc)).to.deep.equal(['gcc']);
    expect(missingPackages(['build', 'test'], isThereButGcc)).to.deep.equal(['gcc', 'tmux']);
  });

  it('asks for nothing when all is there', () => {
    expect(missingPackages(['npm', 'build', 'run', 'test', 'bench'], () => true)).to.deep.equal([]);
  });

  it('keeps to names that Debian allows', () => {
    for (const need of needs) expect(need.package).to.match(/^[a-z0-9][a-z0-9+.-]+$/);
  });
});

describe('what the set-up says when it cannot get something', () => {
  it("is apt-get's first error", () => {
    const output =
      "Reading package lists...\nE: Failed to fetch http://x  Could not resolve 'x'\nE: Some more\n";
    expect(aptReason(output)).to.equal("Failed to fetch http://x  Could not resolve 'x'");
    expect(aptReason('killed\n')).to.equal('killed');
    expect(aptReason('')).to.equal('no reason given');
  });

  const npmOutputs: [string, string, string][] = [
    [
      'the network',
      'npm error code EAI_AGAIN\nnpm error syscall getaddrinfo\nnpm error request to https://r/x failed, reason: getaddrinfo EAI_AGAIN r\n',
      'request to https://r/x failed, reason: getaddrinfo EAI_AGAIN r',
    ],
    [
      'the compiler',
      'npm error code 1\nnpm error path /x\nnpm error gyp ERR! find Python\nnpm error gyp ERR! stack Error: not found: make\n',
      'gyp ERR! stack Error: not found: make',
    ],
    [
      'the words of an older npm',
      'npm ERR! code EUSAGE\nnpm ERR! The lock file is out of step\n',
      'The lock file is out of step',
    ],
    ['nothing', '', 'no reason given'],
  ];
  for (const [title, output, expected] of npmOutputs)
    it(`is the line of npm's output that tells most: ${title}`, () =>
      expect(npmReason(output)).to.equal(expected));
});

describe('networkHint', () => {
  const outputs: [string, boolean][] = [
    ["W: Failed to fetch http://x  Temporary failure resolving 'x'", true],
    ['E: Failed to fetch http://x  Could not connect to x:80 (1.2.3.4), connection timed out', true],
    ['npm error code EAI_AGAIN', true],
    ['npm error code EUSAGE', false],
    ['E: Unable to locate package musl-tools', false],
    ['', false],
  ];
  for (const [output, expected] of outputs)
    it(`${expected ? 'asks for the network after' : 'is silent after'} ${JSON.stringify(output)}`, () =>
      expect(networkHint(output)).to.equal(expected ? ': is there a network?' : ''));
});

describe('npmIsDue', () => {
  useDirectory();

  const install = (age: number): void => {
    file('node_modules/.package-lock.json', age);
    file('node_modules/esbuild/package.json');
    file('node_modules/node-pty/build/Release/pty.node');
  };

  it('is so without node_modules, and not after an install', () => {
    file('package-lock.json', 10);
    expect(npmIsDue(dir)).to.equal(true);
    install(5);
    expect(npmIsDue(dir)).to.equal(false);
  });

  it('is so when the lock file is newer', () => {
    install(10);
    file('package-lock.json', 5);
    expect(npmIsDue(dir)).to.equal(true);
  });

  it('is so when install scripts did not run, or the tools were left out', () => {
    file('package-lock.json', 10);
    install(5);
    rmSync(join(dir, 'node_modules/node-pty/build'), { recursive: true });
    expect(npmIsDue(dir)).to.equal(true);
    install(5);
    rmSync(join(dir, 'node_modules/esbuild'), { recursive: true });
    expect(npmIsDue(dir)).to.equal(true);
  });
});

describe('buildIsDue', () => {
  useDirectory();

  it('is so without a finished build, and not after one', () => {
    file('src/cli/a.ts', 10);
    file('dist/cli/a.js', 5);
    expect(buildIsDue(dir)).to.equal(true);
    file('dist/.built', 5);
    expect(buildIsDue(dir)).to.equal(false);
  });

  for (const changed of ['src/init/reap.c', 'package.json', 'package-lock.json'])
    it(`is so when ${changed} is newer`, () => {
      file('dist/.built', 5);
      file(changed, 10);
      expect(buildIsDue(dir)).to.equal(false);
      file(changed, 1);
      expect(buildIsDue(dir)).to.equal(true);
    });
});

describe('the last line of npm test', () => {
  it('adds up what ran', () => {
    const sum = addUp([
      { passed: 3, failed: 0, skipped: 0 },
      { passed: 10, failed: 2, skipped: 1 },
    ]);
    expect(sum).to.deep.equal({ passed: 13, failed: 2, skipped: 1 });
    expect(inWords(sum)).to.equal('13 passed, 2 failed, 1 skipped');
    expect(inWords({ passed: 1, failed: 0, skipped: 0 })).to.equal('1 passed, 0 failed');
  });

  const runs: [string, string, boolean, object][] = [
    [
      'takes the counts of a run',
      '{"passed":3,"failed":0,"skipped":1}',
      true,
      { passed: 3, failed: 0, skipped: 1 },
    ],
    [
      'takes the failures of a run',
      '{"passed":3,"failed":2,"skipped":0}',
      false,
      { passed: 3, failed: 2, skipped: 0 },
    ],
    ['counts a run that never came to its end as failed', '', false, { passed: 0, failed: 1, skipped: 0 }],
    ['counts a run that wrote no counts as failed', '', true, { passed: 0, failed: 1, skipped: 0 }],
    [
      'counts a run that failed after its tests as failed',
      '{"passed":3,"failed":0,"skipped":0}',
      false,
      { passed: 3, failed: 1, skipped: 0 },
    ],
  ];
  for (const [title, counts, ok, expected] of runs)
    it(title, () => expect(countsOfRun(counts, ok)).to.deep.equal(expected));
});

describe('counting-reporter', () => {
  useDirectory();

  it('leaves the counts of what ran', () => {
    const spec = file(
      'some.test.cjs',
      0,
      "it('a', () => {}); it('b', () => { throw 1 }); it('c'); it('d', () => {})",
    );
    const counts = join(dir, 'counts.json');
    const argv = [join(TOP, 'node_modules/mocha/bin/mocha.js'), '--no-config', '--no-package', '--reporter'];
    const { status, stdout } = spawnSync(
      process.execPath,
      [...argv, join(TOP, 'src/make/counting-reporter.cjs'), spec],
      {
        encoding: 'utf8',
        env: { ...process.env, OVERLAY_TEST_COUNTS: counts },
      },
    );
    expect(status).to.equal(1);
    expect(stdout).to.include('2 passing').and.include('1 failing');
    expect(JSON.parse(readFileSync(counts, 'utf8'))).to.deep.equal({ passed: 2, failed: 1, skipped: 1 });
  });
});

describe('the set-up', () => {
  it('prints command lines that can be pasted', () => {
    expect(commandLine(['cp', '-r', "it's here", '/a-b/c.d', ''])).to.equal(
      "cp -r 'it'\\''s here' /a-b/c.d ''",
    );
  });

  const interrupted: [string, string][] = [
    ['a command that ^C has ended', 'kill -INT $$'],
    ['a command that ended itself upon ^C', 'exit 130'],
  ];
  for (const [title, script] of interrupted)
    it(`goes no further after ${title}`, () =>
      expect(() => attempt(['sh', '-c', script], { typed: '' })).to.throw(Missing, 'sh: interrupted'));

  it('says how a command ended, and goes on', () => {
    expect(attempt(['sh', '-c', 'echo why >&2; exit 3'], { quiet: true, typed: '' })).to.deep.equal({
      ok: false,
      output: 'why\n',
      ending: 'exit 3',
    });
    expect(attempt(['/no/such/program'], { quiet: true, typed: '' }).ending).to.equal('ENOENT');
  });

  for (const entry of ['start', 'test', 'bench', 'check'])
    it(`needs nothing but Node itself before it has run: ${entry}.mjs`, () => {
      const said = importsFrom(join(TOP, 'src/make', `${entry}.mjs`));
      expect(said.filter((name) => !name.startsWith('node:'))).to.deep.equal([]);
    });

  it('ships a shim and an entry in package.json for every command', () => {
    const commands = readdirSync(join(TOP, 'src/cli'))
      .filter((name) => /^(overlay-|wafers|stacko|boxctl|mount\.)/.test(name))
      .map((name) => name.replace(/\.ts$/, ''));
    const { bin } = JSON.parse(readFileSync(join(TOP, 'package.json'), 'utf8')) as {
      bin: Record<string, string>;
    };
    expect(bin).to.deep.equal(Object.fromEntries(commands.map((name) => [name, `bin/${name}`])));
    for (const name of commands) {
      const shim = readFileSync(join(TOP, 'bin', name), 'utf8');
      // What boots is started by the init program, which is quicker: src/init/start.c.
      if (/^(overlay-boot|overlay-stop|boxctl)$/.test(name))
        expect(shim).to.include(`\nexec "$top/dist/init" start "$top/dist/cli/${name}.js" "$@"\n`);
      else
        expect(shim).to.match(
          /^#!\/usr\/bin\/env (-S node --random-seed=\d+\n\/\/ .*|node)\nrequire\(.*\);\n$/,
        );
    }
  });

  it('ships the defaults of the program, commented out, as its settings file', () => {
    const text = readFileSync(join(TOP, 'conf.d/overlay-boot.conf'), 'utf8');
    const settings = parse(text.replace(/^#(?=[a-z]+ = )/gm, ''));
    const seconds = (ms: number): string => String(ms / 1000);
    expect(settings).to.deep.equal({
      paths: {
        run: DEFAULT_SETTINGS.runDir,
        log: DEFAULT_SETTINGS.logDir,
        subhosts: DEFAULT_SETTINGS.subhosts,
        boxes: DEFAULT_SETTINGS.boxes,
      },
      timeouts: {
        boot: seconds(DEFAULT_SETTINGS.bootTimeoutMs),
        service: seconds(DEFAULT_SETTINGS.serviceTimeoutMs),
        grace: seconds(DEFAULT_SETTINGS.graceMs),
      },
    });
    expect(Object.values(parse(text))).to.deep.equal([{}, {}]);
  });
});

/** What a module and those of ours that it imports import from elsewhere. */
function importsFrom(module: string, seen = new Set<string>()): string[] {
  if (seen.has(module)) return [];
  seen.add(module);
  return [...readFileSync(module, 'utf8').matchAll(/^import\s+(?:[^;'"]*?\s*from\s+)?'([^']+)'/gm)].flatMap(
    ([, said = '']) => (said.startsWith('.') ? importsFrom(resolve(dirname(module), said), seen) : [said]),
  );
}
