//! Images from outside: unreadable, huge, disguised.

use std::io::Cursor;

use base64::Engine;
use image::{DynamicImage, ImageFormat, RgbImage};
use proptest::prelude::*;
use vgpo::prompt::{ImageLimits, PromptError, data_url, decode_image};

const LIMITS: ImageLimits = ImageLimits { max_bytes: 1 << 20, max_pixels: 1 << 20 };

fn encoded(width: u32, height: u32, format: ImageFormat) -> Vec<u8> {
    let picture = RgbImage::from_fn(width, height, |x, y| image::Rgb([x as u8, y as u8, 7]));
    let mut bytes = Cursor::new(Vec::new());
    DynamicImage::from(picture).write_to(&mut bytes, format).unwrap();
    bytes.into_inner()
}

fn problem(bytes: &[u8], limits: &ImageLimits) -> String {
    let error = decode_image(bytes, limits).unwrap_err();
    assert!(matches!(error, PromptError::Image(_)) && error.is_input());
    error.to_string()
}

#[test]
fn the_usual_formats_are_read() {
    for format in [ImageFormat::Png, ImageFormat::Bmp, ImageFormat::WebP, ImageFormat::Gif, ImageFormat::Jpeg] {
        let picture = decode_image(&encoded(20, 10, format), &LIMITS).unwrap();
        assert_eq!(picture.dimensions(), (20, 10), "{format:?}");
    }
}

/// A header that promises 60,000 x 60,000 pixels, followed by nothing: refused by the header, with the numbers.
#[test]
fn a_bomb_is_refused_before_decoding() {
    let mut bytes = encoded(4, 4, ImageFormat::Png);
    bytes[16..20].copy_from_slice(&60_000u32.to_be_bytes());
    bytes[20..24].copy_from_slice(&60_000u32.to_be_bytes());
    let crc = crc32(&bytes[12..29]);
    bytes[29..33].copy_from_slice(&crc.to_be_bytes());
    let message = problem(&bytes, &LIMITS);
    assert!(
        message.contains("60000 x 60000") && message.contains("3600000000") && message.contains("1048576"),
        "{message}"
    );
}

/// Every format has a place for its size, and each is believed no further than the limit.
#[test]
fn other_formats_make_no_bombs_either() {
    let patched = |format: ImageFormat, changes: &[(usize, &[u8])]| {
        let mut bytes = encoded(4, 4, format);
        for (at, value) in changes {
            bytes[*at..at + value.len()].copy_from_slice(value);
        }
        bytes
    };
    let huge = 60_000u32.to_le_bytes();
    let jpeg = encoded(4, 4, ImageFormat::Jpeg);
    let frame = jpeg.windows(2).position(|two| two == [0xff, 0xc0]).unwrap();
    let tiff = encoded(4, 4, ImageFormat::Tiff);
    let tags = u32::from_le_bytes(tiff[4..8].try_into().unwrap()) as usize;
    // The first two tags are width and height, twelve bytes each with the value last.
    for (format, changes) in [
        (ImageFormat::Bmp, vec![(18, &huge[..]), (22, &huge[..])]),
        (ImageFormat::Gif, vec![(6, &[0xff, 0xff, 0xff, 0xff][..])]),
        (ImageFormat::Jpeg, vec![(frame + 5, &[0xea, 0x60, 0xea, 0x60][..])]),
        (ImageFormat::WebP, vec![(21, &[0xff, 0xff, 0xff, 0x0f][..])]),
        (ImageFormat::Tiff, vec![(tags + 10, &huge[..]), (tags + 22, &huge[..])]),
    ] {
        let message = problem(&patched(format, &changes), &LIMITS);
        let refused =
            ["pixels, the limit is", "cannot be decoded", "it is empty"].iter().any(|told| message.contains(told));
        assert!(refused, "{format:?}: {message}");
    }
}

fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |c, _| if c & 1 == 1 { (c >> 1) ^ 0xEDB8_8320 } else { c >> 1 })
    })
}

#[test]
fn bad_files_are_named() {
    assert!(problem(&[], &LIMITS).contains("no bytes"));
    assert!(problem(b"hello world, no image", &LIMITS).contains("PNG, JPEG"));
    let whole = encoded(40, 40, ImageFormat::Png);
    assert!(problem(&whole[..whole.len() / 2], &LIMITS).contains("cannot be decoded"));
    let small = ImageLimits { max_bytes: 50, ..LIMITS };
    let message = problem(&whole, &small);
    assert!(message.contains(&whole.len().to_string()) && message.contains("50"), "{message}");
    let few = ImageLimits { max_pixels: 1599, ..LIMITS };
    assert!(problem(&whole, &few).contains("1600 pixels, the limit is 1599"));
    assert!(decode_image(&whole, &ImageLimits { max_pixels: 1600, ..LIMITS }).is_ok());
}

#[test]
fn data_urls() {
    let png = encoded(3, 2, ImageFormat::Png);
    let data = base64::engine::general_purpose::STANDARD.encode(&png);
    for url in [
        format!("data:image/png;base64,{data}"),
        format!("DATA:image/png;charset=utf-8;base64,{}", data.trim_end_matches('=')),
        format!("data:;base64,{}\n{}", &data[..8], &data[8..]),
    ] {
        assert_eq!(data_url(&url).unwrap(), png);
    }
    for (url, word) in [
        ("https://example.org/a.png", "not fetched"),
        ("data:image/png;base64", "missing the comma"),
        ("data:image/png,abc", "not marked as base64"),
        ("data:text/html;base64,YQ==", "text/html"),
        ("data:image/png;base64,@@@@", "invalid"),
        ("", "not a `data:` URL"),
        ("дата:", "not a `data:` URL"),
    ] {
        let error = data_url(url).unwrap_err();
        assert!(error.to_string().contains(word), "{url}: {error}");
    }
}

proptest! {
    #[test]
    fn any_bytes_are_an_image_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = decode_image(&bytes, &LIMITS);
    }

    #[test]
    fn a_damaged_file_never_panics(at in 0usize..200, value in any::<u8>(), which in 0usize..4) {
        let formats = [ImageFormat::Png, ImageFormat::Jpeg, ImageFormat::Gif, ImageFormat::Tiff];
        let mut bytes = encoded(9, 7, formats[which]);
        let at = at % bytes.len();
        bytes[at] = value;
        if let Ok(picture) = decode_image(&bytes, &LIMITS) {
            prop_assert!(u64::from(picture.width()) * u64::from(picture.height()) <= LIMITS.max_pixels);
        }
    }

    #[test]
    fn any_text_is_a_data_url_or_an_error(text in "\\PC{0,60}") {
        let _ = data_url(&text);
        let _ = data_url(&format!("data:{text}"));
    }
}
