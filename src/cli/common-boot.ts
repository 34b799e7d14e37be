/** What the boots of one call share: overlay-boot and boxctl. */
import type { Settings } from '../config/settings.js';
import type { BootHost } from '../launch/boot-types.js';
import { cgroupMount } from '../launch/cables.js';
import { changedBySubhosts } from '../launch/guarded.js';
import type { Launcher } from '../launch/launcher.js';
import type { RouteSocket } from '../net/rtnetlink.js';
import { currentBootId } from '../state/liveness.js';
import { initProgram } from '../sys/init-program.js';
import { type Mount, mountsOf } from '../sys/mountinfo.js';
import type { Terminal } from './command.js';
import { binDirectory, wafersDirectory } from './common-arguments.js';

export const NETNS_DIR = '/run/netns';

/** closeRoute() closes the rtnetlink socket if a boot has opened it. */
export function bootHost(
  settings: Settings,
  launcher: Launcher,
  terminal: Terminal,
): BootHost & { closeRoute(): Promise<void> } {
  let socket: Promise<RouteSocket> | undefined;
  let mounts: readonly Mount[] | undefined;
  let guarded: ReadonlyMap<string, string> | undefined;
  const open = async (): Promise<RouteSocket> => {
    const { RouteSocket } = await import('../net/rtnetlink.js');
    return new RouteSocket();
  };
  return {
    settings,
    launcher,
    initProgram: initProgram(),
    binDir: binDirectory(),
    bootId: currentBootId(),
    cgroupMount: cgroupMount(),
    netnsDir: NETNS_DIR,
    path: terminal.env.PATH ?? '',
    wafers: wafersDirectory(terminal),
    mounts: () => (mounts ??= mountsOf('self')),
    guarded: () => (guarded ??= changedBySubhosts(settings.runDir)),
    route: () => (socket ??= open()),
    closeRoute: async () => (await socket)?.close(),
  };
}
