/** What a conf's root is made of, read from where its LOWER points to. */
import type { SubhostConfig } from '../config/subhost-config.js';
import { directoryTrees, stackFromConf } from '../stack/from-conf.js';
import type { Stack } from '../stack/stack.js';

/** The stack of an overlay root. */
export const stackOf = (config: SubhostConfig): Stack => stackFromConf(config, directoryTrees(config.lower));
