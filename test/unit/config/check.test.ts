import { chmodSync, mkdirSync, mkdtempSync, realpathSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'chai';
import { parseAssignments } from '../../../src/config/assignments.js';
import { type CheckOptions, checkPaths } from '../../../src/config/check.js';
import { leadsInto } from '../../../src/config/guarded-path.js';
import { mountIdOf } from '../../../src/config/mount-facts.js';
import { resolveLiterals, variablesFromCommands } from '../../../src/config/resolve.js';
import { DEFAULT_SETTINGS } from '../../../src/config/settings.js';
import { type Mount, mountsOf } from '../../../src/sys/mountinfo.js';

/** What checkPaths() calls the directory that the cases share. */
const SHARED = 'DIR/work';
const uid = process.geteuid?.() ?? 0;
let dir: string;
const at = (path: string): string => join(dir, path);

function makeBase(): void {
  dir = realpathSync(mkdtempSync(join(tmpdir(), 'check-')));
  chmodSync(dir, 0o755);
  for (const name of ['root', 'work', 'live', 'log', 'other']) mkdirSync(at(name));
}
const removeBase = (): void => rmSync(dir, { recursive: true });

/** The mistakes in a conf with these lines (a LOG among them holds), without the conf's name and with `DIR` for the directory. */
function mistakes(lines: string, options: CheckOptions = {}, conf = '/c'): string[] {
  const parsed = parseAssignments(`${lines}\nLOG=log/web.log`, 'web.conf');
  const identity = { conf, name: 'web', base: dir };
  const config = resolveLiterals(parsed, identity, { ...DEFAULT_SETTINGS, logDir: at('logs') });
  return checkPaths(config, variablesFromCommands(parsed), { uid, ...options }).map(({ message }) =>
    message.replace(/^\/c: /, '').replaceAll(dir, 'DIR'),
  );
}

describe('checkPaths', () => {
  beforeEach(makeBase);
  afterEach(removeBase);

  it('finds nothing wrong where all is there', () => {
    writeFileSync(at('disk.img'), '');
    writeFileSync(at('hook'), '', { mode: 0o755 });
    expect(mistakes('')).to.deep.equal([]);
    expect(mistakes('LOWER=disk.img:other\nPREMOUNT=hook a b\nSHARE=other:/x\nSHARE=disk.img')).to.deep.equal(
      [],
    );
  });

  const missing = 'there is no such directory: make it, or boot with --mkdir';
  const cases: [title: string, lines: string, mistakes: string[]][] = [
    [
      'tells which directories --mkdir makes',
      'LIVE=a\nUPPER=b\nWORK=c\nLOWER=d:/\nLOG=e/f/g',
      [
        `LIVE: DIR/a: ${missing}`,
        `UPPER: DIR/b: ${missing}`,
        `WORK: DIR/c: ${missing}`,
        'LOWER: DIR/d: there is no such directory or disk image',
        `LOG: DIR/e/f: ${missing}`,
      ],
    ],
    ['needs no WORK for a bind', 'LOWER=root\nWORK=none', []],
    ['needs one directory for a root as it is', 'LOWER=root\nLIVE=root\nWORK=none', []],
    ['needs directories where there are files', 'UPPER=/etc/passwd', ['UPPER: /etc/passwd: is no directory']],
    [
      'takes no device for a disk image',
      'LOWER=/dev/null',
      ['LOWER: /dev/null: is no directory or disk image'],
    ],
    [
      'does not look for what comes from commands',
      'LIVE=!a\nUPPER=!b\nLOWER=!c\nLOG=!d\nINIT=!e\nWORK=mnt/w',
      [],
    ],
    ['still looks for WORK when LOWER comes from a command', 'LOWER=!c\nWORK=w', [`WORK: DIR/w: ${missing}`]],
    [
      'wants WORK outside UPPER',
      'WORK=root',
      ['WORK: DIR/root is inside UPPER: put it beside UPPER, on the same mount'],
    ],
    [
      'wants WORK on the mount of UPPER',
      'WORK=/proc',
      ['WORK: /proc is on another mount than UPPER, DIR/root: put it on the same mount'],
    ],
    [
      'refuses a LIVE that is mounted upon',
      'LIVE=/proc',
      ['LIVE: /proc is a mount point already: umount /proc, or give LIVE a directory of its own'],
    ],
    ['lets a root as it is be a mount point', 'LIVE=/proc\nUPPER=/proc\nLOWER=/proc', []],
    [
      'looks for shares',
      'SHARE=none:/x\nSHARE=/etc',
      ['SHARE: DIR/none: there is no such file or directory: make it, or leave the share out'],
    ],
    [
      'looks for hooks',
      'INIT=none\nPREMOUNT=other\nPOSTMOUNT=/etc/passwd',
      [
        'INIT: DIR/none: there is no such file: write the path of an executable file',
        'PREMOUNT: DIR/other: is no regular file',
        'POSTMOUNT: /etc/passwd: is not executable: chmod +x /etc/passwd',
      ],
    ],
    [
      'looks at nothing in UPPER, which the subhost can change',
      'LIVE=root/live\nSHARE=root/x:/x\nINIT=root/init\nLOG=work/../root/log/x',
      [
        'LIVE: DIR/root/live is inside UPPER, which the subhost can change: put it beside UPPER',
        'SHARE: DIR/root/x is inside UPPER, which the subhost can change: put it outside',
        'INIT: DIR/root/init is inside UPPER, which the subhost can change: put it outside',
        'LOG: DIR/root/log/x is inside UPPER, which the subhost can change: put it outside',
      ],
    ],
    [
      'runs no hook that a share lets the subhost change',
      'SHARE=work:/x\nPREMOUNT=work/hook',
      [`PREMOUNT: ${SHARED}/hook is inside SHARE ${SHARED}, which the subhost can change: put it outside`],
    ],
    [
      'follows no link in a share, whatever it is on the way of',
      'SHARE=work:/x\nSHARE=work/way/x:/y\nLOG=work/way/log\nLOWER=work/way',
      [
        ['LOWER', 'way'],
        ['LOG', 'way'],
        ['SHARE', 'way/x'],
      ].map(
        ([variable, path]) =>
          `${variable}: ${SHARED}/${path} leads over a symbolic link in SHARE ${SHARED}, which the subhost can change: name what the link leads to`,
      ),
    ],
    ['takes a share in another one where no link is', 'SHARE=/etc:/x\nSHARE=/etc/passwd:/y', []],
  ];
  for (const [title, lines, expected] of cases)
    it(title, () => {
      if (lines.includes('root/live')) mkdirSync(at('root/live'));
      if (lines.includes('work/way')) {
        symlinkSync('../other', at('work/way'));
        mkdirSync(at('other/x'));
      }
      expect(mistakes(lines)).to.deep.equal(expected);
    });

  it('wants the conf where the subhost cannot change it', () => {
    for (const lines of ['', 'SHARE=/:/x\nUPPER=/etc', 'UPPER=/\nLOWER=/'])
      expect(mistakes(lines).filter((line) => line.includes('the conf is'))).to.deep.equal([]);
    expect(mistakes('', {}, at('root/web.conf'))).to.deep.equal([
      'DIR/root/web.conf: the conf is inside UPPER, which the subhost can change: put it outside',
    ]);
    expect(mistakes('SHARE=other:/x', {}, at('other/web.conf'))).to.deep.equal([
      'DIR/other/web.conf: the conf is inside SHARE DIR/other, which the subhost can change: put it outside',
    ]);
  });

  it('says once that BASE is missing', () => {
    removeBase();
    expect(mistakes('')).to.deep.equal(['BASE: DIR: there is no such directory: make it']);
    mkdirSync(dir);
  });

  it('leaves the log directory of the settings to the boot', () => {
    expect(mistakes('LOG=logs/web.log')).to.deep.equal([`LOG: DIR/logs: ${missing}`]);
    expect(mistakes('LOG=logs/web.log', { logDir: at('logs') })).to.deep.equal([]);
  });

  it('refuses a log that is a link or no file', () => {
    symlinkSync('/etc/passwd', at('log/link'));
    expect(mistakes('LOG=log/link')).to.deep.equal([
      'LOG: DIR/log/link: is a symbolic link, and a log is opened through none: remove it',
    ]);
    expect(mistakes('LOG=log')).to.deep.equal(['LOG: DIR/log: is no regular file: name another file']);
  });

  it('refuses hooks that somebody else could change', () => {
    writeFileSync(at('hook'), '', { mode: 0o755 });
    chmodSync(at('hook'), 0o775);
    const owner = uid === 0 ? 'root' : `uid ${uid}`;
    expect(mistakes('INIT=hook')).to.deep.equal([
      `INIT: DIR/hook: is writable by others than ${owner}: chmod go-w DIR/hook`,
    ]);
  });

  it('refuses a layer on an overlay on an overlay', () => {
    const overlay = (mount: Mount, lower: string): Mount => ({
      ...mount,
      type: 'overlay',
      superOptions: `lowerdir=${lower}`,
    });
    const mounts = mountsOf('self').map((mount) => {
      if (mount.id === mountIdOf('/proc')) return overlay(mount, '/sys');
      return mount.id === mountIdOf('/sys') ? overlay(mount, '/none') : mount;
    });
    expect(mistakes('LOWER=/sys', { mounts })).to.deep.equal([]);
    expect(mistakes('LOWER=/sys:/proc', { mounts })).to.deep.equal([
      'LOWER: /proc is on an overlay on an overlay (2 deep), and the kernel stacks no more than 2: name the layers of that overlay in LOWER, separated by ":"',
    ]);
  });
});

describe('checkPaths on overlays and the own root', () => {
  beforeEach(makeBase);
  afterEach(removeBase);

  it('refuses an UPPER that is on an overlay', () => {
    const mounts = mountsOf('self').map((mount) =>
      mount.id === mountIdOf(dir) ? { ...mount, type: 'overlay', superOptions: 'lowerdir=/none' } : mount,
    );
    expect(mistakes('LOWER=/proc', { mounts })).to.deep.equal([
      'UPPER: DIR/root is on an overlay, which cannot hold it: put it and WORK on a disk or a tmpfs',
    ]);
  });

  it("refuses the host's own root as it is", () => {
    expect(mistakes('LOWER=/\nUPPER=/\nLIVE=/')).to.deep.equal([
      "LIVE: UPPER, LOWER and LIVE are all the host's own root: give LIVE a directory of its own",
    ]);
  });
});

describe('leadsInto', () => {
  before(() => {
    makeBase();
    mkdirSync(at('root/in'));
    symlinkSync('../root/in', at('other/in'));
    symlinkSync(at('root'), at('abs'));
    symlinkSync('loop', at('loop'));
    // What a subhost could prepare: a way out of its directory that must not be seen.
    symlinkSync('/etc', at('root/out'));
  });
  after(removeBase);

  const cases: [path: string, into: boolean][] = [
    ['root', true],
    ['root/in/x', true],
    ['root/out/passwd', true],
    ['root/../other', true],
    ['other/in', true],
    ['other/in/../../work', true],
    ['abs/x', true],
    ['other/../abs', true],
    ['other', false],
    ['roots', false],
    ['none/x', false],
    ['loop/root', false],
  ];
  for (const [path, into] of cases)
    it(`${into ? 'stops at the door for' : 'passes by for'} ${path}`, () =>
      expect(leadsInto(`${dir}/${path}`, at('root'))).to.equal(into));
});
