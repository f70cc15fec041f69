//! Hostile inputs out of good ones: the changes that parsers get wrong.

/// Words that mean something to one of the parsers.
const WORDS: &[&str] = &[
    "{{",
    "}}",
    "{%",
    "%}",
    "{#",
    "#}",
    "{% for i in range(9999) %}",
    "{% endfor %}",
    "{% if prompt %}",
    "{% endif %}",
    "{% set x = x ~ x %}",
    "namespace(x=1)",
    "{% macro f() %}{{ f() }}{% endmacro %}",
    "|batch(",
    "|indent(",
    "|center(",
    "|join(",
    "|replace(\"a\", prompt)",
    "\"a\" * 99999999",
    "**",
    " ~ ",
    "prompt",
    "messages",
    "loop.index",
    "raise_exception('x')",
    "tojson",
    "\\frac{",
    "\\sqrt[",
    "\\boxed{",
    "\\left(",
    "\\right)",
    "\\pi",
    "\\infty",
    "^{",
    "_{",
    "\\text{",
    "\\%",
    "<think>",
    "</think>",
    "(((((((((((((((((((((((((((((((",
    ")))))))))))",
    "[[[[[[[[[[[[[[[[[",
    "{\"a\":",
    "\"images\":",
    "\"problem\":",
    "null",
    "true",
    "1e999",
    "-1e-999",
    "99999999999999999999",
    "-9223372036854775808",
    "0.1",
    "NaN",
    "Infinity",
    "\\u0000",
    "\\ud800",
    "data:image/png;base64,",
    "../",
    "/etc/passwd",
    "PAR1",
    "IHDR",
    "IDAT",
    "acTL",
    "Exif\0\0",
    "VP8X",
    "ANIM",
    "II*\0",
    "PK\x03\x04",
    "PK\x01\x02",
    "PK\x05\x06",
    "<|im_end|>",
    "<image>",
    "a..b",
    "×",
    "％",
    "٣",
    "\u{202e}",
    "½",
    "{1,2,3}",
    "1:2",
    "[1, 2, 3, 4]",
];
/// Numbers at the edges of their kinds.
const EDGES: [u64; 12] =
    [0, 1, 0x7f, 0x80, 0xff, 0x7fff, 0xffff, 0x7fff_ffff, 0x8000_0000, 0xffff_ffff, 0x7fff_ffff_ffff_ffff, u64::MAX];
/// Longer inputs are cut: what is slow because it is long tells nothing.
pub const MAX_BYTES: usize = 1 << 16;

/// A small generator of numbers; the same seed gives the same inputs on every machine.
pub struct Rng(u64);

impl Rng {
    /// Numbers of a seed.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number (`SplitMix64`).
    pub fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `limit`; 0 where there is none.
    pub fn below(&mut self, limit: usize) -> usize {
        if limit == 0 { 0 } else { (self.roll() % limit as u64) as usize }
    }

    /// One of `choices`.
    pub fn pick<'a, T>(&mut self, choices: &'a [T]) -> &'a T {
        &choices[self.below(choices.len())]
    }
}

/// `input` after one to eight changes; `other` lends pieces.
pub fn mutate(rng: &mut Rng, input: &[u8], other: &[u8]) -> Vec<u8> {
    let mut bytes = input.to_vec();
    for _ in 0..=rng.below(8) {
        change(rng, &mut bytes, other);
    }
    bytes.truncate(MAX_BYTES);
    bytes
}

fn change(rng: &mut Rng, bytes: &mut Vec<u8>, other: &[u8]) {
    let at = rng.below(bytes.len() + 1);
    let magnitude = rng.below(12);
    let span = rng.below(1 << magnitude).min(bytes.len() - at);
    match rng.below(11) {
        0 if at < bytes.len() => bytes[at] ^= 1 << rng.below(8),
        1 if at < bytes.len() => bytes[at] = rng.roll() as u8,
        2 => drop(bytes.drain(at..at + span)),
        3 => {
            let copy = bytes[at..at + span].to_vec();
            bytes.splice(at..at, copy);
        }
        4 => {
            let word = rng.pick(WORDS).as_bytes().to_vec();
            bytes.splice(at..at, word);
        }
        5 => {
            let word = rng.pick(WORDS).as_bytes();
            let end = (at + word.len()).min(bytes.len());
            bytes.splice(at..end, word.iter().copied());
        }
        6 => edge(rng, bytes, at),
        7 => {
            let from = rng.below(other.len() + 1);
            let piece = &other[from..(from + rng.below(256)).min(other.len())];
            bytes.splice(at..at, piece.iter().copied());
        }
        8 => bytes.truncate(at),
        9 => {
            let times = rng.below(200);
            let piece = bytes[at..at + span.min(16)].repeat(times);
            bytes.splice(at..at, piece);
        }
        _ => digits(rng, bytes, at),
    }
}

/// Writes a number at the edge of its kind over the bytes at `at`.
fn edge(rng: &mut Rng, bytes: &mut [u8], at: usize) {
    let (value, width, turned) = (*rng.pick(&EDGES), *rng.pick(&[1, 2, 4, 8]), rng.below(2) == 0);
    let raw = if turned { value.to_be_bytes()[8 - width..].to_vec() } else { value.to_le_bytes()[..width].to_vec() };
    for (place, byte) in bytes.iter_mut().skip(at).zip(raw) {
        *place = byte;
    }
}

/// Puts another number in the place of the first one behind `at`.
fn digits(rng: &mut Rng, bytes: &mut Vec<u8>, at: usize) {
    let Some(start) = bytes.iter().skip(at).position(u8::is_ascii_digit).map(|found| found + at) else { return };
    let end = start + bytes[start..].iter().take_while(|byte| byte.is_ascii_digit()).count();
    let number = rng.pick(&EDGES).to_string();
    bytes.splice(start..end, number.into_bytes());
}
