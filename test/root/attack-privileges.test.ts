/** Whatever runs inside is confined like pid 1, however it came there, and has no key of who boots or enters. */
import { copyFileSync, existsSync } from 'node:fs';
import { expect } from 'chai';
import { eventually } from '../helpers/namespaces.js';
import { useSubhosts } from '../helpers/subhosts.js';
import { toolFor } from '../helpers/tools.js';

const NAMESPACES = ['cgroup', 'ipc', 'mnt', 'net', 'pid', 'user', 'uts'];
/** What the kernel tells of the confinement of a process. */
const tell = (pid: string): string =>
  `grep -E '^(Cap|NoNewPrivs:|Seccomp:)' /proc/${pid}/status; for ns in ${NAMESPACES.join(' ')}; do readlink /proc/${pid}/ns/$ns; done`;

describe('what runs inside a subhost', () => {
  const subhosts = useSubhosts();
  const root = (name: string): string => `${subhosts.base(name)}/root`;

  it('is confined like pid 1: a service, what the script of INIT starts, and who enters', async () => {
    const service = `#!/bin/sh\n[ "$1" = start ] || exit 0\n{ ${tell('self')}; } >/var/service\n`;
    const hooks = { init: `#!/bin/sh\necho "( ${tell('self').replaceAll('$', '\\$')} ) >/var/init"\n` };
    await subhosts.up('a', { START: '/service', INIT: '+init' }, { services: { service }, hooks });
    const pid1 = await subhosts.sandbox.sh(tell(String(subhosts.pid1('a'))));
    expect(pid1).to.match(/^NoNewPrivs:\t0\nSeccomp:\t2$/m);
    const entered = await subhosts.sandbox.run(['overlay-go', 'a', 'sh', '-c', tell('self')]);
    expect(entered.stdout).to.equal(pid1);
    for (const file of ['service', 'init'])
      expect(await eventually(file, () => subhosts.file(`${root('a')}/var/${file}`)), file).to.equal(pid1);
    const host = (await subhosts.sandbox.sh(tell('self'))).split('\n');
    expect(pid1.split('\n').filter((line) => line.includes('[') && host.includes(line))).to.deep.equal([]);
  });

  it('finds no key of the session that it was booted or entered from', async function () {
    if (!existsSync('/proc/keys')) this.skip(); // reason: the kernel has no keys
    const tool = toolFor(subhosts.sandbox, 'session-key');
    const services = { find: '#!/bin/sh\n[ "$1" = start ] && /session-key find >/var/found\n' };
    for (const [caps, inside] of [
      [undefined, 'Operation not permitted\n'],
      ['all', 'Required key not available\n'],
    ] as const) {
      const conf = await subhosts.make('a', { START: '/find', CAPS: caps }, { services });
      copyFileSync(tool, subhosts.outside(`${root('a')}/session-key`));
      const { code, stderr } = await subhosts.sandbox.run([tool, 'put', 'overlay-boot', conf]);
      expect({ code, stderr }).to.deep.equal({ code: 0, stderr: '' });
      expect(await eventually('it has looked', () => subhosts.file(`${root('a')}/var/found`))).to.equal(
        inside,
      );
      const enter = [tool, 'put', 'overlay-go', 'a', '/session-key', 'find'];
      expect((await subhosts.sandbox.run(enter)).stdout).to.equal(inside);
      await subhosts.stop('--kill', 'a');
    }
    // The check can fail.
    expect((await subhosts.sandbox.run([tool, 'put', tool, 'find'])).stdout).to.equal('found\n');
  });
});
