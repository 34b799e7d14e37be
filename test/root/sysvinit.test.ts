/** conf.d/subhosts, driven as init would; its exit codes are the LSB's ("Init Script Actions"). */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect } from 'chai';
import { type Completed, eventually, PROJECT, useSandbox } from '../helpers/namespaces.js';

const SCRIPT = join(PROJECT, 'conf.d/subhosts');

describe('the sysvinit script', () => {
  const sandbox = useSandbox();
  const subhosts = (...args: string[]): Promise<Completed> => sandbox().run(['/bin/sh', SCRIPT, ...args]);

  /** NAME and pid 1 of the subhosts that have a pid namespace of their own, by their host name. */
  const running = async (): Promise<string[]> =>
    (await sandbox().sh('ls /run/netns 2>/dev/null || true')).split('\n').filter(Boolean);
  const keeperOf = async (name: string): Promise<number> =>
    Number(await sandbox().sh(`cat /run/overlay-boot/${name}/pid`));

  before(async () => {
    // The script has a PATH of its own, as an init script should; the sandbox's /usr is the machine's.
    await sandbox().sh(`
      mount -t tmpfs -o mode=755 tmpfs /usr/local/sbin
      ln -s ${process.execPath} /usr/local/sbin/node
      ln -s ${PROJECT}/bin/overlay-* /usr/local/sbin/
      for name in one two; do
        mkdir -p /opt/subhost/$name/root /opt/subhost/$name/work /opt/subhost/$name/live
        printf 'BASE=.\\nSTART=none\\n' >/opt/subhost/$name/$name.conf
      done
      mkdir -p /var/log/overlay-boot
      cp ${PROJECT}/conf.d/subhosts.conf /etc/subhosts.conf
    `);
  });

  const list = (...names: string[]): Promise<void> =>
    sandbox().writeFile(
      '/etc/subhosts.conf',
      names.map((name) => `/opt/subhost/${name}/${name}.conf\n`).join(''),
    );

  beforeEach(async () => list('one', 'two'));
  afterEach(async () => {
    await subhosts('stop');
  });

  it('has an LSB header with what update-rc.d reads', () => {
    const header = /^### BEGIN INIT INFO\n([\s\S]*?)^### END INIT INFO$/m.exec(
      readFileSync(SCRIPT, 'utf8'),
    )?.[1];
    for (const field of [
      'Provides',
      'Required-Start',
      'Required-Stop',
      'Default-Start',
      'Default-Stop',
      'Short-Description',
    ])
      expect(header).to.match(new RegExp(`^# ${field}: +\\S`, 'm'));
    expect(header).to.match(/^# Provides: +subhosts$/m);
  });

  it('starts every listed subhost, and again with success', async () => {
    expect((await subhosts('start')).code).to.equal(0);
    expect(await running()).to.deep.equal(['one', 'two']);
    const keeper = await keeperOf('one');
    expect((await subhosts('start')).code).to.equal(0);
    expect(await keeperOf('one')).to.equal(keeper);
  });

  it('starts with success when nothing is listed, as in the file that is installed', async () => {
    await sandbox().sh(`cp ${PROJECT}/conf.d/subhosts.conf /etc/subhosts.conf`);
    expect((await subhosts('start')).code).to.equal(0);
    expect(await running()).to.deep.equal([]);
    expect((await subhosts('status')).code).to.equal(3);
  });

  it('stops all that run, and again with success', async () => {
    await subhosts('start');
    expect((await subhosts('stop')).code).to.equal(0);
    expect(await running()).to.deep.equal([]);
    expect((await subhosts('stop')).code).to.equal(0);
  });

  it('has status 3 before, 0 when all run, 1 when one is stopped, 3 after', async () => {
    expect((await subhosts('status')).code).to.equal(3);
    await subhosts('start');
    const { code, stdout } = await subhosts('status');
    expect(code).to.equal(0);
    expect(stdout).to.match(/^one +running/m);
    await sandbox().sh('overlay-stop one');
    expect((await subhosts('status')).code).to.equal(1);
    await subhosts('stop');
    expect((await subhosts('status')).code).to.equal(3);
  });

  it('has status 1 when one has died', async () => {
    await list('one');
    await subhosts('start');
    await sandbox().sh(`kill -KILL ${await keeperOf('one')}`);
    await eventually('one is gone', async () => (await subhosts('status')).code !== 0);
    expect((await subhosts('status')).code).to.equal(1);
    expect((await subhosts('start')).code).to.equal(0);
    expect((await subhosts('status')).code).to.equal(0);
  });

  for (const action of ['restart', 'force-reload', 'try-restart'])
    it(`replaces what runs on ${action}`, async () => {
      await subhosts('start');
      const keeper = await keeperOf('two');
      expect((await subhosts(action)).code).to.equal(0);
      expect(await running()).to.deep.equal(['one', 'two']);
      expect(await keeperOf('two')).not.to.equal(keeper);
    });

  it('starts on restart what does not run, and leaves it alone on try-restart', async () => {
    expect((await subhosts('try-restart')).code).to.equal(0);
    expect(await running()).to.deep.equal([]);
    expect((await subhosts('restart')).code).to.equal(0);
    expect(await running()).to.deep.equal(['one', 'two']);
  });

  it('ends with 6 for a wrong conf, with the reason', async () => {
    await sandbox().writeFile('/opt/subhost/bad/bad.conf', 'NAME=bad\n');
    await list('bad');
    const { code, stderr } = await subhosts('start');
    expect(code).to.equal(6);
    expect(stderr).to.match(/^overlay-boot: .*BASE/m);
  });

  it('ends with 1 for a subhost that does not boot, and boots the others', async () => {
    await sandbox().sh(
      'mkdir -p /opt/subhost/unlogged/root /opt/subhost/unlogged/work /opt/subhost/unlogged/live',
    );
    await sandbox().writeFile(
      '/opt/subhost/unlogged/unlogged.conf',
      'BASE=.\nSTART=none\nLOG=/proc/no.log\n',
    );
    await list('one', 'unlogged');
    const { code, stderr } = await subhosts('start');
    expect(code).to.equal(1);
    expect(stderr).to.match(/^overlay-boot: .*\/proc\/no\.log/m);
    expect(await running()).to.deep.equal(['one']);
    expect((await subhosts('status')).code).to.equal(1);
  });

  it('ends with 2 and its usage for an unknown action', async () => {
    for (const args of [['reload'], []]) {
      const { code, stderr } = await subhosts(...args);
      expect(code).to.equal(2);
      expect(stderr).to.match(/^usage: .*subhosts start\|stop\|restart/);
    }
  });

  it('ends with 4 for a user who may not, except for status', async () => {
    const asNobody = (action: string): Promise<Completed> =>
      sandbox().run([
        'setpriv',
        '--reuid=65534',
        '--regid=65534',
        '--clear-groups',
        '/bin/sh',
        SCRIPT,
        action,
      ]);
    for (const action of ['start', 'stop']) {
      const { code, stderr } = await asNobody(action);
      expect({ code, stderr }).to.deep.equal({ code: 4, stderr: `subhosts: ${action} needs root\n` });
    }
    expect((await asNobody('status')).code).to.equal(3);
  });

  it('says that overlay-boot is not installed: 5, for status 4, and nothing to stop', async () => {
    await sandbox().sh('mv /usr/local/sbin/overlay-boot /usr/local/sbin/away');
    try {
      const codes = [];
      for (const action of ['start', 'status', 'stop']) codes.push((await subhosts(action)).code);
      expect(codes).to.deep.equal([5, 4, 0]);
      expect((await subhosts('start')).stderr).to.equal('subhosts: overlay-boot is not installed\n');
    } finally {
      await sandbox().sh('mv /usr/local/sbin/away /usr/local/sbin/overlay-boot');
    }
  });
});
