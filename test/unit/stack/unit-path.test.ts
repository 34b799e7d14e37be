import { expect } from 'chai';
import { pathOfUnitName } from '../../../src/stack/unit-path.js';

describe('pathOfUnitName', () => {
  const good: readonly [string, string][] = [
    ['-', '/'],
    ['var', '/var'],
    ['var-lib-a', '/var/lib/a'],
    ['srv-a\\x2db', '/srv/a-b'],
    ['\\x2ehidden', '/.hidden'],
    ['a\\x20b', '/a b'],
    ['caf\\xc3\\xa9', '/café'],
    ['café', '/café'],
    ['a\\x5cb', '/a\\b'],
    ['var\\x2flib', '/var/lib'],
    ['a..b', '/a..b'],
    ['...', '/...'],
    ['a\\x0ab', '/a\nb'],
  ];
  for (const [name, path] of good)
    it(`reads ${name} as ${JSON.stringify(path)}`, () => expect(pathOfUnitName(name)).to.equal(path));

  const bad: readonly [string, string][] = [
    ['a\\x00b', 'which has a NUL byte in it'],
    ['..', 'which has "." or ".." in it'],
    ['a-..-b', 'which has "." or ".." in it'],
    ['a-\\x2e\\x2e', 'which has "." or ".." in it'],
    ['a-.', 'which has "." or ".." in it'],
    ['-var', 'which has an empty component'],
    ['var-', 'which has an empty component'],
    ['a--b', 'which has an empty component'],
    ['--', 'which has an empty component'],
    ['\\x2fvar', 'which has an empty component'],
    ['a\\xzz', '"\\xzz" is no escape: write \\xNN'],
    ['a\\', '"\\" is no escape'],
    ['a\\x2', '"\\x2" is no escape'],
    ['a\\\\x2d', 'is no escape'],
    ['\\xff', 'stands for bytes that are no UTF-8 text'],
  ];
  for (const [name, message] of bad)
    it(`refuses ${name}`, () => expect(() => pathOfUnitName(name)).to.throw(message));
});
