/** overlay-stop on running subhosts. */
import { writeFileSync } from 'node:fs';
import { expect } from 'chai';
import { eventually } from '../helpers/namespaces.js';
import { recordingService, useSubhosts } from '../helpers/subhosts.js';

describe('overlay-stop', () => {
  const subhosts = useSubhosts();
  const base = '/opt/subhost/a';
  const called = { 'var/calls': '' };
  const service = (name: string, more = {}): Record<string, string> => ({
    [`etc/init.d/${name}`]: recordingService(name, more),
  });
  const words = async (
    ...args: string[]
  ): Promise<{ code: number | null; stdout: string; stderr: string }> => {
    const { code, stdout, stderr } = await subhosts.stop(...args);
    return { code, stdout, stderr };
  };

  it('stops the services in reverse order, then everything, by name', async () => {
    const services = { ...service('one'), ...service('two'), startup: recordingService('startup') };
    await subhosts.up('a', { START: 'one /startup two', CABLES: '=' }, { services, root: called });
    expect(await words('a')).to.deep.equal({ code: 0, stdout: 'a: stopped\n', stderr: '' });
    expect(subhosts.calls('a').slice(3)).to.deep.equal(['two stop', 'startup stop', 'one stop']);
  });

  it('takes a conf by its path, by a link to it, and relative', async () => {
    const conf = await subhosts.up('a');
    expect((await words(conf)).stdout).to.equal('a: stopped\n');
    await subhosts.boot([conf]);
    await subhosts.sandbox.sh(`ln -s ${conf} /srv/t/link.conf`);
    expect((await words('/srv/t/link.conf')).stdout).to.equal('a: stopped\n');
    await subhosts.boot([conf]);
    const { stdout } = await subhosts.sandbox.run(['overlay-stop', 'a.conf'], { cwd: base });
    expect(stdout).to.equal('a: stopped\n');
    await subhosts.sandbox.sh('rm /srv/t/link.conf');
  });

  it('stops what runs with mistakes in the settings, too, and tells of them', async () => {
    await subhosts.up('a');
    const file = '/etc/overlay-boot/conf.d/mistake.conf';
    subhosts.write(file, '[timeouts]\ngrace = soon\n[path]\n');
    const { code, stdout, stderr } = await words('--all');
    await subhosts.sandbox.sh(`rm ${file}`);
    expect([code, stdout]).to.deep.equal([2, 'a: stopped\n']);
    expect(stderr).to.match(/^(overlay-stop: \/etc\/overlay-boot\/conf\.d\/mistake\.conf: .*\n){2}$/);
    expect(await subhosts.sandbox.sh('find /run/overlay-boot -mindepth 1')).to.equal('');
  });

  it('finds what was booted from a conf that is gone or names another subhost now', async () => {
    const conf = await subhosts.up('a');
    writeFileSync(subhosts.outside(conf), 'BASE=.\nNAME=other\n');
    expect((await words(conf)).stdout).to.equal('a: stopped\n');
    await subhosts.boot([await subhosts.make('a')]);
    await subhosts.sandbox.sh(`rm ${conf}`);
    expect((await words(conf)).stdout).to.equal('a: stopped\n');
  });

  it('stops what was booted, whatever the conf says meanwhile', async () => {
    const conf = await subhosts.up(
      'a',
      { START: 'one', CABLES: '=' },
      { services: service('one'), root: called },
    );
    writeFileSync(subhosts.outside(conf), 'BASE=.\nSTART=none\n');
    expect((await words(conf)).stdout).to.equal('a: stopped\n');
    expect(subhosts.calls('a')).to.deep.equal(['one start', 'one stop']);
  });

  it('asks the command of NAME in BASE, with ACTION overlay-stop', async () => {
    const conf = await subhosts.make('a', { NAME: '!echo "$ACTION $CONFIG" >seen; pwd >>seen; echo b' });
    expect((await words(conf)).stdout).to.equal('b: not running\n');
    expect(subhosts.file(`${base}/seen`)).to.equal(`overlay-stop ${conf}\n${base}\n`);
  });

  it('says that a subhost is not running, and succeeds', async () => {
    const conf = await subhosts.make('a');
    expect(await words('a', conf, 'b')).to.deep.equal({
      code: 0,
      stdout: 'a: not running\nb: not running\n',
      stderr: '',
    });
  });

  it('clears what a dead subhost left, and says that it did not run', async () => {
    await subhosts.up('a', { CABLES: '=' });
    const record = subhosts.record('a');
    await subhosts.sandbox.sh(`kill -KILL ${record?.keeper.pid}`);
    await eventually(
      'pid 1 is gone',
      async () => (await subhosts.sandbox.run(['kill', '-0', `${record?.init.pid}`])).code !== 0,
    );
    expect(await words('a')).to.deep.equal({ code: 0, stdout: 'a: not running\n', stderr: '' });
  });

  it('has nothing to say of a service whose end is that of pid 1, and of the command that stops it', async () => {
    const start = 'sleep 1000 & echo $! >/pid';
    const stop = 'kill $(cat /pid); sleep 1000';
    await subhosts.up('a', { START: 'one' }, { services: service('one', { start, stop }), root: called });
    expect(await words('a')).to.deep.equal({ code: 0, stdout: 'a: stopped\n', stderr: '' });
    expect(subhosts.calls('a')).to.deep.equal(['one start', 'one stop']);
  });

  it('stops a service that hangs at its limit, says so, and goes on with the rest', async () => {
    const services = {
      ...service('one'),
      ...service('hangs', { stop: 'exec sleep 1000' }),
      ...service('fails', { stop: 'exit 3' }),
    };
    await subhosts.up('a', { START: 'one hangs fails' }, { services, root: called });
    const started = Date.now();
    expect(await words('--timeout', '0.5', 'a')).to.deep.equal({
      code: 0,
      stdout: 'a: stopped\n',
      stderr:
        'overlay-stop: a: service fails failed to stop\noverlay-stop: a: service hangs did not stop within 0.5 s\n',
    });
    expect(Date.now() - started).to.be.lessThan(5_000);
    expect(subhosts.calls('a').slice(3)).to.deep.equal(['fails stop', 'hangs stop', 'one stop']);
  });

  it('gives services the time they need within the limit', async () => {
    const services = service('slow', { stop: 'sleep 0.3; echo done >>/var/calls' });
    await subhosts.up('a', { START: 'slow' }, { services, root: called });
    expect((await words('a')).stderr).to.equal('');
    expect(subhosts.calls('a').at(-1)).to.equal('done');
  });

  it('sends SIGTERM to every process, and SIGKILL to what is left after the grace period', async () => {
    subhosts.write('/etc/overlay-boot/conf.d/grace.conf', '[timeouts]\ngrace = 0.4\n');
    const svc = `#!/bin/sh
[ $1 = start ] || exit 0
(trap 'echo polite >>/var/calls; exit' TERM; while :; do sleep 0.05; done) &
(trap '' TERM; while :; do sleep 0.05; done) &
`;
    try {
      await subhosts.up('a', { START: '/svc' }, { services: { svc }, root: called });
      const started = Date.now();
      expect(await words('a')).to.deep.equal({
        code: 0,
        stdout: 'a: stopped, by SIGKILL after the grace period\n',
        stderr: '',
      });
      expect(Date.now() - started).to.be.within(400, 5_000);
      expect(subhosts.calls('a')).to.deep.equal(['polite']);
    } finally {
      await subhosts.sandbox.sh('rm -r /etc/overlay-boot');
    }
  });

  it('--kill skips the services and the grace period', async () => {
    const services = {
      svc: `#!/bin/sh\necho "svc $1" >>/var/calls\n(trap '' TERM; while :; do sleep 0.05; done) &\n`,
    };
    await subhosts.up('a', { START: '/svc' }, { services, root: called });
    const started = Date.now();
    expect(await words('--kill', 'a')).to.deep.equal({ code: 0, stdout: 'a: stopped\n', stderr: '' });
    expect(Date.now() - started).to.be.lessThan(3_000);
    expect(subhosts.calls('a')).to.deep.equal(['svc start']);
  });

  it('ends what overlay-go runs, too', async () => {
    await subhosts.up('a');
    const inside = subhosts.sandbox.spawn(['overlay-go', 'a', 'sleep', '1000']);
    await eventually(
      'it sleeps',
      async () => (await subhosts.sandbox.run(['pgrep', '-x', 'sleep'])).code === 0,
    );
    expect((await words('a')).stdout).to.equal('a: stopped\n');
    expect((await inside.completed(5_000)).code).not.to.equal(0);
  });

  it('ends a boot under way, which says so and leaves nothing', async () => {
    const conf = await subhosts.make(
      'a',
      { START: '/svc', CABLES: '=' },
      { services: { svc: '#!/bin/sh\nsleep 1000\n' } },
    );
    const booting = subhosts.sandbox.spawn(['overlay-boot', conf]);
    await eventually('it starts', () => subhosts.record('a')?.step === 'start');
    expect((await words('--kill', 'a')).code).to.equal(0);
    const { code, stderr } = await booting.completed(10_000);
    expect(code).to.equal(1);
    expect(stderr).to.match(
      /^overlay-boot: a: stopped by overlay-stop --kill a \(pid \d+\) before it was ready \(log: \/var\/log\/overlay-boot\/a\.log\)\n$/,
    );
  });

  it('has a boot under way fail whose services end when they are told to, and so are started', async () => {
    const services = {
      first: "#!/bin/sh\ntrap 'echo ended >/ended; exit 0' TERM\nsleep 1000 & wait\n",
      last: '#!/bin/sh\necho last >>/ended\n',
    };
    const conf = await subhosts.make('a', { START: '/first /last' }, { services });
    subhosts.write('/etc/overlay-boot/conf.d/grace.conf', '[timeouts]\ngrace = 0.4\n');
    try {
      const booting = subhosts.sandbox.spawn(['overlay-boot', conf]);
      await eventually(
        'the first sleeps',
        async () => (await subhosts.sandbox.run(['pgrep', '-x', 'sleep'])).code === 0,
      );
      expect((await words('a')).code).to.equal(0);
      const { code, stdout, stderr } = await booting.completed(20_000);
      expect([code, stdout]).to.deep.equal([1, '']);
      expect(stderr).to.match(/^overlay-boot: a: stopped by overlay-stop a \(pid \d+\) before it was ready /);
      expect(subhosts.record('a')).to.equal(undefined);
    } finally {
      await subhosts.sandbox.sh('rm -r /etc/overlay-boot');
    }
  });

  it('--all stops those that are not listed first, then the listed ones in reverse', async () => {
    for (const name of ['a', 'b', 'c']) await subhosts.up(name);
    subhosts.write('/etc/subhosts.conf', `${subhosts.base('c')}/c.conf\n${base}/a.conf\n`);
    try {
      expect(await words('--all')).to.deep.equal({
        code: 0,
        stdout: 'b: stopped\na: stopped\nc: stopped\n',
        stderr: '',
      });
      expect(await words('--all')).to.deep.equal({ code: 0, stdout: '', stderr: '' });
    } finally {
      await subhosts.sandbox.sh('rm /etc/subhosts.conf');
    }
  });

  it('stops nothing when one of its arguments is wrong', async () => {
    await subhosts.up('a');
    const { code, stderr } = await words('/no/such.conf', 'a');
    expect([code, stderr]).to.deep.equal([2, 'overlay-stop: /no/such.conf: there is no such file\n']);
    expect(subhosts.record('a')?.phase).to.equal('running');
  });

  it('of two calls at once both succeed', async () => {
    await subhosts.up('a', { CABLES: '=' });
    const both = await Promise.all([words('a'), words('a')]);
    expect(both.map(({ code, stderr }) => `${code} ${stderr}`)).to.deep.equal(['0 ', '0 ']);
  });

  it('leaves an interface and a namespace of somebody else alone that have its names now', async () => {
    await subhosts.up('a', { CABLES: '=' });
    const record = subhosts.record('a');
    await subhosts.sandbox.sh(`kill -KILL ${record?.keeper.pid}; ip link del a0`);
    await eventually(
      'pid 1 is gone',
      async () => (await subhosts.sandbox.run(['kill', '-0', `${record?.init.pid}`])).code !== 0,
    );
    await subhosts.sandbox.sh(
      'ip netns del a; ip netns add a; ip link add a0 type veth peer name du1; ip link set a0 alias mine',
    );
    const { code, stderr } = await words('a');
    expect(code).to.equal(1);
    expect(stderr).to.match(
      /^overlay-stop: a: left behind: network namespace of somebody else at \/run\/netns\/a; link of somebody else a0\n$/,
    );
    expect(
      await subhosts.sandbox.sh(
        'ip netns list; ip -o link show a0 | grep -c a0; ip netns del a; ip link del a0',
      ),
    ).to.match(/^a\b.*\n1\n$/);
    expect((await words('a')).code).to.equal(0);
  });

  it('leaves nothing of a subhost whose record cannot be read', async () => {
    await subhosts.sandbox.sh('mkdir -p /run/overlay-boot/a; echo "{" >/run/overlay-boot/a/state.json');
    const { code, stdout, stderr } = await words('a');
    expect([code, stdout]).to.deep.equal([0, 'a: not running\n']);
    expect(stderr).to.match(/^overlay-stop: \/run\/overlay-boot\/a\/state.json is no record of a subhost/);
  });
});
