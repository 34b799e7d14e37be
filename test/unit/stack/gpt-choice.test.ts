import { expect } from 'chai';
import type { RunTool } from '../../../src/stack/disk-image.js';
import { chooseTree } from '../../../src/stack/gpt-choice.js';

const ROOT = '4F68BCE3-E8CD-4DB1-96E7-FBCAF984B709';
const ROOT_ARM64 = 'B921B045-1DF0-41C3-AF44-4C6F280D3FAE';
const USR = '8484680C-9521-48C6-9C11-B0720656F69E';
const GENERIC = '0FC63DAF-8483-4772-8E79-3D69D8477DE4';
const SWAP = '0657FD6D-A4AB-43C4-84E5-0933C84B4F4F';

interface Made {
  readonly type: string;
  readonly name?: string;
  readonly attrs?: string;
}

/** Stands in for the host's tools: a GPT with these partitions, each of which holds `content`. */
const gpt =
  (partitions: readonly Made[], content = 'TYPE=ext4\nUSAGE=filesystem'): RunTool =>
  async ([program, ...args]) => {
    if (program === 'blkid') return { stdout: args.includes('-O') ? content : 'PTTYPE=gpt', exitCode: 0 };
    const listed = partitions.map((one, i) => ({
      node: `i.raw${i + 1}`,
      start: 2048 * (i + 1),
      size: 2048,
      ...one,
    }));
    return {
      stdout: JSON.stringify({ partitiontable: { sectorsize: 512, partitions: listed } }),
      exitCode: 0,
    };
  };

const bare =
  (blkid: string, exitCode = 0): RunTool =>
  async ([program]) => {
    if (program !== 'blkid') throw new Error(`${program} is not wanted`);
    return { stdout: blkid, exitCode };
  };

const choose = (run: RunTool, needsRoot = true) =>
  chooseTree('i.raw', { architecture: 'x86-64', needsRoot, context: '"layer@0.raw"' }, run);

const messageOf = (promise: Promise<unknown>): Promise<string> =>
  promise.then(
    () => 'no failure',
    (error: Error) => error.message,
  );

describe('chooseTree', () => {
  for (const type of ['squashfs', 'erofs', 'ext4', 'xfs', 'btrfs'])
    it(`takes a bare ${type} as a whole, without sfdisk`, async () => {
      expect(await choose(bare(`TYPE=${type}\nUSAGE=filesystem`))).to.deep.equal({
        tree: { kind: 'image', path: 'i.raw', type, offsetBytes: 0, sizeBytes: 0 },
        isUsr: false,
      });
    });

  const choices: readonly [title: string, partitions: readonly Made[], needsRoot: boolean, index: number][] =
    [
      [
        'the root partition for the architecture',
        [{ type: SWAP }, { type: ROOT_ARM64 }, { type: ROOT }],
        true,
        3,
      ],
      ['root over usr and Linux data', [{ type: GENERIC }, { type: USR }, { type: ROOT }], false, 3],
      [
        'of several roots the one with the newest label',
        [
          { type: ROOT, name: 'os_2' },
          { type: ROOT, name: 'os_10' },
          { type: ROOT, name: 'os_9' },
        ],
        true,
        2,
      ],
      [
        'of roots with equal labels the first',
        [
          { type: ROOT, name: 'os' },
          { type: ROOT, name: 'os' },
        ],
        true,
        1,
      ],
      [
        'a root over one flagged no-auto',
        [
          { type: ROOT, name: 'os_2', attrs: 'GUID:63' },
          { type: ROOT, name: 'os_1' },
        ],
        true,
        2,
      ],
      ['a root with other flags', [{ type: ROOT, attrs: 'RequiredPartition GUID:59,60' }], true, 1],
      ['usr where no root is needed', [{ type: GENERIC }, { type: USR }], false, 2],
      ['the only Linux data partition', [{ type: SWAP }, { type: GENERIC }], true, 2],
      [
        'the only one not flagged no-auto',
        [{ type: GENERIC, attrs: 'GUID:60,63' }, { type: GENERIC }],
        true,
        2,
      ],
    ];
  for (const [title, partitions, needsRoot, index] of choices)
    it(`takes ${title}`, async () => {
      const { tree, isUsr } = await choose(gpt(partitions), needsRoot);
      const offsetBytes = 2048 * 512 * index;
      expect(tree).to.deep.equal({
        kind: 'image',
        path: 'i.raw',
        type: 'ext4',
        offsetBytes,
        sizeBytes: 2 ** 20,
      });
      expect(isUsr).to.equal(partitions[index - 1]?.type === USR);
    });

  const refusals: readonly [title: string, run: RunTool, message: string][] = [
    [
      'two Linux data partitions',
      gpt([{ type: GENERIC }, { type: GENERIC }]),
      '"layer@0.raw": i.raw has several Linux data partitions, and no root partition for x86-64: its partitions are 1 (Linux data), 2 (Linux data)',
    ],
    [
      'a root for another architecture alone',
      gpt([{ type: ROOT_ARM64 }]),
      '"layer@0.raw": i.raw has no root partition for x86-64: its partitions are 1 (root for arm64)',
    ],
    [
      'usr alone where a root is needed',
      gpt([{ type: USR }]),
      '"layer@0.raw": i.raw has a usr partition alone, and a root is needed here for x86-64: its partitions are 1 (usr for x86-64)',
    ],
    [
      'a root flagged no-auto',
      gpt([{ type: ROOT, attrs: 'GUID:63' }]),
      '"layer@0.raw": i.raw has no root partition for x86-64: its partitions are 1 (root for x86-64, no-auto)',
    ],
    [
      'partitions of other types',
      gpt([{ type: SWAP }]),
      '"layer@0.raw": i.raw has no root partition for x86-64: its partitions are 1 (0657fd6d-a4ab-43c4-84e5-0933c84b4f4f)',
    ],
    ['an empty table', gpt([]), 'i.raw has no root partition for x86-64: its partitions are none'],
    [
      'a root partition without a file system',
      gpt([{ type: ROOT }], 'TYPE=crypto_LUKS\nUSAGE=crypto'),
      '"layer@0.raw": i.raw: partition 1 holds crypto_LUKS: a file system is needed: squashfs,',
    ],
    [
      'swap',
      bare('TYPE=swap\nUSAGE=other'),
      '"layer@0.raw": i.raw holds swap: a file system is needed: squashfs,',
    ],
    ['a file system of another kind', bare('TYPE=vfat\nUSAGE=filesystem'), 'i.raw holds vfat'],
    ['an empty image', bare('', 2), '"layer@0.raw": i.raw holds nothing that is known'],
  ];
  for (const [title, run, message] of refusals)
    it(`refuses ${title} and says what was found`, async () =>
      expect(await messageOf(choose(run))).to.include(message));

  it('refuses an MBR', async () => {
    const run: RunTool = async ([program]) =>
      program === 'blkid'
        ? { stdout: 'PTTYPE=dos', exitCode: 0 }
        : { stdout: '{"partitiontable":{"partitions":[]}}', exitCode: 0 };
    expect(await messageOf(choose(run))).to.equal(
      '"layer@0.raw": i.raw has a partition table of the kind MBR: a GPT is needed, or a file system alone',
    );
  });
});
