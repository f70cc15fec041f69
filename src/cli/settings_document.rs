//! Generates docs/settings.md from the program's tables and the API's document.

use std::fmt::Write as _;

use crate::config::app::settings;
use crate::config::job::{Described, describe};
use serde_json::Value;

const HEAD: &str = "# Settings

Written by `vgpo config document`; a test holds it against the program.

## Jobs

What a job of `POST /v1/jobs` or of `vgpo jobs submit` may say. A value comes from the request, else from what the model or the
data set recommends, else it is the default; `POST /v1/jobs?dry_run=true` tells which of the three every value is. Fields of
`method` belong to the methods named. *Paper* is what arXiv 2604.09349 sets, *released* what `variant: released` takes from
the authors' code where that differs. An empty default means that the request has to say, or that it is made of others.
Rewards have fields of their own: [rewards.md](rewards.md).

";

const PROGRAM: &str = "
## Program

Flags go before environment variables, those before `vgpo.toml` (`--config`, `VGPO_CONFIG`), and that before defaults.
`vgpo config show` prints the value of every setting and where it came from. Secrets can be read from a file: append `_FILE` to the
variable.

| setting | environment | default | meaning |
|---|---|---|---|
";

/// The whole document.
pub fn document() -> Result<String, String> {
    let api = crate::http::openapi_json().map_err(|error| error.to_string())?;
    let api: Value = serde_json::from_str(&api).map_err(|error| error.to_string())?;
    let mut text = HEAD.to_owned();
    text.push_str("| field | default | range | paper | released | meaning |\n|---|---|---|---|---|---|\n");
    for setting in describe() {
        text.push_str(&row(&setting, &meaning(&api, setting.pointer)));
    }
    text.push_str(PROGRAM);
    for setting in settings() {
        let default = if setting.default.is_empty() { String::new() } else { format!("`{}`", setting.default) };
        let _ = writeln!(text, "| `{}` | `{}` | {default} | {} |", setting.key, setting.variable, cell(setting.about));
    }
    Ok(text)
}

fn row(setting: &Described, meaning: &str) -> String {
    let name = setting.pointer.trim_start_matches('/').replace('/', ".");
    let shown = |value: &Option<Value>| value.as_ref().map(code).unwrap_or_default();
    let released = setting.released.as_ref().filter(|released| Some(*released) != setting.paper.as_ref());
    format!(
        "| `{name}` | {} | {} | {} | {} | {} |\n",
        default(setting),
        cell(&setting.range),
        shown(&setting.paper),
        shown(&released.cloned()),
        cell(meaning)
    )
}

/// The default of most methods, then the exceptions.
fn default(setting: &Described) -> String {
    let Some((_, first)) = setting.defaults.first() else { return String::new() };
    let others: Vec<String> = setting
        .defaults
        .iter()
        .filter(|(_, value)| value != first)
        .map(|(method, value)| format!("{method} {}", code(value)))
        .collect();
    if setting.pointer == "/method/type" {
        return code(first);
    }
    let whose = if setting.pointer.starts_with("/method/") {
        let same = setting.defaults.iter().filter(|(_, value)| value == first).map(|(method, _)| *method);
        format!("{} ", same.collect::<Vec<_>>().join(", "))
    } else {
        String::new()
    };
    std::iter::once(whose + &code(first)).chain(others).collect::<Vec<_>>().join("; ")
}

fn code(value: &Value) -> String {
    format!("`{}`", cell(&value.to_string()))
}

fn cell(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ").replace('|', "\\|")
}

/// The description of a job's field in the API's document.
fn meaning(api: &Value, pointer: &str) -> String {
    let mut schemas = vec![&api["components"]["schemas"]["JobSpec"]];
    for name in pointer.trim_start_matches('/').split('/') {
        schemas = schemas.into_iter().flat_map(|schema| properties(api, schema, name)).collect();
    }
    let own = schemas.iter().find_map(|schema| schema["description"].as_str());
    let own = own.or_else(|| schemas.iter().find_map(|schema| target(api, schema)?["description"].as_str()));
    match (own, pointer.rsplit_once('/')) {
        (Some(own), _) => own.to_owned(),
        // The tag of alternatives: use the description of their parent.
        (None, Some((parent, _))) if !parent.is_empty() => meaning(api, parent),
        _ => String::new(),
    }
}

fn target<'a>(api: &'a Value, schema: &'a Value) -> Option<&'a Value> {
    let name = schema["$ref"].as_str()?.rsplit('/').next()?;
    api["components"]["schemas"].get(name)
}

/// The property `name` of a schema, following references and alternatives.
fn properties<'a>(api: &'a Value, schema: &'a Value, name: &str) -> Vec<&'a Value> {
    let mut found: Vec<&Value> = schema["properties"].get(name).into_iter().collect();
    if let Some(target) = target(api, schema) {
        found.extend(properties(api, target, name));
    }
    for alternatives in ["allOf", "oneOf", "anyOf"] {
        for alternative in schema[alternatives].as_array().into_iter().flatten() {
            found.extend(properties(api, alternative, name));
        }
    }
    found
}
