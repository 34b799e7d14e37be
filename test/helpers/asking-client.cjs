// Asks a URL every 10 ms, each time by a connection of its own, until its stdin ends; then prints what came of it.
//   asking-client.cjs URL
// Until then a line for each answer that is another than the one before.
const http = require('node:http');

const EVERY_MS = 10;
/** Longer than any answer takes; a packet that is lost would be sent again after a second only. */
const TIMEOUT_MS = 250;

/** @type {{ at: number, body: string | undefined }[]} */
const asked = [];
let waiting = 0;
/** @type {string | undefined} */
let last;

function ask() {
  /** @type {{ at: number, body: string | undefined }} */
  const one = { at: performance.now(), body: undefined };
  asked.push(one);
  waiting++;
  const request = http.get(process.argv[2] ?? '', { agent: false, timeout: TIMEOUT_MS }, (response) => {
    let body = '';
    response.setEncoding('utf8');
    response.on('data', (text) => {
      body += text;
    });
    response.on('end', () => {
      if (response.statusCode !== 200 || !response.complete) return;
      one.body = body.trim();
      if (one.body !== last) console.log(one.body);
      last = one.body;
    });
  });
  request.on('timeout', () => request.destroy());
  request.on('error', () => {});
  request.on('close', () => {
    waiting--;
  });
}

/** The longest time from a question without an answer to the next one with an answer. */
function outageMs() {
  let longest = 0;
  /** @type {number | undefined} */
  let since;
  for (const { at, body } of asked) {
    if (body === undefined) since ??= at;
    else if (since !== undefined) {
      longest = Math.max(longest, at - since);
      since = undefined;
    }
  }
  return longest;
}

const timer = setInterval(ask, EVERY_MS);
process.stdin.resume().on('end', () => {
  clearInterval(timer);
  const done = setInterval(() => {
    if (waiting > 0) return;
    clearInterval(done);
    const bodies = asked.map(({ body }) => body);
    console.log(
      JSON.stringify({
        asked: bodies.length,
        failed: bodies.filter((body) => body === undefined).length,
        outageMs: outageMs(),
        answers: bodies.filter(
          (body, i) => body !== undefined && body !== bodies.slice(0, i).findLast(Boolean),
        ),
      }),
    );
  }, EVERY_MS);
});
