//! Damaged files of every format: errors, never panics.

use std::io::Write as _;
use std::path::Path;

use proptest::prelude::*;
use vgpo::config;
use vgpo::data::files::{Preparing, prepare, unpack};
use vgpo::data::{Dataset, FileDataset, Split};

use super::files::LIMITS;

/// Reads `bytes` as the data file `name` and every row of it; errors are fine.
fn read(name: &str, bytes: &[u8]) {
    let folder = tempfile::tempdir().unwrap();
    let (source, index) = (folder.path().join("in"), folder.path().join("index"));
    std::fs::create_dir(&source).unwrap();
    std::fs::write(source.join(name), bytes).unwrap();
    let settings = config::datasets::settings();
    let what = Preparing { name, source: &source, stays: false, settings: &settings, limits: &LIMITS };
    let found = prepare(&what, &index, &mut |_| true).unwrap();
    assert!(found.is_valid() || !index.join("dataset.json").exists());
    if found.is_valid() {
        std::fs::create_dir(index.join("files")).unwrap();
        std::fs::copy(source.join(name), index.join("files").join(name)).unwrap();
        let data = FileDataset::open(&index, None).unwrap();
        for split in [Split::Train, Split::Eval] {
            (0..data.len(split)).for_each(|row| drop(data.example(split, row).unwrap()));
        }
    }
}

fn fixture(name: &str) -> Vec<u8> {
    std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/data").join(name)).unwrap()
}

const GOOD: &[u8] =
    b"{\"problem\": \"a\", \"answer\": 1}\n{\"problem\": \"b\", \"answer\": [\"c\"], \"images\": [{}]}\n";

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_bytes(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        read("rows.jsonl", &bytes);
        read("rows.parquet", &bytes);
        let framed = [b"PAR1", bytes.as_slice(), &(bytes.len() as u32).to_le_bytes(), b"PAR1"].concat();
        read("rows.parquet", &framed);
    }

    #[test]
    fn cut_and_changed_json(cut in 0..GOOD.len(), at in 0..GOOD.len(), byte: u8) {
        read("rows.jsonl", &GOOD[..cut]);
        let mut changed = GOOD.to_vec();
        changed[at] = byte;
        read("rows.jsonl", &changed);
    }

    #[test]
    fn cut_and_changed_parquet(which in 0..3_usize, cut: prop::sample::Index,
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8)) {
        let whole = fixture(["hf_list.parquet", "arrow_zstd.parquet", "arrow_nulls.parquet"][which]);
        read("rows.parquet", &whole[..cut.index(whole.len())]);
        let mut changed = whole.clone();
        for (at, byte) in changes {
            changed[at.index(whole.len())] = byte;
        }
        read("rows.parquet", &changed);
    }

    #[test]
    fn cut_and_changed_zip(cut: prop::sample::Index, at: prop::sample::Index, byte: u8) {
        let folder = tempfile::tempdir().unwrap();
        let archive = folder.path().join("a.zip");
        let mut zip = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
        zip.start_file("rows.jsonl", zip::write::SimpleFileOptions::default()).unwrap();
        zip.write_all(&GOOD.repeat(20)).unwrap();
        let whole = zip.finish().unwrap().into_inner();
        let mut changed = whole.clone();
        changed[at.index(whole.len())] = byte;
        for (number, bytes) in [&whole[..cut.index(whole.len())], &changed].into_iter().enumerate() {
            std::fs::write(&archive, bytes).unwrap();
            let _ = unpack(&archive, &folder.path().join("out").join(number.to_string()), &LIMITS);
        }
        prop_assert!(std::fs::read_dir(folder.path()).unwrap().count() <= 2, "nothing is written next to the folder");
    }
}
