//! Units and counted nouns after a number.

/// Canonical names, and how else they are written. Single letters are case-sensitive and count as units only after a
/// space.
const UNITS: [(&str, &[&str]); 46] = [
    ("m", &["meter", "meters", "metre", "metres"]),
    ("cm", &["centimeter", "centimeters", "centimetre", "centimetres"]),
    ("mm", &["millimeter", "millimeters", "millimetre", "millimetres"]),
    ("km", &["kilometer", "kilometers", "kilometre", "kilometres"]),
    ("dm", &["decimeter", "decimeters"]),
    ("nm", &["nanometer", "nanometers"]),
    ("in", &["inch", "inches"]),
    ("ft", &["foot", "feet"]),
    ("yd", &["yard", "yards"]),
    ("mi", &["mile", "miles"]),
    ("g", &["gram", "grams"]),
    ("kg", &["kilogram", "kilograms"]),
    ("mg", &["milligram", "milligrams"]),
    ("lb", &["lbs", "pound", "pounds"]),
    ("oz", &["ounce", "ounces"]),
    ("ton", &["tons", "tonne", "tonnes"]),
    ("s", &["sec", "secs", "second", "seconds"]),
    ("ms", &["millisecond", "milliseconds"]),
    ("min", &["mins", "minute", "minutes"]),
    ("h", &["hr", "hrs", "hour", "hours"]),
    ("day", &["days"]),
    ("week", &["weeks"]),
    ("month", &["months"]),
    ("year", &["years", "yr", "yrs"]),
    ("l", &["L", "liter", "liters", "litre", "litres"]),
    ("ml", &["mL", "milliliter", "milliliters"]),
    ("deg", &["degree", "degrees"]),
    ("rad", &["radian", "radians"]),
    ("celsius", &["C"]),
    ("fahrenheit", &["F"]),
    ("kelvin", &["K"]),
    ("N", &["newton", "newtons"]),
    ("J", &["joule", "joules"]),
    ("kJ", &["kilojoule", "kilojoules"]),
    ("W", &["watt", "watts"]),
    ("kW", &["kilowatt", "kilowatts"]),
    ("V", &["volt", "volts"]),
    ("A", &["ampere", "amperes", "amp", "amps"]),
    ("Hz", &["hertz"]),
    ("Pa", &["pascal", "pascals"]),
    ("mol", &["mole", "moles"]),
    ("dollar", &["dollars", "USD", "usd"]),
    ("cent", &["cents"]),
    ("mph", &["mph"]),
    ("kmh", &["kmh", "kph"]),
    ("ohm", &["ohms", "\\Omega"]),
];
/// Words without a meaning of their own.
const EMPTY: [&str; 2] = ["unit", "units"];
/// Shorter words are not counted nouns.
const MIN_NOUN: usize = 3;

/// Reads a phrase such as `cm`, `cm^2`, `square cm`, `km/h`, `meters per second`, `apples`. The result is one spelling
/// for all ways to write it (empty: a phrase without meaning, such as `units`). None if it is not a phrase of units.
pub(super) fn canonical(phrase: &str, after_space: bool) -> Option<String> {
    let mut out: Vec<String> = Vec::new();
    let mut prefix_power = None;
    let mut rest = phrase.trim();
    let mut first = true;
    while let Some(c) = rest.chars().next() {
        if c == ' ' || c == '*' {
            rest = &rest[1..];
        } else if c == '/' {
            out.push("/".to_owned());
            rest = &rest[1..];
        } else if c == '^' {
            let (power, after) = exponent(&rest[1..])?;
            if out.is_empty() {
                return None;
            }
            out.push(format!("^{power}"));
            rest = after;
        } else {
            let length = rest.bytes().take_while(u8::is_ascii_alphabetic).count();
            let (word, after) = rest.split_at(length);
            if word.is_empty() || (first && length == 1 && !after_space) {
                return None;
            }
            match word.to_lowercase().as_str() {
                "square" | "sq" => prefix_power = Some("^2"),
                "cubic" | "cu" => prefix_power = Some("^3"),
                "squared" => out.push("^2".to_owned()),
                "cubed" => out.push("^3".to_owned()),
                "per" => out.push("/".to_owned()),
                lower if EMPTY.contains(&lower) => prefix_power = None,
                lower => {
                    out.push(unit(word).or_else(|| noun(lower).filter(|_| !first || after_space))?);
                    out.extend(prefix_power.take().map(str::to_owned));
                }
            }
            rest = after;
        }
        first = false;
    }
    // `30 degrees C` and `30 C` are the same.
    if out.len() == 2 && out[0] == "deg" && out[1] != "^2" {
        out.remove(0);
    }
    Some(out.join(" "))
}

fn unit(word: &str) -> Option<String> {
    let known = |w: &str| UNITS.iter().find(|(name, others)| *name == w || others.contains(&w)).map(|(name, _)| *name);
    known(word).or_else(|| (word.len() > 1).then(|| known(&word.to_lowercase())).flatten()).map(str::to_owned)
}

fn noun(lower: &str) -> Option<String> {
    if lower.len() < MIN_NOUN || super::parser::is_function(lower) {
        return None;
    }
    Some(lower.strip_suffix('s').unwrap_or(lower).to_owned())
}

/// `2`, `{2}`, `-1`, `{-1}`, and what follows.
fn exponent(text: &str) -> Option<(&str, &str)> {
    let (inner, braced) = text.strip_prefix('{').map_or((text, false), |t| (t, true));
    let sign = usize::from(inner.starts_with('-'));
    let length = sign + inner[sign..].bytes().take_while(u8::is_ascii_digit).count();
    let (power, after) = inner.split_at(length);
    if length == sign {
        return None;
    }
    Some((power, if braced { after.strip_prefix('}')? } else { after }))
}
