//! Kinds of settings and the check of one value, with messages that name value, limit and way out.

use serde_json::Value;

use super::brief::is_printable;
use super::metric::{CATALOGUE, describe};
use super::nearest::nearest;
use super::tags;

/// Entries of a list of names.
const MAX_NAMES: usize = 100;

/// What a setting may hold.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Kind {
    /// An object with settings of its own.
    Section,
    /// A whole number from `min` to `max`.
    Whole {
        /// Smallest value.
        min: u64,
        /// Largest value.
        max: u64,
    },
    /// A whole number that may be negative.
    Signed {
        /// Smallest value.
        min: i64,
        /// Largest value.
        max: i64,
    },
    /// A finite number.
    Number(Span),
    /// true or false.
    Flag,
    /// Non-empty text of at most `max` characters.
    Text {
        /// Longest text.
        max: usize,
    },
    /// Text of one line: no control characters, and none that turn it around.
    Name {
        /// Longest text.
        max: usize,
    },
    /// One of a few names.
    Choice {
        /// The names that work.
        allowed: &'static [&'static str],
        /// Names this build does not support yet.
        later: &'static [&'static str],
    },
    /// A list of different ones of a few names; it may be empty.
    Choices {
        /// The names.
        allowed: &'static [&'static str],
        /// Names that people try, and what they are to do instead.
        elsewhere: &'static [(&'static str, &'static str)],
    },
    /// Two numbers; `ordered`: the first may not exceed the second.
    Pair {
        /// Limits of both.
        span: Span,
        /// Must they be in order?
        ordered: bool,
    },
    /// A point in time.
    Time,
    /// The key of a metric that the trainer writes.
    Metric,
    /// An object of short texts.
    Labels,
    /// A list of one or more texts of at most `max` characters.
    Names {
        /// Longest text.
        max: usize,
    },
    /// A reward, checked by shape of its own.
    Reward,
}

/// Limits of a number.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Span {
    /// No limit.
    Any,
    /// `low <= x`.
    AtLeast(f64),
    /// `low < x`.
    Above(f64),
    /// `low <= x <= high`.
    Closed(f64, f64),
    /// `low < x <= high`.
    OpenClosed(f64, f64),
    /// `low <= x < high`.
    ClosedOpen(f64, f64),
}

impl Span {
    /// The lower end, if there is one, and whether a number may be there itself.
    pub fn low(self) -> Option<(f64, bool)> {
        match self {
            Self::Any => None,
            Self::AtLeast(low) | Self::Closed(low, _) | Self::ClosedOpen(low, _) => Some((low, true)),
            Self::Above(low) | Self::OpenClosed(low, _) => Some((low, false)),
        }
    }

    /// The upper end, if there is one, and whether a number may be there itself.
    pub fn high(self) -> Option<(f64, bool)> {
        match self {
            Self::Any | Self::AtLeast(_) | Self::Above(_) => None,
            Self::Closed(_, high) | Self::OpenClosed(_, high) => Some((high, true)),
            Self::ClosedOpen(_, high) => Some((high, false)),
        }
    }

    fn holds(self, x: f64) -> bool {
        match self {
            Self::Any => true,
            Self::AtLeast(low) => x >= low,
            Self::Above(low) => x > low,
            Self::Closed(low, high) => (low..=high).contains(&x),
            Self::OpenClosed(low, high) => x > low && x <= high,
            Self::ClosedOpen(low, high) => (low..high).contains(&x),
        }
    }

    fn describe(self) -> String {
        match self {
            Self::Any => "a number".to_owned(),
            Self::AtLeast(low) => format!("a number of at least {low}"),
            Self::Above(low) => format!("a number above {low}"),
            Self::Closed(low, high) => format!("a number in [{low}, {high}]"),
            Self::OpenClosed(low, high) => format!("a number in ({low}, {high}]"),
            Self::ClosedOpen(low, high) => format!("a number in [{low}, {high})"),
        }
    }
}

impl Kind {
    /// What the kind allows, in words.
    pub fn describe(self) -> String {
        match self {
            Self::Section => "an object".to_owned(),
            Self::Whole { min, max } => format!("a whole number from {min} to {max}"),
            Self::Signed { min, max } => format!("a whole number from {min} to {max}"),
            Self::Number(span) => span.describe(),
            Self::Flag => "true or false".to_owned(),
            Self::Text { max } => format!("a text of 1 to {max} characters"),
            Self::Name { max } => format!("a text of 1 to {max} printable characters"),
            Self::Choice { allowed, .. } => format!("one of {}", quoted(allowed)),
            Self::Choices { allowed, .. } => format!("a list of different ones of {}", quoted(allowed)),
            Self::Pair { span, ordered } => {
                let order = if ordered { ", the smaller first" } else { "" };
                format!("two numbers [a, b], each {}{order}", span.describe())
            }
            Self::Time => "a time as in 2026-01-31T18:00:00Z".to_owned(),
            Self::Metric => "the key of a metric, e.g. \"eval/accuracy\"".to_owned(),
            Self::Labels => format!("an object of at most {} texts, e.g. {{\"team\": \"vision\"}}", tags::MOST),
            Self::Names { max } => format!("a list of 1 to {MAX_NAMES} texts of 1 to {max} characters"),
            Self::Reward => "a reward, e.g. {\"type\": \"math\"}".to_owned(),
        }
    }

    /// What is wrong with `value`; `None` when it fits. Sections and rewards are checked by their walkers.
    pub fn complaint(self, value: &Value) -> Option<String> {
        let fits = match self {
            Self::Section | Self::Reward => value.is_object(),
            Self::Whole { min, max } => value.as_u64().is_some_and(|x| (min..=max).contains(&x)),
            Self::Signed { min, max } => value.as_i64().is_some_and(|x| (min..=max).contains(&x)),
            Self::Number(span) => value.as_f64().is_some_and(|x| span.holds(x)),
            Self::Flag => value.is_boolean(),
            Self::Text { max } => is_text(value, max),
            Self::Name { max } => is_text(value, max) && value.as_str().is_some_and(|t| t.chars().all(is_printable)),
            Self::Choice { allowed, later } => return choice_complaint(value, allowed, later),
            Self::Choices { allowed, elsewhere } => return choices_complaint(value, allowed, elsewhere),
            Self::Pair { span, ordered } => {
                pair(value).is_some_and(|[a, b]| span.holds(a) && span.holds(b) && (!ordered || a <= b))
            }
            Self::Time => value.as_str().is_some_and(|text| chrono::DateTime::parse_from_rfc3339(text).is_ok()),
            Self::Metric => return metric_complaint(value),
            Self::Labels => return labels_complaint(value),
            Self::Names { max } => value.as_array().is_some_and(|names| {
                (1..=MAX_NAMES).contains(&names.len()) && names.iter().all(|name| is_text(name, max))
            }),
        };
        (!fits).then(|| format!("is {}; it must be {}", shown(value), self.describe()))
    }
}

fn is_text(value: &Value, max: usize) -> bool {
    value.as_str().is_some_and(|text| !text.trim().is_empty() && text.chars().count() <= max)
}

fn pair(value: &Value) -> Option<[f64; 2]> {
    match value.as_array()?.as_slice() {
        [a, b] => Some([a.as_f64()?, b.as_f64()?]),
        _ => None,
    }
}

fn choice_complaint(value: &Value, allowed: &[&str], later: &[&str]) -> Option<String> {
    let given = value.as_str();
    if given.is_some_and(|name| allowed.contains(&name)) {
        return None;
    }
    if given.is_some_and(|name| later.contains(&name)) {
        return Some(format!(
            "is {}, which this build does not support yet; supported: {}",
            shown(value),
            quoted(allowed)
        ));
    }
    let near = given.and_then(|name| nearest(name, allowed.iter().copied()));
    let hint = near.map(|near| format!("; did you mean `{near}`?")).unwrap_or_default();
    Some(format!("is {}; it must be one of {}{hint}", shown(value), quoted(allowed)))
}

fn choices_complaint(value: &Value, allowed: &'static [&str], elsewhere: &[(&str, &str)]) -> Option<String> {
    let Some(names) = value.as_array() else {
        let wanted = Kind::Choices { allowed, elsewhere: &[] }.describe();
        return Some(format!("is {}; it must be {wanted}", shown(value)));
    };
    for (at, name) in names.iter().enumerate() {
        if let Some((name, instead)) = elsewhere.iter().find(|(tried, _)| name == tried) {
            return Some(format!("has \"{name}\": {instead}"));
        }
        if let Some(complaint) = choice_complaint(name, allowed, &[]) {
            return Some(format!("has an entry that {complaint}"));
        }
        if names[..at].contains(name) {
            return Some(format!("has {} twice", shown(name)));
        }
    }
    None
}

fn labels_complaint(value: &Value) -> Option<String> {
    let texts = value.as_object().filter(|labels| labels.values().all(Value::is_string));
    let Some(texts) = texts else {
        return Some(format!("is {}; it must be {}", shown(value), Kind::Labels.describe()));
    };
    tags::complaint(texts.iter().map(|(name, value)| (name.as_str(), value.as_str().unwrap_or_default())))
}

fn metric_complaint(value: &Value) -> Option<String> {
    let given = value.as_str();
    if given.is_some_and(|key| describe(key).is_some()) {
        return None;
    }
    let known = CATALOGUE.iter().map(|info| info.key);
    let near = given.and_then(|key| nearest(key, known));
    let hint = near.map(|near| format!("; did you mean `{near}`?")).unwrap_or_default();
    Some(format!("is {}, which no trainer measures; it must be {}{hint}", shown(value), Kind::Metric.describe()))
}

fn quoted(names: &[&str]) -> String {
    names.iter().map(|name| format!("\"{name}\"")).collect::<Vec<_>>().join(", ")
}

/// A value as it is quoted in a message: short, whatever was sent.
pub fn shown(value: &Value) -> String {
    const LONGEST: usize = 60;
    let text = match value {
        Value::Object(_) => return "an object".to_owned(),
        Value::Array(items) if items.len() > 4 => return format!("a list of {} entries", items.len()),
        other => other.to_string(),
    };
    if text.chars().count() <= LONGEST {
        return text;
    }
    format!("{}…", text.chars().take(LONGEST).collect::<String>())
}
