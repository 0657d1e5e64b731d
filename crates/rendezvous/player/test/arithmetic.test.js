// The parts of the player that need no browser. Time is passed in, so nothing here waits.
import assert from 'node:assert/strict';
import { test } from 'node:test';

import {
  Backoff, ClockSync, FrameMeter, LatencyMeter, Lifeline, LiveEdge, bytesReceived, percentile,
  rtpElapsed, selectedPath, text, Verdict,
} from '../player.js';

test('a back-off doubles up to its maximum and begins anew after a success', () => {
  const backoff = new Backoff(250, 2000, { random: () => 1 });
  assert.deepEqual([1, 2, 3, 4, 5, 6].map(() => backoff.next()), [250, 500, 1000, 2000, 2000, 2000]);
  backoff.reset();
  assert.equal(backoff.next(), 250);
});

test('a back-off stays between half and all of its time', () => {
  const least = new Backoff(1000, 8000, { random: () => 0 });
  assert.deepEqual([1, 2].map(() => least.next()), [500, 1000]);
  const backoff = new Backoff(1000, 8000);
  for (let i = 0; i < 2000; i++) assert.ok(backoff.next() <= 8000);
});

test('an immediate back-off lets the first try pass', () => {
  const backoff = new Backoff(500, 8000, { immediate: true, random: () => 1 });
  assert.deepEqual([1, 2, 3].map(() => backoff.next()), [0, 500, 1000]);
  assert.equal(backoff.tries, 3);
});

test('the clock offset comes from the shortest round trip', () => {
  const sync = new ClockSync();
  assert.equal(sync.offset, null);
  // The camera is 5000 ms ahead. A lopsided trip of 80 ms would be 30 ms wrong …
  const slow = sync.ask(1000);
  sync.answer(slow, 6000 + 70, 1080);
  assert.equal(sync.offset, 5030);
  // … a short one is right.
  const quick = sync.ask(2000);
  sync.answer(quick, 7002, 2004);
  assert.equal(sync.offset, 5000);
  sync.answer(sync.ask(3000), 8100, 3150);
  assert.equal(sync.offset, 5000);
});

test('a clock answer that nobody asked for, or twice, or without a number changes nothing', () => {
  const sync = new ClockSync();
  sync.answer(7, 1, 2);
  const id = sync.ask(0);
  sync.answer(id, NaN, 2);
  assert.equal(sync.offset, null);
  sync.answer(id, 101, 2);
  sync.answer(id, 999, 2);
  assert.equal(sync.offset, 100);
});

test('old clock answers give way, since clocks drift', () => {
  const sync = new ClockSync(3);
  sync.answer(sync.ask(0), 1000, 0);
  for (let now = 100; now < 400; now += 100) sync.answer(sync.ask(now), now + 2005, now + 10);
  assert.equal(sync.offset, 2000);
});

test('percentiles are nearest ranks', () => {
  assert.equal(percentile([], 0.5), null);
  assert.equal(percentile([7], 0.95), 7);
  const hundred = Array.from({ length: 100 }, (_, i) => i + 1);
  assert.equal(percentile(hundred, 0.5), 50);
  assert.equal(percentile(hundred, 0.95), 95);
  assert.equal(percentile(hundred, 1), 100);
});

test('latency is the time shown less the time captured, on the camera’s clock', () => {
  const meter = new LatencyMeter();
  meter.frame(0, 1000);
  assert.deepEqual(meter.summary(), { p50: null, p95: null, last: null }, 'nothing without both clocks');
  meter.sync.answer(meter.sync.ask(0), 5000, 0);
  meter.reference = { media: 0, captureMs: 6000 };
  meter.frame(0, 1040);
  meter.frame(100, 1150);
  assert.deepEqual(meter.summary(), { p50: 40, p95: 50, last: 50 });
});

test('latency looks back on the last frames only', () => {
  const meter = new LatencyMeter(10);
  meter.sync.answer(meter.sync.ask(0), 0, 0);
  meter.reference = { media: 0, captureMs: 0 };
  for (let i = 0; i < 10; i++) meter.frame(0, 500);
  for (let i = 0; i < 10; i++) meter.frame(0, 50);
  assert.deepEqual(meter.summary(), { p50: 50, p95: 50, last: 50 });
});

test('latency can be begun anew without asking for the time again', () => {
  const meter = new LatencyMeter();
  meter.sync.answer(meter.sync.ask(0), 0, 0);
  meter.reference = { media: 0, captureMs: 0 };
  meter.frame(0, 500);
  meter.reset();
  assert.equal(meter.summary().p50, null);
  meter.frame(0, 50);
  assert.equal(meter.summary().p95, 50);
});

test('a freeze is the longest time without a frame, also while it lasts', () => {
  const meter = new FrameMeter();
  assert.equal(meter.freeze(9000), 0, 'not before the first frame');
  for (const at of [1000, 1033, 1400, 1433]) meter.shown(at);
  assert.equal(meter.freeze(1440), 367);
  assert.equal(meter.freeze(2433), 1000);
  meter.shown(2500);
  assert.equal(meter.freeze(2500), 1067);
  meter.reset(2600);
  assert.equal(meter.freeze(2620), 20);
  meter.shown(2633);
  assert.equal(meter.freeze(2633), 33);
});

test('what nobody could see is no freeze', () => {
  const meter = new FrameMeter();
  meter.shown(0);
  meter.pause();
  assert.equal(meter.freeze(60000), 0);
  meter.shown(60000);
  meter.shown(60040);
  assert.equal(meter.freeze(60040), 40);
});

test('frames a second count those between two callbacks too, and begin anew with another source', () => {
  const meter = new FrameMeter();
  for (let i = 0; i <= 60; i++) meter.shown(i * 40, 100 + i * 2);
  assert.equal(meter.fps(2400), 50);
  assert.equal(meter.fps(2900), 26);
  meter.shown(2950, 1);
  assert.equal(meter.fps(3400), 1);
  assert.equal(meter.fps(9000), 0);
});

test('a frame without a media time, or from before a jump of the media clock, is no sample', () => {
  const meter = new LatencyMeter();
  meter.sync.answer(meter.sync.ask(0), 0, 0);
  meter.reference = { media: 0, captureMs: 0 };
  meter.frame(NaN, 50);
  meter.frame(-90000, 50);
  meter.frame(90000, 50);
  assert.equal(meter.summary().p50, null);
});

test('RTP timestamps wrap', () => {
  assert.equal(rtpElapsed(0, 9000), 100);
  assert.equal(rtpElapsed(9000, 0), -100);
  assert.equal(rtpElapsed(0xffffffff - 8999, 0), 100);
  assert.equal(rtpElapsed(0, 0xffffffff - 8999), -100);
});

/** Looks at a lifeline every 100 ms; `came(now)` is whether something came. Returns what it asked for, and when. */
function watch(line, from, until, { came = () => false, lost = false, online = true, answers = null } = {}) {
  const steps = [];
  let received = 0;
  for (let now = from; now < until; now += 100) {
    if (came(now)) received = now + 1;
    line.look(now, received);
    const step = line.decide(now, lost, online);
    if (step) steps.push([now, step]);
    if (step === 'renew') line.unsent();
    if (step === 'offer' && answers !== null) line.answered(now + answers);
  }
  return steps;
}

test('a way that carries anything is left alone', () => {
  const line = new Lifeline();
  assert.deepEqual(watch(line, 0, 60000, { came: (now) => now % 700 === 0 }), []);
  assert.equal(line.downSince, null);
});

test('silence asks for a restart, and what comes after the answer ends it', () => {
  const line = new Lifeline();
  watch(line, 0, 1000, { came: () => true });
  const steps = watch(line, 1000, 3000, { answers: 0, came: (now) => now >= 2300 });
  assert.deepEqual(steps, [[1700, 'offer']]);
  assert.equal(line.restarts, 1);
  assert.equal(line.downSince, null);
});

test('what nobody was awake to hear is no silence', () => {
  const line = new Lifeline();
  line.look(0, 1);
  line.look(100, 2);
  line.look(60000, 2);
  assert.equal(line.decide(60000, false, true), null);
  line.look(60100, 3);
  assert.equal(line.decide(60100, false, true), null);
});

test('what ICE has lost is searched for at once', () => {
  const line = new Lifeline();
  line.look(0, 1);
  assert.equal(line.decide(100, true, true), 'offer');
  assert.equal(line.decide(200, true, true), null, 'one offer at a time');
});

test('an offer without an answer is sent again on another socket, for as long as the camera waits', () => {
  const all = watch(new Lifeline(), 0, 60000, { lost: true });
  const steps = all.map(([, step]) => step);
  assert.deepEqual(steps.slice(0, 6), ['offer', 'renew', 'offer', 'renew', 'offer', 'renew']);
  const [at] = all.find(([, step]) => step === 'give-up');
  assert.ok(at > 30000 && at < 40000, `${at}`);
});

test('a restart that is answered and does not help is tried once more', () => {
  const steps = watch(new Lifeline(), 0, 7000, { lost: true, answers: 100 }).map(([, step]) => step);
  assert.deepEqual(steps.slice(0, 3), ['offer', 'offer', 'give-up']);
});

test('while server or camera are away nothing is tried and nothing given up', () => {
  const line = new Lifeline();
  assert.deepEqual(watch(line, 0, 60000, { lost: true, online: null }), []);
  assert.deepEqual(watch(line, 60000, 120000, { lost: true, online: false }), []);
  assert.equal(line.downSince, 0);
  assert.deepEqual(watch(line, 120000, 120500, { lost: true }), [[120000, 'offer']]);
});

test('an offer lost with its socket is made again on the next one', () => {
  const line = new Lifeline();
  assert.deepEqual(watch(line, 0, 300, { lost: true }), [[0, 'offer']]);
  line.unsent();
  assert.deepEqual(watch(line, 300, 500, { lost: true }), [[300, 'offer']]);
});

test('who is asked restarts a way that works, and keeps it if nobody answers', () => {
  const line = new Lifeline();
  line.ask();
  const steps = watch(line, 0, 30000, { came: () => true }).map(([, step]) => step);
  assert.ok(!steps.includes('give-up') && steps.includes('offer'), String(steps));
  assert.equal(line.downSince, null);
});

test('a way that is lost again and again is left more and more time, one of another network none', () => {
  const line = new Lifeline();
  // Each restart helps for a moment.
  const came = (now) => now % 2500 < 200;
  const offers = watch(line, 0, 60000, { answers: 0, came }).map(([now]) => now);
  assert.ok(offers.length > 3 && offers.length < 15, String(offers));
  line.ask();
  assert.deepEqual(watch(line, 60000, 60100, { came: () => true }), [[60000, 'offer']]);
});

/** What is buffered, from `start` to `end` seconds. */
const range = (start, end) => [{ start, end }];

test('the live edge begins where the buffer begins', () => {
  const edge = new LiveEdge();
  assert.deepEqual(edge.decide(0, 0, []), { seek: null, rate: 1 });
  // The track's time goes on while nobody watches: 120 s is its start for this viewer.
  assert.deepEqual(edge.decide(10, 0, range(120, 120.03)), { seek: 120, rate: 1 });
});

test('a new viewer goes to the edge past the frames it was given to begin with', () => {
  const { seek } = new LiveEdge().decide(0, 10, range(10, 11.5));
  assert.ok(seek > 11.3 && seek < 11.5);
});

/** A live edge to which a frame of 40 ms came every 40 ms since 0, `late(i)` ms late, up to `until`; the video's clock began at 100 s. */
function fed(until, late = () => 0, edge = new LiveEdge()) {
  edge.decide(0, 100, range(100, 100.05));
  for (let i = 0; i * 40 < until; i++) edge.arrived(i * 40 + late(i), 100 + i * 0.04);
  return edge;
}

test('the live edge catches up by playing a little faster, never by more than a tenth', () => {
  const { target } = fed(5000);
  const rate = (behind) => fed(5000).decide(5000, 105 - behind, range(100, 105)).rate;
  assert.ok(rate(target + 0.06) > 1 && rate(target + 0.06) < 1.08);
  assert.equal(rate(target + 0.3), 1.1);
  assert.equal(rate(target + 0.02), 1, 'near enough');
  assert.equal(rate(target - 0.045), 0.97, 'slower before it runs dry');
});

test('the live edge goes on until it is there, and no further', () => {
  const edge = fed(5000);
  const { target } = edge;
  const rate = (behind) => edge.decide(5000, 105 - behind, range(100, 105)).rate;
  assert.ok(rate(target + 0.06) > 1);
  assert.ok(rate(target + 0.03) > 1);
  assert.equal(rate(target + 0.005), 1);
  assert.equal(rate(target + 0.03), 1);
});

test('frames that come in steps are no reason to change the speed', () => {
  const edge = fed(5000);
  const { target } = edge;
  // Just before and just after one came.
  assert.equal(edge.decide(5000, 105 - target, range(100, 104.96)).rate, 1);
  assert.equal(edge.decide(5000, 105 - target, range(100, 105)).rate, 1);
});

test('while nothing comes, what there is is not played faster', () => {
  const edge = fed(5000);
  assert.equal(edge.decide(5500, 105 - edge.target, range(100, 105)).rate, 1);
  assert.equal(edge.decide(5600, 105 - edge.target + 0.05, range(100, 105)).rate, 0.97);
});

test('the live edge jumps when far behind, and not again at once', () => {
  const edge = fed(5000);
  const { seek } = edge.decide(5000, 104.2, range(100, 105));
  assert.ok(seek > 104.7 && seek < 105);
  assert.equal(edge.decide(5100, 104.2, range(100, 105.1)).seek, null, 'a jump takes its time');
  assert.notEqual(edge.decide(5400, 104.2, range(100, 105.4)).seek, null);
});

test('where things come unevenly the live edge stays further behind, and comes nearer again later', () => {
  const near = fed(5000).target;
  const uneven = (i) => (i % 20 === 0 ? 200 : 0);
  const edge = fed(10000, uneven);
  assert.ok(edge.target >= near + 0.15 && edge.target <= 0.5, `${edge.target}`);
  for (let i = 250; i < 600; i++) edge.arrived(i * 40, 100 + i * 0.04);
  assert.ok(Math.abs(edge.target - near) < 0.001, `${edge.target}`);
});

test('one bad second is no habit, and there is a limit', () => {
  const near = fed(5000).target;
  assert.equal(fed(10000, (i) => (i === 100 ? 900 : 0)).target, near);
  assert.equal(fed(10000, (i) => (i % 10) * 150).target, 0.5);
});

test('what went on for a moment and is over is no habit, what comes back is one', () => {
  const near = fed(5000).target;
  const during = (...seconds) => (i) => (seconds.includes(Math.floor(i / 25)) ? 900 : 0);
  assert.equal(fed(10000, during(5, 6)).target, near);
  assert.equal(fed(10000, (i) => 900 * Number(i === 130) + 600 * Number(i === 110 || i === 155)).target, near);
  assert.equal(fed(10000, during(3, 8)).target, 0.5);
});

test('after running dry the live edge goes on at once, stays further away, and comes nearer again in time', () => {
  const edge = fed(5000);
  const { target } = edge;
  edge.starved(500);
  assert.equal(edge.target, target, 'the start is always uneven');
  edge.starved(5000);
  assert.ok(edge.target > target);
  const { seek } = edge.decide(5000, 104.99, range(100, 105));
  assert.ok(seek > 104.7 && seek < 105, String(seek));
  edge.starved(5100);
  assert.equal(edge.decide(5100, 104.9, range(100, 105.1)).seek, null, 'a jump takes its time');
  for (let now = 7000; now < 100000; now += 2000) edge.starved(now);
  assert.ok(edge.target <= 0.5 && edge.target < target + 0.25);
  for (let now = 100000; now < 400000; now += 1000) edge.decide(now, 104.9, range(100, 105));
  assert.ok(Math.abs(edge.target - target) < 0.001, `${edge.target}`);
});

test('while nothing comes the picture stands, instead of showing again what was seen', () => {
  const edge = fed(5000);
  edge.starved(5400);
  assert.equal(edge.decide(5400, 105, range(100, 105)).seek, null);
  assert.equal(edge.decide(7000, 105, range(100, 105)).seek, null);
  edge.arrived(7010, 105.5);
  assert.ok(edge.decide(7020, 105, range(100, 105.5)).seek > 105);
});

test('the live edge crosses a gap to what came last', () => {
  const ranges = [{ start: 90, end: 104 }, { start: 104.5, end: 104.6 }];
  assert.ok(fed(5000).decide(5000, 104, ranges).seek >= 104.5);
});

test('fmp4 is hopeless after three stops in a quarter of a minute, or two seconds behind', () => {
  const stops = (...at) => {
    const verdict = new Verdict();
    let hopeless = false;
    for (let now = 0; now <= 40000; now += 100) {
      const last = at.findLast((begin) => begin <= now && now < begin + 800);
      hopeless ||= verdict.hopeless(now, last === undefined ? 30 : now - last, 200);
    }
    return hopeless;
  };
  assert.equal(stops(1000, 9000), false);
  assert.equal(stops(1000, 9000, 17000), false, 'not that often');
  assert.equal(stops(1000, 3000, 5000), true);
  const behind = (until) => {
    const verdict = new Verdict();
    for (let now = 0; now < 6000; now += 100) if (verdict.hopeless(now, 30, now < until ? 2500 : null)) return true;
    return false;
  };
  assert.equal(behind(2500), false, 'once, after a pause');
  assert.equal(behind(4000), true);
});

/** A report as a browser gives it. */
const report = (...entries) => new Map(entries.map((entry) => [entry.id, entry]));

/** The pair in use, beside one that is not. */
const chromium = (local, remote) =>
  report(
    { id: 'T', type: 'transport', selectedCandidatePairId: 'P' },
    { id: 'Q', type: 'candidate-pair', localCandidateId: 'X', remoteCandidateId: 'R' },
    { id: 'P', type: 'candidate-pair', localCandidateId: 'L', remoteCandidateId: 'R' },
    { id: 'L', type: 'local-candidate', protocol: 'udp', ...local },
    { id: 'R', type: 'remote-candidate', protocol: 'udp', ...remote },
    { id: 'X', type: 'local-candidate', candidateType: 'relay', relayProtocol: 'tls' },
  );

test('the path is as direct as its less direct end', () => {
  const path = (local, remote) => selectedPath(chromium({ candidateType: local }, { candidateType: remote })).path;
  assert.equal(path('host', 'host'), 'host');
  assert.equal(path('host', 'prflx'), 'reflexive');
  assert.equal(path('srflx', 'host'), 'reflexive');
  assert.equal(path('relay', 'host'), 'relay');
  assert.equal(path('srflx', 'relay'), 'relay');
  assert.equal(selectedPath(new Map()), null);
});

test('IPv6 addresses are not translated', () => {
  const path = (local, remote) => selectedPath(chromium(local, remote)).path;
  const host = { candidateType: 'host', address: 'fd00::1' };
  assert.equal(path({ candidateType: 'srflx', address: '2001:db8::2' }, host), 'host');
  assert.equal(path({ candidateType: 'srflx', address: '192.0.2.1' }, host), 'reflexive');
  assert.equal(path({ candidateType: 'prflx', address: '' }, host), 'reflexive');
  assert.equal(path({ candidateType: 'relay', address: '2001:db8::3' }, host), 'relay');
});

test('the path’s protocol is ours to our relay, and otherwise the pair’s', () => {
  const relay = { candidateType: 'relay', relayProtocol: 'tls' };
  assert.deepEqual(selectedPath(chromium(relay, { candidateType: 'srflx' })), {
    path: 'relay', path_local: 'relay', path_remote: 'srflx', path_protocol: 'tls',
  });
  assert.equal(selectedPath(chromium({ candidateType: 'host' }, relay)).path_protocol, 'udp');
  const passive = { candidateType: 'host', protocol: 'tcp' };
  assert.equal(selectedPath(chromium(passive, passive)).path_protocol, 'tcp');
});

test('the path is found without a transport entry, as Firefox reports it', () => {
  const ends = { localCandidateId: 'L', remoteCandidateId: 'R' };
  const firefox = report(
    { id: 'P', type: 'candidate-pair', state: 'succeeded', nominated: true, selected: true, ...ends },
    { id: 'L', type: 'local-candidate', candidateType: 'host' },
    { id: 'R', type: 'remote-candidate', candidateType: 'host' },
  );
  assert.equal(selectedPath(firefox).path, 'host');
});

test('bytes are those of media and data channels, whichever pair they came over', () => {
  const entries = report(
    { id: 'V', type: 'inbound-rtp', bytesReceived: 1000, headerBytesReceived: 120 },
    { id: 'A', type: 'inbound-rtp', bytesReceived: 200 },
    { id: 'D', type: 'data-channel', bytesReceived: 30 },
    { id: 'P', type: 'candidate-pair', bytesReceived: 5 },
  );
  assert.equal(bytesReceived(entries), 1350);
});

test('words fall back to English and fill in their values', () => {
  assert.equal(text('en', 'offline'), 'The camera is offline.');
  assert.equal(text('xx-YY', 'latency', { ms: 41 }), '41 ms from the camera’s eye to this screen');
});
