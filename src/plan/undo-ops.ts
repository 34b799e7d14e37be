/** What the end of a subhost has to take back on the host, derived from its record. Pure; run by src/init/undo.c. */
import type { SubhostState } from '../state/subhost-state.js';

/** The mark that host ends of cables carry (IFLA_IFALIAS): a link without it is not ours. */
export const aliasOf = (name: string): string => `overlay-boot:${name}`;

/**
 * What a dead instance may have left: of another boot of the host only the record, whatever else has its names now.
 * @param bootId  of the host as it runs
 */
export const leftoverOps = (state: SubhostState, stateDir: string, bootId: string): string[] =>
  state.bootId === bootId ? undoOps(state, stateDir) : ['state', stateDir];

/**
 * The operations as strings, in the order they are to be run: interfaces go down before the namespace that
 * takes them along, the record goes last.
 * @param stateDir  RUN/NAME
 */
export function undoOps(state: SubhostState, stateDir: string): string[] {
  // The VLANs lie on the veths, so they are taken back first.
  const links = [...state.cables].sort((a, b) => Number(b.kind === 'vlan') - Number(a.kind === 'vlan'));
  return [
    ...[...state.ifup].reverse().flatMap(({ interface: name, ifdown }) => ['ifdown', ifdown, name]),
    ...['netns', state.netns, String(state.netnsInode ?? 0)],
    ...linkOps(
      links.map(({ host }) => host),
      state.name,
    ),
    ...(state.cgroup ? ['cgroup', state.cgroup] : []),
    ...['state', stateDir],
  ];
}

/** Takes back host ends of cables, if they are this subhost's. */
export const linkOps = (hosts: readonly string[], name: string): string[] =>
  hosts.flatMap((host) => ['link', host, aliasOf(name)]);
