import { mkdtempSync, readFileSync } from 'node:fs';
import { expect } from 'chai';
import { ErrorList, EXIT, Failure, quoted, reasonOf, throwAll, UserError } from '../../src/errors.js';

describe('errors', () => {
  it('say place, what and what to do in one line', () => {
    const error = new UserError({
      at: { file: 'web.conf', line: 7 },
      what: 'CABLES: "br0" has no "="',
      todo: 'write br0=',
    });
    expect(error.message).to.equal('web.conf:7: CABLES: "br0" has no "=": write br0=');
  });

  it('leave out what there is not', () => {
    expect(new Failure({ what: 'must be root' }).message).to.equal('must be root');
  });

  it('throw a single error as it is and several as a list', () => {
    const one = new Failure({ what: 'a' });
    expect(() => throwAll([one])).to.throw(Failure, 'a');
    expect(() => throwAll([one, new UserError({ what: 'b' })])).to.throw(ErrorList, 'a\nb');
    expect(() => throwAll([])).not.to.throw();
  });

  it('count as wrong usage as soon as one of a list is', () => {
    expect(new ErrorList([new Failure({ what: 'a' }), new UserError({ what: 'b' })]).exitCode).to.equal(
      EXIT.usage,
    );
    expect(new ErrorList([new Failure({ what: 'a' })]).exitCode).to.equal(EXIT.failure);
    const asUserError = Object.assign(new Failure({ what: 'a' }), { exitCode: EXIT.usage });
    expect(new ErrorList([asUserError]).exitCode).to.equal(EXIT.usage);
  });
});

describe('reasonOf', () => {
  it('says in words why a call of the system failed', () => {
    expect(() => readFileSync('/no/such/file'))
      .to.throw()
      .and.satisfy((error: unknown) => reasonOf(error) === 'no such file or directory (ENOENT)');
    expect(() => mkdtempSync('/proc/self/maps/'))
      .to.throw()
      .and.satisfy((error: unknown) => reasonOf(error) === 'not a directory (ENOTDIR)');
  });

  it('takes what else there is', () => {
    expect(reasonOf(Object.assign(new Error('in other words'), { code: 'ENOBUFS' }))).to.equal('ENOBUFS');
    expect(reasonOf(new Error('why'))).to.equal('why');
    expect(reasonOf('why')).to.equal('why');
  });
});

describe('quoted', () => {
  const cases: [text: string, shown: string][] = [
    ['br0', '"br0"'],
    ['a "b" \\ ä', '"a "b" \\ ä"'],
    ['a\n\x1b[31m\x7f\0', '"a\\x0a\\x1b[31m\\x7f\\x00"'],
    ['\u202e\u2028\ufeff', '"\\u{202e}\\u{2028}\\u{feff}"'],
    ['x'.repeat(81), `"${'x'.repeat(80)}…"`],
  ];
  for (const [text, shown] of cases)
    it(`shows ${JSON.stringify(text.slice(0, 20))} in one line`, () => expect(quoted(text)).to.equal(shown));
});
