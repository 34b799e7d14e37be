import { expect } from 'chai';
import {
  type DiskImage,
  identifyImage,
  parseBlkid,
  parsePartitions,
  partitionOf,
  type RunTool,
} from '../../../src/stack/disk-image.js';

const sfdisk = (partitions: readonly object[], table: object = { sectorsize: 512 }): string =>
  JSON.stringify({ partitiontable: { ...table, partitions } });

/** Stands in for the host's tools: answers by the program's name. */
const tools =
  (answers: Readonly<Record<string, { stdout: string; exitCode?: number }>>): RunTool =>
  async ([program = ''], { okCodes = [0] } = {}) => {
    const { stdout = '', exitCode = 0 } = answers[program] ?? {};
    if (!okCodes.includes(exitCode)) throw new Error(`${program}: exit status ${exitCode}`);
    return { stdout, exitCode };
  };

const messageOf = async (promise: Promise<unknown>): Promise<string> =>
  promise.then(
    () => 'no failure',
    (error: Error) => error.message,
  );

describe('parsePartitions', () => {
  it('gives offsets and sizes in bytes, type and label', () => {
    const [partition] = parsePartitions(
      sfdisk([
        { node: 'a.img1', start: 2048, size: 20480, type: '0FC63DAF', name: 'root fs', attrs: 'GUID:63' },
      ]),
      'a.img',
    );
    expect(partition).to.deep.equal({
      index: 1,
      offsetBytes: 1048576,
      sizeBytes: 10485760,
      type: '0fc63daf',
      label: 'root fs',
      attributes: 'GUID:63',
    });
  });

  it('reckons with the sector size of the table', () => {
    const text = sfdisk([{ node: '/dev/sda1', start: 6, size: 10, type: '83' }], { sectorsize: 4096 });
    expect(parsePartitions(text, '/dev/sda')[0]?.offsetBytes).to.equal(24576);
  });

  it('leaves extended partitions out and keeps the numbers of the logical ones', () => {
    const nodes = ['5', 'f', '85', '83'].map((type, i) => ({ node: `d${i + 1}`, start: 1, size: 1, type }));
    const text = sfdisk([...nodes, { node: 'd5', start: 1, size: 1, type: '83' }]);
    expect(parsePartitions(text, 'd').map(({ index }) => index)).to.deep.equal([4, 5]);
  });

  it('understands the "p" after a name that ends in a digit', () => {
    const text = sfdisk([{ node: 'disk2p3', start: 1, size: 1, type: '83' }]);
    expect(parsePartitions(text, 'disk2')[0]?.index).to.equal(3);
  });

  it('gives none for a table without partitions', () => {
    expect(parsePartitions('{"partitiontable":{"label":"gpt"}}', 'x')).to.deep.equal([]);
  });

  for (const text of ['', '[]', '{"partitiontable":{"partitions":[{"node":"other1"}]}}'])
    it(`says that it does not understand ${JSON.stringify(text)}`, () => {
      expect(() => parsePartitions(text, 'x.img')).to.throw(
        'x.img: sfdisk --json says something that is not understood',
      );
    });
});

describe('parseBlkid', () => {
  const cases: readonly [string, string, object][] = [
    [
      'a file system',
      'DEVNAME=e\nLABEL=a\\ b\nTYPE=ext4\nUSAGE=filesystem\n',
      { table: undefined, content: { type: 'ext4', usage: 'filesystem', label: 'a b' } },
    ],
    ['a partition table', 'DEVNAME=e\nPTTYPE=gpt', { table: 'gpt' }],
    [
      'both',
      'TYPE=iso9660\nUSAGE=filesystem\nPTTYPE=dos',
      { table: 'dos', content: { type: 'iso9660', usage: 'filesystem' } },
    ],
    ['nothing', '', { table: undefined }],
  ];
  for (const [title, text, expected] of cases)
    it(`reads ${title}`, () => expect(parseBlkid(text)).to.deep.equal(expected));
});

describe('identifyImage', () => {
  it('tells a bare file system', async () => {
    const image = await identifyImage('e.img', tools({ blkid: { stdout: 'TYPE=ext4\nUSAGE=filesystem' } }));
    expect(image).to.deep.equal({
      path: 'e.img',
      partitions: [],
      content: { type: 'ext4', usage: 'filesystem' },
    });
  });

  it('lists the partitions of a table', async () => {
    const stdout = sfdisk([{ node: 'e.img1', start: 1, size: 2, type: '83' }]);
    const image = await identifyImage(
      'e.img',
      tools({ blkid: { stdout: 'PTTYPE=dos' }, sfdisk: { stdout } }),
    );
    expect(image.table).to.equal('dos');
    expect(image.partitions.map(({ index }) => index)).to.deep.equal([1]);
  });

  it('takes a file system with a poor table besides for a file system', async () => {
    const blkid = { stdout: 'TYPE=iso9660\nUSAGE=filesystem\nPTTYPE=dos' };
    const image = await identifyImage('e.iso', tools({ blkid, sfdisk: { stdout: '', exitCode: 1 } }));
    expect(image.content?.type).to.equal('iso9660');
    expect(image.table).to.equal(undefined);
  });

  it('knows nothing of an empty image', async () => {
    const image = await identifyImage('z', tools({ blkid: { stdout: '', exitCode: 2 } }));
    expect(image).to.deep.equal({ path: 'z', partitions: [] });
  });

  it('names a table of another kind', async () => {
    expect(await messageOf(identifyImage('z', tools({ blkid: { stdout: 'PTTYPE=sun' } })))).to.equal(
      'z: its partition table is of kind sun: GPT and MBR are read',
    );
  });

  it('does not choose between several file systems', async () => {
    expect(await messageOf(identifyImage('z', tools({ blkid: { stdout: '', exitCode: 8 } })))).to.equal(
      'z: traces of several file systems: wipefs lists and removes them',
    );
  });
});

describe('partitionOf', () => {
  const partition = { offsetBytes: 0, sizeBytes: 1.5 * 2 ** 30, type: '83' };
  const image: DiskImage = {
    path: 'd.img',
    table: 'gpt',
    partitions: [
      { ...partition, index: 1, label: 'boot', sizeBytes: 2 ** 20 },
      { ...partition, index: 3 },
    ],
  };

  it('finds a partition by its index, not by its place in the list', () =>
    expect(partitionOf(image, 3).sizeBytes).to.equal(1.5 * 2 ** 30));

  it('lists the partitions there are', () => {
    expect(() => partitionOf(image, 2)).to.throw(
      'd.img: no partition 2: its partitions (GPT) are 1 (boot, 1M), 3 (1.5G)',
    );
  });

  it('says so when there is no partition table', () => {
    const bare: DiskImage = { path: 'e', partitions: [], content: { type: 'ext4', usage: 'filesystem' } };
    expect(() => partitionOf(bare, 1)).to.throw(
      'e: no partition 1: it has no partition table, but ext4: leave the index out',
    );
  });
});
