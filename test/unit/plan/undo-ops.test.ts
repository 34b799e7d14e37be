import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect } from 'chai';
import { interfacesFile } from '../../../src/plan/interfaces-file.js';
import { aliasOf, undoOps } from '../../../src/plan/undo-ops.js';
import type { SubhostState } from '../../../src/state/subhost-state.js';

const STATE = {
  name: 'mta',
  netns: '/run/netns/mta',
  netnsInode: 4026,
  cgroup: '/cg/overlay-boot/mta',
  cables: [
    { kind: 'veth', host: 'mta0', inside: 'eth0' },
    { kind: 'vlan', host: 'mta0.5', parent: 'mta0', vlanId: 5 },
    { kind: 'veth', host: 'mta1', inside: 'eth1' },
  ],
  ifup: [
    { interface: 'mta0', ifdown: '/sbin/ifdown' },
    { interface: 'mta0.5', ifdown: '/sbin/ifdown' },
  ],
} as unknown as SubhostState;

describe('undoOps', () => {
  it('takes interfaces down in reverse, then the namespace, the links with VLANs first, the record last', () => {
    expect(undoOps(STATE, '/run/overlay-boot/mta')).to.deep.equal([
      ...['ifdown', '/sbin/ifdown', 'mta0.5'],
      ...['ifdown', '/sbin/ifdown', 'mta0'],
      ...['netns', '/run/netns/mta', '4026'],
      ...['link', 'mta0.5', 'overlay-boot:mta'],
      ...['link', 'mta0', 'overlay-boot:mta'],
      ...['link', 'mta1', 'overlay-boot:mta'],
      ...['cgroup', '/cg/overlay-boot/mta'],
      ...['state', '/run/overlay-boot/mta'],
    ]);
  });

  it('names no control group where there is none, and any namespace where its number is not known yet', () => {
    const { cgroup: _, netnsInode: __, ...rest } = STATE;
    expect(undoOps({ ...rest, cables: [], ifup: [] }, '/r/mta')).to.deep.equal([
      'netns',
      '/run/netns/mta',
      '0',
      'state',
      '/r/mta',
    ]);
  });

  it('uses only operations that src/init/undo.c runs', () => {
    const source = readFileSync(join(__dirname, '../../../src/init/undo.c'), 'utf8');
    for (const name of ['ifdown', 'netns', 'link', 'cgroup', 'state'])
      expect(source).to.include(`strcmp(op, "${name}") == 0`);
  });

  it('marks links so that those of another subhost with the same beginning are told apart', () => {
    expect(aliasOf('a')).not.to.equal(aliasOf('a1'));
  });
});

describe('interfacesFile', () => {
  it('has lo, and a manual stanza for each cable that ends inside', () => {
    expect(interfacesFile(STATE.cables)).to.equal(
      `# Written by overlay-boot because there was none; it is yours to change.
auto lo
iface lo inet loopback

auto eth0
iface eth0 inet manual

auto eth1
iface eth1 inet manual
`,
    );
  });
});
