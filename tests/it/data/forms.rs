//! Data as people have it: columns of other names, conversations, several answers, tables, arrays, blank cells, odd
//! paths.

use serde_json::{Value, json};
use vgpo::data::{Dataset as _, Example, Split};
use vgpo::domain::dataset::SplitRule;

use super::files::{Place, png, row, settings};

/// The first row of a data set of `rows`, whose pictures are there.
fn first(rows: &[Value]) -> Example {
    let place = Place::new();
    place.write("a.png", png(10, 10)).write("b.png", png(20, 10)).rows("rows.jsonl", rows);
    place.open(|s| s.split = SplitRule::Train).example(Split::Train, 0).unwrap()
}

#[test]
fn columns_of_usual_names_are_found_and_told() {
    for (prompt, answer, images) in [
        ("problem", "answer", "image"),
        ("question", "solution", "img"),
        ("query", "ground_truth", "picture"),
        ("prompt", "target", "image_path"),
        ("Question", "Answer", "Image"),
        ("instruction", "answers", "image_paths"),
    ] {
        let place = Place::new();
        place.write("a.png", png(10, 10));
        place.rows(
            "rows.jsonl",
            &[json!({prompt: "What?", answer: "1", images: "a.png"}), json!({prompt: "b", answer: "2"})],
        );
        let found = place.prepare(&settings(|_| ()));
        assert!(found.is_valid(), "{prompt}: {:?}", found.report.errors);
        assert_eq!(found.report.images, 1, "{images}");
        let taken = ["prompt", "answer", "images"].map(|role| found.report.columns[role].as_str());
        assert_eq!(taken, [prompt, answer, images]);
        assert!(found.report.column_names.contains(&images.to_owned()));
    }
}

#[test]
fn a_mapping_to_a_column_that_no_row_has_is_an_error() {
    let place = Place::new();
    place.rows("rows.jsonl", &[row(1), row(2)]);
    for role in ["images", "demonstration", "tags"] {
        let found = place.prepare(&settings(|s| match role {
            "images" => s.columns.images = "photo".into(),
            "tags" => s.columns.tags = Some("photo".into()),
            _ => s.columns.demonstration = Some("photo".into()),
        }));
        let told = &found.report.errors[0].problem;
        assert!(told.contains("`photo`") && told.contains(role) && told.contains("answer, problem"), "{told}");
    }
}

#[test]
fn dotted_names_reach_into_objects() {
    let place = Place::new();
    let rows =
        [0, 1, 2].map(|n| json!({"problem": "x", "reward_model": {"ground_truth": n.to_string(), "style": "rule"}}));
    place.rows("rows.jsonl", &rows);
    let found = place.open(|s| {
        s.columns.answer = "reward_model.ground_truth".into();
        s.split = SplitRule::Train;
    });
    assert_eq!(found.example(Split::Train, 2).unwrap().answer(), "2");
    let without = place.open(|s| s.split = SplitRule::Train);
    assert_eq!(without.example(Split::Train, 1).unwrap().answer(), "1", "found without a mapping, too");
    let whole = place.prepare(&settings(|s| s.columns.answer = "reward_model".into()));
    assert!(whole.report.errors[0].problem.contains("ground_truth, style"), "{:?}", whole.report.errors);
}

#[test]
fn conversations_are_prompts() {
    let turns = json!([{"role": "system", "content": "Be brief."},
        {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "What is it?"}]}]);
    let openai = first(&[json!({"messages": turns, "images": ["a.png"], "answer": "red"})]);
    assert_eq!((openai.prompt.as_str(), openai.system.as_deref()), ("<image>What is it?", Some("Be brief.")));
    assert_eq!((openai.images.len(), openai.answer().as_str(), openai.demonstration), (1, "red", None));
    let sharegpt = first(&[
        json!({"conversations": [{"from": "human", "value": "<image>\nWhat?"}, {"from": "gpt", "value": "Red."}],
        "image": "b.png"}),
    ]);
    assert_eq!((sharegpt.prompt.as_str(), sharegpt.images[0].width()), ("<image>\nWhat?", 20));
    assert_eq!((sharegpt.answer().as_str(), sharegpt.demonstration.as_deref()), ("Red.", Some("Red.")));
    let text = first(&[json!({"prompt": turns.to_string(), "images": "a.png", "answer": "red"})]);
    assert_eq!((text.prompt, text.system), (openai.prompt, openai.system));
    let inside = json!([{"role": "user",
        "content": [{"type": "text", "text": "One "}, {"type": "image_url", "image_url": {"url": "a.png"}},
        {"type": "image", "image": "b.png"}]}]);
    let inside = first(&[json!({"prompt": inside, "answer": "1"})]);
    assert_eq!((inside.prompt.as_str(), inside.images.len()), ("One <image><image>", 2));
}

#[test]
fn several_answers_mean_any_of_them() {
    let several = first(&[json!({"problem": "x", "answer": ["stop", "STOP", "stop sign"]})]);
    assert_eq!(several.answers, ["stop", "STOP", "stop sign"]);
    assert_eq!(several.answer(), r#"["stop","STOP","stop sign"]"#);
    let place =
        first(&[json!({"problem": "<image>where ?", "answer": [29.12, 6.09, 60.74, 43.53], "images": "a.png"})]);
    assert_eq!(place.answers, ["[29.12, 6.09, 60.74, 43.53]"]);
}

#[test]
fn blank_cells_are_missing() {
    let place = Place::new();
    place.write("a.png", png(10, 10));
    let blanks = [
        json!(""),
        json!([""]),
        json!({"bytes": null, "path": null}),
        json!([null]),
        json!(" "),
        json!([]),
        json!(null),
    ];
    let mut rows = vec![json!({"problem": "look", "answer": "1", "images": ["a.png"]})];
    rows.extend(
        blanks.map(
            |blank| json!({"problem": "text", "answer": "1", "images": blank, "demonstration": " ", "tags": [""]}),
        ),
    );
    let found = place.rows("rows.jsonl", &rows).prepare(&settings(|_| ()));
    assert!(found.is_valid(), "{:?}", found.report.errors);
    let report = found.report;
    assert_eq!((report.rows, report.images, report.demonstrations, report.tags.len()), (8, 1, 0, 0));
    let rows = ["", "  "].map(|blank| json!({"problem": "text", "answer": blank}));
    let found = place.rows("rows.jsonl", &rows).prepare(&settings(|_| ()));
    assert!(found.report.errors[0].problem.contains("column `answer` is empty"), "{:?}", found.report.errors);
    let rows =
        ["", "x"].map(|answer| json!({"problem": "text", "answer": answer, "demonstration": "y", "split": "test"}));
    let found = place.rows("rows.jsonl", &rows).prepare(&settings(|_| ()));
    assert_eq!((found.report.rows_without_answer.train, found.report.rows_without_answer.eval), (0, 1));
}

#[test]
fn arrays_and_tables_are_read() {
    let rows = "\u{feff}[\n {\"problem\": \"a, ]\\\" [\", \"answer\": 1, \"images\": \
               [\"a.png\"]},\n{\"problem\":\"b\",\"answer\":[\"x\",\"y\"]}\n, {\"problem\": \"c\", \"answer\": \
               {\"text\": \"z\"}}]\n";
    let tabs = "index\tquestion\tanswer\timage\n0\t\"a, ]\"\" [\"\t1\ta.png\n1\tb\t\"['x', 'y']\"\t\n2\tc\tz\t\n";
    for (name, text) in [
        ("rows.json", rows.to_owned()),
        ("rows.tsv", tabs.to_owned()),
        ("rows.csv", tabs.replace(", ]", ";").replace('\t', ",")),
    ] {
        let place = Place::new();
        // Settings next to the rows are not rows.
        place.write("a.png", png(10, 10)).write("config.json", "{\"a\": 1}\n").write("names.json", "[1, 2]");
        place.write(name, text.replace("['x', 'y']", "[\"\"x\"\", \"\"y\"\"]"));
        let data = place.open(|s| s.split = SplitRule::Train);
        assert_eq!(data.len(Split::Train), 3, "{name}");
        // Backwards: every row is found again by itself.
        let rows: Vec<_> = (0..3).rev().map(|n| data.example(Split::Train, n).unwrap()).collect();
        assert_eq!((rows[0].answer().as_str(), rows[1].answers.len(), rows[2].images.len()), ("z", 2, 1), "{name}");
        assert!(rows[2].prompt.starts_with('a') && rows[2].prompt.ends_with("\" ["), "{name}: {}", rows[2].prompt);
        assert_eq!(rows[0].source.as_ref().unwrap().file, name);
    }
}

#[test]
fn notes_beside_rows_are_no_rows() {
    let place = Place::new();
    place
        .rows("train.jsonl", &[row(1), row(2)])
        .write("labels.csv", "file,label\na.png,3\n")
        .write("more.tsv", "problem\tanswer\nx\t1\n");
    assert_eq!(place.open(|s| s.split = SplitRule::Train).len(Split::Train), 3);
}

#[test]
fn lines_may_be_called_json_and_pictures_may_be_base64() {
    use base64::Engine as _;
    let place = Place::new();
    place.write("rows.json", format!("{}\n{}\n", row(1), row(2)));
    assert_eq!(place.open(|s| s.split = SplitRule::Train).len(Split::Train), 2);
    let picture = base64::engine::general_purpose::STANDARD.encode(png(33, 10));
    let place = Place::new();
    place.write("rows.tsv", format!("question\tanswer\timage\r\nhow wide ?\t33\t{picture}\r\nb\t2\t\r\n"));
    let data = place.open(|s| s.split = SplitRule::Train);
    let example = data.example(Split::Train, 0).unwrap();
    assert_eq!((example.images[0].width(), example.source.unwrap().row), (33, 2));
    assert_eq!(data.example(Split::Train, 1).unwrap().source.unwrap().row, 3);
}

#[test]
fn broken_arrays_and_tables_name_their_rows() {
    for (name, text, row, told) in [
        ("rows.json", "[{\"problem\": \"a\", \"answer\": 1}, {\"problem\": ", Some(2), "ends inside"),
        ("rows.json", "[{\"problem\": \"a\", \"answer\": 1}, 7]", Some(2), "not a valid JSON object"),
        ("rows.tsv", "question\tanswer\na\t1\nb\n", Some(3), "has 1 values"),
        ("rows.tsv", "question\tanswer\na\t\"1\nb\t2\n", Some(2), "is not closed"),
    ] {
        let place = Place::new();
        place.write(name, text);
        let found = place.prepare(&settings(|_| ()));
        let fault = found.report.errors.first().unwrap_or_else(|| panic!("{text} is taken"));
        assert!(fault.row == row && fault.problem.contains(told), "{text}: {fault:?}");
    }
}

const NFC: &str = "gr\u{f6}\u{df}e_\u{d55c}.png";
const NFD: &str = "gro\u{308}\u{df}e_\u{1112}\u{1161}\u{11ab}.png";

#[test]
fn names_are_the_same_composed_and_decomposed() {
    for (stored, named) in [(NFC, NFD), (NFD, NFC)] {
        let place = Place::new();
        place.write(&format!("{stored}/{stored}"), png(10, 10));
        place.rows(
            "rows.jsonl",
            &[json!({"problem": "x", "answer": 1, "images": [format!("{named}/{named}")]}), row(2)],
        );
        assert_eq!(place.prepare(&settings(|_| ())).report.images, 1);
    }
}

#[test]
fn paths_start_at_the_file_above_it_or_in_an_outer_folder() {
    for (rows, picture, named) in [
        ("mine/annotations/train.jsonl", "mine/images/a.png", "images/a.png"),
        ("a/b/annotations/train.jsonl", "a/b/images/a.png", "images/a.png"),
        ("train.jsonl", "pictures/images/a.png", "images/a.png"),
        ("x/train.jsonl", "y/z/a.png", "a.png"),
        ("x/train.jsonl", "x/a.png", "./a.png"),
        ("x/train.jsonl", "x/a.png", "x/a.png"),
    ] {
        let place = Place::new();
        place.write(picture, png(10, 10));
        place.rows(rows, &[json!({"problem": "x", "answer": 1, "images": named}), row(2)]);
        let found = place.prepare(&settings(|_| ()));
        assert!(found.is_valid() && found.report.images == 1, "{picture}: {:?}", found.report.errors);
        let data = vgpo::data::FileDataset::open(&place.index(), None).unwrap();
        assert_eq!(data.len(Split::Train) + data.len(Split::Eval), 2);
    }
    let place = Place::new();
    place.write("x/a.png", png(10, 10)).write("y/a.png", png(20, 10));
    place.rows("rows.jsonl", &[json!({"problem": "x", "answer": 1, "images": "a.png"})]);
    let (_, problem) = place.fault();
    assert!(problem.contains("`x/a.png` or `y/a.png`"), "{problem}");
}

#[test]
fn parts_follow_the_names_of_files_and_whole_folders() {
    for (files, train, held_out) in [
        (&["data/test-00000-of-00001.jsonl", "data/testmini-00000-of-00001.jsonl"][..], 0, 10),
        (&["math-eval-train.jsonl", "test.jsonl"], 5, 5),
        (&["my-test-run/train.jsonl", "my-test-run/val2017.jsonl"], 5, 5),
        (&["train2017.jsonl", "minimal.jsonl", "dev_1.jsonl"], 10, 5),
    ] {
        let place = Place::new();
        for file in files {
            place.rows(file, &(0..5).map(row).collect::<Vec<_>>());
        }
        let data = place.open(|_| ());
        assert_eq!((data.len(Split::Train), data.len(Split::Eval)), (train, held_out), "{files:?}");
    }
    let place = Place::new();
    place.rows("my-test-run/part-0.jsonl", &(0..20).map(row).collect::<Vec<_>>());
    let data = place.open(|_| ());
    assert_eq!((data.len(Split::Train), data.len(Split::Eval)), (19, 1), "a name of several words says nothing");
}

#[test]
fn faults_name_file_and_line() {
    let place = Place::new();
    place.write("a.png", png(10, 10));
    place.rows("train.jsonl", &[row(1), json!({"problem": "x", "answer": 1, "images": "a.png"})]);
    let data = place.open(|s| s.split = SplitRule::Train);
    std::fs::remove_file(place.path("a.png")).unwrap();
    let error = data.example(Split::Train, 1).unwrap_err().to_string();
    assert!(error.contains("row 2 of `train.jsonl`"), "{error}");
}
