/** The cables of a subhost on the host: looked at before, made once its network namespace is there. */
import { existsSync, readdirSync } from 'node:fs';
import { Failure, throwAll, UserError } from '../errors.js';
import type { CableSpec } from '../net/cable.js';
import type { RouteSocket } from '../net/rtnetlink.js';
import { aliasOf } from '../plan/undo-ops.js';
import type { IfupInterface } from '../state/subhost-state.js';

/** What of a subhost the host's side of its network depends on. */
export interface Wiring {
  readonly conf: string;
  readonly name: string;
  readonly cables: readonly CableSpec[];
  /** Its network namespace's name, /run/netns/NAME. */
  readonly netns: string;
}

/**
 * Finds what is in the way before anything is made: interfaces and a network namespace that are not left
 * from this subhost, bridges that are missing.
 * @param leftovers  host interfaces that the record of a dead instance lists
 * @returns host interfaces that carry the subhost's mark: its own, or left of it
 */
export async function checkWiring(
  route: RouteSocket,
  { conf, name, cables }: Wiring,
  leftovers: ReadonlySet<string>,
): Promise<string[]> {
  const errors: Error[] = [];
  const marked: string[] = [];
  const bridges = new Set(cables.flatMap(({ bridge }) => bridge ?? []));
  for (const { host } of cables) {
    const link = await route.getLink(host);
    if (link?.alias === aliasOf(name)) marked.push(host);
    if (link && link.alias !== aliasOf(name) && !(leftovers.has(host) && !link.alias))
      errors.push(
        new Failure({
          what: `interface ${host} exists already and is not left from subhost ${name}`,
          todo: `give it another name, or choose another NAME in ${conf}`,
        }),
      );
  }
  for (const bridge of bridges) {
    const link = await route.getLink(bridge);
    const todo = `make it with "ip link add ${bridge} type bridge && ip link set ${bridge} up"`;
    if (!link) errors.push(new UserError({ what: `${conf}: CABLES: there is no bridge ${bridge}`, todo }));
    else if (link.kind !== 'bridge')
      errors.push(
        new UserError({ what: `${conf}: CABLES: ${bridge} is no bridge`, todo: 'name a bridge, or none' }),
      );
  }
  throwAll(errors);
  return marked;
}

/** A namespace's name that no record knows is somebody else's. */
export function checkNetnsName({ netns, name }: Wiring): void {
  if (existsSync(netns))
    throw new Failure({
      what: `network namespace ${name} exists already and is not left from subhost ${name}`,
      todo: `choose another NAME, or "ip netns delete ${name}" if nobody needs it`,
    });
}

/** What making cables needs of its surroundings. */
export interface CableMaker {
  readonly route: RouteSocket;
  /** The process in the subhost's network namespace. */
  readonly pid: number;
  /** PATH, where ifup and ifdown are looked for. */
  readonly path: string;
  /** Milliseconds that the boot has in all; 0 is no limit. */
  readonly timeoutMs: number;
  /** Called before ifup is run for an interface: from then on ifdown is due. */
  readonly beforeIfup: (interfaceName: IfupInterface) => void;
  /** Called when ifup knew nothing of it. */
  readonly withoutStanza: (interfaceName: string) => void;
}

/** Makes the cables in order, each with its host side: a port of its bridge, or left to ifup. */
export async function makeCables({ name, cables, conf }: Wiring, maker: CableMaker): Promise<void> {
  const { route, pid } = maker;
  const alias = aliasOf(name);
  const byIfup = cables.some(({ bridge }) => !bridge) ? await import('./ifupdown.js') : undefined;
  const ifup = byIfup?.findProgram('ifup', maker.path);
  for (const cable of cables) {
    const { kind, host, bridge } = cable;
    if (kind === 'veth')
      await route.createVeth({ host, inside: cable.inside, netnsPid: pid, mac: cable.mac });
    else if (bridge) await route.createVlan({ name: host, parent: cable.parent, vlanId: cable.vlanId });
    if (kind === 'veth' || bridge)
      await route.configureHostEnd({ host, alias, bridge, up: bridge !== undefined || !ifup });
    if (!bridge && byIfup && (ifup || kind === 'vlan'))
      await leaveToIfup(cable, conf, { ...maker, ...byIfup });
  }
}

async function leaveToIfup(
  cable: CableSpec,
  conf: string,
  {
    route,
    path,
    timeoutMs,
    beforeIfup,
    withoutStanza,
    bringUp,
    IFUP_TIMEOUT_MS,
    findProgram,
  }: CableMaker & typeof import('./ifupdown.js'),
): Promise<void> {
  const { host } = cable;
  beforeIfup({ interface: host, ifdown: findProgram('ifdown', path) ?? '/sbin/ifdown' });
  const outcome = await bringUp(host, {
    path,
    timeoutMs: Math.min(timeoutMs || IFUP_TIMEOUT_MS, IFUP_TIMEOUT_MS),
  });
  if (outcome === 'up') return;
  withoutStanza(host);
  if (cable.kind === 'veth') return route.setUp(host);
  const why =
    outcome === 'no-ifup' ? 'there is no ifup here' : `/etc/network/interfaces has no stanza for ${host}`;
  throw new UserError({
    what: `${conf}: CABLES: VLAN ${host}: ${why}`,
    todo: `add "iface ${host} …" there, or write BRIDGE=.${cable.vlanId}`,
  });
}

/** The v2 hierarchy's mount point, or '' where there is none: `unified` on a hybrid host. */
export function cgroupMount(): string {
  const candidates = ['/sys/fs/cgroup', '/sys/fs/cgroup/unified'];
  return (
    candidates.find((path) => hasFile(path, 'cgroup.procs') && hasFile(path, 'cgroup.controllers')) ?? ''
  );
}

const hasFile = (directory: string, name: string): boolean => {
  try {
    return readdirSync(directory).includes(name);
  } catch {
    return false;
  }
};
