/**
 * What a disk image (or a block device) holds: a partition table, or a file system. Reading only, by
 * sfdisk(8) and blkid(8); the caller hands in what runs them.
 */
import { Failure, UserError } from '../errors.js';

/** Runs a program of the host; throws for an exit status other than 0 and `okCodes`. */
export type RunTool = (
  argv: readonly string[],
  options?: { readonly okCodes?: readonly number[] },
) => Promise<{ readonly stdout: string; readonly exitCode: number }>;

/** A part of an image. */
export interface Extent {
  readonly offsetBytes: number;
  readonly sizeBytes: number;
}

export interface Partition extends Extent {
  /** As the kernel numbers it, from 1; logical partitions of an MBR from 5. */
  readonly index: number;
  /** GPT: the type's GUID, lower case; MBR: its number in hexadecimal. */
  readonly type: string;
  /** GPT only. */
  readonly label?: string;
  /** GPT only: the partition's attributes in sfdisk's words. */
  readonly attributes?: string;
}

/** What blkid found somewhere; `usage` is `filesystem` for what can be mounted. */
export interface Content {
  /** `ext4`, `squashfs`, `swap`, `crypto_LUKS`, … */
  readonly type: string;
  readonly usage: string;
  readonly label?: string;
}

export interface DiskImage {
  readonly path: string;
  /** Undefined where there is no partition table. */
  readonly table?: 'gpt' | 'dos';
  /** In the order of their index; an extended partition, which only holds others, is left out. */
  readonly partitions: readonly Partition[];
  /** What lies in the image itself, where blkid knows something besides a partition table. */
  readonly content?: Content;
}

/** The MBR's types of an extended partition: plain, LBA, Linux. */
const EXTENDED = ['5', 'f', '85'];
/** blkid's exit status for "nothing found" (2) and "several things found" (8). */
const NOTHING_FOUND = 2;
const AMBIVALENT = 8;

/** What an image holds. @throws Failure when it cannot be read, or has a partition table that makes no sense */
export async function identifyImage(path: string, run: RunTool): Promise<DiskImage> {
  const { content, table } = await probe(path, run);
  const bare: DiskImage = { path, partitions: [], ...(content && { content }) };
  if (table === 'gpt' || table === 'dos') {
    // An image for optical media is a file system and has a table besides, which may be a poor one.
    const okCodes = content ? [0, 1] : [0];
    const { stdout, exitCode } = await run(['sfdisk', '--json', path], { okCodes });
    return exitCode === 0 ? { ...bare, table, partitions: parsePartitions(stdout, path) } : bare;
  }
  if (!table || content) return bare;
  throw new Failure({
    what: `${path}: its partition table is of kind ${table}`,
    todo: 'GPT and MBR are read',
  });
}

/** What lies in a partition, or undefined where blkid knows nothing there. */
export async function contentOf(
  image: DiskImage,
  extent: Extent,
  run: RunTool,
): Promise<Content | undefined> {
  return (await probe(image.path, run, extent)).content;
}

/** The partition of an index. @throws UserError that lists those there are */
export function partitionOf(image: DiskImage, index: number): Partition {
  const found = image.partitions.find((partition) => partition.index === index);
  if (found) return found;
  throw new UserError({
    what: `${image.path}: no partition ${index}`,
    todo: image.table
      ? `its partitions (${tableName(image.table)}) are ${describePartitions(image)}`
      : `it has no partition table, but ${describeContent(image.content)}: leave the index out`,
  });
}

/** `1 (root, 10M), 2 (1.5G)`, or `none`. */
export function describePartitions({ partitions }: DiskImage): string {
  const one = ({ index, label, sizeBytes }: Partition): string =>
    `${index} (${[label, sizeText(sizeBytes)].filter(Boolean).join(', ')})`;
  return partitions.map(one).join(', ') || 'none';
}

function sizeText(bytes: number): string {
  const [unit, letter] = bytes < 2 ** 20 ? [2 ** 10, 'K'] : bytes < 2 ** 30 ? [2 ** 20, 'M'] : [2 ** 30, 'G'];
  return `${Math.round((bytes / unit) * 10) / 10}${letter}`;
}

export const tableName = (table: 'gpt' | 'dos'): string => (table === 'gpt' ? 'GPT' : 'MBR');

/** `ext4`, `crypto_LUKS`, or `nothing that is known`. */
export const describeContent = (content: Content | undefined): string =>
  content?.type ?? 'nothing that is known';

interface SfdiskPartition {
  readonly node: string;
  readonly start: number;
  readonly size: number;
  readonly type: string;
  readonly name?: string;
  readonly attrs?: string;
}

/** The partitions in the output of `sfdisk --json PATH`. @throws Failure for output of another form */
export function parsePartitions(json: string, path: string): Partition[] {
  try {
    const { partitiontable } = JSON.parse(json) as {
      partitiontable: { sectorsize?: number; partitions?: readonly SfdiskPartition[] };
    };
    // sfdisk before 2.35 does not say the sector size; it reads files in sectors of 512 bytes.
    const { sectorsize = 512, partitions = [] } = partitiontable;
    return partitions
      .filter(({ type }) => !EXTENDED.includes(type.toLowerCase()))
      .map(({ node, start, size, type, name, attrs }) => ({
        index: indexOfNode(node, path),
        offsetBytes: start * sectorsize,
        sizeBytes: size * sectorsize,
        type: type.toLowerCase(),
        ...(name !== undefined && { label: name }),
        ...(attrs !== undefined && { attributes: attrs }),
      }))
      .sort((a, b) => a.index - b.index);
  } catch (cause) {
    throw new Failure({ what: `${path}: sfdisk --json says something that is not understood`, cause });
  }
}

/** sfdisk writes PATH and the number, with a `p` between them where PATH ends in a digit. */
function indexOfNode(node: string, path: string): number {
  const index = Number(node.slice(path.length).replace(/^p/, ''));
  if (node.startsWith(path) && Number.isInteger(index) && index > 0) return index;
  throw new Error(`no partition's name: ${node}`);
}

async function probe(
  path: string,
  run: RunTool,
  extent?: Extent,
): Promise<{ content?: Content; table?: string | undefined }> {
  const place = extent ? ['-O', `${extent.offsetBytes}`, '-S', `${extent.sizeBytes}`] : [];
  const { stdout, exitCode } = await run(['blkid', '-p', '-o', 'export', ...place, path], {
    okCodes: [0, NOTHING_FOUND, AMBIVALENT],
  });
  if (exitCode === AMBIVALENT)
    throw new Failure({
      what: `${path}: traces of several file systems${extent ? ` at byte ${extent.offsetBytes}` : ''}`,
      todo: 'wipefs lists and removes them',
    });
  return parseBlkid(stdout);
}

/** The output of `blkid -o export`: NAME=VALUE lines, blanks and the like escaped by a backslash. */
export function parseBlkid(text: string): { content?: Content; table?: string | undefined } {
  const values = new Map(
    text.split('\n').map((line): [string, string] => {
      const equals = line.indexOf('=');
      return [line.slice(0, equals), line.slice(equals + 1).replace(/\\(.)/g, '$1')];
    }),
  );
  const [type, usage, label] = [values.get('TYPE'), values.get('USAGE'), values.get('LABEL')];
  return {
    table: values.get('PTTYPE'),
    ...(type !== undefined && {
      content: { type, usage: usage ?? 'other', ...(label !== undefined && { label }) },
    }),
  };
}
