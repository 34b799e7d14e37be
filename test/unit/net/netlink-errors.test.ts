import { constants } from 'node:os';
import { expect } from 'chai';
import { errnoOf } from '../../../src/errors.js';
import { linkFailure, NetlinkError } from '../../../src/net/netlink-errors.js';

const { errno } = constants;

describe('linkFailure', () => {
  const cases: readonly [number, string, string][] = [
    [errno.EEXIST, 'EEXIST', 'make veth pair a0: an interface of that name exists already (EEXIST)'],
    [errno.EPERM, 'EPERM', 'make veth pair a0: must be root (EPERM)'],
    [
      errno.EOPNOTSUPP,
      'ENOTSUP',
      'make veth pair a0: the kernel does not know the kind: load its module with "modprobe veth", or use a kernel built with it',
    ],
    [errno.ENOMEM, 'ENOMEM', 'make veth pair a0: ENOMEM'],
    [524, 'Unknown system error -524', 'make veth pair a0: Unknown system error -524'],
  ];
  for (const [number, code, message] of cases) {
    it(`tells ${code}, and keeps it as the cause`, () => {
      const failure = linkFailure({
        doing: 'make veth pair a0',
        module: 'veth',
        cause: new NetlinkError(number),
      });
      expect(failure.message).to.equal(message);
      expect(failure.exitCode).to.equal(1);
      expect(errnoOf(failure.cause)).to.equal(code);
    });
  }

  it('does not speak of a module where no kind is asked for', () => {
    const cause = new NetlinkError(errno.EOPNOTSUPP);
    expect(linkFailure({ doing: 'delete interface lo', cause }).message).to.equal(
      'delete interface lo: ENOTSUP',
    );
  });
});
