/**
 * Which file system of a disk image is meant: the image itself, or a partition of its GPT by the UAPI.2
 * Discoverable Partitions Specification.
 */
import { UserError } from '../errors.js';
import { type PartitionUse, partitionUse } from './architecture.js';
import {
  type Content,
  contentOf,
  type DiskImage,
  describeContent,
  identifyImage,
  type Partition,
  type RunTool,
  tableName,
} from './disk-image.js';
import type { ImageTree } from './stack.js';
import { compareVersions } from './version-order.js';

/** What the kernel mounts and this project knows to leave unchanged where it is mounted read-only. */
const FILE_SYSTEMS: readonly string[] = ['squashfs', 'erofs', 'ext2', 'ext3', 'ext4', 'xfs', 'btrfs'];

/** Bit 63, "no-auto": the partition is not to be found by its type. */
const NO_AUTO_BIT = '63';

export interface ImageQuery {
  /** systemd's name. */
  readonly architecture: string;
  /** A file system that is only a `/usr` will not do. */
  readonly needsRoot: boolean;
  /** What a mistake's message begins with: the mstack's entry. */
  readonly context: string;
}

export interface ChosenTree {
  readonly tree: ImageTree;
  /** It is what belongs at `/usr`, not a root. */
  readonly isUsr: boolean;
}

/**
 * The file system of an image (or block device) that is meant.
 * @throws UserError, or Failure, that says what was found instead
 */
export async function chooseTree(path: string, query: ImageQuery, run: RunTool): Promise<ChosenTree> {
  const image = await identifyImage(path, run);
  if (image.table === 'gpt' && !image.content) {
    const { partition, isUsr } = choosePartition(image, query);
    const where = `${query.context}: ${path}: partition ${partition.index}`;
    const type = mountableType(await contentOf(image, partition, run), where);
    const { offsetBytes, sizeBytes } = partition;
    return { tree: { kind: 'image', path, type, offsetBytes, sizeBytes }, isUsr };
  }
  if (image.table && !image.content)
    throw new UserError({
      what: `${query.context}: ${path} has a partition table of the kind ${tableName(image.table)}`,
      todo: 'a GPT is needed, or a file system alone',
    });
  const type = mountableType(image.content, `${query.context}: ${path}`);
  return { tree: { kind: 'image', path, type, offsetBytes: 0, sizeBytes: 0 }, isUsr: false };
}

function mountableType(content: Content | undefined, where: string): string {
  if (content && FILE_SYSTEMS.includes(content.type)) return content.type;
  throw new UserError({
    what: `${where} holds ${describeContent(content)}`,
    todo: `a file system is needed: ${FILE_SYSTEMS.join(', ')}`,
  });
}

/**
 * The root partition for the architecture, the one with the newest label; else, where that will do, its usr partition;
 * else the only Linux data partition.
 * @throws UserError that lists the partitions
 */
export function choosePartition(
  image: DiskImage,
  { architecture, needsRoot, context }: ImageQuery,
): { readonly partition: Partition; readonly isUsr: boolean } {
  const usable = image.partitions.filter((partition) => !isNoAuto(partition));
  const having = (use: PartitionUse['use']): Partition[] =>
    usable.filter(({ type }) => {
      const found = partitionUse(type);
      return found?.use === use && (found.use === 'generic' || found.architecture === architecture);
    });
  const root = newest(having('root'));
  if (root) return { partition: root, isUsr: false };
  const usr = newest(having('usr'));
  if (usr && !needsRoot) return { partition: usr, isUsr: true };
  const [generic, second] = having('generic');
  if (generic && !second) return { partition: generic, isUsr: false };
  const what = second
    ? 'has several Linux data partitions, and no root partition'
    : usr
      ? 'has a usr partition alone, and a root is needed here'
      : 'has no root partition';
  throw new UserError({
    what: `${context}: ${image.path} ${what} for ${architecture}`,
    todo: `its partitions are ${describeUses(image.partitions)}`,
  });
}

/** By its label; of equal ones the first. */
const newest = (partitions: readonly Partition[]): Partition | undefined =>
  partitions.reduce<Partition | undefined>(
    (best, one) => (best && compareVersions(one.label ?? '', best.label ?? '') <= 0 ? best : one),
    undefined,
  );

/** sfdisk writes the bits from 48 on as `GUID:60,63`. */
const isNoAuto = ({ attributes }: Partition): boolean =>
  /GUID:([0-9,]+)/
    .exec(attributes ?? '')?.[1]
    ?.split(',')
    .includes(NO_AUTO_BIT) ?? false;

function describeUses(partitions: readonly Partition[]): string {
  const one = (partition: Partition): string => {
    const found = partitionUse(partition.type);
    const use =
      found?.use === 'generic'
        ? 'Linux data'
        : found
          ? `${found.use} for ${found.architecture}`
          : partition.type;
    return `${partition.index} (${[use, isNoAuto(partition) && 'no-auto'].filter(Boolean).join(', ')})`;
  };
  return partitions.map(one).join(', ') || 'none';
}
