// Reads the clock that the camera draws into its picture (layout: `peercam_media::clock`) off
// what a video element shows. Returns milliseconds since the Unix epoch, or null where no clock
// can be made out with certainty. Run in the page, as the body of a function of `video`.
const cell = Math.max(4, Math.floor(video.videoWidth / 160) * 4);
const width = 32 * cell;
const height = 2 * cell;
if (video.videoWidth < width || video.videoHeight < height) return null;
const canvas = (globalThis.peercamClockCanvas ??= document.createElement('canvas'));
if (canvas.width !== width || canvas.height !== height) {
  canvas.width = width;
  canvas.height = height;
}
const context = canvas.getContext('2d', { willReadFrequently: true });
context.drawImage(video, 0, 0, width, height, 0, 0, width, height);
const { data } = context.getImageData(0, 0, width, height);

// The mean of each cell's inner half; grey is the same in all three colours.
const means = Array.from({ length: 64 }, (_, index) => {
  const left = (index % 32) * cell + cell / 4;
  const top = Math.floor(index / 32) * cell + cell / 4;
  let sum = 0;
  for (let y = top; y < top + cell / 2; y += 1) {
    for (let x = left; x < left + cell / 2; x += 1) sum += data[(y * width + x) * 4 + 1];
  }
  return sum / (cell / 2) ** 2;
});
const marker = [1, 0, 1, 1, 0, 0, 1, 0];
const level = (/** @type {number} */ bit) =>
  means.slice(0, 8).reduce((sum, mean, index) => sum + (marker[index] === bit ? mean : 0), 0) / 4;
const threshold = (level(0) + level(1)) / 2;
if (level(1) - level(0) < 48) return null;
const bits = means.map((mean) => (mean > threshold ? 1 : 0));
if (marker.some((bit, index) => bit !== bits[index])) return null;

// No shifts: these are 48 bits, and bit arithmetic ends at 32.
const number = (/** @type {number[]} */ cells) => cells.reduce((value, bit) => value * 2 + bit, 0);
let check = 0;
for (let start = 8; start < 56; start += 8) {
  check ^= number(bits.slice(start, start + 8));
  for (let turn = 0; turn < 8; turn += 1) check = check & 0x80 ? ((check << 1) & 0xff) ^ 0x07 : check << 1;
}
return check === number(bits.slice(56)) ? number(bits.slice(8, 56)) : null;
