/**
 * The variables of a conf, once: what the parser knows, what `--help`, the manual page and the defaults are made
 * from, and the order in which `!commands` are evaluated. Pure.
 */

/** What kind of value it is; `none` and `all` are words of the variable's own. */
export type VariableKind =
  | 'name'
  | 'path'
  | 'layers'
  | 'cables'
  | 'services'
  | 'hook'
  | 'bytes'
  | 'percent'
  | 'count'
  | 'share'
  | 'capabilities'
  | 'engine';

export interface Variable<Name extends string = string> {
  readonly name: Name;
  readonly kind: VariableKind;
  /** The value that holds where none is given, as it would be written. */
  readonly fallback?: string;
  /** What people are told of the default where it is no value. */
  readonly fallbackNote?: string;
  /** Unit or form of the value. */
  readonly unit: string;
  readonly help: string;
  /** Several assignments add up, and a `!` at the start is part of the value. */
  readonly repeatable?: true;
}

const table = <const Name extends string>(rows: readonly Variable<Name>[]): readonly Variable<Name>[] => rows;

export const VARIABLES = table([
  {
    name: 'NAME',
    kind: 'name',
    fallbackNote: "the conf's base name without .conf",
    unit: 'at most 12 of letters, digits, _ - .',
    help: 'name of the subhost',
  },
  {
    name: 'BASE',
    kind: 'path',
    fallbackNote: 'required',
    unit: "directory, relative to the conf's own",
    help: 'directory of the subhost; all other relative paths are relative to it',
  },
  {
    name: 'CABLES',
    kind: 'cables',
    fallbackNote: 'none',
    unit: '[bridge]=[mac|.vlan], separated by blanks',
    help: 'virtual cables to the host',
  },
  { name: 'LIVE', kind: 'path', fallback: 'live', unit: 'directory', help: 'mount point of the root' },
  { name: 'UPPER', kind: 'path', fallback: 'root', unit: 'directory', help: 'writable layer' },
  {
    name: 'WORK',
    kind: 'path',
    fallback: 'work',
    unit: 'directory',
    help: 'work directory of the overlay, outside UPPER and on the same mount',
  },
  {
    name: 'LOWER',
    kind: 'layers',
    fallback: '/',
    unit: 'directories or disk images, separated by ":", the top first',
    help: 'read-only layers',
  },
  {
    name: 'STACK',
    kind: 'path',
    fallbackNote: 'none',
    unit: 'mount stack, point or wafer',
    help: 'the whole root, in place of LOWER, UPPER and WORK',
  },
  {
    name: 'START',
    kind: 'services',
    fallback: 'networking ssh',
    unit: 'services or absolute paths, in order; none',
    help: 'what is started in the subhost',
  },
  {
    name: 'INIT',
    kind: 'hook',
    fallbackNote: 'built in',
    unit: '[+] command',
    help: 'prints the start script',
  },
  {
    name: 'PREMOUNT',
    kind: 'hook',
    fallbackNote: 'built in',
    unit: '[+] command',
    help: 'runs before the root is mounted',
  },
  {
    name: 'POSTMOUNT',
    kind: 'hook',
    fallbackNote: 'built in',
    unit: '[+] command',
    help: 'runs after the root is mounted',
  },
  {
    name: 'RAM_SIZE',
    kind: 'bytes',
    fallback: '50M',
    unit: 'bytes, or with K, M, G; none',
    help: 'size of the tmpfs on /run',
  },
  {
    name: 'LOG',
    kind: 'path',
    fallbackNote: 'NAME.log in the log directory',
    unit: 'file',
    help: 'what the subhost prints; the log before is kept as .1',
  },
  {
    name: 'SHARE',
    kind: 'share',
    fallbackNote: 'none',
    unit: 'path or hostpath:subhostpath',
    help: 'bind mount of a directory or file; may be given several times',
    repeatable: true,
  },
  {
    name: 'CAPS',
    kind: 'capabilities',
    fallbackNote: "a container engine's default set and NET_ADMIN",
    unit: '+NAME and -NAME, or all',
    help: 'capabilities of the subhost',
  },
  {
    name: 'MEMORY_MAX',
    kind: 'bytes',
    fallbackNote: 'no limit',
    unit: 'bytes, or with K, M, G',
    help: 'memory of the subhost',
  },
  {
    name: 'CPU_MAX',
    kind: 'percent',
    fallbackNote: 'no limit',
    unit: 'per cent of one CPU',
    help: 'CPU time of the subhost',
  },
  {
    name: 'PIDS_MAX',
    kind: 'count',
    fallbackNote: 'no limit',
    unit: 'number',
    help: 'processes and threads of the subhost',
  },
  {
    name: 'ENGINE',
    kind: 'engine',
    fallback: 'subhost',
    unit: 'subhost or nspawn',
    help: 'what runs a box of boxctl',
  },
]);

export type VariableName = (typeof VARIABLES)[number]['name'];

/** The names, in the table's order. */
export const VARIABLE_NAMES: readonly VariableName[] = VARIABLES.map(({ name }) => name);

const byName = new Map<string, Variable<VariableName>>(VARIABLES.map((row) => [row.name, row]));

/** The table's entry of a name, undefined for a name that no variable has. */
export const variableOf = (name: string): Variable<VariableName> | undefined => byName.get(name);
