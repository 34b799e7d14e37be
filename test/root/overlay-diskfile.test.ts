import { expect } from 'chai';
import { eventually, useSandbox } from '../helpers/namespaces.js';

/** Every image holds a file `f` that says which one it is. */
const MAKE_IMAGES = `
mkdir -p mnt src nothing
image() { echo "$1" >src/f; }
truncate -s 24M mbr.img gpt.img
printf '%s\\n' 'label: dos' start=2048,size=8192,type=83 start=12288,size=34816,type=5 start=14336,size=8192,type=83 |
  sfdisk -q mbr.img
printf '%s\\n' 'label: gpt' 'size=8M,name="boot"' 'size=8M,name="root fs"' | sfdisk -q gpt.img
image mbr-1; mke2fs -q -F -t ext4 -d src -E offset=1048576 mbr.img 4096k
image mbr-5; mke2fs -q -F -t ext4 -d src -E offset=7340032 mbr.img 4096k
image gpt-2; mke2fs -q -F -t ext4 -d src -E offset=9437184 gpt.img 8192k
image ext4; truncate -s 8M ext4.img; mke2fs -q -t ext4 -d src ext4.img
image squashfs; mksquashfs src squash.img -quiet -no-progress >/dev/null
truncate -s 1M zero.img
`;

describe('overlay-diskfile', () => {
  const sandbox = useSandbox();
  const run = (args: readonly string[], action = 'overlay-boot') =>
    sandbox().run(['overlay-diskfile', ...args], { env: { ACTION: action } });
  const loopDevices = async (): Promise<string> =>
    (await sandbox().sh('losetup -l -n -O AUTOCLEAR,BACK-FILE'))
      .split('\n')
      .filter((line) => line.includes('/srv/t/'))
      .map((line) => line.trim().replace(/ +/, ' '))
      .join('\n');

  before(async () => {
    await sandbox().sh(MAKE_IMAGES);
  });
  afterEach(async () => {
    await sandbox().sh('if mountpoint -q mnt; then umount mnt; fi');
    expect(await loopDevices()).to.equal('');
  });

  const kinds: readonly [string, readonly string[], string][] = [
    ['a whole ext4 image', ['ext4.img'], 'ext4'],
    ['a whole squashfs image', ['squash.img'], 'squashfs'],
    ['a primary partition of an MBR', ['mbr.img', '1'], 'mbr-1'],
    ['a logical partition of an MBR', ['mbr.img', '5'], 'mbr-5'],
    ['a partition of a GPT', ['gpt.img', '2'], 'gpt-2'],
  ];
  for (const [title, disk, content] of kinds)
    it(`mounts ${title} without devices, and prints the path`, async () => {
      const { code, stdout, stderr } = await run(['mnt/a/b', ...disk]);
      expect({ code, stdout, stderr }).to.deep.equal({ code: 0, stdout: 'mnt/a/b\n', stderr: '' });
      expect(await sandbox().readFile('mnt/f')).to.equal(`${content}\n`);
      expect(await sandbox().sh('findmnt -n -o OPTIONS mnt')).to.include('nodev');
    });

  it('sets the loop device to clear itself', async () => {
    await run(['mnt/', 'ext4.img']);
    expect(await loopDevices()).to.equal('1 /srv/t/ext4.img');
  });

  it('leaves what is mounted alone: a second variable on the same image mounts nothing', async () => {
    await run(['mnt/upper', 'ext4.img']);
    const { code, stdout } = await run(['mnt/work']);
    expect({ code, stdout }).to.deep.equal({ code: 0, stdout: 'mnt/work\n' });
    expect((await run(['mnt/work', 'gpt.img', '2'])).code).to.equal(0);
    expect(await sandbox().sh('grep -c " /srv/t/mnt " /proc/self/mountinfo')).to.equal('1\n');
    expect(await sandbox().readFile('mnt/f')).to.equal('ext4\n');
  });

  for (const action of ['check', 'plan', 'overlay-stop', ''])
    it(`only prints the path when ACTION is "${action}"`, async () => {
      const { code, stdout } = await run(['mnt/x', 'ext4.img'], action);
      expect({ code, stdout }).to.deep.equal({ code: 0, stdout: 'mnt/x\n' });
      expect((await sandbox().run(['mountpoint', '-q', 'mnt'])).code).to.not.equal(0);
    });

  const refusals: readonly [string, readonly string[], number, string][] = [
    [
      'a partition that is not there',
      ['mnt/', 'gpt.img', '3'],
      2,
      '/srv/t/gpt.img: no partition 3: its partitions (GPT) are 1 (boot, 8M), 2 (root fs, 8M)',
    ],
    [
      'an extended partition',
      ['mnt/', 'mbr.img', '2'],
      2,
      '/srv/t/mbr.img: no partition 2: its partitions (MBR) are 1 (4M), 5 (4M)',
    ],
    [
      'a partition table without an INDEX',
      ['mnt/', 'mbr.img'],
      2,
      '/srv/t/mbr.img: holds a partition table (MBR), no file system: give the index of one of its partitions: 1 (4M), 5 (4M)',
    ],
    [
      'an empty partition',
      ['mnt/', 'gpt.img', '1'],
      1,
      '/srv/t/gpt.img: partition 1: no file system found: it holds nothing that is known',
    ],
    [
      'an empty image',
      ['mnt/', 'zero.img'],
      1,
      '/srv/t/zero.img: no file system found: it holds nothing that is known',
    ],
    [
      'an INDEX for a bare file system',
      ['mnt/', 'ext4.img', '1'],
      2,
      '/srv/t/ext4.img: no partition 1: it has no partition table, but ext4: leave the index out',
    ],
    ['a missing DISKFILE', ['mnt/', 'nope.img'], 2, 'DISKFILE /srv/t/nope.img: no such file'],
    ['a directory as DISKFILE', ['mnt/', 'src'], 2, 'DISKFILE /srv/t/src: neither a file nor a block device'],
    [
      'no DISKFILE and nothing mounted',
      ['mnt/'],
      2,
      'nothing is mounted on mnt: name the DISKFILE to mount there',
    ],
    ['a missing MOUNT', ['nowhere/', 'ext4.img'], 2, 'MOUNT nowhere is no directory: mkdir /srv/t/nowhere'],
  ];
  for (const [title, args, status, message] of refusals)
    it(`refuses ${title}, and mounts nothing`, async () => {
      const { code, stdout, stderr } = await run(args);
      expect({ code, stdout, stderr }).to.deep.equal({
        code: status,
        stdout: '',
        stderr: `overlay-diskfile: ${message}\n`,
      });
      expect((await sandbox().run(['mountpoint', '-q', 'mnt'])).code).to.not.equal(0);
    });

  it('holds UPPER and WORK of a subhost on one image, unseen by the host, until it stops', async function () {
    this.timeout(60_000);
    await sandbox().sh(`
      mkdir -p /opt/subhost/disk/data /opt/subhost/disk/live new/root new/work
      cd /opt/subhost/disk
      truncate -s 32M data.img
      mke2fs -q -t ext4 -d /srv/t/new data.img
      printf '%s\\n' BASE=. START=none 'UPPER=!overlay-diskfile data/root data.img' \\
        'WORK=!overlay-diskfile data/work' >disk.conf
      overlay-boot disk.conf
      overlay-go disk sh -c 'echo kept >/kept'`);
    expect(await sandbox().sh('grep -c disk/data /proc/self/mountinfo || true')).to.equal('0\n');
    await sandbox().sh('overlay-stop disk');
    const loops = async () => (await sandbox().sh('losetup -n -O BACK-FILE')).includes('subhost/disk');
    await eventually('the loop device is gone', async () => !(await loops()));
    expect(await sandbox().sh('debugfs -R "cat /root/kept" /opt/subhost/disk/data.img 2>/dev/null')).to.equal(
      'kept\n',
    );
  });
});
