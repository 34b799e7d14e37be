/** DESIGN.md, invariant 1: whichever step of a boot fails, it is named in one line and everything is taken back. */
import { expect } from 'chai';
import { snapshot } from '../helpers/host-snapshot.js';
import { type Completed, eventually } from '../helpers/namespaces.js';
import { useSubhosts } from '../helpers/subhosts.js';
import { bootWrapped } from '../helpers/tools.js';

/** The step as it is named, by the system call that is made to fail and by its number in its process. */
const STEPS: Readonly<Record<string, Readonly<Record<number, string>>>> = {
  socketpair: { 1: 'start a keeper' },
  fork: { 1: 'start a keeper' },
  mkdir: { 1: 'make and lock the state directory /run/overlay-boot/step' },
  flock: { 1: 'make and lock the state directory /run/overlay-boot/step' },
  pipe2: { 1: 'make pipes', 2: 'make pipes' },
  clone3: { 1: 'make namespaces' },
  mount: { 1: 'name the network namespace', 2: 'name the network namespace' },
  open: { 2: 'make and lock the state directory' },
  fsopen: {
    1: 'add the layer /srv/t/base',
    2: 'make /dev',
    3: 'make /dev/pts',
    5: 'make /dev/mqueue',
    8: 'mount /run',
  },
  fsconfig: { 1: 'add the layer', 2: 'add the layer', 8: 'make /dev', 13: 'make /dev/pts' },
  fsmount: {
    1: 'mount the overlay on /opt/subhost/step/live',
    2: 'make /dev',
    6: 'mount /proc',
    7: 'mount /sys',
  },
  move_mount: { 1: 'mount the overlay on', 2: 'make /dev', 3: 'make null', 8: 'make tty', 13: 'mount /proc' },
  open_tree: { 1: 'make null', 5: 'make urandom', 8: 'protect /proc/bus' },
  mount_setattr: { 1: 'make /dev', 2: 'protect /proc/bus', 5: 'protect /proc/sys' },
  openat2: { 1: 'open the log /var/log/overlay-boot/step.log', 8: 'make /dev/shm' },
  mknodat: { 1: 'make null', 6: 'make tty' },
  symlinkat: { 1: 'make ptmx', 6: 'make core' },
  ioctl: { 1: 'make /dev/console' },
  pivot_root: { 1: 'pivot into the root' },
  sethostname: { 1: 'set the host name step' },
  socket: { 1: 'bring up lo' },
  prctl: { 5: 'drop capabilities' },
  capset: { 1: 'drop capabilities' },
};

/** What is before the log. */
const WITHOUT_LOG = /start a keeper|state directory|make pipes|make namespaces|name the network|open the log/;

describe('a step of a boot that fails', () => {
  const subhosts = useSubhosts();
  let conf = '';

  before(async () => {
    conf = await subhosts.make('step', { CABLES: '=', SHARE: '/srv/t' });
  });

  async function bootWith(injection: string): Promise<Completed> {
    const wrapper = ['strace', '-f', '-qq', '-o', '/dev/null', '-e', `inject=${injection}`];
    return await subhosts.sandbox.run(bootWrapped(subhosts.sandbox, wrapper, [conf]));
  }

  for (const [call, steps] of Object.entries(STEPS))
    it(`${call}(2): named in one line, and nothing is left`, async function () {
      this.timeout(60_000);
      for (const [number, step] of Object.entries(steps)) {
        const before = await snapshot(subhosts.sandbox);
        const { code, stdout, stderr } = await bootWith(`${call}:error=EPERM:when=${number}`);
        expect({ code, stdout }, stderr).to.deep.equal({ code: 1, stdout: '' });
        expect(stderr, `${call} ${number}`).to.match(/^overlay-boot: [^\n]+\n$/);
        expect(stderr, `${call} ${number}`)
          .to.contain(`cannot ${step}`)
          .and.to.contain('Operation not permitted');
        expect(/ \(log: \/var\/log\/overlay-boot\/step\.log\)\n$/.test(stderr), stderr).to.equal(
          !WITHOUT_LOG.test(step),
        );
        // The program that makes it fail ends a moment after.
        await eventually(`the host is as before: ${call} ${number}`, async () => {
          expect(await snapshot(subhosts.sandbox)).to.deep.equal(before);
          return true;
        });
      }
    });

  it('is the last line of the log', async () => {
    await bootWith('sethostname:error=EPERM:when=1');
    expect(subhosts.log('step').trimEnd().split('\n').at(-1)).to.match(
      /^\S+ overlay-boot: cannot set the host name step: Operation not permitted$/,
    );
  });

  it('is its program that cannot be run: named, and nothing is left', async () => {
    const root = `${subhosts.base('step')}/root`;
    await subhosts.sandbox.sh(
      `mkdir -p ${root}/bin; printf garbage >${root}/bin/sh; chmod 755 ${root}/bin/sh`,
    );
    const refused = await subhosts.refused(conf);
    expect(refused).to.have.length(1);
    expect(refused[0])
      .to.contain('step: cannot run /bin/sh: Exec format error')
      .and.to.match(/\(log: [^)]+\)$/);
    await subhosts.sandbox.sh(`rm ${root}/bin/sh`);
    // An overlay remembers a removed file of a lower layer; here nothing hides that one.
    expect((await subhosts.boot([conf])).stdout).to.equal('step: running\n');
  });

  it('is a share that was there when it was checked: named, and nothing is left', async () => {
    const hooks = { vanish: '#!/bin/sh\nrmdir /srv/t/gone\n' };
    await subhosts.sandbox.sh('mkdir /srv/t/gone');
    const vanishing = await subhosts.make(
      'vanish',
      { SHARE: '/srv/t/gone', POSTMOUNT: '+vanish' },
      { hooks },
    );
    const refused = await subhosts.refused(vanishing);
    expect(refused).to.have.length(1);
    expect(refused[0], refused[0]).to.contain(
      'vanish: cannot share /srv/t/gone at /srv/t/gone: No such file or directory',
    );
  });

  for (const hook of ['PREMOUNT', 'POSTMOUNT', 'INIT'])
    it(`is a ${hook} that fails: named with its last line, and nothing is left`, async () => {
      const hooks = { hook: '#!/bin/sh\necho one >&2\necho it broke >&2\nexit 7\n' };
      const failing = await subhosts.make('hook', { CABLES: '=', [hook]: '+hook' }, { hooks });
      const refused = await subhosts.refused(failing);
      expect(refused).to.have.length(1);
      expect(refused[0]).to.match(
        new RegExp(`^overlay-boot: hook: ${hook}: .*: exit status 7: it broke \\(log: `),
      );
    });
});
