//! Chat templates: the environment of Hugging Face's tools, what it has not, and what a template begins for the
//! response.

use std::path::Path;

use vgpo::domain::message::{Content, Message, Role};
use vgpo::prompt::{Processor, PromptError};

use super::{LIMITS, fixtures, json, model_info, user};

const PLAIN: &str = "{%- for m in messages -%}{{- '<|im_start|>' + m.role + '\n' -}}{%- if m.content is string -%}{{- \
m.content -}}{%- else -%}{%- for c in m.content -%}{%- if c.type == 'image' -%}{{- \
'<|vision_start|><|image_pad|><|vision_end|>' -}}{%- else -%}{{- c.text -}}{%- endif -%}{%- endfor -%}{%- endif -%}{{- \
'<|im_end|>\n' -}}{%- endfor -%}{%- if add_generation_prompt -%}{{- '<|im_start|>assistant\n' -}}{%- endif -%}";

fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let family = fixtures().join("models/qwen2_5_vl_tiny/checkpoint");
    for file in ["tokenizer.json", "tokenizer_config.json", "preprocessor_config.json"] {
        std::fs::copy(family.join(file), dir.path().join(file)).unwrap();
    }
    for (file, content) in files {
        std::fs::write(dir.path().join(file), content).unwrap();
    }
    dir
}

fn open(dir: &Path) -> Result<Processor, PromptError> {
    Processor::from_dir(dir, &model_info(&json("models/qwen2_5_vl_tiny/checkpoint/config.json")))
}

fn with_template(template: &str) -> Result<Processor, PromptError> {
    open(folder(&[("chat_template.jinja", template)]).path())
}

fn message(role: Role, text: &str) -> Message {
    Message { role, content: Content::Text(text.to_owned()) }
}

fn text(template: &str) -> String {
    let turns = [user("Hi"), message(Role::Assistant, "Ho"), user("Bye")];
    with_template(template).unwrap().render(&turns, &[], &LIMITS, true).unwrap().text
}

#[test]
fn what_hugging_faces_environment_has_is_there() {
    let plain = text(PLAIN);
    let marked = PLAIN.replace(
        "{{- m.content -}}{%- else -%}",
        "{%- if m.role == 'assistant' -%}{%- generation -%}{{- m.content -}}{%- endgeneration -%}{%- else -%}{{- \
         m.content -}}{%- endif -%}{%- else -%}",
    );
    assert_ne!(marked, PLAIN);
    assert_eq!(text(&marked), plain);
    for before in [
        "{%- set d = strftime_now('%Y-%m-%d') -%}",
        "{%- set d = {'a': 1} | tojson(ensure_ascii=False, separators=(',', ': '), sort_keys=True, indent=none) -%}",
        "{%- for i in range(9) -%}{%- if i > 2 -%}{%- break -%}{%- endif -%}{%- continue -%}{%- endfor -%}",
        "{%- if not (messages[::-1] | list) -%}{{ raise_exception('x') }}{%- endif -%}",
        "{%- set c = cycler('a', 'b') -%}{%- set j = joiner(', ') -%}{%- set x = 'ab' | center(6) | truncate(4) -%}",
        "{%- if raise_exception is callable and 'x'.startswith(('x', 'y')) -%}{%- endif -%}",
        "{%- set ns = namespace(n=0) -%}{%- set ns.n = 'a b' | wordcount -%}",
    ] {
        assert_eq!(text(&format!("{before}{PLAIN}")), plain, "{before}");
    }
    // In the order in which they were written.
    let ordered = text(&format!("{{{{- {{'b': 1, 'a': messages[0]}} | tojson -}}}}{PLAIN}"));
    assert!(ordered.starts_with(r#"{"b": 1, "a": {"role": "user", "content": "Hi"}}"#), "{ordered}");
    // A scope of its own, as there.
    let scoped = "{%- set x = 'out' -%}{%- generation -%}{%- set x = 'in' -%}{%- endgeneration -%}{{- x -}}";
    assert!(text(&format!("{scoped}{PLAIN}")).starts_with("out<|im_start|>"));
}

#[test]
fn a_template_that_needs_more_is_refused_when_it_is_opened() {
    for (before, word) in [
        ("{{- unheard_of() -}}", "unheard_of"),
        ("{{- 'x' | unheard_of -}}", "unheard_of"),
        ("{%- if 1 is unheard_of -%}{%- endif -%}", "unheard_of"),
        ("{{- 'x'.unheard_of() -}}", "unheard_of"),
        ("{%- if messages[0].role == 'system' -%}{{- unheard_of() -}}{%- endif -%}", "unheard_of"),
        ("{%- unheard_of -%}", "unheard_of"),
        ("{{- raise_exception('Only on Sundays') -}}", "Only on Sundays"),
        ("{{- messages.a.b -}}", "cannot be run"),
    ] {
        let error = with_template(&format!("{before}{PLAIN}")).unwrap_err();
        assert!(!error.is_input() && error.to_string().contains(word), "{before}: {error}");
        assert!(error.to_string().contains("chat_template.jinja"), "{error}");
    }
    // What never runs here may be missing.
    with_template(&format!("{{%- if tools -%}}{{{{- unheard_of() -}}}}{{%- endif -%}}{PLAIN}")).unwrap();
}

/// Messages that a template refuses are the fault of whoever sent them, in the template's own words.
#[test]
fn a_templates_own_complaint_is_about_the_messages() {
    let strict = format!(
        "{{%- if messages[0].role == 'assistant' -%}}{{{{- raise_exception('Begin with the user') -}}}}{{%- endif \
        -%}}{PLAIN}"
    );
    let processor = with_template(&strict).unwrap();
    let error = processor.render(&[message(Role::Assistant, "Ho")], &[], &LIMITS, true).unwrap_err();
    assert!(error.is_input() && error.to_string() == "chat template: Begin with the user", "{error}");
}

#[test]
fn two_templates_that_differ_are_refused() {
    let as_json = |template: &str| serde_json::json!({ "chat_template": template }).to_string();
    let same = as_json(PLAIN);
    open(folder(&[("chat_template.jinja", PLAIN), ("chat_template.json", &same)]).path()).unwrap();
    open(folder(&[("processor_config.json", &same)]).path()).unwrap();
    let other = as_json(&format!("x{PLAIN}"));
    for file in ["chat_template.json", "processor_config.json"] {
        let error = open(folder(&[("chat_template.jinja", PLAIN), (file, &other)]).path()).unwrap_err().to_string();
        assert!(error.contains("chat_template.jinja") && error.contains(file), "{error}");
    }
}

#[test]
fn what_a_template_begins_is_known() {
    let opened = |end: &str| {
        let template =
            PLAIN.replace("assistant\n' -}}{%- endif -%}", &format!("assistant\n{end}' -}}}}{{%- endif -%}}"));
        let asked = user("Write <think> … </think>, then the answer.");
        with_template(&template).unwrap().render(&[asked], &[], &LIMITS, true).unwrap()
    };
    let none = opened("");
    assert_eq!((none.opened.as_str(), none.continuation("<think> a")), ("", "<think> a"));
    let open = opened("<think>");
    assert_eq!(open.opened, "<think>");
    assert_eq!(open.continuation("<think> see 3 </think> 3"), " see 3 </think> 3");
    assert_eq!(open.continuation("\n<think>\nsee"), "\nsee");
    assert_eq!(open.continuation("see 3 </think> 3"), "see 3 </think> 3");
    let line = opened("<think>\n");
    assert_eq!((line.opened.as_str(), line.continuation("<think>\nsee")), ("<think>\n", "see"));
    let closed = opened("<think>\n\n</think>\n\n");
    assert_eq!(closed.opened, "<think>\n\n</think>\n\n");
    assert_eq!(closed.continuation("<think></think>\n3"), "3");
    assert_eq!(closed.continuation("<think> see </think> 3"), "<think> see </think> 3");
    assert_eq!(opened("Let us see: <reasoning>").opened, "<reasoning>");
    assert_eq!(opened("a < b > c <|im_end|>").opened, "");
}
