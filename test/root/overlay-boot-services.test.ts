/** The start script, ready, the services of START, the log, and how a subhost ends by itself. */
import { statSync } from 'node:fs';
import { expect } from 'chai';
import { eventually } from '../helpers/namespaces.js';
import { recordingService, useSubhosts } from '../helpers/subhosts.js';

describe('overlay-boot: services', () => {
  const subhosts = useSubhosts();
  const base = '/opt/subhost/a';
  const service = (name: string, more = {}): Record<string, string> => ({
    [`etc/init.d/${name}`]: recordingService(name, more),
  });
  const called = { 'var/calls': '' };
  /** A pid 1 that does what it is told through /run/f. */
  const listener = {
    hooks: { hook: '#!/bin/sh\necho exec /pid1\n' },
    services: { pid1: '#!/bin/sh\nmkfifo /run/f\nread -r order </run/f\neval "$order"\n' },
  };

  it('are started in order, by name from /etc/init.d or by absolute path, before the boot is done', async () => {
    const services = { ...service('one'), startup: recordingService('startup'), ...service('two') };
    await subhosts.up('a', { START: 'one /startup  two' }, { services, root: called });
    expect(subhosts.calls('a')).to.deep.equal(['one start', 'startup start', 'two start']);
    expect(subhosts.record('a')).to.deep.include({
      phase: 'running',
      start: ['one', '/startup', 'two'],
      degraded: [],
    });
  });

  it('are started by the service command of the root where it has one', async () => {
    const services = { 'bin/service': '#!/bin/sh\necho "service $*" >>/var/calls\n' };
    await subhosts.up('a', { START: 'one' }, { services, root: called });
    await subhosts.stop('a');
    expect(subhosts.calls('a')).to.deep.equal(['service one start', 'service one stop']);
  });

  it('of the default START that the root does not have are passed over without a word, at the stop too', async () => {
    await subhosts.up('a', { START: undefined }, { services: service('ssh'), root: called });
    expect(subhosts.record('a')).to.deep.include({ phase: 'running', degraded: [] });
    const { stderr } = await subhosts.stop('a');
    expect([stderr, subhosts.calls('a')]).to.deep.equal(['', ['ssh start', 'ssh stop']]);
  });

  it('that fail or are missing are printed and logged and make the subhost degraded, and the boot succeeds', async () => {
    const services = { ...service('good'), ...service('bad', { start: 'exit 3' }) };
    const conf = await subhosts.make('a', { START: 'bad missing good /no/such' }, { services, root: called });
    const { code, stdout } = await subhosts.boot([conf]);
    expect({ code, stdout }).to.deep.equal({
      code: 0,
      stdout: 'a: running, degraded: bad, missing, /no/such failed to start\n',
    });
    expect(subhosts.record('a')).to.deep.include({
      phase: 'degraded',
      degraded: ['bad', 'missing', '/no/such'],
    });
    expect(await subhosts.sandbox.sh('overlay-status a')).to.include('degraded');
    for (const name of ['bad', 'missing', '/no/such'])
      expect(subhosts.log('a')).to.match(
        new RegExp(`^\\S+Z overlay-boot: service ${name} failed to start$`, 'm'),
      );
    await subhosts.stop('a');
    expect(subhosts.calls('a').at(-1)).to.equal('good stop');
  });

  it('cannot add names of their own to those that failed, nor write to a terminal by them', async () => {
    const script =
      '#!/bin/sh\necho \'echo "$(printf "\\033[2Jfake")" >&3; echo other >&3; exec "$1" 3>&-\'\n';
    const conf = await subhosts.make('a', { INIT: 'hook', START: 'real' }, { hooks: { hook: script } });
    const { code, stdout, stderr } = await subhosts.boot([conf]);
    expect({ code, stdout, stderr }).to.deep.equal({ code: 0, stdout: 'a: running\n', stderr: '' });
    expect(subhosts.record('a')?.degraded).to.deep.equal([]);
  });

  it('that leave daemons behind keep the subhost alive, and no dummy service is there', async () => {
    await subhosts.up(
      'a',
      { START: '/svc' },
      { services: { svc: '#!/bin/sh\n[ $1 = stop ] || sleep 1000 &\n' } },
    );
    expect(
      await subhosts.inside('a', 'ls /run/dummy_service 2>/dev/null || echo none; pidof sleep | wc -w'),
    ).to.equal('none\n1\n');
  });

  it('whose last daemon ends take the subhost along, and nothing is left', async () => {
    await subhosts.up(
      'a',
      { START: '/svc', CABLES: '=' },
      { services: { svc: '#!/bin/sh\nsleep 1000 &\n' } },
    );
    // The shell may end with the subhost, before it can say that all went well.
    await subhosts.inside('a', 'kill $(pidof sleep)').catch(() => undefined);
    await subhosts.gone('a');
    expect(subhosts.log('a').trimEnd().split('\n').at(-1)).to.match(
      /Z overlay-boot: a: ended: pid 1 exited with status 0$/,
    );
  });

  it('that never end the boot do so with its time, and everything is taken back', async () => {
    const conf = await subhosts.make(
      'a',
      { START: '/svc', CABLES: '=' },
      { services: { svc: '#!/bin/sh\nsleep 1000\n' } },
    );
    expect(await subhosts.refused(conf, { options: ['--timeout', '0.7'] })).to.deep.equal([
      'overlay-boot: a: not ready within 0.7 s: it was at: start (log: /var/log/overlay-boot/a.log)',
    ]);
  });

  for (const [signal, status] of [
    ['SIGTERM', 1],
    ['SIGINT', 1],
  ] as const)
    it(`${signal} to overlay-boot while they start ends the boot and takes everything back`, async () => {
      const conf = await subhosts.make(
        'a',
        { START: '/svc', CABLES: '=' },
        { services: { svc: '#!/bin/sh\nsleep 1000\n' } },
      );
      const booting = subhosts.sandbox.spawn(['overlay-boot', conf]);
      await eventually('it starts', () => subhosts.record('a')?.step === 'start');
      booting.kill(signal);
      const { code, stderr } = await booting.completed(10_000);
      expect([code, stderr]).to.deep.equal([
        status,
        `overlay-boot: a: interrupted by ${signal} (log: /var/log/overlay-boot/a.log)\n`,
      ]);
    });

  it('orphans are reaped', async () => {
    await subhosts.up('a');
    await subhosts.inside('a', '(sleep 0.01 &) ; true');
    await eventually('no zombie', async () => !(await subhosts.inside('a', 'ps -o stat')).includes('Z'));
  });

  describe('the dummy service', () => {
    it('keeps a subhost without services alive, until something is written to its pipe', async () => {
      await subhosts.up('a', { CABLES: '=' });
      expect(
        await subhosts.inside('a', 'stat -c "%F %a" /run/dummy_service; cat /proc/1/task/1/children | wc -w'),
      ).to.equal('fifo 600\n1\n');
      await subhosts.poke('a', '/run/dummy_service');
      await subhosts.gone('a');
    });

    it('holds also when somebody opened the pipe and wrote nothing', async () => {
      await subhosts.up('a');
      await subhosts.inside(
        'a',
        ': >/run/dummy_service; timeout 0.1 cat /run/dummy_service || true; cat /proc/1/comm',
      );
      expect(subhosts.record('a')?.phase).to.equal('running');
    });

    it('of a subhost that was killed does not hinder the next boot where /run is of the root', async () => {
      const conf = await subhosts.up('a', { RAM_SIZE: 'none' });
      await subhosts.stop('a', '--kill');
      expect((await subhosts.boot([conf])).code).to.equal(0);
      await subhosts.poke('a', '/run/dummy_service');
      await subhosts.gone('a');
    });

    it('follows no link at its place', async () => {
      await subhosts.sandbox.sh('mkdir -p root/run; ln -s /etc/passwd root/run/dummy_service', {
        cwd: '/srv/t',
      });
      const conf = await subhosts.make('a', { RAM_SIZE: 'none' });
      await subhosts.sandbox.sh('mkdir -p root/run; ln -s /etc/passwd root/run/dummy_service', { cwd: base });
      expect((await subhosts.boot([conf])).code).to.equal(0);
      expect(await subhosts.inside('a', 'cat /etc/passwd')).to.equal('root:x:0:0:root:/root:/bin/sh\n');
      await subhosts.sandbox.sh('rm -r /srv/t/root');
    });
  });

  it('a subhost whose pid 1 ends the moment it is ready was booted, and nothing is left', async () => {
    const hooks = { hook: "#!/bin/sh\necho 'exec /bin/true'\n" };
    const conf = await subhosts.make('a', { INIT: 'hook' }, { hooks });
    for (let round = 0; round < 5; round++) {
      const { code, stdout, stderr } = await subhosts.boot([conf]);
      expect({ code, stdout, stderr }).to.deep.equal({ code: 0, stdout: 'a: running\n', stderr: '' });
      await subhosts.gone('a');
    }
  });

  it('a pid 1 that ends badly leaves a record as failed, which the next boot clears', async () => {
    const conf = await subhosts.up('a', { INIT: 'hook' }, listener);
    await subhosts.poke('a', '/run/f', 'exit 5');
    await eventually('it has failed', async () =>
      /^a +failed/m.test(await subhosts.sandbox.sh('overlay-status')),
    );
    expect(subhosts.log('a').trimEnd().split('\n').at(-1)).to.match(/a: ended: pid 1 exited with status 5$/);
    expect((await subhosts.boot([conf])).stdout).to.equal('a: running\n');
  });

  describe('--foreground', () => {
    for (const [last, status] of [
      ['exit 0', 0],
      ['exit 7', 7],
    ] as const)
      it(`stays until the subhost ends, and exits with ${status} as its pid 1 does`, async () => {
        const conf = await subhosts.make('a', { INIT: 'hook' }, listener);
        const running = subhosts.sandbox.spawn(['overlay-boot', '--foreground', conf]);
        await eventually('it runs', () => running.stdout === 'a: running\n');
        await subhosts.poke('a', '/run/f', last);
        expect((await running.completed(10_000)).code).to.equal(status);
      });

    it('exits with 128+n when a signal ended pid 1', async () => {
      const conf = await subhosts.make('a');
      const running = subhosts.sandbox.spawn(['overlay-boot', '--foreground', conf]);
      await eventually('it runs', () => running.stdout === 'a: running\n');
      await subhosts.sandbox.sh(`kill -KILL ${subhosts.pid1('a')}`);
      expect((await running.completed(10_000)).code).to.equal(137);
      await subhosts.stop('a');
    });

    for (const signal of ['SIGTERM', 'SIGINT'] as const)
      it(`${signal} means overlay-stop, services and all`, async () => {
        const conf = await subhosts.make(
          'a',
          { START: '/svc' },
          { services: { svc: recordingService('svc') }, root: called },
        );
        const running = subhosts.sandbox.spawn(['overlay-boot', '--foreground', conf]);
        await eventually('it runs', () => running.stdout === 'a: running\n');
        running.kill(signal);
        const { code, stderr } = await running.completed(10_000);
        expect([code, stderr]).to.deep.equal([0, '']);
        expect(subhosts.calls('a')).to.deep.equal(['svc start', 'svc stop']);
        await subhosts.gone('a');
      });

    it('ends with the subhost when overlay-stop stops it', async () => {
      const conf = await subhosts.make('a');
      const running = subhosts.sandbox.spawn(['overlay-boot', '--foreground', conf]);
      await eventually('it runs', () => running.stdout === 'a: running\n');
      expect((await subhosts.stop('a')).stdout).to.equal('a: stopped\n');
      expect((await running.completed(10_000)).code).to.equal(0);
    });

    it('of a failed boot is 1', async () => {
      const conf = await subhosts.make('a', { SHARE: 'work:/etc/passwd' });
      expect((await subhosts.boot(['--foreground', conf])).code).to.equal(1);
    });
  });

  describe('LOG', () => {
    it('holds what services and /dev/console say, is 0640, and the one before is kept as .1', async () => {
      const svc = '#!/bin/sh\necho "out $1"; echo "err $1" >&2; echo "console $1" >/dev/console\n';
      const conf = await subhosts.up('a', { START: '/svc' }, { services: { svc } });
      await subhosts.stop('a');
      const log = subhosts.log('a');
      for (const line of ['out start', 'err start', 'console start'])
        expect(log.split('\n'), log).to.include(line);
      expect(log).not.to.include('\r');
      expect(statSync(subhosts.outside('/var/log/overlay-boot/a.log')).mode & 0o777).to.equal(0o640);
      await subhosts.boot([conf]);
      expect(subhosts.file('/var/log/overlay-boot/a.log.1')).to.equal(log);
    });

    it('of a conf is relative to BASE, and ends with the cause of the end', async () => {
      await subhosts.up('a', { LOG: 'own.log' });
      await subhosts.sandbox.sh(`kill -KILL ${subhosts.pid1('a')}`);
      await eventually('the last line', () =>
        /: a: ended: pid 1 was ended by signal 9\n$/.test(subhosts.file(`${base}/own.log`) ?? ''),
      );
      await subhosts.stop('a');
    });

    const refusals: readonly [string, string, string, number, string][] = [
      [
        'is a symbolic link',
        'own.log',
        'ln -s /etc/victim own.log',
        2,
        `${base}/a.conf: LOG: ${base}/own.log: is a symbolic link, and a log is opened through none: remove it`,
      ],
      [
        'is a directory',
        'own.log',
        'mkdir own.log',
        2,
        `${base}/a.conf: LOG: ${base}/own.log: is no regular file: name another file`,
      ],
      [
        'is in UPPER',
        'root/own.log',
        ':',
        2,
        `${base}/a.conf: LOG: ${base}/root/own.log is inside UPPER, which the subhost can change: put it outside`,
      ],
      [
        'has no directory',
        'no/own.log',
        ':',
        2,
        `${base}/a.conf: LOG: ${base}/no: there is no such directory: make it, or boot with --mkdir`,
      ],
    ];
    for (const [title, LOG, prepare, code, message] of refusals)
      it(`that ${title} fails the boot`, async () => {
        const conf = await subhosts.make('a', { LOG });
        await subhosts.sandbox.sh(prepare, { cwd: base });
        expect(await subhosts.refused(conf, { code })).to.deep.equal([`overlay-boot: ${message}`]);
      });

    it('in a directory that the administrator reaches by a link is opened there', async () => {
      const conf = await subhosts.make('a', { LOG: 'dir/own.log' });
      await subhosts.sandbox.sh('mkdir real; ln -s real dir', { cwd: base });
      expect((await subhosts.boot([conf])).code).to.equal(0);
      await subhosts.stop('a');
      expect(subhosts.file(`${base}/real/own.log`)).to.include(' a: ended: ');
    });

    it('on a full disk does not end the subhost', async () => {
      const conf = await subhosts.make(
        'a',
        { LOG: 'disk/own.log', START: '/svc' },
        { services: { svc: '#!/bin/sh\n[ $1 = stop ] || head -c 100000 /dev/zero\n' } },
      );
      await subhosts.sandbox.sh('mkdir disk; mount -t tmpfs -o size=16k t disk', { cwd: base });
      try {
        expect((await subhosts.boot([conf])).stdout).to.equal('a: running\n');
        await subhosts.stop('a');
      } finally {
        await subhosts.sandbox.sh('umount disk', { cwd: base });
      }
    });
  });
});
