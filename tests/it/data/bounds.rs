//! What a small file may make of itself: rows and pictures are counted while they are made.

use std::io::Write as _;
use std::sync::Arc;

use base64::Engine as _;
use parquet::basic::{Compression, GzipLevel, ZstdLevel};
use parquet::data_type::{ByteArray, ByteArrayType};
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;
use serde_json::json;
use vgpo::data::files::unpack;
use vgpo::data::{Dataset as _, Split};
use vgpo::domain::dataset::{DatasetLimits, SplitRule};

use super::files::{LIMITS, Place, png, settings};

/// A file whose rows all have the same prompt of `cell` bytes and `tags` tags of as many: it says everything once.
fn repeating(cell: usize, rows: usize, tags: usize, codec: Compression, dictionary: bool) -> Vec<u8> {
    let schema = "message rows { required binary problem (UTF8); required binary answer (UTF8);
        optional group tags (LIST) { repeated group list { required binary element (UTF8); } } }";
    let properties = WriterProperties::builder()
        .set_compression(codec)
        .set_dictionary_enabled(dictionary)
        .set_dictionary_page_size_limit(1 << 30)
        .set_data_page_size_limit(1 << 30)
        .build();
    let mut bytes = Vec::new();
    let mut file =
        SerializedFileWriter::new(&mut bytes, Arc::new(parse_message_type(schema).unwrap()), Arc::new(properties))
            .unwrap();
    let mut group = file.next_row_group().unwrap();
    let text = ByteArray::from("x".repeat(cell).into_bytes());
    let levels: Vec<i16> = (0..rows).flat_map(|_| (0..tags).map(|at| i16::from(at > 0))).collect();
    for (values, levels) in [
        (vec![text.clone(); rows], None),
        (vec![ByteArray::from("5"); rows], None),
        (vec![text; rows * tags], Some((vec![2; rows * tags], levels))),
    ] {
        let mut column = group.next_column().unwrap().unwrap();
        let (defined, repeated) = levels.unzip();
        let defined = if tags == 0 { repeated.as_ref().map(|_: &Vec<i16>| vec![0; rows]) } else { defined };
        let repeated = if tags == 0 { defined.clone() } else { repeated };
        column.typed::<ByteArrayType>().write_batch(&values, defined.as_deref(), repeated.as_deref()).unwrap();
        column.close().unwrap();
    }
    group.close().unwrap();
    file.close().unwrap();
    bytes
}

fn zstd() -> Compression {
    Compression::ZSTD(ZstdLevel::default())
}

#[test]
fn rows_of_a_dictionary_are_read_one_by_one() {
    let place = Place::new();
    place.write("rows.parquet", repeating(1000, 5000, 0, zstd(), true));
    let data = place.open(|s| s.split = SplitRule::Train);
    assert_eq!(data.len(Split::Train), 5000);
    for row in [4999, 0, 2500, 2499] {
        let example = data.example(Split::Train, row).unwrap();
        assert_eq!((example.prompt.len(), example.source.unwrap().row), (1000, row + 1));
    }
}

#[test]
fn one_row_cannot_repeat_an_entry_without_bound() {
    let place = Place::new();
    place.write("rows.parquet", repeating(1000, 2, 60, zstd(), true));
    assert!(place.prepare(&settings(|_| ())).is_valid(), "60,000 bytes are within the limit of 65,536");
    place.write("rows.parquet", repeating(1000, 2, 70, zstd(), true));
    let (_, problem) = place.fault();
    assert!(problem.contains("70000 bytes in one column; the limit is 65536"), "{problem}");
    place.write("rows.parquet", repeating(0, 1, 70_000, zstd(), true));
    let (_, problem) = place.fault();
    assert!(problem.contains("70000 values in one column"), "{problem}");
}

#[test]
fn pages_are_judged_before_they_are_inflated() {
    for codec in [zstd(), Compression::GZIP(GzipLevel::default()), Compression::SNAPPY] {
        let place = Place::new();
        let bytes = repeating(1000, 3000, 0, codec, false);
        place.write("rows.parquet", &bytes);
        let (_, problem) = place.fault();
        assert!(problem.contains("for its pages at once; the limit is 1048576"), "{codec}: {problem}");
    }
}

/// The header says how large a page is, and gzip gives what it likes.
#[test]
fn a_page_of_gzip_is_as_large_as_it_says() {
    let bytes = repeating(1000, 1000, 0, Compression::GZIP(GzipLevel::default()), false);
    // The size of the first page, 1,004,000 bytes, as Thrift writes it, and a smaller number of the same length.
    let (size, less) = (varint(1_004_000 * 2), varint(900_000 * 2));
    let at = bytes.windows(size.len()).position(|window| window == size).unwrap();
    let mut lying = bytes.clone();
    lying[at..at + less.len()].copy_from_slice(&less);
    let place = Place::new();
    place.write("rows.parquet", lying);
    let (_, problem) = place.fault();
    assert!(problem.contains("more than the 900000 bytes that its header promises"), "{problem}");
}

fn varint(mut value: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while value >= 0x80 {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
    bytes
}

#[test]
fn pictures_of_a_row_are_bounded_together() {
    let place = Place::new();
    place.write("a.png", png(70, 70));
    let row = |count: usize| json!({"problem": "x", "answer": 1, "images": vec!["a.png"; count]});
    place.rows("rows.jsonl", &[row(2), row(1)]);
    assert!(place.prepare(&settings(|_| ())).is_valid());
    place.rows("rows.jsonl", &[row(3)]);
    let (_, problem) = place.fault();
    assert!(problem.contains("image 3: the images of the row have 14700 pixels so far, the limit"), "{problem}");
    place.write("a.png", png(1, 1)).rows("rows.jsonl", &[row(9)]);
    let (_, problem) = place.fault();
    assert!(problem.contains("more than 8 images"), "{problem}");
    let inside = base64::engine::general_purpose::STANDARD.encode(png(70, 70));
    place.rows("rows.jsonl", &[json!({"problem": "x", "answer": 1, "images": vec![json!({"bytes": inside}); 3]})]);
    assert!(place.fault().1.contains("14700 pixels"), "from every source");
}

#[test]
fn a_line_of_many_values_is_refused() {
    let place = Place::new();
    let mut limits = LIMITS;
    limits.row_bytes = 1 << 22;
    place.write(
        "rows.jsonl",
        format!("{{\"problem\": \"x\", \"answer\": 1, \"images\": [{}0]}}\n", "0,".repeat(300_000)),
    );
    let found = place.try_prepare_within(&settings(|_| ()), &limits).unwrap();
    assert!(found.report.errors[0].problem.contains("more than 262144 values"), "{:?}", found.report.errors);
    // What is not read does not count.
    place.write(
        "rows.jsonl",
        format!("{{\"problem\": \"x\", \"answer\": 1, \"other\": [{}0]}}\n", "0,".repeat(300_000)),
    );
    assert!(place.try_prepare_within(&settings(|_| ()), &limits).unwrap().is_valid());
}

#[test]
fn rows_have_a_limit() {
    let place = Place::new();
    place.write("rows.jsonl", "{\"problem\": \"x\", \"answer\": 1}\n".repeat(11));
    let limits = DatasetLimits { rows: 10, ..LIMITS };
    let found = place.try_prepare_within(&settings(|_| ()), &limits).unwrap();
    assert!(found.report.errors[0].problem.contains("more than 10 rows"), "{:?}", found.report.errors);
}

#[test]
fn empty_files_of_a_zip_are_left_out_and_the_disk_keeps_room() {
    let place = Place::new();
    let archive = place.path("../a.zip");
    let mut zip = zip::ZipWriter::new(std::fs::File::create(&archive).unwrap());
    let options = zip::write::SimpleFileOptions::default();
    for n in 0..50 {
        zip.start_file(format!("empty/{n}.png"), options).unwrap();
    }
    zip.start_file("rows.jsonl", options).unwrap();
    zip.write_all(b"{\"problem\": \"x\", \"answer\": 1}\n").unwrap();
    zip.finish().unwrap();
    let out = place.path("../out");
    unpack(&archive, &out, &LIMITS).unwrap();
    let files: Vec<_> = std::fs::read_dir(&out).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(files, ["rows.jsonl"]);
    let full = DatasetLimits { free_bytes: u64::MAX, ..LIMITS };
    let error = unpack(&archive, &place.path("../other"), &full).unwrap_err().to_string();
    assert!(error.contains("bytes left") && error.contains("are kept free"), "{error}");
}
