/** What a subhost's record has of its conf. */
import type { SubhostConfig } from '../config/subhost-config.js';
import type { SubhostState } from './subhost-state.js';

/** What of a conf the record keeps: showing and stopping what was booted does not depend on the conf as it is then. */
export function recordOf(config: SubhostConfig): Partial<SubhostState> {
  const { live, upper, lower, stack, log, cables, start, startIsDefault, init, caps } = config;
  // A start script of the administrator's own is given START; it has nothing to do with its default.
  const services = init && !init.after && startIsDefault ? [] : start;
  const shares = config.shares.map((share) => ({ ...share, readOnly: false }));
  const root = stack && { stack: stack.kind === 'mstack' ? stack.path : stack.name };
  return {
    live,
    upper,
    lower,
    ...root,
    log,
    cables,
    shares,
    start: services,
    startIsDefault,
    ...(caps && { caps }),
  };
}
