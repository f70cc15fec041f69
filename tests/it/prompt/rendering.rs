//! Errors and forms of prompts that the goldens do not show.

use std::path::Path;
use std::sync::Arc;

use image::RgbImage;
use vgpo::domain::message::{Content, Message, Part, Role};
use vgpo::prompt::{Processor, PromptError, PromptLimits, PromptTemplate, messages_for};

use super::{LIMITS, fixtures, image_part, json, model_info, picture, processor, text_part, user};

fn with_parts(parts: Vec<Part>) -> Vec<Message> {
    vec![Message { role: Role::User, content: Content::Parts(parts) }]
}

#[test]
fn an_overlong_prompt_is_an_error_with_counts() {
    let processor = processor("qwen2_5_vl_tiny");
    let image = picture("models/qwen2_5_vl_tiny/images/a_56x84.png");
    let messages = with_parts(vec![image_part(), text_part("What is the area of the red square?")]);
    let limits = |max_prompt_tokens| PromptLimits { max_prompt_tokens, ..LIMITS };
    assert_eq!(processor.render(&messages, std::slice::from_ref(&image), &limits(40), true).unwrap().ids.len(), 40);
    let error = processor.render(&messages, &[image], &limits(39), true).unwrap_err();
    assert!(matches!(error, PromptError::TooLong { tokens: 40, image_tokens: 6, limit: 39 }), "{error}");
    assert!(error.to_string().contains("40") && error.to_string().contains("39"));
}

/// The limits allow an area that no memory holds: refused by its token count alone.
#[test]
fn an_absurd_image_area_is_refused_by_count() {
    let processor = processor("qwen2_5_vl_tiny");
    let limits = PromptLimits { min_pixels: Some(1 << 50), max_pixels: Some(1 << 60), ..LIMITS };
    let image = Arc::new(RgbImage::new(10, 10));
    let error = processor.render(&with_parts(vec![image_part()]), &[image], &limits, true).unwrap_err();
    assert!(matches!(error, PromptError::TooLong { .. }), "{error}");
}

#[test]
fn a_thin_image_is_refused() {
    let processor = processor("qwen2_5_vl_tiny");
    let image = Arc::new(RgbImage::new(1, 600));
    let error = processor.render(&with_parts(vec![image_part()]), &[image], &LIMITS, true).unwrap_err();
    assert!(error.is_input() && error.to_string().contains("1 x 600"), "{error}");
}

#[test]
fn images_and_parts_must_agree() {
    let processor = processor("qwen2_5_vl_tiny");
    let error = processor.render(&with_parts(vec![image_part(), image_part()]), &[], &LIMITS, true).unwrap_err();
    assert!(error.to_string().contains("2 image parts, but 0 images"), "{error}");
    let image = Arc::new(RgbImage::new(56, 56));
    assert!(processor.render(&[user("hi")], &[image], &LIMITS, true).is_err());
}

#[test]
fn videos_are_refused_by_name() {
    let part: Part = serde_json::from_str(r#"{"type": "video", "video": "data:video/mp4;base64,AA=="}"#).unwrap();
    let error = processor("qwen2_5_vl_tiny").render(&with_parts(vec![part]), &[], &LIMITS, true).unwrap_err();
    assert!(matches!(error, PromptError::Video { message: 0 }) && error.to_string().contains("video"));
}

#[test]
fn rows_become_messages() {
    let render = |prompt: &str, images: usize, system: Option<&str>| {
        let messages = messages_for(prompt, images, system).unwrap();
        let images: Vec<_> = (0..images).map(|_| Arc::new(RgbImage::new(56, 56))).collect();
        processor("qwen3_vl_tiny").render(&messages, &images, &LIMITS, false).unwrap().text
    };
    let slot = "<|vision_start|><|image_pad|><|vision_end|>";
    assert_eq!(render("how many?", 0, None), "<|im_start|>user\nhow many?<|im_end|>\n");
    assert_eq!(render("how many?", 1, None), format!("<|im_start|>user\n{slot}how many?<|im_end|>\n"));
    assert_eq!(
        render("a <image> b<image>", 2, Some("think")),
        format!("<|im_start|>system\nthink<|im_end|>\n<|im_start|>user\na {slot} b{slot}<|im_end|>\n")
    );
    let error = messages_for("a <image> b <image>", 1, None).unwrap_err().to_string();
    assert!(error.contains("2 marks (`<image>`)") && error.contains("1 image:"), "{error}");
    assert!(messages_for("a <image>", 0, None).is_err());
}

#[test]
fn prompt_templates() {
    let apply = |template: &str, prompt: &str| PromptTemplate::parse(template)?.apply(prompt);
    assert_eq!(apply("{{ prompt }}", "<b> & {{ x }}\n").unwrap(), "<b> & {{ x }}\n");
    assert_eq!(apply("{{ prompt | trim }}\nThink first.\n", " q ").unwrap(), "q\nThink first.\n");
    for (template, word) in
        [("{{ prompt", "parse"), ("{{ problem }}", "`prompt`"), ("{{ prompt.nothing.more }}", "`prompt`")]
    {
        let error = apply(template, "q").unwrap_err().to_string();
        assert!(error.starts_with("prompt_template") && error.contains(word), "{error}");
    }
    let endless = "{% for a in range(100000) %}{% for b in range(100000) %}x{% endfor %}{% endfor %}";
    assert!(apply(endless, "q").is_err(), "a template must not hold the program");
    let chosen =
        "{% for word in prompt | split(' ') if word != 'b' %}{{ loop.index ~ word | upper }} {% else %}-{% endfor %}";
    assert_eq!(apply(chosen, "a b c").unwrap(), "1A 2C ");
    assert_eq!(apply("{{ prompt | replace('<image>', '') | split(',') | join('; ') }}", "<image>a,b").unwrap(), "a; b");
    assert_eq!(apply("{{ prompt[:2] if prompt is string else '' }}", "abc").unwrap(), "ab");
}

/// Each of these ends a program, or takes gigabytes, where a template may do as it likes.
#[test]
fn prompt_templates_cannot_fill_the_memory() {
    let doubled = format!("{{% set x = prompt %}}{}{{{{ x }}}}", "{% set x = x ~ x %}".repeat(40));
    let nested = format!("{}{{{{ prompt }}}}{}", "{% for a in prompt %}".repeat(4), "{% endfor %}".repeat(4));
    let joined = format!("{{{{ {} }}}}", ["prompt"; 40].join(" ~ "));
    let long = "x".repeat(3_000);
    for (template, word) in [
        (doubled.as_str(), "`set`"),
        ("{% with x = prompt ~ prompt %}{{ x }}{% endwith %}", "`with`"),
        ("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", "macros"),
        ("{% filter indent(9) %}{% endfilter %}", "blocks of filters"),
        ("{{ 'a' * 99999999 }}", "`*`"),
        ("{{ [1] | batch(999999999999) }}", "filter `batch`"),
        ("{{ prompt | list | map('indent', 999999999999) }}", "filter `map`"),
        ("{{ '%999999999999d' | format(1) }}", "filter `format`"),
        ("{{ range(9) }}", "calls"),
        (joined.as_str(), "32 times"),
        (nested.as_str(), "4194304 bytes"),
        ("{{ prompt | replace('x', prompt) }}", "4194304 bytes"),
        ("{{ prompt | list | join(prompt) }}", "4194304 bytes"),
    ] {
        let error = PromptTemplate::parse(template).and_then(|t| t.apply(&long)).unwrap_err().to_string();
        assert!(error.contains(word), "{template:.80}: {error}");
    }
}

/// A checkpoint's folder whose chat template is `source`.
fn with_template(dir: &Path, source: &str) -> Result<Processor, PromptError> {
    let from = fixtures().join("models/qwen2_5_vl_tiny/checkpoint");
    for file in ["tokenizer.json", "tokenizer_config.json", "preprocessor_config.json"] {
        std::fs::copy(from.join(file), dir.join(file)).unwrap();
    }
    std::fs::write(dir.join("chat_template.jinja"), source).unwrap();
    Processor::from_dir(dir, &model_info(&json(from.join("config.json"))))
}

#[test]
fn templates_run_as_in_hugging_face() {
    let dir = tempfile::tempdir().unwrap();
    // Block trimming, Python's string methods, special tokens, tojson and loop controls.
    let source = "{% for m in messages %}\n    {% if m.role == 'system' %}\n{% continue %}\n    {% endif %}\n{{ \
                 m.content.strip().upper() }}\n{% endfor %}\n{{ {'a': [1, 'é<']} | tojson }}{{ eos_token }}{{ tools is \
                 none }}\n";
    let processor = with_template(dir.path(), source).unwrap();
    let rendered = processor.render(&[user("  hi \n")], &[], &LIMITS, true).unwrap();
    assert_eq!(rendered.text, "HI\n{\"a\": [1, \"é<\"]}<|im_end|>True");
    let error = with_template(dir.path(), "{{ raise_exception('roles must alternate') }}").unwrap_err();
    assert!(error.to_string().contains("roles must alternate"), "{error}");
    let error = with_template(dir.path(), "{% for %}").unwrap_err();
    assert!(!error.is_input() && error.to_string().contains("chat_template.jinja"), "{error}");
}

/// Each of these ends a program that takes the number at its word.
#[test]
fn a_number_in_a_chat_template_does_not_fill_the_memory() {
    let dir = tempfile::tempdir().unwrap();
    let huge = "99999999999999";
    for source in [
        format!("{{{{ messages | batch({huge}) | list }}}}"),
        format!("{{{{ messages | slice({huge}) | list }}}}"),
        format!("{{{{ 'a' | indent({huge}, true) }}}}"),
        format!("{{{{ 'a' | indent(width={huge}) }}}}"),
        format!("{{{{ '%{huge}d' | format(1) }}}}"),
        format!("{{{{ '%*d' | format({huge}, 1) }}}}"),
        format!("{{{{ '{{:>{huge}}}'.format('a') }}}}"),
    ] {
        let error = with_template(dir.path(), &source).unwrap_err();
        assert!(error.to_string().contains("99999999999999 is over the limit of 100000"), "{source}: {error}");
    }
    let modest = "{{ [1, 2, 3] | batch(2) | list }}{{ 'a\nb' | indent(2, first=true) }}{{ '%03d' | format(7) }}{{ \
                 '{:>3}'.format('x') }}";
    let rendered = with_template(dir.path(), modest).unwrap().render(&[user("hi")], &[], &LIMITS, true).unwrap();
    assert_eq!(rendered.text, "[[1, 2], [3]]  a\n  b007  x");
}

/// Each of these fills any memory, runs for hours or overflows the stack where a template may do as it likes. They wait
/// for a word: a model whose template fails in every conversation is not opened at all.
#[test]
fn a_chat_template_cannot_fill_the_memory_or_hold_a_thread() {
    let dir = tempfile::tempdir().unwrap();
    let times = |count: usize, start: &str, step: &str, end: &str| {
        format!("{{% set ns = namespace({start}) %}}{{% for i in range({count}) %}}{step}{{% endfor %}}{{{{ {end} }}}}")
    };
    let a = "x='aaaaaaaaaaaaaaaa'";
    let set = |value: &str| format!("{{% set ns.x = {value} %}}");
    let twice = "{% macro d(x) %}{{ x }}{{ x }}{% endmacro %}";
    let long = "{% set x = 'ab' * 2000000 %}{% for i in range(100000) %}";
    for (template, word) in [
        (times(40, a, &set("ns.x ~ ns.x"), "ns.x | length"), "bytes"),
        (times(40, a, &set("ns.x + ns.x"), "ns.x | length"), "bytes"),
        (times(40, a, "{% set y %}{{ ns.x }}{{ ns.x }}{% endset %}{% set ns.x = y %}", "ns.x | length"), "bytes"),
        (format!("{twice}{}", times(40, a, &set("d(ns.x)"), "ns.x | length")), "bytes"),
        (times(8, a, &set("ns.x | replace('a', ns.x)"), "ns.x | length"), "bytes"),
        (times(8, a, &set("ns.x.replace('a', ns.x)"), "ns.x | length"), "bytes"),
        (times(8, a, &set("ns.x | list | join(ns.x)"), "ns.x | length"), "bytes"),
        (times(8, a, &set("ns.x.join(ns.x | list)"), "ns.x | length"), "bytes"),
        (times(60, "x=['a']", &set("[ns.x, ns.x]"), "ns.x"), "bytes"),
        (times(60, "x=['a']", &set("{'a': ns.x, 'b': ns.x}"), "ns.x | tojson"), "bytes"),
        (times(50, "x=['a']", &set("ns.x + ns.x"), "ns.x | list | length"), "bytes"),
        (times(100_000, "x=['a']", &set("[ns.x]"), "ns.x"), "64 deep"),
        (times(9, "x=1", &set("ns"), "ns.x"), "namespace"),
        (times(9, "x=1", &set("[namespace(y=ns)]"), "ns.x"), "namespace"),
        ("{{ ([1] * 1000000000) | list | length }}".to_owned(), "bytes"),
        ("{{ ('\n' * 1000000) | indent(100000, true) | length }}".to_owned(), "bytes"),
        ("{{ ('%99999d' * 100000) | format(1) | length }}".to_owned(), "bytes"),
        ("{{ ('a' * 100000) | list | map('center', 100000) | list | length }}".to_owned(), "bytes"),
        ("{{ ('a' * 90000000) ~ ('a' * 90000000) }}".to_owned(), "bytes"),
        (format!("{{% for i in range(100000) %}}{}{{% endfor %}}", "x".repeat(100_000)), "bytes"),
        (format!("{long}{{% if x | list | sort | length == 0 %}}x{{% endif %}}{{% endfor %}}"), "bytes"),
        (format!("{long}{{% if x[::-1] == '' %}}x{{% endif %}}{{% endfor %}}"), "bytes"),
        (format!("{long}{{% if x.isdigit() or x.upper() == '' %}}x{{% endif %}}{{% endfor %}}"), "bytes"),
        ("{% for a in range(100000) %}{% for b in range(100000) %}{% endfor %}{% endfor %}".to_owned(), "fuel"),
        ("{% macro r() %}{{ r() }}{{ r() }}{% endmacro %}{{ r() }}".to_owned(), "recursion"),
        ("{% for m in messages recursive %}{{ loop(messages) }}{% endfor %}".to_owned(), "recursion"),
    ] {
        let source =
            format!("{{% if messages[0].content == 'now' %}}{template}{{% endif %}}{{{{ messages[0].content }}}}");
        let processor = with_template(dir.path(), &source).unwrap_or_else(|error| panic!("{template:.200}: {error}"));
        assert_eq!(processor.render(&[user("hi")], &[], &LIMITS, true).unwrap().text, "hi");
        let begun = vgpo::clock::Stopwatch::start();
        let error = processor.render(&[user("now")], &[], &LIMITS, true).unwrap_err();
        assert!(error.to_string().contains(word) && error.is_input(), "{template:.200}: {error}");
        assert!(begun.seconds() < 60.0, "{template:.200}: {} s", begun.seconds());
    }
}

/// What would overflow the stack while it is read, and what is too large to be read.
#[test]
fn a_chat_template_of_another_size_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    for (source, word) in [
        ("x".repeat((1 << 20) + 1), "1048577 bytes, more than 1048576"),
        (format!("{{{{ 1{} }}}}", " + 1".repeat(100_000)), "more than 1000 words"),
        (format!("{{{{ 'a'{} }}}}", " | upper".repeat(60_000)), "more than 1000 words"),
        (format!("{{% if a %}}{}{{% endif %}}", "{% elif a %}".repeat(50_000)), "200 `elif`"),
        (format!("{}{}", "{% if a %}".repeat(40_000), "{% endif %}".repeat(40_000)), "cannot be parsed"),
        ("{% include 'chat_template' %}".to_owned(), "another template"),
    ] {
        let error = with_template(dir.path(), &source).unwrap_err().to_string();
        assert!(error.contains(word), "{source:.80}: {error:.300}");
    }
}

/// A template that drops an image part would leave the model without it: an error, not a silent loss.
#[test]
fn a_template_that_ignores_images_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let processor = with_template(dir.path(), "{{ messages[0].role }}").unwrap();
    let image = Arc::new(RgbImage::new(56, 56));
    let error = processor.render(&with_parts(vec![image_part()]), &[image], &LIMITS, true).unwrap_err();
    assert!(error.to_string().contains("1 image,") && error.to_string().contains("0 image slots"), "{error}");
}

#[test]
fn a_folder_without_its_files_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let info = model_info(&json("models/qwen2_5_vl_tiny/checkpoint/config.json"));
    let error = Processor::from_dir(dir.path(), &info).unwrap_err();
    assert!(error.to_string().contains("tokenizer.json"), "{error}");
    std::fs::copy(
        fixtures().join("models/qwen2_5_vl_tiny/checkpoint/tokenizer.json"),
        dir.path().join("tokenizer.json"),
    )
    .unwrap();
    let error = Processor::from_dir(dir.path(), &info).unwrap_err();
    assert!(error.to_string().contains("no chat template"), "{error}");
}

/// Few instructions, each of which costs what the prompt is long.
#[test]
fn prompt_templates_cannot_hold_a_thread() {
    let long = "word ".repeat(40_000);
    for (template, word) in [
        (
            "{% for a in prompt|list %}{% if prompt|list|sort|length == 0 %}x{% endif %}{% endfor %}",
            "filters read more",
        ),
        ("{% for a in prompt|list %}{% if prompt|replace('a', 'b') == '' %}x{% endif %}{% endfor %}", "fuel"),
        (
            "{% for a in prompt %}{% if prompt|split(' ')|join(',') == '' %}x{% endif %}{% endfor %}",
            "filters read more",
        ),
        (
            "{% for a in prompt %}{% for b in prompt %}{% if prompt[::-1] == '' %}x{% endif %}{% endfor %}{% endfor %}",
            "fuel",
        ),
        ("{% for a in prompt %}{% if prompt ~ prompt == '' %}x{% endif %}{% endfor %}", "fuel"),
    ] {
        let begun = vgpo::clock::Stopwatch::start();
        let error = PromptTemplate::parse(template).and_then(|t| t.apply(&long)).unwrap_err().to_string();
        assert!(error.contains(word), "{template}: {error}");
        assert!(begun.seconds() < 20.0, "{template}: {} s", begun.seconds());
    }
    // The budget is of one rendering, not of all.
    let template = PromptTemplate::parse("{{ prompt | trim | upper }}").unwrap();
    for _ in 0..1000 {
        assert!(template.apply(&long).unwrap().starts_with("WORD WORD"));
    }
}
