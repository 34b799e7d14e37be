import { endianness } from 'node:os';
import { expect } from 'chai';
import {
  type Attribute,
  changeMessage,
  type Message,
  namedMessage,
  vethMessage,
  vlanMessage,
} from '../../../src/net/link-messages.js';

/** A message as nested lists of numbers and hex, so that a difference can be read. */
type Readable = readonly (string | readonly [number, string | Readable])[];
const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex');
const readable = (message: Message): Readable =>
  message.map((part: Uint8Array | Attribute) => {
    if (part instanceof Uint8Array) return hex(part);
    const [type, payload] = part;
    return [type, payload instanceof Uint8Array ? hex(payload) : readable(payload)];
  });

const NO_INDEX_NO_FLAGS = '00'.repeat(16);
const text = (value: string): string => hex(Buffer.from(`${value}\0`));

describe('link messages', () => {
  before(function () {
    if (endianness() !== 'LE') this.skip();
  });

  const cases: readonly [string, Message, Readable][] = [
    [
      'a veth pair names both ends, the namespace and the MAC address',
      vethMessage({ host: 'mta0', inside: 'eth0', netnsPid: 258, mac: '02:00:00:00:0a:ff' }),
      [
        NO_INDEX_NO_FLAGS,
        [3, text('mta0')],
        [
          18,
          [
            [1, text('veth')],
            [2, [[1, [NO_INDEX_NO_FLAGS, [3, text('eth0')], [19, '02010000'], [1, '020000000aff']]]]],
          ],
        ],
      ],
    ],
    // What `ip link add link lo name mta0.5 type vlan id 4094` sends, seen with strace.
    [
      'a VLAN names its parent by index and its id',
      vlanMessage({ name: 'mta0.5', parentIndex: 1, vlanId: 4094 }),
      [
        NO_INDEX_NO_FLAGS,
        [3, text('mta0.5')],
        [5, '01000000'],
        [
          18,
          [
            [1, text('vlan')],
            [2, [[1, 'fe0f']]],
          ],
        ],
      ],
    ],
    [
      'a change of nothing but the alias leaves the flags alone',
      changeMessage('mta0', { alias: 'overlay-boot:mta' }),
      [NO_INDEX_NO_FLAGS, [3, text('mta0')], [20, hex(Buffer.from('overlay-boot:mta'))]],
    ],
    [
      'bringing up touches IFF_UP alone',
      changeMessage('mta0', { masterIndex: 7, up: true }),
      [`${'00'.repeat(8)}0100000001000000`, [3, text('mta0')], [10, '07000000']],
    ],
    [
      'a link is asked for by name, without its counters',
      namedMessage('mta0'),
      [NO_INDEX_NO_FLAGS, [3, text('mta0')], [29, '08000000']],
    ],
  ];
  for (const [title, message, expected] of cases)
    it(title, () => expect(readable(message)).to.deep.equal(expected));
});
