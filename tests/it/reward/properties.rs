//! Whatever a model writes: no panic, bounded work, an answer equals itself.

use proptest::prelude::*;
use vgpo::domain::spec::RewardSpec;
use vgpo::reward::math::{equivalent, reading_work};
use vgpo::reward::{RewardInput, build};

/// Pieces that the grader knows, in any order.
fn latex() -> impl Strategy<Value = String> {
    let pieces = [
        "\\frac",
        "{",
        "}",
        "(",
        ")",
        "[",
        "]",
        "\\{",
        "\\}",
        "1",
        "23",
        ".",
        ",",
        " ",
        "x",
        "ab",
        "word",
        "\\sqrt",
        "^",
        "_",
        "-",
        "+",
        "*",
        "/",
        "=",
        "<",
        "\\le",
        "\\pi",
        "%",
        "\\%",
        "°",
        "π",
        "√",
        "−",
        "²",
        "cm",
        " or ",
        " and ",
        "\\cup",
        "\\pm",
        ":",
        "|",
        "!",
        "\\text{",
        "\\boxed{",
        "\\left",
        "\\infty",
        "e",
        "e9",
        "\\begin{pmatrix}",
        "\\end{pmatrix}",
        "&",
        "\\\\",
        "sin",
        "\\log_",
        "million",
        "\u{E000}",
        "é",
        "𝛑",
        "$",
        "\\",
    ];
    prop::collection::vec(prop::sample::select(pieces.to_vec()), 0..40).prop_map(|p| p.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn no_text_panics(truth in ".{0,60}", answer in ".{0,60}") {
        let response = format!("<think>{truth}</think>\\boxed{{{answer}}}");
        for spec in [RewardSpec::Math, RewardSpec::Format] {
            let input = RewardInput { response: &response, ground_truth: &truth, ..RewardInput::default() };
            let verdict = build(&spec).unwrap().judge(input);
            prop_assert!(verdict.reward == 0.0 || verdict.reward == 1.0);
        }
    }

    #[test]
    fn no_latex_panics_and_equality_is_symmetric(a in latex(), b in latex()) {
        // A box in the text of the truth alone is unwrapped, which is not symmetric.
        if !a.contains("\\boxed") && !b.contains("\\boxed") && a.len() > 3 && b.len() > 3 {
            prop_assert_eq!(equivalent(&a, &b), equivalent(&b, &a));
        } else {
            equivalent(&a, &b);
        }
    }

    #[test]
    fn an_answer_equals_itself(text in latex()) {
        if !text.contains("\\boxed") {
            prop_assert!(equivalent(&text, &text), "{}", text);
        }
    }

    #[test]
    fn integers_are_equal_only_to_themselves(a in any::<i64>(), b in any::<i64>()) {
        prop_assert_eq!(equivalent(&a.to_string(), &b.to_string()), a == b);
        let decimal = format!("{a}.0");
        prop_assert!(equivalent(&a.to_string(), &decimal));
    }

    #[test]
    fn fractions_are_equal_by_value(n in -999_i64..999, d in 1_i64..999, k in 1_i64..99) {
        let truth = format!("\\frac{{{n}}}{{{d}}}");
        let widened = format!("{}/{}", n * k, d * k);
        prop_assert!(equivalent(&truth, &widened));
        let next = format!("{}/{d}", n + 1);
        prop_assert!(!equivalent(&truth, &next));
    }
}

/// A bound on work instead of on time: an answer of a thousand bytes is taken apart by looking at 2^16 bytes at most,
/// and a longer one is only compared.
#[test]
fn hostile_texts_take_bounded_work() {
    let hostile = [
        "9^".repeat(400) + "9",
        "9!".to_owned() + &"!".repeat(900),
        "(".repeat(1000),
        "-".repeat(1000) + "1",
        "\\frac".repeat(200),
        "\\sqrt{".repeat(160) + "2" + &"}".repeat(160),
        "{1,".repeat(300) + &"}".repeat(300),
        "1,".repeat(499),
        "x+".repeat(499) + "x",
        "1 or ".repeat(190) + "1",
        "a=".repeat(499) + "a",
        "\\pm1,".repeat(190),
        "|".repeat(999),
        "5 cm ".repeat(190),
        nested_relations(5),
        "\\boxed{".repeat(100_000),
        "\\text{".repeat(100_000),
        " < ".repeat(100_000),
    ];
    for a in &hostile {
        let work = reading_work(a);
        assert!(work <= a.len().max(1 << 16), "{work} bytes were looked at for {:.40}", a);
        for b in &hostile {
            equivalent(a, b);
        }
        let spec = RewardSpec::Format;
        build(&spec).unwrap().judge(RewardInput { response: a, ground_truth: a, ..RewardInput::default() });
    }
}

/// Relations in brackets in relations: every level may be read as more than one kind of structure.
fn nested_relations(depth: usize) -> String {
    (0..depth).fold("1:2".to_owned(), |inner, _| format!("({inner}<{inner}):1,2"))
}

#[test]
fn ordinary_answers_are_read_whole() {
    for text in ["\\frac{1}{2}", "(1, 2, 3)", "x = 3 or x = 4", "\\{1, 2\\}", "[0, 1) \\cup (2, 3]"] {
        assert!(reading_work(text) < 40 * text.len(), "{text}: {}", reading_work(text));
    }
}
