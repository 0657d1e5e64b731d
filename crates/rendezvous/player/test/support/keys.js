// Keys and signatures as node makes them, which shares no code with the player.
import { createPrivateKey, createPublicKey, sign, verify } from 'node:crypto';

/** The Ed25519 key whose private half is this byte 32 times; all texts are base64url. @param {number} byte */
export function keyOf(byte) {
  const secret = Buffer.alloc(32, byte);
  const der = Buffer.concat([Buffer.from('302e020100300506032b657004220420', 'hex'), secret]);
  const key = createPrivateKey({ key: der, format: 'der', type: 'pkcs8' });
  return {
    name: createPublicKey(key).export({ format: 'jwk' }).x,
    secret: secret.toString('base64url'),
    sign: (words) => sign(null, Buffer.from(words), key).toString('base64url'),
    signed: (words, signature) => verify(null, Buffer.from(words), createPublicKey(key), Buffer.from(signature, 'base64url')),
  };
}
