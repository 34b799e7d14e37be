/** DESIGN.md, invariants 3, 6 and 10: what runs is told by the lock and by pid 1, never by chance. */
import { execFileSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { expect } from 'chai';
import { eventually } from '../helpers/namespaces.js';
import { recordingService, useSubhosts } from '../helpers/subhosts.js';

describe('the lock and the record of a subhost', () => {
  const subhosts = useSubhosts();

  const recordPath = (name: string): string => subhosts.outside(`/run/overlay-boot/${name}/state.json`);

  /** A record as a boot leaves it, changed; its subhost is ended, its directory is there and unlocked. */
  async function plantRecord(
    name: string,
    change: (record: Record<string, unknown>) => object,
  ): Promise<string> {
    const conf = await subhosts.up(name, { CABLES: '=' });
    const text = readFileSync(recordPath(name), 'utf8');
    await subhosts.stop(name);
    await subhosts.sandbox.sh(`mkdir -p /run/overlay-boot/${name}`);
    writeFileSync(recordPath(name), JSON.stringify({ ...JSON.parse(text), ...change(JSON.parse(text)) }));
    return conf;
  }

  const bootsAgain = async (conf: string, name: string): Promise<void> => {
    const { code, stdout, stderr } = await subhosts.boot([conf]);
    expect({ code, stdout, stderr }).to.deep.equal({ code: 0, stdout: `${name}: running\n`, stderr: '' });
  };

  it('a pid of the record that another process has now is no running subhost', async () => {
    const conf = await plantRecord('reused', () => ({ init: { pid: 1, startTimeTicks: 1 } }));
    expect((await subhosts.stop('reused')).stdout).to.equal('reused: not running\n');
    await plantRecord('reused', () => ({
      init: { pid: 1, startTimeTicks: 1 },
      keeper: { pid: 1, startTimeTicks: 1 },
    }));
    await bootsAgain(conf, 'reused');
  });

  it('a record of another boot of the host is a dead one, and what has its names now is left alone', async () => {
    const live = await subhosts.up('other');
    const { init } = subhosts.record('other') ?? {};
    const conf = await plantRecord('old', () => ({
      bootId: '00000000-0000-0000-0000-000000000000',
      init,
      ifup: [{ interface: 'old0', ifdown: '/bin/false' }],
    }));
    await subhosts.sandbox.sh('ip link add old0 type bridge');
    const refused = await subhosts.refused(conf);
    expect(refused).to.deep.equal([
      `overlay-boot: old: interface old0 exists already and is not left from subhost old: give it another name, or choose another NAME in ${conf}`,
    ]);
    expect((await subhosts.stop('old')).stdout).to.equal('old: not running\n');
    await subhosts.sandbox.sh('ip link delete old0');
    await bootsAgain(conf, 'old');
    expect((await subhosts.boot([live])).stdout).to.equal('other: already running\n');
  });

  it('a lock that is held without a record is waited for, by a boot and by a stop', async () => {
    const conf = await subhosts.make('held');
    const hold = [
      'sh',
      '-c',
      'mkdir -p /run/overlay-boot/held; exec flock -F /run/overlay-boot/held sleep 0.7',
    ];
    for (const command of [
      ['overlay-boot', conf],
      ['overlay-stop', 'held'],
    ]) {
      const holder = subhosts.sandbox.spawn(hold);
      await eventually('the lock is held', () =>
        subhosts.sandbox
          .sh('test -d /run/overlay-boot/held && ! flock -n /run/overlay-boot/held true')
          .then(() => true),
      );
      const started = Date.now();
      const { code, stderr } = await subhosts.sandbox.run(command);
      expect({ code, stderr }, command.join(' ')).to.deep.equal({ code: 0, stderr: '' });
      expect(Date.now() - started, `milliseconds of ${command[0]}`).to.be.within(100, 5_000);
      await holder.completed();
      await subhosts.stop('held');
    }
  });

  it('a boot that waits for a directory that is removed and made anew locks the new one', async () => {
    const conf = await subhosts.make('anew');
    const dir = '/run/overlay-boot/anew';
    const first = subhosts.sandbox.spawn(['sh', '-c', `mkdir -p ${dir}; exec flock -F ${dir} sleep 30`]);
    await eventually('the lock is held', () =>
      subhosts.sandbox.sh(`test -d ${dir} && ! flock -n ${dir} true`).then(() => true),
    );
    const boot = subhosts.sandbox.spawn(['overlay-boot', conf]);
    await delay(200);
    // The one that waits has the old directory open, or none: only the new one is worth a lock.
    await subhosts.sandbox.sh(`rmdir ${dir}; mkdir ${dir}`);
    first.kill('SIGKILL');
    expect((await boot.completed()).stdout).to.equal('anew: running\n');
    await subhosts.sandbox.sh(`! flock -n ${dir} true`);
  });

  it('of two boots at once one boots and the other says that it runs, ten times', async function () {
    this.timeout(60_000);
    const conf = await subhosts.make('twice', { CABLES: '=' });
    for (let i = 0; i < 10; i++) {
      const both = await Promise.all([subhosts.boot([conf]), subhosts.boot([conf])]);
      // One that waits for more than 2 s says so.
      const errors = both.map(({ stderr }) =>
        stderr.replace(/^.*: waits for another boot or stop of it\n/, ''),
      );
      expect({ codes: both.map(({ code }) => code), errors }).to.deep.equal({
        codes: [0, 0],
        errors: ['', ''],
      });
      expect(both.map(({ stdout }) => stdout).sort()).to.deep.equal([
        'twice: already running\n',
        'twice: running\n',
      ]);
      await subhosts.stop('twice');
    }
  });

  it('of two stops at once both end well, ten times', async () => {
    for (let i = 0; i < 10; i++) {
      await subhosts.up('twice', { CABLES: '=' });
      const both = await Promise.all([subhosts.stop('twice'), subhosts.stop('twice')]);
      expect(both.map(({ code, stderr }) => ({ code, stderr }))).to.deep.equal(
        Array(2).fill({ code: 0, stderr: '' }),
      );
    }
  });

  it('several boots of one call whose launcher is killed: those that are ready run, nothing is left of the others', async function () {
    this.timeout(60_000);
    const names = ['many1', 'many2', 'many3', 'many4', 'many5'];
    const confs = await Promise.all(names.map((name) => subhosts.make(name, { CABLES: '=' })));
    for (let ms = 0; ms < 100; ms += 20) {
      const boot = subhosts.sandbox.spawn(['overlay-boot', ...confs]);
      await eventually('a lock is held', () =>
        subhosts.sandbox.sh('ls /run/overlay-boot | grep -q many').then(() => true),
      );
      await delay(ms);
      await subhosts.sandbox.sh('pkill -KILL -o -x init || :');
      const { code, stdout, stderr } = await boot.completed();
      const running = stdout.split('\n').filter((line) => line.endsWith(': running')).length;
      expect(
        running + stderr.trimEnd().split('\n').filter(Boolean).length,
        `${ms} ms: ${code}\n${stdout}${stderr}`,
      ).to.equal(5);
      const again = await subhosts.boot(confs);
      expect({ code: again.code, stderr: again.stderr }, `${ms} ms`).to.deep.equal({ code: 0, stderr: '' });
      await subhosts.stop('--all');
    }
  });

  it('boots straight after a stop, thirty times, with a cable', async function () {
    this.timeout(60_000);
    const conf = await subhosts.up('again', { CABLES: '=' });
    const script = 'i=0; while [ $i -lt 30 ]; do overlay-stop again; overlay-boot "$0"; i=$((i + 1)); done';
    const { code, stdout, stderr } = await subhosts.sandbox.run(['sh', '-ec', script, conf]);
    expect({ code, stderr }).to.deep.equal({ code: 0, stderr: '' });
    // Its end within the grace period, which is short in tests, is not what this is about.
    expect(stdout.replaceAll(', by SIGKILL after the grace period', '')).to.equal(
      'again: stopped\nagain: running\n'.repeat(30),
    );
  });

  it('a stop in the middle of a boot ends it; the boot says so and nothing is left', async function () {
    this.timeout(60_000);
    const hooks = { slow: '#!/bin/sh\nsleep 20\n' };
    const conf = await subhosts.make('early', { CABLES: '=', PREMOUNT: 'slow' }, { hooks });
    for (let ms = 0; ms < 200; ms += 20) {
      const boot = subhosts.sandbox.spawn(['overlay-boot', conf]);
      await eventually('the boot has begun', () =>
        subhosts.sandbox.sh('test -d /run/overlay-boot/early').then(() => true),
      );
      await delay(ms);
      const stop = await subhosts.stop('early');
      expect({ code: stop.code, stderr: stop.stderr }, `${ms} ms`).to.deep.equal({ code: 0, stderr: '' });
      const { code, stderr } = await boot.completed();
      expect(code, `${ms} ms`).to.equal(1);
      expect(stderr, `${ms} ms: ${stderr}`).to.match(
        /^overlay-boot: early: stopped by overlay-stop early \(pid \d+\) before it was ready( \(log: [^ ]+\))?\n$/,
      );
      expect(subhosts.file('/run/overlay-boot/early'), `${ms} ms`).to.equal(undefined);
    }
  });

  it('a boot in the middle of a stop waits for its end, and boots', async () => {
    const services = { 'slow.sh': recordingService('slow', { stop: 'sleep 1' }) };
    const conf = await subhosts.up('late', { START: '/slow.sh' }, { services });
    const before = subhosts.pid1('late');
    const stop = subhosts.sandbox.spawn(['overlay-stop', 'late']);
    await eventually('it is stopping', () => subhosts.record('late')?.phase === 'stopping');
    await bootsAgain(conf, 'late');
    expect((await stop.completed()).stdout).to.equal('late: stopped\n');
    expect(subhosts.pid1('late')).not.to.equal(before);
    expect(subhosts.calls('late')).to.deep.equal(['slow start', 'slow stop', 'slow start']);
  });

  it('a stop that was killed is brought to its end by the next boot, without waiting for a time limit', async () => {
    const services = {
      'slow.sh': recordingService('slow', { stop: '[ -e /var/hung ] || { touch /var/hung; sleep 1000; }' }),
    };
    const conf = await subhosts.up('hung', { START: '/slow.sh' }, { services });
    const before = subhosts.pid1('hung');
    const stop = subhosts.sandbox.spawn(['overlay-stop', 'hung']);
    await eventually(
      'the service hangs',
      () => subhosts.file(`${subhosts.base('hung')}/root/var/hung`) !== undefined,
    );
    stop.kill('SIGKILL');
    await eventually('it is dead', () => stop.hostPid === undefined);
    const started = Date.now();
    await bootsAgain(conf, 'hung');
    expect(Date.now() - started).to.be.below(10_000);
    expect(subhosts.pid1('hung')).not.to.equal(before);
  });

  it('a SIGKILL of the keeper takes the reaper along; the next boot clears what is left', async () => {
    const conf = await subhosts.up('orphan', { CABLES: '=' });
    const { keeper, init } = subhosts.record('orphan') ?? {};
    await subhosts.sandbox.sh(`kill -KILL ${keeper?.pid}`);
    await eventually('pid 1 is gone', () =>
      subhosts.sandbox.sh(`! test -e /proc/${init?.pid}`).then(() => true),
    );
    expect(await subhosts.sandbox.sh('overlay-status --json orphan')).to.contain('"failed"');
    await bootsAgain(conf, 'orphan');
  });

  describe('whose pid 1 outlives its keeper', () => {
    /** An init that cannot be taken along: it has given back the signal that a dying parent sends. */
    const SOURCE = `#include <signal.h>
#include <sys/prctl.h>
#include <unistd.h>
static void end(int sig) { _exit(sig == SIGTERM ? 0 : 1); }
int main(void) { prctl(PR_SET_PDEATHSIG, 0); signal(SIGTERM, end); for (;;) pause(); }
`;

    async function upWithoutKeeper(name: string): Promise<string> {
      const source = join(subhosts.sandbox.diskdir, 'init.c');
      writeFileSync(source, SOURCE);
      execFileSync('gcc', ['-static', '-o', join(subhosts.sandbox.diskdir, 'init'), source]);
      const hooks = { script: '#!/bin/sh\necho exec /own-init\n' };
      const conf = await subhosts.make(name, { CABLES: '=', INIT: 'script' }, { hooks });
      await subhosts.sandbox.sh(`cp ${subhosts.sandbox.diskdir}/init ${subhosts.base(name)}/root/own-init`);
      await bootsAgain(conf, name);
      const { keeper } = subhosts.record(name) ?? {};
      await eventually('its init runs', () =>
        subhosts.sandbox.sh(`grep -q own-init /proc/${subhosts.pid1(name)}/cmdline`).then(() => true),
      );
      await subhosts.sandbox.sh(`kill -KILL ${keeper?.pid}`);
      await eventually('the keeper is gone', () =>
        subhosts.sandbox.sh(`! test -e /proc/${keeper?.pid}`).then(() => true),
      );
      return conf;
    }

    it('runs: overlay-status shows it, overlay-boot says so with a warning, overlay-stop ends it and clears all', async () => {
      const conf = await upWithoutKeeper('tough');
      expect(await subhosts.sandbox.sh('overlay-status --json tough')).to.contain('"running"');
      const { code, stdout, stderr } = await subhosts.boot([conf]);
      expect({ code, stdout, stderr }).to.deep.equal({
        code: 0,
        stdout: 'tough: already running\n',
        stderr:
          'overlay-boot: tough: runs without its keeper: nothing is logged, and nothing cleared when it ends: overlay-stop tough\n',
      });
      const stop = await subhosts.stop('tough');
      expect({ code: stop.code, stdout: stop.stdout, stderr: stop.stderr }).to.deep.equal({
        code: 0,
        stdout: 'tough: stopped\n',
        stderr: '',
      });
    });

    it('and ends later by itself: the next boot clears what is left', async () => {
      const conf = await upWithoutKeeper('tough');
      await subhosts.sandbox.sh(`kill -KILL ${subhosts.pid1('tough')}`);
      await bootsAgain(conf, 'tough');
    });
  });

  it('a keeper that is stopped in a boot is not waited for without end', async () => {
    const conf = await subhosts.make(
      'still',
      { CABLES: '=', PREMOUNT: 'slow' },
      { hooks: { slow: '#!/bin/sh\nsleep 1001\n' } },
    );
    const boot = subhosts.sandbox.spawn(['overlay-boot', '--timeout', '2', conf]);
    await eventually('the hook runs', () => subhosts.record('still')?.step === 'PREMOUNT');
    const { keeper } = subhosts.record('still') ?? {};
    await subhosts.sandbox.sh(`kill -STOP ${keeper?.pid}`);
    const { code, stderr } = await boot.completed(10_000);
    await subhosts.sandbox.sh(`kill -CONT ${keeper?.pid}`);
    expect(code).to.equal(1);
    expect(stderr).to.contain('still: not ready within 2 s');
    expect(stderr).to.contain(
      `still: left behind: its keeper, process ${keeper?.pid}, is stopped (SIGSTOP): kill -CONT it`,
    );
    await subhosts.gone('still');
  });

  it('a keeper that is stopped is waited for only a moment, and named', async () => {
    await subhosts.up('frozen', { CABLES: '=' });
    const { keeper } = subhosts.record('frozen') ?? {};
    await subhosts.sandbox.sh(`kill -STOP ${keeper?.pid}`);
    try {
      for (const stopping of ['its keeper, process', 'its keeper, process']) {
        const started = Date.now();
        const { code, stdout, stderr } = await subhosts.stop('frozen');
        expect({ code, stdout }).to.deep.equal({ code: 1, stdout: '' });
        expect(stderr).to.match(
          new RegExp(
            `^overlay-stop: frozen: ${stopping} ${keeper?.pid},? is stopped \\(SIGSTOP\\): kill -CONT[^\\n]*\\n$`,
          ),
        );
        expect(Date.now() - started).to.be.below(5_000);
      }
    } finally {
      await subhosts.sandbox.sh(`kill -CONT ${keeper?.pid}`);
    }
    await subhosts.stop('frozen');
  });
});
