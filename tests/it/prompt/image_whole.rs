//! Pictures that end early or were filled up, transparent ones, and what a picture may take while it is read.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use vgpo::images::{ImageLimits, decode_image};

const LIMITS: ImageLimits = ImageLimits { max_bytes: 1 << 20, max_pixels: 1 << 20 };

/// The files of a folder of fixtures, by name.
fn pictures(folder: &str) -> Vec<(String, PathBuf)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/pictures").join(folder);
    let named = |path: PathBuf| (path.file_name().unwrap().to_string_lossy().into_owned(), path);
    let mut found: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| named(entry.unwrap().path())).collect();
    found.sort();
    found
}

/// Without compression a zero is as good a pixel as any other.
fn is_compressed(name: &str) -> bool {
    !["raw.tif", "plain.bmp"].contains(&name)
}

#[test]
fn a_cut_file_is_refused_or_shows_the_whole_picture() {
    let all = pictures("whole");
    assert!(all.len() >= 15, "{all:?}");
    for (name, path) in all {
        let bytes = std::fs::read(&path).unwrap();
        let whole = decode_image(&bytes, &LIMITS).unwrap_or_else(|error| panic!("{name}: {error}"));
        let mut refused = 0;
        for end in 1..bytes.len() {
            match decode_image(&bytes[..end], &LIMITS) {
                Ok(picture) => assert!(picture == whole, "{name} cut to {end} of {} bytes", bytes.len()),
                Err(_) => refused += 1,
            }
        }
        assert!(refused * 10 > bytes.len() * 9, "{name}: only {refused} of {} cuts are refused", bytes.len());
    }
}

/// A download whose room was laid out before its bytes came.
#[test]
fn a_file_that_was_filled_up_is_refused() {
    for (name, path) in pictures("whole").into_iter().filter(|(name, _)| is_compressed(name)) {
        let bytes = std::fs::read(&path).unwrap();
        for share in [3, 5, 7] {
            let end = bytes.len() * share / 10;
            for filling in [0, 0xff] {
                let mut filled = bytes[..end].to_vec();
                filled.resize(bytes.len(), filling);
                // Ones are data like any other to a format without checksums.
                let told = decode_image(&filled, &LIMITS).is_err();
                let by_chance = filling != 0 && [".webp", ".tif", ".gif"].iter().any(|end| name.ends_with(end));
                assert!(told || by_chance, "{name}: {share} tenths, then {filling}");
            }
        }
    }
}

#[test]
fn a_jpeg_that_ends_early_behind_an_end_mark_is_refused() {
    for (name, path) in pictures("whole").into_iter().filter(|(name, _)| name.ends_with(".jpg")) {
        let bytes = std::fs::read(&path).unwrap();
        let scan = bytes.windows(2).position(|two| two == [0xff, 0xda]).unwrap();
        for end in (scan + 20..bytes.len() - 4).step_by(7) {
            let mut cut = bytes[..end].to_vec();
            cut.extend([0xff, 0xd9]);
            let error = decode_image(&cut, &LIMITS).err().map(|error| error.to_string()).unwrap_or_default();
            assert!(error.contains("cannot be decoded"), "{name}: {end} of {} bytes are taken", bytes.len());
        }
    }
}

#[test]
fn transparent_pictures_lie_on_white() {
    let all = pictures("clear");
    let twins = all.iter().filter(|(name, _)| !name.ends_with(".white.png"));
    let mut compared = 0;
    for (name, path) in twins {
        let twin = path.with_file_name(format!("{}.white.png", name.replace('.', "_")));
        let expected = decode_image(&std::fs::read(&twin).unwrap(), &LIMITS).unwrap();
        let found = decode_image(&std::fs::read(path).unwrap(), &LIMITS).unwrap();
        assert!(found == expected, "{name} differs from what Pillow lays on white");
        compared += 1;
    }
    assert!(compared >= 10, "{compared}");
}

/// Sixteen bits a channel come down to eight before they are blended.
#[test]
fn deep_transparent_pictures_lie_on_white() {
    let mut bytes = std::io::Cursor::new(Vec::new());
    let deep = image::ImageBuffer::from_fn(4, 1, |x, _| image::Rgba([0_u16, 65_535, 30_000, x as u16 * 21_845]));
    image::DynamicImage::from(deep).write_to(&mut bytes, image::ImageFormat::Png).unwrap();
    let found = decode_image(bytes.get_ref(), &LIMITS).unwrap();
    let row: Vec<_> = found.pixels().map(|pixel| pixel.0).collect();
    assert_eq!((row[0], row[3]), ([255, 255, 255], [0, 255, 117]));
    assert_eq!((row[1][0], row[2][0]), (170, 85));
}

/// A PNG of one grey pixel with one more chunk before its data.
fn with_chunk(name: [u8; 4], body: &[u8]) -> Vec<u8> {
    let mut crc = flate2::Crc::new();
    crc.update(&name);
    crc.update(body);
    let mut bytes = std::io::Cursor::new(Vec::new());
    image::DynamicImage::new_luma8(1, 1).write_to(&mut bytes, image::ImageFormat::Png).unwrap();
    let plain = bytes.into_inner();
    // The first chunk is 25 bytes long and follows eight bytes of signature.
    let (head, tail) = plain.split_at(33);
    let length = (body.len() as u32).to_be_bytes();
    [head, &length, &name, body, &crc.sum().to_be_bytes(), tail].concat()
}

#[test]
fn chunks_that_are_no_pixels_are_never_inflated() {
    let mut packed = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::best());
    packed.write_all(&vec![0; 8 << 20]).unwrap();
    let packed = packed.finish().unwrap();
    for (name, start) in [(*b"iCCP", &b"a\0\0"[..]), (*b"zTXt", b"a\0\0"), (*b"iTXt", b"a\0\x01\0\0\0")] {
        let file = with_chunk(name, &[start, &packed].concat());
        assert_eq!(decode_image(&file, &LIMITS).unwrap().dimensions(), (1, 1));
        // Not even looked at: what cannot be inflated does not matter.
        assert!(decode_image(&with_chunk(name, b"a\0\0broken"), &LIMITS).is_ok());
    }
}

#[test]
fn deep_colours_count_by_their_bytes() {
    let mut bytes = std::io::Cursor::new(Vec::new());
    let deep = image::ImageBuffer::from_pixel(40, 40, image::Rgba([1_u16; 4]));
    image::DynamicImage::from(deep).write_to(&mut bytes, image::ImageFormat::Png).unwrap();
    let just = ImageLimits { max_pixels: 3200, ..LIMITS };
    assert!(decode_image(bytes.get_ref(), &just).is_ok());
    let error = decode_image(bytes.get_ref(), &ImageLimits { max_pixels: 3199, ..LIMITS }).unwrap_err().to_string();
    assert!(error.contains("40 x 40 pixels of 8 bytes") && error.contains("8 bits a channel"), "{error}");
}
