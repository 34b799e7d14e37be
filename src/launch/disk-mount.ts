/** Mounts what a disk image holds, by the host's mount(8); the loop device goes away with the mount. */
import { realpathSync, statSync } from 'node:fs';
import { Failure, UserError } from '../errors.js';
import {
  type Content,
  contentOf,
  type DiskImage,
  describeContent,
  describePartitions,
  type Extent,
  identifyImage,
  partitionOf,
  type RunTool,
  tableName,
} from '../stack/disk-image.js';
import { isMountPoint } from '../sys/mountinfo.js';

/** What of an image is to be mounted: a partition of it, or the whole without an index. */
export interface WantedDisk {
  /** Absolute path of an image or a block device. */
  readonly path: string;
  readonly index?: number | undefined;
}

/** The file system to mount and where in the image it is; without an extent it is the whole image. */
export interface DiskFileSystem {
  readonly path: string;
  readonly type: string;
  readonly extent?: Extent;
}

/**
 * Mounts a disk image's file system on a directory, without devices.
 * @param context  what a failure's message says first
 * @throws UserError or Failure; nothing is mounted then, and no loop device left
 */
export async function mountDisk(disk: WantedDisk, mountPoint: string): Promise<void> {
  const { runProgram } = await import('../sys/run.js');
  const { path, type, extent } = await findFileSystem(disk, runProgram);
  // libmount sets the loop device to clear itself before it mounts (LO_FLAGS_AUTOCLEAR, loop(4)).
  const options = ['nodev', ...(extent || !statSync(path).isBlockDevice() ? ['loop'] : [])];
  if (extent) options.push(`offset=${extent.offsetBytes}`, `sizelimit=${extent.sizeBytes}`);
  await runProgram(['mount', '-t', type, '-o', options.join(','), '--', path, mountPoint]);
}

/** Is something mounted on this directory, links on the way to it being followed? */
export function isMounted(directory: string): boolean {
  return isMountPoint(realpathSync(directory));
}

async function findFileSystem({ path, index }: WantedDisk, run: RunTool): Promise<DiskFileSystem> {
  const image = await identifyImage(path, run);
  if (index === undefined) return { path, type: mountableType(image, image.content, path) };
  const extent = partitionOf(image, index);
  const content = await contentOf(image, extent, run);
  return { path, extent, type: mountableType(image, content, `${path}: partition ${index}`) };
}

function mountableType(image: DiskImage, content: Content | undefined, where: string): string {
  if (content?.usage === 'filesystem') return content.type;
  if (image.table && where === image.path)
    throw new UserError({
      what: `${where}: holds a partition table (${tableName(image.table)}), no file system`,
      todo: `give the index of one of its partitions: ${describePartitions(image)}`,
    });
  throw new Failure({ what: `${where}: no file system found`, todo: `it holds ${describeContent(content)}` });
}
