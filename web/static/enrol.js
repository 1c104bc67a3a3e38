/* The person's key: made here, kept here, handed over here. Key and password never leave the browser.
 *
 * Until the certificate is there, the key waits in this origin's IndexedDB, encrypted under the person's password. Then
 * key and certificate become one PKCS#12 file (RFC 7292; PBES2 of RFC 8018 with AES-256-CBC and HMAC-SHA-256), and the
 * waiting copy is deleted. Everything is the browser's own WebCrypto; this file only arranges DER.
 */

export const WAITING_ITERATIONS = 600_000;
export const BAG_ITERATIONS = 210_000;
export const MAC_ITERATIONS = 50_000;

const subtle = globalThis.crypto.subtle;
const random = (size) => crypto.getRandomValues(new Uint8Array(size));
const utf8 = (text) => new TextEncoder().encode(text);
const sha256 = async (data) => new Uint8Array(await subtle.digest("SHA-256", data));
const CURVE = { name: "ECDSA", namedCurve: "P-256" };

/* ---- DER (X.690) ---- */

function join(parts) {
  const whole = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  parts.reduce((at, part) => (whole.set(part, at), at + part.length), 0);
  return whole;
}

function tlv(tag, ...parts) {
  const body = join(parts);
  const length = [];
  for (let rest = body.length; rest > 0; rest >>>= 8) length.unshift(rest & 0xff);
  const head = body.length < 0x80 ? [tag, body.length] : [tag, 0x80 | length.length, ...length];
  return join([Uint8Array.from(head), body]);
}

const sequence = (...parts) => tlv(0x30, ...parts);
const set = (...parts) => tlv(0x31, ...parts.sort((a, b) => (hex(a) < hex(b) ? -1 : 1)));
const octets = (data) => tlv(0x04, data);
const bits = (data) => tlv(0x03, Uint8Array.of(0), data);
const context = (number, ...parts) => tlv(0xa0 | number, ...parts);
const NULL = Uint8Array.of(5, 0);

/** INTEGER from big-endian unsigned octets: shortest form, never negative. */
function integer(value) {
  let data = typeof value === "number" ? Uint8Array.of(value >>> 24, value >>> 16, value >>> 8, value) : value;
  while (data.length > 1 && data[0] === 0) data = data.slice(1);
  return data[0] & 0x80 ? tlv(2, Uint8Array.of(0), data) : tlv(2, data);
}

function oid(dotted) {
  const [first, second, ...rest] = dotted.split(".").map(Number);
  const body = [first * 40 + second];
  for (const arc of rest) {
    const septets = [arc & 0x7f];
    for (let high = Math.floor(arc / 128); high > 0; high = Math.floor(high / 128)) septets.unshift((high & 0x7f) | 0x80);
    body.push(...septets);
  }
  return tlv(6, Uint8Array.from(body));
}

const OID = {
  commonName: oid("2.5.4.3"),
  ecdsaWithSha256: oid("1.2.840.10045.4.3.2"),
  data: oid("1.2.840.113549.1.7.1"),
  encryptedData: oid("1.2.840.113549.1.7.6"),
  shroudedKeyBag: oid("1.2.840.113549.1.12.10.1.2"),
  certBag: oid("1.2.840.113549.1.12.10.1.3"),
  x509Certificate: oid("1.2.840.113549.1.9.22.1"),
  friendlyName: oid("1.2.840.113549.1.9.20"),
  localKeyId: oid("1.2.840.113549.1.9.21"),
  pbes2: oid("1.2.840.113549.1.5.13"),
  pbkdf2: oid("1.2.840.113549.1.5.12"),
  hmacWithSha256: oid("1.2.840.113549.2.9"),
  aes256Cbc: oid("2.16.840.1.101.3.4.1.42"),
  sha256: oid("2.16.840.1.101.3.4.2.1"),
};

/** The pieces of a DER value: `[{tag, whole, body}]`, one per element on its first level. */
function children(der) {
  const found = [];
  for (let at = 0; at < der.length; ) {
    let length = der[at + 1];
    let start = at + 2;
    if (length & 0x80) {
      const size = length & 0x7f;
      length = der.slice(start, start + size).reduce((sum, octet) => sum * 256 + octet, 0);
      start += size;
    }
    if (start + length > der.length) throw new Error("certificate is cut short");
    found.push({ tag: der[at], whole: der.slice(at, start + length), body: der.slice(start, start + length) });
    at = start + length;
  }
  return found;
}

/** The subjectPublicKeyInfo of a certificate (RFC 5280 section 4.1): the sixth field after the optional version. */
export function publicKeyOf(certificate) {
  const fields = children(children(children(certificate)[0].body)[0].body);
  return fields[fields[0].tag === 0xa0 ? 6 : 5].whole;
}

export const hex = (data) => Array.from(data, (octet) => octet.toString(16).padStart(2, "0")).join("");

export function pem(label, der) {
  const lines = btoa(String.fromCharCode(...der)).match(/.{1,64}/g).join("\n");
  return `-----BEGIN ${label}-----\n${lines}\n-----END ${label}-----\n`;
}

/** Every certificate of a PEM text, in its order. */
export function certificatesOf(text) {
  const blocks = text.match(/-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g) ?? [];
  return blocks.map((block) => Uint8Array.from(atob(block.replace(/-----[^-]+-----|\s/g, "")), (c) => c.charCodeAt(0)));
}

/* ---- the certificate request (RFC 2986) ---- */

/** WebCrypto gives r and s side by side; X.509 wants Ecdsa-Sig-Value (RFC 3279 section 2.2.3). */
const signatureValue = (raw) => sequence(integer(raw.slice(0, 32)), integer(raw.slice(32)));

/** PKCS#10 with proof of possession. The name says nothing: names come from the directory. */
export async function certificateRequest(pair) {
  const name = sequence(set(sequence(OID.commonName, tlv(0x0c, utf8("Yumen")))));
  const spki = new Uint8Array(await subtle.exportKey("spki", pair.publicKey));
  const info = sequence(integer(0), name, spki, tlv(0xa0));
  const raw = new Uint8Array(await subtle.sign({ name: "ECDSA", hash: "SHA-256" }, pair.privateKey, info));
  return sequence(info, sequence(OID.ecdsaWithSha256), bits(signatureValue(raw)));
}

/* ---- keys from passwords ---- */

async function derived(password, salt, iterations, algorithm, usage) {
  const material = await subtle.importKey("raw", utf8(password), "PBKDF2", false, ["deriveKey"]);
  return subtle.deriveKey({ name: "PBKDF2", hash: "SHA-256", salt, iterations }, material, { name: algorithm, length: 256 }, false, [usage]);
}

/** PBES2 (RFC 8018 section 6.2): the algorithm identifier and the encrypted octets. */
async function pbes2(password, plain) {
  const salt = random(16);
  const iv = random(16);
  const key = await derived(password, salt, BAG_ITERATIONS, "AES-CBC", "encrypt");
  const encrypted = new Uint8Array(await subtle.encrypt({ name: "AES-CBC", iv }, key, plain));
  const kdf = sequence(OID.pbkdf2, sequence(octets(salt), integer(BAG_ITERATIONS), integer(32), sequence(OID.hmacWithSha256, NULL)));
  return [sequence(OID.pbes2, sequence(kdf, sequence(OID.aes256Cbc, octets(iv)))), encrypted];
}

function bmp(text) {
  const units = Array.from({ length: text.length }, (_, at) => text.charCodeAt(at));
  return Uint8Array.from(units.flatMap((unit) => [unit >> 8, unit & 0xff]));
}

/** RFC 7292 appendix B.2 with SHA-256 and ID 3: its 32 octets are one block, so the loop over I is not needed. */
export async function macKey(password, salt, iterations) {
  const filled = (data) => Uint8Array.from({ length: Math.ceil(data.length / 64) * 64 }, (_, at) => data[at % data.length]);
  let key = join([new Uint8Array(64).fill(3), filled(salt), filled(join([bmp(password), Uint8Array.of(0, 0)]))]);
  for (let round = 0; round < iterations; round += 1) key = await sha256(key);
  return key;
}

/* ---- PKCS#12 (RFC 7292) ---- */

const contentInfo = (type, content) => sequence(type, context(0, content));
const attribute = (type, value) => sequence(type, set(value));

function certificateBag(certificate, attributes) {
  const bag = sequence(OID.x509Certificate, context(0, octets(certificate)));
  return sequence(OID.certBag, context(0, bag), ...(attributes ? [attributes] : []));
}

/** One file with the key (PKCS#8), its certificate and the certificates above it, under `password`. */
export async function pkcs12(pkcs8, certificates, password, label) {
  const keyId = await sha256(certificates[0]);
  const attributes = set(attribute(OID.friendlyName, tlv(0x1e, bmp(label))), attribute(OID.localKeyId, octets(keyId)));
  const [keyAlgorithm, keyOctets] = await pbes2(password, pkcs8);
  const keyBag = sequence(OID.shroudedKeyBag, context(0, sequence(keyAlgorithm, octets(keyOctets))), attributes);
  const bags = certificates.map((certificate, at) => certificateBag(certificate, at === 0 ? attributes : null));
  const [certAlgorithm, certOctets] = await pbes2(password, sequence(...bags));
  const encrypted = sequence(integer(0), sequence(OID.data, certAlgorithm, tlv(0x80, certOctets)));
  const safe = sequence(contentInfo(OID.encryptedData, encrypted), contentInfo(OID.data, octets(sequence(keyBag))));
  const salt = random(16);
  const key = await subtle.importKey("raw", await macKey(password, salt, MAC_ITERATIONS), { name: "HMAC", hash: "SHA-256" }, false, ["sign"]);
  const mac = new Uint8Array(await subtle.sign("HMAC", key, safe));
  const macData = sequence(sequence(sequence(OID.sha256, NULL), octets(mac)), octets(salt), integer(MAC_ITERATIONS));
  return sequence(integer(3), contentInfo(OID.data, octets(safe)), macData);
}

/* ---- the waiting key ---- */

function store(mode, work) {
  return new Promise((resolve, reject) => {
    const opening = indexedDB.open("yumen", 1);
    opening.onupgradeneeded = () => opening.result.createObjectStore("waiting", { keyPath: "id" });
    opening.onerror = () => reject(opening.error);
    opening.onsuccess = () => {
      const transaction = opening.result.transaction("waiting", mode, { durability: "strict" });
      const request = work(transaction.objectStore("waiting"));
      const close = (settle) => () => (opening.result.close(), settle());
      transaction.oncomplete = close(() => resolve(request.result));
      transaction.onabort = close(() => reject(transaction.error));
    };
  });
}

/** Make a key, put it to wait under `password`, and give its certificate request and its id (SHA-256 of the public key). */
export async function begin(password) {
  const pair = await subtle.generateKey(CURVE, true, ["sign", "verify"]);
  const spki = new Uint8Array(await subtle.exportKey("spki", pair.publicKey));
  const id = hex(await sha256(spki));
  const salt = random(16);
  const iv = random(12);
  const wrapping = await derived(password, salt, WAITING_ITERATIONS, "AES-GCM", "encrypt");
  const plain = await subtle.exportKey("pkcs8", pair.privateKey);
  const sealed = new Uint8Array(await subtle.encrypt({ name: "AES-GCM", iv, additionalData: utf8(id) }, wrapping, plain));
  await store("readwrite", (keys) => keys.put({ id, salt, iv, sealed, iterations: WAITING_ITERATIONS, at: Date.now() }));
  return { id, csr: pem("CERTIFICATE REQUEST", await certificateRequest(pair)) };
}

/** Whether the key `id` waits in this browser. */
export const waits = async (id) => (await store("readonly", (keys) => keys.getKey(id))) !== undefined;

/** Delete the waiting key `id`; nothing happens when there is none. */
export const forget = (id) => store("readwrite", (keys) => keys.delete(id));

/** The name of the failure, so that the page can put it into the reader's language. */
export class EnrolmentError extends Error {}

/** The PKCS#12 file of the waiting key `id` with `chain` (PEM, leaf first). The key goes on waiting until `forget`. */
export async function finish(id, chain, password, label) {
  const waiting = await store("readonly", (keys) => keys.get(id));
  if (!waiting) throw new EnrolmentError("no-key");
  const certificates = certificatesOf(chain);
  if (hex(await sha256(publicKeyOf(certificates[0]))) !== id) throw new EnrolmentError("other-key");
  const wrapping = await derived(password, waiting.salt, waiting.iterations, "AES-GCM", "decrypt");
  const unsealed = { name: "AES-GCM", iv: waiting.iv, additionalData: utf8(id) };
  const pkcs8 = await subtle.decrypt(unsealed, wrapping, waiting.sealed).catch(() => {
    throw new EnrolmentError("wrong-password");
  });
  return pkcs12(new Uint8Array(pkcs8), certificates, password, label);
}
