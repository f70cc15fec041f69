//! Data sets in files: JSON lines, zip and Parquet.

use std::io::{Cursor, Write as _};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use image::{DynamicImage, ImageFormat, RgbImage};
use serde_json::{Value, json};
use vgpo::config;
use vgpo::data::files::{Prepared, Preparing, prepare, unpack};
use vgpo::data::{DataError, Dataset, FileDataset, Split};
use vgpo::domain::dataset::{DatasetLimits, DatasetSettings, SplitRule};

pub const LIMITS: DatasetLimits = DatasetLimits {
    upload_bytes: 1 << 30,
    unpacked_bytes: 1 << 20,
    files: 100,
    image_bytes: 1 << 20,
    image_pixels: 10_000,
    row_bytes: 1 << 16,
    row_group_bytes: 1 << 20,
    row_images: 8,
    rows: 100_000,
    free_bytes: 0,
};

pub fn png(width: u32, height: u32) -> Vec<u8> {
    let picture = RgbImage::from_fn(width, height, |x, y| image::Rgb([x as u8, y as u8, 7]));
    let mut bytes = Cursor::new(Vec::new());
    DynamicImage::from(picture).write_to(&mut bytes, ImageFormat::Png).unwrap();
    bytes.into_inner()
}

pub fn settings(change: impl FnOnce(&mut DatasetSettings)) -> DatasetSettings {
    let mut settings = config::datasets::settings();
    change(&mut settings);
    settings
}

/// A folder of files, and a folder for the index.
pub struct Place {
    folder: tempfile::TempDir,
}

impl Place {
    pub fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("in")).unwrap();
        Self { folder }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        let path = self.folder.path().join("in").join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        path
    }

    pub fn write(&self, name: &str, bytes: impl AsRef<[u8]>) -> &Self {
        std::fs::write(self.path(name), bytes).unwrap();
        self
    }

    pub fn rows(&self, name: &str, rows: &[Value]) -> &Self {
        self.write(name, rows.iter().map(|row| format!("{row}\n")).collect::<String>())
    }

    pub fn index(&self) -> PathBuf {
        self.folder.path().join("index")
    }

    pub fn try_prepare(&self, settings: &DatasetSettings) -> Result<Prepared, DataError> {
        self.try_prepare_within(settings, &LIMITS)
    }

    pub fn try_prepare_within(
        &self,
        settings: &DatasetSettings,
        limits: &DatasetLimits,
    ) -> Result<Prepared, DataError> {
        let source = self.folder.path().join("in");
        let what = Preparing { name: "mine", source: &source, stays: true, settings, limits };
        prepare(&what, &self.index(), &mut |_| true)
    }

    pub fn prepare(&self, settings: &DatasetSettings) -> Prepared {
        self.try_prepare(settings).unwrap()
    }

    /// The only fault of the data set.
    pub fn fault(&self) -> (Option<u64>, String) {
        let found = self.prepare(&settings(|_| ()));
        assert_eq!(found.report.errors.len(), 1, "{:?}", found.report.errors);
        let fault = found.report.errors[0].clone();
        assert!(FileDataset::open(&self.index(), None).is_err(), "an invalid data set cannot be opened");
        (fault.row, fault.problem)
    }

    pub fn open(&self, change: impl FnOnce(&mut DatasetSettings)) -> FileDataset {
        let found = self.prepare(&settings(change));
        assert!(found.is_valid(), "{:?}", found.report.errors);
        FileDataset::open(&self.index(), None).unwrap()
    }
}

pub fn row(number: usize) -> Value {
    json!({"problem": format!("What is {number}?"), "answer": number})
}

#[test]
fn images_come_from_files_data_urls_and_structs() {
    let place = Place::new();
    let base64 = base64::engine::general_purpose::STANDARD.encode(png(30, 10));
    place.write("deep/a.png", png(10, 20)).write("b.png", png(40, 10));
    let images = json!(["a.png", format!("data:image/png;base64,{base64}"), {"bytes": base64, "path": null},
        {"bytes": null, "path": "b.png"}]);
    place.rows("deep/rows.jsonl", &[json!({"problem": "<image><image><image><image>?", "answer": 0.5, "images": images,
        "tags": "hard"}),
        json!({"problem": "one", "answer": true, "images": "deep/a.png", "demonstration": "look", "tags": ["a", "b"]}),
        json!({"problem": "none", "answer": "x"})]);
    let data = place.open(|s| s.split = SplitRule::Train);
    assert_eq!((data.len(Split::Train), data.len(Split::Eval)), (3, 0));
    let first = data.example(Split::Train, 0).unwrap();
    let sizes: Vec<_> = first.images.iter().map(|image| image.dimensions()).collect();
    assert_eq!(sizes, [(10, 20), (30, 10), (30, 10), (40, 10)], "next to the rows, inside them, and from the root");
    assert_eq!((first.answer().as_str(), first.tags.as_slice()), ("0.5", ["hard".to_owned()].as_slice()));
    let second = data.example(Split::Train, 1).unwrap();
    assert_eq!((second.answer().as_str(), second.demonstration.as_deref()), ("true", Some("look")));
    assert_eq!((second.images.len(), second.tags.len()), (1, 2));
    assert!(data.example(Split::Train, 2).unwrap().images.is_empty());
    let error = data.example(Split::Train, 3).unwrap_err().to_string();
    assert!(error.contains("row 3") && error.contains("3 rows"), "{error}");
}

#[test]
fn the_report_counts_and_measures() {
    let place = Place::new();
    place.write("s.png", png(10, 10)).write("m.png", png(20, 10)).write("l.png", png(90, 10));
    let rows = ["s", "m", "l"]
        .map(|name| json!({"problem": "1234", "answer": "1", "images": [format!("{name}.png")], "tags": [name]}));
    let report = place.rows("rows.jsonl", &rows).prepare(&settings(|_| ())).report;
    assert_eq!((report.rows, report.bad_rows, report.images, report.files), (3, 0, 3, 1));
    let width = report.image_width.unwrap();
    assert_eq!((width.min, width.median, width.max), (10, 20, 90));
    assert_eq!((report.prompt_chars.unwrap().max, report.tags["m"]), (4, 1));
}

#[test]
fn every_bad_row_is_told_with_its_number() {
    let huge = json!({"problem": "x", "answer": "y", "images": ["huge.png"]});
    for (line, told) in [
        ("{\"problem\": \"x\"".to_owned(), "not a valid JSON object"),
        ("[1, 2]".to_owned(), "expected an object such as"),
        (
            json!({"question": "x", "answer": 1}).to_string(),
            "there is no column `problem`; there are: question, answer",
        ),
        (json!({"problem": "x"}).to_string(), "there is no column `answer`"),
        (json!({"problem": "x", "answer": null}).to_string(), "column `answer` is null"),
        (json!({"problem": " ", "answer": 1}).to_string(), "column `problem` is empty"),
        (json!({"problem": [{"role": "user"}], "answer": 1}).to_string(), "column `problem` is a list"),
        (json!({"problem": "x", "answer": ""}).to_string(), "column `answer` is empty"),
        (json!({"problem": "x", "answer": {"style": 1}}).to_string(), "an object with the fields style"),
        (json!({"problem": "<image>?", "answer": 1}).to_string(), "1 mark (`<image>`) but column `images` has 0"),
        (json!({"problem": "x", "answer": 1, "images": ["no.png"]}).to_string(), "no file `no.png`"),
        (json!({"problem": "x", "answer": 1, "images": ["../../etc/passwd"]}).to_string(), "leads out"),
        (json!({"problem": "x", "answer": 1, "images": ["/etc/passwd"]}).to_string(), "leads out"),
        (json!({"problem": "x", "answer": 1, "images": ["..\\up.png"]}).to_string(), "leads out"),
        (json!({"problem": "x", "answer": 1, "images": ["link.png"]}).to_string(), "is a link that leads out"),
        (json!({"problem": "x", "answer": 1, "images": ["http://x/y.png"]}).to_string(), "nothing is fetched"),
        (json!({"problem": "x", "answer": 1, "images": ["cut.png"]}).to_string(), "image 1: cannot be decoded"),
        (json!({"problem": "x", "answer": 1, "images": [7]}).to_string(), "image 1: is a number"),
        (json!({"problem": "x", "answer": 1, "split": "fold-3"}).to_string(), "set `split_column` to an empty text"),
        (huge.to_string(), "20000 pixels, the limit is 10000"),
        (json!({"problem": "x".repeat(70_000), "answer": 1}).to_string(), "the limit is 65536"),
    ] {
        let place = Place::new();
        place.write("huge.png", png(200, 100)).write("cut.png", &png(50, 50)[..80]);
        let outside = place.folder.path().join("outside.png");
        std::fs::write(&outside, png(8, 8)).unwrap();
        std::os::unix::fs::symlink(&outside, place.path("link.png")).unwrap();
        place.write("rows.jsonl", format!("{}\n\n{line}\n{}\n", row(1), row(2)));
        let (number, problem) = place.fault();
        assert_eq!(number, Some(3), "{problem}");
        assert!(problem.contains(told), "{problem} should tell: {told}");
    }
}

#[test]
fn lines_survive_marks_line_ends_and_bytes_that_are_no_text() {
    let place = Place::new();
    place.write("a.jsonl", format!("\u{feff}{}\r\n\r\n  \n{}", row(1), row(2)));
    let data = place.open(|s| s.split = SplitRule::Train);
    assert_eq!(data.example(Split::Train, 1).unwrap().prompt, "What is 2?");
    place.write("a.jsonl", b"{\"problem\": \"\xff\"}\n");
    assert!(place.fault().1.contains("not a valid JSON object"));
    place.write("a.jsonl", b"\n \n");
    assert!(place.fault().1.contains("hold no rows"));
    std::fs::remove_file(place.path("a.jsonl")).unwrap();
    assert!(place.fault().1.contains("no data file"));
}

#[test]
fn rows_are_parted_by_column_name_or_lot() {
    let place = Place::new();
    let rows: Vec<_> = (0..20).map(row).collect();
    place.rows("rows.jsonl", &rows);
    let data = place.open(|s| s.eval_share = 0.2);
    assert_eq!((data.len(Split::Train), data.len(Split::Eval)), (16, 4));
    let mut all: Vec<_> = (0..16).map(|i| data.example(Split::Train, i).unwrap().answer()).collect();
    all.extend((0..4).map(|i| data.example(Split::Eval, i).unwrap().answer()));
    all.sort_by_key(|answer| answer.parse::<u64>().unwrap());
    assert_eq!(all, (0..20).map(|n| n.to_string()).collect::<Vec<_>>(), "every row is in one part");
    place.rows("test.jsonl", &rows[..3]);
    let data = place.open(|_| ());
    assert_eq!((data.len(Split::Train), data.len(Split::Eval)), (20, 3));
    std::fs::remove_file(place.path("test.jsonl")).unwrap();
    let mut marked = rows.clone();
    marked[7]["split"] = json!("validation");
    place.rows("rows.jsonl", &marked);
    let data = place.open(|_| ());
    assert_eq!((data.len(Split::Train), data.example(Split::Eval, 0).unwrap().answer().as_str()), (19, "7"));
    let data = place.open(|s| s.split = SplitRule::Eval);
    assert_eq!((data.len(Split::Train), data.len(Split::Eval)), (0, 20));
}

#[test]
fn a_changed_file_is_noticed() {
    let place = Place::new();
    place.write("a.png", png(10, 10));
    place.rows("rows.jsonl", &[json!({"problem": "x", "answer": 1, "images": ["a.png"]}), row(2)]);
    let first = place.open(|_| ()).fingerprint();
    assert_eq!(place.open(|_| ()).fingerprint(), first, "the same files have the same fingerprint");
    let touched = std::fs::read(place.path("a.png")).unwrap();
    place.write("a.png", touched);
    assert_eq!(FileDataset::open(&place.index(), None).unwrap().fingerprint(), first, "only content counts");
    place.write("a.png", png(12, 10));
    let error = FileDataset::open(&place.index(), None).err().unwrap().to_string();
    assert!(error.contains("a.png") && error.contains("register it again"), "{error}");
    assert_ne!(place.open(|_| ()).fingerprint(), first);
    place.rows("rows.jsonl", &[row(1), row(2), row(3)]);
    let error = FileDataset::open(&place.index(), None).err().unwrap().to_string();
    assert!(error.contains("rows.jsonl") && error.contains("bytes instead of"), "{error}");
    assert_ne!(place.open(|_| ()).fingerprint(), place.open(|s| s.seed = 1).fingerprint(), "other rows are held out");
}

fn zip(path: &Path, entries: &[(&str, Vec<u8>)]) {
    let mut zip = zip::ZipWriter::new(std::fs::File::create(path).unwrap());
    for (name, bytes) in entries {
        zip.start_file(*name, zip::write::SimpleFileOptions::default()).unwrap();
        zip.write_all(bytes).unwrap();
    }
    zip.finish().unwrap();
}

#[test]
fn zip_files_unpack_within_limits_and_their_folder() {
    let place = Place::new();
    let archive = place.folder.path().join("a.zip");
    zip(
        &archive,
        &[("set/rows.jsonl", row(1).to_string().into()), ("__MACOSX/x", vec![1]), ("set/.DS_Store", vec![1])],
    );
    unpack(&archive, &place.folder.path().join("in"), &LIMITS).unwrap();
    assert!(place.path("set/rows.jsonl").exists() && !place.path("set/.DS_Store").exists());
    for (entries, told) in [
        (vec![("../evil.jsonl", vec![1])], "leads out"),
        (vec![("/etc/evil", vec![1])], "leads out"),
        (vec![("bomb.jsonl", vec![0; 2 << 20])], "unpacks to more than 1048576 bytes"),
        (vec![("half.jsonl", vec![0; 600_000]), ("other.jsonl", vec![0; 600_000])], "unpacks to more than"),
    ] {
        zip(&archive, &entries);
        let out = tempfile::tempdir().unwrap();
        let error = unpack(&archive, &out.path().join("deep"), &LIMITS).unwrap_err().to_string();
        assert!(error.contains(told), "{error}");
        assert!(!out.path().join("evil.jsonl").exists());
    }
    let mut links = ::zip::ZipWriter::new(std::fs::File::create(&archive).unwrap());
    links.add_symlink("rows.jsonl", "/etc/passwd", ::zip::write::SimpleFileOptions::default()).unwrap();
    links.finish().unwrap();
    let out = tempfile::tempdir().unwrap();
    let error = unpack(&archive, out.path(), &LIMITS).unwrap_err().to_string();
    assert!(error.contains("is a link") && !out.path().join("rows.jsonl").exists(), "{error}");
    let many: Vec<_> = (0..101).map(|n| (format!("{n}"), vec![])).collect();
    zip(&archive, &many.iter().map(|(name, bytes)| (name.as_str(), bytes.clone())).collect::<Vec<_>>());
    let error = unpack(&archive, &place.folder.path().join("x"), &LIMITS).unwrap_err().to_string();
    assert!(error.contains("101 files; the limit is 100"), "{error}");
    std::fs::write(&archive, b"PK\x03\x04 no zip").unwrap();
    assert!(unpack(&archive, &place.folder.path().join("y"), &LIMITS).is_err());
}

fn fixture(name: &str) -> Vec<u8> {
    std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/data").join(name)).unwrap()
}

#[test]
fn parquet_of_hugging_face_datasets() {
    let place = Place::new();
    place.write("train-00000-of-00001.parquet", fixture("hf_list.parquet"));
    let data = place.open(|s| s.split = SplitRule::Train);
    assert_eq!(data.len(Split::Train), 10);
    // Backwards: every row is found whatever was read before.
    for n in (0..10_u32).rev() {
        let example = data.example(Split::Train, u64::from(n)).unwrap();
        assert_eq!(example.answer(), format!("\\boxed{{{n}}}"), "ground truths stay as they are");
        assert_eq!(example.tags, [if n % 2 == 1 { "odd" } else { "even" }]);
        let expected = if n % 2 == 1 {
            format!("<image>Wie groß ist Δ{n}? 数 🎉")
        } else {
            format!("<image><image>Compare {n}.")
        };
        assert_eq!(example.prompt, expected);
        assert_eq!(example.images.len(), if n % 2 == 1 { 1 } else { 2 });
        assert_eq!(example.images[0].dimensions(), (8 + n, 8));
        assert_eq!(example.images[0].get_pixel(0, 0).0, [10 * n as u8, 100, 200]);
    }
}

#[test]
fn parquet_with_other_columns_and_one_image() {
    let place = Place::new();
    place.write("rows.parquet", fixture("hf_single.parquet"));
    let found = place.prepare(&settings(|s| s.columns.prompt = "text".into()));
    let fault = &found.report.errors[0];
    assert_eq!(fault.row, None);
    let told = "no column `text`; there are: question, target, image, image.bytes, image.path";
    assert!(fault.problem.contains(told), "{}", fault.problem);
    assert!(place.prepare(&settings(|_| ())).is_valid(), "the usual names are found");
    let data = place.open(|s| {
        s.columns.prompt = "question".into();
        s.columns.answer = "target".into();
        s.columns.images = "image".into();
    });
    assert_eq!((data.len(Split::Train), data.len(Split::Eval)), (4, 1));
    let example = data.example(Split::Eval, 0).unwrap();
    assert_eq!(example.answer(), example.images[0].width().to_string());
}

#[test]
fn parquet_of_pyarrow_with_nested_lists_and_parts() {
    let place = Place::new();
    place.write("rows.parquet", fixture("arrow_zstd.parquet"));
    let data = place.open(|s| s.columns.demonstration = Some("solution".into()));
    assert_eq!((data.len(Split::Train), data.len(Split::Eval)), (5, 2));
    let example = data.example(Split::Eval, 1).unwrap();
    assert_eq!((example.prompt.as_str(), example.demonstration.as_deref()), ("Question 6", Some("<think> 6 </think>")));
    assert_eq!(example.images[0].dimensions(), (14, 8));
    assert_eq!(data.example(Split::Train, 0).unwrap().demonstration, None);
}

#[test]
fn nulls_in_parquet_are_told_with_their_rows() {
    let place = Place::new();
    place.write("rows.parquet", fixture("arrow_nulls.parquet"));
    let found = place.prepare(&settings(|_| ()));
    let told: Vec<_> = found.report.errors.iter().map(|e| (e.row, e.problem.as_str())).collect();
    // A null in a list of images is not an image.
    assert_eq!((told.len(), told[0].0), (1, Some(3)), "{told:?}");
    assert!(told[0].1.contains("column `answer` is null"), "{told:?}");
    assert_eq!((found.report.rows, found.report.bad_rows), (6, 1));
}
