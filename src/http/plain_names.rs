//! Names of code in descriptions of the document, as readers of the API know them.

use serde_json::Value;

/// Writes links of rustdoc, such as [`Method::Vgpo`], as plain names.
pub fn write(document: &mut Value) {
    match document {
        Value::Object(fields) => {
            for (name, value) in fields {
                match value {
                    Value::String(text) if matches!(name.as_str(), "description" | "summary") => *text = plain(text),
                    value => write(value),
                }
            }
        }
        Value::Array(values) => values.iter_mut().for_each(write),
        _ => {}
    }
}

/// [`Manifest`] is `Manifest`; of a path to a constant or a variant, its own name is what JSON says.
fn plain(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, link)) = rest.split_once("[`") {
        let Some((name, after)) = link.split_once("`]") else { break };
        out.push_str(before);
        let known = match name.rsplit_once("::") {
            None => name.to_owned(),
            Some(("kind", constant)) => constant.to_lowercase().replace('_', "."),
            Some((_, own)) => own.to_lowercase(),
        };
        out.extend(["`", known.trim_end_matches("()"), "`"]);
        rest = after;
    }
    out + rest
}

#[cfg(test)]
mod tests {
    use super::plain;

    #[test]
    fn links_become_names() {
        for (given, expected) in [
            ("Settings of [`Method::Vgpo`].", "Settings of `vgpo`."),
            ("Data of [`kind::CHECKPOINT_DELETED`].", "Data of `checkpoint.deleted`."),
            ("A stored [`SampleGroup`], [`Run`].", "A stored `SampleGroup`, `Run`."),
            ("a list `[1]`, [`open", "a list `[1]`, [`open"),
        ] {
            assert_eq!(plain(given), expected);
        }
    }
}
