//! Boxes in texts, in every form that models and data sets write: `[x1, y1, x2, y2]`, two corners `(x1,y1),(x2,y2)`,
//! with or without special tokens, lists of either, objects, and four bare numbers.

/// More boxes than this are not read.
const MAX_BOXES: usize = 64;
/// Largest coordinate of a box.
const MAX_COORDINATE: f64 = 1e7;
/// Names of the four sides in objects, in the order left, top, right, bottom.
const CORNERS: [[&str; 4]; 4] = [
    ["x1", "y1", "x2", "y2"],
    ["xmin", "ymin", "xmax", "ymax"],
    ["x_min", "y_min", "x_max", "y_max"],
    ["left", "top", "right", "bottom"],
];
/// Names of a corner and the two extents.
const EXTENTS: [[&str; 4]; 3] =
    [["x", "y", "width", "height"], ["x", "y", "w", "h"], ["left", "top", "width", "height"]];

/// Corners `[x1, y1, x2, y2]`, the first above and left of the second.
pub(super) type Corners = [f64; 4];

/// The numbers of one innermost pair of brackets or parentheses, and its position.
struct Group {
    start: usize,
    end: usize,
    numbers: Vec<f64>,
}

/// Every box of a text, in order.
pub(super) fn boxes(text: &str) -> Vec<Corners> {
    let groups = groups(text);
    let mut boxes = Vec::new();
    let mut at = 0;
    while let Some(group) = groups.get(at) {
        at += 1;
        match (&group.numbers[..], groups.get(at)) {
            ([a, b, c, d], _) => boxes.push([*a, *b, *c, *d]),
            ([a, b], Some(next)) if next.numbers.len() == 2 && joins(&text[group.end..next.start]) => {
                boxes.push([*a, *b, next.numbers[0], next.numbers[1]]);
                at += 1;
            }
            _ => {}
        }
    }
    if boxes.is_empty() {
        boxes = objects(text);
    }
    if boxes.is_empty() {
        boxes.extend(bare(text));
    }
    let fits = |corners: &Corners| corners.iter().all(|value| value.abs() <= MAX_COORDINATE);
    let ordered = |[a, b, c, d]: Corners| [a.min(c), b.min(d), a.max(c), b.max(d)];
    boxes.into_iter().filter(fits).take(MAX_BOXES).map(ordered).collect()
}

/// The text between the two corners of a box.
fn joins(between: &str) -> bool {
    let between = between.trim();
    between.len() <= 8 && matches!(between.trim_matches([',', ' ', ';']), "" | "-" | "to" | "and" | "->" | "~")
}

/// Innermost brackets that hold nothing but numbers.
fn groups(text: &str) -> Vec<Group> {
    let mut out = Vec::new();
    let mut open = None;
    for (at, c) in text.char_indices() {
        match c {
            '[' | '(' => open = Some(at),
            ']' | ')' => {
                if let Some(start) = open.take()
                    && let Some(numbers) = numbers(&text[start + 1..at])
                    && out.len() < 4 * MAX_BOXES
                {
                    out.push(Group { start, end: at + 1, numbers });
                }
            }
            _ => {}
        }
    }
    out
}

/// Numbers separated by commas, semicolons or spaces; none if there is any other text.
fn numbers(text: &str) -> Option<Vec<f64>> {
    let parts = text.split(|c: char| c == ',' || c == ';' || c.is_whitespace());
    let parts = parts.map(|part| part.trim_matches(['"', '\''])).filter(|part| !part.is_empty());
    let mut numbers = Vec::new();
    for part in parts {
        let number: f64 = part.parse().ok()?;
        if !number.is_finite() || numbers.len() == 4 {
            return None;
        }
        numbers.push(number);
    }
    Some(numbers)
}

/// Objects with named sides.
fn objects(text: &str) -> Vec<Corners> {
    let mut out = Vec::new();
    for piece in text.split('{').skip(1).take(MAX_BOXES) {
        let fields = fields(piece.split('}').next().unwrap_or_default());
        let get = |names: &[&str; 4]| -> Option<Corners> {
            let mut corners = [0.0; 4];
            for (slot, name) in corners.iter_mut().zip(names) {
                *slot = fields.iter().find(|(known, _)| known == name)?.1;
            }
            Some(corners)
        };
        let corners = CORNERS.iter().find_map(get);
        let extents = || EXTENTS.iter().find_map(get).map(|[x, y, width, height]| [x, y, x + width, y + height]);
        out.extend(corners.or_else(extents));
    }
    out
}

/// `"name": 12.5` pairs; other values are left out.
fn fields(text: &str) -> Vec<(String, f64)> {
    let pair = |pair: &str| {
        let (name, value) = pair.split_once([':', '='])?;
        let plain = |text: &str| text.trim().trim_matches(['"', '\'']).to_lowercase();
        Some((plain(name), plain(value).parse().ok()?))
    };
    text.split(',').take(64).filter_map(pair).collect()
}

/// Four numbers and nothing else.
fn bare(text: &str) -> Option<Corners> {
    let text = text.trim();
    if text.len() > 200 {
        return None;
    }
    numbers(text)?.try_into().ok()
}
