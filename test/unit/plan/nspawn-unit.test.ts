import { expect } from 'chai';
import {
  configureArguments,
  loginArguments,
  type NspawnBox,
  nspawnCables,
  parseBoxUnit,
  startArguments,
} from '../../../src/plan/nspawn-unit.js';

const BOX: NspawnBox = {
  name: 'web',
  root: '/m/web',
  mount: ['/bin/node', '/b/stacko', 'mount-stackpoint', 'web'],
  environment: { WAFERS: '/w' },
  cables: [],
  shares: [],
  limits: {},
};
const box = (change: Partial<NspawnBox>): NspawnBox => ({ ...BOX, ...change });
const cable = (bridge?: string) =>
  ({ kind: 'veth', host: 'web0', inside: 'eth0', ...(bridge !== undefined && { bridge }) }) as const;

describe('startArguments', () => {
  const cases: [title: string, change: Partial<NspawnBox>, words: string[]][] = [
    ['a network with nothing in it without a cable', {}, ['--private-network']],
    ['a link without a bridge', { cables: [cable()] }, ['--network-veth']],
    ['a port of a bridge', { cables: [cable('br0')] }, ['--network-bridge=br0']],
    [
      'limits of the unit',
      { limits: { memoryMaxBytes: 4096, cpuMaxPercent: 150, pidsMax: 9 } },
      ['--property=MemoryMax=4096', '--property=CPUQuota=150%', '--property=TasksMax=9'],
    ],
    ['as many processes as a container has', {}, ['--property=TasksMax=16384']],
    [
      'shares, with what separates two paths escaped',
      { shares: [{ host: '/a:b', inside: '/c\\d' }] },
      ['--bind=/a\\:b:/c\\\\d'],
    ],
    [
      'paths in which no variable is found, and no end of a word',
      { root: '/m $x/"w"', shares: [{ host: '/$HOME', inside: '/$HOME' }] },
      [
        `--property=ExecStopPost=-:"/bin/sh" "-c" "exec 2>/dev/null; umount '/m $x/\\"w\\"'; rmdir '/m $x/\\"w\\"'; umount '/run/systemd/nspawn/unix-export/web'; rmdir '/run/systemd/nspawn/unix-export/web'"`,
        '--directory=/m $$x/"w"',
        '--bind=/$$HOME:/$$HOME',
      ],
    ],
    [
      'a word with an apostrophe as the shell wants it',
      { mount: ["it's"] },
      [`--property=ExecStartPre=:"/bin/sh" "-c" "exec 'it'\\\\''s' >/dev/null"`],
    ],
    [
      'its root mounted, also when it reboots',
      {},
      [
        `--property=ExecStartPre=:"/bin/sh" "-c" "exec '/bin/node' '/b/stacko' 'mount-stackpoint' 'web' >/dev/null"`,
        '--property=Environment="WAFERS=/w"',
        '--property=RestartForceExitStatus=133',
      ],
    ],
  ];
  for (const [title, change, words] of cases)
    it(`gives it ${title}`, () => expect(startArguments(box(change), 1000)).to.include.members(words));

  it('has systemd end what does not become ready, should boxctl be gone', () => {
    expect(startArguments(BOX, 1500)).to.include('--property=TimeoutStartSec=11500ms');
    expect(startArguments(BOX, 0)).to.include('--property=TimeoutStartSec=infinity');
  });
});

describe('configureArguments', () => {
  it('has the limits of the box, and neither its network nor its shares', () => {
    const change = {
      limits: { pidsMax: 9 },
      cables: [cable('br0')],
      shares: [{ host: '/a', inside: '/b' }],
    };
    const words = configureArguments(box(change), 'xterm');
    expect(words).to.include.members(['--private-network', '--property=TasksMax=9', '--setenv=TERM=xterm']);
    expect(words.join(' ')).to.not.match(/--bind|br0|--boot/);
  });
});

describe('loginArguments', () => {
  it('gives the shell a home and the TERM', () => {
    expect(loginArguments('web', 'xterm')).to.include.members([
      '--machine=web',
      '--property=WorkingDirectory=~',
      '--setenv=TERM=xterm',
    ]);
  });
});

describe('nspawnCables', () => {
  it('names the ends as systemd-nspawn does', () => {
    expect(nspawnCables('web', [cable('br0')])).to.deep.equal([
      { kind: 'veth', host: 'vb-web', inside: 'host0', bridge: 'br0' },
    ]);
    expect(nspawnCables('web', [cable()])).to.deep.equal([{ kind: 'veth', host: 've-web', inside: 'host0' }]);
    expect(nspawnCables('web', [])).to.deep.equal([]);
  });
});

describe('parseBoxUnit', () => {
  for (const [unit, box] of [
    ['box@web.service', { name: 'web', configuring: false }],
    ['box-configure@a-b.service', { name: 'a-b', configuring: true }],
    ['box-start@web.service', undefined],
    ['mailbox@web.service', undefined],
    ['box@web.service.d', undefined],
  ] as const)
    it(`finds ${box ? box.name : 'no box'} in ${unit}`, () => expect(parseBoxUnit(unit)).to.deep.equal(box));
});
