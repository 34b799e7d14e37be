/** What a conf's root is made of, read from where its LOWER or STACK points to. */
import { statSync } from 'node:fs';
import type { SubhostConfig } from '../config/subhost-config.js';
import { isMstack } from '../config/values.js';
import { UserError } from '../errors.js';
import { stackFromConf } from '../stack/from-conf.js';
import type { Stack, Tree } from '../stack/stack.js';

/** Where named stacks are looked for. */
export interface StackPlaces {
  /** Directory of the wafers. */
  readonly wafers: string;
}

/**
 * The stack of a root that is an overlay or STACK's. Readers of images and stacks are loaded only for a conf that
 * has one.
 * @throws UserError or ErrorList for what is wrong with it
 */
export async function stackOf(config: SubhostConfig, { wafers }: StackPlaces): Promise<Stack> {
  const { stack, lower, conf } = config;
  try {
    if (stack?.kind === 'mstack') return await fromMstack(stack.path, false);
    if (stack?.kind === 'named') return await namedStack(stack.name, wafers);
    const [only] = lower;
    if (only !== undefined && isMstack(only)) return onMstack(config, await fromMstack(only, true));
    return stackFromConf(config, await lowerTrees(lower));
  } catch (cause) {
    if (!(cause instanceof UserError)) throw cause;
    throw new UserError({ what: `${conf}: ${stack ? 'STACK' : 'LOWER'}: ${cause.message}`, cause });
  }
}

/** A point, of which the current instance is meant, or else a wafer. */
async function namedStack(name: string, wafers: string): Promise<Stack> {
  const [{ stackOfPoint }, { stackOfWafer }] = await Promise.all([
    import('../stack/from-store.js'),
    import('../stack/from-wafers.js'),
  ]);
  return stackOfPoint(name, { wafers }) ?? stackOfWafer(name, { wafers });
}

const fromMstack = async (path: string, asLower: boolean): Promise<Stack> =>
  (await import('./mstack.js')).stackOfMstackDirectory(path, { readOnly: asLower, asLower });

/** UPPER on a mount stack's layers: its marks are then user.* attributes, as in those. */
function onMstack(config: SubhostConfig, lower: Stack): Stack {
  const own = stackFromConf(config, []);
  return { ...own, layers: lower.layers, binds: lower.binds, xattrs: lower.xattrs };
}

async function lowerTrees(paths: readonly string[]): Promise<Tree[]> {
  const trees: Tree[] = [];
  for (const path of paths) trees.push(isImage(path) ? await imageTree(path) : { kind: 'directory', path });
  return trees;
}

/** What a `!command` mounts is only seen in the subhost's mount namespace: what is not seen here is a directory. */
const isImage = (path: string): boolean => {
  const stats = statSync(path, { throwIfNoEntry: false });
  return stats !== undefined && (stats.isFile() || stats.isBlockDevice());
};

async function imageTree(path: string): Promise<Tree> {
  const [{ chooseTree }, { localArchitecture }, { runProgram }] = await Promise.all([
    import('../stack/gpt-choice.js'),
    import('../stack/architecture.js'),
    import('../sys/run.js'),
  ]);
  const query = { architecture: localArchitecture(), needsRoot: true, context: 'disk image' };
  return (await chooseTree(path, query, runProgram)).tree;
}
