//! Labels of jobs and runs: how many, how long, and what they may hold.

use super::brief::{QUOTED, cut, is_printable};

/// Labels of one job or run.
pub const MOST: usize = 64;
/// Characters of a label's name.
pub const NAME: usize = 100;
/// Characters of its value.
pub const VALUE: usize = 500;

/// What is wrong with these labels; `None` when nothing is.
pub fn complaint<'a>(tags: impl ExactSizeIterator<Item = (&'a str, &'a str)>) -> Option<String> {
    if tags.len() > MOST {
        return Some(format!("has {} labels; the limit is {MOST}", tags.len()));
    }
    let fits = |text: &str, most: usize| text.chars().count() <= most && text.chars().all(is_printable);
    for (name, value) in tags {
        if name.trim().is_empty() || !fits(name, NAME) {
            let name = cut(name, QUOTED);
            return Some(format!("has the name `{name}`; a name has 1 to {NAME} printable characters"));
        }
        if !fits(value, VALUE) {
            let (name, value) = (cut(name, QUOTED), cut(value, QUOTED));
            return Some(format!("has `{name}`: `{value}`; a value has at most {VALUE} printable characters"));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_few_short_and_printable() {
        let told = |tags: &[(&str, &str)]| complaint(tags.iter().copied());
        assert_eq!(told(&[("team", "vision"), ("empty", "")]), None);
        assert!(told(&vec![("a", "b"); MOST + 1]).unwrap().contains("has 65 labels; the limit is 64"));
        for (name, value) in [("", "x"), ("a\u{1b}[2J", "x"), ("a", "b\nc"), ("a", "\u{202e}b")] {
            assert!(told(&[(name, value)]).unwrap().contains("printable"), "{name:?} {value:?}");
        }
        assert!(told(&[(&"n".repeat(NAME + 1), "x")]).is_some());
        assert!(told(&[("n", &"v".repeat(VALUE + 1))]).is_some());
    }
}
