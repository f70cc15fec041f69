//! The generated digit tasks: deterministic, held out, right.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use sha2::{Digest, Sha256};
use vgpo::data::digits::{DigitsTask, Kind, SceneConfig, vocabulary};
use vgpo::data::{DataError, Dataset, Split, built_in, open};

fn boxed(text: &str) -> &str {
    text.split("\\boxed{ ").nth(1).unwrap().strip_suffix(" }").unwrap()
}

/// The digits that a response says it sees.
fn seen(text: &str) -> Vec<u8> {
    text.split("see ").skip(1).map(|rest| rest.as_bytes()[0] - b'0').collect()
}

/// What the question asks, worked out from its words alone.
fn answer_by_words(question: &str, digits: &[u8], cols: usize) -> u32 {
    let has = |word: &str| question.split(' ').any(|w| w == word);
    let numbers = || digits.iter().map(|d| u32::from(*d));
    if has("largest") {
        numbers().max().unwrap()
    } else if has("smallest") {
        numbers().min().unwrap()
    } else if has("even") {
        numbers().filter(|d| d % 2 == 0).count() as u32
    } else if has("top") || has("bottom") {
        let row = usize::from(has("bottom"));
        let col = if has("left") {
            0
        } else if has("middle") {
            1
        } else {
            cols - 1
        };
        u32::from(digits[row * cols + col])
    } else {
        assert!(has("sum") || has("add") || has("total"), "{question}");
        numbers().sum()
    }
}

fn hash(task: &DigitsTask, split: Split, index: u64) -> String {
    let example = task.example(split, index).unwrap();
    let forgetful = task.forgetful(index).unwrap().demonstration.unwrap();
    let text =
        format!("{}|{}|{}|{forgetful}", example.prompt, example.answer(), example.demonstration.clone().unwrap());
    let digest = Sha256::new().chain_update(example.images[0].as_raw()).chain_update(text).finalize();
    digest.iter().take(8).map(|b| format!("{b:02x}")).collect()
}

/// Rows must never change: trained models, stored runs and resumed jobs refer to them.
#[test]
fn rows_are_the_same_on_every_machine() {
    let (four, six) = (DigitsTask::two_by_two().unwrap(), DigitsTask::two_by_three().unwrap());
    let hashes = [
        hash(&four, Split::Train, 0),
        hash(&four, Split::Train, 999_999),
        hash(&four, Split::Eval, 0),
        hash(&four, Split::Eval, 1_999),
        hash(&six, Split::Train, 7),
        hash(&six, Split::Eval, 7),
    ];
    let stored = [
        "2dbc3d193f84567e",
        "02ac523c18a49e5d",
        "2432a94412b302a2",
        "e6a0652ffca96555",
        "3a8c093d2bcabb10",
        "474c884f0e62b2f2",
    ];
    assert_eq!(hashes, stored);
}

#[test]
fn the_honest_demonstration_is_right() {
    for (task, cols) in [(DigitsTask::two_by_two().unwrap(), 2), (DigitsTask::two_by_three().unwrap(), 3)] {
        let mut shares = BTreeMap::new();
        for index in 0..2_000 {
            for split in [Split::Train, Split::Eval] {
                let scene = task.scene(split, index).unwrap();
                let example = task.example(split, index).unwrap();
                let right = answer_by_words(&example.prompt, &scene.digits, cols).to_string();
                assert_eq!(example.answer(), right, "{}", example.prompt);
                let demonstration = example.demonstration.clone().unwrap();
                assert_eq!(boxed(&demonstration), right);
                match scene.question.kind {
                    Kind::At(cell) => assert_eq!(seen(&demonstration), [scene.digits[cell]]),
                    _ => assert_eq!(seen(&demonstration), scene.digits),
                }
                *shares
                    .entry(format!("{:?}", scene.question.kind).split('(').next().unwrap().to_owned())
                    .or_insert(0) += 1;
            }
        }
        for (kind, share) in [("Sum", 0.30), ("Largest", 0.15), ("Smallest", 0.15), ("CountEven", 0.25), ("At", 0.15)] {
            assert!((f64::from(shares[kind]) / 4_000.0 - share).abs() < 0.025, "{kind}: {shares:?}");
        }
    }
}

#[test]
fn a_demonstration_reads_and_computes_in_turn() {
    let task = DigitsTask::two_by_two().unwrap();
    let index = (0..100).find(|i| task.scene(Split::Train, *i).unwrap().question.kind == Kind::Sum).unwrap();
    let digits: Vec<u32> = task.scene(Split::Train, index).unwrap().digits.iter().map(|d| u32::from(*d)).collect();
    let [a, b, c, d] = digits[..] else { panic!() };
    let wanted = format!(
        "<think> see {a} , total {a} ; see {b} , total {} ; see {c} , total {} ; see {d} , total {} </think> \\boxed{{ \
        {} }}",
        a + b,
        a + b + c,
        a + b + c + d,
        a + b + c + d
    );
    assert_eq!(task.example(Split::Train, index).unwrap().demonstration.unwrap(), wanted);
}

/// Measured against the probabilities .35, .6, .6; a digit may also repeat by chance.
#[test]
fn the_forgetful_demonstrator_copies_as_often_as_promised() {
    let task = DigitsTask::two_by_three().unwrap();
    let mut copied = [0u32; 6];
    let mut counted = [0u32; 6];
    let mut right = 0;
    let mut rows = 0;
    for index in 0..6_000 {
        let scene = task.scene(Split::Train, index).unwrap();
        let example = task.forgetful(index).unwrap();
        let text = example.demonstration.clone().unwrap();
        if let Kind::At(_) = scene.question.kind {
            assert_eq!(boxed(&text), example.answer(), "position questions are clean");
            continue;
        }
        let written = seen(&text);
        assert_eq!(written[0], scene.digits[0], "the first digit is clean");
        assert_eq!(
            boxed(&text),
            answer_by_words(&example.prompt, &written, 3).to_string(),
            "the value follows what was written"
        );
        for at in 1..6 {
            assert!(written[at] == scene.digits[at] || written[at] == written[at - 1]);
            if scene.digits[at] != written[at - 1] {
                counted[at] += 1;
                copied[at] += u32::from(written[at] == written[at - 1]);
            }
        }
        rows += 1;
        right += u32::from(boxed(&text) == example.answer());
    }
    for (at, probability) in [(1, 0.35), (2, 0.6), (3, 0.6), (4, 0.6), (5, 0.6)] {
        let share = f64::from(copied[at]) / f64::from(counted[at]);
        assert!((share - probability).abs() < 0.03, "digit {at}: {share}");
    }
    assert!(right * 2 < rows, "most of its answers are wrong: {right} of {rows}");
}

#[test]
fn held_out_images_never_appear_in_training_rows() {
    for task in [DigitsTask::two_by_two().unwrap(), DigitsTask::two_by_three().unwrap()] {
        let sources = |split, rows| -> BTreeSet<usize> {
            (0..rows).flat_map(|i| task.scene(split, i).unwrap().sources).collect()
        };
        let (train, eval) = (sources(Split::Train, 20_000), sources(Split::Eval, 2_000));
        assert!(train.len() > 7_900 && eval.len() > 1_900, "{} {}", train.len(), eval.len());
        assert!(train.is_disjoint(&eval));
    }
    let (four, six) = (DigitsTask::two_by_two().unwrap(), DigitsTask::two_by_three().unwrap());
    let eval: BTreeSet<usize> = (0..2_000).flat_map(|i| six.scene(Split::Eval, i).unwrap().sources).collect();
    let other: BTreeSet<usize> = (0..5_000).flat_map(|i| four.scene(Split::Train, i).unwrap().sources).collect();
    assert!(eval.is_disjoint(&other), "nor in those of the other task");
}

#[test]
fn texts_use_the_vocabulary_only() {
    let words: BTreeSet<String> = vocabulary().into_iter().collect();
    assert_eq!(words.len(), vocabulary().len());
    assert!((40..=70).contains(&words.len()), "{}", words.len());
    let mut used = BTreeSet::new();
    for task in [DigitsTask::two_by_two().unwrap(), DigitsTask::two_by_three().unwrap()] {
        for index in 0..3_000 {
            let honest = task.example(Split::Train, index).unwrap();
            let forgetful = task.forgetful(index).unwrap();
            let texts = [honest.prompt, honest.demonstration.unwrap(), forgetful.demonstration.unwrap()];
            for word in texts.iter().flat_map(|t| t.split(' ')) {
                if word.bytes().all(|b| b.is_ascii_digit()) {
                    used.extend(word.chars().map(String::from));
                } else {
                    assert!(words.contains(word), "{word:?}");
                    used.insert(word.to_owned());
                }
            }
        }
    }
    assert_eq!(used, words, "every word is used");
}

#[test]
fn pictures_have_one_digit_a_cell() {
    for (task, size) in [(DigitsTask::two_by_two().unwrap(), (56, 56)), (DigitsTask::two_by_three().unwrap(), (84, 56))]
    {
        for index in 0..50 {
            let scene = task.scene(Split::Eval, index).unwrap();
            assert_eq!(scene.image.dimensions(), size);
            assert!(scene.image.pixels().all(|p| p.0[0] == p.0[1] && p.0[1] == p.0[2]));
            for cell in 0..task.config().cells() {
                let (left, top) = (cell % task.config().cols * 28, cell / task.config().cols * 28);
                let ink: u32 = (0..28 * 28)
                    .map(|at| u32::from(scene.image.get_pixel((left + at % 28) as u32, (top + at / 28) as u32).0[0]))
                    .sum();
                assert!(ink > 3_000, "cell {cell} of row {index} is empty");
            }
        }
    }
    let large = SceneConfig { cell_px: 64, zoom: 2, jitter: 4, ..DigitsTask::two_by_two().unwrap().config().clone() };
    let task = DigitsTask::new(large.clone()).unwrap();
    assert_eq!(task.scene(Split::Train, 3).unwrap().image.dimensions(), (128, 128));
    assert_ne!(task.fingerprint(), DigitsTask::two_by_two().unwrap().fingerprint());
    assert!(DigitsTask::new(SceneConfig { cell_px: 20, zoom: 1, ..large.clone() }).is_err());
    assert!(DigitsTask::new(SceneConfig { rows: 5, ..large }).is_err());
}

#[test]
fn the_registry() {
    let all = built_in();
    assert_eq!(
        all.iter().map(|d| d.name).collect::<Vec<_>>(),
        ["digits", "digits-6", "objects", "chart", "geometry", "survey"]
    );
    for entry in &all {
        let data = open(entry.name).unwrap();
        assert_eq!((data.name(), data.len(Split::Train), data.len(Split::Eval)), (entry.name, 1_000_000, 2_000));
        assert_eq!((entry.train_rows, entry.eval_rows), (1_000_000, 2_000));
        assert_eq!(entry.recommended["reward"]["type"], "math");
    }
    assert_ne!(open("digits").unwrap().fingerprint(), open("digits-6").unwrap().fingerprint());
    let error = open("digit").err().unwrap();
    assert!(matches!(error, DataError::Unknown { .. }) && error.to_string().contains("digits, digits-6"), "{error}");
    let error = open("digits").unwrap().example(Split::Eval, 2_000).err().unwrap().to_string();
    assert!(error.contains("2000") && error.contains("digits"), "{error}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn any_training_row_can_be_had_again(index in 0u64..1_000_000) {
        thread_local!(static TASK: DigitsTask = DigitsTask::two_by_two().unwrap());
        TASK.with(|task| {
            let (one, two) = (task.example(Split::Train, index).unwrap(), task.example(Split::Train, index).unwrap());
            assert_eq!(one.images[0].as_raw(), two.images[0].as_raw());
            assert_eq!((one.prompt, one.answers, one.demonstration), (two.prompt, two.answers, two.demonstration));
            assert_eq!(task.forgetful(index).unwrap().demonstration, task.forgetful(index).unwrap().demonstration);
        });
    }
}
