//! Curves as inline SVG.

use std::fmt::Write as _;

/// Size of a chart and the room around its plot, in SVG units.
const WIDTH: f64 = 420.0;
const HEIGHT: f64 = 190.0;
const LEFT: f64 = 52.0;
const RIGHT: f64 = 10.0;
const TOP: f64 = 8.0;
const BOTTOM: f64 = 24.0;
/// Horizontal rules of a chart.
const RULES: u32 = 4;

/// How values of a chart read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Look {
    /// As they are.
    Number,
    /// As per cent.
    Share,
}

/// One curve.
#[derive(Debug, Clone, PartialEq)]
pub struct Line {
    /// What it is.
    pub label: &'static str,
    /// Step and value, finite, in the order of steps; at least one.
    pub points: Vec<(f64, f64)>,
}

/// Curves over the same steps.
#[derive(Debug, Clone, PartialEq)]
pub struct Chart<'a> {
    /// What it shows.
    pub title: &'a str,
    /// How its values read.
    pub look: Look,
    /// The curves; at least one.
    pub lines: Vec<Line>,
}

impl Chart<'_> {
    /// A figure with title, plot and legend; colours are classes `c0`, `c1` …
    pub fn svg(&self) -> String {
        let (steps, values) = (self.span(|p| p.0), self.air(self.span(|p| p.1)));
        let x = |step: f64| LEFT + (step - steps.0) / (steps.1 - steps.0).max(1.0) * (WIDTH - LEFT - RIGHT);
        let y = |value: f64| TOP + (values.1 - value) / (values.1 - values.0) * (HEIGHT - TOP - BOTTOM);
        let mut plot = String::new();
        for rule in 0..=RULES {
            let value = values.0 + (values.1 - values.0) * f64::from(rule) / f64::from(RULES);
            let (at, text) = (y(value), self.read(value));
            let _ = write!(
                plot,
                r#"<line class="rule" x1="{LEFT}" x2="{}" y1="{at:.1}" y2="{at:.1}"/><text x="{}" y="{:.1}" text-anchor="end">{text}</text>"#,
                WIDTH - RIGHT,
                LEFT - 6.0,
                at + 4.0
            );
        }
        for (step, anchor) in [(steps.0, "start"), (steps.1, "end")] {
            let _ = write!(
                plot,
                r#"<text x="{:.1}" y="{}" text-anchor="{anchor}">step {step}</text>"#,
                x(step),
                HEIGHT - 6.0
            );
        }
        for (n, line) in self.lines.iter().enumerate() {
            let path: Vec<String> =
                line.points.iter().map(|(step, value)| format!("{:.1} {:.1}", x(*step), y(*value))).collect();
            let _ = write!(plot, r#"<path class="c{n}" d="M{}"/>"#, path.join("L"));
        }
        let (title, legend) = (self.title, self.legend());
        format!(
            r#"<figure><figcaption>{title}</figcaption><svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{title}">{plot}</svg><ul class="legend">{legend}</ul></figure>"#
        )
    }

    fn legend(&self) -> String {
        let entry = |(n, line): (usize, &Line)| {
            let last = line.points.last().map_or(0.0, |point| point.1);
            format!(r#"<li><i class="c{n}"></i>{} <b>{}</b></li>"#, line.label, self.read(last))
        };
        self.lines.iter().enumerate().map(entry).collect()
    }

    fn span(&self, part: impl Fn(&(f64, f64)) -> f64) -> (f64, f64) {
        let all = self.lines.iter().flat_map(|line| &line.points).map(part);
        all.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| (low.min(value), high.max(value)))
    }

    /// A little room above and below, and never a range too thin to divide by.
    fn air(&self, (low, high): (f64, f64)) -> (f64, f64) {
        let room = if high - low > 1e-12 { (high - low) * 0.07 } else { high.abs().max(1e-3) * 0.1 };
        let near_zero = low >= 0.0 && low < 0.3 * high;
        let top = if self.look == Look::Share { (high + room).min(high.max(1.0)) } else { high + room };
        (if near_zero { 0.0 } else { low - room }, top)
    }

    fn read(&self, value: f64) -> String {
        match self.look {
            Look::Share => format!("{:.1}%", value * 100.0),
            Look::Number => number(value),
        }
    }
}

/// A number with three significant digits.
pub fn number(value: f64) -> String {
    let size = value.abs();
    match size {
        _ if size == 0.0 => "0".to_owned(),
        _ if !(1e-3..1e6).contains(&size) => format!("{value:.1e}"),
        _ if size >= 100.0 => format!("{value:.0}"),
        _ => {
            let digits = (2 - size.log10().floor() as i32).clamp(0, 5) as usize;
            format!("{value:.digits$}")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_curve_stays_inside_its_chart_and_tells_its_last_value() {
        let points = (0..50).map(|i| (f64::from(i), f64::from(i * i))).collect();
        let svg = Chart { title: "T", look: Look::Number, lines: vec![Line { label: "l", points }] }.svg();
        let path = svg.split("d=\"M").nth(1).unwrap().split('"').next().unwrap();
        let mut last = HEIGHT;
        for place in path.split('L') {
            let (x, y) = place.split_once(' ').unwrap();
            let (x, y): (f64, f64) = (x.parse().unwrap(), y.parse().unwrap());
            assert!((LEFT..=WIDTH - RIGHT).contains(&x) && (TOP..=HEIGHT - BOTTOM).contains(&y), "{x} {y}");
            assert!(y <= last, "a rising curve rises");
            last = y;
        }
        assert!(svg.contains("<b>2401</b>"), "{svg}");
    }

    #[test]
    fn constant_and_single_points_are_drawn() {
        for points in [vec![(3.0, 0.0)], vec![(0.0, 1.0), (1.0, 1.0)], vec![(0.0, -2.0), (9.0, -2.0)]] {
            let svg = Chart { title: "T", look: Look::Share, lines: vec![Line { label: "l", points }] }.svg();
            assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
        }
    }

    #[test]
    fn numbers_have_three_digits() {
        let read: Vec<String> = [0.0, 0.123_456, 12.3456, 1234.5, 1e-7, -0.5].map(number).into();
        assert_eq!(read, ["0", "0.123", "12.3", "1234", "1.0e-7", "-0.500"]);
    }
}
