/** Roots that are not this machine's: without a libc of Debian's, and of another architecture. */
import { expect } from 'chai';
import { BASE_ROOT, useSubhosts } from '../helpers/subhosts.js';

/** The first bytes of a program for arm64, elf(5): enough for the kernel to see whose it is. */
const ARM64_PROGRAM = Buffer.concat([
  Buffer.from([0x7f, 0x45, 0x4c, 0x46, 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0, 183, 0, 1, 0, 0, 0]),
  Buffer.alloc(232),
]);

describe('overlay-boot: a root of another architecture', () => {
  const subhosts = useSubhosts();

  it('is refused with a word about it, and nothing is left', async () => {
    await subhosts.sandbox.sh(`cp -a ${BASE_ROOT} /srv/t/arm64; rm /srv/t/arm64/bin/*`);
    await subhosts.sandbox.writeFile('/srv/t/arm64/bin/busybox', ARM64_PROGRAM, 0o755);
    await subhosts.sandbox.sh('ln -s busybox /srv/t/arm64/bin/sh');
    const conf = await subhosts.make('a', { LOWER: '/srv/t/arm64', START: 'none' });
    const { code, stdout, stderr } = await subhosts.boot([conf]);
    expect({ code, stdout }).to.deep.equal({ code: 1, stdout: '' });
    expect(stderr).to.match(
      /^overlay-boot: a: cannot run \/bin\/sh: Exec format error: is the root one of another architecture than this machine's \(\w+\)\? With qemu-user-static on the host it runs[^\n]*\n$/,
    );
    expect(await subhosts.sandbox.sh('find /run/overlay-boot /run/netns -mindepth 1')).to.equal('');
  });
});
