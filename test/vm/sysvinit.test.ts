/** A whole machine with sysvinit, as Devuan runs: installed, rebooted, cut off from its power, and removed. */
import { expect } from 'chai';
import { MACHINE_TEST_TIMEOUT_MS, useMachine } from './machine.js';
import { configure, install, REACHABLE, STACKPOINT, usePackages } from './subhosts.js';

describe('on a Debian machine with sysvinit', function () {
  this.timeout(MACHINE_TEST_TIMEOUT_MS);
  const machine = useMachine('sysvinit', usePackages('one'));
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

  it('starts what is listed by its script', async () => {
    await configure(machine());
    await sh('service subhosts start');
    await machine().eventually('both subhosts answer', REACHABLE);
    expect(await sh('service subhosts status')).to.match(/^NAME.*\n(.*running.*\n?){2}$/);
  });

  it('stops services in reverse order when the host goes down, and unmounts everything', async () => {
    await sh(STACKPOINT);
    expect(await machine().reboot())
      .to.include('Stopping subhosts')
      .and.not.match(/busy|failed to unmount/i);
    expect(await sh('head -n 4 /opt/subhost/web/root/var/notes')).to.equal(
      'first start\nsecond start\nsecond stop\nfirst stop',
    );
  });

  it('has started what is listed after the reboot, and it answers over the network', async () => {
    await machine().eventually('both subhosts answer', REACHABLE);
  });

  it('stops them by its script', async () => {
    await sh('service subhosts stop');
    const { status, output } = await machine().run('service subhosts status');
    expect([status, output.match(/stopped/g)?.length]).to.deep.equal([3, 2]);
    expect(await sh('ip -br link | grep -E "^(web|tag)" || true')).to.equal('');
  });

  it('mounts a stackpoint again after the reboot, with what was changed in it', async () => {
    expect((await machine().run('stacko is-stackpoint-mounted app')).status).to.equal(1);
    expect(await sh('stacko mount-stackpoint app >/dev/null; cat /var/lib/machines/app/*')).to.equal(
      '1\nmine\nlib',
    );
  });

  it('loses nothing when the power is cut during imports and cutovers', async () => {
    await sh(`
      cd /srv; echo 2 >app; tar -cf app.tar app; stacko import-image app.tar app-2 libs
      mkdir /srv/made; cd /srv/made; for i in $(seq 200); do echo "$i" >"$i"; done; tar -cf ../made.tar .
      sync`);
    await sh(`
      work() {
        exec >/dev/null 2>&1
        n=0; while :; do n=$((n + 1)); stacko import-image /srv/made.tar "made-$n" && echo "$n" >/run/imports || true; done &
        n=0; while :; do n=$((n + 1)); stacko cutover-stackpoint app "app-$((n % 2 + 1))" && echo "$n" >/run/cutovers || true; done &
      }
      (work)`);
    await machine().eventually('work goes on', 'test -e /run/imports -a -e /run/cutovers');
    await machine().powerCut();
    await machine().boot();
    await sh(
      'stacko list-images --json >/run/images; stacko list-stackpoints --json >/run/points; wafers tree >/dev/null',
    );
    const app = await sh(
      'stacko mount-stackpoint app >/dev/null; cat /var/lib/machines/app/app; cat /var/lib/machines/app/lib',
    );
    expect(app).to.match(/^[12]\nlib$/);
    await sh('stacko cutover-stackpoint app app-1 >/dev/null');
    expect(await sh('cat /var/lib/machines/app/changed')).to.equal('mine');
    // An image that is listed is whole, and its name is taken; that of another one is free.
    const whole = await sh(`
      for dir in /var/lib/wafers/made-*/data; do
        [ -d "$dir" ] || continue
        name=$(basename "\${dir%/data}")
        stacko export-image "$name" /srv/exported.tar >/dev/null 2>&1 || continue
        test "$(tar -tf /srv/exported.tar | grep -c '[0-9]$')" = 200 || echo "$name is not whole"
        rm /srv/exported.tar
      done
      stacko import-image /srv/made.tar again >/dev/null 2>&1; ls /var/lib/wafers/again/data | wc -l`);
    expect(whole).to.equal('200');
    await machine().eventually('both subhosts answer', REACHABLE);
  });

  it('stops what runs when it is removed, and starts it when it is installed again', async () => {
    await sh('DEBIAN_FRONTEND=noninteractive apt-get remove -q -y overlay-boot');
    expect(
      await sh('find /run/netns /run/overlay-boot -mindepth 1; ip -br link | grep -E "^(web|tag)" || true'),
    ).to.equal('');
    expect(await sh('cat /etc/subhosts.conf'), 'until the purge').to.include('/opt/subhost/web/web.conf');
    await sh('dpkg -i /srv/files/overlay-boot_*.deb');
    await machine().eventually('both subhosts answer', REACHABLE);
  });

  it('leaves no link in the runlevels after a purge', async () => {
    await sh('dpkg --purge overlay-boot');
    const left = await sh(`
      find /run/netns /run/overlay-boot -mindepth 1 2>/dev/null || true
      ip -br link | grep -E "^(web|tag)" || true
      ls -d /etc/rc*.d/*subhosts /etc/subhosts.conf /etc/overlay-boot /var/log/overlay-boot /var/lib/overlay-boot \\
        2>/dev/null || true`);
    expect(left).to.equal('');
  });
});
