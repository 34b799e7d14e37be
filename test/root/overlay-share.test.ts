import { join } from 'node:path';
import { expect } from 'chai';
import type { MountedShare, SubhostState } from '../../src/state/subhost-state.js';
import { type Completed, PROJECT, useSandbox } from '../helpers/namespaces.js';

const RECORD = '/run/overlay-boot/mta/state.json';

describe('overlay-share', () => {
  const sandbox = useSandbox();
  let booted: SubhostState;
  let mountsOfBoot: readonly string[] = [];
  let pid = 0;

  before(async function () {
    this.timeout(60_000);
    await sandbox().sh(`
      mkdir -p share/below outside /opt/subhost/mta/root /opt/subhost/mta/work /opt/subhost/mta/live
      echo hello >share/f; echo single >file
      printf '%s\\n' BASE=. START=none >/opt/subhost/mta/mta.conf
      overlay-boot /opt/subhost/mta/mta.conf`);
    booted = JSON.parse(await sandbox().readFile(RECORD)) as SubhostState;
    pid = booted.init?.pid ?? 0;
    mountsOfBoot = await mountsInside();
    await inside('mkdir /data');
  });
  afterEach(async () => {
    const added = (await mountsInside()).slice(mountsOfBoot.length).reverse();
    await inside(`for place in ${added.join(' ')}; do umount -l $place; done
      rm -rf /srv/t /data /link /elsewhere
      mkdir /data`);
    await writeRecord();
  });

  async function writeRecord(change: Partial<SubhostState> = {}): Promise<void> {
    await sandbox().writeFile(RECORD, JSON.stringify({ ...booted, ...change }));
  }

  const share = (...args: readonly string[]): Promise<Completed> => sandbox().run(['overlay-share', ...args]);
  const inside = (script: string): Promise<string> =>
    sandbox().sh(`nsenter -t ${pid} -m -p sh -euc '${script}'`);
  const recorded = async (): Promise<readonly MountedShare[]> =>
    (JSON.parse(await sandbox().readFile(RECORD)) as SubhostState).shares;
  const mountsInside = async (): Promise<string[]> =>
    (await sandbox().readFile(`/proc/${pid}/mountinfo`))
      .split('\n')
      .filter(Boolean)
      .map((line) => line.split(' ')[4] ?? '');
  const fails = ({ code, stdout, stderr }: Completed, status: number, message: string): void => {
    const expected = { code: status, stdout: '', stderr: `overlay-share: ${message}\n` };
    expect({ code, stdout, stderr }).to.deep.equal(expected);
  };

  it('attaches a directory at the same path, at once, missing parts made', async () => {
    const { code, stdout, stderr } = await share('share', 'mta');
    expect({ code, stdout, stderr }).to.deep.equal({
      code: 0,
      stdout: 'mta: /srv/t/share is shared at /srv/t/share\n',
      stderr: '',
    });
    expect(await inside('cat /srv/t/share/f')).to.equal('hello\n');
    await inside('echo from inside >/srv/t/share/g');
    expect(await sandbox().readFile('share/g')).to.equal('from inside\n');
    expect(await sandbox().readFile(`/proc/${pid}/mountinfo`)).to.match(/ \/srv\/t\/share rw,nodev[^\n]* - /);
    const [entry, ...others] = await recorded();
    expect(others).to.deep.equal([]);
    expect(entry).to.include({ host: '/srv/t/share', inside: '/srv/t/share', readOnly: false });
    expect(entry?.mountId).to.match(/^\d+$/);
  });

  it('attaches a file at another path, read-only', async () => {
    const { code, stdout } = await share('--read-only', 'file', 'mta', '/data/x/file');
    expect({ code, stdout }).to.deep.equal({
      code: 0,
      stdout: 'mta: /srv/t/file is shared at /data/x/file, read-only\n',
    });
    expect(await inside('cat /data/x/file')).to.equal('single\n');
    expect(await inside('echo no >/data/x/file 2>/dev/null || echo refused')).to.equal('refused\n');
    expect(await sandbox().readFile('file')).to.equal('single\n');
  });

  it('is private: a mount below the share on either side is not seen on the other', async () => {
    await share('share', 'mta', '/data/s');
    await inside('mount -t tmpfs inner /data/s/below');
    await sandbox().sh('mount -t tmpfs outer share');
    try {
      expect(await sandbox().sh('grep -c inner /proc/self/mountinfo || true')).to.equal('0\n');
      expect((await mountsInside()).filter((place) => place.startsWith('/data/s'))).to.deep.equal([
        '/data/s',
        '/data/s/below',
      ]);
    } finally {
      await sandbox().sh('umount share');
    }
  });

  it('says so when the same share is there already, and mounts nothing', async () => {
    await share('share', 'mta', '/data');
    const before = await mountsInside();
    const { code, stdout } = await share('share', 'mta', '/data/');
    expect({ code, stdout }).to.deep.equal({
      code: 0,
      stdout: 'mta: /srv/t/share is already shared at /data\n',
    });
    expect(await mountsInside()).to.deep.equal(before);
  });

  it('refuses another share at the same place', async () => {
    await share('share', 'mta', '/data');
    const message =
      'mta: /data: /srv/t/share is shared there already: overlay-share --remove /srv/t/share mta /data detaches it';
    fails(await share('outside', 'mta', '/data'), 1, message);
    fails(await share('-r', 'share', 'mta', '/data'), 1, message);
  });

  it('attaches it anew when the subhost has unmounted it', async () => {
    await share('share', 'mta', '/data');
    await inside('umount /data');
    expect((await share('share', 'mta', '/data')).stdout).to.equal('mta: /srv/t/share is shared at /data\n');
    expect(await recorded()).to.have.length(1);
  });

  it('detaches what was attached, and only that', async () => {
    await share('share', 'mta', '/data');
    await share('file', 'mta');
    const { code, stdout } = await share('--remove', 'share', 'mta', '/data');
    expect({ code, stdout }).to.deep.equal({
      code: 0,
      stdout: 'mta: /srv/t/share is no longer shared at /data\n',
    });
    expect(await mountsInside())
      .to.include('/srv/t/file')
      .and.not.include('/data');
    expect((await recorded()).map((one) => one.inside)).to.deep.equal(['/srv/t/file']);
    expect((await share('--remove', 'file', 'mta')).code).to.equal(0);
    expect(await recorded()).to.deep.equal([]);
  });

  it('detaches a share of the conf, which has no mount id on record', async () => {
    await inside('mkdir -p /elsewhere');
    await share('share', 'mta', '/elsewhere');
    await writeRecord({ shares: [{ host: '/srv/t/share', inside: '/elsewhere', readOnly: false }] });
    expect((await share('--remove', 'share', 'mta', '/elsewhere')).code).to.equal(0);
    expect(await mountsInside()).to.not.include('/elsewhere');
  });

  it('leaves another mount at the place alone', async () => {
    await share('share', 'mta', '/data');
    await inside('umount /data; mount -t tmpfs other /data');
    fails(
      await share('--remove', 'share', 'mta', '/data'),
      1,
      'mta: detach /srv/t/share from /data: nothing is shared there: another mount is',
    );
    expect(await mountsInside()).to.include('/data');
    expect(await recorded()).to.deep.equal([]);
  });

  it('says what is shared when nothing is at the place', async () => {
    fails(
      await share('--remove', 'share', 'mta'),
      1,
      'mta: /srv/t/share: nothing is shared there: it has no shares',
    );
    await share('file', 'mta', '/data/f');
    fails(
      await share('--remove', 'share', 'mta'),
      1,
      'mta: /srv/t/share: nothing is shared there: its shares are /srv/t/file at /data/f',
    );
  });

  const mistakes: readonly [string, readonly string[], number, string][] = [
    [
      'a missing host path',
      ['nope', 'mta'],
      1,
      'mta: share /srv/t/nope at /srv/t/nope: open it: No such file or directory',
    ],
    [
      'a device',
      ['/dev/null', 'mta', '/data/n'],
      1,
      'mta: share /dev/null at /data/n: it is a device: a share has no devices',
    ],
    [
      'a directory on a file',
      ['share', 'mta', '/usr/bin/env'],
      1,
      "mta: share /srv/t/share at /usr/bin/env: the path inside: is no directory in the subhost's root",
    ],
    [
      'a file on a directory',
      ['file', 'mta', '/data'],
      1,
      "mta: share /srv/t/file at /data: the path inside: is a directory in the subhost's root",
    ],
    ['a relative SUBHOSTPATH', ['file', 'mta', 'data'], 2, 'SUBHOSTPATH "data" is not absolute: write /data'],
    [
      'the root',
      ['share', 'mta', '/data/..'],
      2,
      "/ is the subhost's root: name a SUBHOSTPATH to share it at",
    ],
    ['an unknown subhost', ['share', 'nope'], 1, 'nope: no such subhost is running: see overlay-status'],
    [
      'a name that is a path',
      ['share', '../overlay-boot/mta'],
      1,
      '../overlay-boot/mta: no such subhost is running: see overlay-status',
    ],
    ['no NAME', ['share'], 2, 'PATH and NAME are needed: see overlay-share --help'],
    [
      '--remove with --read-only',
      ['--remove', '-r', 'share', 'mta'],
      2,
      '--remove and --read-only exclude each other',
    ],
  ];
  for (const [title, args, status, message] of mistakes)
    it(`refuses ${title}, and leaves nothing`, async () => {
      const before = await mountsInside();
      fails(await share(...args), status, message);
      expect(await mountsInside()).to.deep.equal(before);
      expect(await recorded()).to.deep.equal([]);
    });

  for (const phase of ['starting', 'stopping'] as const)
    it(`refuses a subhost that is ${phase}`, async () => {
      await writeRecord({ phase });
      fails(await share('share', 'mta'), 1, `mta: is ${phase}: try again when it runs`);
    });

  it('refuses a record whose pid belongs to another process by now', async () => {
    await writeRecord({ init: { pid, startTimeTicks: 1 } });
    fails(
      await share('share', 'mta'),
      1,
      'mta: share /srv/t/share at /srv/t/share: the subhost has ended: its pid 1 is gone',
    );
  });

  it('says that it must be root', async () => {
    const nobody = ['setpriv', '--reuid=65534', '--regid=65534', '--clear-groups'];
    fails(
      await sandbox().run([...nobody, 'overlay-share', 'share', 'mta']),
      1,
      'sharing with a subhost: must be root',
    );
  });

  it('refuses the root of the subhost behind a link', async () => {
    await inside('ln -s / /link');
    fails(
      await share('share', 'mta', '/link'),
      1,
      "mta: share /srv/t/share at /link: the path inside: is the subhost's root",
    );
  });

  it('loses no entry when several attach at the same time', async () => {
    await sandbox().sh('mkdir -p many; for i in 0 1 2 3 4 5 6 7; do mkdir -p many/$i; done');
    const results = await Promise.all([...'01234567'].map((i) => share(`many/${i}`, 'mta', `/data/${i}`)));
    expect(results.map(({ code }) => code)).to.deep.equal(Array(8).fill(0));
    expect((await recorded()).map((one) => one.inside).sort()).to.deep.equal(
      [...'01234567'].map((i) => `/data/${i}`),
    );
  });

  it('takes the mount back when it can not be put on record', async () => {
    // The record is written beside and renamed: a directory of that name is in the way.
    await sandbox().sh('mkdir /run/overlay-boot/mta/state.json.tmp');
    try {
      const { code, stderr } = await share('share', 'mta', '/data');
      expect(code).to.equal(1);
      expect(stderr).to.include('EISDIR');
      expect(await mountsInside()).to.not.include('/data');
      expect(await recorded()).to.deep.equal([]);
    } finally {
      await sandbox().sh('rmdir /run/overlay-boot/mta/state.json.tmp');
    }
  });

  it('follows a link of the subhost inside its root only', async () => {
    await inside('ln -s /srv/t/outside /link');
    expect((await share('share', 'mta', '/link/x')).code).to.equal(1); // dangling inside, though it is there outside
    await inside('mkdir -p /srv/t/outside');
    expect((await share('share', 'mta', '/link/x')).code).to.equal(0);
    expect(await mountsInside()).to.include('/srv/t/outside/x');
    expect(await sandbox().sh('ls outside')).to.equal('');
    expect(await sandbox().sh('grep -c /outside /proc/self/mountinfo || true')).to.equal('0\n');
  });

  it('stays inside while the subhost flips a link to climb out', async function () {
    this.timeout(60_000);
    await inside('mkdir -p /data/real /elsewhere');
    // /srv/t/outside is there on the host only, to be hit.
    const script = `import os
n = 0
while True:
    for target in ("/data/real", "/../../../srv/t/outside", "/proc/1/root/srv/t/outside"):
        os.symlink(target, "/data/new"); os.rename("/data/new", "/data/flip")`;
    // Without -p, which would fork: what is killed is then the flipping process itself.
    const flipper = sandbox().spawn(['nsenter', '-t', `${pid}`, '-m', 'python3', '-c', script]);
    const before = await sandbox().sh('sort /proc/self/mountinfo');
    try {
      expect(await attackByInit(2000)).to.be.greaterThan(100);
    } finally {
      flipper.kill('SIGKILL');
      await flipper.completed(5_000);
    }
    expect(await sandbox().sh('ls outside')).to.equal('');
    expect(await sandbox().sh('sort /proc/self/mountinfo')).to.equal(before);
    expect((await mountsInside()).length).to.equal(mountsOfBoot.length);
  });

  /** Attaches and takes back, as an overlay-share that dies does, by the init program itself: 2000 Nodes would take minutes.
   * @returns how often it was attached */
  async function attackByInit(tries: number): Promise<number> {
    const stat = await sandbox().readFile(`/proc/${pid}/stat`);
    const startTime = stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19];
    const script = `
import subprocess, sys
init, record, tries, *request = sys.argv[1:]
text = "".join(word + "\\0" for word in request).encode()
attached = 0
for i in range(int(tries)):
    done = subprocess.run([init, "share", record], input=text, stdout=subprocess.PIPE)
    attached += done.stdout.startswith(b"ok\\nok ")
print(attached)
`;
    const init = join(PROJECT, 'dist/init');
    const request = ['add', `${pid}`, `${startTime}`, '/srv/t/share', '/data/flip/x', 'rw'];
    const { code, stdout, stderr } = await sandbox().run(
      ['python3', '-c', script, init, RECORD, `${tries}`, ...request],
      { timeoutMs: 55_000 },
    );
    expect({ code, stderr }).to.deep.equal({ code: 0, stderr: '' });
    return Number(stdout);
  }

  it('is gone with the subhost, and the host keeps the directory', async function () {
    this.timeout(60_000);
    await share('share', 'mta', '/data/s');
    await sandbox().sh('overlay-stop mta');
    expect(await sandbox().sh('grep -c /data/s /proc/self/mountinfo || true')).to.equal('0\n');
    expect(await sandbox().readFile('share/f')).to.equal('hello\n');
    fails(await share('share', 'mta'), 1, 'mta: no such subhost is running: see overlay-status');
    await sandbox().sh('overlay-boot /opt/subhost/mta/mta.conf');
    booted = JSON.parse(await sandbox().readFile(RECORD)) as SubhostState;
    pid = booted.init?.pid ?? 0;
  });
});
