/** A whole machine with sysvinit, as Devuan runs: installed, rebooted, and removed. */
import { expect } from 'chai';
import { useMachine } from './machine.js';
import { configure, install, REACHABLE, usePackages } from './subhosts.js';

describe('on a Debian machine with sysvinit', function () {
  this.timeout(600_000);
  const machine = useMachine('sysvinit', usePackages());
  const sh = (script: string): Promise<string> => machine().sh(script);

  it('installs with apt, and its script is in the runlevels', async () => {
    await machine().boot();
    expect(await sh('cat /proc/1/comm')).to.equal('init');
    await sh(install('one'));
    expect(await sh('ls /etc/rc0.d /etc/rc2.d /etc/rc6.d | grep -o ".*subhosts"')).to.match(
      /^K\d+subhosts\nS\d+subhosts\nK\d+subhosts$/,
    );
    expect((await machine().run('service subhosts status')).status).to.equal(3);
  });

  it('starts what is listed after a reboot, and it answers over the network', async () => {
    await configure(machine());
    await machine().reboot();
    await machine().eventually('both subhosts answer', REACHABLE, 120_000);
    expect(await sh('service subhosts status')).to.match(/^NAME.*\n(.*running.*\n?){2}$/);
  });

  it('stops and starts them by its script', async () => {
    await sh('service subhosts stop');
    const { status, output } = await machine().run('service subhosts status');
    expect([status, output.match(/stopped/g)?.length]).to.deep.equal([3, 2]);
    expect(await sh('ip -br link | grep -E "^(web|tag)" || true')).to.equal('');
    await sh('service subhosts start');
    await machine().eventually('both subhosts answer', REACHABLE);
  });

  it('stops services in reverse order when the host goes down, and unmounts everything', async () => {
    await sh('overlay-go web rm /var/notes');
    const shown = await machine().reboot();
    expect(await sh('head -n 2 /opt/subhost/web/root/var/notes')).to.equal('second stop\nfirst stop');
    expect(shown)
      .to.include('Stopping subhosts')
      .and.not.match(/busy|failed to unmount/i);
  });

  it('stops what runs when it is removed, and leaves no link in the runlevels after a purge', async () => {
    await machine().eventually('both subhosts answer', REACHABLE, 120_000);
    await sh('DEBIAN_FRONTEND=noninteractive apt-get remove -q -y overlay-boot');
    expect(
      await sh('find /run/netns /run/overlay-boot -mindepth 1; ip -br link | grep -E "^(web|tag)" || true'),
    ).to.equal('');
    expect(await sh('cat /etc/subhosts.conf'), 'until the purge').to.include('/opt/subhost/web/web.conf');
    await sh('dpkg --purge overlay-boot');
    expect(
      await sh(
        'ls -d /etc/rc*.d/*subhosts /etc/subhosts.conf /etc/overlay-boot /var/log/overlay-boot 2>/dev/null || true',
      ),
    ).to.equal('');
  });
});
