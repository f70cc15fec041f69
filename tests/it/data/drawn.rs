//! The tasks whose pictures are drawn: deterministic, held out, right, readable.

use std::collections::{BTreeMap, BTreeSet};

use sha2::{Digest, Sha256};
use vgpo::data::chart::{self, ChartScene};
use vgpo::data::drawn::{DrawnTask, Subject};
use vgpo::data::geometry::{self, Figure, GeometryScene, Kind};
use vgpo::data::objects::{self, Object, ObjectsScene, Paint, Shape};
use vgpo::data::{Dataset, Split, built_in, open};
use vgpo::reward::{RewardInput, build};

const TASKS: [&str; 3] = ["objects", "chart", "geometry"];
const SPLITS: [Split; 2] = [Split::Train, Split::Eval];

fn scenes<S: Subject>(task: &DrawnTask<S>, split: Split, rows: u64) -> Vec<S> {
    (0..rows).map(|index| task.scene(split, index).unwrap()).collect()
}

/// Rows must never change: trained models, stored runs and resumed jobs refer to them.
#[test]
fn rows_are_the_same_on_every_machine() {
    let hash = |name: &str, split, index| -> String {
        let row = open(name).unwrap().example(split, index).unwrap();
        let text = format!("{}|{}|{}|{:?}", row.prompt, row.answer(), row.demonstration.clone().unwrap(), row.tags);
        let digest = Sha256::new().chain_update(row.images[0].as_raw()).chain_update(text).finalize();
        digest.iter().take(8).map(|b| format!("{b:02x}")).collect()
    };
    let rows = TASKS
        .map(|name| [hash(name, Split::Train, 0), hash(name, Split::Train, 999_999), hash(name, Split::Eval, 1_999)]);
    insta::assert_debug_snapshot!(rows);
}

/// What the words of the question ask, counted from the objects alone.
fn objects_by_words(question: &str, objects: &[Object]) -> String {
    let fits = |phrase: &str, object: &Object| {
        phrase.split(' ').all(|word| {
            let words = [object.size.name(), object.paint.name()];
            let shape = object.shape.one();
            words.contains(&word)
                || word == "objects"
                || shape.split(' ').any(|part| word.trim_end_matches('s') == part)
        })
    };
    let count = |phrase: &str| objects.iter().filter(|object| fits(phrase, object)).count();
    let between = |from: &str, to: &str| {
        let rest = &question[question.find(from).unwrap() + from.len()..];
        rest[..rest.find(to).unwrap()].to_owned()
    };
    if question.starts_with("How many") {
        count(&between("How many ", " are there?")).to_string()
    } else if question.starts_with("Are there more") {
        let (one, two) = (count(&between("more ", " than ")), count(&between(" than ", "?")));
        if one > two { "yes" } else { "no" }.to_owned()
    } else if question.starts_with("What is the difference") {
        let (one, two) = (count(&between("number of ", " and ")), count(&between("and the number of ", "?")));
        one.abs_diff(two).to_string()
    } else {
        assert!(question.starts_with("Which color"), "{question}");
        let counts = Paint::ALL.map(|paint| objects.iter().filter(|object| object.paint == paint).count());
        let most = counts.iter().max().unwrap();
        assert_eq!(counts.iter().filter(|count| *count == most).count(), 1, "one colour leads");
        Paint::ALL[counts.iter().position(|count| count == most).unwrap()].name().to_owned()
    }
}

/// What the words of the question ask, computed from the bars alone.
fn chart_by_words(question: &str, values: &[u32]) -> String {
    let named: Vec<u32> = question
        .split([' ', '?'])
        .filter(|word| word.len() == 1)
        .filter_map(|word| "ABCDEF".find(word))
        .map(|bar| values[bar])
        .collect();
    let largest = *values.iter().max().unwrap();
    match (question, named[..].as_ref()) {
        ("Which bar is the highest?", _) => {
            assert_eq!(values.iter().filter(|value| **value == largest).count(), 1, "one bar leads");
            "ABCDEF"[values.iter().position(|value| *value == largest).unwrap()..][..1].to_owned()
        }
        ("What is the largest value in the chart?", _) => largest.to_string(),
        ("What is the sum of all bars?", _) => values.iter().sum::<u32>().to_string(),
        (text, [one, two]) if text.contains("difference") => one.abs_diff(*two).to_string(),
        (text, [one, two]) if text.contains("sum") => (one + two).to_string(),
        (text, [one]) if text.contains("value of bar") => one.to_string(),
        _ => panic!("{question}"),
    }
}

/// What is asked, from the lengths alone.
fn geometry_by_words(scene: &GeometryScene) -> String {
    let question = scene.question();
    let answer = match scene.figure {
        Figure::Rectangle { width, height } if question.contains("area") => width * height,
        Figure::Rectangle { width, height } => width + height + width + height,
        Figure::Triangle { width, height, hypotenuse } => {
            assert_eq!(width.pow(2) + height.pow(2), hypotenuse.pow(2));
            if question.contains("area") {
                assert_eq!(width * height % 2, 0, "the answer is whole");
                width * height / 2
            } else if question.contains("perimeter") {
                width + height + hypotenuse
            } else if scene.kind == Kind::Leg {
                height
            } else {
                hypotenuse
            }
        }
    };
    answer.to_string()
}

#[test]
fn answers_follow_from_the_scene() {
    for split in SPLITS {
        for scene in scenes(&objects::task(), split, 1_500) {
            assert_eq!(scene.answer(), objects_by_words(&scene.question(), &scene.objects), "{scene:?}");
        }
        for scene in scenes(&chart::task(), split, 1_500) {
            assert_eq!(scene.answer(), chart_by_words(&scene.question(), &scene.values), "{scene:?}");
        }
        for scene in scenes(&geometry::task(), split, 1_500) {
            assert_eq!(scene.answer(), geometry_by_words(&scene), "{scene:?}");
        }
    }
}

/// The reward of the recommended settings takes every demonstration for right, and refuses it for another answer.
#[test]
fn demonstrations_are_judged_right() {
    let reward = build(&serde_json::from_value(serde_json::json!({"type": "math"})).unwrap()).unwrap();
    let format = build(&serde_json::from_value(serde_json::json!({"type": "format"})).unwrap()).unwrap();
    let judge = |response: &str, ground_truth: &str| {
        let input = RewardInput { prompt: "", response, ground_truth, ..RewardInput::default() };
        (reward.judge(input).reward, format.judge(input).reward)
    };
    for name in TASKS {
        let task = open(name).unwrap();
        for index in 0..40 {
            let row = task.example(Split::Train, index).unwrap();
            let response = row.demonstration.clone().unwrap();
            assert_eq!(judge(&response, &row.answer()), (1.0, 1.0), "{response} for {}", row.answer());
            for other in ["yes", "no", "red", "A", "F", "977"].iter().filter(|other| **other != row.answer()) {
                assert_eq!(judge(&response, other).0, 0.0, "{response} for {other}");
            }
        }
    }
}

/// Every number that a demonstration reads stands in the picture: checked against the scene, not against its text.
#[test]
fn demonstrations_read_what_is_there() {
    for scene in scenes(&objects::task(), Split::Train, 300) {
        let thoughts = scene.thoughts();
        for row in 0..scene.grid {
            let inside = |object: &&Object| object.cell / scene.grid == row;
            let sentence = thoughts.split(". ").nth(row).unwrap();
            let named = sentence.split(", ").filter(|part| !part.contains("nothing")).count();
            assert_eq!(named, scene.objects.iter().filter(inside).count(), "{thoughts}");
        }
    }
    for scene in scenes(&chart::task(), Split::Train, 300) {
        let thoughts = scene.thoughts().to_lowercase();
        for (bar, value) in scene.values.iter().enumerate() {
            let name = format!("bar {} ends", ChartScene::name(bar).to_lowercase());
            for reading in thoughts.split("; ").filter_map(|part| part.split_once(&name)) {
                let word = |text: &str| text.trim_end_matches(['.', ',']).parse::<u32>();
                let numbers: Vec<u32> = reading.1.split(' ').filter_map(|text| word(text).ok()).collect();
                assert!(numbers.contains(value), "{thoughts}");
            }
        }
    }
}

fn identities<S: Subject>(task: &DrawnTask<S>, split: Split, rows: u64) -> BTreeSet<String> {
    scenes(task, split, rows).iter().map(Subject::identity).collect()
}

/// On either side many different scenes, and none on both.
fn apart<S: Subject>(task: &DrawnTask<S>, least: (usize, usize)) {
    let (train, eval) = (identities(task, Split::Train, 6_000), identities(task, Split::Eval, 2_000));
    assert!(train.is_disjoint(&eval), "{}", task.name());
    assert!(train.len() >= least.0 && eval.len() >= least.1, "{}: {} {}", task.name(), train.len(), eval.len());
}

#[test]
fn held_out_scenes_are_never_trained_on() {
    apart(&objects::task(), (5_000, 1_500));
    apart(&chart::task(), (1_500, 250));
    apart(&geometry::task(), (350, 40));
}

/// No kind of question and no answer is so common that guessing pays.
#[test]
fn questions_are_balanced() {
    for (name, kinds) in [("objects", 4), ("chart", 4), ("geometry", 4)] {
        for split in SPLITS {
            let mut tags: BTreeMap<String, u32> = BTreeMap::new();
            let mut count = |kind: &str, difficulty: &str| {
                *tags.entry(kind.to_owned()).or_default() += 1;
                *tags.entry(difficulty.to_owned()).or_default() += 1;
            };
            let rows = 1_000;
            match name {
                "objects" => {
                    scenes(&objects::task(), split, rows).iter().for_each(|s| count(s.kind(), s.difficulty().name()));
                }
                "chart" => {
                    scenes(&chart::task(), split, rows).iter().for_each(|s| count(s.kind(), s.difficulty().name()));
                }
                _ => {
                    scenes(&geometry::task(), split, rows).iter().for_each(|s| count(s.kind(), s.difficulty().name()));
                }
            }
            assert_eq!(tags.len(), kinds + 2, "{tags:?}");
            assert!(tags.values().all(|share| *share > 70), "{name} {split:?}: {tags:?}");
        }
    }
    let compared: Vec<String> = scenes(&objects::task(), Split::Train, 3_000)
        .into_iter()
        .filter(|scene: &ObjectsScene| scene.kind() == "compare")
        .map(|scene| scene.answer())
        .collect();
    let yes = compared.iter().filter(|answer| *answer == "yes").count() as f64 / compared.len() as f64;
    assert!((0.3..0.7).contains(&yes), "{yes}");
}

/// Both families take the pictures as they are: sides are multiples of 28 and of 32.
#[test]
fn pictures_need_no_resizing_and_show_their_objects() {
    for name in TASKS {
        let picture = &open(name).unwrap().example(Split::Eval, 3).unwrap().images[0];
        assert_eq!((picture.width() % 28, picture.height() % 32), (0, 0));
        let ink = picture.pixels().filter(|p| p.0.iter().all(|channel| *channel < 100)).count();
        assert!(ink > 300, "{name} has {ink} dark pixels");
    }
    // A red circle's colour is at its place and nowhere near an empty cell.
    let task = objects::task();
    for index in 0..30 {
        let scene = task.scene(Split::Train, index).unwrap();
        let (picture, cell) = (scene.paint(), 224 / scene.grid as u32);
        for at in 0..scene.grid * scene.grid {
            let (x, y) = ((at % scene.grid) as u32 * cell, (at / scene.grid) as u32 * cell);
            let coloured = (0..cell * cell)
                .filter(|p| {
                    let pixel = picture.get_pixel(x + p % cell, y + p / cell).0;
                    pixel.iter().max().unwrap() - pixel.iter().min().unwrap() > 60
                })
                .count();
            let object = scene.objects.iter().find(|object| object.cell == at);
            match object {
                Some(object) => assert!(coloured > 60, "{object:?} has {coloured} coloured pixels"),
                None => assert_eq!(coloured, 0, "cell {at} of row {index} is empty"),
            }
        }
    }
    assert_eq!(Shape::ALL.len(), 6);
}

#[test]
fn the_tasks_recommend_settings_and_refuse_rows_out_of_range() {
    for name in TASKS {
        let entry = built_in().into_iter().find(|entry| entry.name == name).unwrap();
        assert!(entry.description.contains("held-out"), "{}", entry.description);
        let error = open(name).unwrap().example(Split::Eval, 2_000).err().unwrap().to_string();
        assert!(error.contains("2000") && error.contains(name), "{error}");
    }
    let prints: BTreeSet<String> = TASKS.iter().map(|name| open(name).unwrap().fingerprint()).collect();
    assert_eq!(prints.len(), 3);
}
