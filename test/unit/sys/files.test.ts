import { existsSync, mkdirSync, mkdtempSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'chai';
import { makePath } from '../../../src/sys/files.js';

describe('makePath', () => {
  let top = '';
  beforeEach(() => {
    top = mkdtempSync(join(tmpdir(), 'overlay-boot-files-'));
  });
  afterEach(() => rmSync(top, { recursive: true }));

  it('makes what is missing, and tells the first that it made', () => {
    expect(makePath(join(top, 'a/b/c'), 0o700)).to.equal(join(top, 'a'));
    expect(statSync(join(top, 'a/b/c')).mode & 0o7777).to.equal(0o700);
    expect(makePath(join(top, 'a/d'), 0o755)).to.equal(join(top, 'a/d'));
    expect(makePath(join(top, 'a/d'), 0o700)).to.equal(undefined);
    expect(statSync(join(top, 'a/d')).mode & 0o7777).to.equal(0o755);
  });

  it('goes through links to directories', () => {
    mkdirSync(join(top, 'there'));
    symlinkSync('there', join(top, 'link'));
    expect(makePath(join(top, 'link/x'), 0o755)).to.equal(join(top, 'link/x'));
    expect(existsSync(join(top, 'there/x'))).to.equal(true);
  });

  const refused: [where: string, prepare: (dir: string) => string, message: string][] = [
    [
      'a file is in its place',
      (top) => file(join(top, 'file')),
      'file is no directory, or a link to nothing',
    ],
    ['a file is on the way to it', (top) => join(file(join(top, 'file')), 'x/y'), 'ENOTDIR'],
    [
      'a link to nothing is on the way to it',
      (top) => join(dangling(join(top, 'link')), 'x'),
      'link is no directory, or a link to nothing',
    ],
    ['the file system takes no directories, as procfs', () => '/proc/overlay-boot/x', 'ENOENT'],
  ];
  for (const [where, prepare, message] of refused)
    it(`fails where ${where}`, () => {
      expect(() => makePath(prepare(top), 0o755)).to.throw(message);
    });
});

function file(path: string): string {
  writeFileSync(path, '');
  return path;
}

function dangling(path: string): string {
  symlinkSync('nowhere', path);
  return path;
}
