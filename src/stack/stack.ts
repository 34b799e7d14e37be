/**
 * What a root is made of. The one type for all sources: LOWER and UPPER of a conf, a `.mstack` directory, a
 * wafer with its ancestry, a point of the store. Readers make it (from-*.ts), mount-ops.ts says how it is
 * mounted, and nothing else in the project decides on a mount of a stack. Plain data.
 */

/** A file system in a disk image or block device. */
export interface ImageTree {
  readonly kind: 'image';
  /** Absolute path of the image or device. */
  readonly path: string;
  /** File system type as mount(8) names it: `squashfs`, `erofs`, `ext4`, … */
  readonly type: string;
  /** Where it begins in the image; bytes. */
  readonly offsetBytes: number;
  /** Bytes; 0: to the image's end. */
  readonly sizeBytes: number;
  /**
   * Directory in its root that is meant, no link; where there is none an empty one stands for it. The file system's
   * root unless given.
   */
  readonly inside?: string;
}

export interface DirectoryTree {
  readonly kind: 'directory';
  /** Absolute path; may itself be a file, where it is bound on a file. */
  readonly path: string;
}

/** A tree of files that can be a layer, a root or a bind. */
export type Tree = DirectoryTree | ImageTree;

/** The writable layer. */
export interface Writable {
  /** The image that both directories are in; without it they are the host's. */
  readonly image?: ImageTree;
  /** Upper directory: absolute, or inside of the image. */
  readonly upper: string;
  /** The overlay's work directory, likewise. */
  readonly work: string;
  /** Both are made when missing, never through a link, and `work` is emptied first. */
  readonly make: boolean;
}

export interface Bind {
  readonly source: Tree;
  /** Absolute path inside; resolved inside the root only, made when missing. */
  readonly inside: string;
  readonly readOnly: boolean;
}

export interface Stack {
  readonly from: 'conf' | 'wafers' | 'mstack' | 'store';
  /** Read-only layers, the bottom first; only mount-ops.ts turns the order round. */
  readonly layers: readonly Tree[];
  readonly writable?: Writable;
  readonly binds: readonly Bind[];
  /** The hierarchy's root; of the overlay then only `usr/` is bound to its `usr/`. */
  readonly root?: Tree;
  /** Where the overlay keeps its marks: `user.*` as systemd's stacks do, or the kernel's default `trusted.*`. */
  readonly xattrs: 'trusted' | 'user';
  /** Nothing is written anywhere: the writable layer's upper is the top read-only layer, no bind is writable. */
  readonly readOnly: boolean;
}

/** The kernel's limit of lower layers: OVL_MAX_STACK, fs/overlayfs/params.h. */
export const MAX_LAYERS = 500;

/** The upper directory of a writable layer as a layer that is only read. */
export const upperTree = ({ image, upper }: Writable): Tree =>
  image ? { ...image, inside: upper } : { kind: 'directory', path: upper };
