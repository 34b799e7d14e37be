/**
 * The order of versions that systemd sorts by (strverscmp_improved): UAPI.10 Version Format Specification, section
 * "Version Comparison". Where systemd differs from that text it holds: `^` is older than `.` and what has no mark
 * (`1^post1` comes before `1.1`), and letters are older than any number.
 */

/** What separates nothing: every other character is passed over. */
const MEANINGLESS = /[^A-Za-z0-9.~^-]/;
const STARTS_WITH_DIGIT = /^[0-9]/;
const DIGITS = /^[0-9]*/;
const LETTERS = /^[A-Za-z]*/;

/** What has one of these is the older, the marks looked at in this order. */
const MARKS: readonly string[] = ['-', '^', '.'];

/** Negative where `a` is the older version, positive where it is the newer, 0 where the order makes no difference. */
export function compareVersions(a: string, b: string): number {
  let [left, right] = [a, b];
  for (;;) {
    [left, right] = [skipMeaningless(left), skipMeaningless(right)];
    // Lower than anything, the end included: `1~rc1` comes before `1`.
    const tilde = compareMark('~', left, right);
    if (tilde !== 0) return -tilde;
    if (left.startsWith('~')) [left, right] = [left.slice(1), right.slice(1)];
    if (left === '' || right === '') return Math.sign(left.length - right.length);
    for (const mark of MARKS) {
      const which = compareMark(mark, left, right);
      if (which !== 0) return -which;
      if (left.startsWith(mark)) [left, right] = [left.slice(1), right.slice(1)];
    }
    const [leftIsNumber, rightIsNumber] = [STARTS_WITH_DIGIT.test(left), STARTS_WITH_DIGIT.test(right)];
    // A number is newer than letters, 0 too.
    if (leftIsNumber !== rightIsNumber) return leftIsNumber ? 1 : -1;
    const numeric = leftIsNumber;
    const [leftPart, rightPart] = [prefix(left, numeric), prefix(right, numeric)];
    const order = numeric ? compareNumbers(leftPart, rightPart) : compareTexts(leftPart, rightPart);
    if (order !== 0) return order;
    [left, right] = [left.slice(leftPart.length), right.slice(rightPart.length)];
  }
}

/** 1 where only `left` starts with the mark, -1 where only `right` does. */
const compareMark = (mark: string, left: string, right: string): number =>
  Number(left.startsWith(mark)) - Number(right.startsWith(mark));

function skipMeaningless(text: string): string {
  let start = 0;
  while (start < text.length && MEANINGLESS.test(text.charAt(start))) start++;
  return text.slice(start);
}

const prefix = (text: string, numeric: boolean): string => (numeric ? DIGITS : LETTERS).exec(text)?.[0] ?? '';

/** Of any length: no number type holds a date with a build number for sure. */
function compareNumbers(a: string, b: string): number {
  const [left, right] = [a.replace(/^0+/, ''), b.replace(/^0+/, '')];
  return Math.sign(left.length - right.length) || compareTexts(left, right);
}

/** Letter by letter, capitals first; the longer one is the newer. */
export const compareTexts = (a: string, b: string): number => (a === b ? 0 : a < b ? -1 : 1);
