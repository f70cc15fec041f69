//! Rows that cannot be used, left out where the upload asks for it; what is damaged beyond rows is refused all the
//! same.

use serde_json::json;
use vgpo::data::{Dataset as _, Split};
use vgpo::domain::dataset::{BadRows, DatasetSettings, SplitRule};

use super::files::{Place, row, settings};

fn leaves_out(settings: &mut DatasetSettings) {
    settings.bad_rows = BadRows::LeaveOut;
    settings.split = SplitRule::Train;
}

#[test]
fn bad_rows_are_left_out_and_told_with_their_reasons() {
    let place = Place::new();
    let missing = json!({"problem": "?", "answer": 1, "images": ["none.png"]});
    let lines = [row(0).to_string(), "{\"problem\": \"x\"".to_owned(), row(2).to_string(), missing.to_string()];
    place.write("rows.jsonl", lines.join("\n"));
    let found = place.prepare(&settings(leaves_out));
    assert!(found.is_valid());
    let report = &found.report;
    assert_eq!((report.rows, report.bad_rows, report.left_out, found.train_rows), (4, 2, 2, 2));
    assert_eq!(report.errors.iter().map(|fault| fault.row).collect::<Vec<_>>(), [Some(2), Some(4)]);
    assert!(report.errors[1].problem.contains("no file `none.png`"), "{:?}", report.errors);
    let data = place.open(leaves_out);
    let rows: Vec<_> = (0..2).map(|at| data.example(Split::Train, at).unwrap().source.unwrap().row).collect();
    assert_eq!(rows, [1, 3], "rows keep the lines that they are on");
    let refused = place.prepare(&settings(|_| ()));
    assert_eq!((refused.is_valid(), refused.report.left_out), (false, 0), "nothing is left out unasked");
}

#[test]
fn the_rule_is_part_of_the_fingerprint() {
    let place = Place::new();
    place.rows("rows.jsonl", &[row(0), row(1)]);
    let [all, good] = [BadRows::Refuse, BadRows::LeaveOut]
        .map(|bad_rows| place.prepare(&settings(|s| s.bad_rows = bad_rows)).fingerprint);
    assert_ne!(all, good);
}

#[test]
fn a_damaged_file_is_more_than_bad_rows() {
    let place = Place::new();
    let mut lines = vec!["{".to_owned(); 250];
    lines.push(row(0).to_string());
    place.write("a.jsonl", lines.join("\n")).write("z.parquet", b"PAR1 and nothing else");
    let found = place.prepare(&settings(leaves_out));
    assert!(!found.is_valid());
    let (report, last) = (&found.report, found.report.errors.last().unwrap());
    assert_eq!((report.errors.len(), report.bad_rows, report.left_out), (200, 250, 0));
    assert_eq!((last.file.as_str(), last.row), ("z.parquet", None), "what decides is listed");
}

#[test]
fn a_data_set_of_nothing_but_bad_rows_is_refused() {
    let place = Place::new();
    place.rows("rows.jsonl", &[json!({"problem": "?"}), json!({"problem": ""})]);
    let found = place.prepare(&settings(leaves_out));
    assert!(!found.is_valid());
    assert!(found.report.errors.last().unwrap().problem.contains("every row is bad"), "{:?}", found.report.errors);
}

#[test]
fn a_column_that_no_row_has_is_refused() {
    let place = Place::new();
    place.rows("rows.jsonl", &[row(0), row(1)]);
    let found = place.prepare(&settings(|s| {
        leaves_out(s);
        s.columns.images = "photo".into();
    }));
    assert!(!found.is_valid(), "{:?}", found.report.errors);
}
