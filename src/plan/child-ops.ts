/**
 * The operations that the child (later pid 1) runs in the new namespaces: src/init/child.c has the same
 * table, and a test compares the two. Pure data.
 */
import type { MountOp } from '../stack/mount-ops.js';

export type ChildOp =
  | MountOp
  /** CAPS=all: mounts are not made nodev. */
  | { readonly op: 'devices-allowed' }
  /** A file below UPPER, written only if it is missing. */
  | { readonly op: 'seed'; readonly upper: string; readonly file: string; readonly text: string }
  /** `option`: the size of /run in bytes, `ro` or `rw` for sys, nothing for the others. */
  | { readonly op: 'system'; readonly which: 'dev' | 'proc' | 'sys' | 'run'; readonly option: string }
  | { readonly op: 'adjtime' }
  | { readonly op: 'reaper'; readonly program: string }
  | { readonly op: 'share'; readonly host: string; readonly inside: string; readonly mode: 'ro' | 'rw' }
  | { readonly op: 'protect'; readonly how: 'ro' | 'rw' | 'mask'; readonly path: string }
  | { readonly op: 'pivot' }
  | { readonly op: 'hostname'; readonly name: string }
  | { readonly op: 'lo' }
  /** Into the user namespace that the network namespace belongs to. */
  | { readonly op: 'userns' }
  /** Capabilities that are kept, as a hexadecimal mask. */
  | { readonly op: 'caps'; readonly mask: string }
  /** The last one: becomes /bin/sh on the start script. */
  | { readonly op: 'exec'; readonly name: string; readonly script: string };

type Arguments = {
  readonly [K in ChildOp['op']]: readonly Exclude<keyof Extract<ChildOp, { op: K }>, 'op'>[];
};

/** The arguments of each operation in the order the child reads them. */
export const CHILD_OP_ARGUMENTS: Arguments = {
  'devices-allowed': [],
  worklock: ['work'],
  'user-xattrs': [],
  writable: ['upper', 'work'],
  stage: ['live'],
  image: ['image', 'offset', 'size', 'type', 'mode', 'at'],
  lower: ['directory'],
  overlay: ['live', 'upper', 'work'],
  directory: ['path'],
  'directory-or-empty': ['path', 'at'],
  bind: ['upper', 'live', 'mode'],
  self: ['live'],
  tmpfs: ['live'],
  take: ['source', 'mode'],
  put: ['number', 'inside'],
  root: ['live'],
  seal: [],
  seed: ['upper', 'file', 'text'],
  system: ['which', 'option'],
  adjtime: [],
  reaper: ['program'],
  share: ['host', 'inside', 'mode'],
  protect: ['how', 'path'],
  pivot: [],
  hostname: ['name'],
  lo: [],
  userns: [],
  caps: ['mask'],
  exec: ['name', 'script'],
};

/** The strings of an operation: its name, then its arguments. */
export function childOpStrings(operation: ChildOp): string[] {
  const values = operation as unknown as Readonly<Record<string, string>>;
  const names: readonly string[] = CHILD_OP_ARGUMENTS[operation.op];
  return [operation.op, ...names.map((name) => values[name] ?? '')];
}
