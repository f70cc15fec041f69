//! "Did you mean …": the known name that is nearest to a misspelt one.

/// The candidate nearest to `name`, if one is near enough to be what was meant.
pub fn nearest<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
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
        None => format!("known names: {}", candidates.join(", ")),
    }
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
        assert_eq!(suggestion("xyz", &["a", "b"]), "known names: a, b");
    }
}
