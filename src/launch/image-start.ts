/** What is started in a box whose conf leaves that to its images: each may bring other services along. */
import { statSync } from 'node:fs';
import { join } from 'node:path';
import type { Settings } from '../config/settings.js';
import type { SubhostConfig } from '../config/subhost-config.js';
import { findInLayers } from '../stack/find-in-layers.js';
import { realPath } from '../stack/root-kind.js';
import type { Stack } from '../stack/stack.js';

/** A start/stop script that is started in a box whose image has it. */
const STARTUP = '/startup';

/** The default of START: for a box /startup, where what it is now has one that is executable. */
export function withImageStart(
  config: SubhostConfig,
  stack: Stack | undefined,
  { boxes }: Pick<Settings, 'boxes'>,
): SubhostConfig {
  const { name, conf, init, startIsDefault } = config;
  if (!stack || !startIsDefault || (init && !init.after) || config.stack?.kind !== 'named') return config;
  if (config.stack.name !== name || conf !== join(realPath(boxes), `${name}.conf`)) return config;
  return hasScript(stack) ? { ...config, start: [STARTUP], startIsDefault: false } : config;
}

function hasScript({ layers, writable }: Stack): boolean {
  const trees = layers.flatMap((tree) => (tree.kind === 'directory' ? tree.path : [])).reverse();
  const found = findInLayers([...(writable ? [writable.upper] : []), ...trees], STARTUP);
  const stat = found === undefined ? undefined : statSync(found);
  return stat?.isFile() === true && (stat.mode & 0o111) !== 0;
}
