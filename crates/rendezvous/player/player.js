// @ts-check
// SPDX-License-Identifier: MIT OR Apache-2.0
/**
 * The player of peercam: the custom element `<peercam-player>`.
 *
 *     <script type="module" src="/player.js"></script>
 *     <peercam-player room="front-door" autoplay muted></peercam-player>
 *
 * | attribute   | meaning                                                                         |
 * |-------------|---------------------------------------------------------------------------------|
 * | `room`      | the camera's room                                                               |
 * | `server`    | `wss://host` of the rendezvous server; left out: where the page came from       |
 * | `transport` | `auto` (default), `rtp` or `fmp4`; `fmp4` gives way to `rtp` where it is hopeless |
 * | `transport-fallback` | `off`: it doesn't, for measurements                                    |
 * | `autoplay`  | starts by itself                                                                |
 * | `muted`     | starts without sound, which is what lets a browser start by itself              |
 * | `camera-key` | the camera's public key: what can't prove that it has it is not played         |
 * | `token`, `viewer-key` | what lets the viewer in, and the private key that goes with it        |
 *
 * Methods `start()`, `stop()` and `resetStats()`; property `stats` (see {@link Stats}); event `statechange`.
 *
 * Contents, in the order in which one uses the other:
 *
 *     Texts         what a person reads
 *     Arithmetic    Backoff, ClockSync, LatencyMeter, FrameMeter, Lifeline, LiveEdge, Verdict: no
 *                   browser, no clock of their own
 *     Link          what a share link says: signs for the viewer, checks the camera
 *     Signalling    the WebSocket to the rendezvous server, for as long as somebody watches
 *     RtpPlayback   \ what differs between the two transports:
 *     Fmp4Playback  / what the offer asks for, and how bytes become a picture
 *     Session       one RTCPeerConnection to the camera, from the offer to its end
 *     Watch         keeps one session alive in one room: joins, waits, joins again
 *     Appearance    icons and style
 *     PeercamPlayer the element: buttons, words, keys
 *
 * The messages are those of `crates/protocol`: `signalling.rs` (WebSocket) and `control.rs` (data
 * channel).
 */

/**
 * @typedef {'idle'|'looking'|'offline'|'connecting'|'playing'|'stalled'|'reconnecting'|'refused'|'unsafe'|'ended'} State
 * @typedef {'rtp'|'fmp4'} Transport
 *
 * @typedef {object} Stats Times are milliseconds; `null` is "not known (yet)".
 * @property {State} state
 * @property {string} message what the person reads
 * @property {Transport} transport the one in use
 * @property {number|null} width
 * @property {number|null} height
 * @property {string|null} video_codec RFC 6381
 * @property {string|null} audio_codec
 * @property {number} frames_decoded since `start()`, over all sessions
 * @property {number} audio_decoded since `start()`: samples (`rtp`) or bytes (`fmp4`)
 * @property {number|null} connect_ms from the click (or the join) until ICE and DTLS were up
 * @property {number|null} first_frame_ms from the click (or the join) until the first frame
 * @property {{p50: number|null, p95: number|null, last: number|null}} latency_ms capture → shown, last 300 frames since `resetStats()`
 * @property {number} fps frames shown in the last second
 * @property {number} freeze_longest_ms longest time without a new frame since the first one or `resetStats()`, one that still lasts included; hidden tabs don't count
 * @property {number} bytes_received since `start()`: media and what is around it, network headers left out
 * @property {'main'|'sub'|null} stream which of the camera's encodes
 * @property {'host'|'reflexive'|'relay'|null} path the less direct one of the two ends
 * @property {string|null} path_local our candidate's type (RFC 8445): `host`, `srflx`, `prflx` or `relay`
 * @property {string|null} path_remote the camera's
 * @property {'udp'|'tcp'|'tls'|null} path_protocol ours to the relay, where our end is one; else the pair's
 * @property {number} restarts ICE restarts, each on a running session
 * @property {number} reconnects sessions begun after the first one
 * @property {boolean} verified the camera has shown that it has the link's key
 *
 * @typedef {{urls: string[], username?: string, credential?: string}} IceServer
 * @typedef {{code: string, message: string}} PeerError
 * @typedef {{stream?: 'main'|'sub', width: number, height: number, video_codec: string, audio_codec?: string|null}} StreamInfo
 * @typedef {Pick<Stats, 'path'|'path_local'|'path_remote'|'path_protocol'>} Path
 */

/** Subprotocols of the WebSocket (`wire::SUBPROTOCOL`, `wire::TOKEN_SUBPROTOCOL`). */
const SUBPROTOCOL = 'peercam.v1';
const TOKEN_SUBPROTOCOL = 'peercam.token.';
/** Frames that `latency_ms` looks back on. */
const LATENCY_FRAMES = 300;

/** How long things may take, in milliseconds. */
const PATIENCE = {
  /** The WebSocket is open and the server has spoken. */
  server: 8000,
  /** What has worked for so long is taken to work. */
  stable: 5000,
  /** The camera has answered the offer. */
  answer: 8000,
  /** ICE and DTLS are up. */
  connection: 15000,
  /** No new frame: the person is told. */
  stalled: 2000,
  /** Neither a frame nor anything else, on a session that can't be taken up again: it is dead. */
  dead: 4000,
  /** A lost way to the camera is searched for in a hurry: afterwards the camera has given it up too. */
  hurry: 30000,
  /** No new frame although the way to the camera was found again. */
  restored: 3000,
  /** No new frame although the camera answers and says that its source is live. */
  hopeless: 10000,
  /** Between two looks at the clock, also in a hidden tab: more, and the machine slept. */
  asleep: 70000,
  /** Between two quiet tries to get in where the camera is full or has no picture, or the link is not good yet. */
  refused: 10000,
  /** So long a relay's credentials are taken to be good. */
  credentials: 3600000,
};

// ---------------------------------------------------------------------------------------- Texts

/**
 * Everything a person reads, by language and name; `{…}` is filled in. Another language is another
 * column; what it lacks is shown in English.
 * @type {Record<string, Record<string, string>>}
 */
const TEXTS = {
  en: {
    idle: 'Ready to watch',
    looking: 'Looking for the camera…',
    offline: 'The camera is offline.',
    offlineDetail: 'It will appear here when it comes back.',
    connecting: 'Connecting…',
    connected: 'Connected',
    direct: 'Connected directly',
    relay: 'Connected through a relay',
    reduced: 'reduced quality: narrow network',
    fellBack: 'transport changed to rtp: too much is lost here for fmp4',
    stalled: 'The picture has stopped…',
    stalledDetail: 'Waiting for the camera.',
    sourceDetail: 'The camera says: {message}',
    reconnecting: 'Reconnecting…',
    serverDetail: 'The server does not answer. Trying again.',
    answerDetail: 'The camera does not answer. Trying again.',
    pathDetail: 'The way to the camera was lost. Looking for another one.',
    networkDetail: 'The camera is there, but no connection to it comes about. Trying again.',
    ended: 'Stopped',
    // What the server or the camera refuses, by `ErrorCode`.
    full: 'The camera is full',
    'media-unavailable': 'The camera has no picture',
    'bad-room': 'There is no such room',
    'bad-offer': 'This browser and the camera have no format in common',
    'room-claimed': 'This room belongs to another camera',
    'room-taken': 'Another camera is in this room',
    'not-listed': 'This server does not serve this camera',
    'bad-proof': 'The camera could not show who it is',
    'token-missing': 'You need a link from the owner to watch this camera',
    'token-missingDetail': 'Ask for one, and open all of it, also what is behind #.',
    'token-invalid': 'This link does not open this camera',
    'token-invalidDetail': 'It is damaged, or the camera does not know who made it. Copy the whole link, or ask the owner for a new one.',
    'token-for-another-room': 'This link is for another room',
    'token-for-another-roomDetail': 'Open it just as it was shared.',
    'token-expired': 'This link has expired',
    'token-expiredDetail': 'Ask the owner for a new one.',
    'token-not-yet-valid': 'This link is not valid yet',
    'token-not-yet-validDetail': 'It is from {from} on. Waiting for that.',
    'token-used': 'This link was good for one visit',
    'token-usedDetail': 'It had that visit. Ask the owner for a new link.',
    'token-revoked': 'The owner has taken this link back',
    'token-revokedDetail': 'Ask for a new one.',
    'token-not-yours': 'The camera can’t tell that this link is yours',
    'token-not-yoursDetail': 'A part of the link is missing, or somebody between you and the camera changed what was sent. Open the whole link, or try another network or server.',
    'not-allowed': 'This link does not let you watch',
    'not-allowedDetail': 'Ask the owner for one that does.',
    'sent-away': 'You were sent away',
    'sent-awayDetail': 'The administrator of this server ended your visit.',
    refused: 'The camera can’t be watched',
    badServer: 'This page can’t reach its server',
    badLink: 'This link is damaged',
    badLinkDetail: 'A part of it is missing or changed. Copy the whole link, also what is behind #.',
    impostor: 'This is not the camera of your link',
    impostorDetail: 'Somebody between you and the camera pretends to be it: this server, or someone in the network. Nothing of it is played. Try another network, and tell the camera’s owner.',
    unproven: 'This may not be the camera of your link',
    unprovenDetail: 'It did not prove that it is. Its software may be too old, or somebody between you and the camera took the proof away. Nothing of it is played.',
    verified: 'Verified',
    verifiedDetail: 'This is the camera of your link: it has proven that it has the key below. Nobody between you and it can see or change the picture.',
    unnamed: 'Not verified',
    unnamedDetail: 'The address of this page does not say which camera to expect. A share link from the camera’s owner does.',
    cantVerify: 'Can’t verify the camera',
    cantSign: 'Your link can’t be used on this page',
    plainHttpDetail: 'This page came over plain http, where browsers switch the means for it off. Open it over https: the server can do that by one setting, [tls] in its rendezvous.toml.',
    oldBrowserDetail: 'This browser has no Ed25519 signatures. Use a current Chrome, Edge, Firefox or Safari.',
    lock: 'Is this the right camera? {title}',
    key: 'Key',
    room: 'Room',
    until: 'Link is good until',
    noWebRtc: 'This browser has no WebRTC',
    noWebRtcDetail: 'Use a current Chrome, Edge, Firefox or Safari.',
    noMse: 'This browser can’t play the stream',
    noMseDetail: 'It has no Media Source Extensions for {mime}.',
    said: '{message}',
    retryDetail: '{message} Trying again every few seconds.',
    play: 'Play',
    stop: 'Stop',
    retry: 'Try again',
    mute: 'Mute',
    unmute: 'Unmute',
    volume: 'Volume',
    fullscreen: 'Full screen',
    leaveFullscreen: 'Leave full screen',
    live: 'Live',
    latency: '{ms} ms from the camera’s eye to this screen',
    label: 'Camera {room}',
    controls: 'Player controls',
  },
};

/**
 * @param {string} language as in `lang="…"` or `navigator.language`
 * @param {string} name
 * @param {Record<string, string|number>} [values]
 */
export function text(language, name, values = {}) {
  const table = TEXTS[language] ?? TEXTS[language.split('-')[0]] ?? TEXTS.en;
  const words = table[name] ?? TEXTS.en[name] ?? name;
  return words.replace(/\{(\w+)\}/g, (_, key) => String(values[key] ?? ''));
}

/** What another program says, as a person writes it. @param {string} words */
function sentence(words) {
  const begun = words.charAt(0).toUpperCase() + words.slice(1);
  return begun === '' || /[.!?…]$/.test(begun) ? begun : `${begun}.`;
}

/** A message; one without a type where it is none. @param {unknown} data @returns {any} */
function parse(data) {
  try {
    return Object(JSON.parse(String(data)));
  } catch {
    console.warn('peercam: a message that is not JSON:', data);
    return {};
  }
}

// ----------------------------------------------------------------------------------- Arithmetic

/** Waiting times that double from `first` to `max` ms, with jitter, so that a crowd of viewers doesn't return at once. */
export class Backoff {
  #tries = 0;

  /**
   * @param {number} first
   * @param {number} max
   * @param {{immediate?: boolean, random?: () => number}} [options] `immediate`: the first try waits for nothing
   */
  constructor(first, max, { immediate = false, random = Math.random } = {}) {
    this.first = first;
    this.max = max;
    this.immediate = immediate;
    this.random = random;
  }

  /** Tries since the last success. */
  get tries() {
    return this.#tries;
  }

  /** How long to wait before the next try: between half and all of the doubled time. */
  next() {
    const doublings = this.#tries - (this.immediate ? 1 : 0);
    this.#tries += 1;
    if (doublings < 0) return 0;
    const full = Math.min(this.max, this.first * 2 ** Math.min(doublings, 30));
    return full * (0.5 + this.random() / 2);
  }

  reset() {
    this.#tries = 0;
  }
}

/**
 * The camera's clock, from round trips (as NTP does, RFC 5905 §8): the shortest of the last ones
 * tells best, since half a round trip is the uncertainty.
 */
export class ClockSync {
  /** @type {Map<number, number>} */
  #asked = new Map();
  /** @type {{offset: number, trip: number}[]} */
  #answers = [];
  #id = 0;

  /** @param {number} [keep] answers to choose from: old ones go, since clocks drift */
  constructor(keep = 20) {
    this.keep = keep;
  }

  /**
   * @param {number} now ms on the local clock
   * @returns {number} the id to send
   */
  ask(now) {
    this.#id += 1;
    this.#asked.set(this.#id, now);
    // Answers that never come must not pile up.
    if (this.#asked.size > this.keep) this.#asked.delete(this.#id - this.keep);
    return this.#id;
  }

  /**
   * @param {number} id
   * @param {number} cameraMs
   * @param {number} now ms on the local clock
   */
  answer(id, cameraMs, now) {
    const asked = this.#asked.get(id);
    if (asked === undefined || !Number.isFinite(cameraMs)) return;
    this.#asked.delete(id);
    this.#answers.push({ offset: cameraMs - (asked + now) / 2, trip: now - asked });
    if (this.#answers.length > this.keep) this.#answers.shift();
  }

  /** What to add to the local clock to get the camera's, in ms. @returns {number|null} */
  get offset() {
    if (this.#answers.length === 0) return null;
    return this.#answers.reduce((best, next) => (next.trip < best.trip ? next : best)).offset;
  }
}

/**
 * The value below which `share` of the sorted values lie (nearest rank).
 * @param {ArrayLike<number>} sorted
 * @param {number} share 0 … 1
 * @returns {number|null}
 */
export function percentile(sorted, share) {
  if (sorted.length === 0) return null;
  const rank = Math.ceil(share * sorted.length) - 1;
  return sorted[Math.min(sorted.length - 1, Math.max(0, rank))];
}

/** From "this frame was captured then" (`clock` events) and frames shown to the latency of each. */
export class LatencyMeter {
  /** @type {number[]} */
  #samples = [];
  #next = 0;
  /** @type {number|null} */
  last = null;
  sync = new ClockSync();
  /** The frame of the last `clock` event. @type {{media: number, captureMs: number}|null} */
  reference = null;

  /** @param {number} [size] frames to look back on */
  constructor(size = LATENCY_FRAMES) {
    this.size = size;
  }

  /**
   * A frame reached the screen.
   * @param {number} afterReference ms of media time between the reference frame and this one
   * @param {number} shown ms on the local clock
   */
  frame(afterReference, shown) {
    const offset = this.sync.offset;
    if (offset === null || this.reference === null) return;
    const latency = shown + offset - (this.reference.captureMs + afterReference);
    // A reference from before a jump of the media clock says nothing.
    if (!Number.isFinite(latency) || latency < -1000 || latency > 60000) return;
    this.last = latency;
    this.#samples[this.#next] = latency;
    this.#next = (this.#next + 1) % this.size;
  }

  /** Forgets the samples; what the clocks say still holds. */
  reset() {
    this.#samples = [];
    this.#next = 0;
  }

  /** @returns {Stats['latency_ms']} */
  summary() {
    const sorted = Float64Array.from(this.#samples).sort();
    /** @param {number|null} value */
    const round = (value) => (value === null ? null : Math.round(value * 10) / 10);
    return { p50: round(percentile(sorted, 0.5)), p95: round(percentile(sorted, 0.95)), last: round(this.last) };
  }
}

/** How evenly frames reach the screen. All times: ms on the local clock. */
export class FrameMeter {
  /** Frames shown in the last second. @type {{at: number, frames: number}[]} */
  #recent = [];
  #count = 0;
  /** @type {number|null} */
  #last = null;
  #longest = 0;

  /**
   * @param {number} at
   * @param {number} [count] of all frames so far: more than one may have been shown since the last call
   */
  shown(at, count = this.#count + 1) {
    if (this.#last !== null) this.#longest = Math.max(this.#longest, at - this.#last);
    this.#last = at;
    this.#recent.push({ at, frames: count > this.#count && this.#count > 0 ? count - this.#count : 1 });
    this.#count = count;
    this.#forget(at);
  }

  /** Nobody looks: what isn't shown now is no freeze. */
  pause() {
    this.#last = null;
  }

  /** @param {number} now */
  reset(now) {
    this.#longest = 0;
    if (this.#last !== null) this.#last = now;
  }

  /** Frames in the last second. @param {number} now */
  fps(now) {
    this.#forget(now);
    return this.#recent.reduce((sum, { frames }) => sum + frames, 0);
  }

  /** The longest time without a new frame, up to now. @param {number} now */
  freeze(now) {
    return Math.round(Math.max(this.#longest, this.#last === null ? 0 : now - this.#last));
  }

  /** @param {number} now */
  #forget(now) {
    while (this.#recent.length > 0 && this.#recent[0].at <= now - 1000) this.#recent.shift();
  }
}

/**
 * Milliseconds from RTP timestamp `from` to `to` (90 kHz, 32 bits that wrap, RFC 3550 §5.1).
 * @param {number} from
 * @param {number} to
 */
export function rtpElapsed(from, to) {
  return ((to - from) | 0) / 90;
}

/**
 * Whether the way to the camera still carries anything, and what to do where it doesn't: offer an
 * ICE restart of the same session (RFC 8445 §9), on another socket if there is no answer to it,
 * and give the session up if that doesn't help. A restart takes nothing away from a way that
 * works, so a false alarm is cheap; but a way that fails again and again is left more and more time.
 */
export class Lifeline {
  /** Silence that means that the way is lost, in ms. Sound, reports and our own questions are never so far apart. */
  static #SILENCE = 800;
  /** How long an offer may go without an answer, one after the other, in ms. */
  static #ANSWER = [600, 2000, 5000];
  /** So long the camera keeps a session for us: then it is of no use to ask for it. */
  static #KEPT = 30000;
  /** From the answer until something arrives. */
  static #CHECKS = 3000;
  /** Without trouble for so long it counts as a good way again. */
  static #STABLE = 10000;

  static #BEGIN = { offered: null, answered: null, unheard: 0, failed: 0 };

  #received = 0;
  /** @type {number|null} */
  #lookedAt = null;
  /** Time without a sign, of which only what we were awake in counts. */
  #silence = 0;
  #asked = false;
  /** The restart under way: when it was offered and answered, offers without an answer, and answers that didn't help. @type {{offered: number|null, answered: number|null, unheard: number, failed: number}|null} */
  #restart = null;
  #backoff = new Backoff(1000, 8000);
  #notBefore = -Infinity;
  heardAt = -Infinity;
  /** Since when there is trouble. @type {number|null} */
  downSince = null;
  /** When the last restart helped. */
  restoredAt = -Infinity;
  restarts = 0;

  /** Something came over it. @param {number} now */
  heard(now) {
    this.heardAt = now;
    this.#silence = 0;
    if (this.#restart?.answered == null) return;
    this.#restart = null;
    this.#asked = false;
    this.restarts += 1;
    this.restoredAt = now;
    this.#notBefore = now + this.#backoff.next();
  }

  /**
   * A look at how much has come, in a unit that grows.
   * @param {number} now
   * @param {number} received
   */
  look(now, received) {
    if (received > this.#received) this.heard(now);
    else if (this.#lookedAt !== null) this.#silence += Math.min(500, now - this.#lookedAt);
    this.#received = received;
    this.#lookedAt = now;
  }

  /** The camera wants a restart, or our own network is another one. */
  ask() {
    this.#asked = true;
    this.#notBefore = -Infinity;
    // What was answered before is about the old addresses.
    if (this.#restart?.answered != null) this.#restart = null;
  }

  /** The server lost our offer. */
  unsent() {
    if (this.#restart) this.#restart.offered = this.#restart.answered = null;
  }

  /** The camera doesn't answer. */
  get unheard() {
    return (this.#restart?.unheard ?? 0) > 1;
  }

  /** @param {number} now */
  answered(now) {
    if (this.#restart) this.#restart.answered = now;
  }

  /**
   * What to do: send an offer, ask on another socket, or end the session.
   * @param {number} now
   * @param {boolean} lost what ICE says
   * @param {boolean|null} online whether the camera is at the server; null: the server is away
   * @returns {'offer'|'renew'|'give-up'|null}
   */
  decide(now, lost, online) {
    const works = !lost && this.#silence < Lifeline.#SILENCE;
    const needed = this.#asked || !works;
    if (!needed && this.#restart?.offered == null) {
      this.#restart = this.downSince = null;
      if (now - this.restoredAt > Lifeline.#STABLE) this.#backoff.reset();
      return null;
    }
    this.downSince ??= now;
    if (this.#restart === null) {
      if (now < this.#notBefore) return null;
      this.#restart = { ...Lifeline.#BEGIN };
    }
    const restart = this.#restart;
    // Nobody there to be asked: that is not the way's fault.
    if (online === false) this.#restart = { ...Lifeline.#BEGIN };
    if (!online) return null;
    if (restart.offered === null) {
      // Who doesn't answer wouldn't answer a new session's offer either.
      if (restart.failed >= 2 || (restart.unheard >= 3 && (works || now - this.downSince > Lifeline.#KEPT))) {
        if (!works) return 'give-up';
        // Nobody answers, but what there is carries.
        this.#restart = null;
        this.#asked = false;
        this.#notBefore = now + this.#backoff.next();
        return null;
      }
      restart.offered = now;
      restart.answered = null;
      return 'offer';
    }
    if (restart.answered !== null) {
      if (now - restart.answered > Lifeline.#CHECKS) {
        restart.offered = null;
        restart.failed += 1;
      }
    } else if (now - restart.offered > Lifeline.#ANSWER[Math.min(2, restart.unheard)]) {
      // A socket has one offer that waits for its answer: then the answer can't be another's.
      restart.offered = null;
      restart.unheard += 1;
      return 'renew';
    }
    return null;
  }
}

/**
 * Keeps a Media Source playing close behind what has arrived: a little faster or slower where that
 * is enough, a jump where it is not. How close follows from how unevenly things came in the last
 * ten seconds, so what the network did once is forgotten again. All but `now` (ms) is in seconds.
 */
export class LiveEdge {
  static #NEAREST = 0.05;
  static #FURTHEST = 0.5;
  /** On top of the unevenness: sound is decoded and mixed in blocks. */
  static #MARGIN = 0.06;
  /**
   * Chromium doesn't start before it has 0.2 s of sound ahead, some of which comes during the jump,
   * and after a stall wants twice as much; a jump has it forget that.
   */
  static #START = 0.12;

  /** How much later than its media time the newest data came: least and most of each second. @type {{from: number, least: number, most: number}[]} */
  #late = [];
  #arrived = -Infinity;
  /** For what the arrivals don't tell: decoding that lags behind. */
  #allowance = 0;
  #allowedAt = 0;
  /** @type {number|null} */
  #began = null;
  #jumped = -Infinity;
  #dry = false;
  #rate = 1;

  /**
   * There is something new to play.
   * @param {number} now
   * @param {number} end of what is buffered
   */
  arrived(now, end) {
    this.#arrived = now;
    const late = now / 1000 - end;
    const second = this.#late.at(-1);
    if (second && now - second.from < 1000) {
      second.least = Math.min(second.least, late);
      second.most = Math.max(second.most, late);
    } else {
      this.#late.push({ from: now, least: late, most: late });
      if (this.#late.length > 10) this.#late.shift();
    }
  }

  get #least() {
    return Math.min(...this.#late.map(({ least }) => least));
  }

  /**
   * By how much things come late that are late. Where the worst moment, with the seconds beside
   * it, was much worse than all others it is left out: once is no habit.
   */
  get #unevenness() {
    const late = this.#late.map(({ most }) => most - this.#least);
    const worst = Math.max(...late);
    const at = late.indexOf(worst);
    const beside = late.length > 5 ? 1 : 0;
    const habit = Math.max(0, ...late.filter((_, i) => Math.abs(i - at) > beside));
    return worst < 2 * habit ? worst : habit;
  }

  /** How far to stay behind what comes in time. */
  get target() {
    const wanted = this.#unevenness + LiveEdge.#MARGIN + this.#allowance;
    return Math.min(LiveEdge.#FURTHEST, Math.max(LiveEdge.#NEAREST, wanted));
  }

  /**
   * @param {number} now
   * @param {number} position the video's current time
   * @param {{start: number, end: number}[]} ranges what is buffered, in order
   * @returns {{seek: number|null, rate: number}}
   */
  decide(now, position, ranges) {
    const edge = ranges.at(-1);
    if (!edge) return { seek: null, rate: 1 };
    this.#began ??= now;
    if (now - this.#allowedAt > 10000) {
      this.#allowedAt = now;
      this.#allowance = Math.max(0, this.#allowance - 0.01);
    }
    const { target } = this;
    // A new viewer gets the current group of pictures at once: it shows its first frame early and
    // then goes to the edge. Later a jump is for what playing faster would take too long for.
    const limit = this.#dry ? -Infinity : now - this.#began < 3000 ? 0.4 : Math.max(0.6, target + 0.4);
    const behind = edge.end - position;
    // While nothing comes there is nothing to jump for.
    const far = (behind > limit || behind < -1) && now - this.#jumped > 300 && !(this.#dry && now - this.#arrived > 150);
    if (position < edge.start || far) return this.#jump(now, edge);
    // Frames come in steps: what counts is where the edge would be if all came in time, while they come.
    const off = (now - this.#arrived < 150 ? now / 1000 - this.#least : edge.end) - position - target;
    // Not to and fro: it goes on until it is there.
    if (Math.abs(off) > 0.04) this.#rate = off < 0 ? 0.97 : Math.round(100 * Math.min(1.1, 1.02 + off / 2)) / 100;
    else if (off > 0 !== this.#rate > 1 || Math.abs(off) < 0.01) this.#rate = 1;
    return { seek: null, rate: this.#rate };
  }

  /** The buffer ran dry: it goes on with a jump once something comes. @param {number} now */
  starved(now) {
    // Running dry right after the start or a jump is no sign of anything.
    if (this.#began === null || now - this.#began < 1000 || now - this.#jumped < 1000) return;
    this.#dry = true;
    this.#allowedAt = now;
    this.#allowance = Math.min(0.2, this.#allowance + 0.03);
  }

  /**
   * @param {number} now
   * @param {{start: number, end: number}} edge
   */
  #jump(now, { start, end }) {
    this.#jumped = now;
    this.#dry = false;
    this.#rate = 1;
    return { seek: Math.max(start, end - Math.max(LiveEdge.#START, this.target)), rate: 1 };
  }
}

/**
 * Whether `fmp4` is hopeless on this network: its channel is reliable, so each loss holds up all
 * that comes behind it. Three stops of the picture in a quarter of a minute, or two seconds behind
 * and staying there.
 */
export class Verdict {
  /** @type {number[]} */
  #stops = [];
  /** @type {number|null} */
  #stoppedSince = null;
  #inTimeAt = Infinity;

  /**
   * @param {number} now ms
   * @param {number} frozen ms since the last frame
   * @param {number|null} latency of it, ms
   */
  hopeless(now, frozen, latency) {
    if (frozen < 500) this.#stoppedSince = null;
    else if (this.#stoppedSince === null) this.#stops.push((this.#stoppedSince = now));
    this.#stops = this.#stops.filter((at) => now - at < 15000);
    if ((latency ?? 0) <= 2000 || this.#inTimeAt === Infinity) this.#inTimeAt = now;
    return this.#stops.length >= 3 || now - this.#inTimeAt > 3000;
  }
}

// ----------------------------------------------------------------------------------------- Link

/** PKCS #8 in front of the 32 bytes of an Ed25519 private key (RFC 8410 §7). */
const PKCS8 = [0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20];

/** Base64url without padding (RFC 4648 §5). @param {ArrayBuffer|Uint8Array<ArrayBuffer>} bytes */
const encode = (bytes) =>
  btoa(String.fromCharCode(...new Uint8Array(bytes))).replace(/[+/=]/g, (c) => ({ '+': '-', '/': '_' })[c] ?? '');

/** @param {string} text */
const decode = (text) =>
  Uint8Array.from(atob(text.replace(/[-_]/g, (c) => (c === '-' ? '+' : '/'))), (c) => c.charCodeAt(0));

/** The 32 bytes of a key, null where it is none. @param {string} text */
function keyBytes(text) {
  try {
    const bytes = decode(text);
    return bytes.length === 32 && encode(bytes) === text ? bytes : null;
  } catch {
    return null;
  }
}

/**
 * The one fingerprint of an offer or answer (`Fingerprint::of_sdp`) in 64 digits. Null where there
 * is not exactly one, of SHA-256: what is not signed must not be used.
 * @param {string} sdp
 */
export function fingerprintOf(sdp) {
  // Any line that some browser might take for one.
  const lines = new Set((sdp.match(/^.*fingerprint.*$/gim) ?? []).map((line) => line.trim().toLowerCase()));
  const digits = /^a=fingerprint:sha-256 ((?:[0-9a-f]{2}:){31}[0-9a-f]{2})$/.exec([...lines].join())?.[1];
  return digits?.replaceAll(':', '') ?? null;
}

/**
 * What is known of who answers, by name in TEXTS: `verified`, `unnamed` (the link doesn't say which
 * camera), `plainHttp` and `oldBrowser` (this page can't tell); not to be played: `unproven`, `impostor`.
 * @typedef {'verified'|'unnamed'|'plainHttp'|'oldBrowser'|'unproven'|'impostor'} Trust
 */

/** What a share link says (`link.rs`); signs for the viewer and checks the camera (`proof.rs`). */
export class Link {
  /** @type {Promise<(CryptoKey|null)[]>} */
  #keys;
  /** Some part of it is missing or changed. */
  damaged;

  /**
   * @param {string} room
   * @param {string|null} [camera] its public key
   * @param {string|null} [token]
   * @param {string|null} [viewer] the private key that goes with the token
   */
  constructor(room, camera = null, token = null, viewer = null) {
    this.room = room;
    this.camera = camera;
    this.token = token;
    this.signs = viewer !== null;
    const keys = [camera, viewer].map((key) => key !== null && keyBytes(key));
    this.damaged =
      keys.includes(null) || (token !== null && !/^[\w-]+(\.[\w-]+){2}$/.test(token)) || (this.signs && !(camera && token));
    this.#keys = this.damaged ? Promise.resolve([]) : Link.#import(keys);
    this.#keys.catch(() => {}); // Told by trouble().
  }

  /** @param {(Uint8Array<ArrayBuffer>|false|null)[]} keys */
  static async #import([camera, viewer]) {
    const { subtle } = crypto;
    return Promise.all([
      camera ? subtle.importKey('raw', camera, 'Ed25519', false, ['verify']) : null,
      viewer ? subtle.importKey('pkcs8', Uint8Array.of(...PKCS8, ...viewer), 'Ed25519', false, ['sign']) : null,
    ]);
  }

  /** Why this page can do nothing with the keys. @returns {Promise<'plainHttp'|'oldBrowser'|null>} */
  trouble() {
    return this.#keys.then(() => null, () => (crypto.subtle ? 'oldBrowser' : 'plainHttp'));
  }

  /** What the token says (nothing in it is proven). @returns {{nbf?: number, iat?: number, exp?: number}} */
  get claims() {
    try {
      return Object(JSON.parse(new TextDecoder().decode(decode((this.token ?? '').split('.')[1]))));
    } catch {
      return {};
    }
  }

  /**
   * What goes with an offer that has this fingerprint.
   * @param {string} fingerprint
   */
  async pass(fingerprint) {
    const nonce = encode(crypto.getRandomValues(new Uint8Array(16)));
    const key = this.signs ? (await this.#keys)[1] : null;
    const words = new TextEncoder().encode(`peercam-join-v1\n${this.camera}\n${this.room}\n${nonce}\n${fingerprint}`);
    const signature = key ? encode(await crypto.subtle.sign('Ed25519', key, words)) : undefined;
    return { nonce, token: this.token ?? undefined, signature };
  }

  /**
   * Whether an answer is the camera's.
   * @param {{key?: string, signature?: string}|null|undefined} proof
   * @param {string} nonce that went with the offer
   * @param {string|null} theirs the answer's fingerprint
   * @param {string} ours the offer's
   * @returns {Promise<Trust>}
   */
  async check(proof, nonce, theirs, ours) {
    if (theirs === null) return 'impostor';
    if (this.camera === null) return 'unnamed';
    const trouble = await this.trouble();
    if (trouble) return trouble;
    if (!proof) return 'unproven';
    try {
      const key = /** @type {CryptoKey} */ ((await this.#keys)[0]);
      const words = new TextEncoder().encode(`peercam-answer-v1\n${this.room}\n${nonce}\n${theirs}\n${ours}`);
      const good = await crypto.subtle.verify('Ed25519', key, decode(String(proof.signature)), words);
      return good && proof.key === this.camera ? 'verified' : 'impostor';
    } catch {
      return 'impostor'; // That is no signature.
    }
  }
}

/**
 * The local clock in Unix milliseconds; it never steps, unlike `Date.now()`.
 * @param {number} at from `performance.now()`
 */
const wall = (at) => performance.timeOrigin + at;

// ----------------------------------------------------------------------------------- Signalling

/**
 * @typedef {object} SignallingEvents
 * @property {(message: {online: boolean, ice_servers?: IceServer[]}) => void} welcome
 * @property {(message: any) => void} message every other one
 * @property {() => void} lost the socket is gone (or didn't come up); the next try is scheduled
 */

/** The WebSocket to the rendezvous server. Comes back by itself until closed. */
class Signalling {
  /** @type {WebSocket|null} */
  #socket = null;
  #backoff = new Backoff(250, 8000, { immediate: true });
  #timer = 0;
  #closing = new AbortController();
  #openedAt = 0;
  #pressed = 0;
  /** The server has spoken. */
  ready = false;

  /**
   * @param {string} url
   * @param {string|null} token
   * @param {SignallingEvents} events
   */
  constructor(url, token, events) {
    this.url = url;
    this.protocols = token === null ? [SUBPROTOCOL] : [SUBPROTOCOL, TOKEN_SUBPROTOCOL + token];
    this.events = events;
    this.#open();
    document.addEventListener('visibilitychange', () => document.hidden || this.#socket || this.#open(), {
      signal: this.#closing.signal,
    });
  }

  /** @param {object} message @returns {boolean} whether it was sent */
  send(message) {
    if (this.#socket?.readyState !== WebSocket.OPEN) return false;
    this.#socket.send(JSON.stringify(message));
    return true;
  }

  close() {
    this.#closing.abort();
    clearTimeout(this.#timer);
    this.ready = false;
    this.#socket?.close(1000);
    this.#socket = null;
  }

  /** The socket is of no use, whatever it says: another one. @param {number} [wait] ms */
  renew(wait = 0) {
    this.#socket?.close();
    this.#lost(wait);
  }

  /**
   * Somebody waits for the server: the next try is soon, and one that hangs is not waited for.
   * @param {number} now
   */
  press(now) {
    if (this.ready || now - this.#openedAt < (this.#socket ? 1000 * 2 ** this.#pressed : 1000)) return;
    if (this.#socket) this.#pressed = Math.min(3, this.#pressed + 1);
    this.#socket?.close();
    this.#open();
  }

  #open() {
    clearTimeout(this.#timer);
    this.#openedAt = performance.now();
    const socket = new WebSocket(this.url, this.protocols);
    this.#socket = socket;
    // A handler of a socket that is no longer ours does nothing.
    const current = () => this.#socket === socket;
    socket.onmessage = ({ data }) => current() && this.#receive(data);
    socket.onclose = () => current() && this.#lost();
    this.#timer = setTimeout(() => this.ready || this.renew(), PATIENCE.server);
  }

  /** @param {unknown} data */
  #receive(data) {
    const message = parse(data);
    if (message.type !== 'welcome') {
      this.events.message(message);
      return;
    }
    this.ready = true;
    this.#pressed = 0;
    // A server that speaks and falls is not to be hammered.
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#backoff.reset(), PATIENCE.stable);
    this.events.welcome(message);
  }

  /** @param {number} [wait] ms */
  #lost(wait = this.#backoff.next()) {
    this.ready = false;
    this.#socket = null;
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#open(), wait);
    this.events.lost();
  }
}

// ------------------------------------------------------------------------------------- Playback

/**
 * Calls back for every frame that is shown, until `signal` aborts.
 * @param {HTMLVideoElement} video
 * @param {AbortSignal} signal
 * @param {(now: number, frame: VideoFrameCallbackMetadata|null) => void} shown
 */
function watchFrames(video, signal, shown) {
  if (!('requestVideoFrameCallback' in video)) {
    /** @type {HTMLVideoElement} */ (video).addEventListener('loadeddata', () => shown(performance.now(), null), { signal });
    return;
  }
  /** @type {VideoFrameRequestCallback} */
  const step = (now, frame) => {
    if (signal.aborted) return;
    shown(now, frame);
    video.requestVideoFrameCallback(step);
  };
  video.requestVideoFrameCallback(step);
}

/**
 * What a transport does to the peer connection and the video. `frames` and `audio` count what was
 * decoded, `received` what arrived of the media, each in any unit that grows.
 * @typedef {{frames: number, audio: number, received: number}} Counters
 *
 * @typedef {object} Playback
 * @property {Transport} transport
 * @property {(sdp: string) => boolean} offers whether our offer asks for what the camera has
 * @property {(info: StreamInfo) => void} stream the camera says what it sends
 * @property {(frame: VideoFrameCallbackMetadata, reference: number) => number} elapsed ms of media time since `reference`
 * @property {(report: RTCStatsReport) => Counters} counters
 * @property {(now: number) => void} tick several times a second
 * @property {() => void} close
 *
 * @typedef {object} PlaybackEvents
 * @property {(now: number, frame: VideoFrameCallbackMetadata|null) => void} shown
 * @property {(name: string, values?: Record<string, string>) => void} failed with a name in TEXTS
 */

/** H.264 and Opus as RTP: the browser does nearly all of it. @implements {Playback} */
class RtpPlayback {
  /** @type {Transport} */
  transport = 'rtp';
  #stream = new MediaStream();
  #closing = new AbortController();

  /**
   * @param {RTCPeerConnection} connection
   * @param {HTMLVideoElement} video
   * @param {PlaybackEvents} events
   */
  constructor(connection, video, events) {
    this.video = video;
    const picture = connection.addTransceiver('video', { direction: 'recvonly' });
    const sound = connection.addTransceiver('audio', { direction: 'recvonly' });
    RtpPlayback.#preferH264(picture);
    for (const { receiver } of [picture, sound]) RtpPlayback.#hurry(receiver);
    connection.addEventListener('track', ({ track }) => {
      this.#stream.addTrack(track);
      if (video.srcObject === this.#stream) return;
      video.srcObject = this.#stream;
      watchFrames(video, this.#closing.signal, events.shown);
    }, { signal: this.#closing.signal });
  }

  /** What this browser has of H.264 for WebRTC, or of `mime` in its place. @returns {RTCRtpCodec[]} */
  static h264(mime = 'video/h264') {
    const codecs = globalThis.RTCRtpReceiver?.getCapabilities?.('video')?.codecs ?? [];
    return codecs.filter(({ mimeType }) => mimeType.toLowerCase() === mime);
  }

  /** The camera sends nothing else, and a short offer is quick. @param {RTCRtpTransceiver} transceiver */
  static #preferH264(transceiver) {
    const h264 = RtpPlayback.h264();
    if (h264.length === 0 || !transceiver.setCodecPreferences) return;
    // Constrained baseline is what every hardware encoder makes: first.
    const baseline = (/** @type {RTCRtpCodec} */ codec) => (/profile-level-id=42/i.test(codec.sdpFmtpLine ?? '') ? 0 : 1);
    h264.sort((a, b) => baseline(a) - baseline(b));
    transceiver.setCodecPreferences([...h264, ...RtpPlayback.h264('video/rtx')]);
  }

  /** No more buffering than the network asks for. @param {any} receiver both are missing in some browsers */
  static #hurry(receiver) {
    if ('jitterBufferTarget' in receiver) receiver.jitterBufferTarget = 0;
    if ('playoutDelayHint' in receiver) receiver.playoutDelayHint = 0;
  }

  /** Some browsers list H.264 and then don't offer it: only the offer tells. @param {string} sdp */
  offers(sdp) {
    return /^a=rtpmap:\d+ H264\/90000/im.test(sdp);
  }

  stream() {}

  /**
   * @param {VideoFrameCallbackMetadata} frame
   * @param {number} reference
   */
  elapsed(frame, reference) {
    return frame.rtpTimestamp === undefined ? NaN : rtpElapsed(reference, frame.rtpTimestamp);
  }

  /** @param {RTCStatsReport} report */
  counters(report) {
    const counters = { frames: 0, audio: 0, received: 0 };
    report.forEach((entry) => {
      if (entry.type !== 'inbound-rtp') return;
      if (entry.kind === 'video') {
        counters.frames += entry.framesDecoded ?? 0;
        counters.received += entry.packetsReceived ?? 0;
      } else {
        counters.audio += (entry.totalSamplesReceived ?? 0) - (entry.concealedSamples ?? 0);
      }
    });
    return counters;
  }

  tick() {}

  close() {
    this.#closing.abort();
    this.video.srcObject = null;
  }
}

/** Whether a message is an initialisation segment (it begins with an `ftyp` box, ISO/IEC 14496-12 §4.3). @param {ArrayBuffer} bytes */
const begins = (bytes) => bytes.byteLength >= 8 && new DataView(bytes).getUint32(4) === 0x66747970;

/** H.264 and AAC as fragmented MP4 over a data channel into Media Source Extensions. @implements {Playback} */
class Fmp4Playback {
  /** More than this not yet appended means that the browser has stopped taking it (bytes). */
  static #QUEUE = 4 * 1024 * 1024;
  /** Seconds of the past to keep. */
  static #PAST = 10;

  /** @type {Transport} */
  transport = 'fmp4';
  /** @type {ArrayBuffer[]} */
  #queue = [];
  #queued = 0;
  #received = 0;
  /** @type {SourceBuffer|null} */
  #buffer = null;
  /** What the camera says it sends, and what the buffer expects. */
  #mime = '';
  #type = '';
  #edge = new LiveEdge();
  #full = false;
  #closing = new AbortController();
  #address = '';

  /**
   * @param {RTCPeerConnection} connection
   * @param {HTMLVideoElement} video
   * @param {PlaybackEvents} events
   */
  constructor(connection, video, events) {
    this.video = video;
    this.events = events;
    const { signal } = this.#closing;
    const channel = connection.createDataChannel('media');
    channel.binaryType = 'arraybuffer';
    channel.addEventListener('message', ({ data }) => this.#receive(data), { signal });

    const globals = /** @type {any} */ (globalThis);
    // Safari on phones has only the managed kind, and asks for AirPlay to be off with it.
    this.Source = /** @type {typeof MediaSource|undefined} */ (globals.ManagedMediaSource ?? globals.MediaSource);
    if (!this.Source) return;
    if (globals.ManagedMediaSource) video.disableRemotePlayback = true;
    // Keeping the pitch takes 50 ms more of sound in advance than a twentieth of a tone is worth.
    video.preservesPitch = false;
    /** @type {MediaSource} */
    this.source = new this.Source();
    this.source.addEventListener('sourceopen', () => {
      URL.revokeObjectURL(this.#address);
      this.#attach();
    }, { signal });
    this.#address = URL.createObjectURL(this.source);
    video.src = this.#address;
    video.addEventListener('waiting', () => {
      const now = performance.now();
      if (!video.seeking) this.#edge.starved(now);
      this.tick(now);
    }, { signal });
    video.addEventListener('error', () => events.failed('reconnecting'), { signal });
    watchFrames(video, signal, events.shown);
  }

  offers() {
    return true;
  }

  /** @param {StreamInfo} info */
  stream({ video_codec, audio_codec }) {
    // Another set of tracks needs another source: begin anew.
    if (this.#buffer && this.#mime.includes(',') !== Boolean(audio_codec)) this.events.failed('reconnecting');
    this.#mime = `video/mp4; codecs="${[video_codec, audio_codec].filter(Boolean).join(', ')}"`;
    if (!this.Source?.isTypeSupported(this.#mime)) {
      this.events.failed('noMse', { mime: this.#mime });
      return;
    }
    this.#attach();
  }

  /** Appending begins when both the source is open and the camera has said what it sends. */
  #attach() {
    if (this.#buffer !== null || this.#mime === '' || this.source?.readyState !== 'open') return;
    this.#buffer = this.source.addSourceBuffer(this.#mime);
    this.#type = this.#mime;
    this.#buffer.addEventListener('updateend', () => {
      const edge = this.#ranges().at(-1);
      if (edge) this.#edge.arrived(performance.now(), edge.end);
      this.#append();
    }, { signal: this.#closing.signal });
    this.#append();
  }

  /** @param {unknown} data */
  #receive(data) {
    if (!(data instanceof ArrayBuffer)) return;
    this.#received += data.byteLength;
    this.#queued += data.byteLength;
    this.#queue.push(data);
    // Nothing in the middle of an MP4 can be left out: begin anew.
    if (this.#queued > Fmp4Playback.#QUEUE) this.events.failed('reconnecting');
    else this.#append();
  }

  #append() {
    const buffer = this.#buffer;
    if (buffer === null || buffer.updating || this.#closing.signal.aborted || this.source?.readyState !== 'open') return;
    if (this.#makeRoom(buffer) || this.#queue.length === 0) return;
    const bytes = this.#take();
    try {
      if (this.#type !== this.#mime && begins(bytes)) buffer.changeType?.((this.#type = this.#mime));
      buffer.appendBuffer(bytes);
      this.#full = false;
    } catch (error) {
      if (/** @type {Error} */ (error).name !== 'QuotaExceededError' || this.#full) {
        this.events.failed('reconnecting');
        return;
      }
      this.#queue.unshift(bytes);
      this.#queued += bytes.byteLength;
      this.#full = true;
      if (!this.#makeRoom(buffer)) this.events.failed('reconnecting');
    }
  }

  /** One append for all that waits, since each costs a turn of the event loop; but another encode's begins with an append of its own. */
  #take() {
    const next = this.#queue.findIndex((part, i) => i > 0 && begins(part));
    const parts = this.#queue.splice(0, next < 0 ? this.#queue.length : next);
    const size = parts.reduce((sum, { byteLength }) => sum + byteLength, 0);
    this.#queued -= size;
    if (parts.length === 1) return parts[0];
    const whole = new Uint8Array(size);
    let at = 0;
    for (const part of parts) {
      whole.set(new Uint8Array(part), at);
      at += part.byteLength;
    }
    return whole.buffer;
  }

  /**
   * Forgets what was played long ago; all of it when full.
   * @param {SourceBuffer} buffer
   * @returns {boolean} whether that is going on
   */
  #makeRoom(buffer) {
    if (buffer.buffered.length === 0) return false;
    const start = buffer.buffered.start(0);
    const keep = this.#full ? 1 : Fmp4Playback.#PAST;
    const until = this.video.currentTime - keep;
    if (until - start < (this.#full ? 0.1 : Fmp4Playback.#PAST)) return false;
    buffer.remove(start, until);
    return true;
  }

  /**
   * @param {VideoFrameCallbackMetadata} frame
   * @param {number} reference
   */
  elapsed(frame, reference) {
    return (frame.mediaTime - reference) * 1000;
  }

  counters() {
    const video = /** @type {HTMLVideoElement & {webkitAudioDecodedByteCount?: number}} */ (this.video);
    const quality = video.getVideoPlaybackQuality?.();
    return {
      frames: quality ? quality.totalVideoFrames - quality.droppedVideoFrames : 0,
      audio: video.webkitAudioDecodedByteCount ?? 0,
      received: this.#received,
    };
  }

  /** @param {number} now */
  tick(now) {
    const { video } = this;
    if (video.seeking) return;
    const { seek, rate } = this.#edge.decide(now, video.currentTime, this.#ranges());
    if (seek !== null) video.currentTime = seek;
    if (video.playbackRate !== rate) video.playbackRate = rate;
  }

  #ranges() {
    const { buffered } = this.video;
    return Array.from({ length: buffered.length }, (_, i) => ({ start: buffered.start(i), end: buffered.end(i) }));
  }

  close() {
    this.#closing.abort();
    this.#queue = [];
    URL.revokeObjectURL(this.#address);
    this.video.playbackRate = 1;
    this.video.removeAttribute('src');
    this.video.load();
  }
}

// -------------------------------------------------------------------------------------- Session

/**
 * @typedef {object} SessionEvents
 * @property {(message: object) => boolean} send to the camera, through the server
 * @property {() => void} connected ICE and DTLS are up
 * @property {() => void} firstFrame
 * @property {(at: number, count?: number) => void} shown a frame, and how many this video showed
 * @property {(name: string, values?: Record<string, string>) => void} failed with a name in TEXTS
 * @property {(reason: string) => void} bye the camera ends it
 */

/**
 * One visit to the camera: a peer connection from its offer to its end. After `close()` none of
 * its events comes any more, so whoever holds the newest session never hears of an older one.
 */
class Session {
  #closing = new AbortController();
  #control;
  #connection;
  #playback;
  /** Made in advance. @type {Promise<RTCSessionDescriptionInit>|null} */
  #offer;
  /** Offers so far, and which of our candidates go with the last one (RFC 8838 §14). */
  #offers = 0;
  #fragment = '';
  /** By which the camera knows this session again. @type {string|null} */
  #resume = null;
  /** What went with the last offer, and its fingerprint. */
  #nonce = '';
  #ours = '';
  /** The camera's fingerprint: a session has one. @type {string|null} */
  #theirs = null;
  /** Who answered. @type {Trust|null} */
  trust = null;
  /** Candidates of ours that wait for the join, of the camera's that wait for its answer. */
  #waiting = /** @type {RTCIceCandidateInit[]} */ ([]);
  #early = /** @type {RTCIceCandidateInit[]} */ ([]);
  #askedKeyFrame = 0;
  #seen = { frames: 0, received: 0 };

  /** When the join was sent (all times: `performance.now()`). @type {number|null} */
  joinedAt = null;
  /** The server has the join. */
  sent = false;
  /** The camera has answered the last offer. */
  answered = false;
  /** @type {number|null} */
  connectedAt = null;
  /** @type {number|null} */
  firstFrameAt = null;
  /** When a new frame last came. */
  framesAt = 0;
  lifeline = new Lifeline();
  #lookedAt = 0;
  /** @type {{live: boolean, message: string}} */
  source = { live: true, message: '' };
  /** @type {StreamInfo|null} */
  info = null;
  /** @type {Path} */
  path = NO_PATH;
  bytes = 0;
  /** @type {Counters} */
  counters = { frames: 0, audio: 0, received: 0 };
  latency = new LatencyMeter();

  /**
   * @param {Link} link
   * @param {Transport} transport
   * @param {HTMLVideoElement} video
   * @param {SessionEvents} events
   */
  constructor(link, transport, video, events) {
    this.link = link;
    this.transport = transport;
    this.video = video;
    this.events = events;
    const connection = new RTCPeerConnection({ bundlePolicy: 'max-bundle' });
    this.#connection = connection;
    const { signal } = this.#closing;
    /** @type {PlaybackEvents} */
    const playback = {
      shown: (now, frame) => this.#shown(now, frame),
      failed: (name, values) => events.failed(name, values),
    };
    this.#control = connection.createDataChannel('control');
    this.#playback =
      transport === 'rtp'
        ? new RtpPlayback(connection, video, playback)
        : new Fmp4Playback(connection, video, playback);
    this.#offer = connection.createOffer();
    this.#offer.catch(() => {}); // Told by join().

    connection.addEventListener('icecandidate', ({ candidate }) => this.#trickle(candidate), { signal });
    connection.addEventListener('connectionstatechange', () => this.#connectionChanged(), { signal });
    this.#control.addEventListener('open', () => this.#syncClock(), { signal });
    this.#control.addEventListener('message', ({ data }) => this.#controlMessage(data), { signal });
    // The camera's end of the connection went away in order; ICE would notice much later.
    this.#control.addEventListener('close', () => events.failed('reconnecting'), { signal });
  }

  /** The camera would know it again. */
  get resumable() {
    return this.#resume !== null && this.connectedAt !== null;
  }

  /**
   * ICE has no way now, and may find one: Chromium says "failed" as soon as the ways it knows of are
   * refused, such as TCP to a port where nobody listens, also while the camera still tells of others.
   */
  get #hopeful() {
    return this.lost && (this.connectedAt === null || this.resumable);
  }

  /** ICE has lost its way. */
  get lost() {
    return /disconnected|failed/.test(this.#connection.iceConnectionState);
  }

  /** Sends the offer: the first one, and later one that restarts ICE. @param {IceServer[]} iceServers */
  async join(iceServers) {
    this.joinedAt ??= performance.now();
    const number = ++this.#offers;
    // Candidates of another offer, on both sides, are of no use to this one.
    this.sent = this.answered = false;
    this.#waiting = [];
    this.#early = [];
    try {
      this.#connection.setConfiguration({ bundlePolicy: 'max-bundle', iceServers });
    } catch (error) {
      console.warn('peercam: the server’s ICE servers are not usable:', error);
    }
    try {
      const offer = await (this.#offer ?? this.#connection.createOffer({ iceRestart: true }));
      this.#offer = null;
      const { sdp = '' } = offer;
      const ours = fingerprintOf(sdp);
      const pass = ours && (await this.link.pass(ours));
      if (this.#closing.signal.aborted || number !== this.#offers) return;
      this.#fragment = /^a=ice-ufrag:(\S+)/m.exec(sdp)?.[1] ?? '';
      if (!pass || !this.#playback.offers(sdp)) {
        this.events.failed('bad-offer');
        return;
      }
      [this.#ours, this.#nonce] = [ours, pass.nonce];
      const set = this.#connection.setLocalDescription(offer);
      const resume = this.#resume ?? undefined;
      this.sent = this.events.send({ type: 'join', transport: this.transport, offer: sdp, resume, pass });
      await set;
      for (const candidate of this.#waiting.splice(0)) this.#trickle(candidate);
    } catch (error) {
      if (this.#closing.signal.aborted) return;
      console.warn('peercam: no offer:', error);
      this.events.failed('reconnecting');
    }
  }

  /** @param {{sdp: string, proof?: {key: string, signature: string}}} message */
  async answer({ sdp, proof }) {
    if (this.answered || !this.sent) return;
    this.answered = true;
    const number = this.#offers;
    const theirs = fingerprintOf(String(sdp));
    const trust = await this.link.check(proof, this.#nonce, theirs, this.#ours);
    if (this.#closing.signal.aborted || number !== this.#offers) return;
    if (trust === 'unproven' || trust === 'impostor' || theirs !== (this.#theirs ??= theirs)) {
      this.events.failed(trust === 'unproven' ? trust : 'impostor');
      return;
    }
    this.trust = trust;
    try {
      await this.#connection.setRemoteDescription({ type: 'answer', sdp });
    } catch (error) {
      if (this.#closing.signal.aborted) return;
      console.warn('peercam: the camera’s answer is not usable:', error);
      this.events.failed(this.connectedAt === null ? 'bad-offer' : 'reconnecting');
      return;
    }
    this.lifeline.answered(performance.now());
    for (const candidate of this.#early.splice(0)) this.candidate(candidate);
  }

  /** @param {RTCIceCandidateInit} candidate the camera's */
  candidate(candidate) {
    if (this.#closing.signal.aborted || !candidate) return;
    if (!this.answered || this.#connection.signalingState !== 'stable') {
      if (this.#early.length < 100) this.#early.push(candidate);
      return;
    }
    this.#connection.addIceCandidate(candidate.candidate ? candidate : undefined).catch((error) => {
      // One of before a restart, or one that this browser can't use (mDNS, an odd protocol) does no harm.
      console.debug('peercam: a candidate is not usable:', error);
    });
  }

  /** Ends it, and tells the camera on the shortest way. */
  close() {
    this.#closing.abort();
    this.#playback.close();
    this.#request({ type: 'bye' });
    // Closed at once, the connection would take the message with it.
    setTimeout(() => this.#connection.close(), this.#control.readyState === 'open' ? 200 : 0);
  }

  /** Several times a second: live edge, counters, and what a lost picture asks for. @param {number} now */
  tick(now) {
    this.#playback.tick(now);
    // Silence is looked into, and asked about.
    const quiet = this.connectedAt !== null && now - this.lifeline.heardAt > 300;
    if (now - this.#lookedAt >= (quiet ? 200 : 500)) {
      this.#lookedAt = now;
      this.refresh();
      if (quiet) this.ping();
    }
    const lost = this.firstFrameAt !== null && now - this.framesAt > PATIENCE.stalled;
    if (this.transport === 'fmp4' && lost && now - this.#askedKeyFrame > PATIENCE.stalled) {
      this.#askedKeyFrame = now;
      this.#request({ type: 'key-frame' });
    }
  }

  /** About once a second. */
  ping() {
    this.#request({ type: 'time', id: this.latency.sync.ask(wall(performance.now())) });
  }

  /** Reads the counters anew. */
  async refresh() {
    if (this.connectedAt === null) return;
    const report = await this.#connection.getStats().catch(() => null);
    if (report === null || this.#closing.signal.aborted) return;
    this.counters = this.#playback.counters(report);
    this.path = selectedPath(report) ?? this.path;
    this.bytes = bytesReceived(report);
    const { frames, received } = this.counters;
    // Nobody draws frames in a hidden tab: there it is enough that data comes.
    const unseen = document.hidden || this.video.paused;
    const fresh = frames > this.#seen.frames || (unseen && received > this.#seen.received);
    this.lifeline.look(performance.now(), bytesReceived(report) + connectivityChecks(report));
    this.#seen = { frames, received };
    if (fresh) this.#progress(performance.now());
  }

  /** @param {number} now */
  #progress(now) {
    this.framesAt = now;
    this.lifeline.heard(now);
    if (this.firstFrameAt !== null) return;
    this.firstFrameAt = now;
    this.events.firstFrame();
  }

  /**
   * @param {number} now
   * @param {VideoFrameCallbackMetadata|null} frame
   */
  #shown(now, frame) {
    this.#progress(performance.now());
    this.events.shown(frame?.presentationTime ?? now, frame?.presentedFrames);
    if (frame === null || this.latency.reference === null) return;
    const after = this.#playback.elapsed(frame, this.latency.reference.media);
    this.latency.frame(after, wall(Math.max(frame.expectedDisplayTime, now)));
  }

  /** @param {RTCIceCandidate|RTCIceCandidateInit|null} candidate */
  #trickle(candidate) {
    if (!candidate) return;
    const init = candidate instanceof RTCIceCandidate ? candidate.toJSON() : candidate;
    if ((init.usernameFragment ?? this.#fragment) !== this.#fragment) return; // Of before a restart.
    if (!this.sent) this.#waiting.push(init);
    else this.events.send({ type: 'candidate', candidate: init });
  }

  #connectionChanged() {
    const state = this.#connection.connectionState;
    if (state === 'connected' && this.connectedAt === null) {
      this.connectedAt = performance.now();
      this.events.connected();
      this.refresh();
    } else if (state === 'closed' || (state === 'failed' && !this.#hopeful)) {
      this.events.failed(this.connectedAt === null ? 'networkDetail' : 'reconnecting');
    }
  }

  /** A few quick round trips, so that the first latency shown is right. */
  #syncClock() {
    const { signal } = this.#closing;
    for (let i = 0; i < 5; i++) setTimeout(() => signal.aborted || this.ping(), i * 60);
  }

  /** @param {object} message */
  #request(message) {
    if (this.#control.readyState !== 'open') return;
    try {
      this.#control.send(JSON.stringify(message));
    } catch {
      // The channel closed in this moment: its event follows.
    }
  }

  /** @param {unknown} data */
  #controlMessage(data) {
    const now = performance.now();
    this.lifeline.heard(now);
    const message = parse(data);
    switch (message.type) {
      case 'session':
        this.#resume = String(message.resume);
        break;
      case 'stream':
        this.info = message;
        this.#playback.stream(message);
        break;
      case 'time':
        this.latency.sync.answer(message.id, message.camera_ms, wall(now));
        break;
      case 'clock':
        this.latency.reference = { media: message.media, captureMs: message.capture_ms };
        break;
      case 'source':
        this.source = { live: Boolean(message.live), message: sentence(String(message.message ?? '')) };
        break;
      case 'bye':
        this.events.bye(message.reason);
        break;
      case 'error':
        console.warn(`peercam: the camera says: ${message.message}`);
        break;
      default: // What a newer camera may say.
    }
  }
}

/** @type {Path} */
const NO_PATH = { path: null, path_local: null, path_remote: null, path_protocol: null };

/** @param {RTCStatsReport} report @returns {any[]} */
function entriesOf(report) {
  /** @type {any[]} */
  const entries = [];
  report.forEach((entry) => entries.push(entry));
  return entries;
}

/** @param {RTCStatsReport} report */
function selectedPair(report) {
  const entries = entriesOf(report);
  const chosen = entries.find(({ type, selectedCandidatePairId }) => type === 'transport' && selectedCandidatePairId);
  const pairs = entries.filter(({ type }) => type === 'candidate-pair');
  return (
    pairs.find(({ id }) => id === chosen?.selectedCandidatePairId) ??
    // Firefox has no transport entry; it marks the pair.
    pairs.find(({ selected, nominated, state }) => selected ?? (nominated && state === 'succeeded'))
  );
}

/**
 * What came over the pair in use that is neither media nor data: reports, and the checks by which
 * each end shows that it is still there (RFC 7675). In any unit that grows.
 * @param {RTCStatsReport} report
 */
function connectivityChecks(report) {
  const { bytesReceived = 0, responsesReceived = 0, requestsReceived = 0 } = selectedPair(report) ?? {};
  return bytesReceived + responsesReceived + requestsReceived;
}

/**
 * Which way media goes.
 * @param {RTCStatsReport} report
 * @returns {Path|null}
 */
export function selectedPath(report) {
  const pair = selectedPair(report);
  if (!pair) return null;
  const entries = entriesOf(report);
  const local = entries.find(({ id }) => id === pair.localCandidateId);
  const remote = entries.find(({ id }) => id === pair.remoteCandidateId);
  const types = [local?.candidateType, remote?.candidateType];
  // IPv6 isn't translated: an address seen from outside is the machine's own, which the browser kept to itself.
  const own = [local, remote].every((end) => end?.candidateType === 'host' || end?.address?.includes(':'));
  return {
    path: types.includes('relay') ? 'relay' : own ? 'host' : 'reflexive',
    path_local: types[0] ?? null,
    path_remote: types[1] ?? null,
    path_protocol: (types[0] === 'relay' && local.relayProtocol) || local?.protocol || null,
  };
}

/** All that came over the connection, in bytes. @param {RTCStatsReport} report */
export function bytesReceived(report) {
  // Not the transport's own sum: it forgets pairs that an ICE restart took out of use.
  return entriesOf(report)
    .filter(({ type }) => type === 'inbound-rtp' || type === 'data-channel')
    .reduce((sum, { bytesReceived = 0, headerBytesReceived = 0 }) => sum + bytesReceived + headerBytesReceived, 0);
}

// ---------------------------------------------------------------------------------------- Watch

/**
 * @typedef {object} Situation What is shown; `title` and `detail` are names in TEXTS.
 * @property {State} state
 * @property {string} title
 * @property {string} [detail]
 * @property {Record<string, string>} [values]
 * @property {string[]} [notes] while it plays: names in TEXTS of what else is to be known
 * @property {boolean} [final] nothing more happens by itself
 *
 * @typedef {object} WatchEvents
 * @property {(situation: Situation) => void} situation something else is the case
 * @property {() => void} play a session's picture may be there: have the video play it
 * @property {() => void} hold the picture goes: keep the last frame in sight
 * @property {() => void} figures there are new ones
 */

/** What a path is called, by name in TEXTS. @type {Record<string, string>} */
const PATH_WORDS = { '': 'connected', host: 'direct', reflexive: 'direct', relay: 'relay' };

/**
 * Somebody watches a room, from `start()` to `stop()`. There is one session at a time. What to do
 * next follows from four facts (server there? camera there? session alive? waiting?), looked at
 * anew in `#reconcile()` whenever one of them changes, so that no order of events can lose it.
 */
export class Watch {
  #closing = new AbortController();
  /** @type {Signalling} */
  #signalling;
  /** @type {Session|null} */
  #session = null;
  /** Whether the camera waits in the room; unknown while the server is away. @type {boolean|null} */
  #online = null;
  /** @type {IceServer[]} */
  #iceServers = [];
  /** When they came: the wall clock, which goes on while the machine sleeps. */
  #iceServersAt = 0;
  #backoff = new Backoff(500, 8000, { immediate: true });
  /** Until when (`performance.now()`) not to join. */
  #notBefore = 0;
  #timer = 0;
  #tickedAt = performance.now();
  #serverLostAt = performance.now();
  /** When the person clicked, or else when the running session joined. */
  #since;
  #sessions = 0;
  #played = false;
  #verdict = new Verdict();
  #fellBack = false;
  /** @type {Situation} */
  situation = { state: 'looking', title: 'looking' };
  /** Totals of sessions that ended. */
  #past = { frames: 0, audio: 0, bytes: 0, restarts: 0 };
  #frames = new FrameMeter();
  /** @type {{connect_ms: number|null, first_frame_ms: number|null}} */
  #times = { connect_ms: null, first_frame_ms: null };
  /** @type {Stats['latency_ms']} */
  #latency = { p50: null, p95: null, last: null };
  /** @type {StreamInfo|null} */
  #info = null;

  /**
   * @param {string} url of the room's WebSocket
   * @param {Link} link
   * @param {'auto'|Transport} wish
   * @param {boolean} pinned whether the wish is to be kept to where another transport would do better
   * @param {HTMLVideoElement} video
   * @param {WatchEvents} events
   */
  constructor(url, link, wish, pinned, video, events) {
    this.link = link;
    this.wish = wish;
    this.pinned = pinned;
    /** @type {Transport} */
    this.transport = wish === 'fmp4' ? 'fmp4' : 'rtp';
    this.video = video;
    this.events = events;
    this.#since = performance.now();
    this.#signalling = new Signalling(url, link.token, {
      welcome: ({ online, ice_servers = [] }) => this.#cameraIs(online, ice_servers),
      message: (message) => this.#message(message),
      lost: () => this.#serverLost(),
    });
    // Made while the socket opens: keys and offer are ready when the server has spoken.
    this.#session = this.#newSession();
    link.trouble().then((why) => why && link.signs && !this.#closing.signal.aborted && this.#giveUp('cantSign', `${why}Detail`));
    const every = (/** @type {number} */ ms, /** @type {() => void} */ work) => {
      const timer = setInterval(work, ms);
      this.#closing.signal.addEventListener('abort', () => clearInterval(timer));
    };
    every(100, () => this.#tick());
    every(500, () => this.#readFigures());
    every(1000, () => this.#session?.ping());
    const { signal } = this.#closing;
    addEventListener('online', () => this.#networkChanged(), { signal });
    // Not all browsers say what the network is made of; those that do say so at each new estimate of its speed too.
    const network = /** @type {any} */ (navigator).connection;
    let kind = network?.type;
    network?.addEventListener?.('change', () => kind !== (kind = network.type) && this.#networkChanged(), { signal });
  }

  /** The viewer goes. */
  stop() {
    this.#dropSession('viewer-left');
    this.#end();
  }

  /** @returns {Omit<Stats, 'state'|'message'>} */
  get figures() {
    const { video } = this;
    const now = performance.now();
    const counters = this.#session?.counters ?? { frames: 0, audio: 0 };
    const info = this.#session?.info ?? this.#info;
    return {
      transport: this.transport,
      width: video.videoWidth || info?.width || null,
      height: video.videoHeight || info?.height || null,
      video_codec: info?.video_codec ?? null,
      audio_codec: info?.audio_codec ?? null,
      frames_decoded: this.#past.frames + counters.frames,
      audio_decoded: this.#past.audio + counters.audio,
      ...this.#times,
      latency_ms: { ...this.#latency },
      fps: this.#frames.fps(now),
      freeze_longest_ms: this.#frames.freeze(now),
      bytes_received: this.#past.bytes + (this.#session?.bytes ?? 0),
      stream: info && (info.stream ?? 'main'),
      ...(this.#session?.path ?? NO_PATH),
      restarts: this.#past.restarts + (this.#session?.lifeline.restarts ?? 0),
      reconnects: Math.max(0, this.#sessions - 1),
      verified: this.trust === 'verified',
    };
  }

  /** Who answers, once somebody did. */
  get trust() {
    return this.#session?.trust ?? null;
  }

  resetFigures() {
    this.#frames.reset(performance.now());
    this.#session?.latency.reset();
    this.#latency = { p50: null, p95: null, last: null };
  }

  // What happens to us ...

  /** @param {any} message of the server or, through it, of the camera */
  #message(message) {
    const session = this.#session;
    switch (message.type) {
      case 'camera':
        this.#cameraIs(Boolean(message.online), message.ice_servers);
        break;
      case 'answer':
        session?.answer(message);
        break;
      case 'candidate':
        session?.candidate(message.candidate);
        break;
      case 'restart':
        session?.lifeline.ask();
        this.#reconcile();
        break;
      case 'bye':
        this.#bye(message.reason);
        break;
      case 'error':
        this.#refused(message);
        break;
      default: // What a newer server may say.
    }
  }

  /**
   * @param {boolean} online
   * @param {IceServer[]} [iceServers] where they are others than before
   */
  #cameraIs(online, iceServers) {
    if (iceServers) [this.#iceServers, this.#iceServersAt] = [iceServers, Date.now()];
    const before = this.#online;
    this.#online = online;
    // Whether it left or is there anew, on another line: what it was asked before it never answers.
    if ((!online || before) && this.#session?.joinedAt != null && this.#session.connectedAt === null) this.#dropSession();
    this.#session?.lifeline.unsent();
    // The server knows: whatever was waited for is settled.
    if (!online || before === false) this.#wait(0);
    this.#reconcile();
  }

  #serverLost() {
    if (this.#online !== null) this.#serverLostAt = performance.now();
    this.#online = null;
    // What is not connected can't be any more; what is connected needs no server.
    if (this.#session?.joinedAt != null && this.#session.connectedAt === null) this.#dropSession();
    this.#session?.lifeline.unsent();
    this.#reconcile();
  }

  /** We are in another network: nothing opened in the old one is to be relied on. */
  #networkChanged() {
    this.#session?.lifeline.ask();
    this.#signalling.renew();
  }

  /**
   * @param {string} reason
   * @param {string} [answer] for the server, where the camera said it past the server
   */
  #bye(reason, answer) {
    if (this.#session?.joinedAt == null) return;
    if (reason === 'camera-left' && this.#session.connectedAt !== null) return;
    this.#dropSession(answer);
    if (reason === 'camera-stopping') {
      // The server will say so too. Should the camera stay after all: join it again.
      this.#online = false;
      this.#reconcile();
      this.#wait(3000, () => {
        this.#online = this.#signalling.ready || null;
      });
    } else {
      this.#again('reconnecting');
    }
  }

  /** @param {PeerError} error */
  #refused({ code, message }) {
    const detail = sentence(String(message ?? ''));
    switch (code) {
      case 'bad-message':
      case 'unknown-type':
      case 'out-of-order':
        // The session stands as it was (`ToViewer::Error`).
        console.warn(`peercam: ${detail}`);
        break;
      case 'shutting-down':
        break; // The socket closes next; a running session goes on.
      case 'session-gone':
        this.#again('reconnecting');
        break;
      case 'camera-offline':
        // One that is up waits for its camera.
        if (this.#session?.resumable) this.#session.lifeline.unsent();
        else this.#dropSession();
        this.#online = false;
        this.#reconcile();
        break;
      case 'full':
      case 'media-unavailable':
        this.#dropSession();
        this.#situation({
          state: 'refused',
          title: code,
          detail: 'retryDetail',
          values: { message: detail },
        });
        this.#wait(PATIENCE.refused * (0.75 + Math.random() / 2));
        break;
      case 'token-not-yet-valid': {
        const { nbf, iat = 0 } = this.link.claims;
        const from = new Date((nbf ?? iat) * 1000).toLocaleString();
        this.#dropSession();
        this.#situation({ state: 'refused', title: code, detail: `${code}Detail`, values: { from } });
        const wait = PATIENCE.refused * (0.75 + Math.random() / 2);
        this.#wait(wait + 1000);
        this.#signalling.renew(wait);
        break;
      }
      case 'too-fast':
        this.#again('reconnecting', 5000);
        break;
      case 'bad-offer':
        if (this.#session?.connectedAt != null) this.#again('reconnecting');
        else this.#noCommonFormat(detail);
        break;
      default:
        this.#giveUp(
          Object.hasOwn(TEXTS.en, code) ? code : 'refused',
          Object.hasOwn(TEXTS.en, `${code}Detail`) ? `${code}Detail` : 'said',
          { message: detail },
        );
    }
  }

  /**
   * @param {string} detail
   * @param {string} [reason] for the server, where it doesn't know of the end
   */
  #noCommonFormat(detail, reason) {
    if ((this.wish !== 'auto' && !this.#fellBack) || this.transport !== 'rtp') {
      this.#giveUp('bad-offer', 'said', { message: detail });
      return;
    }
    this.transport = 'fmp4';
    this.pinned = true;
    if (!this.#fellBack) this.#sessions = 0;
    this.#fellBack = false;
    this.#dropSession(reason);
    this.#reconcile();
  }

  /**
   * @param {string} name in TEXTS
   * @param {Record<string, string>} [values]
   */
  #failed(name, values = {}) {
    if (name === 'noMse') this.#giveUp('noMse', 'noMseDetail', values);
    else if (name === 'impostor' || name === 'unproven') this.#giveUp(name, `${name}Detail`, {}, 'unsafe');
    else if (name === 'bad-offer') this.#noCommonFormat('', 'connection-lost');
    else this.#again(name);
  }

  #connected() {
    this.#times = { connect_ms: Math.round(performance.now() - this.#since), first_frame_ms: null };
    this.events.play();
  }

  #firstFrame() {
    this.#times.first_frame_ms = Math.round(performance.now() - this.#since);
    this.#played = true;
    this.#session?.refresh();
    this.#reconcile();
  }

  // ... and what we do about it.

  #reconcile() {
    if (this.#closing.signal.aborted) return;
    const joined = this.#session?.joinedAt != null;
    if (joined) this.#lookAtPicture();
    else if (this.#online === null) this.#situation(this.#lookingForServer());
    else if (!this.#online) this.#situation({ state: 'offline', title: 'offline', detail: 'offlineDetail' });
    else if (performance.now() >= this.#notBefore) this.#join();
  }

  /** @returns {Situation} */
  #lookingForServer() {
    const waited = performance.now() - this.#serverLostAt > 2000;
    const { state } = this.situation;
    // Mostly it is back at once, or it is we who wait: what was said still stands.
    if ((!waited || performance.now() < this.#notBefore) && (state === 'reconnecting' || state === 'refused')) return this.situation;
    const name = this.#played ? 'reconnecting' : 'looking';
    return { state: name, title: name, detail: waited ? 'serverDetail' : undefined };
  }

  #join() {
    if (!this.#relaysKnowUs()) return;
    const session = (this.#session ??= this.#newSession());
    if (this.#sessions > 0 || this.situation.state === 'offline') this.#since = performance.now();
    this.#sessions += 1;
    const { state } = this.situation;
    // Where it was refused it says so until it gets in: no flicker every few seconds.
    if (state === 'looking' || state === 'offline') this.#situation({ state: 'connecting', title: 'connecting' });
    session.join(this.#iceServers);
  }

  /** Whether the relays' credentials are fresh; where not, they come with another socket. */
  #relaysKnowUs() {
    const stale = this.#iceServers.some(({ credential }) => credential) && Math.abs(Date.now() - this.#iceServersAt) > PATIENCE.credentials;
    if (stale) this.#signalling.renew();
    return !stale;
  }

  /** @returns {Session} */
  #newSession() {
    return new Session(this.link, this.transport, this.video, {
      send: (message) => this.#signalling.send(message),
      connected: () => this.#connected(),
      firstFrame: () => this.#firstFrame(),
      shown: (at, count) => this.#frames.shown(at, count),
      failed: (name, values) => this.#failed(name, values),
      bye: (reason) => this.#bye(reason, 'connection-lost'),
    });
  }

  /** Ends the session, if there is one. @param {string} [reason] for the server, where it doesn't know of the end */
  #dropSession(reason) {
    const session = this.#session;
    if (session === null) return;
    this.#session = null;
    if (session.firstFrameAt !== null) this.events.hold();
    if (session.sent && reason) this.#signalling.send({ type: 'bye', reason });
    this.#info = session.info ?? this.#info;
    this.#past.frames += session.counters.frames;
    this.#past.audio += session.counters.audio;
    this.#past.bytes += session.bytes;
    this.#past.restarts += session.lifeline.restarts;
    session.close();
  }

  /**
   * The session is of no use any more: another one.
   * @param {string} name 'reconnecting', or the name of the detail that says what is wrong
   * @param {number} [atLeast] ms
   */
  #again(name, atLeast = 0) {
    this.#dropSession('connection-lost');
    const wait = Math.max(atLeast, this.#backoff.next());
    if (this.#online && this.situation.state !== 'refused') {
      // What went wrong once is not worth a sentence.
      const detail = name === 'reconnecting' || this.#backoff.tries < 2 ? undefined : name;
      this.#situation({ state: 'reconnecting', title: 'reconnecting', detail });
    }
    this.#wait(wait);
    this.#reconcile();
  }

  /**
   * Joins nothing until then; takes the place of an earlier wait.
   * @param {number} ms
   * @param {() => void} [then]
   */
  #wait(ms, then) {
    clearTimeout(this.#timer);
    this.#notBefore = performance.now() + ms;
    this.#timer = setTimeout(() => {
      this.#notBefore = 0;
      then?.();
      this.#reconcile();
    }, ms);
  }

  /**
   * @param {string} title
   * @param {string} detail
   * @param {Record<string, string>} [values]
   * @param {State} [state]
   */
  #giveUp(title, detail, values, state = 'refused') {
    this.#dropSession('viewer-left');
    this.#end();
    this.#situation({ state, title, detail, values, final: true });
  }

  #end() {
    this.#closing.abort();
    clearTimeout(this.#timer);
    this.#signalling.close();
  }

  #tick() {
    const now = performance.now();
    // The machine slept: the socket hasn't noticed yet.
    if (now - this.#tickedAt > PATIENCE.asleep && this.#signalling.ready) this.#signalling.renew();
    this.#tickedAt = now;
    this.#session?.tick(now);
    if (document.hidden || this.video.paused) this.#frames.pause();
    if (this.#session?.joinedAt != null) this.#lookAtPicture();
    else if (this.#online === null) this.#reconcile();
  }

  /** Is the session still one? */
  #lookAtPicture() {
    const session = this.#session;
    if (session?.joinedAt == null) return;
    const now = performance.now();
    if (session.resumable && this.#keepPath(session, now)) return;
    if (session.firstFrameAt === null) {
      const waited = now - session.joinedAt;
      if (session.connectedAt === null && !session.answered && waited > PATIENCE.answer) {
        this.#again('answerDetail', 200);
        this.#signalling.renew();
      } else if (session.connectedAt === null && waited > PATIENCE.connection) this.#again('networkDetail');
      else if (session.connectedAt !== null && !session.source.live) this.#situation(this.#stalled(session));
      else if (session.connectedAt !== null && now - session.connectedAt > PATIENCE.hopeless) this.#again('stalledDetail');
      return;
    }
    const frozen = now - session.framesAt;
    const seen = session.transport === 'fmp4' && !document.hidden && !this.video.paused;
    if (seen && this.#verdict.hopeless(now, frozen, session.latency.last) && this.#mayFallBack(session)) {
      this.transport = 'rtp';
      this.#fellBack = true;
      this.#again('fellBack');
      return;
    }
    const { lifeline } = session;
    const dead = !session.resumable && frozen > PATIENCE.dead && now - lifeline.heardAt > PATIENCE.dead;
    // Pictures may stay away although the camera answers.
    const restored = session.framesAt < lifeline.restoredAt && now - lifeline.restoredAt > PATIENCE.restored;
    const hopeless = lifeline.downSince === null && session.source.live && (frozen > PATIENCE.hopeless || restored);
    if (dead || hopeless) {
      this.#again('reconnecting', dead ? 200 : 0);
      // With nothing heard the way to the server may be gone too: the network has changed.
      if (dead && this.#online) this.#signalling.renew();
    } else if (frozen > PATIENCE.stalled) {
      if (this.#online === false) this.#situation({ state: 'offline', title: 'offline', detail: 'offlineDetail' });
      else if (lifeline.downSince === null) this.#situation(this.#stalled(session));
      else {
        const away = this.#online === null && now - this.#serverLostAt > 2000;
        const detail = away ? 'serverDetail' : lifeline.unheard ? 'answerDetail' : 'pathDetail';
        this.#situation({ state: 'reconnecting', title: 'reconnecting', detail });
      }
    } else {
      if (now - session.firstFrameAt > PATIENCE.stable) this.#backoff.reset();
      const blind = session.trust === 'plainHttp' || session.trust === 'oldBrowser';
      const notes = [this.#fellBack && 'fellBack', session.info?.stream === 'sub' && 'reduced', blind && 'cantVerify'].filter((note) => note !== false);
      this.#situation({ state: 'playing', title: PATH_WORDS[session.path.path ?? ''], notes });
    }
  }

  /**
   * Finds the session another way to its camera, where it lost the one it had.
   * @param {Session} session
   * @param {number} now
   * @returns {boolean} whether all else is to wait
   */
  #keepPath(session, now) {
    const { lifeline } = session;
    const step = lifeline.decide(now, session.lost, this.#online);
    if (step === 'offer') {
      if (!this.#relaysKnowUs()) return true;
      session.join(this.#iceServers);
    } else if (step === 'renew') this.#signalling.renew();
    else if (step === 'give-up') this.#again('reconnecting');
    const { downSince } = lifeline;
    if (this.#online === null && downSince !== null && now - downSince < PATIENCE.hurry) this.#signalling.press(now);
    return step === 'renew' || step === 'give-up';
  }

  /** There is a way, and another transport might do better on it. @param {Session} session */
  #mayFallBack({ source, lifeline }) {
    const sound = source.live && lifeline.downSince === null && this.#online !== false;
    return sound && !this.pinned && RtpPlayback.h264().length > 0;
  }

  /** @param {Session} session @returns {Situation} */
  #stalled({ source }) {
    if (source.live || source.message === '') return { state: 'stalled', title: 'stalled', detail: 'stalledDetail' };
    return { state: 'stalled', title: 'stalled', detail: 'sourceDetail', values: { message: source.message } };
  }

  #readFigures() {
    const session = this.#session;
    if (session?.connectedAt == null) return;
    this.#latency = session.latency.summary();
    this.events.figures();
  }

  /** @param {Situation} next */
  #situation(next) {
    const now = this.situation;
    const same =
      now.state === next.state && now.title === next.title && now.detail === next.detail &&
      now.values?.message === next.values?.message && String(now.notes) === String(next.notes);
    this.situation = next;
    if (!same) this.events.situation(next);
  }
}

// ----------------------------------------------------------------------------------- Appearance

/** Outlines on a 24 × 24 grid. @type {Record<string, string>} */
const ICONS = {
  play: 'M8 5.5v13l10.5-6.5z',
  stop: 'M7 7h10v10H7z',
  sound: 'M4 9.5v5h3.5L12 18.5v-13L7.5 9.5zM15.5 9a4.2 4.2 0 0 1 0 6M18 6.5a7.8 7.8 0 0 1 0 11',
  silence: 'M4 9.5v5h3.5L12 18.5v-13L7.5 9.5zM16 9.5l5 5M21 9.5l-5 5',
  expand: 'M9 4H4v5M15 4h5v5M9 20H4v-5M15 20h5v-5',
  shrink: 'M4 9h5V4M20 9h-5V4M4 15h5v5M20 15h-5v5',
  camera: 'M5.5 7h8A1.5 1.5 0 0 1 15 8.5v7a1.5 1.5 0 0 1-1.5 1.5h-8A1.5 1.5 0 0 1 4 15.5v-7A1.5 1.5 0 0 1 5.5 7zM15 11l5-3v8l-5-3',
  cameraOff: 'M10 7h3.5A1.5 1.5 0 0 1 15 8.5V11l5-3v8M15 15.5a1.5 1.5 0 0 1-1.5 1.5h-8A1.5 1.5 0 0 1 4 15.5v-7A1.5 1.5 0 0 1 5.5 7M4 3.5l16 17',
  lock: 'M6.5 11h11v8.5h-11zM8.5 11V8a3.5 3.5 0 0 1 7 0v3',
  lockOpen: 'M6.5 11h11v8.5h-11zM8.5 11V7a3.5 3.5 0 0 1 6.8-1.2',
  warning: 'M12 9.5v4.5M12 16.9v.1M12 4l9 15.5H3z',
};

const STYLE = `
:host { display: block; position: relative; aspect-ratio: 16 / 9; background: #08090b; color: #f3f5f7; overflow: hidden;
  font: 15px/1.4 system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; -webkit-tap-highlight-color: transparent;
  --accent: #6ee7c8; --glass: rgb(18 21 26 / .74); --line: rgb(255 255 255 / .1) }
:host(:focus-visible) { outline: 2px solid var(--accent); outline-offset: 2px }
:host(:fullscreen) { aspect-ratio: auto; border-radius: 0 }
[hidden] { display: none !important }
* { box-sizing: border-box }
.fill, video, canvas { position: absolute; inset: 0; width: 100%; height: 100% }
video, canvas { object-fit: contain; transition: filter .4s, opacity .4s }
.dim video, .dim canvas { filter: brightness(.42) saturate(.6) blur(1px) }
.empty { background: radial-gradient(75% 75% at 50% 45%, #1b2129, #0c0e12 60%, #08090b) }
.quiet { cursor: none }

.card { position: absolute; inset: 0; display: grid; place-content: center; justify-items: center; text-align: center; padding: 20px 24px 64px;
  gap: 5px; opacity: 0; visibility: hidden; transition: opacity .3s, visibility .3s }
.card.on { opacity: 1; visibility: visible }
.card p { margin: 0; max-width: 30em; text-wrap: balance; text-shadow: 0 1px 10px rgb(0 0 0 / .6); overflow-wrap: anywhere }
.title { font-size: 18px; font-weight: 600; letter-spacing: -.01em }
.detail { color: #b4bcc6; font-size: 14px; min-height: 1.4em }
.badge { position: relative; width: 76px; height: 76px; margin-bottom: 20px; border-radius: 50%; display: grid; place-items: center;
  background: var(--glass); border: 1px solid var(--line); color: #dfe4ea; backdrop-filter: blur(10px) }
.badge svg { width: 32px; height: 32px }
.badge::before, .badge::after { content: ""; position: absolute; inset: -1px; border-radius: 50%; border: 1.5px solid var(--accent); opacity: 0 }
.busy .badge { color: var(--accent) }
.busy .badge::before, .busy .badge::after { animation: ripple 2.4s cubic-bezier(.2, .6, .35, 1) infinite }
.busy .badge::after { animation-delay: 1.2s }
@keyframes ripple { from { transform: scale(1); opacity: .75 } to { transform: scale(1.65); opacity: 0 } }
.wait .badge { animation: breathe 3.6s ease-in-out infinite }
@keyframes breathe { 50% { opacity: .55 } }

button { font: inherit; color: inherit; border: 0; background: none; padding: 0; cursor: pointer; display: inline-grid; place-items: center;
  grid-auto-flow: column; touch-action: manipulation }
button:focus-visible, input:focus-visible { outline: 2px solid var(--accent); outline-offset: 2px }
svg { width: 24px; height: 24px; fill: none; stroke: currentColor; stroke-width: 1.7; stroke-linecap: round; stroke-linejoin: round; display: block }
svg.solid { fill: currentColor }
.start { width: 84px; height: 84px; border-radius: 50%; background: var(--accent); color: #06231b; margin-bottom: 16px;
  box-shadow: 0 10px 40px rgb(0 0 0 / .45); transition: transform .15s, filter .15s }
.start svg { width: 38px; height: 38px }
.start:hover { filter: brightness(1.08); transform: scale(1.04) }
.start:active { transform: scale(.97) }
.retry { margin-top: 12px; padding: 10px 20px; min-height: 44px; border-radius: 22px; background: #f3f5f7; color: #101317; font-weight: 600 }
.retry:hover { background: #fff }

.chrome { opacity: 1; transition: opacity .25s }
.quiet .chrome { opacity: 0; pointer-events: none }
.pill { position: absolute; top: 12px; left: 12px; display: flex; align-items: center; gap: 8px; height: 30px; padding: 0 12px; border-radius: 15px;
  background: var(--glass); border: 1px solid var(--line); backdrop-filter: blur(10px); font-size: 13px; font-weight: 600 }
.pill i { width: 8px; height: 8px; border-radius: 50%; background: #ff4d57; animation: breathe 2s ease-in-out infinite }
.pill span + span { color: #c3cad3; font-weight: 400; font-variant-numeric: tabular-nums; min-width: 3.6em; text-align: right }
.unmute { position: absolute; top: 12px; right: 12px; height: 44px; min-width: 44px; padding: 0 18px 0 13px; gap: 8px; border-radius: 22px;
  background: #f3f5f7; color: #101317; font-weight: 600; font-size: 14px; box-shadow: 0 4px 18px rgb(0 0 0 / .35) }
.unmute:hover { background: #fff }
.bar { position: absolute; left: 0; right: 0; bottom: 0; display: flex; align-items: center; gap: 2px; padding: 44px 8px calc(8px + env(safe-area-inset-bottom));
  background: linear-gradient(transparent, rgb(0 0 0 / .66)); pointer-events: none }
.bar > * { pointer-events: auto }
.bar button { width: 44px; height: 44px; border-radius: 50% }
.bar button:hover { background: rgb(255 255 255 / .14) }
.lock.verified { color: var(--accent) }
.lock.blind { color: #ffc861 }
.trust { position: absolute; left: 12px; bottom: calc(60px + env(safe-area-inset-bottom)); width: min(360px, 100% - 24px); max-height: 60vh; overflow: auto;
  padding: 14px 16px; border-radius: 12px; background: #12151a; border: 1px solid var(--line); font-size: 13px; color: #d5dae0 }
.trust p { margin: 0 0 6px }
.trust p:first-child { font-weight: 600; font-size: 15px; color: #f3f5f7 }
dl { display: grid; grid-template-columns: auto 1fr; gap: 2px 12px; margin: 10px 0 0 }
dd { margin: 0; overflow-wrap: anywhere; user-select: text }
.path { flex: 1; min-width: 0; padding: 0 8px; font-size: 13px; color: #d5dae0; white-space: nowrap; overflow: hidden; text-overflow: ellipsis;
  text-align: end; text-shadow: 0 1px 4px rgb(0 0 0 / .8); pointer-events: none }
input { width: 84px; height: 44px; margin: 0 4px; accent-color: #f3f5f7; background: none; cursor: pointer }
@media (pointer: coarse), (max-width: 519px) { input { display: none } }
.said { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); white-space: nowrap }
@media (prefers-reduced-motion: reduce) { *, ::before, ::after { animation: none !important; transition: none !important } .busy .badge::before { opacity: .7; transform: scale(1.2) } }
@media (prefers-contrast: more) { :host { --glass: #000; --line: #fff } .detail, .path { color: #fff } }
`;

/**
 * @param {string} name in ICONS
 * @returns {SVGSVGElement}
 */
function icon(name) {
  const svg = document.createElementNS('http://www.w3.org/2000/svg', 'svg');
  svg.setAttribute('viewBox', '0 0 24 24');
  svg.setAttribute('aria-hidden', 'true');
  if (name === 'play' || name === 'stop') svg.classList.add('solid');
  const path = document.createElementNS('http://www.w3.org/2000/svg', 'path');
  path.setAttribute('d', ICONS[name]);
  svg.append(path);
  return svg;
}

/** Puts an icon into an element, where it is not there already. @param {HTMLElement} element @param {string} name */
function showIcon(element, name) {
  if (element.dataset.icon === name) return;
  element.dataset.icon = name;
  element.replaceChildren(icon(name));
}

/**
 * @template {keyof HTMLElementTagNameMap} T
 * @param {T} tag
 * @param {Partial<HTMLElementTagNameMap[T]>} [properties]
 * @param {(Node|string)[]} children
 * @returns {HTMLElementTagNameMap[T]}
 */
function make(tag, properties = {}, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
}

// ---------------------------------------------------------------------------------- The element

/** How long the controls stay after the last movement, in milliseconds. */
const CONTROLS_STAY = 2600;
/** How each state looks: its picture in the card, and how that moves. @type {Record<State, [string, string]>} */
const CARD = {
  idle: ['', ''],
  looking: ['camera', 'busy'],
  offline: ['cameraOff', 'wait'],
  connecting: ['camera', 'busy'],
  playing: ['', ''],
  stalled: ['camera', 'busy'],
  reconnecting: ['camera', 'busy'],
  refused: ['warning', ''],
  unsafe: ['warning', ''],
  ended: ['', ''],
};

// Outside a browser (tests of the arithmetic) there is nothing to extend.
const Base = /** @type {typeof HTMLElement} */ (globalThis.HTMLElement ?? class {});

/** `<peercam-player>`: see the top of this file. */
export class PeercamPlayer extends Base {
  static observedAttributes = ['room', 'server', 'transport', 'muted', 'camera-key', 'token', 'viewer-key'];

  /** @type {Watch|null} */
  #watch = null;
  /** @type {Situation} */
  #situation = { state: 'idle', title: 'idle' };
  /** The browser has the video paused and wants a click before it plays. */
  #paused = false;
  #restarting = false;
  #quietTimer = 0;
  /** Keeps the screen on while there is a picture. @type {WakeLockSentinel|null} */
  #wakeLock = null;
  #ui;

  constructor() {
    super();
    const root = this.attachShadow({ mode: 'open' });
    const sheet = new CSSStyleSheet();
    sheet.replaceSync(STYLE);
    root.adoptedStyleSheets = [sheet];
    this.#ui = this.#build(root);
    this.#draw();
  }

  /** Starts watching. Does nothing where it already does. */
  start() {
    if (this.#watch && !this.#situation.final) return;
    this.#watch = null;
    this.#paused = false;
    if (!('RTCPeerConnection' in globalThis)) {
      this.#change({ state: 'refused', title: 'noWebRtc', detail: 'noWebRtcDetail', final: true });
      return;
    }
    const [camera, token, viewer] = ['camera-key', 'token', 'viewer-key'].map((name) => this.getAttribute(name));
    const link = new Link(this.getAttribute('room') ?? '', camera, token, viewer);
    if (link.damaged) {
      this.#change({ state: 'refused', title: 'badLink', detail: 'badLinkDetail', final: true });
      return;
    }
    this.#change({ state: 'looking', title: 'looking' });
    try {
      this.#watch = new Watch(this.#address(), link, this.#wish(), this.getAttribute('transport-fallback') === 'off', this.#ui.video, {
        situation: (situation) => this.#change(situation),
        play: () => this.#play(),
        hold: () => this.#hold(),
        figures: () => this.#drawLatency(),
      });
    } catch (error) {
      // No address, or one that this page may not talk to (ws from a page that came over https).
      const values = { message: sentence(String(error)) };
      this.#change({ state: 'refused', title: 'badServer', detail: 'said', values, final: true });
    }
  }

  /** Stops watching: the camera is told, everything is released. */
  stop() {
    if (!this.#watch) return;
    this.#figures = this.#watch.figures;
    this.#watch.stop();
    this.#watch = null;
    this.#change({ state: 'ended', title: 'ended' });
  }

  /** What is going on, in figures. Cheap. @returns {Stats} */
  get stats() {
    const { state } = this.#situation;
    return { state, message: this.#message(), .../** @type {any} */ (this.#watch?.figures ?? this.#figures) };
  }

  /** Begins the longest freeze and the latency anew. */
  resetStats() {
    this.#watch?.resetFigures();
  }

  /** @type {Omit<Stats, 'state'|'message'>} */
  #figures = {
    transport: 'rtp',
    width: null,
    height: null,
    video_codec: null,
    audio_codec: null,
    frames_decoded: 0,
    audio_decoded: 0,
    connect_ms: null,
    first_frame_ms: null,
    latency_ms: { p50: null, p95: null, last: null },
    ...{ fps: 0, freeze_longest_ms: 0, bytes_received: 0, stream: null },
    ...NO_PATH,
    ...{ restarts: 0, reconnects: 0, verified: false },
  };

  get muted() {
    return this.#ui.video.muted;
  }

  set muted(muted) {
    this.#ui.video.muted = muted;
    if (!muted && this.#ui.video.volume === 0) this.#ui.video.volume = 1;
  }

  /**
   * What a key does: space or k plays and stops, m is sound, f full screen, Escape closes the lock.
   * @param {KeyboardEvent} event
   * @returns {boolean} whether it was one of them
   */
  handleKey(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented) return false;
    const target = /** @type {Element} */ (event.composedPath()[0]);
    // Space and letters belong to what has the focus: a button, the volume, a field of the page.
    if (target.matches?.('input, textarea, select, [contenteditable]')) return false;
    if (event.key === ' ' && target.matches?.('button, a')) return false;
    /** @type {Record<string, () => void>} */
    const does = {
      ' ': () => this.#toggle(),
      k: () => this.#toggle(),
      m: () => (this.muted = !this.muted),
      f: () => this.#fullscreen(),
    };
    if (!this.#ui.trust.hidden) does.escape = () => this.#openLock(false);
    const action = does[event.key.toLowerCase()];
    if (!action) return false;
    event.preventDefault();
    this.#awake();
    if (!event.repeat) action();
    return true;
  }

  connectedCallback() {
    if (!this.hasAttribute('tabindex')) this.tabIndex = 0;
    this.setAttribute('role', 'region');
    // A lock is lost with the tab's visibility.
    document.addEventListener('visibilitychange', this.#onVisibility);
    this.#draw();
    // Not before the page's own script had its say: it may set attributes.
    if (this.hasAttribute('autoplay')) queueMicrotask(() => this.isConnected && this.start());
  }

  disconnectedCallback() {
    document.removeEventListener('visibilitychange', this.#onVisibility);
    this.stop();
  }

  /**
   * @param {string} name
   * @param {string|null} before
   * @param {string|null} after
   */
  attributeChangedCallback(name, before, after) {
    if (before === after) return;
    if (name === 'muted') {
      this.muted = after !== null;
    } else if ((this.#watch || this.#situation.final) && !this.#restarting) {
      // Another link changes several at once.
      this.#restarting = true;
      queueMicrotask(() => {
        this.#restarting = false;
        if (!this.isConnected) return;
        this.stop();
        this.start();
      });
    }
  }

  #onVisibility = () => this.#keepScreenOn();

  /** The picture is there, but only a click lets it move. */
  get #blocked() {
    return this.#paused && this.#situation.state === 'playing';
  }

  // Where to, and how.

  #address() {
    const server = new URL(this.getAttribute('server') || location.origin, location.href);
    server.protocol = server.protocol.replace('http', 'ws');
    return new URL(`/watch/${encodeURIComponent(this.getAttribute('room') ?? '')}`, server).href;
  }

  /** @returns {'auto'|Transport} */
  #wish() {
    const wish = this.getAttribute('transport');
    return wish === 'rtp' || wish === 'fmp4' ? wish : 'auto';
  }

  #language() {
    const own = /** @type {HTMLElement|null} */ (this.closest?.('[lang]'))?.lang;
    return own || navigator.language || 'en';
  }

  /** @param {string} name @param {Record<string, string|number>} [values] */
  #text(name, values) {
    return text(this.#language(), name, values);
  }

  /** The situation in one sentence or two. */
  #message() {
    const { state, title, detail, values, notes = [] } = this.#situation;
    const words = [title, ...notes].map((name) => this.#text(name)).join(' · ');
    const more = detail ? this.#text(detail, values) : '';
    if (more === '') return words;
    return state === 'refused' || state === 'unsafe' ? `${words} (${more})` : `${words} ${more}`;
  }

  // What the picture does.

  /** @returns {Promise<void>} */
  async #play() {
    const { video } = this.#ui;
    try {
      await video.play();
      this.#paused = false;
    } catch (error) {
      if (/** @type {Error} */ (error).name !== 'NotAllowedError') return; // Another source came in between.
      if (!video.muted) {
        video.muted = true;
        return this.#play();
      }
      this.#paused = true;
    }
    this.#draw();
  }

  /** Keeps the last frame in sight while there is no live one. */
  #hold() {
    const { video, still } = this.#ui;
    if (!video.videoWidth) return;
    still.width = video.videoWidth;
    still.height = video.videoHeight;
    still.getContext('2d')?.drawImage(video, 0, 0);
    still.hidden = false;
  }

  async #keepScreenOn() {
    const wanted = this.#situation.state === 'playing' && !document.hidden;
    if (wanted === (this.#wakeLock?.released === false)) return;
    try {
      if (wanted) this.#wakeLock = await navigator.wakeLock?.request('screen');
      else await this.#wakeLock?.release();
    } catch {
      // The battery is low, or the page may not: the picture plays all the same.
    }
  }

  #toggle() {
    if (this.#blocked) this.#play();
    else if (this.#watch && !this.#situation.final) this.stop();
    else this.start();
  }

  async #fullscreen() {
    /** @type {HTMLVideoElement & {webkitEnterFullscreen?: () => void}} */
    const video = this.#ui.video;
    try {
      if (document.fullscreenElement) await document.exitFullscreen();
      else if (this.requestFullscreen) await this.requestFullscreen();
      else video.webkitEnterFullscreen?.(); // iPhones: only a video can.
    } catch {
      // The browser or the page around it says no.
    }
  }

  // What the person sees.

  /** @param {ShadowRoot} root */
  #build(root) {
    const video = make('video', { playsInline: true });
    const still = make('canvas', { hidden: true });
    const badge = make('div', { className: 'badge' });
    const start = make('button', { className: 'start', type: 'button' }, icon('play'));
    const title = make('p', { className: 'title' });
    const detail = make('p', { className: 'detail' });
    const retry = make('button', { className: 'retry', type: 'button' });
    // Its words are in `said` for those who listen.
    for (const words of [title, detail]) words.setAttribute('aria-hidden', 'true');
    const card = make('div', { className: 'card' }, badge, start, title, detail, retry);
    const latency = make('span');
    const live = make('span');
    const pill = make('div', { className: 'pill chrome' }, make('i'), live, latency);
    const unmuteLabel = make('span');
    const unmute = make('button', { className: 'unmute', type: 'button' }, icon('silence'), unmuteLabel);
    const toggle = make('button', { type: 'button' });
    const mute = make('button', { type: 'button' });
    const volume = make('input', { type: 'range', min: '0', max: '1', step: '0.05', value: '1' });
    const lock = make('button', { type: 'button' });
    const trust = make('div', { className: 'trust', id: 'trust', hidden: true });
    lock.setAttribute('aria-controls', 'trust');
    const path = make('span', { className: 'path' });
    const full = make('button', { type: 'button' });
    const bar = make('div', { className: 'bar chrome' }, toggle, mute, volume, lock, trust, path, full);
    bar.setAttribute('role', 'group');
    const said = make('p', { className: 'said' });
    said.setAttribute('role', 'status');
    said.setAttribute('aria-live', 'polite');
    const stage = make('div', { className: 'fill' }, video, still, card, pill, bar, unmute, said);
    root.append(stage);

    for (const button of [start, toggle]) button.addEventListener('click', () => this.#toggle());
    retry.addEventListener('click', () => this.start());
    mute.addEventListener('click', () => (this.muted = !this.muted));
    unmute.addEventListener('click', () => (this.muted = false));
    full.addEventListener('click', () => this.#fullscreen());
    lock.addEventListener('click', () => this.#openLock(trust.hidden));
    volume.addEventListener('input', () => {
      video.volume = Number(volume.value);
      video.muted = video.volume === 0;
    });
    for (const name of ['volumechange', 'play', 'pause']) video.addEventListener(name, () => this.#draw());
    // Headphones unplugged, a media key, a phone call: the browser paused it, only the person can go on.
    video.addEventListener('pause', () => {
      this.#paused = video.readyState > 0;
      this.#draw();
    });
    video.addEventListener('resize', () => this.#draw());
    stage.addEventListener('pointermove', ({ pointerType }) => pointerType === 'mouse' && this.#awake());
    stage.addEventListener('pointerleave', () => this.#awake(600));
    stage.addEventListener('focusin', () => this.#awake());
    stage.addEventListener('click', ({ target }) => {
      const onPicture = target === video || target === still || target === card || target === stage;
      if (onPicture && !trust.hidden) this.#openLock(false);
      else if (!onPicture) this.#awake();
      else if (stage.classList.contains('quiet')) this.#awake();
      else this.#awake(0);
    });
    stage.addEventListener('dblclick', ({ target }) => (target === video || target === card) && this.#fullscreen());
    this.addEventListener('keydown', (event) => this.handleKey(event));
    this.addEventListener('fullscreenchange', () => this.#draw());
    return {
      ...{ stage, video, still, said },
      ...{ card, badge, start, title, detail, retry },
      ...{ pill, live, latency, unmute, unmuteLabel },
      ...{ bar, toggle, mute, volume, lock, trust, path, full },
    };
  }

  /** Shows the controls; they go after a while if there is a picture to see. */
  #awake(stay = CONTROLS_STAY) {
    const { stage, bar, trust } = this.#ui;
    clearTimeout(this.#quietTimer);
    stage.classList.remove('quiet');
    const hide = () => {
      const watching = this.#situation.state === 'playing' && !this.#blocked;
      stage.classList.toggle('quiet', watching && trust.hidden && !bar.querySelector(':focus-visible'));
    };
    if (stay === 0) hide();
    else this.#quietTimer = setTimeout(hide, stay);
  }

  /** @param {Situation} situation */
  #change(situation) {
    const before = this.#situation.state;
    this.#situation = situation;
    const { state } = situation;
    if (state === 'playing') this.#ui.still.hidden = true;
    if (before !== state) {
      this.#awake();
      this.#keepScreenOn();
    }
    this.#draw();
    this.dispatchEvent(new CustomEvent('statechange', { detail: { state, message: this.#message() } }));
  }

  /** Everything on the screen follows from the situation and the video. */
  #draw() {
    const { stage, still, video, said } = this.#ui;
    const playing = this.#situation.state === 'playing';
    stage.classList.toggle('dim', !playing);
    stage.classList.toggle('empty', still.hidden && !video.videoWidth);
    if (!playing) stage.classList.remove('quiet');
    const message = this.#message();
    if (said.textContent !== message) said.textContent = message;
    const label = this.#text('label', { room: this.getAttribute('room') ?? '' });
    this.setAttribute('aria-label', label);
    video.setAttribute('aria-label', label);
    this.#drawCard();
    this.#drawControls();
    this.#drawLock();
    this.#drawLatency();
  }

  #drawCard() {
    const { card, badge, start, title, detail, retry } = this.#ui;
    const situation = this.#situation;
    const [picture, motion] = CARD[situation.state];
    const shown = situation.state !== 'playing' || this.#blocked;
    card.classList.toggle('on', shown);
    if (!shown) return; // It fades out with the words it had.
    card.className = `card on ${motion}`;
    badge.hidden = picture === '';
    if (picture) showIcon(badge, picture);
    start.hidden = picture !== '';
    title.textContent = this.#text(this.#blocked ? 'play' : situation.title);
    detail.textContent = situation.detail ? this.#text(situation.detail, situation.values) : '';
    retry.hidden = !situation.final;
    retry.textContent = this.#text('retry');
  }

  #drawControls() {
    const { bar, start, toggle, mute, volume, full, path, pill, live, unmute, unmuteLabel, video } = this.#ui;
    const { state, final } = this.#situation;
    const watching = state === 'playing' && !this.#blocked;
    const clickPlays = this.#blocked || this.#watch === null || final;
    /** @type {(element: HTMLElement, name: string, look?: string) => void} */
    const label = (element, name, look) => {
      element.title = this.#text(name);
      element.setAttribute('aria-label', element.title);
      if (look) showIcon(element, look);
    };
    label(start, 'play');
    if (clickPlays) label(toggle, 'play', 'play');
    else label(toggle, 'stop', 'stop');
    if (this.muted) label(mute, 'unmute', 'silence');
    else label(mute, 'mute', 'sound');
    if (document.fullscreenElement === this) label(full, 'leaveFullscreen', 'shrink');
    else label(full, 'fullscreen', 'expand');
    label(volume, 'volume');
    volume.value = String(this.muted ? 0 : video.volume);
    bar.setAttribute('aria-label', this.#text('controls'));
    path.textContent = state === 'playing' ? this.#message() : '';
    pill.hidden = !watching;
    live.textContent = this.#text('live');
    unmute.hidden = !watching || !this.muted;
    unmuteLabel.textContent = this.#text('unmute');
  }

  /** @param {boolean} open */
  #openLock(open) {
    this.#ui.trust.hidden = !open;
    this.#drawLock();
    this.#awake();
  }

  /** Whether this is the right camera, and how one knows. */
  #drawLock() {
    const { lock, trust } = this.#ui;
    const known = this.#watch?.trust ?? null;
    lock.hidden = known === null;
    if (known === null) trust.hidden = true;
    lock.setAttribute('aria-expanded', String(!trust.hidden));
    if (known === null) return;
    const blind = known === 'plainHttp' || known === 'oldBrowser';
    const title = this.#text(blind ? 'cantVerify' : known);
    lock.className = `lock ${blind ? 'blind' : known}`;
    lock.title = this.#text('lock', { title });
    lock.setAttribute('aria-label', lock.title);
    showIcon(lock, known === 'verified' ? 'lock' : 'lockOpen');
    const { camera, room, claims } = /** @type {Watch} */ (this.#watch).link;
    const facts = make('dl');
    /** @type {[string, string|false|null|undefined][]} */
    const lines = [
      ['key', known === 'verified' && camera],
      ['room', room],
      ['until', claims.exp === undefined ? null : new Date(claims.exp * 1000).toLocaleString()],
    ];
    for (const [name, value] of lines) {
      if (value) facts.append(make('dt', {}, this.#text(name)), make('dd', {}, value));
    }
    trust.replaceChildren(make('p', {}, title), make('p', {}, this.#text(`${known}Detail`)), facts);
  }

  #drawLatency() {
    const { latency, pill } = this.#ui;
    const ms = this.#watch?.figures.latency_ms.p50;
    latency.hidden = ms == null;
    if (ms == null) return;
    latency.textContent = `${Math.round(ms)} ms`;
    pill.title = this.#text('latency', { ms: Math.round(ms) });
  }
}

globalThis.customElements?.define('peercam-player', PeercamPlayer);
