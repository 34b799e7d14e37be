/** What the host can do to a subhost: full disks, read-only ones, processes killed, stopped or in the way. One line each, nothing left. */
import { expect } from 'chai';
import { eventually } from '../helpers/namespaces.js';
import { BASE_ROOT, useSubhosts } from '../helpers/subhosts.js';

describe('a host in trouble', () => {
  const undo: string[] = [];
  // Before the one that compares the host with what it was.
  afterEach(async () => {
    if (undo.length > 0) await sh('overlay-stop --all --kill');
    for (const command of undo.splice(0).reverse()) await sh(command);
  });
  const subhosts = useSubhosts();
  const sh = (script: string): Promise<string> => subhosts.sandbox.sh(script);

  /** A conf whose BASE is a small file system of its own; it is taken away after the test. */
  async function makeOn(name: string, options: string): Promise<string> {
    const conf = await subhosts.make(name);
    await sh(`mount -t tmpfs -o ${options} tmpfs ${subhosts.base(name)}; cd ${subhosts.base(name)}
      mkdir root work live; printf 'BASE=.\\nLOWER=${BASE_ROOT}\\nSTART=none\\nCABLES==\\n' | sed 's/CABLES==/CABLES= =/' >${name}.conf`);
    undo.push(`umount ${subhosts.base(name)}`);
    return conf;
  }

  async function refusedInOneLine(conf: string, words: RegExp, code = 1): Promise<void> {
    const refused = await subhosts.refused(conf, { code });
    expect(refused, refused.join('\n')).to.have.length(1);
    expect(refused[0]).to.match(words);
  }

  it('BASE full, no inode left: overlay-boot says what could not be written', async () => {
    const conf = await makeOn('full', 'nr_inodes=6,mode=755');
    await refusedInOneLine(
      conf,
      /^overlay-boot: full: cannot .*(No space left on device|is full|read-only).*\(log: /,
    );
    await sh(`mount -o remount,nr_inodes=100 ${subhosts.base('full')}`);
    expect((await subhosts.boot([conf])).stdout).to.equal('full: running\n');
    expect(subhosts.file(`${subhosts.base('full')}/root/etc/network/interfaces`)).to.contain(
      'iface eth0 inet manual',
    );
    await subhosts.stop('full');
  });

  it('BASE full, no block left: overlay-boot says what could not be written, and the next boot writes it', async () => {
    const conf = await makeOn('full', 'size=64k,mode=755');
    await sh(`dd if=/dev/zero of=${subhosts.base('full')}/fill bs=4k 2>/dev/null || :`);
    await refusedInOneLine(conf, /^overlay-boot: full: cannot .*No space left on device.*\(log: /);
    await sh(`rm ${subhosts.base('full')}/fill`);
    expect((await subhosts.boot([conf])).stdout).to.equal('full: running\n');
    expect(subhosts.file(`${subhosts.base('full')}/root/etc/network/interfaces`)).to.contain(
      'iface eth0 inet manual',
    );
    await subhosts.stop('full');
  });

  it('BASE read-only: overlay-boot says so', async () => {
    const conf = await makeOn('rdonly', 'mode=755');
    await sh(`mount -o remount,ro ${subhosts.base('rdonly')}`);
    await refusedInOneLine(conf, /^overlay-boot: rdonly: cannot .*([Rr]ead-only).*$/);
  });

  it('/run full: overlay-boot says which record it could not write, a stop of a running subhost succeeds', async () => {
    const conf = await subhosts.make('norun', { CABLES: '=' });
    await subhosts.up('runs', { CABLES: '=' });
    await sh('mount -o remount,size=100k /run; dd if=/dev/zero of=/run/fill bs=4k 2>/dev/null || :');
    undo.push('rm -f /run/fill; mount -o remount,size=50% /run');
    await refusedInOneLine(
      conf,
      /^overlay-boot: norun: cannot write \/run\/overlay-boot\/norun\/state\.json: no space left on device \(ENOSPC\)$/,
    );
    const { code, stdout } = await subhosts.stop('runs');
    expect({ code, stdout }).to.deep.equal({ code: 0, stdout: 'runs: stopped\n' });
  });

  it('the log on a full disk: what is printed is dropped, the subhost lives and stops', async () => {
    await sh('mkdir /srv/t/logs; mount -t tmpfs -o size=16k tmpfs /srv/t/logs');
    undo.push('umount /srv/t/logs; rmdir /srv/t/logs');
    const services = {
      flood: '#!/bin/sh\n[ "$1" = start ] && head -c 200000 /dev/zero | tr "\\0" x\nexit 0\n',
    };
    await subhosts.up('mute', { LOG: '/srv/t/logs/mute.log', START: '/flood' }, { services });
    await subhosts.inside('mute', 'echo hello >/dev/console');
    expect((await subhosts.stop('mute')).stdout).to.equal('mute: stopped\n');
    const conf = await subhosts.make('mute', { LOG: '/srv/t/logs/mute.log' });
    expect((await subhosts.boot([conf])).stdout).to.equal('mute: running\n');
  });

  it('a log that cannot be made fails the boot: one line', async () => {
    await sh('mkdir /srv/t/logs; mount -t tmpfs -o nr_inodes=1 tmpfs /srv/t/logs');
    undo.push('umount /srv/t/logs; rmdir /srv/t/logs');
    const conf = await subhosts.make('nolog', { CABLES: '=', LOG: '/srv/t/logs/nolog.log' });
    await refusedInOneLine(
      conf,
      /^overlay-boot: nolog: cannot open the log \/srv\/t\/logs\/nolog\.log: No space left on device$/,
    );
  });

  it('no such bridge, UPPER and WORK on two mounts, LIVE mounted already: one line, nothing of it on the host', async () => {
    await refusedInOneLine(
      await subhosts.make('nobridge', { CABLES: 'nobr9=' }),
      /no bridge nobr9: make it with "ip link add nobr9 type bridge/,
      2,
    );
    const apart = await subhosts.make('apart');
    await sh(`mount -t tmpfs tmpfs ${subhosts.base('apart')}/work`);
    undo.push(`umount ${subhosts.base('apart')}/work`);
    await refusedInOneLine(apart, /WORK: .* is on another mount than UPPER/, 2);
    const mounted = await subhosts.make('mounted');
    await sh(`mount -t tmpfs tmpfs ${subhosts.base('mounted')}/live`);
    undo.push(`umount ${subhosts.base('mounted')}/live`);
    await refusedInOneLine(mounted, /LIVE: .*\/live is a mount point already: umount/, 2);
  });

  it('layers deeper than the kernel stacks: one line that says so', async () => {
    await sh(`cd /srv/t; mkdir -p deep/1u deep/1w deep/1 deep/2u deep/2w deep/2
      mount -t overlay -o lowerdir=${BASE_ROOT},upperdir=deep/1u,workdir=deep/1w overlay deep/1
      mount -t overlay -o lowerdir=deep/1:${BASE_ROOT} overlay deep/2`);
    undo.push('umount /srv/t/deep/2 /srv/t/deep/1; rm -rf /srv/t/deep');
    const conf = await subhosts.make('deep', { LOWER: '/srv/t/deep/2' });
    await refusedInOneLine(conf, /overlay on an overlay \(2 deep\), and the kernel stacks no more than 2/, 2);
  });

  it('WORK that another subhost has: one line, and that one goes on', async () => {
    const base = subhosts.base('owner');
    await subhosts.up('owner');
    const conf = await subhosts.make('thief', { UPPER: `${base}/root`, WORK: `${base}/work` });
    await refusedInOneLine(
      conf,
      /^overlay-boot: thief: cannot .* \/opt\/subhost\/owner\/work: .*another root has it mounted \(log: /,
    );
    expect(await subhosts.inside('owner', 'echo here')).to.equal('here\n');
  });

  it('pid 1 killed from outside: all is cleared by itself, the state is failed, the log ends with the cause', async () => {
    const conf = await subhosts.up('killed', { CABLES: '=' });
    await sh(`kill -KILL ${subhosts.pid1('killed')}`);
    await eventually('the link is gone', () => sh('! ip link show killed0 2>/dev/null').then(() => true));
    await eventually('the keeper is gone', () =>
      sh(`! kill -0 ${subhosts.record('killed')?.keeper.pid}`).then(() => true),
    );
    expect(await sh('ls /run/netns')).to.equal('');
    expect(await sh('overlay-status --json killed')).to.contain('"failed"');
    expect(subhosts.log('killed').trimEnd().split('\n').at(-1)).to.match(
      /overlay-boot: killed: ended: pid 1 was ended by signal 9$/,
    );
    expect((await subhosts.boot([conf])).stdout).to.equal('killed: running\n');
    await sh(`kill -KILL ${subhosts.pid1('killed')}`);
    await eventually('the keeper is gone', () =>
      sh(`! kill -0 ${subhosts.record('killed')?.keeper.pid}`).then(() => true),
    );
    expect((await subhosts.stop('killed')).stdout).to.equal('killed: not running\n');
  });

  it('a process outside that holds the network namespace: the links go all the same, and it is named', async () => {
    await subhosts.up('holder', { CABLES: '=' });
    const sleeper = subhosts.sandbox.spawn(['nsenter', '--net=/run/netns/holder', 'sleep', '100']);
    await eventually('it is inside', () => sh('pgrep -x sleep').then((pid) => pid !== ''));
    const pid = (await sh('pgrep -x sleep')).trim();
    const { code, stdout, stderr } = await subhosts.stop('holder');
    expect({ code, stdout, stderr }).to.deep.equal({
      code: 0,
      stdout: 'holder: stopped\n',
      stderr: `overlay-stop: holder: process ${pid} (sleep) still holds its network namespace\n`,
    });
    expect(await sh('ip link show holder0 2>&1 || :')).to.contain('does not exist');
    sleeper.kill('SIGKILL');
    await sleeper.completed();
  });
});
