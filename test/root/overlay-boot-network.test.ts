/** Cables on a real kernel; the host's ifup and ifdown are stand-ins on PATH that record their calls. */
import { dirname } from 'node:path';
import { expect } from 'chai';
import type { Completed } from '../helpers/namespaces.js';
import { type ConfValues, useSubhosts } from '../helpers/subhosts.js';

interface Link {
  readonly ifname: string;
  readonly flags: readonly string[];
  readonly address: string;
  readonly master?: string;
  readonly ifalias?: string;
}

describe('overlay-boot: cables', () => {
  const subhosts = useSubhosts();
  const base = '/opt/subhost/a';

  const linksOf = async (command: string): Promise<Record<string, Link>> => {
    const links = JSON.parse(await subhosts.sandbox.sh(command)) as Link[];
    return Object.fromEntries(
      links.filter(({ ifname }) => ifname !== 'lo').map((link) => [link.ifname, link]),
    );
  };
  const outside = (): Promise<Record<string, Link>> => linksOf('ip -j link');
  const inside = (name: string): Promise<Record<string, Link>> => linksOf(`ip -n ${name} -j link`);
  const isUp = (link: Link | undefined): boolean => link?.flags.includes('UP') ?? false;

  /** Directories of PATH without a stand-in: no ifup is found there. */
  const WITHOUT = { PATH: '/srv/t/nothing' };
  /** Stand-ins that know `stanzas`; what they are asked is a line each of /srv/t/ifcalls. */
  function standIns(stanzas: string, ifup = ''): { PATH: string } {
    for (const program of ['ifup', 'ifdown'])
      subhosts.write(
        `/srv/t/ifupdown/${program}`,
        `#!/bin/sh
for interface; do :; done
echo "${program} $*$(ip link show "$interface" >/dev/null 2>&1 && echo ' (there)')" >>/srv/t/ifcalls
case " ${stanzas} " in *" $interface "*) ;; *) echo "${program}: unknown interface $interface" >&2; exit 1 ;; esac
${program === 'ifup' ? ifup : ''}
`,
        0o755,
      );
    return { PATH: '/srv/t/ifupdown:/usr/sbin:/usr/bin:/sbin:/bin' };
  }
  const ifcalls = (): string[] => (subhosts.file('/srv/t/ifcalls') ?? '').split('\n').filter(Boolean);
  /** Boots with a PATH of its own, at whose end is only what the command itself is started by. */
  const bootWith = async (
    conf: string,
    { PATH }: { PATH: string },
    ...options: string[]
  ): Promise<Completed> => {
    await subhosts.sandbox.sh(
      `mkdir -p /srv/t/starting; ln -sf ${process.execPath} "$(command -v readlink)" /srv/t/starting/`,
    );
    const start = 'command=$(command -v overlay-boot); export PATH="$P"; exec "$command" "$@"';
    return await subhosts.sandbox.run(['/bin/sh', '-c', start, 'sh', ...options, conf], {
      env: { P: `${PATH}:/srv/t/starting` },
      timeoutMs: 20_000,
    });
  };
  afterEach(async () => {
    await subhosts.sandbox.sh('rm -rf /srv/t/ifcalls /srv/t/ifupdown /srv/t/starting');
  });

  it('are veth pairs NAMEn and ethn, set up on the host where there is no ifup, and gone after the stop', async () => {
    const conf = await subhosts.make('a', { CABLES: '= =02:00:00:00:00:0A =' });
    const { code, stderr } = await bootWith(conf, WITHOUT);
    expect(code, stderr).to.equal(0);
    const host = await outside();
    expect(Object.keys(host)).to.have.members(['a0', 'a1', 'a2']);
    for (const link of Object.values(host))
      expect([isUp(link), link.ifalias]).to.deep.equal([true, 'overlay-boot:a']);
    const own = await inside('a');
    expect(Object.keys(own)).to.have.members(['eth0', 'eth1', 'eth2']);
    expect(own.eth1?.address).to.equal('02:00:00:00:00:0a');
    expect(await subhosts.sandbox.sh('ip netns list')).to.match(/^a\b/);
    await subhosts.stop('a');
    expect(await outside()).to.deep.equal({});
    expect(await subhosts.sandbox.sh('ip netns list')).to.equal('');
  });

  it('carry packets; lo is up inside', async () => {
    const conf = await subhosts.make('a', { CABLES: '=' });
    await bootWith(conf, WITHOUT);
    await subhosts.sandbox.sh(
      'ip addr add 192.0.2.1/24 dev a0; ip -n a addr add 192.0.2.2/24 dev eth0; ip -n a link set eth0 up',
    );
    expect(
      await subhosts.sandbox.sh('ip netns exec a ping -c 1 -W 2 127.0.0.1; ping -c 1 -W 2 192.0.2.2'),
    ).to.match(/( 0% packet loss[\s\S]*){2}/);
  });

  it('none is a network with lo only', async () => {
    await subhosts.up('a');
    expect(await inside('a')).to.deep.equal({});
    expect(await outside()).to.deep.equal({});
  });

  it('with a bridge are its ports and up, and are not left to ifup', async () => {
    await subhosts.sandbox.sh('ip link add br7 type bridge');
    try {
      const conf = await subhosts.make('a', { CABLES: 'br7= br7=02:00:00:00:00:01' });
      expect((await bootWith(conf, standIns('a0 a1'))).code).to.equal(0);
      const host = await outside();
      for (const name of ['a0', 'a1'])
        expect([host[name]?.master, isUp(host[name])]).to.deep.equal(['br7', true]);
      expect(ifcalls()).to.deep.equal([]);
      await subhosts.stop('a');
    } finally {
      await subhosts.sandbox.sh('ip link del br7');
    }
  });

  it('without one are left to ifup, and to ifdown while they still exist', async () => {
    const conf = await subhosts.make('a', { CABLES: '= =' });
    const { code, stderr } = await bootWith(conf, standIns('a0 a1', 'ip link set "$interface" up'));
    expect(code, stderr).to.equal(0);
    expect(ifcalls()).to.deep.equal(['ifup -f a0 (there)', 'ifup -f a1 (there)']);
    await subhosts.stop('a');
    expect(ifcalls().slice(2)).to.deep.equal(['ifdown a1 (there)', 'ifdown a0 (there)']);
  });

  it('are set up where ifup has no stanza for them, and ifdown is not asked', async () => {
    const conf = await subhosts.make('a', { CABLES: '=' });
    const { code, stderr } = await bootWith(conf, standIns(''));
    expect(code, stderr).to.equal(0);
    expect(isUp((await outside()).a0)).to.equal(true);
    await subhosts.stop('a');
    expect(ifcalls()).to.deep.equal(['ifup -f a0 (there)']);
  });

  it('ifdown is asked too when the subhost ends by itself, and when a later step of the boot fails', async () => {
    const conf = await subhosts.make('a', { CABLES: '=' });
    const path = standIns('a0');
    await bootWith(conf, path);
    await subhosts.poke('a', '/run/dummy_service');
    await subhosts.gone('a');
    expect(ifcalls().slice(1)).to.deep.equal(['ifdown a0 (there)']);
    const failing = await subhosts.make('a', { CABLES: '=', SHARE: 'work:/etc/passwd' });
    expect((await bootWith(failing, path)).code).to.equal(1);
    expect(ifcalls().slice(2)).to.deep.equal(['ifup -f a0 (there)', 'ifdown a0 (there)']);
  });

  it('an ifup that fails fails the boot with its words, and ifdown takes back what it did', async () => {
    const conf = await subhosts.make('a', { CABLES: '=' });
    const { code, stderr } = await bootWith(
      conf,
      standIns('a0', 'echo no lease >&2; echo ifup: failed >&2; exit 1'),
    );
    expect([code, stderr.split('\n').length]).to.deep.equal([1, 2]);
    expect(stderr).to.match(
      /^overlay-boot: a: .*ifup -f a0: exit status 1: ifup: failed \(no lease\): see \/etc\/network\/interfaces/,
    );
    expect(ifcalls().at(-1)).to.equal('ifdown a0 (there)');
  });

  it('an ifup that hangs is ended with the boot', async () => {
    const conf = await subhosts.make('a', { CABLES: '=' });
    const path = standIns('a0', 'exec sleep 1000');
    const started = Date.now();
    const { code, stderr } = await bootWith(conf, path, '--timeout', '0.5');
    expect(code).to.equal(1);
    expect(stderr).to.match(/^overlay-boot: a: not ready within 0.5 s: it was at: cables/);
    expect(Date.now() - started).to.be.lessThan(10_000);
  });

  describe('VLANs', () => {
    // This kernel has no 8021q: that ifup made the link is a record of its calls here. With a bridge the link is
    // made by rtnetlink, which only the kernel's answer can be tested of.
    it('are left to ifup as NAMEn.N, with nothing inside, and the count does not advance', async () => {
      const conf = await subhosts.make('a', { CABLES: '= =.302 =.4095 =' });
      const { code, stderr } = await bootWith(conf, standIns('a0 a0.302 a0.4095 a1'));
      expect(code, stderr).to.equal(0);
      expect(Object.keys(await inside('a'))).to.have.members(['eth0', 'eth1']);
      expect(ifcalls()).to.deep.equal([
        'ifup -f a0 (there)',
        'ifup -f a0.302',
        'ifup -f a0.4095',
        'ifup -f a1 (there)',
      ]);
      await subhosts.stop('a');
      expect(ifcalls().slice(4)).to.deep.equal([
        'ifdown a1 (there)',
        'ifdown a0.4095',
        'ifdown a0.302',
        'ifdown a0 (there)',
      ]);
    });

    it('without a stanza for them fail the boot, with what to add', async () => {
      const conf = await subhosts.make('a', { CABLES: '= =.5' });
      const { code, stderr } = await bootWith(conf, standIns('a0'));
      expect(code).to.equal(2);
      expect(stderr).to.equal(
        `overlay-boot: ${conf}: CABLES: VLAN a0.5: /etc/network/interfaces has no stanza for a0.5: add "iface a0.5 …" there, or write BRIDGE=.5 (log: /var/log/overlay-boot/a.log)\n`,
      );
    });

    it('without any ifup fail the boot, saying so', async () => {
      const conf = await subhosts.make('a', { CABLES: '= =.5' });
      expect((await bootWith(conf, WITHOUT)).stderr).to.include('VLAN a0.5: there is no ifup here: ');
    });
  });

  const refusals: readonly [string, ConfValues, string, number, string][] = [
    [
      'there is no such bridge',
      { CABLES: 'nobr=' },
      ':',
      2,
      `${base}/a.conf: CABLES: there is no bridge nobr: make it with "ip link add nobr type bridge && ip link set nobr up"`,
    ],
    [
      'what is named as a bridge is none',
      { CABLES: 'du0=' },
      'ip link add du0 type veth peer name du1',
      2,
      `${base}/a.conf: CABLES: du0 is no bridge: name a bridge, or none`,
    ],
    [
      'an interface of that name exists',
      { CABLES: '=' },
      'ip link add a0 type veth peer name du1',
      1,
      `interface a0 exists already and is not left from subhost a: give it another name, or choose another NAME in ${base}/a.conf`,
    ],
    [
      "an interface of that name is another subhost's",
      { CABLES: '=' },
      'ip link add a0 type veth peer name du1; ip link set a0 alias overlay-boot:b',
      1,
      `interface a0 exists already and is not left from subhost a: give it another name, or choose another NAME in ${base}/a.conf`,
    ],
  ];
  for (const [title, values, prepare, code, message] of refusals)
    it(`are refused when ${title}, which stays as it is`, async () => {
      const conf = await subhosts.make('a', values);
      await subhosts.sandbox.sh(prepare);
      try {
        const before = await subhosts.sandbox.sh('ip -d link');
        const said = (await subhosts.refused(conf, { code })).map((line) =>
          line.replace(/^overlay-boot: (a: )?/, ''),
        );
        expect(said).to.deep.equal([message]);
        expect(await subhosts.sandbox.sh('ip -d link')).to.equal(before);
      } finally {
        await subhosts.sandbox.sh('ip link del du0 2>/dev/null || ip link del a0 2>/dev/null || true');
      }
    });

  it('a network namespace of that name which is not ours is refused, and stays', async () => {
    await subhosts.sandbox.sh('ip netns add a');
    try {
      const inode = await subhosts.sandbox.sh('stat -c %i /run/netns/a');
      expect(await subhosts.refused(await subhosts.make('a'))).to.deep.equal([
        'overlay-boot: a: network namespace a exists already and is not left from subhost a: choose another NAME, or "ip netns delete a" if nobody needs it',
      ]);
      expect(await subhosts.sandbox.sh('stat -c %i /run/netns/a')).to.equal(inode);
    } finally {
      await subhosts.sandbox.sh('ip netns del a');
    }
  });

  it('all mistakes on the host are told in one go', async () => {
    await subhosts.sandbox.sh('ip link add a0 type veth peer name du1');
    try {
      const lines = await subhosts.refused(await subhosts.make('a', { CABLES: 'nobr= other=' }), { code: 2 });
      expect(lines.map((line) => /interface a0|bridge (nobr|other):/.exec(line)?.[0])).to.deep.equal([
        'interface a0',
        'bridge nobr:',
        'bridge other:',
      ]);
    } finally {
      await subhosts.sandbox.sh('ip link del a0');
    }
  });

  it('of two subhosts do not hinder one another, and a boot straight after a stop finds no old one', async () => {
    const confs = [await subhosts.make('a', { CABLES: '=' }), await subhosts.make('b', { CABLES: '=' })];
    for (let round = 0; round < 3; round++) {
      const { code, stderr } = await subhosts.boot(confs);
      expect(code, stderr).to.equal(0);
      expect((await subhosts.stop('a', 'b')).code).to.equal(0);
    }
  });

  it('whose namespace somebody outside still holds: the stop names the process', async () => {
    await subhosts.up('a');
    const holder = subhosts.sandbox.spawn(['ip', 'netns', 'exec', 'a', 'sleep', '1000']);
    try {
      await subhosts.sandbox.sh(
        'until ip netns pids a | xargs -r ps -o comm= -p | grep -q sleep; do :; done',
      );
      const { code, stderr } = await subhosts.stop('a');
      expect(code).to.equal(0);
      expect(stderr).to.match(/^overlay-stop: a: process \d+ \(sleep\) still holds its network namespace\n$/);
    } finally {
      holder.kill('SIGKILL');
      await holder.completed();
    }
  });

  for (const cables of ['=', '!echo =']) {
    it(`of one whose record somebody has removed are taken back by the next boot, CABLES being ${cables}`, async () => {
      const conf = await subhosts.up('a', { CABLES: cables });
      const holder = subhosts.sandbox.spawn(['ip', 'netns', 'exec', 'a', 'sleep', '1000']);
      try {
        const { sandbox } = subhosts;
        await sandbox.sh('until ip netns pids a | xargs -r ps -o comm= -p | grep -q sleep; do :; done');
        const keeper = subhosts.record('a')?.keeper.pid;
        const old = await sandbox.sh(
          `rm -r /run/overlay-boot/a; kill -KILL ${keeper}; cat /sys/class/net/a0/ifindex`,
        );
        await sandbox.sh(`while kill -0 ${keeper} 2>/dev/null; do sleep 0.05; done`);
        expect((await subhosts.refused(conf)).join()).to.include('"ip netns delete a" if nobody needs it');
        await sandbox.sh('ip netns delete a');
        // The namespace lives on, and so do both ends of the cable.
        expect(await sandbox.sh('cat /sys/class/net/a0/ifindex')).to.equal(old);
        expect((await subhosts.boot([conf])).stdout).to.equal('a: running\n');
        expect(await sandbox.sh('cat /sys/class/net/a0/ifindex')).not.to.equal(old);
      } finally {
        holder.kill('SIGKILL');
        await holder.completed();
      }
    });
  }

  const unrecorded: readonly [title: string, values: ConfValues, elsewhere: boolean][] = [
    ['with none', {}, false],
    ['with one', { CABLES: '=' }, false],
    ['in another control group', { CABLES: '=' }, true],
    ['in another control group, CABLES being a command', { CABLES: '!echo =' }, true],
  ];
  for (const [title, values, elsewhere] of unrecorded)
    it(`of one that runs, its record removed by somebody, stay its own: ${title}`, async () => {
      const { sandbox } = subhosts;
      const conf = await subhosts.up('a', values);
      const pid = subhosts.pid1('a');
      const keeper = subhosts.record('a')?.keeper.pid;
      const cgroup = String(subhosts.record('a')?.cgroup);
      const other = `${dirname(cgroup)}/other`;
      if (elsewhere)
        await sandbox.sh(
          `mkdir ${other}; for pid in $(cat ${cgroup}/cgroup.procs); do echo $pid >${other}/cgroup.procs; done`,
        );
      await sandbox.sh('rm -r /run/overlay-boot/a; ip netns delete a');
      const links = await sandbox.sh(`nsenter -t ${pid} -n ip -o link`);
      // WORK would be in use.
      subhosts.write(conf, `${subhosts.file(conf)}UPPER=root2\nWORK=work2\n`);
      try {
        expect(await subhosts.refused(conf, { options: ['--mkdir'] })).to.deep.equal([
          `overlay-boot: a: it runs, but somebody has removed its record, /run/overlay-boot/a: process ${pid} is its pid 1: kill -KILL ${pid} ends it`,
        ]);
        expect(await sandbox.sh(`nsenter -t ${pid} -n ip -o link`)).to.equal(links);
      } finally {
        await sandbox.sh(`kill -KILL ${pid} || :; while kill -0 ${keeper} 2>/dev/null; do sleep 0.05; done`);
        if (elsewhere) await sandbox.sh(`rmdir ${other}`);
      }
      expect((await subhosts.boot([conf])).stdout).to.equal('a: running\n');
    });
});
