/** What both machines are made to do: a host with a bridge, and two subhosts that start with it. */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { environment } from '../../src/make/set-up.mjs';
import type { Machine } from './machine.js';

const TOP = resolve(__dirname, '..', '..');

type Release = 'one' | 'two';

/** The Debian package in one version or two, the second the later one; made once for each `describe`. */
export function usePackages(...releases: Release[]): () => string[] {
  const dir = mkdtempSync(join(tmpdir(), 'overlay-boot-debs-'));
  after(() => rmSync(dir, { recursive: true }));
  return () => {
    for (const release of releases) {
      const argv = [join(TOP, 'src/make/deb.mjs'), '--output', dir, '--version', `0.1.0~${release}`];
      const { status, stderr } = spawnSync(process.execPath, argv, { env: environment, encoding: 'utf8' });
      if (status !== 0) throw new Error(`deb: ${stderr}`);
    }
    return readdirSync(dir).map((name) => join(dir, name));
  };
}

/** Shell: installs one of the two packages, as an administrator would. */
export const install = (which: Release): string =>
  `DEBIAN_FRONTEND=noninteractive apt-get install -q -y /srv/files/overlay-boot_0.1.0~${which}_*.deb`;

const HOST_INTERFACES = `
auto br0
iface br0 inet static
	address 192.0.2.1/24
	pre-up ip link add br0 type bridge
	post-down ip link delete br0
iface tag0 inet manual
	up ip link set tag0 up
iface tag0.302 inet static
	address 198.51.100.1/24
`;

/** `web` is a port of the bridge, `tag` is reached over VLAN 302 of a cable that the host's ifupdown looks after. */
const FILES: Readonly<Record<string, string>> = {
  '/etc/network/interfaces.d/subhosts': HOST_INTERFACES,
  '/etc/sysctl.d/forward.conf': 'net.ipv4.ip_forward = 1\n',
  '/opt/subhost/web/web.conf': 'BASE=.\nCABLES=br0=02:00:00:00:00:01\nSTART=networking ssh /first /second\n',
  '/opt/subhost/web/root/etc/network/interfaces': `auto lo eth0
iface lo inet loopback
iface eth0 inet static
	address 192.0.2.2/24
	gateway 192.0.2.1
`,
  '/opt/subhost/tag/tag.conf': 'BASE=.\nCABLES= = =.302\nSTART=networking ssh\n',
  '/opt/subhost/tag/root/etc/network/interfaces': `auto lo eth0 eth0.302
iface lo inet loopback
iface eth0 inet manual
	up ip link set eth0 up
iface eth0.302 inet static
	address 198.51.100.2/24
	gateway 198.51.100.1
`,
};

/** Services that write down what is done with them, and when the disk has it. */
const NOTING = ['first', 'second']
  .map(
    (name) => `
    printf '#!/bin/sh\\necho "${name} $1" >>/var/notes; sync\\n' >/opt/subhost/web/root/${name}
    chmod 755 /opt/subhost/web/root/${name}`,
  )
  .join('');

/** Writes the two files that an administrator edits, and what the subhosts are; the host's network is as it will be. */
export async function configure(machine: Machine): Promise<void> {
  await machine.sh(`
    for name in web tag; do
      mkdir -p /opt/subhost/$name/live /opt/subhost/$name/work /opt/subhost/$name/root/etc/network
      mkdir -p /opt/subhost/$name/root/var
      echo /opt/subhost/$name/$name.conf >>/etc/subhosts.conf
    done
    ${Object.entries(FILES)
      .map(([path, text]) => `cat >${path} <<'END'\n${text}\nEND\n`)
      .join('')}
    ${NOTING}
    ifup br0; sysctl -q -p /etc/sysctl.d/forward.conf`);
}

/** Shell: both subhosts run, answer over the network, and reach each other. */
export const REACHABLE = `
  answers() { timeout 60 bash -c "exec 3<>/dev/tcp/$1/22 && head -n 1 <&3" | grep -q ^SSH-2.0 || { echo "$1 does not answer"; return 1; }; }
  answers 192.0.2.2
  answers 198.51.100.2
  ip netns exec web ping -q -c 1 -W 30 198.51.100.2
  ip netns exec tag ping -q -c 1 -W 30 192.0.2.2
  overlay-status | grep -Ec '^(web|tag) +running ' | grep -x 2 || { overlay-status; exit 1; }
`;

/** Shell: an image `libs`, an image `app-1` on it, and a stackpoint `app` on that, mounted, with a change of its own. */
export const STACKPOINT = `
  cd /srv; echo lib >lib; tar -cf libs.tar lib; stacko import-image libs.tar
  stacko new-image app-1 libs; stacko edit-image app-1; echo 1 >/var/lib/machines/app-1/app; stacko close-image app-1
  stacko new-stackpoint app app-1; stacko mount-stackpoint app; echo mine >/var/lib/machines/app/changed
`;

/** Shell: lines of what a host holds that a subhost or the package could leave behind. */
export const TRACES = `
  find / -xdev \\( -path /proc -o -path /sys -o -path /srv/files -o -path /opt/subhost -o -path /tmp \\) -prune -o \
    \\( -iname '*overlay-boot*' -o -name '*subhost*' -o -name '*mstack*' -o -name '*stacko*' -o -name '*wafers*' \\) -print
  find /run/overlay-boot /run/netns -mindepth 1 2>/dev/null || true
  ip -br link | grep -E '^(web|tag)' || true
  findmnt -rno TARGET | grep -E 'subhost|netns/' || true
`;
