//! Which linear layers a list of targets names.

use std::collections::BTreeSet;

use crate::model::error::ModelError;
use crate::model::linear::LinearShape;

/// The target that means every linear layer.
pub const ALL_LINEAR: &str = "all-linear";

/// The layers that `targets` name: [`ALL_LINEAR`]; the end of a name, as PEFT takes it (`q_proj`, `self_attn.q_proj`,
/// `visual.merger.mlp.0`); or a pattern for a whole name with `*` for any characters (`model.layers.1*.q_proj`).
///
/// # Errors
/// A target that matches no layer, with the available ones.
pub fn select<'a>(targets: &[String], layers: &'a [LinearShape]) -> Result<Vec<&'a LinearShape>, ModelError> {
    if let Some(unknown) = targets.iter().find(|target| !layers.iter().any(|layer| named(&layer.name, target))) {
        let known: BTreeSet<&str> = layers.iter().map(|layer| short(&layer.name)).collect();
        let known: Vec<&str> = known.into_iter().collect();
        return Err(ModelError::Target { target: unknown.clone(), known: known.join(", ") });
    }
    Ok(layers.iter().filter(|layer| targets.iter().any(|target| named(&layer.name, target))).collect())
}

fn named(name: &str, target: &str) -> bool {
    if target == ALL_LINEAR {
        return true;
    }
    if target.contains('*') {
        let pattern = format!("^{}$", regex::escape(target).replace(r"\*", ".*"));
        return regex::Regex::new(&pattern).is_ok_and(|pattern| pattern.is_match(name));
    }
    name.strip_suffix(target).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
}

/// The shortest ending that identifies the kind of layer; a number alone does not.
fn short(name: &str) -> &str {
    let last = name.rfind('.').map_or(0, |at| at + 1);
    if name[last..].parse::<u32>().is_err() {
        return &name[last..];
    }
    let before = name[..last.saturating_sub(1)].rfind('.').map_or(0, |at| at + 1);
    &name[before..]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layers() -> Vec<LinearShape> {
        ["model.layers.0.self_attn.q_proj", "model.layers.11.self_attn.q_proj", "visual.merger.mlp.0"]
            .map(|name| LinearShape { name: name.to_owned(), out: 2, inner: 3 })
            .to_vec()
    }

    fn names(targets: &[&str]) -> Vec<String> {
        let targets: Vec<String> = targets.iter().map(|t| (*t).to_owned()).collect();
        select(&targets, &layers()).unwrap().into_iter().map(|layer| layer.name.clone()).collect()
    }

    #[test]
    fn endings_patterns_and_all() {
        assert_eq!(names(&["q_proj"]).len(), 2);
        assert_eq!(names(&["self_attn.q_proj", "mlp.0"]).len(), 3);
        assert_eq!(names(&["all-linear"]).len(), 3);
        assert_eq!(names(&["model.layers.1*.q_proj"]), ["model.layers.11.self_attn.q_proj"]);
        assert_eq!(names(&["*q_proj", "q_proj"]).len(), 2, "a layer named twice is taken once");
    }

    #[test]
    fn a_target_that_names_nothing_is_an_error_with_those_that_there_are() {
        // Part of a name component does not match.
        for target in ["proj", "k_proj", "model.layers", "q_proj*x"] {
            let error = select(&[target.to_owned()], &layers()).unwrap_err().to_string();
            assert!(error.contains(&format!("`{target}`")) && error.contains("mlp.0, q_proj"), "{error}");
        }
    }
}
