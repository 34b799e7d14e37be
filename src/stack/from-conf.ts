/** The stack of a conf's LOWER, UPPER and WORK. */
import type { SubhostConfig } from '../config/subhost-config.js';
import type { Stack, Tree } from './stack.js';

/**
 * @param lower  LOWER's layers as trees, the top first as in the conf
 */
export function stackFromConf(
  { upper, work }: Pick<SubhostConfig, 'upper' | 'work'>,
  lower: readonly Tree[],
): Stack {
  return {
    from: 'conf',
    layers: [...lower].reverse(),
    writable: { upper, work, make: false },
    binds: [],
    xattrs: 'trusted',
    readOnly: false,
  };
}
