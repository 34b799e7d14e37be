/** A whole machine with systemd: installed, rebooted, upgraded, and purged. */
import { expect } from 'chai';
import { MACHINE_TEST_TIMEOUT_MS, useMachine } from './machine.js';
import { configure, install, REACHABLE, TRACES, usePackages } from './subhosts.js';

describe('on a Debian machine with systemd', function () {
  this.timeout(MACHINE_TEST_TIMEOUT_MS);
  const machine = useMachine('systemd', usePackages('one', 'two'));
  const sh = (script: string): Promise<string> => machine().sh(script);

  it('installs with apt, without a network, and is enabled', async () => {
    await machine().boot();
    await sh(install('one'));
    expect(await sh('systemctl is-enabled subhosts && systemctl is-active subhosts')).to.equal(
      'enabled\nactive',
    );
    expect(await sh('overlay-boot --version; command -v mount.mstack')).to.match(
      /^overlay-boot \d.*\n\/usr\/sbin\//,
    );
    expect(await sh('ls /usr/lib/overlay-boot/dist/cli/overlay-boot.bundle.js.v* | wc -l')).to.equal('1');
  });

  it('starts what is listed when systemd has read the list', async () => {
    await configure(machine());
    await sh('systemctl daemon-reload; systemctl start subhosts@web subhosts@tag');
    expect(await sh('systemctl is-active subhosts@web subhosts@tag')).to.equal('active\nactive');
  });

  it('stops services in reverse order when the host goes down, and unmounts everything', async () => {
    await sh(`
      mkdir -p /opt/subhost/hand/root/var; cd /opt/subhost/hand
      printf 'BASE=.\\nSTART=/noting\\n' >hand.conf
      printf '#!/bin/sh\\necho "hand $1" >>/var/notes; sync\\n' >root/noting
      chmod 755 root/noting
      overlay-boot --mkdir hand.conf`);
    const shown = await machine().reboot();
    expect(await sh('head -n 4 /opt/subhost/web/root/var/notes')).to.equal(
      'first start\nsecond start\nsecond stop\nfirst stop',
    );
    expect(await sh('cat /opt/subhost/hand/root/var/notes'), 'booted by hand').to.equal(
      'hand start\nhand stop',
    );
    expect(shown).to.not.match(/Failed unmounting|Failed to unmount|timed out|still mounted/i);
  });

  it('has started what is listed after the reboot, and it answers over the network', async () => {
    await machine().eventually('both subhosts answer', REACHABLE);
  });

  it('shows them as units of systemd', async () => {
    expect(await sh('systemctl is-active subhosts subhosts@web subhosts@tag')).to.equal(
      'active\nactive\nactive',
    );
    expect(await sh('systemctl status subhosts@web')).to.match(/Main PID: \d+ \(/);
    expect(await sh('service subhosts status')).to.include('subhosts.service');
    expect(await sh('systemctl --failed --no-legend --plain')).to.equal('');
  });

  it('holds a subhost to its limits, and the host is fine', async () => {
    await sh(`
      mkdir -p /opt/subhost/small; cd /opt/subhost/small
      printf 'BASE=.\\nSTART=none\\nMEMORY_MAX=40M\\nCPU_MAX=20\\nPIDS_MAX=20\\n' >small.conf
      overlay-boot --mkdir small.conf`);
    const group = await sh('find /sys/fs/cgroup -type d -path "*overlay-boot/small"');
    const memory = await machine().run(
      'overlay-go small sh -c "head -c 200000000 /dev/zero | tail -c 150000000 | wc -c"',
    );
    expect(memory.output, 'memory').to.not.include('150000000');
    await sh(`grep -q '^oom_kill [1-9]' ${group}/memory.events`);
    const forks = await machine().run(
      'overlay-go small sh -c "seq 40 | while read -r i; do sleep 600 & done; wait"',
    );
    expect(forks.output, 'processes').to.match(/fork|Resource temporarily unavailable/i);
    await sh(`
      grep -q '^max [1-9]' ${group}/pids.events
      for pid in $(cat ${group}/cgroup.procs); do grep -qx sleep /proc/$pid/comm && kill $pid || true; done`);
    await machine().eventually('there is room for processes again', 'overlay-go small true');
    // In per cent of the processor, all of which the loop would take; measured from when it has begun, and been held back.
    const percent = await sh(`
      overlay-go small sh -c 'while :; do :; done' &
      usage() { sed -n 's/^usage_usec //p' ${group}/cpu.stat; }
      throttled() { sed -n 's/^nr_throttled //p' ${group}/cpu.stat; }
      loop() { for pid in $(cat ${group}/cgroup.procs); do grep -qz 'while :' /proc/$pid/cmdline && echo $pid; done; true; }
      until [ "$(loop)" ]; do sleep 0.2; done
      before=$(throttled); until [ "$(throttled)" -gt "$before" ]; do sleep 0.2; done
      from=$(usage); begin=$(date +%s%N); sleep 5; to=$(usage); end=$(date +%s%N)
      echo $(((to - from) * 100000 / (end - begin)))
      kill $(loop); wait`);
    expect(Number(percent), 'processor').to.be.within(5, 30);
    expect(await sh('systemctl --failed --no-legend --plain')).to.equal('');
  });

  it('kills everything of the control group of a subhost that does not end', async () => {
    const group = await sh('find /sys/fs/cgroup -type d -path "*overlay-boot/small"');
    // What forks on and ignores signals, and what pid 1 of the subhost does not take along: it is outside of its namespace.
    await sh(`
      test -w ${group}/cgroup.kill
      overlay-go small sh -c 'trap "" TERM HUP INT QUIT; (while :; do sleep 600 & done) >/dev/null 2>&1 &'
      setsid sleep 987654 & echo $! >${group}/cgroup.procs
      grep -qx 'populated 1' ${group}/cgroup.events`);
    expect(await sh('overlay-stop --kill small')).to.equal('small: stopped');
    await sh(`test ! -e ${group}`);
    await machine().eventually(
      'all are gone',
      `if pgrep -f 'sleep 987654' || grep -ls overlay-boot/small /proc/[0-9]*/cgroup; then exit 1; fi`,
    );
  });

  it('keeps subhosts running over an upgrade, and the new commands manage them', async () => {
    const before = await sh('cat /run/overlay-boot/web/pid /run/overlay-boot/tag/pid');
    await sh(install('two'));
    expect(await sh('dpkg-query -W overlay-boot | cut -f 2')).to.equal('0.1.0~two');
    expect(await sh('cat /run/overlay-boot/web/pid /run/overlay-boot/tag/pid')).to.equal(before);
    await sh(REACHABLE);
    await sh('systemctl is-active subhosts subhosts@web subhosts@tag');
    await sh(
      'overlay-share /srv web /srv; overlay-go web test -d /srv/files; overlay-share --remove /srv web /srv',
    );
  });

  it('stops and starts a subhost by its unit', async () => {
    await sh('systemctl stop subhosts@tag');
    expect((await machine().run('systemctl is-active subhosts@tag')).output).to.equal('inactive\n');
    expect(await sh('overlay-status --json tag')).to.include('stopped');
    await sh('systemctl start subhosts@tag');
    await machine().eventually('both subhosts answer', REACHABLE);
  });

  it('runs a wafer stack with systemd-nspawn, and as a machine of machinectl', async () => {
    // A system to boot: the machine's own, without what is of this machine.
    await sh(`
      mkdir -p /var/lib/wafers/system/data /etc/systemd/nspawn
      mount --bind / /var/lib/wafers/system/data
      wafers stack guest system
      cd /var/lib/machines/guest/etc
      rm fstab subhosts.conf network/interfaces.d/subhosts
      for unit in test-agent ssh rsyslog networking; do ln -sf /dev/null systemd/system/$unit.service; done
      echo guest >hostname
      printf '[Exec]\\nPrivateUsers=no\\n[Network]\\nVirtualEthernet=no\\n' >/etc/systemd/nspawn/guest.nspawn`);
    const up = 'systemctl -M guest is-active multi-user.target';
    await sh('systemd-run --quiet systemd-nspawn --console=pipe -bD /var/lib/machines/guest');
    await machine().eventually('it is up', up);
    expect(
      await sh('systemd-run --quiet -M guest --pipe --wait sh -c "hostname; echo inside >/made"'),
    ).to.equal('guest');
    await sh('machinectl poweroff guest');
    await machine().eventually('it is off', '! machinectl show guest');
    expect(await sh('cat /var/lib/wafers/guest/data/made; test ! -e /made')).to.equal('inside');
    await sh('machinectl start guest');
    await machine().eventually('it is up again', up);
    expect(await sh('wafers tree')).to.include('guest');
    await sh('machinectl terminate guest');
    await machine().eventually('it is off', '! machinectl show guest');
    await sh(
      'wafers unstack guest; umount /var/lib/wafers/system/data; rm -r /etc/systemd/nspawn/guest.nspawn',
    );
  });

  it('stops what runs when it is removed, and starts it when it is installed again', async () => {
    await sh(
      'systemctl enable --quiet subhosts@web; DEBIAN_FRONTEND=noninteractive apt-get remove -q -y overlay-boot',
    );
    expect(
      await sh('find /run/netns /run/overlay-boot -mindepth 1; ip -br link | grep -E "^(web|tag)" || true'),
    ).to.equal('');
    await sh(install('two'));
    expect(await sh('ls /var/lib/overlay-boot 2>/dev/null || true')).to.equal('');
  });

  it('leaves nothing after a purge but what the administrator made', async () => {
    await machine().eventually('both subhosts answer', REACHABLE);
    await sh('DEBIAN_FRONTEND=noninteractive apt-get purge -q -y overlay-boot');
    const left = (await sh(TRACES)).split('\n').filter(Boolean);
    expect(
      left.filter(
        (path) =>
          !/^\/var\/(log\/(apt|dpkg)|lib\/wafers|cache\/apt)|^\/etc\/network\/interfaces.d\/subhosts$/.test(
            path,
          ),
      ),
    ).to.deep.equal([]);
    expect(await sh('cat /opt/subhost/web/root/etc/network/interfaces')).to.include('192.0.2.2');
    expect(await sh('systemctl --failed --no-legend --plain')).to.equal('');
  });
});
