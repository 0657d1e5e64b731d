// What a share link is good for: the viewer's signature, and the check of the camera's proof.
import assert from 'node:assert/strict';
import { test } from 'node:test';

import { Link, fingerprintOf } from '../player.js';
import { keyOf } from './support/keys.js';

const camera = keyOf(1);
const viewer = keyOf(2);
const THEIRS = '0a'.repeat(32);
const OURS = '0b'.repeat(32);
const NONCE = 'AwMDAwMDAwMDAwMDAwMDAw';

/** The camera's answer to an offer, or somebody else's. */
function proof({ by = camera, name = by.name, room = 'garden', nonce = NONCE, theirs = THEIRS, ours = OURS } = {}) {
  return { key: name, signature: by.sign(`peercam-answer-v1\n${room}\n${nonce}\n${theirs}\n${ours}`) };
}

const line = (byte, hash = 'sha-256') => `a=fingerprint:${hash} ${Array(32).fill(byte).join(':')}\r\n`;

test('the one fingerprint of a description is found wherever it stands', () => {
  assert.equal(fingerprintOf(`v=0\r\n${line('0A')}m=video 9\r\n${line('0a', 'SHA-256')}`), THEIRS);
});

test('a description with no fingerprint, several, or another one counts for nothing', () => {
  for (const sdp of [
    'v=0\r\n',
    line('0a') + line('0b'),
    line('0a') + line('0b').toUpperCase(),
    line('0a') + line('0a', 'sha-1'),
    line('0a') + `m=video 9\n ${line('0a')}a=fingerprint:sha-256\n`,
    line('0a', 'sha-512'),
    line('zz'),
    line('0a').replace('0a:', ''),
    `${line('0a').trim()} extra`,
  ]) {
    assert.equal(fingerprintOf(sdp), null, sdp);
  }
});

test('the camera of the link is known by its proof', async () => {
  const link = new Link('garden', camera.name);
  // The same stands in the test of proof.rs.
  assert.deepEqual(proof(), {
    key: 'iojj3XQJ8ZX9UtstPLpdcspnCb8dlBIb83SIAbQPb1w',
    signature: 'dWkEnVkwFKewczdkdiA30V_vLV_J9OPZ6p8ZlRvtYmbphMbFcZzkGfn_7Q6mPoIeJhM_IZcIX-zpsk5qlx1FDQ',
  });
  assert.equal(await link.check(proof(), NONCE, THEIRS, OURS), 'verified');
});

test('nobody else is taken for the camera', async () => {
  const link = new Link('garden', camera.name);
  const check = (evidence, nonce = NONCE, theirs = THEIRS, ours = OURS) => link.check(evidence, nonce, theirs, ours);
  const thief = keyOf(9);
  assert.equal(await check(proof({ by: thief })), 'impostor', 'another key');
  assert.equal(await check(proof({ by: thief, name: camera.name })), 'impostor', 'another key under its name');
  assert.equal(await check({ ...proof(), key: thief.name }), 'impostor', 'its proof under another name');
  assert.equal(await check(proof({ room: 'cellar' })), 'impostor', 'another room');
  assert.equal(await check(proof(), 'BAQEBAQEBAQEBAQEBAQEBA'), 'impostor', 'an old answer');
  assert.equal(await check(proof(), NONCE, '0c'.repeat(32)), 'impostor', 'another certificate in the answer');
  assert.equal(await check(proof({ ours: '0c'.repeat(32) })), 'impostor', 'another certificate in the offer');
  assert.equal(await check(proof(), NONCE, null), 'impostor', 'no certificate');
  for (const signature of ['', '%', 'AAAA', undefined, 7]) {
    assert.equal(await check({ key: camera.name, signature }), 'impostor', String(signature));
  }
  for (const missing of [undefined, null]) assert.equal(await check(missing), 'unproven');
});

test('without a key in the link nothing is checked, and that is said', async () => {
  assert.equal(await new Link('garden').check(proof(), NONCE, THEIRS, OURS), 'unnamed');
  assert.equal(await new Link('garden').check(undefined, NONCE, null, OURS), 'impostor');
});

test('each join has a nonce of its own, in open rooms too', async () => {
  const link = new Link('garden');
  const [one, two] = [await link.pass(OURS), await link.pass(OURS)];
  assert.match(one.nonce, /^[\w-]{22}$/);
  assert.notEqual(one.nonce, two.nonce);
  assert.equal(JSON.stringify(one), JSON.stringify({ nonce: one.nonce }));
});

test('the viewer signs camera, room, nonce and certificate with the key of the token', async () => {
  const { nonce, token, signature } = await new Link('garden', camera.name, 'a.b.c', viewer.secret).pass(OURS);
  assert.equal(token, 'a.b.c');
  const words = (nonce) => `peercam-join-v1\n${camera.name}\ngarden\n${nonce}\n${OURS}`;
  assert.ok(viewer.signed(words(nonce), signature));
  // The same stands in the test of proof.rs.
  assert.equal(viewer.sign(words(NONCE)), '1x2Z9y50HmzrFcXx6RSzywR71lec7rgjSLs87_0Xlp6BhEJvqzURRbRskabWw0xLvJSeclW3wgUy0OSLLQtVBQ');
});

test('a bearer token is shown without a signature', async () => {
  const { token, signature } = await new Link('garden', camera.name, 'a.b.c').pass(OURS);
  assert.deepEqual([token, signature], ['a.b.c', undefined]);
});

test('a link of which something is missing is called damaged', () => {
  const damaged = (...parts) => new Link('garden', ...parts).damaged;
  assert.equal(damaged(), false);
  assert.equal(damaged(camera.name), false);
  assert.equal(damaged(camera.name, 'a.b.c', viewer.secret), false);
  assert.equal(damaged(camera.name.slice(1)), true);
  assert.equal(damaged(''), true);
  assert.equal(damaged(`${camera.name.slice(0, 42)}x`), true, 'bits beyond the last byte');
  assert.equal(damaged(camera.name, 'a.b'), true);
  assert.equal(damaged(camera.name, 'a.b.c d'), true);
  assert.equal(damaged(camera.name, 'a.b.c', viewer.secret.slice(0, 20)), true);
  assert.equal(damaged(camera.name, null, viewer.secret), true);
  assert.equal(damaged(null, 'a.b.c', viewer.secret), true);
});

test('what the token says is read, and nonsense is nothing', () => {
  const claims = (text) => new Link('garden', null, `a.${Buffer.from(text).toString('base64url')}.c`).claims;
  assert.deepEqual(claims('{"iat":1,"exp":2}'), { iat: 1, exp: 2 });
  for (const nonsense of ['', 'null', '{']) assert.equal(claims(nonsense).exp, undefined);
  assert.equal(new Link('garden', null, 'a.b.c').claims.exp, undefined);
  assert.equal(new Link('garden').claims.exp, undefined);
});

test('a page that can’t check says why', async (t) => {
  const asked = () => new Link('garden', camera.name, 'a.b.c', viewer.secret);
  assert.equal(await asked().trouble(), null);
  const { subtle } = crypto;
  t.after(() => Object.defineProperty(crypto, 'subtle', { value: subtle, configurable: true }));
  Object.defineProperty(crypto, 'subtle', { value: undefined, configurable: true });
  assert.equal(await asked().trouble(), 'plainHttp');
  assert.equal(await asked().check(proof(), NONCE, THEIRS, OURS), 'plainHttp');
  await assert.rejects(asked().pass(OURS), 'nothing goes out unsigned');
  assert.equal(await new Link('garden').trouble(), null, 'who asks for nothing misses nothing');
  const unable = { importKey: () => Promise.reject(new Error('NotSupportedError')) };
  Object.defineProperty(crypto, 'subtle', { value: unable, configurable: true });
  assert.equal(await asked().trouble(), 'oldBrowser');
});
