// What the player does with what server and camera say, told by a scripted WebSocket. Browser and
// time are as much of them as that takes; what a real browser makes of it, the end-to-end tests say.
import assert from 'node:assert/strict';
import { test } from 'node:test';

import { Link, Watch, text } from '../player.js';
import { keyOf } from './support/keys.js';

const print = (byte) => `a=fingerprint:sha-256 ${Array(32).fill(byte).join(':')}\r\n`;
const OFFER = `v=0\r\na=ice-ufrag:abcd\r\n${print('0B')}m=video 9\r\na=rtpmap:96 H264/90000\r\n`;
const ANSWER = `v=0\r\n${print('0A')}`;

const camera = keyOf(1);
const viewer = keyOf(2);
const FROM = Date.UTC(2030, 0, 1) / 1000;
const TOKEN = `a.${Buffer.from(JSON.stringify({ iat: 1, nbf: FROM, exp: FROM + 60 })).toString('base64url')}.c`;
const shared = () => new Link('garden', camera.name, TOKEN, viewer.secret);

/** The camera's answer to a join. */
function answer({ pass }, { by = camera, sdp = ANSWER } = {}) {
  const theirs = /sha-256 (\S+)/.exec(sdp)[1].replaceAll(':', '').toLowerCase();
  const words = `peercam-answer-v1\ngarden\n${pass.nonce}\n${theirs}\n${'0b'.repeat(32)}`;
  return { type: 'answer', sdp, proof: { key: camera.name, signature: by.sign(words) } };
}

class Channel extends EventTarget {
  readyState = 'open';
  send() {}
}

class Connection extends EventTarget {
  static last;
  connectionState = 'new';
  iceConnectionState = 'new';
  signalingState = 'stable';
  answers = [];
  control = new Channel();
  constructor() {
    super();
    Connection.last = this;
  }
  addTransceiver() {
    return { receiver: {} };
  }
  createDataChannel() {
    return this.control;
  }
  setConfiguration({ iceServers }) {
    this.iceServers = iceServers;
  }
  async createOffer() {
    return { type: 'offer', sdp: OFFER };
  }
  async setLocalDescription() {}
  async setRemoteDescription({ sdp }) {
    this.answers.push(sdp);
  }
  async getStats() {
    return new Map();
  }
  close() {}
  /** What has become of ICE, and of the whole. */
  becomes(ice, state) {
    [this.iceConnectionState, this.connectionState] = [ice, state];
    this.dispatchEvent(new Event('connectionstatechange'));
  }
  /** ICE and DTLS are up, and the camera says how to come back. */
  connect() {
    this.becomes('connected', 'connected');
    this.control.dispatchEvent(new MessageEvent('message', { data: JSON.stringify({ type: 'session', resume: '00'.repeat(16) }) }));
  }
}

class Socket {
  static OPEN = 1;
  static all = [];
  readyState = 1;
  sent = [];
  constructor(url, protocols) {
    Object.assign(this, { url, protocols });
    Socket.all.push(this);
  }
  static get last() {
    return Socket.all.at(-1);
  }
  send(data) {
    this.sent.push(JSON.parse(data));
  }
  close() {
    this.readyState = 3;
  }
  /** The server says something. */
  says(message) {
    this.onmessage({ data: JSON.stringify(message) });
  }
  /** The server refuses, and closes as it does then. */
  refuses(code) {
    this.says({ type: 'error', code, message: 'because' });
    this.readyState = 3;
    this.onclose?.();
  }
  get joins() {
    return this.sent.filter(({ type }) => type === 'join');
  }
}

/** Signatures are made on other threads: real time passes, on a busy machine for some seconds. */
async function until(what, fits) {
  const begin = process.hrtime.bigint();
  while (!fits()) {
    assert.ok(process.hrtime.bigint() - begin < 30_000_000_000n, `still waiting for ${what}`);
    await new Promise(setImmediate);
  }
}

/** Somebody watches the garden; `pass` lets time pass, `sleep` passes it without a program noticing. */
function watching(t, link = shared()) {
  let [awake, asleep] = [0, 0];
  t.mock.timers.enable({ apis: ['setTimeout', 'setInterval'] });
  t.mock.method(performance, 'now', () => awake);
  t.mock.method(Date, 'now', () => 1.8e12 + awake + asleep);
  t.mock.method(Math, 'random', () => 0.5);
  const nothing = () => {};
  Object.assign(globalThis, {
    WebSocket: Socket,
    RTCPeerConnection: Connection,
    RTCIceCandidate: class {},
    MediaStream: class {},
    addEventListener: nothing,
    document: { hidden: false, addEventListener: nothing },
    navigator: {},
  });
  Socket.all = [];
  const seen = [];
  const events = { situation: (situation) => seen.push(situation), play: nothing, hold: nothing, figures: nothing };
  const watch = new Watch('ws://server/watch/garden', link, 'rtp', true, { paused: false, playbackRate: 1 }, events);
  t.after(() => watch.stop());
  const pass = (ms) => {
    for (let done = 0; done < ms; done += 100) {
      awake += 100;
      t.mock.timers.tick(100);
    }
  };
  const sleep = (ms) => (asleep += ms);
  return { watch, seen, pass, sleep };
}

/** The player has joined, and this is what it sent. */
async function joined(socket = Socket.last, count = 1) {
  await until('a join', () => socket.joins.length === count);
  return socket.joins.at(-1);
}

/** Time passes until the player has another connection than `before`, and joins with it. */
async function joinedAgain(socket, before, pass) {
  for (let i = 0; i < 150 && Connection.last === before; i++) {
    pass(100);
    await new Promise(setImmediate);
  }
  assert.notEqual(Connection.last, before);
  await joined(socket, 2);
}

async function answered() {
  Socket.last.says({ type: 'welcome', room: 'garden', online: true, ice_servers: [] });
  const socket = Socket.last;
  socket.says(answer(await joined()));
  await until('the answer', () => Connection.last.answers.length === 1);
  return socket;
}

async function playing() {
  const socket = await answered();
  Connection.last.connect();
  return socket;
}

test('the token is shown when connecting, and the join is signed', async (t) => {
  watching(t);
  assert.equal(Socket.last.url, 'ws://server/watch/garden', 'no secret in an address');
  assert.deepEqual(Socket.last.protocols, ['peercam.v1', `peercam.token.${TOKEN}`]);
  Socket.last.says({ type: 'welcome', room: 'garden', online: true, ice_servers: [] });
  const { pass } = await joined();
  assert.equal(pass.token, TOKEN);
  const words = `peercam-join-v1\n${camera.name}\ngarden\n${pass.nonce}\n${'0b'.repeat(32)}`;
  assert.ok(viewer.signed(words, pass.signature));
  assert.ok(!JSON.stringify(Socket.last.sent).includes(viewer.secret));
});

test('an open room is joined with a nonce and nothing else', async (t) => {
  watching(t, new Link('garden'));
  assert.deepEqual(Socket.last.protocols, ['peercam.v1']);
  Socket.last.says({ type: 'welcome', room: 'garden', online: true });
  assert.deepEqual(Object.keys((await joined()).pass), ['nonce']);
});

test('the camera’s answer is used, and it is known to be the camera’s', async (t) => {
  const { watch } = watching(t);
  await playing();
  assert.deepEqual(Connection.last.answers, [ANSWER]);
  assert.equal(watch.figures.verified, true);
});

const lies = {
  'that somebody else signed': (join) => [answer(join, { by: keyOf(9) }), 'impostor'],
  'with another certificate than was signed': (join) => [{ ...answer(join), sdp: `v=0\r\n${print('0C')}` }, 'impostor'],
  'with a second certificate': (join) => [{ ...answer(join), sdp: ANSWER + print('0C') }, 'impostor'],
  'to another offer': () => [answer({ pass: { nonce: 'AwMDAwMDAwMDAwMDAwMDAw' } }), 'impostor'],
  'without a proof': () => [{ type: 'answer', sdp: ANSWER }, 'unproven'],
};
for (const [what, lie] of Object.entries(lies)) {
  test(`an answer ${what} is never used, and not asked for again`, async (t) => {
    const { watch, pass } = watching(t);
    Socket.last.says({ type: 'welcome', room: 'garden', online: true });
    const [message, title] = lie(await joined());
    Socket.last.says(message);
    await until('a decision', () => watch.situation.state === 'unsafe');
    assert.deepEqual([watch.situation.title, watch.situation.final], [title, true]);
    assert.deepEqual(Connection.last.answers, []);
    pass(120000);
    assert.equal(Socket.all.length, 1);
  });
}

test('the answer to a restart must have the certificate of the first one', async (t) => {
  const { watch } = watching(t);
  const socket = await playing();
  socket.says({ type: 'restart' });
  const again = await joined(socket, 2);
  assert.equal(again.resume, '00'.repeat(16));
  assert.notEqual(again.pass.nonce, socket.joins[0].pass.nonce);
  socket.says(answer(again, { sdp: `v=0\r\n${print('0C')}` }));
  await until('a decision', () => watch.situation.state === 'unsafe');
  assert.equal(Connection.last.answers.length, 1);
});

test('servers that come with the camera take the place of those before', async (t) => {
  const { watch } = watching(t);
  Socket.last.says({ type: 'welcome', room: 'garden', online: false });
  assert.equal(watch.situation.state, 'offline');
  Socket.last.says({ type: 'camera', online: true, ice_servers: [{ urls: ['stun:a'] }] });
  await joined();
  assert.deepEqual(Connection.last.iceServers, [{ urls: ['stun:a'] }]);
});

const relays = (credential) => [{ urls: ['turn:a'], username: 'u', credential }];

test('with old credentials of a relay a restart fetches new ones first', async (t) => {
  const { pass, sleep } = watching(t);
  const socket = await playing();
  socket.says({ type: 'camera', online: true, ice_servers: relays('old') });
  sleep(2 * 3600 * 1000);
  socket.says({ type: 'restart' });
  pass(200);
  assert.equal(socket.joins.length, 1, 'not with what the relay no longer takes');
  assert.equal(Socket.all.length, 2);
  Socket.last.says({ type: 'welcome', room: 'garden', online: true, ice_servers: relays('new') });
  assert.ok((await joined()).resume, 'the session goes on');
  assert.deepEqual(Connection.last.iceServers, relays('new'));
});

const final = [
  'bad-room', 'room-claimed', 'not-listed', 'bad-proof', 'token-missing', 'token-invalid', 'token-for-another-room',
  'token-expired', 'token-used', 'token-revoked', 'token-not-yours', 'not-allowed', 'sent-away', 'too-large', 'other', 'newer-than-us',
];
for (const code of final) {
  test(`${code} is said in words, and not tried again`, async (t) => {
    const { watch, pass } = watching(t);
    Socket.last.says({ type: 'welcome', room: 'garden', online: true });
    await joined();
    Socket.last.refuses(code);
    const { state, title, detail, values, final } = watch.situation;
    assert.deepEqual([state, final], ['refused', true]);
    assert.match(`${text('en', title)} ${text('en', detail, values)}`, /^[A-Z][^{}]+ .+\.$/);
    assert.equal(text('en', title) === title, false, 'no bare name');
    if (/^(token|not-all|sent)/.test(code)) assert.equal(title, code);
    pass(120000);
    assert.equal(Socket.all.length, 1);
  });
}

test('a link that is not valid yet is tried again, with its time in words all along', async (t) => {
  const { watch, seen, pass } = watching(t);
  for (let times = 1; times <= 3; times++) {
    Socket.last.says({ type: 'welcome', room: 'garden', online: true });
    pass(1000);
    await joined();
    Socket.last.refuses('token-not-yet-valid');
    assert.equal(watch.situation.title, 'token-not-yet-valid');
    assert.equal(watch.situation.values.from, new Date(FROM * 1000).toLocaleString());
    pass(7000);
    assert.equal(Socket.all.length, times, 'not hammered');
    pass(3500);
    assert.equal(Socket.all.length, times + 1);
  }
  const first = seen.findIndex(({ title }) => title === 'token-not-yet-valid');
  assert.ok(seen.slice(first).every(({ title }) => title === 'token-not-yet-valid'), 'no flicker');
  Socket.last.says({ type: 'welcome', room: 'garden', online: true });
  pass(2000);
  Socket.last.says(answer(await joined()));
  await until('the answer', () => Connection.last.answers.length === 1);
});

for (const code of ['full', 'media-unavailable', 'camera-offline', 'session-gone', 'too-fast']) {
  test(`${code} is tried again`, async (t) => {
    const { watch, pass } = watching(t);
    const socket = Socket.last;
    socket.says({ type: 'welcome', room: 'garden', online: true });
    await joined();
    const before = Connection.last;
    socket.says({ type: 'error', code, message: 'because' });
    if (code === 'camera-offline') socket.says({ type: 'camera', online: true });
    assert.equal(watch.situation.final, undefined);
    await joinedAgain(socket, before, pass);
  });
}

test('ways that are refused before the camera told of others are not the end', async (t) => {
  const { watch, pass } = watching(t);
  const socket = await answered();
  Connection.last.becomes('failed', 'failed');
  pass(5000);
  Connection.last.becomes('checking', 'connecting');
  Connection.last.connect();
  assert.equal(watch.situation.detail, undefined);
  assert.equal(socket.joins.length, 1);
});

for (const [what, ice, time] of [
  ['ways that are all refused', 'failed', 15100],
  ['a connection that can’t be secured', 'connected', 0],
]) {
  test(`${what}: tried again`, async (t) => {
    const { watch, pass } = watching(t);
    const socket = await answered();
    const before = Connection.last;
    before.becomes(ice, 'failed');
    pass(time);
    assert.equal(watch.situation.state, 'reconnecting');
    await joinedAgain(socket, before, pass);
  });
}

test('where the page can’t sign, nothing is sent', async (t) => {
  const { subtle } = crypto;
  Object.defineProperty(crypto, 'subtle', { value: undefined, configurable: true });
  t.after(() => Object.defineProperty(crypto, 'subtle', { value: subtle, configurable: true }));
  const { watch } = watching(t);
  await until('a decision', () => watch.situation.state === 'refused');
  assert.deepEqual([watch.situation.title, watch.situation.detail], ['cantSign', 'plainHttpDetail']);
  assert.deepEqual(Socket.last.sent, []);
});
