/** A Debian with the services of a small server, started under the defaults: what they need of root works. */
import { expect } from 'chai';
import { DEBIAN_SERVICES, debianRoot, needDebianRoot } from '../helpers/debian-root.js';
import { eventually, requireRoot, useSandbox } from '../helpers/namespaces.js';
import { Subhosts } from '../helpers/subhosts.js';

const ADDRESS = '10.98.0.2';
const INTERFACES = `auto lo
iface lo inet loopback
auto eth0
iface eth0 inet static
  address ${ADDRESS}/24
`;

describe('a Debian with rsyslog, cron, networking and ssh, confined', () => {
  requireRoot();
  needDebianRoot(DEBIAN_SERVICES);
  const sandbox = useSandbox();
  const subhosts = new Subhosts(sandbox);
  /** In the subhost, as overlay-go puts whoever enters. */
  const inside = (script: string): Promise<string> =>
    sandbox().sh('overlay-go deb sh -euc "$S"', { env: { S: script } });

  before(async function () {
    this.timeout(60_000);
    const base = await debianRoot(sandbox());
    const conf = await subhosts.make(
      'deb',
      { LOWER: base, CABLES: '=', START: 'rsyslog cron networking ssh' },
      { root: { 'etc/network/interfaces': INTERFACES } },
    );
    const { code, stdout, stderr } = await subhosts.boot([conf]);
    expect({ code, stdout, stderr }, subhosts.log('deb')).to.deep.equal({
      code: 0,
      stdout: 'deb: running\n',
      stderr: '',
    });
    await sandbox().sh('ip address add 10.98.0.1/24 dev deb0');
    await inside(`useradd -m -s /bin/sh joe
      echo 127.0.1.1 deb >>/etc/hosts
      echo 'joe ALL=(ALL) NOPASSWD: ALL' >/etc/sudoers.d/joe
      mkdir -p /root/.ssh ~joe/.ssh
      ssh-keygen -q -N '' -t ed25519 -f /root/.ssh/id_ed25519
      cp /root/.ssh/id_ed25519.pub ~joe/.ssh/authorized_keys
      chown -R joe ~joe/.ssh`);
  });

  it('runs them all', async () => {
    const running = (await inside('cat /proc/[0-9]*/comm')).split('\n');
    expect(running).to.include.members(['rsyslogd', 'cron', 'sshd']);
  });

  it('answers on its cable', async () => {
    const script = `exec 3<>/dev/tcp/${ADDRESS}/22; head -n 1 <&3`;
    expect((await sandbox().run(['bash', '-c', script])).stdout).to.match(/^SSH-2\.0-OpenSSH/);
  });

  it('lets a user log in by ssh', async () => {
    const ssh = `ssh -o StrictHostKeyChecking=no -o BatchMode=yes joe@${ADDRESS} id -un 2>/dev/null`;
    expect(await inside(ssh)).to.equal('joe\n');
  });

  it('writes what is logged into its own files', async () => {
    await inside('logger -t test of-this-subhost');
    await eventually('it is in the log', async () =>
      (await inside('cat /var/log/syslog /var/log/messages 2>/dev/null || :')).includes('of-this-subhost'),
    );
  });

  const works: readonly [what: string, script: string, said: RegExp][] = [
    ['su', 'su joe -c id', /^uid=\d+\(joe\)/],
    ['a setuid program', 'su joe -c "sudo id"', /^uid=0\(root\)/],
    [
      'a file with capabilities',
      'cp /bin/ping /srv; setcap cap_net_raw+ep /srv/ping; su joe -c "/srv/ping -c 1 10.98.0.1"',
      / 0% packet loss/,
    ],
    [
      'setting capabilities of a file',
      'cp /bin/true /srv/t; setcap cap_net_raw+ep /srv/t; getcap /srv/t',
      /cap_net_raw/,
    ],
    [
      'changing the owner of a file',
      'touch /srv/f; chown joe:4000000000 /srv/f; stat -c %U:%g /srv/f',
      /^joe:4000000000\n$/,
    ],
    ['chroot', 'chroot / id -u', /^0\n$/],
    ['taking an interface down and up', 'ifdown eth0; ifup eth0; ip address show eth0', /10\.98\.0\.2\/24/],
    [
      'forwarding packets',
      'echo 1 >/proc/sys/net/ipv4/ip_forward; cat /proc/sys/net/ipv4/ip_forward',
      /^1\n$/,
    ],
  ];
  for (const [what, script, said] of works)
    it(`${what} works`, async () => expect(await inside(script)).to.match(said));

  it('is stopped by its services', async () => {
    const { code, stdout, stderr } = await subhosts.stop('deb');
    expect({ code, stdout, stderr }).to.deep.equal({ code: 0, stdout: 'deb: stopped\n', stderr: '' });
  });
});
