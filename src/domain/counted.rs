//! Numbers with their nouns.

/// `1 circle`, `2 circles`: a number with its noun.
pub fn counted(number: usize, one: &str, many: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { many })
}
