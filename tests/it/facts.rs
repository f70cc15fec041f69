//! One fact, one place: a second copy of what is written down elsewhere fails here.

use std::path::{Path, PathBuf};

fn files(dir: &Path, ending: &str, out: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files(&path, ending, out);
        } else if path.extension().is_some_and(|e| e == ending) {
            out.push(path);
        }
    }
}

/// Paths and texts of the program's sources, without comments and unit tests.
fn sources() -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = Vec::new();
    files(&root.join("src"), "rs", &mut found);
    let read = |path: PathBuf| {
        let text = std::fs::read_to_string(&path).unwrap();
        let code = text.split("#[cfg(test)]").next().unwrap();
        let code: Vec<&str> = code.lines().filter(|line| !line.trim_start().starts_with("//")).collect();
        (path.strip_prefix(root).unwrap().display().to_string(), code.join("\n"))
    };
    found.into_iter().filter(|path| !path.ends_with("tests.rs")).map(read).collect()
}

/// The files outside of `home` whose code holds one of `texts`.
fn copies(home: &[&str], texts: &[&str]) -> Vec<String> {
    let mut faults = Vec::new();
    let mut at_home = 0;
    for (path, code) in sources() {
        for text in texts.iter().filter(|text| code.contains(**text)) {
            if home.contains(&path.as_str()) {
                at_home += 1;
            } else {
                faults.push(format!("{path} holds {text}, which belongs to {}", home.join(", ")));
            }
        }
    }
    assert!(at_home > 0, "{home:?} holds none of {texts:?}: the test looks for the wrong words");
    faults
}

#[test]
fn only_one_place_knows_how_models_are_named() {
    let home = ["src/domain/model_reference.rs", "src/domain/repository.rs"];
    let mut words = vec!["\"hf:".to_owned(), "}@last".to_owned(), "}@best".to_owned()];
    words.extend(vgpo::domain::model_reference::RESERVED.iter().map(|beginning| format!("\"{beginning}\"")));
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let faults = copies(&home, &words);
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

/// Lines of a page that list two of `keys` next to each other.
fn lists(keys: &[&str], text: &str) -> usize {
    let quoted =
        |key: &&str| [format!("'{key}', '"), format!("', '{key}'"), format!("\"{key}\", \""), format!("\", \"{key}\"")];
    let listed = |line: &&str| keys.iter().filter(|key| quoted(key).iter().any(|form| line.contains(form))).count() > 1;
    text.lines().filter(listed).count()
}

#[test]
fn headlines_are_flags_of_the_catalogue() {
    let keys: Vec<&str> = vgpo::domain::metric::headlines().map(|(key, _)| key).collect();
    assert!(keys.len() >= 3 && keys[0] == vgpo::domain::metric::EVAL_ACCURACY);
    assert_eq!(lists(&keys, "const SPARK_KEYS = ['reward/mean', 'eval/accuracy'];"), 1, "the test sees lists");
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut pages = Vec::new();
    files(&root.join("web/app"), "js", &mut pages);
    // Which series share a chart is another fact.
    pages.retain(|path| !path.ends_with("lib/curves.js"));
    let pages = pages.into_iter().map(|path| (path.display().to_string(), std::fs::read_to_string(&path).unwrap()));
    let all: Vec<(String, String)> = sources().into_iter().chain(pages).collect();
    let faults: Vec<&str> =
        all.iter().filter(|(_, code)| lists(&keys, code) > 0).map(|(path, _)| path.as_str()).collect();
    assert!(faults.is_empty(), "these list headline metrics instead of reading the catalogue: {faults:?}");
    let key = format!("\"{}\"", vgpo::domain::metric::EVAL_ACCURACY);
    let faults = copies(&["src/domain/metric.rs"], &[&key]);
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

fn api() -> serde_json::Value {
    serde_json::from_str(&vgpo::http::openapi_json().unwrap()).unwrap()
}

/// The forms of a tagged schema by their `type`.
fn forms(api: &serde_json::Value, schema: &str) -> Vec<(String, serde_json::Value)> {
    let forms = api["components"]["schemas"][schema]["oneOf"].as_array().unwrap();
    let named =
        forms.iter().map(|form| (form["properties"]["type"]["enum"][0].as_str().unwrap().to_owned(), form.clone()));
    named.collect()
}

#[test]
fn rewards_are_in_one_table() {
    use vgpo::domain::reward_kind::{REWARDS, WEIGHTED};
    let api = api();
    let forms = forms(&api, "RewardSpec");
    let (written, listed): (Vec<&str>, Vec<&str>) =
        (forms.iter().map(|(name, _)| name.as_str()).collect(), REWARDS.iter().map(|kind| kind.name).collect());
    assert_eq!(written, listed, "RewardSpec and the table name the same rewards in the same order");
    for ((name, form), kind) in forms.iter().zip(&REWARDS) {
        let mut names: Vec<&str> = kind.settings.iter().map(|setting| setting.name).chain(["type"]).collect();
        names.extend((name == WEIGHTED).then_some("parts"));
        let mut known: Vec<&str> = form["properties"].as_object().unwrap().keys().map(String::as_str).collect();
        names.sort_unstable();
        known.sort_unstable();
        assert_eq!(names, known, "settings of {name}");
        for setting in kind.settings {
            let required = form["required"].as_array().unwrap().iter().any(|required| required == setting.name);
            assert_eq!(setting.required, required, "{name}.{}", setting.name);
        }
        let bare = kind.settings.iter().all(|setting| !setting.required) && name != WEIGHTED;
        assert_eq!(kind.start.is_none(), bare, "{name}: what needs more than its type says what it begins with");
        if let Some(start) = kind.start {
            assert_eq!(form["examples"][0], start());
            let spec = vgpo::config::job::reward(&start()).unwrap();
            assert_eq!(serde_json::to_value(spec).unwrap(), start(), "{name}");
        }
    }
    // Rewards that need no server and no model are built from their first settings.
    for kind in REWARDS.iter().filter(|kind| !["webhook", "image_text"].contains(&kind.name)) {
        let start = kind.start.map_or_else(|| serde_json::json!({"type": kind.name}), |start| start());
        vgpo::reward::build(&serde_json::from_value(start).unwrap()).unwrap();
    }
    let named: Vec<String> = REWARDS.iter().map(|kind| format!("\"{}\", \"", kind.name)).collect();
    let faults = sources().into_iter().filter(|(path, code)| {
        path != "src/domain/reward_kind.rs" && named.iter().filter(|name| code.contains(name.as_str())).count() > 4
    });
    let faults: Vec<String> = faults.map(|(path, _)| path).collect();
    assert!(faults.is_empty(), "these list rewards: {faults:?}");
}

#[test]
fn methods_are_in_one_table() {
    use vgpo::config::method::OBJECTIVES;
    use vgpo::domain::method::{Method, NAMES, Variant};
    let api = api();
    let forms = forms(&api, "Method");
    let written: Vec<&str> = forms.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(written, NAMES, "the methods of the API's document");
    assert_eq!(OBJECTIVES.map(|objective| objective.name), NAMES, "the table of methods");
    for objective in &OBJECTIVES {
        for variant in [Variant::Paper, Variant::Released] {
            let method = (objective.defaults)(variant);
            assert_eq!(method.name(), objective.name);
            let settings = serde_json::to_value(&method).unwrap();
            assert_eq!(serde_json::from_value::<Method>(settings.clone()).unwrap(), method);
            let asked = serde_json::json!({"type": objective.name, "variant": settings.get("variant")});
            let known = settings.get("variant").is_some();
            let asked = if known { asked } else { serde_json::json!({"type": objective.name}) };
            assert_eq!(vgpo::config::job::method(Some(&asked)).unwrap(), method);
            let mut strange = settings;
            strange["strange"] = 1.into();
            let refused = serde_json::from_value::<Method>(strange).unwrap_err().to_string();
            assert!(refused.contains("strange"), "{refused}");
            match vgpo::algorithm::build(&method) {
                Ok(algorithm) => assert_eq!(algorithm.name(), objective.name),
                Err(error) => assert!(!method.trains(), "{error}"),
            }
        }
    }
    for (name, form) in &forms {
        for setting in form["properties"].as_object().unwrap().keys() {
            let pointer = format!("/method/{setting}");
            assert!(
                vgpo::domain::job_field::find(&pointer).is_some(),
                "{name}: {pointer} is not in the table of fields"
            );
        }
        assert_eq!(form["additionalProperties"], false, "{name}");
    }
    let listed: Vec<String> = NAMES.iter().map(|name| format!("\"{name}\", \"")).collect();
    let faults = sources().into_iter().filter(|(path, code)| {
        path != "src/domain/method.rs" && listed.iter().filter(|name| code.contains(name.as_str())).count() > 2
    });
    let faults: Vec<String> = faults.map(|(path, _)| path).collect();
    assert!(faults.is_empty(), "these list methods: {faults:?}");
}

/// Every number of requests: where it is in the document, and its schema.
fn request_numbers(api: &serde_json::Value) -> Vec<(String, serde_json::Value)> {
    fn walk(
        api: &serde_json::Value,
        at: String,
        schema: &serde_json::Value,
        out: &mut Vec<(String, serde_json::Value)>,
    ) {
        if let Some(target) = schema["$ref"].as_str() {
            let name = target.rsplit('/').next().unwrap().to_owned();
            if !out.iter().any(|(known, _)| *known == name) {
                out.push((name.clone(), serde_json::Value::Null));
                walk(api, name, api.pointer(target.trim_start_matches('#')).unwrap(), out);
            }
            return;
        }
        let is = |kind: &str| {
            schema["type"] == kind || schema["type"].as_array().is_some_and(|all| all.contains(&kind.into()))
        };
        if is("number") || is("integer") {
            out.push((at.clone(), schema.clone()));
        }
        for list in ["oneOf", "anyOf", "allOf"] {
            for part in schema[list].as_array().into_iter().flatten() {
                walk(api, at.clone(), part, out);
            }
        }
        for one in ["items", "additionalProperties"].into_iter().filter(|one| schema[*one].is_object()) {
            walk(api, format!("{at}[]"), &schema[one], out);
        }
        for (name, property) in schema["properties"].as_object().into_iter().flatten() {
            walk(api, format!("{at}.{name}"), property, out);
        }
    }
    let mut out = Vec::new();
    for (path, item) in api["paths"].as_object().unwrap() {
        for operation in item.as_object().unwrap().values() {
            for parameter in operation["parameters"].as_array().into_iter().flatten() {
                walk(api, format!("{path}?{}", parameter["name"].as_str().unwrap()), &parameter["schema"], &mut out);
            }
            walk(api, path.clone(), &operation["requestBody"]["content"]["application/json"]["schema"], &mut out);
        }
    }
    // What a request for a job becomes; the request itself is as free as it has to be.
    walk(api, String::new(), &serde_json::json!({"$ref": "#/components/schemas/JobSpec"}), &mut out);
    out.retain(|(_, schema)| !schema.is_null());
    out
}

#[test]
fn the_document_bounds_every_number_of_a_request() {
    let api = api();
    let numbers = request_numbers(&api);
    assert!(numbers.len() > 100, "{}", numbers.len());
    // Finite numbers without an end.
    let any = [
        "ScoreRequest.rewards[]",
        "RewardSpec.low",
        "RewardSpec.high",
        "WeightedReward.weight",
        "FilterSpec.low",
        "FilterSpec.high",
    ];
    let mut faults = Vec::new();
    for (at, schema) in &numbers {
        let has = |name: &str| schema.get(name).is_some();
        let bounded = has("minimum") || has("exclusiveMinimum");
        if any.contains(&at.as_str()) {
            assert!(!bounded, "{at} is bounded: take it from the list");
        } else if !bounded || (schema["type"].to_string().contains("integer") && !has("maximum")) {
            faults.push(at.as_str());
        }
    }
    assert!(faults.is_empty(), "no range: {faults:?}");
    let schema = |wanted: &str| numbers.iter().find(|(at, _)| at == wanted).map(|(_, schema)| schema.clone()).unwrap();
    assert_eq!(schema("GenerateRequest.temperature")["maximum"], 10);
    assert_eq!(schema("Method.kappa")["exclusiveMinimum"], 0);
    assert_eq!(schema("OptimizerSpec.betas[]")["exclusiveMaximum"], 1);
    assert_eq!(schema("JobPatch.priority")["minimum"], -1_000_000);
    assert_eq!(schema("RewardSpec.retries")["maximum"], 20);
    assert_eq!(schema("/v1/jobs?limit")["maximum"], 1000);
}

/// What the document says of a job's number is what the check of jobs says: just inside fits, just outside does not.
#[test]
fn ranges_in_the_document_are_those_of_the_checks() {
    use vgpo::domain::job_field::FIELDS;
    use vgpo::domain::kind::{Kind, Span};
    let api = api();
    let mut checked = 0;
    for (at, schema) in request_numbers(&api) {
        let Some(name) = at.strip_prefix("Method.") else { continue };
        let field = FIELDS.iter().find(|field| field.pointer == format!("/method/{name}"));
        let Some(field) = field else { continue };
        let Kind::Number(span) = field.kind else { continue };
        if let Some(low) = schema["minimum"].as_f64() {
            assert!(
                field.kind.complaint(&low.into()).is_none() && field.kind.complaint(&(low - 0.001).into()).is_some(),
                "{at}"
            );
        }
        if let Some(low) = schema["exclusiveMinimum"].as_f64() {
            assert!(
                field.kind.complaint(&low.into()).is_some() && field.kind.complaint(&(low + 0.001).into()).is_none(),
                "{at}"
            );
        }
        assert_eq!(
            schema["maximum"].is_number() || schema["exclusiveMaximum"].is_number(),
            span.high().is_some(),
            "{at}"
        );
        checked += usize::from(span != Span::Any);
    }
    assert!(checked > 10, "{checked}");
}

#[test]
fn help_prints_the_defaults_of_the_settings() {
    let faults: Vec<String> = sources()
        .into_iter()
        .filter(|(path, _)| path.starts_with("src/cli/"))
        .flat_map(|(path, code)| {
            let given = vgpo::config::app::settings().iter().filter(|setting| !setting.default.is_empty());
            let copied = given.filter(|setting| code.contains(&format!("default: {}", setting.default)));
            let copied = copied.map(|setting| setting.key);
            copied.map(|key| format!("{path} repeats the default of {key}")).collect::<Vec<_>>()
        })
        .collect();
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    let help = std::process::Command::new(env!("CARGO_BIN_EXE_vgpo")).args(["serve", "--help"]).output().unwrap();
    let help = String::from_utf8(help.stdout).unwrap();
    for key in ["port", "roles", "engine_batch_rows", "max_queued_tokens", "data_dir"] {
        let setting = vgpo::config::app::settings().iter().find(|setting| setting.key == key).unwrap();
        let text = help.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(text.contains(&format!("[default: {}; {}]", setting.default, setting.variable)), "{key}: {text}");
    }
}

/// Lines of code outside of a family's folder that know it.
fn knows_a_family(folder: &str, families: &[&str], types: &[&str]) -> Vec<String> {
    let own = |path: &str| families.iter().any(|family| path.starts_with(&format!("src/model/{family}/")));
    // What ships with the program is made of a family, as any checkpoint is.
    let made = |path: &str| path.starts_with("src/starter/") || path.starts_with("src/bench/");
    let mut found = Vec::new();
    for (path, code) in sources().into_iter().filter(|(path, _)| !own(path)) {
        for line in code.lines() {
            let typed = types.iter().any(|name| line.contains(&format!("\"{name}\"")));
            let known = if made(&path) { line.contains(&format!("model::{folder}")) } else { line.contains(folder) };
            if known || (typed && !made(&path)) {
                found.push(format!("{path}: {}", line.trim()));
            }
        }
    }
    found
}

#[test]
fn a_family_costs_its_folder_and_one_line() {
    let types: Vec<&str> = vgpo::model::families().map(|family| family.model_type).collect();
    assert_eq!(types, ["qwen2_vl", "qwen2_5_vl", "qwen3_vl", "qwen3_5", "qwen3_5_text"]);
    let folders = ["qwen_vl", "qwen3_5"];
    for folder in folders {
        let home = format!("src/model/{folder}/mod.rs");
        let (_, code) = sources().into_iter().find(|(path, _)| *path == home).unwrap();
        let own: Vec<&str> = types.iter().copied().filter(|name| code.contains(&format!("\"{name}\""))).collect();
        assert!(!own.is_empty(), "{home} registers nothing");
        let found = knows_a_family(folder, &folders, &own);
        let (listed, others): (Vec<String>, Vec<String>) =
            found.into_iter().partition(|line| line.contains(&format!("{folder}::FAMILIES")));
        assert_eq!(listed.len(), 1, "{listed:?}");
        // Its module, and the name in the one `use` of the registry.
        let declared = |line: &String| {
            *line == format!("src/model/mod.rs: pub mod {folder};")
                || line.starts_with("src/model/load.rs: use super::")
        };
        let others: Vec<&String> = others.iter().filter(|line| !declared(line)).collect();
        assert!(others.is_empty(), "{folder} is known outside of its folder: {others:#?}");
    }
}
