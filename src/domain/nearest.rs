//! "Did you mean …": the known name that is nearest to a misspelt one.

/// Characters of a name for which a nearest one is looked for: the work grows with its length, and no name is as long.
const LONGEST: usize = 64;
/// Known names that a sentence lists.
const LISTED: usize = 40;

/// The candidate nearest to `name`, if one is near enough to be what was meant.
pub fn nearest<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    if name.len() > LONGEST {
        return None;
    }
    let lowered = name.to_lowercase();
    candidates
        .into_iter()
        .map(|candidate| (strsim::jaro_winkler(&lowered, &candidate.to_lowercase()), candidate))
        .filter(|(score, _)| *score >= 0.75)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, candidate)| candidate)
}

/// A sentence for an unknown name: the nearest known one, or the list of all of them.
pub fn suggestion(name: &str, candidates: &[&str]) -> String {
    match nearest(name, candidates.iter().copied()) {
        Some(near) => format!("did you mean `{near}`?"),
        None if candidates.is_empty() => "no names are known here".to_owned(),
        None if candidates.len() > LISTED => {
            let more = candidates.len() - LISTED;
            format!("known names: {} and {more} more", candidates[..LISTED].join(", "))
        }
        None => format!("known names: {}", candidates.join(", ")),
    }
}

/// Serde's complaint about a value with the wanted type as people say it.
pub fn types_in_words(complaint: &str) -> String {
    let Some((value, wanted)) = complaint.split_once(", expected ") else { return complaint.to_owned() };
    let (kind, rest) = wanted.split_at(wanted.find(' ').unwrap_or(wanted.len()));
    let words = match kind {
        "usize" | "u64" | "u32" | "u16" | "u8" => "a whole number of at least 0",
        "isize" | "i64" | "i32" => "a whole number",
        "f64" | "f32" => "a number",
        "struct" => return format!("{value}, expected an object"),
        _ => return complaint.to_owned(),
    };
    format!("{value}, expected {words}{rest}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_typo_finds_its_name_and_nonsense_finds_none() {
        let known = ["group_size", "temperature", "top_p"];
        assert_eq!(nearest("grup_size", known), Some("group_size"));
        assert_eq!(nearest("Temprature", known), Some("temperature"));
        assert_eq!(nearest("xyz", known), None);
        assert_eq!(nearest(&"top_p".repeat(1_000_000), known), None, "too long for a guess");
        assert_eq!(suggestion("xyz", &["a", "b"]), "known names: a, b");
    }

    #[test]
    fn types_are_said_in_words() {
        let said = types_in_words("invalid value: integer `-5`, expected usize");
        assert_eq!(said, "invalid value: integer `-5`, expected a whole number of at least 0");
        assert_eq!(types_in_words("invalid type: map, expected a string"), "invalid type: map, expected a string");
        assert_eq!(types_in_words("missing"), "missing");
    }
}
