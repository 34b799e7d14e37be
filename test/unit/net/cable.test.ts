import { expect } from 'chai';
import fc from 'fast-check';
import { ErrorList } from '../../../src/errors.js';
import { type CableSpec, parseCables } from '../../../src/net/cable.js';

const at = { file: 'web.conf', line: 7 };

function messagesOf(text: string, name = 'web'): string[] {
  try {
    parseCables(text, name, at);
    return [];
  } catch (error) {
    return error instanceof ErrorList
      ? error.errors.map(({ message }) => message)
      : [(error as Error).message];
  }
}

describe('parseCables', () => {
  const good: [text: string, cables: CableSpec[]][] = [
    ['', []],
    ['=', [{ kind: 'veth', host: 'web0', inside: 'eth0' }]],
    ['br0=', [{ kind: 'veth', host: 'web0', inside: 'eth0', bridge: 'br0' }]],
    ['=02:AB:00:00:00:0f', [{ kind: 'veth', host: 'web0', inside: 'eth0', mac: '02:ab:00:00:00:0f' }]],
    [
      'br0=02:00:00:00:00:01\t=',
      [
        { kind: 'veth', host: 'web0', inside: 'eth0', bridge: 'br0', mac: '02:00:00:00:00:01' },
        { kind: 'veth', host: 'web1', inside: 'eth1' },
      ],
    ],
    [
      '= =.302 br1=.4094 = =.302 =.4095',
      [
        { kind: 'veth', host: 'web0', inside: 'eth0' },
        { kind: 'vlan', host: 'web0.302', parent: 'web0', vlanId: 302 },
        { kind: 'vlan', host: 'web0.4094', parent: 'web0', vlanId: 4094, bridge: 'br1' },
        { kind: 'veth', host: 'web1', inside: 'eth1' },
        { kind: 'vlan', host: 'web1.302', parent: 'web1', vlanId: 302 },
        { kind: 'vlan', host: 'web1.4095', parent: 'web1', vlanId: 4095 },
      ],
    ],
    ['abcdefghijklmno=', [{ kind: 'veth', host: 'web0', inside: 'eth0', bridge: 'abcdefghijklmno' }]],
  ];
  for (const [text, cables] of good)
    it(`reads "${text}"`, () => expect(parseCables(text, 'web', at)).to.deep.equal(cables));

  const bad: [text: string, message: string][] = [
    ['br0', '"br0" has no "=": write br0= for a cable on bridge br0'],
    ['.7', '".7" has no "=": write =.7 for a VLAN on the cable before'],
    [
      '02:00:00:00:00:01',
      '"02:00:00:00:00:01" has no "=": write =02:00:00:00:00:01 for a cable with this MAC address',
    ],
    ['=.7', '"=.7": a VLAN with no cable before it: put the cable it belongs to first, for example = =.7'],
    ['= =.0', '"=.0": ".0" is no VLAN: write .N with N from 1 to 4095'],
    ['= =.4096', '"=.4096": ".4096" is no VLAN: write .N with N from 1 to 4095'],
    ['= =.007', '"=.007": ".007" is no VLAN: write .N with N from 1 to 4095'],
    ['= =.', '"=.": "." is no VLAN: write .N with N from 1 to 4095'],
    ['= =.1.2', '"=.1.2": ".1.2" is no VLAN: write .N with N from 1 to 4095'],
    [
      '= br0=.4095',
      '"br0=.4095": VLAN 4095 cannot be on a bridge: the kernel makes 1 to 4094; write =.4095 to leave it to ifup',
    ],
    ['= =.7 br0=.7', '"br0=.7": VLAN 7 on web0 is given twice: leave one of them out'],
    [
      '=02:00:00:00:00',
      '"=02:00:00:00:00": "02:00:00:00:00" is no MAC address: write it as 02:00:00:00:00:01',
    ],
    ['=x', '"=x": "x" is no MAC address: write it as 02:00:00:00:00:01'],
    ['a=b=c', '"a=b=c": "b=c" is no MAC address: write it as 02:00:00:00:00:01'],
    [
      '=00:00:00:00:00:00',
      '"=00:00:00:00:00:00": the MAC address is all zero: leave it out, and the kernel picks one',
    ],
    [
      '=03:00:00:00:00:01',
      '"=03:00:00:00:00:01": 03:00:00:00:00:01 is a multicast address: the first byte of a MAC address is even',
    ],
    [
      '=02:00:00:00:00:0a =02:00:00:00:00:0A',
      '"=02:00:00:00:00:0A": 02:00:00:00:00:0a is given twice: each cable needs a MAC address of its own',
    ],
    [
      'abcdefghijklmnop=',
      '"abcdefghijklmnop=": "abcdefghijklmnop" is no interface name: a bridge has 1 to 15 characters without "/" and ":"',
    ],
    ['..=', '"..=": ".." is no interface name: a bridge has 1 to 15 characters without "/" and ":"'],
    ['a/b=', '"a/b=": "a/b" is no interface name: a bridge has 1 to 15 characters without "/" and ":"'],
    [
      'a\x1bb=',
      '"a\\x1bb=": "a\\x1bb" is no interface name: a bridge has 1 to 15 characters without "/" and ":"',
    ],
  ];
  for (const [text, message] of bad)
    it(`refuses ${JSON.stringify(text)}`, () =>
      expect(messagesOf(text)).to.deep.equal([`web.conf:7: CABLES: ${message}`]));

  it('refuses an interface name that the kernel would not take', () => {
    expect(parseCables('= =.30', 'abcdefghijk', at)).to.have.length(2);
    expect(messagesOf('= =.302', 'abcdefghijkl')).to.deep.equal([
      'web.conf:7: CABLES: "=.302": interface name abcdefghijkl0.302 has 17 characters, the kernel allows 15: give the subhost a shorter NAME',
    ]);
  });

  it('finds all mistakes in one go, and counts a wrong cable as one', () => {
    expect(messagesOf('br0 =.7 =x =.7 =.9999')).to.deep.equal([
      'web.conf:7: CABLES: "br0" has no "=": write br0= for a cable on bridge br0',
      'web.conf:7: CABLES: "=x": "x" is no MAC address: write it as 02:00:00:00:00:01',
      'web.conf:7: CABLES: "=.9999": ".9999" is no VLAN: write .N with N from 1 to 4095',
    ]);
  });

  it('gives names that are different and fit, or a mistake in one line, for any text', () => {
    const text = fc.string({ unit: fc.constantFrom(...'=.:0129afg \t/\n'), maxLength: 40 });
    fc.assert(
      fc.property(text, (cables) => {
        for (const message of messagesOf(cables)) expect(message).to.match(/^web\.conf:7: CABLES: [^\n]+$/);
        if (messagesOf(cables).length > 0) return;
        const names = parseCables(cables, 'web', at).map(({ host }) => host);
        expect(new Set(names).size).to.equal(names.length);
        for (const name of names)
          expect(name)
            .to.match(/^web[0-9]+(\.[0-9]+)?$/)
            .and.satisfy((n: string) => n.length <= 15);
      }),
    );
  });
});
