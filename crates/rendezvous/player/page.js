// @ts-check
// SPDX-License-Identifier: MIT OR Apache-2.0
// What the two pages do around the player: the room's page hands on `?transport=…` and `?transport-fallback=off`,
// what stands behind `#`, and keys; the landing page goes to a room.
import '/player.js';

/** @typedef {import('./player.js').PeercamPlayer} PeercamPlayer */

const player = /** @type {PeercamPlayer|null} */ (document.querySelector('peercam-player'));
if (player) watch(player);
const form = document.querySelector('form');
if (form) land(form);

/** @param {PeercamPlayer} player */
function watch(player) {
  const query = new URLSearchParams(location.search);
  for (const name of ['transport', 'transport-fallback']) {
    const value = query.get(name);
    if (value) player.setAttribute(name, value);
  }
  // It stays in the address, so that loading the page again works, and goes to no server.
  const open = () => {
    const fragment = new URLSearchParams(location.hash.slice(1));
    for (const [name, part] of [['camera-key', 'k'], ['token', 't'], ['viewer-key', 'p']]) {
      const value = fragment.get(part);
      if (value === null) player.removeAttribute(name);
      else player.setAttribute(name, value);
    }
  };
  open();
  addEventListener('hashchange', () => {
    open();
    // By then it has begun anew by itself, unless it was stopped.
    queueMicrotask(() => player.start());
  });
  document.addEventListener('keydown', (event) => {
    if (event.target === document.body) player.handleKey(event);
  });
  const mark = () => {
    document.documentElement.dataset.state = player.stats.state;
  };
  player.addEventListener('statechange', mark);
  mark();
  // Leaving: the camera needn't wait until it notices.
  addEventListener('pagehide', () => player.stop());
  addEventListener('pageshow', ({ persisted }) => persisted && player.start());

  const share = /** @type {HTMLButtonElement|null} */ (document.querySelector('.share'));
  const label = share?.querySelector('span');
  const warning = document.querySelector('dialog');
  // The clipboard is there only over https and on this machine.
  if (!share || !label || !warning || !navigator.clipboard) return;
  share.hidden = false;
  const words = label.textContent;
  /** @param {string} link */
  const copy = async (link) => {
    try {
      await navigator.clipboard.writeText(link);
      label.textContent = 'Copied';
    } catch {
      label.textContent = 'Not allowed';
    }
    setTimeout(() => {
      label.textContent = words;
    }, 2000);
  };
  share.addEventListener('click', () => {
    // Whoever has the token and its key is let in: nothing to hand out by accident.
    warning.returnValue = '';
    if (player.hasAttribute('token')) warning.showModal();
    else copy(location.href);
  });
  warning.addEventListener('close', () => {
    const key = player.getAttribute('camera-key');
    if (warning.returnValue === 'all') copy(location.href);
    else if (warning.returnValue === 'bare') copy(location.href.split('#')[0] + (key ? `#k=${key}` : ''));
  });
}

/** @param {HTMLFormElement} form */
function land(form) {
  const field = /** @type {HTMLInputElement} */ (form.elements.namedItem('room'));
  const hint = /** @type {HTMLElement} */ (document.getElementById('hint'));
  const usual = hint.textContent;
  field.addEventListener('input', () => {
    hint.textContent = usual;
    field.removeAttribute('aria-invalid');
  });
  form.addEventListener('submit', (event) => {
    event.preventDefault();
    const wrong = roomError(field.value);
    if (wrong === null) {
      // What is behind `#` of a link lets its viewer in.
      location.href = `/r/${roomIn(field.value)}${/#.*/.exec(field.value.trim())?.[0] ?? ''}`;
      return;
    }
    hint.textContent = wrong;
    field.setAttribute('aria-invalid', 'true');
    field.focus();
  });
}

/** The room in what a person typed or pasted: its name, or a whole link. @param {string} typed */
function roomIn(typed) {
  const link = /\/r\/([^/?#]+)/.exec(typed);
  return (link ? link[1] : typed).trim().toLowerCase();
}

/** What is wrong with a room's name (the rules of `RoomId`), or null. @param {string} typed */
function roomError(typed) {
  const room = roomIn(typed);
  if (room === '') return 'Enter the name of a room.';
  if (room.length > 64) return `A room’s name has at most 64 characters, this one has ${room.length}.`;
  const odd = /[^a-z0-9_.-]/.exec(room);
  if (odd) return `${odd[0] === ' ' ? 'A space' : `“${odd[0]}”`} can’t be in a room’s name: use letters, digits, “-”, “_” and “.”.`;
  if (!/^[a-z0-9]/.test(room)) return 'A room’s name begins with a letter or a digit.';
  return null;
}
