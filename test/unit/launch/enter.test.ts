import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'chai';
import { checkedTerm, enterArguments, enterableSubhost, runningSubhosts } from '../../../src/launch/enter.js';
import { currentBootId } from '../../../src/state/liveness.js';
import type { SubhostState } from '../../../src/state/subhost-state.js';
import { readProcessStat } from '../../../src/sys/process-stat.js';

const US = { pid: process.pid, startTimeTicks: readProcessStat(process.pid)?.startTimeTicks ?? 0 };

const STATE: SubhostState = {
  version: 1,
  name: 'mta',
  conf: '/opt/mta/mta.conf',
  phase: 'running',
  step: 'ready',
  bootId: currentBootId(),
  startedAtMs: 0,
  init: US,
  base: '/opt/mta',
  live: '/opt/mta/live',
  upper: '/opt/mta/root',
  lower: ['/'],
  log: '/var/log/overlay-boot/mta.log',
  netns: '/run/netns/mta',
  cables: [],
  ifup: [],
  shares: [],
  start: [],
  degraded: [],
};

describe('enterArguments', () => {
  it('names the process, and not just its pid', () => {
    expect(enterArguments(STATE, { command: ['ls', '-l'] })).to.deep.equal(
      ['enter', '--name', 'mta', '--pid', `${US.pid}`, '--start', `${US.startTimeTicks}`].concat([
        '--term',
        'dumb',
        '--',
        'ls',
        '-l',
      ]),
    );
  });

  it('has the confinement of the record and what was asked for', () => {
    const state = { ...STATE, cgroup: '/sys/fs/cgroup/overlay-boot/mta', caps: ['CHOWN', 'KILL'] };
    const request = { user: 'joe', directory: '/srv', term: 'xterm', command: [] };
    expect(enterArguments(state, request, 'MARK').slice(7)).to.deep.equal(
      [
        '--cgroup',
        '/sys/fs/cgroup/overlay-boot/mta',
        '--caps',
        '21',
        '--user',
        'joe',
        '--dir',
        '/srv',
      ].concat(['--term', 'xterm', '--mark', 'MARK', '--']),
    );
  });
});

describe('checkedTerm', () => {
  const cases: readonly (readonly [string | undefined, boolean, string])[] = [
    ['xterm-256color', true, 'xterm-256color'],
    ['st-0.8+x', false, 'st-0.8+x'],
    ['', true, 'linux'],
    [undefined, false, 'dumb'],
    ['x;id', true, 'linux'],
    ['../x', false, 'dumb'],
    ['x\n', true, 'linux'],
    ['x'.repeat(65), true, 'linux'],
  ];
  for (const [term, onTerminal, expected] of cases)
    it(`makes ${JSON.stringify(term)} ${expected}${onTerminal ? ' on a terminal' : ''}`, () =>
      expect(checkedTerm(term, onTerminal)).to.equal(expected));
});

describe('enterableSubhost', () => {
  let runDir = '';
  beforeEach(() => {
    runDir = mkdtempSync(join(tmpdir(), 'overlay-boot-enter-'));
  });
  afterEach(() => rmSync(runDir, { recursive: true }));

  function record(state: SubhostState): void {
    mkdirSync(join(runDir, state.name), { recursive: true });
    writeFileSync(join(runDir, state.name, 'state.json'), JSON.stringify(state));
  }
  const { init: _, ...withoutInit } = STATE;
  const dead = { ...STATE, init: { ...US, startTimeTicks: 1 } };

  it('gives the record of what runs', () => {
    record(STATE);
    expect(enterableSubhost(runDir, 'mta')).to.deep.equal(STATE);
    expect(runningSubhosts(runDir).states).to.deep.equal([STATE]);
  });

  const refusals: readonly (readonly [string, readonly SubhostState[], string, string])[] = [
    ['nothing at all', [], 'mta', 'mta: no such subhost is running: overlay-boot CONF boots one'],
    [
      'another process with its pid',
      [dead],
      'mta',
      'mta: is not running: overlay-boot /opt/mta/mta.conf boots it',
    ],
    [
      'a boot of the host ago',
      [{ ...STATE, bootId: 'x' }],
      'mta',
      'mta: is not running: overlay-boot /opt/mta/mta.conf boots it',
    ],
    [
      'another subhost',
      [STATE],
      'web',
      'web: no such subhost is running: running: mta; overlay-boot CONF boots one',
    ],
    [
      'a path',
      [STATE],
      '../mta',
      '../mta: no such subhost is running: running: mta; overlay-boot CONF boots one',
    ],
    [
      'one that is being booted',
      [{ ...STATE, phase: 'starting', step: 'start services' }],
      'mta',
      'mta: is starting (start services), and its pid 1 has not executed its reaper yet: ' +
        'try again when overlay-boot has ended, or see /var/log/overlay-boot/mta.log',
    ],
    [
      'a record without a process',
      [withoutInit],
      'mta',
      'mta: is not running: overlay-boot /opt/mta/mta.conf boots it',
    ],
  ];
  for (const [title, states, name, message] of refusals)
    it(`refuses ${title}`, () => {
      for (const state of states) record(state);
      expect(() => enterableSubhost(runDir, name)).to.throw(message);
    });

  it('does not hide the others behind a record that cannot be read', () => {
    record(STATE);
    mkdirSync(join(runDir, 'bad'));
    writeFileSync(join(runDir, 'bad', 'state.json'), '{');
    const { states, errors } = runningSubhosts(runDir);
    expect(states.map(({ name }) => name)).to.deep.equal(['mta']);
    expect(errors.map(String).join()).to.include('bad/state.json is no record of a subhost');
  });
});
