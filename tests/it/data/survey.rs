//! The generated survey: deterministic, held out, right, and its dials do what they say.

use std::collections::{BTreeMap, BTreeSet};

use sha2::{Digest, Sha256};
use vgpo::data::digits::DigitsTask;
use vgpo::data::survey::{GRIDS, GUESSED, Kind, SurveySettings, SurveyTask, vocabulary};
use vgpo::data::{DataError, Dataset, Split, open, recommended};
use vgpo::reward::{RewardInput, build};

/// Words of a filler, and those of a look.
const FILLER: usize = 8;
const LOOK: usize = 18;

fn task(looks: usize, filler: f64, forgetting: f64) -> SurveyTask {
    SurveyTask::new(SurveySettings { looks, filler, forgetting }).unwrap()
}

fn demonstration(task: &SurveyTask, split: Split, index: u64) -> String {
    task.example(split, index).unwrap().demonstration.unwrap()
}

/// The digits that a response says it sees.
fn seen(text: &str) -> Vec<u8> {
    text.split("see ").skip(1).map(|rest| rest.as_bytes()[0] - b'0').collect()
}

/// What the question asks, worked out from its words alone.
fn answer_by_words(question: &str, digits: &[u8]) -> u32 {
    let has = |word: &str| question.split(' ').any(|w| w == word);
    if has("even") {
        digits.iter().filter(|d| **d % 2 == 0).count() as u32
    } else if has("larger") || has("above") {
        digits.iter().filter(|d| **d > 4).count() as u32
    } else {
        assert!(has("end") || (has("last") && has("sum")), "{question}");
        digits.iter().map(|d| u32::from(*d)).sum::<u32>() % 10
    }
}

/// Rows must never change: trained models, stored runs and resumed jobs refer to them.
#[test]
fn rows_are_the_same_on_every_machine() {
    let hash = |task: &SurveyTask, split, index| -> String {
        let row = task.example(split, index).unwrap();
        let text = format!("{}|{}|{}|{:?}", row.prompt, row.answer(), row.demonstration.clone().unwrap(), row.tags);
        let digest = Sha256::new().chain_update(row.images[0].as_raw()).chain_update(text).finalize();
        digest.iter().take(8).map(|b| format!("{b:02x}")).collect()
    };
    let (nine, sixteen) = (task(9, 1.5, 0.0), task(16, 2.0, 0.6));
    insta::assert_debug_snapshot!([
        hash(&nine, Split::Train, 0),
        hash(&nine, Split::Train, 999_999),
        hash(&nine, Split::Eval, 1_999),
        hash(&sixteen, Split::Train, 7),
        hash(&sixteen, Split::Eval, 7),
    ]);
}

#[test]
fn the_reference_is_right_and_rewarded() {
    let reward = build(&serde_json::from_value(serde_json::json!({"type": "math"})).unwrap()).unwrap();
    for (looks, [rows, columns]) in GRIDS {
        let (task, mut kinds) = (task(looks, 1.5, 0.8), BTreeMap::new());
        let tokens = SurveyTask::response_tokens(task.settings()) as usize;
        for index in 0..300 {
            let (scene, row) = (task.scene(Split::Eval, index).unwrap(), task.example(Split::Eval, index).unwrap());
            let response = row.demonstration.clone().unwrap();
            assert_eq!(row.answer(), answer_by_words(&row.prompt, &scene.digits).to_string(), "{}", row.prompt);
            assert_eq!(seen(&response), scene.digits, "held-out demonstrations look at every cell");
            let judge = |ground_truth: &str| {
                let input =
                    RewardInput { prompt: &row.prompt, response: &response, ground_truth, ..RewardInput::default() };
                reward.judge(input).reward
            };
            assert_eq!((judge(&row.answer()), judge("77")), (1.0, 0.0), "{response}");
            assert_eq!(row.images[0].dimensions(), (28 * columns as u32, 28 * rows as u32));
            let of_word = |word: &str| if word.bytes().all(|b| b.is_ascii_digit()) { word.len() } else { 1 };
            let length: usize = response.split(' ').map(of_word).sum();
            assert!(length < tokens && tokens < looks * LOOK + 34, "{length} of {tokens}: {response}");
            *kinds.entry(format!("{:?}", scene.question.kind)).or_insert(0) += 1;
        }
        assert!(kinds.len() == 3 && kinds.values().all(|share| (65..140).contains(share)), "{kinds:?}");
    }
    assert_eq!(Kind::Sum.answer(&[7, 5, 9]), 1);
}

#[test]
fn a_response_looks_computes_and_talks_in_turn() {
    let task = task(4, 0.0, 0.0);
    let index = (0..100).find(|row| task.scene(Split::Train, *row).unwrap().question.kind == Kind::Sum).unwrap();
    let digits = task.scene(Split::Train, index).unwrap().digits;
    let text = demonstration(&task, Split::Train, index);
    let looks: Vec<&str> = text.split(" ;").collect();
    let filler = "now they wander calmly onward past another garden";
    let [a, b] = [digits[0], (digits[0] + digits[1]) % 10];
    assert_eq!(looks[0], format!("<think> {filler} row 1 column 1 see {a} , total {a}"));
    assert_eq!(looks[1], format!(" {filler} row 1 column 2 see {} , total {b}", digits[1]));
    assert!(text.ends_with(&format!("; </think> \\boxed{{ {} }}", answer_by_words("last sum", &digits))), "{text}");
}

/// Entropy of a word of a filler given the word before it, in bits, as measured over many rows.
fn measured_entropy(task: &SurveyTask) -> f64 {
    let mut counts: BTreeMap<(usize, String), BTreeMap<String, f64>> = BTreeMap::new();
    for index in 0..1_500 {
        let text = demonstration(task, Split::Train, index);
        let words: Vec<&str> = text.split(' ').skip(1).collect();
        for look in words.chunks(LOOK).filter(|look| look.len() == LOOK) {
            for place in 0..FILLER {
                let before = if place == 0 { "" } else { look[place - 1] };
                let after = counts.entry((place, before.to_owned())).or_default();
                *after.entry(look[place].to_owned()).or_default() += 1.0;
            }
        }
    }
    let all: f64 = counts.values().flat_map(BTreeMap::values).sum();
    counts
        .values()
        .map(|after| {
            let here: f64 = after.values().sum();
            after.values().map(|n| -n / all * (n / here).log2()).sum::<f64>()
        })
        .sum()
}

#[test]
fn fillers_have_the_entropy_that_was_asked_for() {
    for bits in [0.0, 0.5, 1.0, 1.5, 2.0] {
        let measured = measured_entropy(&task(9, bits, 0.0));
        assert!((measured - bits).abs() < 0.02, "{bits} bits: {measured}");
    }
}

#[test]
fn demonstrations_forget_by_position() {
    for (looks, forgetting) in [(9, 0.8), (16, 0.5), (6, 1.0), (9, 0.0)] {
        let task = task(looks, 1.0, forgetting);
        let (rows, mut wrong) = (3_000, vec![0.0; looks]);
        for index in 0..rows {
            let digits = task.scene(Split::Train, index).unwrap().digits;
            let written = seen(&demonstration(&task, Split::Train, index));
            for (at, share) in wrong.iter_mut().enumerate() {
                *share += f64::from(u8::from(digits[at] != written[at])) / rows as f64;
            }
        }
        for (at, share) in wrong.iter().enumerate() {
            // A tenth of the copies and guesses hits the digit that is there.
            let expected = 0.9 * task.settings().forgetting_at(at);
            assert!((share - expected).abs() < 0.035, "look {at}: {share}, expected {expected}");
        }
        assert!(wrong[..looks.div_ceil(2)].iter().all(|share| *share == 0.0), "the first half is clean: {wrong:?}");
        assert!((task.settings().forgetting_at(looks - 1) - forgetting).abs() < 1e-12);
    }
    assert!((0.0..0.5).contains(&GUESSED), "most forgotten looks are copies");
}

/// The demonstrations' dials change neither pictures nor questions, so that models of one family answer the same rows.
#[test]
fn dials_leave_pictures_and_questions_alone() {
    let (plain, other) = (task(9, 0.0, 0.0), task(9, 2.0, 1.0));
    for split in [Split::Train, Split::Eval] {
        let (one, two) = (plain.example(split, 5).unwrap(), other.example(split, 5).unwrap());
        assert_eq!((one.images, one.prompt, one.answers), (two.images, two.prompt, two.answers));
        assert_ne!(one.demonstration, two.demonstration);
    }
    assert_ne!(plain.fingerprint(), other.fingerprint());
}

#[test]
fn held_out_images_never_appear_in_training_rows() {
    for looks in [9, 16] {
        let task = task(looks, 1.0, 0.0);
        let sources = |split, rows| -> BTreeSet<usize> {
            (0..rows).flat_map(|i| task.scene(split, i).unwrap().sources).collect()
        };
        let (train, eval) = (sources(Split::Train, 6_000), sources(Split::Eval, 2_000));
        assert!(train.len() > 7_900 && eval.len() > 1_900 && train.is_disjoint(&eval));
        let digits = DigitsTask::two_by_two().unwrap();
        let other: BTreeSet<usize> = (0..3_000).flat_map(|i| digits.scene(Split::Train, i).unwrap().sources).collect();
        assert!(eval.is_disjoint(&other), "nor in those of `digits`");
    }
}

#[test]
fn texts_use_the_vocabulary_only() {
    let words: BTreeSet<String> = vocabulary().into_iter().collect();
    assert_eq!(words.len(), vocabulary().len());
    let (task, mut used) = (task(16, 2.0, 0.8), BTreeSet::new());
    for index in 0..500 {
        let row = task.example(Split::Train, index).unwrap();
        for word in [row.prompt, row.demonstration.unwrap()].iter().flat_map(|text| text.split(' ')) {
            if word.bytes().all(|b| b.is_ascii_digit()) {
                used.extend(word.chars().map(String::from));
            } else {
                assert!(words.contains(word), "{word:?}");
                used.insert(word.to_owned());
            }
        }
    }
    assert_eq!(used, words, "every word is used");
}

#[test]
fn names_carry_settings_within_limits() {
    let named = open("survey:looks=16,filler=0.5,forgetting=1").unwrap();
    assert_eq!(named.name(), "survey:looks=16,filler=0.5,forgetting=1");
    assert_eq!(named.fingerprint(), task(16, 0.5, 1.0).fingerprint());
    assert_eq!(open("survey:looks=9").unwrap().name(), "survey", "the default settings have the plain name");
    assert_eq!(recommended("survey:looks=16").unwrap()["rollout"]["max_new_tokens"], 320);
    assert_eq!(recommended("survey").unwrap()["rollout"]["max_new_tokens"], 192);
    assert_eq!((recommended("survey:looks=5"), recommended("surveys")), (None, None));
    let long = format!("survey:looks={}", "9".repeat(500));
    for (name, said) in [
        ("survey:looks=5", "`looks` is `5`; it may be one of 4, 6, 9, 12, 16"),
        ("survey:looks=-1", "`looks` is `-1`"),
        ("survey:filler=2.5", "`filler` is 2.5; it may be 0 to 2"),
        ("survey:filler=much", "`filler` is `much`, which is not a number"),
        ("survey:forgetting=-0.1", "`forgetting` is -0.1; it may be 0 to 1"),
        ("survey:forgetting=NaN", "`forgetting` is NaN; it may be 0 to 1"),
        ("survey:size=3", "there is no setting `size`; there are: looks, filler, forgetting"),
        ("survey:", "there is no setting ``"),
        (&long, "`looks` is `999"),
    ] {
        let error = open(name).err().unwrap();
        assert!(matches!(error, DataError::Settings { .. }), "{name}: {error}");
        let error = error.to_string();
        assert!(error.contains(said) && error.len() < 250, "{name}: {error}");
    }
    assert!(matches!(open("survey-results").err().unwrap(), DataError::Unknown { .. }));
    assert!(SurveyTask::new(SurveySettings { looks: 0, filler: 1.0, forgetting: 0.0 }).is_err());
    let error = open("survey").unwrap().example(Split::Eval, 2_000).err().unwrap().to_string();
    assert!(error.contains("2000") && error.contains("survey"), "{error}");
}
