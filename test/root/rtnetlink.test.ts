import { createInterface } from 'node:readline';
import { expect } from 'chai';
import type { HostEnd, Link, RouteSocket } from '../../src/net/rtnetlink.js';
import { eventually, PROJECT, type Running, useSandbox } from '../helpers/namespaces.js';

/** What `ip -j -d link` says. */
interface Seen {
  readonly ifname: string;
  readonly ifindex: number;
  readonly address: string;
  readonly flags: readonly string[];
  readonly ifalias?: string;
  readonly master?: string;
  readonly linkinfo?: { readonly info_kind: string };
}

interface Reply {
  readonly value?: unknown;
  readonly failure?: string;
  readonly kind?: string;
  readonly code?: string;
}

describe('RouteSocket', () => {
  const sandbox = useSandbox();
  let driver: Running;
  let replies: AsyncIterator<string>;
  /** A process in a network namespace of its own, its pid as the sandbox numbers it. */
  let netnsPid: number;

  async function ask(method: keyof RouteSocket, ...args: unknown[]): Promise<Reply> {
    driver.child.stdin?.write(`${JSON.stringify({ method, args })}\n`);
    const { value, done } = await replies.next();
    if (done) throw new Error(`the driver ended: ${driver.stderr}`);
    return JSON.parse(value) as Reply;
  }

  /** Calls a method that is to succeed. */
  async function call(method: keyof RouteSocket, ...args: unknown[]): Promise<unknown> {
    const reply = await ask(method, ...args);
    expect(reply.failure).to.equal(undefined);
    return reply.value;
  }

  const seen = async (where = ''): Promise<Seen[]> =>
    JSON.parse(await sandbox().sh(`${where} ip -j -d link`)) as Seen[];
  const seenLink = async (name: string, where = ''): Promise<Seen | undefined> =>
    (await seen(where)).find((link) => link.ifname === name);
  const inside = (): string => `nsenter -t ${netnsPid} -n`;
  const veth = (host: string, mac?: string) => ({ host, inside: 'eth0', netnsPid, ...(mac && { mac }) });
  const hostEnd = (more: Partial<HostEnd>): HostEnd => ({
    host: 'mta0',
    alias: 'overlay-boot:mta',
    up: false,
    ...more,
  });

  before(() => {
    driver = sandbox().spawn(['node', '--import=tsx', 'test/helpers/route-driver.ts'], { cwd: PROJECT });
    if (driver.child.stdout === null) throw new Error('no stdout');
    replies = createInterface(driver.child.stdout)[Symbol.asyncIterator]();
  });

  beforeEach(async () => {
    const other = sandbox().spawn(['unshare', '--net', 'sh', '-c', 'echo $$; exec sleep 1000']);
    netnsPid = Number(
      await eventually('a network namespace', () => other.stdout.includes('\n') && other.stdout),
    );
  });

  afterEach(async () => {
    await sandbox().sh(
      `kill ${netnsPid}; for link in mta0 br0 br1 tap0; do ip link del $link 2>/dev/null || :; done`,
    );
    await eventually('only lo', async () => (await seen()).length === 1);
  });

  it('forgets who did not answer on a bridge, and nobody else', async () => {
    await sandbox().sh(`for i in 0 1; do
        ip link add br$i type bridge; ip address add 192.0.2.1$i/24 dev br$i; ip link set br$i up
        ip neighbour add 192.0.2.3$i lladdr 02:00:00:00:00:0$i dev br$i nud stale
      done
      ip route add 192.0.2.40 dev br0; ip route add 192.0.2.41 dev br1
      bash -c 'for i in 0 1; do echo >/dev/udp/192.0.2.4$i/9; done'`);
    const neighbours = async (): Promise<string[]> => {
      const said = await sandbox().sh('ip -j -4 neighbour show nud all');
      return (JSON.parse(said) as { dst: string; state: string[] }[])
        .filter(({ state }) => !state.includes('NOARP'))
        .map(({ dst, state }) => `${dst} ${/INCOMPLETE|FAILED/.test(state.join()) ? 'unanswered' : state}`)
        .sort();
    };
    const others = ['192.0.2.30 STALE', '192.0.2.41 unanswered', '192.0.2.31 STALE'];
    expect(await neighbours()).to.have.members(['192.0.2.40 unanswered', ...others]);
    await call('forgetUnanswered', ['br0']);
    expect(await neighbours()).to.have.members(others);
    await call('forgetUnanswered', ['gone']);
    await sandbox().sh('ip link delete br0; ip link delete br1');
  });

  it('makes both ends of a cable, the one inside with its MAC address', async () => {
    await call('createVeth', veth('mta0', '02:00:00:00:0a:ff'));
    expect((await seenLink('mta0'))?.linkinfo?.info_kind).to.equal('veth');
    expect(await seenLink('eth0')).to.equal(undefined);
    expect((await seenLink('eth0', inside()))?.address).to.equal('02:00:00:00:0a:ff');
  });

  it('leaves the MAC address to the kernel where none is given', async () => {
    await call('createVeth', veth('mta0'));
    expect((await seenLink('eth0', inside()))?.address).to.match(/^([0-9a-f]{2}:){5}[0-9a-f]{2}$/);
  });

  it('marks the host end and leaves it down', async () => {
    await call('createVeth', veth('mta0'));
    await call('configureHostEnd', hostEnd({}));
    const link = await seenLink('mta0');
    expect(link?.ifalias).to.equal('overlay-boot:mta');
    expect(link?.flags).not.to.include('UP');
    expect(link?.master).to.equal(undefined);
  });

  it('plugs the host end into a bridge, marked and up', async () => {
    await sandbox().sh('ip link add br0 type bridge');
    await call('createVeth', veth('mta0'));
    await call('configureHostEnd', hostEnd({ bridge: 'br0', up: true }));
    const link = await seenLink('mta0');
    expect([link?.ifalias, link?.master]).to.deep.equal(['overlay-boot:mta', 'br0']);
    expect(link?.flags).to.include('UP');
  });

  it('brings a link up and keeps its mark', async () => {
    await call('createVeth', veth('mta0'));
    await call('configureHostEnd', hostEnd({}));
    await call('setUp', 'mta0');
    const link = await seenLink('mta0');
    expect(link?.flags).to.include('UP');
    expect(link?.ifalias).to.equal('overlay-boot:mta');
  });

  it('reads a link as ip does', async () => {
    await sandbox().sh('ip link add br0 type bridge');
    await call('createVeth', veth('mta0'));
    await call('configureHostEnd', hostEnd({ bridge: 'br0', up: true }));
    const { ifindex, address } = (await seenLink('mta0')) ?? {};
    expect(await call('getLink', 'mta0')).to.deep.equal({
      index: ifindex,
      name: 'mta0',
      up: true,
      kind: 'veth',
      alias: 'overlay-boot:mta',
      masterIndex: (await seenLink('br0'))?.ifindex,
      mac: address,
      otherNetns: await call('netnsOf', netnsPid),
    });
    expect(await call('netnsOf', 1), 'our own').not.to.equal(await call('netnsOf', netnsPid));
  });

  it('reads a link that is not there as undefined', async () => {
    expect(await call('getLink', 'mta0')).to.equal(undefined);
  });

  it('lists every link, more than one answer of the kernel holds too', async () => {
    const names = Array.from({ length: 24 }, (_, i) => `br${i}`);
    await sandbox().sh(
      names
        .map((name) => `link add ${name} type bridge`)
        .join('\n')
        .replace(/^/, "ip -b - <<'X'\n")
        .concat('\nX'),
    );
    const links = (await call('listLinks')) as Link[];
    await sandbox().sh(
      names
        .map((name) => `link del ${name}`)
        .join('\n')
        .replace(/^/, "ip -b - <<'X'\n")
        .concat('\nX'),
    );
    expect(links.map((link) => link.name)).to.have.members(['lo', ...names]);
    expect(links.find((link) => link.name === 'lo')?.kind).to.equal(undefined);
  });

  it('deletes a link with its other end, and a link that is gone', async () => {
    await call('createVeth', veth('mta0'));
    await call('deleteLink', 'mta0');
    expect(await seenLink('mta0')).to.equal(undefined);
    expect(await seenLink('eth0', inside())).to.equal(undefined);
    await call('deleteLink', 'mta0');
  });

  it('refuses an interface that exists, and leaves it as it is', async () => {
    await sandbox().sh('ip link add mta0 type bridge');
    const reply = await ask('createVeth', veth('mta0'));
    expect(reply).to.deep.equal({
      failure: 'make veth pair mta0 - eth0: an interface of that name exists already (EEXIST)',
      kind: 'Failure',
      code: 'EEXIST',
    });
    expect((await seenLink('mta0'))?.linkinfo?.info_kind).to.equal('bridge');
    expect(await seenLink('eth0', inside())).to.equal(undefined);
  });

  it('leaves no end behind when the other one is refused', async () => {
    await sandbox().sh(`${inside()} ip link add eth0 type bridge`);
    expect((await ask('createVeth', veth('mta0'))).code).to.equal('EEXIST');
    expect(await seenLink('mta0')).to.equal(undefined);
  });

  it('says that the network namespace is gone', async () => {
    const reply = await ask('createVeth', { ...veth('mta0'), netnsPid: 99_999 });
    expect(reply.failure).to.equal(
      'make veth pair mta0 - eth0: no such process: the network namespace is gone (ESRCH)',
    );
  });

  it('says how to make a bridge that is missing', async () => {
    await call('createVeth', veth('mta0'));
    const { failure } = await ask('configureHostEnd', hostEnd({ bridge: 'br0', up: true }));
    expect(failure).to.equal(
      'bridge "br0": no such interface: make it with "ip link add br0 type bridge && ip link set br0 up" or in /etc/network/interfaces',
    );
  });

  it('says what a bridge that is none is', async () => {
    await call('createVeth', veth('mta0'));
    const veths = await ask('configureHostEnd', hostEnd({ bridge: 'mta0', up: true }));
    expect(veths.failure).to.equal(
      'bridge "mta0": it is no bridge but a veth: name a bridge before the "=", or none',
    );
    const { failure } = await ask('configureHostEnd', hostEnd({ bridge: 'lo', up: true }));
    expect(failure).to.include('bridge "lo": it is no bridge but another interface');
  });

  it('says that the host end is gone', async () => {
    const { failure } = await ask('configureHostEnd', hostEnd({}));
    expect(failure).to.equal('set up mta0: no such interface (ENODEV)');
  });

  it('says that the parent of a VLAN is gone', async () => {
    const { failure } = await ask('createVlan', { name: 'mta0.7', parent: 'mta0', vlanId: 7 });
    expect(failure).to.equal('make VLAN mta0.7 on mta0: no such interface: mta0');
  });

  it('makes a VLAN, or says which module the kernel lacks', async () => {
    await call('createVeth', veth('mta0'));
    const { failure } = await ask('createVlan', { name: 'mta0.7', parent: 'mta0', vlanId: 7 });
    const { code } = await sandbox().run([
      'ip',
      'link',
      'add',
      'link',
      'mta0',
      'name',
      'x',
      'type',
      'vlan',
      'id',
      '8',
    ]);
    if (code === 0) expect((await seenLink('mta0.7'))?.linkinfo?.info_kind).to.equal('vlan');
    else
      expect(failure).to.equal(
        'make VLAN mta0.7 on mta0: the kernel does not know the kind: load its module with "modprobe 8021q", or use a kernel built with it',
      );
  });

  it('ends by itself when it is closed, and says so when root is needed', async () => {
    const script = `
      import { RouteSocket } from ${JSON.stringify(`${PROJECT}/src/net/rtnetlink.ts`)};
      const socket = new RouteSocket();
      socket.createVeth({ host: 'mta0', inside: 'eth0', netnsPid: process.pid })
        .catch((error) => console.log(error.message))
        .then(() => socket.close());`;
    await sandbox().writeFile(`${sandbox().diskdir}/ends.ts`, script);
    const user = ['setpriv', '--reuid=65534', '--regid=65534', '--clear-groups'];
    const argv = ['node', '--import=tsx', `${sandbox().diskdir}/ends.ts`];
    await sandbox().sh(`chmod 755 ${sandbox().diskdir}`);
    const { stdout, stderr } = await sandbox().run([...user, ...argv], {
      cwd: PROJECT,
      timeoutMs: 10_000,
      env: { HOME: '/nonexistent' },
    });
    expect([stdout, stderr]).to.deep.equal(['make veth pair mta0 - eth0: must be root (EPERM)\n', '']);
  });
});
