/** The interfaces(5) file that the built-in PREMOUNT writes where there is none. Pure. */
import type { CableSpec } from '../net/cable.js';

/** `lo`, and a `manual` stanza for each interface inside: the host's configuration is not brought up. */
export function interfacesFile(cables: readonly CableSpec[]): string {
  const inside = cables.flatMap((cable) => (cable.kind === 'veth' ? [cable.inside] : []));
  const stanzas = [
    'auto lo\niface lo inet loopback\n',
    ...inside.map((name) => `auto ${name}\niface ${name} inet manual\n`),
  ];
  return `# Written by overlay-boot because there was none; it is yours to change.\n${stanzas.join('\n')}`;
}
