/** LOWER as a disk image: a bare file system, one among directories, one in a GPT, and what is none. */
import { expect } from 'chai';
import { BASE_ROOT, useSubhosts } from '../helpers/subhosts.js';

describe('overlay-boot: LOWER as a disk image', () => {
  const subhosts = useSubhosts();
  const base = '/opt/subhost/a';
  const loops = (): Promise<string> => subhosts.sandbox.sh('losetup --noheadings --output BACK-FILE');

  it('boots from a squashfs, below a directory, writes to UPPER alone, and leaves no loop device', async () => {
    const conf = await subhosts.make('a', { LOWER: 'top:base.sqfs' });
    await subhosts.sandbox.sh(
      `mksquashfs ${BASE_ROOT} base.sqfs -quiet -no-progress >/dev/null; mkdir -p top/etc; echo above >top/etc/which; md5sum base.sqfs >sum`,
      { cwd: base },
    );
    const before = await loops();
    const { code, stderr } = await subhosts.boot([conf]);
    expect(code, stderr).to.equal(0);
    expect(await subhosts.inside('a', 'cat /etc/which; echo new >/etc/new')).to.equal('above\n');
    expect(subhosts.file(`${base}/root/etc/new`)).to.equal('new\n');
    await subhosts.stop('a');
    expect(await subhosts.sandbox.sh('md5sum -c sum', { cwd: base })).to.equal('base.sqfs: OK\n');
    expect(await loops()).to.equal(before);
  });

  it('says what it found where there is no file system, before anything is made', async () => {
    const conf = await subhosts.make('a', { LOWER: 'noise.img' });
    await subhosts.sandbox.sh('head -c 1048576 /dev/zero >noise.img', { cwd: base });
    const lines = await subhosts.refused(conf, { code: 2 });
    expect(lines).to.deep.equal([
      `overlay-boot: ${conf}: LOWER: disk image: ${base}/noise.img holds nothing that is known: a file system is needed: squashfs, erofs, ext2, ext3, ext4, xfs, btrfs`,
    ]);
  });
});
