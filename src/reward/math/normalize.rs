//! From what people and models write to one plain spelling: Unicode signs, LaTeX spacing and wrappers.

use super::symbols::{EMPTY_SET, REALS, SET_CLOSE, SET_OPEN};

/// Commands that only wrap their argument.
const WRAPPERS: [&str; 17] = [
    "text",
    "textbf",
    "textit",
    "textrm",
    "textsf",
    "texttt",
    "mathrm",
    "mathbf",
    "mathit",
    "mathsf",
    "mathtt",
    "mathbb",
    "boldsymbol",
    "operatorname",
    "mbox",
    "boxed",
    "emph",
];
/// Commands that say nothing about the value.
const SILENT: [&str; 15] = [
    "left",
    "right",
    "big",
    "Big",
    "bigg",
    "Bigg",
    "bigl",
    "bigr",
    "Bigl",
    "Bigr",
    "displaystyle",
    "textstyle",
    "limits",
    "rm",
    "bf",
];

/// One plain spelling; linear in the length of the text.
pub(super) fn normalize(text: &str) -> String {
    let ascii = replace_signs(text);
    let plain = replace_commands(&ascii);
    let plain = plain.replace("{,}", ",").replace('$', "");
    let words: Vec<&str> = plain.split_whitespace().collect();
    let text = words.join(" ").trim_end_matches(['.', ',', ';', ':', ' ']).to_owned();
    if ["all real numbers", "all reals", "the real numbers"].contains(&text.to_lowercase().as_str()) {
        return REALS.to_owned();
    }
    text
}

/// Compares texts without case and without white space (except between digits).
pub(super) fn same_text(a: &str, b: &str) -> bool {
    text_key(a) == text_key(b)
}

fn text_key(text: &str) -> String {
    let lower = text.to_lowercase();
    let mut key = String::with_capacity(lower.len());
    let mut gap = false;
    for c in lower.chars() {
        if c.is_whitespace() {
            gap = true;
            continue;
        }
        if gap && c.is_ascii_digit() && key.ends_with(|last: char| last.is_ascii_digit()) {
            key.push(' ');
        }
        gap = false;
        key.push(c);
    }
    key
}

/// Unicode signs as ASCII or LaTeX.
fn replace_signs(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            SET_OPEN | SET_CLOSE | '€' | '£' | '¥' => {}
            '\u{2212}' | '\u{2013}' | '\u{FE63}' | '\u{FF0D}' => out.push('-'),
            '×' | '⋅' | '·' | '∗' => out.push('*'),
            '÷' => out.push_str("\\div "),
            'π' => out.push_str("\\pi "),
            'θ' => out.push_str("\\theta "),
            '∞' => out.push_str("\\infty "),
            '°' => out.push_str("^\\circ "),
            '∪' => out.push_str("\\cup "),
            '∈' => out.push_str("\\in "),
            '±' => out.push_str("\\pm "),
            '≤' => out.push_str("<="),
            '≥' => out.push_str(">="),
            '≠' => out.push_str("!="),
            '≈' => out.push('='),
            '½' => out.push_str("\\frac{1}{2}"),
            '¼' => out.push_str("\\frac{1}{4}"),
            '¾' => out.push_str("\\frac{3}{4}"),
            '∅' => out.push_str("\\emptyset "),
            'ℝ' => out.push_str("\\reals "),
            '⌊' => out.push_str("\\lfloor "),
            '⌋' => out.push_str("\\rfloor "),
            '⌈' => out.push_str("\\lceil "),
            '⌉' => out.push_str("\\rceil "),
            // Full-width forms of ASCII.
            '\u{FF01}'..='\u{FF5E}' => out.extend(char::from_u32(u32::from(c) - 0xFEE0)),
            '√' => {
                let mut number = String::new();
                while let Some(d) = chars.next_if(|d| d.is_ascii_digit() || *d == '.') {
                    number.push(d);
                }
                out.push_str("\\sqrt");
                if !number.is_empty() {
                    out.extend(["{", number.as_str(), "}"]);
                }
            }
            _ if c.is_whitespace() => out.push(' '),
            _ => match superscript(c) {
                None => out.push(c),
                Some(first) => {
                    out.extend(['^', '{', first]);
                    while let Some(next) = chars.peek().copied().and_then(superscript) {
                        out.push(next);
                        chars.next();
                    }
                    out.push('}');
                }
            },
        }
    }
    out
}

fn superscript(c: char) -> Option<char> {
    "⁰¹²³⁴⁵⁶⁷⁸⁹⁻".chars().position(|s| s == c).and_then(|i| "0123456789-".chars().nth(i))
}

/// LaTeX commands that have a plainer spelling. A stack of open braces remembers which of them belong to a wrapper.
fn replace_commands(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut wrapped: Vec<bool> = Vec::new();
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        rest = &rest[c.len_utf8()..];
        match c {
            '\\' => rest = replace_command(rest, &mut out, &mut wrapped),
            '{' => {
                wrapped.push(false);
                out.push('{');
            }
            '}' => out.push(if wrapped.pop() == Some(true) { ' ' } else { '}' }),
            '~' => out.push(' '),
            '^' => match after_degree(rest) {
                Some(after) => {
                    out.push_str(" degrees ");
                    rest = after;
                }
                None => out.push('^'),
            },
            _ => out.push(c),
        }
    }
    out
}

/// Handles one command; `rest` starts after the backslash. Returns what follows the command.
fn replace_command<'a>(rest: &'a str, out: &mut String, wrapped: &mut Vec<bool>) -> &'a str {
    let length = rest.bytes().take_while(u8::is_ascii_alphabetic).count();
    let (name, after) = rest.split_at(length);
    if name.is_empty() {
        let Some(sign) = rest.chars().next() else { return rest };
        match sign {
            '{' => out.push(SET_OPEN),
            '}' => out.push(SET_CLOSE),
            '%' => out.push('%'),
            '$' | '!' | '(' | ')' | '[' | ']' => {}
            '\\' => out.push_str("\\\\"),
            _ => out.push(' '),
        }
        return &rest[sign.len_utf8()..];
    }
    if name == "mathbb"
        && let Some(after) = reals(after)
    {
        out.push_str(" \\reals ");
        return after;
    }
    if WRAPPERS.contains(&name) {
        if let Some(inner) = after.trim_start().strip_prefix('{') {
            wrapped.push(true);
            out.push(' ');
            return inner;
        }
        return after;
    }
    match name {
        _ if SILENT.contains(&name) => {}
        "quad" | "qquad" | "space" => out.push(' '),
        "dfrac" | "tfrac" | "cfrac" => out.push_str("\\frac"),
        "cdot" | "times" | "ast" => out.push('*'),
        "degree" => out.push_str(" degrees "),
        "lt" => out.push('<'),
        "gt" => out.push('>'),
        "le" | "leq" | "leqslant" => out.push_str("<="),
        "ge" | "geq" | "geqslant" => out.push_str(">="),
        "ne" | "neq" => out.push_str("!="),
        "approx" => out.push('='),
        "lbrace" => out.push(SET_OPEN),
        "rbrace" => out.push(SET_CLOSE),
        "mid" | "colon" => out.push(':'),
        "varnothing" => out.push_str(EMPTY_SET),
        "R" | "Reals" => out.push_str(" \\reals "),
        "dbinom" | "tbinom" => out.push_str("\\binom"),
        _ => {
            out.push('\\');
            out.push_str(name);
        }
    }
    after
}

/// What follows `{R}` or ` R`, the letter of the real numbers.
fn reals(argument: &str) -> Option<&str> {
    let argument = argument.trim_start();
    if let Some(inner) = argument.strip_prefix('{') {
        return inner.trim_start().strip_prefix('R')?.trim_start().strip_prefix('}');
    }
    argument.strip_prefix('R').filter(|rest| !rest.starts_with(|c: char| c.is_ascii_alphanumeric()))
}

/// What follows `\circ` or `{\circ}`, the exponent that marks degrees.
fn after_degree(exponent: &str) -> Option<&str> {
    let exponent = exponent.trim_start();
    if let Some(after) = exponent.strip_prefix("\\circ") {
        return Some(after);
    }
    exponent.strip_prefix('{')?.trim_start().strip_prefix("\\circ")?.trim_start().strip_prefix('}')
}
