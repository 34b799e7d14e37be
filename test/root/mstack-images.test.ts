import { expect } from 'chai';
import { eventually, useSandbox } from '../helpers/namespaces.js';

/** Partition types of the Discoverable Partitions Specification, by what uname calls the machine. */
const TYPES: Readonly<Record<string, { readonly root: string; readonly usr: string }>> = {
  x64: { root: '4f68bce3-e8cd-4db1-96e7-fbcaf984b709', usr: '8484680c-9521-48c6-9c11-b0720656f69e' },
  arm64: { root: 'b921b045-1df0-41c3-af44-4c6f280d3fae', usr: 'b0e01050-ee5f-4390-949a-9101b17104e9' },
};
const GENERIC = '0fc63daf-8483-4772-8e79-3d69d8477de4';
const OWN = TYPES[process.arch] ?? { root: '', usr: '' };
const FOREIGN = process.arch === 'arm64' ? TYPES.x64 : TYPES.arm64;

interface Part {
  readonly type: string;
  readonly name?: string;
  readonly attrs?: string;
  /** Its ext4 file system has this in the file `f`, and in `usr/f` unless it is a usr itself. */
  readonly text?: string;
}

const MIB = 2 ** 20;
const PART_MIB = 8;

/** A script that makes a GPT image with ext4 in the partitions that have a text. */
function makeGpt(path: string, parts: readonly Part[]): string {
  const lines = parts.map(
    ({ type, name, attrs }) =>
      `size=${PART_MIB}M,type=${type}${name ? `,name="${name}"` : ''}${attrs ? `,attrs="${attrs}"` : ''}`,
  );
  const fills = parts.map(({ text, type }, i) => {
    if (text === undefined) return '';
    const offset = MIB + i * PART_MIB * MIB;
    const tree =
      type === OWN.usr
        ? `echo ${text} >src/f`
        : `mkdir src/usr; echo ${text} >src/f; echo ${text} >src/usr/f`;
    return `rm -rf src; mkdir src; ${tree}; mke2fs -q -F -t ext4 -d src -E offset=${offset} ${path} ${PART_MIB}M\n`;
  });
  return `truncate -s ${2 + parts.length * PART_MIB}M ${path}
printf '%s\\n' 'label: gpt' ${lines.map((line) => `'${line}'`).join(' ')} | sfdisk -q ${path}
${fills.join('')}`;
}

describe('overlay-mstack with disk images', () => {
  const sandbox = useSandbox();
  const sh = (script: string): Promise<string> => sandbox().sh(script);
  const run = (...args: readonly string[]) => sandbox().run(['overlay-mstack', ...args]);
  /** Flags of the loop devices whose images are on the sandbox's own file system. */
  const loops = (): Promise<string> =>
    sh(
      'losetup -l -n -O BACK-MAJ:MIN,AUTOCLEAR,RO | awk -v at="$(stat -c %Hd:%Ld .)" \'$1 == at { print $2, $3 }\'',
    );
  const has = async (program: string): Promise<boolean> =>
    (await sandbox().run(['which', program])).code === 0;

  beforeEach(async function () {
    if (!OWN.root) this.skip();
    await sh('mkdir -p x.mstack w src; echo image >src/f; mkdir src/usr; echo image >src/usr/f');
  });
  afterEach(async () => {
    await sh('while mountpoint -q w; do umount -R w; done; rm -rf ./*');
    expect(await loops()).to.equal('');
  });

  const mounted = async (script: string, ...options: readonly string[]): Promise<void> => {
    await sh(script);
    const { code, stdout, stderr } = await run('-m', ...options, 'x.mstack', 'w');
    expect({ code, stdout, stderr }).to.deep.equal({ code: 0, stdout: '', stderr: '' });
  };
  const refused = async (script: string): Promise<string> => {
    await sh(script);
    const before = await sh('md5sum x.mstack/*.raw; find x.mstack | sort');
    const { code, stderr } = await run('-m', 'x.mstack', 'w');
    expect(code).to.not.equal(0);
    expect(await sh('grep " /srv/t/w" /proc/self/mountinfo || true')).to.equal('');
    expect(await loops()).to.equal('');
    expect(await sh('md5sum x.mstack/*.raw; find x.mstack | sort')).to.equal(before);
    return stderr.replaceAll('/srv/t/', '');
  };

  const makers: readonly [type: string, program: string, script: string][] = [
    ['squashfs', 'mksquashfs', 'mksquashfs src i.raw -quiet -no-progress >/dev/null'],
    ['erofs', 'mkfs.erofs', 'mkfs.erofs i.raw src >/dev/null 2>&1'],
    ['ext4', 'mke2fs', 'truncate -s 8M i.raw; mke2fs -q -t ext4 -d src i.raw'],
    [
      'xfs',
      'mkfs.xfs',
      'truncate -s 320M i.raw; mkfs.xfs -q i.raw; mount -o loop i.raw w; cp -r src/. w; umount w',
    ],
    ['btrfs', 'mkfs.btrfs', 'truncate -s 128M i.raw; mkfs.btrfs -q --rootdir src i.raw'],
  ];
  for (const [type, program, script] of makers) {
    it(`mounts a bare ${type} as a lone layer, and leaves it identical`, async function () {
      if (!(await has(program))) this.skip();
      await sh(`${script}; mv i.raw x.mstack/layer@0.raw`);
      const before = await sh('md5sum x.mstack/layer@0.raw');
      await mounted('true');
      expect(await sh('cat w/f; findmnt -n -o FSTYPE w')).to.equal(`image\n${type}\n`);
      expect((await sandbox().run(['touch', 'w/new'])).stderr).to.include('Read-only file system');
      expect(await loops()).to.equal('1 1\n');
      expect((await run('-u', 'w')).code).to.equal(0);
      expect(await loops()).to.equal('');
      expect(await sh('md5sum x.mstack/layer@0.raw')).to.equal(before);
    });

    it(`has a ${type} below a directory and rw`, async function () {
      if (!(await has(program))) this.skip();
      await mounted(
        `${script}; mv i.raw x.mstack/layer@0.raw; mkdir x.mstack/layer@1 x.mstack/rw; echo 1 >x.mstack/layer@1/g`,
      );
      expect(await sh('echo up >>w/f; cat w/f w/g')).to.equal('image\nup\n1\n');
      expect(await sh('cat x.mstack/rw/data/f')).to.equal('image\nup\n');
    });
  }

  it('leaves a file system identical that was not unmounted', async () => {
    await sh(`truncate -s 8M i.raw; mke2fs -q -t ext4 -d src i.raw; mount -o loop i.raw w; echo more >w/g; sync w/g
      cp --sparse=always i.raw x.mstack/layer@0.raw; umount w; sync x.mstack/layer@0.raw; md5sum x.mstack/layer@0.raw >sum`);
    await mounted('true');
    expect(await sh('cat w/f')).to.equal('image\n');
    await run('-u', 'w');
    await sh('md5sum -c sum');
  });

  it('mounts the example of the manual: images as layers by links, and rw on top', async () => {
    await mounted(`mksquashfs src base.raw -quiet -no-progress >/dev/null; rm -r src/*; echo app >src/app
      mksquashfs src app.raw -quiet -no-progress >/dev/null
      cd x.mstack; ln -s ../base.raw layer@0.raw; ln -s ../app.raw layer@1.raw; mkdir rw`);
    expect(await sh('cat w/f w/app; echo x >w/new; ls x.mstack/rw/data')).to.equal('image\napp\nnew\n');
  });

  it('mounts the example of the manual: an image at usr of a writable root', async () => {
    await mounted(`mksquashfs src vendor.raw -quiet -no-progress >/dev/null
      cd x.mstack; ln -s ../vendor.raw layer@0.raw; mkdir root; echo own >root/f`);
    expect(await sh('cat w/f w/usr/f; echo x >w/new; ls x.mstack/root')).to.equal(
      'own\nimage\nf\nnew\nusr\n',
    );
    expect((await sandbox().run(['touch', 'w/usr/new'])).stderr).to.include('Read-only file system');
  });

  it('mounts the example of the manual: an image as the root, and a writable var', async () => {
    await mounted(`mkdir src/var myapp1-var; mksquashfs src myapp1.raw -quiet -no-progress >/dev/null
      cd x.mstack; ln -s ../myapp1.raw layer@0.raw; ln -s ../myapp1-var bind:var`);
    expect(await sh('echo x >w/var/new; cat w/f myapp1-var/new')).to.equal('image\nx\n');
    expect((await sandbox().run(['touch', 'w/new'])).stderr).to.include('Read-only file system');
  });

  it('has rw.raw writable, and data and work in it', async () => {
    await mounted(
      'truncate -s 8M x.mstack/rw.raw; mke2fs -q -t ext4 x.mstack/rw.raw; mkdir x.mstack/layer@0; echo l >x.mstack/layer@0/l',
    );
    expect(await sh('echo up >w/f; cat w/l')).to.equal('l\n');
    await run('-u', 'w');
    expect(await loops()).to.equal('');
    expect((await run('-m', 'x.mstack', 'w')).code).to.equal(0);
    expect(await sh('cat w/f')).to.equal('up\n');
    await run('-u', 'w');
    const before = await sh('md5sum x.mstack/rw.raw');
    expect((await run('-m', '-r', 'x.mstack', 'w')).code).to.equal(0);
    expect(await sh('cat w/f')).to.equal('up\n');
    expect((await sandbox().run(['touch', 'w/new'])).stderr).to.include('Read-only file system');
    await run('-u', 'w');
    expect(await sh('md5sum x.mstack/rw.raw')).to.equal(before);
  });

  for (const [title, layers, seen] of [
    ['upon layers', 'mkdir x.mstack/layer@0; echo l >x.mstack/layer@0/l', 'l\n'],
    ['alone', ':', ''],
  ] as const)
    it(`reads an rw.raw in which nothing has been written yet as an empty layer, ${title}`, async () => {
      await sh(`truncate -s 8M x.mstack/rw.raw; mke2fs -q -t ext4 x.mstack/rw.raw; ${layers}`);
      const before = await sh('md5sum x.mstack/rw.raw');
      expect(await run('-m', '-r', 'x.mstack', 'w')).to.include({ code: 0, stderr: '' });
      expect(await sh('ls w')).to.equal(seen);
      expect((await sandbox().run(['touch', 'w/new'])).stderr).to.include('Read-only file system');
      await run('-u', 'w');
      expect(await sh('md5sum x.mstack/rw.raw')).to.equal(before);
    });

  it('refuses an rw.raw whose data is a link, also read-only', async () => {
    await sh('mkdir -p img x.mstack/layer@0; ln -s /etc img/data; truncate -s 8M x.mstack/rw.raw');
    await sh('mke2fs -q -t ext4 -d img x.mstack/rw.raw');
    for (const mode of [['-m'], ['-m', '-r']]) {
      const { code, stderr } = await run(...mode, 'x.mstack', 'w');
      expect([code, stderr]).to.satisfy(([, text]: [number, string]) =>
        /data: .*directory of its own/.test(text),
      );
      expect(code).to.equal(1);
    }
    expect(await sh('ls w')).to.equal('');
    expect(await loops()).to.equal('');
  });

  it('has a bind of an image writable, and a robind of the same kind not', async () => {
    await mounted(`for i in bind@srv robind@opt; do truncate -s 8M x.mstack/$i.raw; mke2fs -q -t ext4 -d src x.mstack/$i.raw; done
      md5sum x.mstack/robind@opt.raw >sum`);
    expect(await sh('echo x >w/srv/new; cat w/opt/f')).to.equal('image\n');
    expect((await sandbox().run(['touch', 'w/opt/new'])).stderr).to.include('Read-only file system');
    await run('-u', 'w');
    await sh('md5sum -c sum');
    await sh('mount -o loop,ro x.mstack/bind@srv.raw w');
    expect(await sh('cat w/new')).to.equal('x\n');
  });

  it('takes an image that cannot be written where it could be: a bind, a root', async () => {
    await mounted(`mkdir src/var; mksquashfs src i.raw -quiet -no-progress >/dev/null
      cp i.raw x.mstack/root.raw; mv i.raw x.mstack/bind@var.raw`);
    expect(await sh('cat w/f w/var/f')).to.equal('image\nimage\n');
  });

  it('has a root.raw writable', async () => {
    await mounted(`truncate -s 8M x.mstack/root.raw; mke2fs -q -t ext4 -d src x.mstack/root.raw
      mkdir -p x.mstack/layer@1/usr; echo layer >x.mstack/layer@1/usr/f`);
    expect(await sh('echo x >w/new; cat w/f w/usr/f w/new')).to.equal('image\nlayer\nx\n');
  });

  it('picks an image from a .v directory', async () => {
    await mounted(`mkdir x.mstack/layer@0.raw.v; cd x.mstack/layer@0.raw.v
      for v in 1.9 1.10 2+0-1; do echo $v >../../src/f; mksquashfs ../../src layer@0_$v.raw -quiet -no-progress >/dev/null; done`);
    expect(await sh('cat w/f')).to.equal('1.10\n');
  });

  it('takes a block device', async () => {
    await sh(
      'mksquashfs src i.raw -quiet -no-progress >/dev/null; losetup --show -f i.raw >device; ln -s "$(cat device)" x.mstack/layer@0.raw',
    );
    await mounted('true');
    expect(await sh('cat w/f')).to.equal('image\n');
    expect(JSON.parse((await run('--json', 'x.mstack')).stdout)[0].image).to.equal('block');
    await sh('umount w; losetup -d "$(cat device)"');
  });

  const choices: readonly [title: string, parts: readonly Part[], text: string][] = [
    [
      'the root partition for this architecture',
      [{ type: FOREIGN?.root ?? '' }, { type: GENERIC, text: 'data' }, { type: OWN.root, text: 'own' }],
      'own',
    ],
    [
      'the root with the newest label',
      [
        { type: OWN.root, name: 'os_10', text: '10' },
        { type: OWN.root, name: 'os_9', text: '9' },
      ],
      '10',
    ],
    [
      'a root over a usr',
      [
        { type: OWN.usr, text: 'usr' },
        { type: OWN.root, text: 'root' },
      ],
      'root',
    ],
    ['a single Linux data partition', [{ type: GENERIC, text: 'data' }], 'data'],
    [
      'what is not flagged no-auto',
      [
        { type: OWN.root, name: 'os_2', attrs: 'GUID:63', text: '2' },
        { type: OWN.root, name: 'os_1', text: '1' },
      ],
      '1',
    ],
  ];
  for (const [title, parts, text] of choices)
    it(`finds in a GPT: ${title}`, async () => {
      await sh(`${makeGpt('x.mstack/layer@0.raw', parts)} md5sum x.mstack/layer@0.raw >sum`);
      await mounted('mkdir x.mstack/rw');
      expect(await sh('cat w/f; echo x >w/new')).to.equal(`${text}\n`);
      await run('-u', 'w');
      await sh('md5sum -c sum');
    });

  it('finds a usr partition for the usr of a root', async () => {
    await mounted(`${makeGpt('x.mstack/layer@0.raw', [{ type: OWN.usr, text: 'usr' }])} mkdir x.mstack/root`);
    expect(await sh('cat w/usr/f; echo x >w/new; ls x.mstack/root')).to.equal('usr\nnew\nusr\n');
    expect((await sandbox().run(['touch', 'w/usr/new'])).stderr).to.include('Read-only file system');
  });

  it('finds a usr partition for a bind', async () => {
    await mounted(makeGpt('x.mstack/robind@usr.raw', [{ type: OWN.usr, text: 'usr' }]));
    expect(await sh('cat w/usr/f')).to.equal('usr\n');
  });

  it('leaves nothing that matters when it is killed at any moment: the next mount is as the first', async () => {
    await sh(`mksquashfs src x.mstack/layer@0.raw -quiet -no-progress >/dev/null; mkdir x.mstack/rw
      truncate -s 8M x.mstack/bind@srv.raw; mke2fs -q -t ext4 -d src x.mstack/bind@srv.raw`);
    // From Node's start to well after the mount, the init program with it.
    for (let ms = 20; ms <= 400; ms += 20) {
      await sh(
        `setsid overlay-mstack -m x.mstack w & p=$!; sleep ${ms / 1000}; kill -KILL -- -$p || true; wait $p || true`,
      );
      await sh('if mountpoint -q w; then overlay-mstack -u w; fi');
      await eventually('no loop device is left', async () => (await loops()) === '');
    }
    await mounted('true');
    expect(await sh('cat w/f w/srv/f; echo x >w/new; cat x.mstack/rw/data/new')).to.equal(
      'image\nimage\nx\n',
    );
  }).timeout(120_000);

  const refusals: readonly [title: string, script: string, message: RegExp][] = [
    [
      'two Linux data partitions',
      makeGpt('x.mstack/layer@0.raw', [
        { type: GENERIC, text: '1' },
        { type: GENERIC, text: '2' },
      ]),
      /^overlay-mstack: "layer@0.raw": x.mstack\/layer@0.raw has several Linux data partitions, and no root partition for \S+: its partitions are 1 \(Linux data\), 2 \(Linux data\)\n$/,
    ],
    [
      'the root of another architecture alone',
      makeGpt('x.mstack/layer@0.raw', [{ type: FOREIGN?.root ?? '', text: 'x' }]),
      /has no root partition for \S+: its partitions are 1 \(root for \S+\)\n$/,
    ],
    [
      'usr alone as the root',
      makeGpt('x.mstack/layer@0.raw', [{ type: OWN.usr, text: 'x' }]),
      /has a usr partition alone, and a root is needed here/,
    ],
    [
      'a root flagged no-auto',
      makeGpt('x.mstack/layer@0.raw', [{ type: OWN.root, attrs: 'GUID:63', text: 'x' }]),
      /1 \(root for \S+, no-auto\)\n$/,
    ],
    [
      'a root partition that is empty',
      makeGpt('x.mstack/layer@0.raw', [{ type: OWN.root }]),
      /partition 1 holds nothing that is known/,
    ],
    ['an empty GPT', makeGpt('x.mstack/layer@0.raw', []), /its partitions are none/],
    [
      'an MBR',
      "truncate -s 8M x.mstack/layer@0.raw; echo 'start=2048,type=83' | sfdisk -q --label dos x.mstack/layer@0.raw",
      /has a partition table of the kind MBR: a GPT is needed/,
    ],
    [
      'swap',
      'truncate -s 8M x.mstack/layer@0.raw; mkswap -q x.mstack/layer@0.raw',
      /"layer@0.raw": x.mstack\/layer@0.raw holds swap: a file system is needed/,
    ],
    ['zeros', 'truncate -s 8M x.mstack/layer@0.raw', /holds nothing that is known/],
    ['an empty file', ': >x.mstack/layer@0.raw', /x.mstack\/layer@0.raw/],
    ['text', 'echo text >x.mstack/layer@0.raw', /holds nothing that is known/],
    [
      'a squashfs that is cut off',
      'head -c 200000 /dev/urandom >src/r; mksquashfs src i.raw -quiet -no-progress >/dev/null; head -c 100000 i.raw >x.mstack/layer@0.raw',
      /layer@0.raw/,
    ],
    [
      'a squashfs as rw',
      'mksquashfs src x.mstack/rw.raw -quiet -no-progress >/dev/null; mkdir x.mstack/layer@0',
      /rw.raw/,
    ],
    [
      'an image without the usr that a root needs',
      'rm -r src/usr; mksquashfs src x.mstack/layer@0.raw -quiet -no-progress >/dev/null; mkdir x.mstack/root',
      /usr/,
    ],
    [
      'an image whose usr is a link',
      'rm -r src/usr; mkdir src/x; ln -s x src/usr; mksquashfs src x.mstack/layer@0.raw -quiet -no-progress >/dev/null; mkdir x.mstack/root',
      /usr/,
    ],
    [
      'a good image before a bad one',
      'mksquashfs src x.mstack/layer@0.raw -quiet -no-progress >/dev/null; truncate -s 8M x.mstack/layer@1.raw',
      /"layer@1.raw": x.mstack\/layer@1.raw holds nothing that is known/,
    ],
    [
      'a good image before a place that cannot be',
      'mksquashfs src x.mstack/layer@0.raw -quiet -no-progress >/dev/null; mkdir x.mstack/bind@f-x',
      /\/f/,
    ],
  ];
  for (const [title, script, message] of refusals)
    it(`refuses, and leaves neither a mount nor a loop device: ${title}`, async () =>
      expect(await refused(script)).to.match(message));
});
