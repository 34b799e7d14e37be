import { spawn } from 'node:child_process';
import { existsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect } from 'chai';
import { type HostSnapshot, snapshot } from '../helpers/host-snapshot.js';
import { eventually, PROJECT, requireRoot, Sandbox, useSandbox } from '../helpers/namespaces.js';

describe('a sandbox', () => {
  const sandbox = useSandbox();

  it('has only a loopback interface, which is up', async () => {
    const links = JSON.parse(await sandbox().sh('ip -j link')) as { ifname: string; flags: string[] }[];
    expect(links.map((link) => link.ifname)).to.deep.equal(['lo']);
    expect(links[0]?.flags).to.include('UP');
    expect(await sandbox().sh('ls /sys/class/net')).to.equal('lo\n');
  });

  it('gives programs a clean environment', async () => {
    const { stdout } = await sandbox().run(['env'], { env: { A: 'b' } });
    const names = stdout
      .trim()
      .split('\n')
      .map((line) => line.split('=')[0]);
    expect(names).to.have.members(['PATH', 'HOME', 'A']);
  });

  it('passes bytes and exit status through', async () => {
    const bytes = Buffer.from([0, 255, 10, 13]);
    const { stdoutBytes, code } = await sandbox().run(['sh', '-c', 'cat; exit 7'], { input: bytes });
    expect([...stdoutBytes]).to.deep.equal([...bytes]);
    expect(code).to.equal(7);
  });

  it('tells a signal from an exit status', async () => {
    const { code, signal } = await sandbox().run(['sh', '-c', 'kill -TERM $$']);
    expect([code, signal]).to.deep.equal([null, 'SIGTERM']);
  });

  it('kills a program whose time is up', async () => {
    const error = await sandbox().run(['sleep', '60'], { timeoutMs: 100 }).catch(String);
    expect(error).to.include('sleep 60: not done after 100 ms');
    await eventually('no sleep', async () => (await sandbox().run(['pgrep', 'sleep'])).code === 1);
  });

  it('hides the changes it makes to /etc from the machine', async () => {
    await sandbox().writeFile('/etc/overlay-boot/proof', 'x', 0o600);
    expect(await sandbox().sh('stat -c %a /etc/overlay-boot/proof')).to.equal('600\n');
    expect(existsSync('/etc/overlay-boot/proof')).to.equal(false);
  });

  it('reaps orphans', async () => {
    await sandbox().sh('(sleep 0.01 >/dev/null 2>&1 &)');
    await eventually('no zombie', async () => !(await sandbox().sh('ps -e -o stat=')).includes('Z'));
  });

  it('is gone after close, with its control group and its directory on disk', async () => {
    const other = await Sandbox.start();
    writeFileSync(join(other.diskdir, 'file'), 'x');
    if (other.cgroup !== undefined)
      await other.sh('mkdir -p "$(findmnt -n -l -t cgroup2 -o TARGET | head -n 1)/overlay-boot/a"');
    const sleeper = other.spawn(['sleep', '1000']);
    await eventually('the sleeper runs', () => sleeper.hostPid);
    await other.close();
    expect((await sleeper.completed(2_000)).signal).to.equal('SIGKILL');
    expect(existsSync(other.diskdir)).to.equal(false);
    expect(other.cgroup !== undefined && existsSync(other.cgroup)).to.equal(false);
  });

  it('is gone when the test process is killed', async () => {
    const script = `
      const { Sandbox } = require(${JSON.stringify(join(PROJECT, 'test/helpers/namespaces.ts'))});
      Sandbox.start().then((box) => console.log(box.pid, box.diskdir));
      setInterval(() => {}, 1000);`;
    const holder = spawn(process.execPath, ['--import=tsx', '-e', script], { cwd: PROJECT });
    let output = '';
    holder.stdout.on('data', (chunk: Buffer) => {
      output += chunk.toString();
    });
    await eventually('a sandbox', () => output.endsWith('\n'), 20_000);
    const [pid = '', diskdir = ''] = output.trim().split(' ');
    expect(existsSync(`/proc/${pid}`)).to.equal(true);
    holder.kill('SIGKILL');
    await eventually('nothing left', () => !existsSync(`/proc/${pid}`) && !existsSync(diskdir));
  }).timeout(30_000);
});

describe('a host snapshot', () => {
  requireRoot();

  /** What is made, where it is seen, what is seen, and how it is undone. */
  const cases: readonly [string, keyof HostSnapshot, string, RegExp, string][] = [
    [
      'a mount',
      'mounts',
      'mkdir m; mount -t tmpfs none m',
      /^\/srv\/t\/m tmpfs none \/ rw,relatime$/,
      'umount m',
    ],
    ['a link', 'links', 'ip link add d0 type bridge', /^d0 bridge - - down /, 'ip link del d0'],
    ['a named network namespace', 'netns', 'ip netns add n', /^\/run\/netns\/n$/, 'ip netns del n'],
    [
      'a record',
      'run',
      'mkdir -p /run/overlay-boot/a',
      /^\/run\/overlay-boot\/a$/,
      'rmdir /run/overlay-boot/a',
    ],
    [
      'a loop device',
      'loopDevices',
      'truncate -s 1M img; losetup -f img',
      /^\/dev\/loop\d+ .*img$/,
      'losetup -d "$(losetup -n -O NAME -j img)"',
    ],
    ['a process', 'processes', 'sleep 1000 >/dev/null 2>&1 &', /^sleep 1000$/, 'pkill -x sleep'],
    [
      'a lock',
      'locks',
      'touch lock; flock lock sleep 1001 >/dev/null 2>&1 &',
      /^FLOCK WRITE \w+:\w+:\d+$/,
      'pkill -x sleep',
    ],
  ];
  for (const [what, where, make, seen, undo] of cases) {
    it(`shows ${what} that is left behind, and is equal again when it is gone`, async () => {
      const sandbox = await Sandbox.start();
      try {
        // /run/netns becomes a mount point of its own with the first namespace, and stays one
        await sandbox.sh('ip netns add first; ip netns del first; mkdir -p /run/overlay-boot');
        const before = await snapshot(sandbox);
        await sandbox.sh(make);
        const added = await eventually(`${what} is seen`, async () => {
          const entries = (await snapshot(sandbox))[where].filter((entry) => !before[where].includes(entry));
          return entries.length > 0 && entries;
        });
        expect(added.join('\n')).to.match(seen);
        await sandbox.sh(undo);
        await eventually('all is as before', async () => {
          expect(await snapshot(sandbox)).to.deep.equal(before);
          return true;
        });
      } finally {
        await sandbox.close();
      }
    }).timeout(20_000);
  }
});
