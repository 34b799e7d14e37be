/** examples/mta with the Debian packages that it names, twice on a bridge and confined: a mail from one to the other. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect } from 'chai';
import { DEBIAN_SERVICES, debianRoot, needDebianRoot } from '../helpers/debian-root.js';
import { type HostSnapshot, leftOvers } from '../helpers/host-snapshot.js';
import { eventually, PROJECT, requireRoot, useSandbox } from '../helpers/namespaces.js';
import { Subhosts } from '../helpers/subhosts.js';

const NAMES = ['mta1', 'mta2'] as const;
type Name = (typeof NAMES)[number];
const SERVICES = ['rsyslog', 'networking', 'ssh', 'saslauthd', 'postfix', 'dovecot'];
/** The bounding set of overlay-security(7), capabilities(7) by number. */
const DEFAULT_SET = 'CapBnd:\t00000000a00435fb\n';
const address = (name: Name): string => `10.77.3.${NAMES.indexOf(name) + 1}`;

/** The example's own lines. */
const EXAMPLE = Object.fromEntries(
  readFileSync(join(PROJECT, 'examples/mta/mta.conf'), 'utf8')
    .split('\n')
    .filter((line) => line.includes('='))
    .map((line) => [line.slice(0, line.indexOf('=')), line.slice(line.indexOf('=') + 1)]),
);

/** What their administrator writes, as in the README of the example; all else is as Debian has it. */
const etcOf = (name: Name): Readonly<Record<string, string>> => ({
  'etc/network/interfaces': `auto lo
iface lo inet loopback
auto eth0
iface eth0 inet static
    address ${address(name)}/24
`,
  'etc/hosts': `127.0.0.1 localhost\n${NAMES.map((one) => `${address(one)} ${one}.test ${one}\n`).join('')}`,
  'etc/default/saslauthd': `START=yes
DESC="SASL Authentication Daemon"
NAME="saslauthd"
MECHANISMS="pam"
THREADS=2
OPTIONS="-c -m /var/run/saslauthd"
`,
  'etc/postfix/main.cf': `compatibility_level = 3.6
myhostname = ${name}.test
mydestination = $myhostname, localhost
mynetworks = 127.0.0.0/8 10.77.3.0/24
smtp_host_lookup = native
smtp_dns_support_level = disabled
alias_maps =
inet_protocols = ipv4
`,
});

describe('two of examples/mta, with its services from Debian', () => {
  requireRoot();
  needDebianRoot(DEBIAN_SERVICES);
  const sandbox = useSandbox();
  const subhosts = new Subhosts(sandbox);
  let untouched: HostSnapshot;

  /** In a subhost, as overlay-go puts whoever enters. */
  const inside = (name: Name, script: string, input = ''): Promise<string> =>
    sandbox().sh(`printf %s "$I" | overlay-go ${name} sh -euc "$S"`, { env: { S: script, I: input } });

  const written = (name: Name, file: string): string =>
    subhosts.file(`${subhosts.base(name)}/root/var/log/${file}`) ?? '';

  before(async function () {
    this.timeout(180_000);
    const base = await debianRoot(sandbox());
    await sandbox().sh(`ip link add br0 address 02:00:0a:4d:03:fe type bridge; ip link set br0 up`);
    const values = { ...EXAMPLE, LOWER: base, CABLES: ' br0=' };
    const confs: string[] = [];
    for (const name of NAMES) confs.push(await subhosts.make(name, values, { root: etcOf(name) }));
    untouched = await leftOvers(sandbox());
    const { code, stdout, stderr } = await subhosts.boot(confs, { timeoutMs: 150_000 });
    expect({ code, stderr }, `${subhosts.log('mta1')}${subhosts.log('mta2')}`).to.deep.equal({
      code: 0,
      stderr: '',
    });
    expect(stdout.split('\n').sort().join('\n')).to.equal('\nmta1: running\nmta2: running');
    await inside('mta2', 'useradd -m -s /bin/sh joe; echo joe:secret | chpasswd');
  });

  it('has them all started, and confined by the defaults', async () => {
    expect(EXAMPLE.START?.trim().split(' ')).to.deep.equal(SERVICES);
    expect(EXAMPLE.CAPS).to.equal(undefined);
    for (const service of SERVICES.filter((one) => one !== 'networking'))
      await eventually(
        `${service} says that it runs`,
        () => inside('mta1', `service ${service} status`).then(() => true),
        15_000,
      );
    const running = (await inside('mta1', 'cat /proc/[0-9]*/comm')).split('\n');
    expect(running).to.include.members(['rsyslogd', 'sshd', 'saslauthd', 'master', 'dovecot']);
    expect(await inside('mta1', 'grep ^CapBnd: /proc/1/status')).to.equal(DEFAULT_SET);
  });

  it('saslauthd knows a user by the password, and only by that', async () => {
    expect(await inside('mta2', 'testsaslauthd -u joe -p secret')).to.equal('0: OK "Success."\n');
    expect(await inside('mta2', 'testsaslauthd -u joe -p wrong || :')).to.match(/^0: NO /);
  });

  it('ssh of the one answers the other', async () => {
    const script = "exec bash -c 'exec 3<>/dev/tcp/mta2/22; head -n 1 <&3'";
    expect(await inside('mta1', script)).to.match(/^SSH-2\.0-OpenSSH/);
  });

  it('a mail from the one comes over the bridge to the other, and is read there by IMAP', async () => {
    await inside('mta1', 'sendmail joe@mta2.test', 'Subject: over the bridge\n\nHello joe.\n');
    await eventually(
      'it is delivered',
      () => written('mta2', 'mail.log').includes('delivered to mailbox'),
      30_000,
    ).catch((error: Error) => {
      throw new Error(`${error.message}\n${written('mta1', 'mail.log')}${written('mta2', 'mail.log')}`);
    });
    expect(written('mta1', 'mail.log')).to.match(
      /postfix\/smtp\[.* relay=mta2\.test\[10\.77\.3\.2\]:25, .*status=sent/,
    );
    const commands = 'a LOGIN joe secret\r\nb SELECT INBOX\r\nc FETCH 1:* BODY[]\r\nd LOGOUT\r\n';
    const imap = 'timeout 30 openssl s_client -quiet -connect mta2:993 2>/dev/null';
    const said = await inside('mta1', imap, commands);
    expect(said)
      .to.match(/^a OK .*Logged in\r$/m)
      .and.to.match(/^\* 1 EXISTS\r$/m);
    expect(said).to.match(/^Received: from mta1\.test \(.*\[10\.77\.3\.1\]\)\r$/m);
    expect(said).to.include('Subject: over the bridge\r\n').and.to.include('\r\nHello joe.\r\n');
    expect(said).to.match(/^d OK Logout completed/m);
  });

  it('are stopped by their services in reverse order, and leave nothing', async function () {
    this.timeout(120_000);
    const { code, stdout, stderr } = await subhosts.stop('mta2', 'mta1');
    expect({ code, stdout, stderr }).to.deep.equal({
      code: 0,
      stdout: 'mta2: stopped\nmta1: stopped\n',
      stderr: '',
    });
    for (const name of NAMES) {
      const said = subhosts.log(name);
      const stops = [/^Stopping IMAP/m, /^Stopping SASL/m, /^Stopping OpenBSD/m, /^Deconfiguring network/m];
      const places = stops.map((stop) => said.search(stop));
      expect(places, said).to.deep.equal(places.filter((place) => place >= 0).sort((a, b) => a - b));
      // The two that say nothing there: what they have logged last.
      expect(written(name, 'mail.log')).to.match(
        /dovecot: master: Warning: Killed with signal 15.*postfix\/(postfix-script|master)\[\d+\]: (stopping|terminating)/s,
      );
      // rsyslogd, which is stopped last, does not log its own end, but that of sshd before it.
      expect(written(name, 'auth.log')).to.match(/sshd\[\d+\]: Received signal 15; terminating/);
    }
    await eventually('the host is as before', async () => {
      expect(await leftOvers(sandbox())).to.deep.equal(untouched);
      return true;
    });
  });
});
